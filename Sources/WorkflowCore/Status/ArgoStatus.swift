public import FederationModel

/// A workflow as Argo's API shows it: `metadata`, the author's `spec`, and `status` with the tree of nodes.
///
/// - Source: Argo Workflows v3.7, `workflow_types.go`, `WorkflowStatus` and `NodeStatus`.
public enum ArgoStatus {
  /// The whole object. O(nodes + edges).
  public static func render(_ machine: WorkflowMachine) -> JSONValue {
    let document = (try? JSONText.parse(machine.definition.canonicalJSON)) ?? .object([:])
    var object = document.objectValue ?? [:]
    object["apiVersion"] = object["apiVersion"] ?? "argoproj.io/v1alpha1"
    object["kind"] = object["kind"] ?? "Workflow"
    object["metadata"] = metadata(machine, written: object["metadata"]?.objectValue ?? [:])
    let stored = object["status"]?.objectValue ?? [:]
    object["status"] = .object((status(machine).objectValue ?? [:]).merging(stored) { $1 })
    return .object(object)
  }

  /// `metadata` with what the system adds: the name, the namespace, the uid, the moment of creation and Argo's labels.
  private static func metadata(_ machine: WorkflowMachine, written: [String: JSONValue]) -> JSONValue {
    var metadata = written
    let phase = machine.status.phase
    metadata["name"] = .string(machine.identity.name)
    metadata["namespace"] = .string(machine.identity.project.text)
    metadata["uid"] = .string(machine.identity.uid)
    metadata["creationTimestamp"] = .string(RFC3339.format(machine.identity.createdAt))
    var labels = machine.labels.mapValues { JSONValue.string($0) }
    labels["workflows.argoproj.io/phase"] = .string(phase.rawValue)
    if phase.isTerminal { labels["workflows.argoproj.io/completed"] = "true" }
    metadata["labels"] = .object(labels)
    return .object(metadata)
  }

  /// `status` alone.
  public static func status(_ machine: WorkflowMachine) -> JSONValue {
    let status = machine.status
    var object: [String: JSONValue] = [
      "phase": .string(status.phase.rawValue), "progress": .string(progress(machine)),
      "startedAt": time(status.startedAt), "finishedAt": time(status.finishedAt),
      "conditions": conditions(machine), "nodes": nodes(machine),
    ]
    if !status.message.isEmpty { object["message"] = .string(status.message) }
    let outputs = outputs(status.outputs, exitCode: nil, of: nil)
    if outputs != .object([:]) { object["outputs"] = outputs }
    return .object(object)
  }

  /// `status.nodes`, by Argo's ids. Superseded nodes are left out.
  public static func nodes(_ machine: WorkflowMachine) -> JSONValue {
    var nodes: [String: JSONValue] = [:]
    nodes.reserveCapacity(machine.nodeCount)
    for ordinal in 0..<Int32(machine.nodeCount) {
      let record = machine[NodeID(ordinal)]
      if record.isSuperseded { continue }
      nodes[machine.argoID(of: ordinal)] = node(record, machine)
      nodes.merge(containers(of: record, machine)) { own, _ in own }
    }
    return .object(nodes)
  }

  private static func conditions(_ machine: WorkflowMachine) -> JSONValue {
    let status = machine.status
    var conditions: [JSONValue] = []
    if status.phase.isTerminal { conditions.append(["type": "Completed", "status": "True"]) }
    if status.isSuspended { conditions.append(["type": "Suspended", "status": "True"]) }
    // As Argo calls what it accepts and does not like.
    let warnings = machine.definition.spec.warnings
    if !warnings.isEmpty {
      conditions.append(
        ["type": "SpecWarning", "status": "True", "message": .string(warnings.joined(separator: "; "))])
    }
    return .array(conditions)
  }

  /// Tasks that ended well, of all tasks.
  private static func progress(_ machine: WorkflowMachine) -> String {
    var (done, all) = (0, 0)
    for ordinal in 0..<Int32(machine.nodeCount) {
      let record = machine[NodeID(ordinal)]
      guard record.type == .pod, !record.isSuperseded else { continue }
      all += 1
      if record.phase == .succeeded { done += 1 }
    }
    return "\(done)/\(all)"
  }

