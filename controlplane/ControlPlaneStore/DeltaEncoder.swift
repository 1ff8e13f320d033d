import ControlPlaneCore
import FederationModel
import LedgerCore
import Postgres
import WorkflowCore

/// A delta as the statements of one unit: the fence, one upsert for each kind of row, deletions, a notification.
///
/// Each column is written as one binary array straight from the rows.
enum DeltaEncoder {
  static func statements(_ delta: DurableDelta, _ fence: Fence) throws -> [PostgresStatement] {
    var unit = [
      PostgresStatement(
        "SELECT fubini_fence($1, $2, $3, $4, $5, $6)", .int8(fence.term), .int8(fence.previous), .int8(fence.next),
        .int8(delta.now.milliseconds), .int8(delta.workflows.map(\.id.number).max() ?? 0),
        .int8(delta.explanations.map(\.id).max() ?? 0))
    ]
    if !delta.workflows.isEmpty { unit.append(try workflows(delta.workflows)) }
    if !delta.nodes.isEmpty { unit.append(try nodes(delta.nodes, commit: fence.next)) }
    if !delta.runs.isEmpty { unit.append(try runs(delta.runs, commit: fence.next)) }
    if !delta.clusters.isEmpty { unit += try clusters(delta.clusters) }
    if !delta.agents.isEmpty { unit += try agents(delta.agents) }
    if !delta.artifacts.isEmpty { unit.append(artifacts(delta.artifacts)) }
    if !delta.explanations.isEmpty { unit.append(explanations(delta.explanations)) }
    if !delta.events.isEmpty { unit.append(events(delta.events)) }
    if !delta.idempotency.isEmpty { unit += idempotency(delta.idempotency, now: delta.now) }
    if !delta.audit.isEmpty { unit.append(audit(delta.audit)) }
    if !delta.alerts.isEmpty { unit.append(alerts(delta.alerts)) }
    unit += try data(delta)
    if !delta.organisations.isEmpty { unit.append(organisations(delta.organisations)) }
    if !delta.projects.isEmpty { unit += try projects(delta.projects) }
    if !delta.shares.isEmpty { unit.append(shares(delta.shares)) }
    unit += try locks(delta)
    if !delta.ledger.isEmpty { unit += try ledger(delta.ledger) }
    unit += deletions(delta)
    unit.append(PostgresStatement("SELECT pg_notify('fubini', $1)", .text(String(fence.next))))
    return unit
  }

  private static func deletions(_ delta: DurableDelta) -> [PostgresStatement] {
    var unit: [PostgresStatement] = []
    // What goes is deleted from the repository later, by `ArtifactCollection`.
    if !delta.collectedWorkflows.isEmpty {
      unit.append(
        PostgresStatement(
          """
          WITH gone AS (
            UPDATE artifacts SET deleted_ms = $2, is_unstored = false, store_ms = NULL
            WHERE workflow_id = ANY ($1) AND collection = 'OnWorkflowCompletion' AND deleted_ms IS NULL RETURNING project, key)
          INSERT INTO artifact_garbage (project, key, since_ms) SELECT DISTINCT project, key, $2::int8 FROM gone
          ON CONFLICT DO NOTHING
          """, .int8s(delta.collectedWorkflows.map(\.number)), .int8(delta.now.milliseconds)))
    }
    if !delta.deletedWorkflows.isEmpty {
      let ids = PostgresValue.int8s(delta.deletedWorkflows.map(\.number))
      let uids = "(SELECT uid FROM workflows WHERE id = ANY ($1))"
      unit.append(PostgresStatement("DELETE FROM logs WHERE workflow_uid IN \(uids)", ids))
      unit.append(
        PostgresStatement(
          """
          INSERT INTO log_garbage (run_id, since_ms) SELECT run_id, $2::int8 FROM runs WHERE workflow_id = ANY ($1)
          ON CONFLICT DO NOTHING
          """, ids, .int8(delta.now.milliseconds)))
      unit.append(
        PostgresStatement(
          """
          INSERT INTO artifact_garbage (project, key, since_ms)
          SELECT DISTINCT a.project, a.key, $2::int8 FROM artifacts a JOIN workflows w ON w.id = a.workflow_id
          WHERE a.workflow_id = ANY ($1)
            AND CASE WHEN a.collection IS NULL THEN \(ControlPlaneStore.isOwned("a.key", "w")) ELSE a.collection <> 'Never' END
          ON CONFLICT DO NOTHING
          """, ids, .int8(delta.now.milliseconds)))
      for table in ["nodes", "runs", "events", "explanations", "artifacts"] {
        unit.append(PostgresStatement("DELETE FROM \(table) WHERE workflow_id = ANY ($1)", ids))
      }
      unit.append(PostgresStatement("DELETE FROM workflows WHERE id = ANY ($1)", ids))
    }
    if !delta.deletedClusters.isEmpty {
      let names = PostgresValue.texts(delta.deletedClusters.map(\.text))
      for table in ["price_sheets", "agents", "join_tokens", "inventory"] {
        unit.append(PostgresStatement("DELETE FROM \(table) WHERE cluster = ANY ($1)", names))
      }
      unit.append(PostgresStatement("DELETE FROM clusters WHERE name = ANY ($1)", names))
    }
    unit += dataDeletions(delta)
    return unit
  }

