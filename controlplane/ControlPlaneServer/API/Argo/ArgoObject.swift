import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import WorkflowCore

/// Workflows as Argo's API shows them.
enum ArgoObject {
  /// The whole object, nodes included.
  ///
  /// - Parameters:
  ///   - pendingMessages: Why nodes wait (invariant I10), by node; shown where a node says nothing itself.
  ///   - resourceVersion: The commit that is shown.
  /// - Throws: when the stored document cannot be read back.
  static func workflow(
    _ loaded: LoadedWorkflow, pendingMessages: [Int32: String] = [:], resourceVersion: Int64
  ) throws -> JSONValue {
    let nodes = loaded.nodes.map { record in
      guard record.message.isEmpty, let message = pendingMessages[record.id.ordinal] else { return record }
      var record = record
      record.message = message
      return record
    }
    let machine = try machine(loaded.row, nodes)
    return adorned(ArgoStatus.render(machine), loaded.row, resourceVersion)
  }

  /// The object of a list: without `status.nodes`, because a page of large workflows would be hundreds of megabytes.
  ///
  /// A document that cannot be read back does not spoil the list: its entry says so.
  static func listItem(_ row: WorkflowRow, tasks: [String: Int], resourceVersion: Int64) -> JSONValue {
    guard let machine = try? machine(row, []) else { return unreadable(row, resourceVersion) }
    guard case .object(var object) = ArgoStatus.render(machine), case .object(var status)? = object["status"] else {
      return unreadable(row, resourceVersion)
    }
    status["nodes"] = nil
    status["progress"] = .string("\(tasks[NodePhase.succeeded.rawValue] ?? 0)/\(tasks.values.reduce(0, +))")
    object["status"] = .object(status)
    return adorned(.object(object), row, resourceVersion)
  }

  static func list(_ items: [JSONValue], next: String?, resourceVersion: Int64) -> JSONValue {
    var metadata: [String: JSONValue] = ["resourceVersion": .string(String(resourceVersion))]
    if let next { metadata["continue"] = .string(next) }
    return [
      "apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowList", "metadata": .object(metadata),
      "items": .array(items),
    ]
  }

  private static func machine(_ row: WorkflowRow, _ nodes: [NodeRecord]) throws -> WorkflowMachine {
    let identity = WorkflowIdentity(name: row.name, uid: row.uid, project: row.project, createdAt: row.createdAt)
    do {
      return try WorkflowMachine(
        definition: try WorkflowDefinition(json: row.document), identity: identity, status: row.status, nodes: nodes)
    } catch {
      throw FederationError(.internal, "workflow \(row.name) cannot be read back", cause: error)
    }
  }

  /// Adds what Argo keeps in the object and we keep beside the document.
  private static func adorned(_ rendered: JSONValue, _ row: WorkflowRow, _ resourceVersion: Int64) -> JSONValue {
    guard case .object(var object) = rendered else { return rendered }
    var metadata = object["metadata"]?.objectValue ?? [:]
    metadata["resourceVersion"] = .string(String(resourceVersion))
    metadata["generation"] = .integer(Int64(row.generation) + 1)
    object["metadata"] = .object(metadata)
    var spec = object["spec"]?.objectValue ?? [:]
    // In Argo these are fields of the spec, and its clients look there.
    // What the document says of its beginning holds until then.
    if row.status.phase != .pending { spec["suspend"] = row.status.isSuspended ? true : nil }
    if let shutdown = row.status.shutdown { spec["shutdown"] = .string(shutdown.rawValue) }
    object["spec"] = .object(spec)
    return .object(object)
  }

  /// What is known without the document.
  static func outline(_ head: WorkflowHead, _ message: String, resourceVersion: Int64) -> JSONValue {
    [
      "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
      "metadata": [
        "name": .string(head.name), "namespace": .string(head.project.text), "uid": .string(head.uid),
        "creationTimestamp": .string(RFC3339.format(head.createdAt)),
        "labels": .object(head.labels.mapValues { .string($0) }),
        "resourceVersion": .string(String(resourceVersion)),
      ], "spec": [:], "status": ["phase": .string(head.status.phase.rawValue), "message": .string(message)],
    ]
  }

  private static func unreadable(_ row: WorkflowRow, _ resourceVersion: Int64) -> JSONValue {
    outline(WorkflowHead(row), "the stored document cannot be read back", resourceVersion: resourceVersion)
  }
}