  private static func node(_ record: NodeRecord, _ machine: WorkflowMachine) -> JSONValue {
    let isRequest = record.type == .pod && machine.plan(of: record.id.ordinal)?.template.http != nil
    var object: [String: JSONValue] = [
      "id": .string(machine.argoID(of: record.id.ordinal)), "name": .string(record.name),
      "displayName": .string(record.displayName),
      "type": .string(isRequest ? "HTTP" : record.type.rawValue),
      "phase": .string(record.phase.rawValue), "startedAt": time(record.startedAt),
      "finishedAt": time(record.finishedAt),
    ]
    object.merge(template(of: record, machine)) { $1 }
    if !record.message.isEmpty { object["message"] = .string(record.message) }
    if let boundary = record.boundary { object["boundaryID"] = .string(machine.argoID(of: boundary.ordinal)) }
    if let cluster = record.hostCluster { object["hostNodeName"] = .string(cluster.text) }
    if let daemon = record.daemon { object["podIP"] = .string(daemon.address) }
    if record.isDaemoned, !record.phase.isTerminal { object["daemoned"] = true }
    if record.role == .exitHandler || record.role == .hook || record.id == machine.exitHandlerNode {
      object["nodeFlag"] = ["hooked": true]
    }
    if record.role == .attempt { object["nodeFlag"] = ["retried": true] }
    if let locks = record.gate?.locks, !locks.isHeld, let first = locks.names.first {
      object["synchronizationStatus"] = ["waiting": .string(first.text(in: machine.identity.project.text))]
    }
    if let memo = record.gate?.memo, memo.isAnswered {
      object["memoizationStatus"] = [
        "hit": .bool(memo.isHit), "key": .string(memo.key), "cacheName": .string(memo.cache),
      ]
    }
    let children = record.children.filter { !machine[$0].isSuperseded }
    if let first = firstContainers(of: record, machine) {
      object["children"] = first
    } else if !children.isEmpty {
      object["children"] = ids(children, machine)
    }
    if record.type == .steps || record.type == .dag, record.phase.isTerminal {
      let outbound = machine.outbound(of: record.id.ordinal)
      if !outbound.isEmpty, outbound != [record.id] { object["outboundNodes"] = outboundIDs(outbound, machine) }
    }
    if record.type == .pod { object["progress"] = record.phase == .succeeded ? "1/1" : "0/1" }
    let template = machine.plan(of: record.id.ordinal)?.template
    if !record.inputs.isEmpty { object["inputs"] = inputs(record.inputs, of: template) }
    let outputs = outputs(record.outputs, exitCode: record.exitCode, of: template)
    if outputs != .object([:]) { object["outputs"] = outputs }
    return .object(object)
  }

  /// Which template the node runs, and where that name was written.
  ///
  /// - Source: Argo Workflows v3.7, `workflow/controller/operator.go`, `initializeNode`: the scope is that of the template that
  ///   mentions this one.
  static func template(of record: NodeRecord, _ machine: WorkflowMachine) -> [String: JSONValue] {
    let outer = record.boundary.map { TemplateScope.split(machine[$0].templateName).scope } ?? .local
    var object: [String: JSONValue] = ["templateScope": .string(outer.text(workflow: machine.identity.name))]
    guard !record.templateName.isEmpty else { return object }
    let (scope, name) = TemplateScope.split(record.templateName)
    if let reference = scope.reference, scope != outer {
      var mention: [String: JSONValue] = ["name": .string(reference.name), "template": .string(name)]
      if reference.isClusterScope { mention["clusterScope"] = true }
      object["templateRef"] = .object(mention)
    } else {
      object["templateName"] = .string(name)
    }
    return object
  }

