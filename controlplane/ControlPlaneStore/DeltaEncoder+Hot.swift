import ControlPlaneCore
import FederationModel
import Postgres
import WorkflowCore

/// The tables that change with every transition. The order of columns here is the order in which `RowDecoder` reads them.
extension DeltaEncoder {
  static let workflowColumns: [(name: String, type: String)] = [
    ("id", "int8"), ("uid", "text"), ("project", "text"), ("name", "text"), ("document", "text"), ("labels", "text"),
    ("phase", "text"), ("status", "text"), ("created_ms", "int8"), ("created_by", "text"), ("generation", "int4"),
    ("deletion_requested", "bool"), ("dataset_versions", "text"),
    ("expires_ms", "int8"),
  ]

  static let nodeColumns: [(name: String, type: String)] = [
    ("workflow_id", "int8"), ("ordinal", "int4"), ("name", "text"), ("display_name", "text"), ("type", "text"),
    ("role", "int2"), ("phase", "text"), ("has_begun", "bool"), ("is_superseded", "bool"), ("template_name", "text"),
    ("message", "text"), ("started_ms", "int8"), ("finished_ms", "int8"), ("parent", "int4"), ("boundary", "int4"),
    ("step", "int4"), ("item", "int4"), ("item_json", "text"), ("upstream", "text"), ("inputs", "text"),
    ("outputs", "text"), ("exit_code", "int4"), ("host_cluster", "text"), ("runs_as", "text"),
    ("cancel_reason", "text"),
    ("wake_ms", "int8"), ("end_pending", "bool"), ("expansion", "text"), ("restarts", "int4"), ("checkpoints", "text"),
    ("gate", "text"), ("held_whole", "bool"), ("daemon", "text"),
  ]

  static let runColumns: [(name: String, type: String)] = [
    ("run_id", "int8"), ("workflow_id", "int8"), ("ordinal", "int4"), ("epoch", "int4"), ("cluster", "text"),
    ("phase", "int2"), ("bound_ms", "int8"), ("dispatched_ms", "int8"), ("started_ms", "int8"), ("finished_ms", "int8"),
    ("exit_code", "int4"), ("message", "text"), ("cancel_reason", "text"), ("is_unaccounted", "bool"),
    ("explanation", "int8"), ("quote", "text"), ("cpu_millicores", "int8"), ("memory_bytes", "int8"), ("gpus", "int8"),
    ("gpu_type", "text"), ("charge_micros", "int8"), ("bytes_in", "int8"), ("bytes_out", "int8"),
    ("staging_ms", "int8"),
    ("wall_ms", "int8"), ("runs_as", "text"), ("input_bytes", "int8"), ("egress", "text"),
    ("priority_class", "text"), ("preempted_for_workflow", "int8"), ("preempted_for_ordinal", "int4"),
    ("program", "int8"), ("spot", "text"), ("cause", "text"),
  ]

  // Which commit wrote a row. Read only in conditions: what is restored does not depend on it.
  private static let nodeCommits: [(name: String, type: String)] = [("created_seq", "int8"), ("changed_seq", "int8")]
  private static let runCommits: [(name: String, type: String)] = [("changed_seq", "int8")]

  // What the machine and the core decide when they create a row, and never again.
  private static let workflowFixed: Set = [
    "uid", "project", "name", "created_ms", "created_by", "dataset_versions",
  ]
  // A retry may come with other arguments.
  private static let workflowRare = ["document": "excluded.generation <> workflows.generation"]
  private static let nodeFixed: Set = [
    "name", "display_name", "type", "role", "template_name", "parent", "boundary", "step", "item", "item_json",
    "upstream", "created_seq",
  ]
  private static let nodeRare = ["inputs": "excluded.inputs IS DISTINCT FROM nodes.inputs"]
  private static let runFixed: Set = [
    "workflow_id", "ordinal", "epoch", "cluster", "bound_ms", "explanation", "quote", "cpu_millicores", "memory_bytes",
    "gpus", "gpu_type", "input_bytes", "priority_class", "program",
  ]

  private static let workflowSQL = upsert(
    "workflows", key: ["id"], fixed: workflowFixed, rare: workflowRare, workflowColumns, cast: ["labels": "jsonb"])
  private static let nodeSQL = upsert(
    "nodes", key: ["workflow_id", "ordinal"], fixed: nodeFixed, rare: nodeRare, nodeColumns + nodeCommits,
    cast: ["upstream": "int[]"])
  private static let runSQL = upsert("runs", key: ["run_id"], fixed: runFixed, runColumns + runCommits)

