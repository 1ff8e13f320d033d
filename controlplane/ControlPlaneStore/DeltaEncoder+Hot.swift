import ControlPlaneCore
import FederationModel
import Postgres
import WorkflowCore

/// The tables that change with every transition. The order of columns here is the order in which `RowDecoder` reads them.
extension DeltaEncoder {
  static let workflowColumns: [(name: String, type: String)] = [
    ("id", "int8"), ("uid", "text"), ("project", "text"), ("name", "text"), ("document", "text"), ("labels", "text"),
    ("phase", "text"), ("status", "text"), ("created_ms", "int8"), ("created_by", "text"), ("generation", "int4"),
    ("deletion_requested", "bool"),
  ]

  static let nodeColumns: [(name: String, type: String)] = [
    ("workflow_id", "int8"), ("ordinal", "int4"), ("name", "text"), ("display_name", "text"), ("type", "text"),
    ("role", "int2"), ("phase", "text"), ("has_begun", "bool"), ("is_superseded", "bool"), ("template_name", "text"),
    ("message", "text"), ("started_ms", "int8"), ("finished_ms", "int8"), ("parent", "int4"), ("boundary", "int4"),
    ("step", "int4"), ("item", "int4"), ("item_json", "text"), ("upstream", "text"), ("inputs", "text"),
    ("outputs", "text"), ("exit_code", "int4"), ("host_cluster", "text"), ("runs_as", "text"),
    ("cancel_reason", "text"),
    ("wake_ms", "int8"),
  ]

  static let runColumns: [(name: String, type: String)] = [
    ("run_id", "int8"), ("workflow_id", "int8"), ("ordinal", "int4"), ("epoch", "int4"), ("cluster", "text"),
    ("phase", "int2"), ("bound_ms", "int8"), ("dispatched_ms", "int8"), ("started_ms", "int8"), ("finished_ms", "int8"),
    ("exit_code", "int4"), ("message", "text"), ("cancel_reason", "text"), ("is_unaccounted", "bool"),
    ("explanation", "int8"), ("quote", "text"), ("cpu_millicores", "int8"), ("memory_bytes", "int8"), ("gpus", "int8"),
    ("gpu_type", "text"), ("charge", "int8"), ("bytes_in", "int8"), ("bytes_out", "int8"), ("staging_ms", "int8"),
    ("wall_ms", "int8"), ("runs_as", "text"),
  ]

  private static let workflowSQL = upsert("workflows", key: ["id"], workflowColumns, cast: ["labels": "jsonb"])
  private static let nodeSQL = upsert(
    "nodes", key: ["workflow_id", "ordinal"], nodeColumns, cast: ["upstream": "int[]"])
  private static let runSQL = upsert("runs", key: ["run_id"], runColumns)

  static func workflows(_ rows: [WorkflowRow]) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.id.number }
    p.append(column: rows) { $0.uid }
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.name }
    p.append(column: rows) { $0.document.storable }
    try p.append(column: rows) { try RowJSON.encode($0.labels) }
    p.append(column: rows) { $0.status.phase.rawValue }
    try p.append(column: rows) { try RowJSON.encode($0.status) }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.createdBy }
    p.append(column: rows) { $0.generation }
    p.append(column: rows) { $0.deletionRequested }
    return PostgresStatement(workflowSQL, p)
  }

  static func nodes(_ rows: [NodeRow]) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.workflow.number }
    p.append(column: rows) { $0.record.id.ordinal }
    p.append(column: rows) { $0.record.name.storable }
    p.append(column: rows) { $0.record.displayName.storable }
    p.append(column: rows) { $0.record.type.rawValue }
    p.append(column: rows) { Int16($0.record.role.rawValue) }
    p.append(column: rows) { $0.record.phase.rawValue }
    p.append(column: rows) { $0.record.hasBegun }
    p.append(column: rows) { $0.record.isSuperseded }
    p.append(column: rows) { $0.record.templateName }
    p.append(column: rows) { $0.record.message.storable }
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
    p.append(column: rows) { $0.record.runsAs?.storable }
    p.append(column: rows) { $0.record.cancelReason?.storable }
    p.append(column: rows) { $0.record.wakeAt?.milliseconds }
    return PostgresStatement(nodeSQL, p)
  }

  static func runs(_ rows: [RunRow]) throws -> PostgresStatement {
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
    p.append(column: rows) { $0.message.storable }
    p.append(column: rows) { $0.cancelReason?.storable }
    p.append(column: rows) { $0.isUnaccounted }
    p.append(column: rows) { $0.explanation }
    try p.append(column: rows) { try $0.quote.map { try RowJSON.encode($0) } }
    p.append(column: rows) { $0.resources.cpuMillicores }
    p.append(column: rows) { $0.resources.memory.bytes }
    p.append(column: rows) { $0.resources.gpus }
    p.append(column: rows) { $0.resources.gpuType }
    p.append(column: rows) { $0.charge }
    p.append(column: rows) { $0.bytesIn.bytes }
    p.append(column: rows) { $0.bytesOut.bytes }
    p.append(column: rows) { $0.stagingMilliseconds }
    p.append(column: rows) { $0.wallMilliseconds }
    p.append(column: rows) { $0.runsAs.storable }
    return PostgresStatement(runSQL, p)
  }
}
