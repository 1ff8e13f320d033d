import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

/// Tests on real processes. One at a time: each starts several, and some measure how long things take.
@Suite(.serialized)
enum Integration {
  /// A file of the repository.
  static func repositoryFile(_ path: String) -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return root.appendingPathComponent(path).path
  }

  static func example(_ path: String) throws -> String {
    try String(contentsOfFile: repositoryFile("examples/" + path), encoding: .utf8)
  }

  /// One container that runs a shell command. `onDisconnect` and such go into `federation`.
  static func shell(_ command: String, name: String, federation: String = "{}") -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: \(name)}
    spec:
      entrypoint: main
      federation: \(federation)
      templates:
      - name: main
        container:
          image: debian:12
          command: [sh, -c]
          args:
          - |
            \(command.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n        "))
    """
  }
}

extension Federation {
  /// Waits until a node of a workflow is in one of these phases, and returns it.
  func node(
    _ workflow: String, _ displayName: String, is phases: [String], replica: Int = 0, timeout: Duration = .seconds(30)
  ) async throws {
    let client = try client(replica)
    var seen = "nothing"
    try await poll("\(workflow)/\(displayName) is \(phases); seen: \(seen)", timeout: timeout) {
      guard let detail = try? await client.workflow(workflow) else { return false }
      let node = detail.nodes.first { $0.displayName == displayName }
      seen = node.map { "\($0.phase.rawValue) (\($0.message)), run \($0.run?.phase ?? "none")" } ?? "no such node"
      return node.map {
        phases.contains($0.phase.rawValue)
          && (phases != ["Running"] || $0.type == "Suspend" || $0.run?.phase == "Running")
      }
        ?? false
    }
  }
}
