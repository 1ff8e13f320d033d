import DequeModule
public import FederationModel
import FoundationEssentials
import SchedulerCore
import WorkflowCore

/// What the database said about a finished workflow.
enum Loaded {
  case notAsked
  case missing
  case found(RestoredWorkflow)
}

extension ControlPlaneCore {
  mutating func apply(
    _ command: Command, _ request: RequestID, _ principal: Principal, _ idempotency: IdempotencyKey?, loaded: Loaded
  ) {
    if let idempotency, let first = replies[ReplyKey(principal: principal.user, key: idempotency.key)] {
      output.add(.reply(request, repeated(first, idempotency)))
      return
    }
    do {
      switch try perform(command, principal, loaded: loaded) {
      case .reply(let reply): answer(reply, to: request, principal, idempotency)
      case .load(let reference): output.add(.load(reference, command, request, principal, idempotency))
      case .forgetting(let cluster):
        openForgets.append(
          OpenForget(cluster: cluster, request: request, principal: principal, idempotency: idempotency))
      }
    } catch let error as FederationError {
      output.add(.reply(request, .failure(error)))
    } catch {
      output.add(
        .reply(request, .failure(FederationError(.internal, "the request could not be carried out", cause: error))))
    }
  }

  /// A command is carried out, and its caller hears of it after the commit.
  mutating func answer(
    _ reply: Reply, to request: RequestID, _ principal: Principal, _ idempotency: IdempotencyKey?
  ) {
    if let idempotency { remember(reply, principal, idempotency) }
    output.add(.reply(request, .success(reply)))
  }

  /// What became of a command in its first turn.
  private enum Performed {
    case reply(Reply)
    /// The workflow has to be loaded first.
    case load(WorkflowReference)
    /// The cluster's runs are given up in slices; the answer comes after the last.
    case forgetting(ClusterName)
  }

  private mutating func perform(_ command: Command, _ principal: Principal, loaded: Loaded) throws -> Performed {
    switch command {
    case .workflow(let reference, _) where workflowByName[reference] == nil, .resubmit(let reference, _):
      if case .notAsked = loaded, workflowByName[reference] == nil { return .load(reference) }
    case .forgetCluster(let cluster, let confirmStopped):
      if try beginForgetting(cluster, confirmStopped: confirmStopped, principal) { return .forgetting(cluster) }
    default: break
    }
    return .reply(try reply(to: command, principal, loaded: loaded))
  }

  private mutating func reply(to command: Command, _ principal: Principal, loaded: Loaded) throws -> Reply {
    switch command {
    case .submit(let submission): return try submit(submission, principal)
    case .resubmit(let reference, let submission):
      guard case .found(let source) = loaded else {
        throw workflowByName[reference] == nil
          ? FederationError(.notFound, "there is no workflow \(reference.name) in project \(reference.project)")
          : FederationError(.failedPrecondition, "workflow \(reference.name) still runs")
      }
      return try submit(submission, principal, continuing: try source.machine.get())
    case .workflow(let reference, let command):
      if let id = workflowByName[reference] { return try perform(command, on: id, principal) }
      switch loaded {
      case .notAsked, .missing:
        throw FederationError(.notFound, "there is no workflow \(reference.name) in project \(reference.project)")
      case .found(let workflow): return try perform(command, onFinished: workflow, principal)
      }
    case .createCluster(let spec): return try create(spec, principal)
    case .updateCluster(let spec): return try update(spec, principal)
    case .setPrices(let cluster, let period): return try setPrices(of: cluster, period, principal)
    case .spot(let cluster, let command): return try perform(command, on: cluster, principal)
    case .cordon(let cluster, let reason): return try cordon(cluster, reason: reason, principal)
    case .drain(let cluster, let isDraining, let reason):
      return try drain(cluster, isDraining, reason: reason, principal)
    case .revokeAgent(let cluster): return try revoke(cluster, principal)
    case .forgetCluster(let cluster, _): return forget(cluster)
    case .recover(let cluster): return try recover(cluster, principal)
    case .explain(let reference, let node): return try explain(reference, node)
    case .dataset(let reference, let command): return try perform(command, on: reference, principal)
    case .project(let name, let command): return try perform(command, on: name, principal)
    case .organisation(let name, let command): return try perform(command, on: name, principal)
    case .cancelTransfer(let id): return try cancel(id, principal)
    case .storeArtifact(let key, let project): return try storeArtifact(key, in: project)
    case .lookAhead(let inputs, let project): return lookAhead(at: inputs, of: project)
    }
  }