  static func workflows(_ rows: [WorkflowRow]) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.id.number }
    p.append(column: rows) { $0.uid }
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.name }
    p.append(column: rows) { $0.document }
    try p.append(column: rows) { try RowJSON.encode($0.labels) }
    p.append(column: rows) { $0.status.phase.rawValue }
    try p.append(column: rows) { try RowJSON.encode($0.status) }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.createdBy }
    p.append(column: rows) { $0.generation }
    p.append(column: rows) { $0.deletionRequested }
    try p.append(column: rows) { try $0.datasetVersions.map { try RowJSON.encode($0) } }
    p.append(column: rows) { $0.status.expiresAt?.milliseconds }
    return PostgresStatement(workflowSQL, p)
  }

  /// - Parameter commit: the unit's place, `Fence.next`.
  static func nodes(_ rows: [NodeRow], commit: Int64) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.workflow.number }
    p.append(column: rows) { $0.record.id.ordinal }
    p.append(column: rows) { $0.record.name }
    p.append(column: rows) { $0.record.displayName }
    p.append(column: rows) { $0.record.type.rawValue }
    p.append(column: rows) { Int16($0.record.role.rawValue) }
    p.append(column: rows) { $0.record.phase.rawValue }
    p.append(column: rows) { $0.record.hasBegun }
    p.append(column: rows) { $0.record.isSuperseded }
    p.append(column: rows) { $0.record.templateName }
    p.append(column: rows) { $0.record.message }
    p.append(column: rows) { $0.record.startedAt?.milliseconds }
    p.append(column: rows) { $0.record.finishedAt?.milliseconds }
    p.append(column: rows) { $0.record.parent?.ordinal }
    p.append(column: rows) { $0.record.boundary?.ordinal }
    p.append(column: rows) { $0.record.step }
    p.append(column: rows) { $0.record.item }
    p.append(column: rows) { $0.record.itemJSON }
    p.append(column: rows) { "{" + $0.record.upstream.map { String($0.ordinal) }.joined(separator: ",") + "}" }
    try p.append(column: rows) { $0.record.inputs.isEmpty ? nil : try RowJSON.encode($0.record.inputs) }
    try p.append(column: rows) { $0.record.outputs.isEmpty ? nil : try RowJSON.encode($0.record.outputs) }
    p.append(column: rows) { $0.record.exitCode }
    p.append(column: rows) { $0.record.hostCluster?.text }
    p.append(column: rows) { $0.record.runsAs }
    p.append(column: rows) { $0.record.cancelReason }
    p.append(column: rows) { $0.record.wakeAt?.milliseconds }
    p.append(column: rows) { $0.record.isEndPending }
    try p.append(column: rows) { try $0.record.expansion.map { try RowJSON.encode($0) } }
    p.append(column: rows) { $0.record.restarts }
    try p.append(column: rows) { $0.record.checkpoints.isEmpty ? nil : try RowJSON.encode($0.record.checkpoints) }
    try p.append(column: rows) { try $0.record.gate.map { try RowJSON.encode($0) } }
    p.append(column: rows) { $0.record.isHeldWhole }
    try p.append(column: rows) { try $0.record.daemon.map { try RowJSON.encode($0) } }
    for _ in nodeCommits { p.append(column: rows) { _ in commit } }
    return PostgresStatement(nodeSQL, p)
  }

  /// - Parameter commit: the unit's place, `Fence.next`.
  static func runs(_ rows: [RunRow], commit: Int64) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.id.number }
    p.append(column: rows) { $0.task.workflow.number }
    p.append(column: rows) { $0.task.node.ordinal }
    p.append(column: rows) { $0.epoch }
    p.append(column: rows) { $0.cluster.text }
    p.append(column: rows) { $0.phase.rawValue }
    p.append(column: rows) { $0.boundAt.milliseconds }
    p.append(column: rows) { $0.dispatchedAt?.milliseconds }
    p.append(column: rows) { $0.startedAt?.milliseconds }
    p.append(column: rows) { $0.finishedAt?.milliseconds }
    p.append(column: rows) { $0.exitCode }
    p.append(column: rows) { $0.message }
    p.append(column: rows) { $0.cancelReason }
    p.append(column: rows) { $0.isUnaccounted }
    p.append(column: rows) { $0.explanation }
    // A unit has few price sheets and many runs that quote them.
    var quotes: [PriceSheet: String] = [:]
    try p.append(column: rows) { row in
      guard let quote = row.quote else { return nil as String? }
      if let known = quotes[quote] { return known }
      let text = try RowJSON.encode(quote)
      quotes[quote] = text
      return text
    }
    p.append(column: rows) { $0.resources.cpuMillicores }
    p.append(column: rows) { $0.resources.memory.bytes }
    p.append(column: rows) { $0.resources.gpus }
    p.append(column: rows) { $0.resources.gpuType }
    p.append(column: rows) { $0.charge?.micros }
    p.append(column: rows) { $0.bytesIn.bytes }
    p.append(column: rows) { $0.bytesOut.bytes }
    p.append(column: rows) { $0.stagingMilliseconds }
    p.append(column: rows) { $0.wallMilliseconds }
    p.append(column: rows) { $0.runsAs }
    p.append(column: rows) { $0.inputBytes?.bytes }
    try p.append(column: rows) { $0.egress.isEmpty ? nil : try RowJSON.encode($0.egress) }
    p.append(column: rows) { $0.priorityClass?.rawValue }
    p.append(column: rows) { $0.preemptedFor?.workflow.number }
    p.append(column: rows) { $0.preemptedFor?.node.ordinal }
    p.append(column: rows) { $0.program }
    try p.append(column: rows) { try $0.spot.map { try RowJSON.encode($0) } }
    p.append(column: rows) { $0.cause?.rawValue }
    for _ in runCommits { p.append(column: rows) { _ in commit } }
    return PostgresStatement(runSQL, p)
  }
}