  /// Of a pod with containers of its own these.
  private static func outboundIDs(_ nodes: [NodeID], _ machine: WorkflowMachine) -> JSONValue {
    .array(
      nodes.flatMap { lastContainers(of: machine[$0], machine) ?? [.string(machine.argoID(of: $0.ordinal))] })
  }

  static func ids(_ nodes: [NodeID], _ machine: WorkflowMachine) -> JSONValue {
    .array(nodes.map { .string(machine.argoID(of: $0.ordinal)) })
  }

  static func time(_ moment: Timestamp?) -> JSONValue { moment.map { .string(RFC3339.format($0)) } ?? .null }

  private static func inputs(_ inputs: NodeInputs, of template: WorkflowTemplate?) -> JSONValue {
    var object: [String: JSONValue] = [:]
    if !inputs.parameters.isEmpty {
      object["parameters"] = .array(
        inputs.parameters.map { parameter($0.name, $0.value, template?.inputs.parameters) })
    }
    let artifacts = inputs.artifacts.map { artifact in
      switch artifact.source {
      case .raw(let data): JSONValue.object(["name": .string(artifact.name), "raw": ["data": .string(data)]])
      case .stored(let stored): self.artifact(artifact.name, stored)
      case .foreign(let foreign): self.artifact(artifact.name, foreign.origin)
      case .absent: JSONValue.object(["name": .string(artifact.name), "optional": true])
      }
    }
    if !artifacts.isEmpty { object["artifacts"] = .array(artifacts) }
    return .object(object)
  }

  private static func artifact(_ name: String, _ stored: StoredArtifact) -> JSONValue {
    if let origin = stored.origin { return artifact(name, origin, archive: stored.archive) }
    return ["name": .string(name), "s3": ["key": .string(stored.key)]]
  }

  /// Without the headers of an address, which may be somebody's credentials.
  private static func artifact(_ name: String, _ origin: DataOrigin, archive: ArchiveFormat? = nil) -> JSONValue {
    if let git = try? GitSource(origin.uri) {
      var object: [String: JSONValue] = ["repo": .string(git.url)]
      if let revision = git.revision { object["revision"] = .string(revision) }
      if let branch = git.branch { object["branch"] = .string(branch) }
      return ["name": .string(name), "git": .object(object)]
    }
    let address = origin.uri.prefix { $0 != "?" }
    guard address.hasPrefix("s3://") else {
      return ["name": .string(name), "http": ["url": .string(String(address))]]
    }
    let path = address.dropFirst(5)
    let slash = path.firstIndex(of: "/") ?? path.endIndex
    let key = DataOrigin.unescaped(path[slash...].dropFirst())
    var object: [String: JSONValue] = [
      "name": .string(name), "s3": ["bucket": .string(String(path[..<slash])), "key": .string(key)],
    ]
    if archive == ArchiveFormat.none { object["archive"] = ["none": [:]] }
    return .object(object)
  }

  /// A parameter with what its template says of it.
  private static func parameter(_ name: String, _ value: String, _ written: [WorkflowParameter]?) -> JSONValue {
    var object: [String: JSONValue] = ["name": .string(name), "value": .string(value)]
    let own = written?.first { $0.name == name }
    if let about = own?.about { object["description"] = .string(about) }
    if let global = own?.globalName { object["globalName"] = .string(global) }
    return .object(object)
  }

  private static func outputs(
    _ outputs: TaskOutputs, exitCode: Int32?, of template: WorkflowTemplate?
  ) -> JSONValue {
    var object: [String: JSONValue] = [:]
    if let result = outputs.result { object["result"] = .string(result) }
    if let exitCode { object["exitCode"] = .string(String(exitCode)) }
    if !outputs.parameters.isEmpty {
      object["parameters"] = .array(
        outputs.parameters.sorted { $0.key < $1.key }.map {
          parameter($0.key, $0.value, template?.outputs.parameters)
        })
    }
    if !outputs.artifacts.isEmpty {
      object["artifacts"] = .array(outputs.artifacts.sorted { $0.key < $1.key }.map { artifact($0.key, $0.value) })
    }
    return .object(object)
  }
}