  /// `INSERT ... SELECT ... FROM unnest(...) ON CONFLICT (key) DO UPDATE` over `columns` (name, type).
  ///
  /// - Parameters:
  ///   - fixed: columns that keep their first value. They stay out of the update, so that a long text is not written (and
  ///     compressed) once more for every transition.
  ///   - rare: columns that keep their value, unless this SQL condition holds.
  static func upsert(
    _ table: String, key: [String], fixed: Set<String> = [], rare: [String: String] = [:],
    _ columns: [(name: String, type: String)], cast: [String: String] = [:]
  ) -> String {
    let names = columns.map(\.name)
    let arrays = columns.indices.map { "$\($0 + 1)::\(columns[$0].type)[]" }
    let values = names.map { name in cast[name].map { "x.\(name)::\($0)" } ?? "x.\(name)" }
    let updates = names.filter { !key.contains($0) && !fixed.contains($0) }.map { name in
      guard let condition = rare[name] else { return "\(name) = excluded.\(name)" }
      return "\(name) = CASE WHEN \(condition) THEN excluded.\(name) ELSE \(table).\(name) END"
    }
    return """
      INSERT INTO \(table) (\(names.joined(separator: ", "))) SELECT \(values.joined(separator: ", ")) \
      FROM unnest(\(arrays.joined(separator: ", "))) AS x (\(names.joined(separator: ", "))) \
      ON CONFLICT (\(key.joined(separator: ", "))) DO UPDATE SET \(updates.joined(separator: ", "))
      """
  }

  // MARK: Small tables

  static let clusterSQL = upsert(
    "clusters", key: ["name"],
    [
      ("name", "text"), ("kind", "text"), ("labels", "text"), ("project", "text"), ("created_ms", "int8"),
      ("cordon_reason", "text"), ("is_draining", "bool"), ("revoked_ms", "int8"), ("journal", "text"),
      ("acked_sequence", "int8"), ("is_adopting", "bool"), ("price_periods", "text"),
      ("spot", "text"),
    ])
  static let priceSQL = upsert(
    "price_sheets", key: ["cluster"],
    [
      ("cluster", "text"), ("currency", "text"), ("core_hour", "float8"), ("gibibyte_hour", "float8"),
      ("gpu_hour", "float8"), ("egress_gibibyte", "float8"), ("class_factors", "text"),
      ("storage_gibibyte_hour", "float8"), ("partitions", "text"),
    ])