  // MARK: Repeated writes

  private func repeated(_ first: IdempotencyRow, _ key: IdempotencyKey) -> Result<Reply, FederationError> {
    guard first.requestHash == key.requestHash else {
      return .failure(
        FederationError(
          .invalidArgument, "this Idempotency-Key was used for another request; use a new key for a new request"))
    }
    do { return .success(try JSONDecoder().decode(Reply.self, from: Data(first.reply.utf8))) } catch {
      return .failure(FederationError(.internal, "the first answer to this request cannot be read back", cause: error))
    }
  }

  private mutating func remember(_ reply: Reply, _ principal: Principal, _ key: IdempotencyKey) {
    guard let data = try? JSONEncoder().encode(reply) else { return }
    let row = IdempotencyRow(
      principal: principal.user, key: key.key, requestHash: key.requestHash,
      reply: String(decoding: data, as: UTF8.self), at: now)
    replies[ReplyKey(row)] = row
    replyOrder.append(ReplyKey(row))
    output.idempotency.append(row)
  }

  mutating func note(_ principal: Principal, _ action: String, _ object: String, _ detail: String = "") {
    output.audit.append(
      AuditRow(
        at: now, actor: principal.user, address: principal.address, action: action, object: object, detail: detail))
  }

  // MARK: Explaining

  /// The candidate table of a task that waits, or where its run is. JSON members: `state` (`Waiting` or a run phase), and
  /// `candidates` as `CandidateTable.json` has them, or `cluster`, `run` and `explanation`.
  private func explain(_ reference: WorkflowReference, _ name: String) throws -> Reply {
    guard let id = workflowByName[reference] else {
      throw FederationError(.notFound, "workflow \(reference.name) does not run in project \(reference.project)")
    }
    guard let node = try node(named: name, in: id) else {
      throw FederationError(.notFound, "workflow \(reference.name) has no node \(name)")
    }
    return .explanation(try state(of: TaskID(workflow: id, node: node)).description)
  }

  private func state(of task: TaskID) throws -> JSONValue {
    let machine = workflows[task.workflow]!.machine
    guard let entry = workflows[task.workflow]!.tasks[task.node] else {
      let record = machine[task.node]
      return ["state": .string(record.phase.rawValue), "message": .string(record.message)]
    }
    if let run = entry.run.flatMap({ runs[$0] }) {
      return [
        "state": .string(run.row.phase.name), "cluster": .string(run.row.cluster.text),
        "run": .string(run.row.id.hexadecimal),
        "explanation": .integer(run.row.explanation), "message": .string(reason(of: run)),
      ]
    }
    if entry.isLooking { return ["state": "Waiting", "message": .string(lookingReason(task))] }
    guard let group = entry.group, pending.groups[group] != nil else {
      throw FederationError(.internal, "the task waits in no queue")
    }
    var views = views()
    let waiting = pendingGroup(group, [task])
    let table = candidates(of: waiting, group, on: &views)
    guard case .object(var members) = table.json else { return table.json }
    members["priority"] = priority(of: waiting, since: entry.since)
    members["state"] = "Waiting"
    members["message"] = .string(roomBeingMade(for: group) ?? summary(of: table))
    return .object(members)
  }

  /// Why those of `nodes` that are tasks, pending or placed, are where they are (invariant I10). As much work as there are nodes
  /// asked for, and once the clusters for each group of like tasks among them.
  public func reasons(in reference: WorkflowReference, of nodes: [NodeID]) -> [NodeID: String] {
    guard let id = workflowByName[reference] else { return [:] }
    var byGroup: [Int64: String] = [:]
    var reasons: [NodeID: String] = [:]
    var views = views()
    for node in nodes {
      guard let entry = workflows[id]!.tasks[node] else { continue }
      if let run = entry.run.flatMap({ runs[$0] }) {
        reasons[node] = reason(of: run)
      } else if let group = entry.group, pending.groups[group] != nil {
        if byGroup[group] == nil {
          let table = candidates(of: pendingGroup(group, [TaskID(workflow: id, node: node)]), group, on: &views)
          byGroup[group] = roomBeingMade(for: group) ?? summary(of: table)
        }
        reasons[node] = byGroup[group]
      } else if entry.isLooking {
        reasons[node] = lookingReason(TaskID(workflow: id, node: node))
      }
    }
    return reasons
  }

