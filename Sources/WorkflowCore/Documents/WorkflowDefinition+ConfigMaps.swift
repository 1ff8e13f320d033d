/// A value of a config map that a workflow takes.
public struct ConfigMapReference: Hashable, Sendable {
  public var name: String
  public var key: String
}

/// Values that parameters take from config maps are put into the document when it is submitted: a running workflow is not touched by what
/// is changed there later. What environments and volumes take is read by the agent when a run starts, as Argo's pods do.
extension WorkflowDefinition {
  /// What parameters take from config maps (`valueFrom.configMapKeyRef`), in the document's order.
  public var configMapReferences: [ConfigMapReference] {
    guard canonicalJSON.contains(ConfigMapInsertion.field),
      let root = try? JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    else { return [] }
    var insertion = ConfigMapInsertion(maps: nil)
    _ = insertion.filled(root, at: DocumentPath())
    return insertion.found
  }

  /// The same workflow with these values in the places of their references.
  ///
  /// - Parameter maps: by name; without an entry there is no such config map.
  /// - Throws: `DocumentErrors` for each value that is not there, has no default and is not optional.
  public func withConfigMaps(_ maps: [String: [String: String]]) throws(DocumentErrors) -> WorkflowDefinition {
    guard canonicalJSON.contains(ConfigMapInsertion.field) else { return self }
    let root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    var insertion = ConfigMapInsertion(maps: maps)
    let filled = insertion.filled(root, at: DocumentPath())
    guard insertion.problems.isEmpty else { throw DocumentErrors.ordered(insertion.problems, omittedCount: 0) }
    return try WorkflowDefinition(json: filled.canonicalJSON)
  }
}

/// Walks a document and puts values in the places of references. The tree's height is bounded (`DocumentLimits.depth`).
private struct ConfigMapInsertion {
  static let field = "configMapKeyRef"
  /// nil: the references are only collected.
  let maps: [String: [String: String]]?
  var found: [ConfigMapReference] = []
  var problems: [DocumentProblem] = []

  init(maps: [String: [String: String]]?) { self.maps = maps }

  mutating func filled(_ node: DocumentNode, at path: DocumentPath) -> DocumentNode {
    var node = node
    switch node.value {
    case .sequence(let items):
      node.value = .sequence(items.enumerated().map { filled($0.element, at: path / $0.offset) })
    case .mapping(var members):
      if let reference = node["valueFrom"]?[Self.field] {
        fill(&node, reference, at: path)
      } else {
        for index in members.indices where members[index].key != "env" {
          members[index].value = filled(members[index].value, at: path / members[index].key)
        }
        node.value = .mapping(members)
      }
    default: break
    }
    return node
  }

  /// - Parameter node: a parameter.
  private mutating func fill(_ node: inout DocumentNode, _ reference: DocumentNode, at path: DocumentPath) {
    let wanted = ConfigMapReference(
      name: reference["name"]?.scalarText ?? "", key: reference["key"]?.scalarText ?? "")
    // A value that was given wins, as where a parameter is set at submission.
    guard node["value"] == nil else { return node.remove("valueFrom") }
    found.append(wanted)
    guard let maps else { return }
    let fallback = node["valueFrom"]?["default"]?.scalarText
    let isOptional = reference["optional"]?.scalarText == "true"
    if let value = maps[wanted.name]?[wanted.key] ?? fallback {
      node.set("value", to: DocumentNode(.string(value)))
    } else if node["default"] == nil, !isOptional {
      let what =
        maps[wanted.name] == nil ? "config map \(wanted.name)" : "value \(wanted.key) in config map \(wanted.name)"
      problems.append(
        DocumentProblem(
          path: "\(path / "valueFrom" / Self.field)",
          message: "there is no \(what): set it with `fubini configmap set \(wanted.name)`"))
    } else if node["default"] == nil {
      node.set("value", to: DocumentNode(.string("")))
    }
    node.remove("valueFrom")
  }
}