  private static func clusters(_ rows: [ClusterRow]) throws -> [PostgresStatement] {
    var p = PostgresParameters()
    p.append(column: rows) { $0.spec.name.text }
    p.append(column: rows) { $0.spec.kind.rawValue }
    try p.append(column: rows) { try RowJSON.encode($0.spec.labels) }
    p.append(column: rows) { $0.spec.project?.text }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.cordonReason }
    p.append(column: rows) { $0.isDraining }
    p.append(column: rows) { $0.revokedAt?.milliseconds }
    p.append(column: rows) { $0.journal }
    p.append(column: rows) { $0.ackedSequence }
    p.append(column: rows) { $0.isAdopting }
    try p.append(column: rows) { try $0.spec.pricePeriods.map { try RowJSON.encode($0) } }
    try p.append(column: rows) { try $0.spec.spot.map { try RowJSON.encode($0) } }
    var unit = [PostgresStatement(clusterSQL, p)]
    let free = rows.filter { $0.spec.prices == nil }.map(\.spec.name.text)
    if !free.isEmpty {
      unit.append(PostgresStatement("DELETE FROM price_sheets WHERE cluster = ANY ($1)", .texts(free)))
    }
    let priced = rows.compactMap { row in row.spec.prices.map { (row.spec.name.text, $0) } }
    if !priced.isEmpty {
      var p = PostgresParameters()
      p.append(column: priced) { $0.0 }
      p.append(column: priced) { $0.1.currency }
      p.append(column: priced) { $0.1.coreHour }
      p.append(column: priced) { $0.1.gibibyteHour }
      p.append(column: priced) { $0.1.gpuHour }
      p.append(column: priced) { $0.1.egressGibibyte }
      try p.append(column: priced) { try $0.1.classFactors.map { try RowJSON.encode($0) } }
      p.append(column: priced) { $0.1.storageGibibyteHour }
      try p.append(column: priced) { try $0.1.partitions.map { try RowJSON.encode($0) } }
      unit.append(PostgresStatement(priceSQL, p))
    }
    return unit
  }

  private static let explanationSQL = upsert(
    "explanations", key: ["id"],
    [("id", "int8"), ("workflow_id", "int8"), ("at_ms", "int8"), ("document", "text")])

  private static func explanations(_ rows: [ExplanationRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.id }
    p.append(column: rows) { $0.workflow?.number }
    p.append(column: rows) { $0.at.milliseconds }
    p.append(column: rows) { $0.document }
    return PostgresStatement(explanationSQL, p)
  }

  private static func events(_ rows: [EventRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.at.milliseconds }
    p.append(column: rows) { $0.workflow?.number }
    p.append(column: rows) { $0.node?.ordinal }
    p.append(column: rows) { $0.cluster?.text }
    p.append(column: rows) { $0.reason }
    p.append(column: rows) { $0.message }
    return PostgresStatement(
      """
      INSERT INTO events (at_ms, workflow_id, ordinal, cluster, reason, message)
      SELECT a, w, n, c, r, m FROM unnest($1::int8[], $2::int8[], $3::int4[], $4::text[], $5::text[], $6::text[])
      WITH ORDINALITY AS x (a, w, n, c, r, m, position) ORDER BY position
      """, p)
  }

  private static let idempotencySQL = upsert(
    "idempotency", key: ["principal", "key"],
    [("principal", "text"), ("key", "text"), ("request_hash", "text"), ("reply", "text"), ("at_ms", "int8")])

  /// Each unit that adds rows takes away more than it adds of those that have outlived a day, the oldest first, so the table
  /// stays as large as a day's requests and no unit has much to do.
  private static func idempotency(_ rows: [IdempotencyRow], now: Timestamp) -> [PostgresStatement] {
    let expire = PostgresStatement(
      """
      DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency WHERE at_ms < $1 ORDER BY at_ms LIMIT $2))
      """, .int8(now.milliseconds - ControlPlaneStore.idempotencyLifetime), .int8(Int64(rows.count * 2 + 8)))
    var p = PostgresParameters()
    p.append(column: rows) { $0.principal }
    p.append(column: rows) { $0.key }
    p.append(column: rows) { $0.requestHash }
    p.append(column: rows) { $0.reply }
    p.append(column: rows) { $0.at.milliseconds }
    return [expire, PostgresStatement(idempotencySQL, p)]
  }

  private static func audit(_ rows: [AuditRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.at.milliseconds }
    p.append(column: rows) { $0.actor }
    p.append(column: rows) { $0.action }
    p.append(column: rows) { $0.object }
    p.append(column: rows) { $0.detail }
    p.append(column: rows) { $0.address }
    return PostgresStatement(
      """
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT a, b, c, d, e, f FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
      WITH ORDINALITY AS x (a, b, c, d, e, f, position) ORDER BY position
      """, p)
  }
}