  /// How many of a workflow's newest nodes are looked at for a gate.
  private static let gateNodesMax = 1000

  /// What a workflow waits for; nil where something of it runs. As much work as it has tasks, and once the clusters.
  public func standstill(of reference: WorkflowReference) -> Standstill? {
    guard let id = workflowByName[reference], let entry = workflows[id] else { return nil }
    // The eldest that waits for a cluster; else the eldest that waits on one.
    var (waiting, eldest) = (NodeID?.none, NodeID?.none)
    for (node, task) in entry.tasks {
      if entry.machine[node].phase == .running { return nil }
      if task.group != nil, task.run == nil { waiting = min(waiting ?? node, node) }
      eldest = min(eldest ?? node, node)
    }
    guard let node = waiting ?? eldest, let task = entry.tasks[node] else { return gate(in: entry.machine) }
    let record = entry.machine[node]
    if let run = task.run.flatMap({ runs[$0] }) {
      return Standstill(node: node, name: record.name, displayName: record.displayName, reason: reason(of: run))
    }
    guard let group = task.group, pending.groups[group] != nil else { return nil }
    var views = views()
    let table = candidates(of: pendingGroup(group, [TaskID(workflow: id, node: node)]), group, on: &views)
    return Standstill(
      node: node, name: record.name, displayName: record.displayName,
      reason: roomBeingMade(for: group) ?? summary(of: table),
      isUnplaceable: table.isUnplaceable)
  }

  /// The newest suspend node that waits.
  private func gate(in machine: WorkflowMachine) -> Standstill? {
    let count = machine.nodeCount
    for ordinal in stride(from: count - 1, through: max(0, count - Self.gateNodesMax), by: -1) {
      let record = machine[NodeID(Int32(ordinal))]
      guard record.type == .suspend, record.phase == .running, !record.isSuperseded else { continue }
      return Standstill(node: record.id, name: record.name, displayName: record.displayName, reason: record.message)
    }
    return nil
  }

  func candidates(
    of group: PendingGroup, _ key: Int64, on views: inout [ClusterView]
  ) -> CandidateTable {
    PlacementPlanner(weights: configuration.weights).explain(group, in: situation(explaining: group, key, on: &views))
  }

  private func reason(of run: RunEntry) -> String {
    let cluster = clusters[run.row.cluster]
    var text = "\(run.row.phase.name) on \(run.row.cluster)\(run.row.spot == nil ? "" : " (spot)")"
    // That it is not paid for much longer.
    if run.row.phase == .running, !run.row.message.isEmpty { text += ": \(run.row.message)" }
    if let reason = run.row.cancelReason { text += ", being ended: \(reason)" }
    if run.row.isUnaccounted {
      text +=
        "; its agent came back without its journal and cannot say whether it runs: check, then `fubini cluster forget "
        + "\(run.row.cluster) --confirm-stopped`"
    } else if let closed = cluster?.closedBecause, cluster?.session == nil || cluster?.isSilent == true {
      text += "; \(closed)"
    }
    return text
  }

  private func summary(of table: CandidateTable) -> String {
    if table.candidates.isEmpty { return "no cluster has joined the federation yet" }
    if table.candidates.contains(where: { $0.rejection == nil }) { return "about to be placed" }
    return table.candidates.map { "\($0.cluster): \($0.rejection!.message)" }.joined(separator: "; ")
  }

  /// By full name, the end of a full name after a dot, or display name.
  ///
  /// - Throws: `.invalidArgument` when several nodes are called so.
  private func node(named name: String, in id: WorkflowID) throws -> NodeID? {
    let machine = workflows[id]!.machine
    var found: [NodeRecord] = []
    for ordinal in 0..<Int32(machine.nodeCount) {
      let record = machine[NodeID(ordinal)]
      if record.isSuperseded { continue }
      if record.name == name { return record.id }
      if found.count < 6, record.displayName == name || record.name.hasSuffix("." + name) { found.append(record) }
    }
    guard found.count <= 1 else { throw FederationError.ambiguous(name, found.map(\.name)) }
    return found.first?.id
  }
}
