import FederationModel

/// The containers of a set as nodes below their pod, as Argo shows them: `pod.a`, with an edge from what each waits for.
///
/// They are made when a workflow is shown: all that is known of them is the pod's phase and, when it has ended, their exit codes.
/// - Source: Argo Workflows v3.7, `workflow/controller/container_set_template.go`.
extension ArgoStatus {
  /// By Argo's ids; none for a node that runs no set.
  static func containers(of record: NodeRecord, _ machine: WorkflowMachine) -> [String: JSONValue] {
    guard let set = set(of: record, machine) else { return [:] }
    var nodes: [String: JSONValue] = [:]
    for container in set.containers {
      let name = "\(record.name).\(container.name)"
      let (phase, message) = state(of: container.name, in: record)
      var object: [String: JSONValue] = [
        "id": .string(id(of: container.name, in: record, machine)), "name": .string(name),
        "displayName": .string(container.name), "type": "Container", "phase": .string(phase.rawValue),
        "boundaryID": .string(machine.argoID(of: record.id.ordinal)),
        "startedAt": time(record.startedAt), "finishedAt": phase.isTerminal ? time(record.finishedAt) : .null,
      ]
      object.merge(template(of: record, machine)) { $1 }
      if !message.isEmpty { object["message"] = .string(message) }
      let next = set.containers.filter { $0.dependencies.contains(container.name) }.map {
        JSONValue.string(id(of: $0.name, in: record, machine))
      }
      // What comes after the pod comes after its last containers.
      let children =
        next.isEmpty ? ids(record.children.filter { !machine[$0].isSuperseded }, machine).arrayValue ?? [] : next
      if !children.isEmpty { object["children"] = .array(children) }
      nodes[id(of: container.name, in: record, machine)] = .object(object)
    }
    return nodes
  }

  /// The containers of a set that wait for no other; nil for a node that runs none.
  static func firstContainers(of record: NodeRecord, _ machine: WorkflowMachine) -> JSONValue? {
    set(of: record, machine).map { set in
      .array(
        set.containers.filter(\.dependencies.isEmpty).map { .string(id(of: $0.name, in: record, machine)) })
    }
  }

  /// Those for which no other waits; nil for a node that runs no set.
  static func lastContainers(of record: NodeRecord, _ machine: WorkflowMachine) -> [JSONValue]? {
    set(of: record, machine).map { set in
      let awaited = Set(set.containers.flatMap(\.dependencies))
      return set.containers.filter { !awaited.contains($0.name) }.map { .string(id(of: $0.name, in: record, machine)) }
    }
  }

  private static func set(of record: NodeRecord, _ machine: WorkflowMachine) -> ContainerSet? {
    record.type == .pod ? machine.plan(of: record.id.ordinal)?.template.containerSet : nil
  }

  private static func id(of container: String, in record: NodeRecord, _ machine: WorkflowMachine) -> String {
    ArgoNames.nodeID(workflow: machine.identity.name, node: "\(record.name).\(container)")
  }

  private static func state(of container: String, in record: NodeRecord) -> (NodePhase, String) {
    guard record.phase == .succeeded || record.phase == .failed else { return (record.phase, record.message) }
    guard let code = record.outputs.exitCodes?[container] else {
      return record.phase == .succeeded ? (.succeeded, "") : (.failed, "it did not run")
    }
    return code == 0 ? (.succeeded, "") : (.failed, "exit code \(code)")
  }
}
