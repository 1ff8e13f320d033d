/// Lays a workflow's spec over that of the template which it takes whole.
///
/// Maps are merged at every depth; lists whose items Kubernetes knows by a key are merged by it, other lists are taken whole. A hook is
/// taken whole, and so is a parameter or an artifact that the workflow gives a value.
/// - Source: Argo Workflows v3.7, `workflow/util/merge.go`; `patchMergeKey` in `workflow_types.go` and in Kubernetes' `core/v1`.
enum SpecMerge {
  static func merge(_ spec: DocumentNode, over base: DocumentNode) -> DocumentNode {
    var merged = lay(spec, over: base, in: [])
    // Whether it begins suspended is the workflow's to say.
    if let suspend = spec["suspend"] { merged.set("suspend", to: suspend) } else { merged.remove("suspend") }
    return merged
  }

  /// `mergeKeys[field]`: what tells the items of that list apart.
  private static let mergeKeys = [
    "templates": "name", "volumes": "name", "tolerations": "key", "imagePullSecrets": "name", "hostAliases": "ip",
    "parameters": "name", "artifacts": "name", "initContainers": "name", "sidecars": "name", "tasks": "name",
    "env": "name",
  ]

  private static func lay(_ node: DocumentNode, over base: DocumentNode, in path: [String]) -> DocumentNode {
    switch (node.value, base.value) {
    case (.null, _): return base
    case (.mapping(let members), .mapping(let others)):
      if path.count == 2, path[0] == "hooks" { break }
      var result = others
      for member in members {
        if let position = result.firstIndex(where: { $0.key == member.key }) {
          result[position].value = lay(member.value, over: result[position].value, in: path + [member.key])
          result[position].keyMark = member.keyMark
        } else {
          result.append(member)
        }
      }
      return DocumentNode(.mapping(result), mark: node.mark)
    case (.sequence(let items), .sequence(let others)):
      guard let key = path.last.flatMap({ mergeKeys[$0] }) else { return node }
      var result = others
      for item in items {
        let name = item[key]?.scalarText
        guard let position = result.firstIndex(where: { $0[key]?.scalarText == name && name != nil }) else {
          result.append(item)
          continue
        }
        result[position] =
          isReplacement(item, of: result[position], in: path)
          ? item : lay(item, over: result[position], in: path + ["*"])
      }
      return DocumentNode(.sequence(result), mark: node.mark)
    default: return node
    }
    return node
  }

  /// A parameter that is given a value has none of the other's fields, an artifact that is given another kind of source has not both.
  private static func isReplacement(_ item: DocumentNode, of other: DocumentNode, in path: [String]) -> Bool {
    if path == ["arguments", "parameters"] { return ["value", "valueFrom", "default"].contains { item[$0] != nil } }
    guard path == ["arguments", "artifacts"] else { return false }
    let given = sources.filter { item[$0] != nil }
    return !given.isEmpty && given != sources.filter { other[$0] != nil }
  }

  private static let sources = [
    "artifactory", "azure", "from", "fromExpression", "gcs", "git", "hdfs", "http", "oss", "plugin", "raw", "s3",
  ]
}
