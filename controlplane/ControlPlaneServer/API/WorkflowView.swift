import ControlPlaneCore
import FederationAPI
import FederationModel
import FoundationEssentials
import WorkflowCore

/// A workflow, its runs and the leader's reasons, as the REST documents show them.
struct WorkflowView: Sendable {
  let loaded: LoadedWorkflow
  let reasons: [NodeID: String]
  private let latest: [NodeID: RunRow]
  private let runs: [RunRow]

  init(loaded: LoadedWorkflow, runs: [RunRow], reasons: [NodeID: String]) {
    self.loaded = loaded
    self.runs = runs
    self.reasons = reasons
    latest = Dictionary(runs.map { ($0.task.node, $0) }, uniquingKeysWith: { $0.epoch > $1.epoch ? $0 : $1 })
  }

  private var shown: [NodeRecord] { loaded.nodes.filter { !$0.isSuperseded } }

  /// In creation order; nodes that a retry replaced are left out.
  var nodes: [NodeDocument] {
    // Children are the other side of `upstream`, and are not stored.
    var children: [NodeID: [Int32]] = [:]
    for record in shown { for above in record.upstream { children[above, default: []].append(record.id.ordinal) } }
    return shown.map { document(of: $0, children: children[$0.id] ?? []) }
  }

  func latestRun(of node: NodeRecord) -> RunRow? { latest[node.id] }
  func run(_ id: String) -> RunRow? { runs.first { $0.id.hexadecimal == id } }

  /// By number, full name, or display name; of several of a display name the last, which is the last attempt.
  func node(named name: String) -> NodeRecord? {
    if let number = Int32(name), let record = shown.first(where: { $0.id.ordinal == number }) { return record }
    return shown.first { $0.name == name } ?? shown.last { $0.displayName == name }
  }

  var summary: WorkflowSummary {
    var tasks: [String: Int] = [:]
    for record in shown where record.type.isTask { tasks[record.phase.rawValue, default: 0] += 1 }
    return WorkflowSummary(loaded.row, tasks: tasks)
  }

  func detail(commitSequence: Int64) throws -> WorkflowDetail {
    let nodes = nodes
    var cost: [String: Int64] = [:]
    for run in runs { if let charge = run.charge, let quote = run.quote { cost[quote.currency, default: 0] += charge } }
    return WorkflowDetail(
      summary: summary, document: try JSONDecoder().decode(JSONValue.self, from: Data(loaded.row.document.utf8)),
      nodes: Array(nodes.prefix(WorkflowDetail.nodeLimit)), nodesTruncated: nodes.count > WorkflowDetail.nodeLimit,
      outputs: OutputsDocument(loaded.row.status.outputs),
      cost: cost.keys.sorted().map { MoneyDocument(minorUnits: cost[$0]!, currency: $0) },
      bytesMoved: runs.reduce(0) { $0 + $1.bytesIn.bytes + $1.bytesOut.bytes }, commitSequence: commitSequence)
  }

  private func document(of record: NodeRecord, children: [Int32]) -> NodeDocument {
    var message = record.message
    if message.isEmpty, record.phase == .pending {
      message = agentsReason(record) ?? reasons[record.id] ?? pendingMessage(record)
    }
    return NodeDocument(
      id: record.id.ordinal, name: record.name, displayName: record.displayName, type: record.type.rawValue,
      templateName: record.templateName, phase: record.phase, message: message, parent: record.parent?.ordinal,
      boundary: record.boundary?.ordinal, children: children, startedAt: record.startedAt?.wire,
      finishedAt: record.finishedAt?.wire, exitCode: record.exitCode,
      inputs: record.inputs.parameters.map { ParameterDocument(name: $0.name, value: $0.value) },
      outputs: OutputsDocument(record.outputs), run: latest[record.id].map(RunDocument.init))
  }

  /// What the agent says about a run that it has and cannot start: a full disk, an input that does not come.
  private func agentsReason(_ record: NodeRecord) -> String? {
    guard let run = latest[record.id], !run.phase.isTerminal, !run.message.isEmpty else { return nil }
    return "\(run.phase.name) on \(run.cluster): \(run.message)"
  }

  /// What waits has a reason (invariant I10), also when the leader could not be asked for the particulars.
  private func pendingMessage(_ record: NodeRecord) -> String {
    if loaded.row.status.isSuspended { return "the workflow is suspended" }
    if let run = latest[record.id] { return "\(run.phase.name) on \(run.cluster)" }
    return record.hasBegun ? "waiting for a placement" : "waiting for its turn (parallelism or earlier nodes)"
  }
}

extension WorkflowSummary {
  init(_ row: WorkflowRow, tasks: [String: Int]) {
    self.init(
      project: row.project.text, name: row.name, uid: row.uid, phase: row.status.phase, message: row.status.message,
      labels: row.labels, isSuspended: row.status.isSuspended, createdAt: row.createdAt.wire, createdBy: row.createdBy,
      startedAt: row.status.startedAt?.wire, finishedAt: row.status.finishedAt?.wire, tasks: tasks)
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
      charge: row.charge.flatMap { charge in row.quote.map { MoneyDocument(minorUnits: charge, currency: $0.currency) }
      })
  }
}
