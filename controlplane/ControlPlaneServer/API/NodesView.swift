import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import WorkflowCore

/// Some nodes of a workflow, their runs and the leader's reasons, as the REST documents show them.
struct NodesView: Sendable {
  let status: WorkflowStatus
  /// In creation order.
  let records: [NodeRecord]
  /// Of these nodes; what is not stored with them.
  let children: [NodeID: [NodeID]]
  let latest: [NodeID: RunRow]
  let reasons: [NodeID: String]

  var documents: [NodeDocument] {
    records.map { record in
      NodeDocument(
        id: record.id.ordinal, name: record.name, displayName: record.displayName, type: record.type.rawValue,
        templateName: record.templateName, phase: record.phase, message: message(of: record),
        parent: record.parent?.ordinal, boundary: record.boundary?.ordinal,
        children: (children[record.id] ?? []).map(\.ordinal), startedAt: record.startedAt?.wire,
        finishedAt: record.finishedAt?.wire, exitCode: record.exitCode,
        inputs: record.inputs.parameters.map { ParameterDocument(name: $0.name, value: $0.value) },
        outputs: OutputsDocument(record.outputs), run: latest[record.id].map(RunDocument.init),
        restarts: record.restarts > 0 ? record.restarts : nil)
    }
  }

  /// What waits has a reason (invariant I10), also when the leader could not be asked for the particulars.
  func message(of record: NodeRecord) -> String {
    guard record.message.isEmpty else { return record.message }
    guard record.phase == .pending else {
      // What the control plane says of a run: that it is not paid for much longer.
      guard record.phase == .running, let run = latest[record.id], run.phase == .running else { return "" }
      return run.message
    }
    if let run = latest[record.id], !run.phase.isTerminal, !run.message.isEmpty {
      // What the agent says about a run that it has and cannot start: a full disk, an input that does not come.
      return "\(run.phase.name) on \(run.cluster): \(run.message)"
    }
    if let reason = reasons[record.id] { return reason }
    if status.isSuspended { return "the workflow is suspended" }
    if let run = latest[record.id] { return "\(run.phase.name) on \(run.cluster)" }
    return record.hasBegun ? "waiting for a placement" : "waiting for its turn (parallelism or earlier nodes)"
  }
}

extension APIServer {
  /// - Parameters:
  ///   - reasons: those already asked for; nil to ask the leader about the nodes that wait.
  ///   - withChildren: false where the children are not shown.
  func nodesView(
    _ head: WorkflowHead, _ records: [NodeRecord], reasons: [NodeID: String]? = nil, withChildren: Bool = true
  ) async throws -> NodesView {
    let ids = records.map(\.id)
    let children = withChildren ? try await services.store.children(of: ids, in: head.id) : [:]
    let latest = try await services.store.latestRuns(of: ids, in: head.id)
    var known = reasons
    if known == nil {
      known = await self.reasons(head, records.filter { $0.phase == .pending }.map(\.id))
    }
    return NodesView(
      status: head.status, records: records, children: children, latest: latest, reasons: known ?? [:])
  }

  /// Why nodes wait, as the leader knows it; nothing of a workflow that has finished.
  ///
  /// The leader is asked in portions, because each is one of its turns.
  func reasons(_ head: WorkflowHead, _ nodes: [NodeID]) async -> [NodeID: String] {
    guard !head.status.phase.isTerminal else { return [:] }
    var reasons: [NodeID: String] = [:]
    var rest = nodes[...]
    while !rest.isEmpty {
      let portion = Array(rest.prefix(500))
      rest = rest.dropFirst(portion.count)
      reasons.merge(await services.commands.reasons(in: head.reference, of: portion)) { $1 }
    }
    return reasons
  }
}

extension WorkflowSummary {
  init(_ head: WorkflowHead, tasks: [String: Int], waiting: Standstill? = nil) {
    self.init(
      project: head.project.text, name: head.name, uid: head.uid, phase: head.status.phase,
      message: head.status.message, labels: head.labels, isSuspended: head.status.isSuspended,
      createdAt: head.createdAt.wire, createdBy: head.createdBy, startedAt: head.status.startedAt?.wire,
      finishedAt: head.status.finishedAt?.wire, tasks: tasks,
      waiting: waiting.map {
        WaitingDocument(node: $0.displayName, reason: $0.reason, unplaceable: $0.isUnplaceable)
      })
  }
}

extension OutputsDocument {
  init(_ outputs: TaskOutputs) {
    self.init(
      result: outputs.result,
      parameters: outputs.parameters.sorted { $0.key < $1.key }.map {
        ParameterDocument(name: $0.key, value: $0.value)
      },
      artifacts: outputs.artifacts.sorted { $0.key < $1.key }.map {
        ArtifactDocument(
          name: $0.key, key: $0.value.key, size: $0.value.size.bytes, sha256: $0.value.sha256,
          archive: $0.value.archive,
          producedOn: $0.value.producedOn?.text)
      })
  }
}

extension RunDocument {
  init(_ row: RunRow) {
    self.init(
      id: row.id.hexadecimal, epoch: row.epoch, cluster: row.cluster.text, phase: row.phase.name, message: row.message,
      boundAt: row.boundAt.wire, dispatchedAt: row.dispatchedAt?.wire, startedAt: row.startedAt?.wire,
      finishedAt: row.finishedAt?.wire, exitCode: row.exitCode, runsAs: row.runsAs, bytesIn: row.bytesIn.bytes,
      bytesOut: row.bytesOut.bytes, stagingSeconds: Double(row.stagingMilliseconds) / 1000,
      wallSeconds: Double(row.wallMilliseconds) / 1000,
      charge: row.charge.flatMap { charge in row.quote.map { MoneyDocument(charge, $0.currency) } },
      spot: row.spot.map { _ in true }, cause: row.cause)
  }
}
