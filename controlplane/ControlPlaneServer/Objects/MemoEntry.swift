import FederationModel
import FoundationEssentials
import WorkflowCore

/// An entry of a cache of memoized templates, as Argo keeps it in a config map.
///
/// - Source: Argo Workflows v3.7, `workflow/controller/cache/cache.go`, `Entry`.
enum MemoEntry {
  /// - Parameter repository: the description of the bucket that keys are of; nil: they are the project's own repository's.
  /// - Throws: `.invalidArgument` for what is no entry.
  static func outputs(_ text: String, in repository: String?) throws -> TaskOutputs {
    guard let entry = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)), entry.objectValue != nil else {
      throw FederationError(.invalidArgument, "an entry of a cache is JSON: {\"outputs\": {...}}")
    }
    var outputs = TaskOutputs(result: entry["outputs"]?["result"]?.stringValue)
    for parameter in entry["outputs"]?["parameters"]?.arrayValue ?? [] {
      guard let name = parameter["name"]?.stringValue, let value = parameter["value"] else { continue }
      outputs.parameters[name] = value.stringValue ?? value.description
    }
    for artifact in entry["outputs"]?["artifacts"]?.arrayValue ?? [] {
      guard let name = artifact["name"]?.stringValue, let key = artifact["s3"]?["key"]?.stringValue else {
        throw FederationError(.invalidArgument, "an artifact of a cache's entry has a name and s3.key")
      }
      let isPacked = artifact["archive"]?["none"] == nil && (key.hasSuffix(".tgz") || key.hasSuffix(".tar.gz"))
      outputs.artifacts[name] = StoredArtifact(
        key: key, size: .zero, sha256: "", archive: isPacked ? .tar : .none,
        origin: try repository.map { try WorkflowDefinition.origin(ofKey: key, in: $0) })
    }
    return outputs
  }
}
