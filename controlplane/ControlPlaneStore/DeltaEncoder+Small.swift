import ControlPlaneCore
import FederationModel
import Postgres

/// Agents and artifacts.
extension DeltaEncoder {
  private static let agentSQL = upsert(
    "agents", key: ["cluster"],
    [("cluster", "text"), ("version", "text"), ("journal", "text"), ("joined_ms", "int8"), ("seen_ms", "int8")])
  private static let inventorySQL = upsert(
    "inventory", key: ["cluster"], [("cluster", "text"), ("document", "text"), ("at_ms", "int8")])
  private static let artifactSQL = upsert(
    "artifacts", key: ["workflow_id", "ordinal", "name"],
    [
      ("workflow_id", "int8"), ("ordinal", "int4"), ("name", "text"), ("workflow_uid", "text"), ("project", "text"),
      ("key", "text"), ("size_bytes", "int8"), ("sha256", "text"), ("archive", "text"), ("cluster", "text"),
      ("created_ms", "int8"), ("is_unstored", "bool"), ("is_remade", "bool"), ("store_ms", "int8"),
      // Made anew, it is there again.
      ("deleted_ms", "int8"), ("collection", "text"),
    ])

  static func agents(_ rows: [AgentRow]) throws -> [PostgresStatement] {
    var agents = PostgresParameters()
    agents.append(column: rows) { $0.cluster.text }
    agents.append(column: rows) { $0.version }
    agents.append(column: rows) { $0.journal }
    agents.append(column: rows) { $0.joinedAt.milliseconds }
    agents.append(column: rows) { $0.seenAt.milliseconds }
    var inventory = PostgresParameters()
    inventory.append(column: rows) { $0.cluster.text }
    try inventory.append(column: rows) { try RowJSON.encode($0.inventory) }
    inventory.append(column: rows) { $0.seenAt.milliseconds }
    return [PostgresStatement(agentSQL, agents), PostgresStatement(inventorySQL, inventory)]
  }

  static func artifacts(_ rows: [ArtifactRow]) -> PostgresStatement {
    // A key may come once in a statement; a run that is told of twice in one unit says the same twice.
    var last: [ArtifactKey: ArtifactRow] = [:]
    for row in rows { last[ArtifactKey(task: row.task, name: row.name)] = row }
    let rows = last.values.sorted {
      ($0.task.workflow, $0.task.node, $0.name) < ($1.task.workflow, $1.task.node, $1.name)
    }
    var p = PostgresParameters()
    p.append(column: rows) { $0.task.workflow.number }
    p.append(column: rows) { $0.task.node.ordinal }
    p.append(column: rows) { $0.name }
    p.append(column: rows) { $0.workflowUID }
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.stored.key }
    p.append(column: rows) { $0.stored.size.bytes }
    p.append(column: rows) { $0.stored.sha256 }
    p.append(column: rows) { $0.stored.archive.rawValue }
    p.append(column: rows) { $0.stored.producedOn?.text }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.stored.isUnstored == true }
    p.append(column: rows) { $0.isRemade }
    p.append(column: rows) { $0.storeBy?.milliseconds }
    p.append(column: rows) { _ in Int64?.none }
    p.append(column: rows) { $0.collection?.rawValue }
    return PostgresStatement(artifactSQL, p)
  }

  private struct ArtifactKey: Hashable {
    var task: TaskID
    var name: String
  }
}
