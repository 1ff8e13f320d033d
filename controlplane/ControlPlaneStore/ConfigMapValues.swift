public import FederationModel
import Postgres

extension ControlPlaneStore {
  private struct Content: Decodable {
    var data: [String: String]?
    var binaryData: [String: String]?
  }

  /// The values of a config map, as runs read them when they start.
  ///
  /// - Returns: texts, and `binaryData` in base64.
  /// - Throws: `.notFound`.
  public func configMapValues(
    _ name: String, of project: ProjectName
  ) async throws -> (texts: [String: String], binary: [String: String]) {
    let rows = try await run(
      "SELECT document FROM objects WHERE kind = 'ConfigMap' AND project = $1 AND name = $2", .text(project.text),
      .text(name))
    guard let row = rows.rows.first else {
      throw FederationError(.notFound, "project \(project) has no config map \(name)")
    }
    let content = try RowJSON.decode(Content.self, try row.text(0))
    return (content.data ?? [:], content.binaryData ?? [:])
  }
}
