public import FederationModel
import Postgres

extension ControlPlaneStore {
  private struct Content: Decodable {
    var data: [String: String]?
  }

  /// The values of a config map, as runs read them when they start.
  ///
  /// - Throws: `.notFound`.
  public func configMapValues(_ name: String, of project: ProjectName) async throws -> [String: String] {
    let rows = try await run(
      "SELECT document FROM objects WHERE kind = 'ConfigMap' AND project = $1 AND name = $2", .text(project.text),
      .text(name))
    guard let row = rows.rows.first else {
      throw FederationError(.notFound, "project \(project) has no config map \(name)")
    }
    return try RowJSON.decode(Content.self, try row.text(0)).data ?? [:]
  }
}
