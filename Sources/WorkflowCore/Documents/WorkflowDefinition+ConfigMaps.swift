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
    var insertion = ConfigMapInsertion(maps: nil, parameters: knownParameters)
    _ = insertion.filled(root, at: DocumentPath())
    return insertion.found
  }

  /// The workflow's parameters that have values, by the names that tags have for them: what names of config maps may depend on.
  private var knownParameters: [String: String] {
    var values: [String: String] = [:]
    for parameter in spec.arguments.parameters {
      values["workflow.parameters.\(parameter.name)"] = parameter.value ?? parameter.defaultValue
    }
    return values
  }

  /// The same workflow with these values in the places of their references.
  ///
  /// - Parameter maps: by name; without an entry there is no such config map.
  /// - Throws: `DocumentErrors` for each value that is not there, has no default and is not optional.
  public func withConfigMaps(_ maps: [String: [String: String]]) throws(DocumentErrors) -> WorkflowDefinition {
    guard canonicalJSON.contains(ConfigMapInsertion.field) else { return self }
    let root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    var insertion = ConfigMapInsertion(maps: maps, parameters: knownParameters)
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
  let parameters: [String: String]
  var found: [ConfigMapReference] = []
  var problems: [DocumentProblem] = []

  init(maps: [String: [String: String]]?, parameters: [String: String]) {
    self.maps = maps
    self.parameters = parameters
  }

  /// A name or key with the workflow's parameters in the places of their tags; nil where one has no value.
  private func text(_ node: DocumentNode?) -> String? {
    let written = node?.scalarText ?? ""
    guard Tags.mayContainTag(written) else { return written }
    return try? Tags.substitute(written) { name in parameters[name].map { .text($0) } ?? .unknown }
  }

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
    // A value that was given wins, as where a parameter is set at submission.
    guard node["value"] == nil else { return node.remove("valueFrom") }
    guard let name = text(reference["name"]), let key = text(reference["key"]) else {
      guard maps != nil else { return }
      return problems.append(
        DocumentProblem(
          path: "\(path / "valueFrom" / Self.field)",
          message: "a tag in it has no value when the workflow is submitted: it knows workflow.parameters alone"))
    }
    let wanted = ConfigMapReference(name: name, key: key)
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
