import FederationModel
import FoundationEssentials
import WorkflowCore

/// A stored object as its author sent it, checked by itself.
struct ObjectDraft: Sendable {
  enum Content: Sendable {
    case template(WorkflowTemplateDefinition)
    case cron(CronWorkflowDefinition)
    case configMap
  }
  var kind: StoredObjectKind
  var name: String
  var namespace: String?
  var labels: [String: String]
  /// JSON with sorted keys, without what the system adds.
  var document: String
  var content: Content
  /// `metadata.resourceVersion` and `metadata.uid` as they were sent: what the object must have still.
  var revision: Int64?
  var uid: String?

  /// - Parameters:
  ///   - sent: the metadata as it was sent, for what the definition does not keep.
  ///   - suffix: of a name that is made of `generateName`.
  /// - Throws: `DocumentErrors`, `.invalidArgument`; nil for a workflow.
  init?(_ document: ArgoDocument, suffix: @autoclosure () -> String) throws {
    var document = document
    let metadata = document.metadata
    if metadata.name == nil, let prefix = metadata.generateName {
      switch document {
      case .workflow: return nil
      case .template(let definition): document = .template(try definition.named(prefix + suffix()))
      case .cronWorkflow(let definition): document = .cronWorkflow(try definition.named(prefix + suffix()))
      }
    }
    switch document {
    case .workflow: return nil
    case .template(let definition):
      kind = definition.reference.isClusterScope ? .clusterWorkflowTemplate : .workflowTemplate
      content = .template(definition)
    case .cronWorkflow(let definition):
      kind = .cronWorkflow
      content = .cron(definition)
    }
    name = document.metadata.name ?? ""
    namespace = metadata.namespace
    labels = metadata.labels
    guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(document.canonicalJSON.utf8)) else {
      throw FederationError(.internal, "a document that was read cannot be read again")
    }
    (revision, uid) = try Self.preconditions(value)
    self.document = Self.stripped(value).description
    try check()
  }

  /// A `ConfigMap`.
  ///
  /// - Throws: `.invalidArgument`.
  init(configMap value: JSONValue, suffix: @autoclosure () -> String) throws {
    kind = .configMap
    content = .configMap
    let metadata = value["metadata"]
    name = metadata?["name"]?.stringValue ?? (metadata?["generateName"]?.stringValue).map { $0 + suffix() } ?? ""
    namespace = metadata?["namespace"]?.stringValue
    labels = try Self.texts(metadata?["labels"], "metadata.labels")
    let data = try Self.texts(value["data"], "data")
    let binary = try Self.texts(value["binaryData"], "binaryData")
    for (field, key) in data.keys.sorted().map({ ("data", $0) }) + binary.keys.sorted().map({ ("binaryData", $0) })
    where !Self.isKey(key) {
      throw FederationError(
        .invalidArgument,
        "\(field): a key has 1 to 253 letters, digits, '-', '_' and '.', not \"\(key.prefix(80))\"")
    }
    for (key, text) in binary.sorted(by: { $0.key < $1.key }) {
      if data[key] != nil { throw FederationError(.invalidArgument, "binaryData: \(key) is in data, too") }
      if Data(base64Encoded: text) == nil {
        throw FederationError(.invalidArgument, "binaryData: \(key) is no base64")
      }
    }
    if let immutable = value["immutable"], immutable != .null, immutable != false {
      throw FederationError(.invalidArgument, "immutable: config maps can always be changed")
    }
    (revision, uid) = try Self.preconditions(value)
    var kept: [String: JSONValue] = ["name": .string(name)]
    if !labels.isEmpty { kept["labels"] = .object(labels.mapValues { .string($0) }) }
    let annotations = try Self.texts(metadata?["annotations"], "metadata.annotations")
    if !annotations.isEmpty { kept["annotations"] = .object(annotations.mapValues { .string($0) }) }
    var object: [String: JSONValue] = [
      "apiVersion": "v1", "kind": "ConfigMap", "metadata": .object(kept),
      "data": .object(data.mapValues { .string($0) }),
    ]
    if !binary.isEmpty { object["binaryData"] = .object(binary.mapValues { .string($0) }) }
    document = JSONValue.object(object).description
    try check()
  }

  /// - Source: Argo limits names of cron workflows to 52 characters, because those of their workflows are longer.
  private func check() throws {
    guard !name.isEmpty else {
      throw FederationError(.invalidArgument, "metadata.name: a \(kind.word) needs a name or a generateName")
    }
    try WorkflowName.check(name, of: kind.word, bytesMax: kind == .cronWorkflow ? 52 : 253)
    guard document.utf8.count <= kind.bytesMax else {
      throw FederationError(
        .invalidArgument, "a \(kind.word) has at most \(ByteCount(Int64(kind.bytesMax))) as JSON")
    }
  }

  private static func isKey(_ text: String) -> Bool {
    (1...253).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
          || [0x2d, 0x2e, 0x5f].contains(byte)
      }
  }

  private static func texts(_ value: JSONValue?, _ path: String) throws -> [String: String] {
    guard let value, value != .null else { return [:] }
    guard let members = value.objectValue, members.values.allSatisfy({ $0.stringValue != nil }) else {
      throw FederationError(.invalidArgument, "\(path) is an object of texts")
    }
    return members.mapValues { $0.stringValue ?? "" }
  }

  private static func preconditions(_ value: JSONValue) throws -> (Int64?, String?) {
    let metadata = value["metadata"]
    let uid = metadata?["uid"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
    guard let text = metadata?["resourceVersion"]?.stringValue, !text.isEmpty else { return (nil, uid) }
    guard let revision = Int64(text) else {
      throw FederationError(
        .invalidArgument, "metadata.resourceVersion is what an answer had, not \"\(text.prefix(40))\"")
    }
    return (revision, uid)
  }

  /// Without what the system says of an object.
  private static func stripped(_ value: JSONValue) -> JSONValue {
    guard case .object(var object) = value else { return value }
    object["status"] = nil
    var metadata = object["metadata"]?.objectValue ?? [:]
    for field in [
      "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink",
      "generateName",
    ] { metadata[field] = nil }
    object["metadata"] = .object(metadata)
    return .object(object)
  }
}
