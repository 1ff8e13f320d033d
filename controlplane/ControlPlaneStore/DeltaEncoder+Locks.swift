import ControlPlaneCore
import FederationModel
import Postgres
import WorkflowCore

/// Limits of semaphores, and outputs of memoized templates.
extension DeltaEncoder {
  static let semaphoreColumns: [(name: String, type: String)] = [
    ("project", "text"), ("kind", "text"), ("name", "text"), ("key", "text"), ("limit_count", "int4"),
  ]
  static let memoColumns: [(name: String, type: String)] = [
    ("project", "text"), ("cache", "text"), ("key", "text"), ("outputs", "text"), ("node", "text"),
    ("workflow", "text"), ("created_ms", "int8"), ("hit_ms", "int8"),
  ]
  private static let semaphoreSQL = upsert(
    "semaphore_limits", key: ["project", "kind", "name", "key"], semaphoreColumns)
  private static let memoSQL = upsert("memos", key: ["project", "cache", "key"], memoColumns)

  static func locks(_ delta: DurableDelta) throws -> [PostgresStatement] {
    var unit: [PostgresStatement] = []
    let set = delta.semaphores.filter { $0.limit != nil }
    if !set.isEmpty {
      var p = semaphoreKeys(set)
      p.append(column: set) { Int32(clamping: $0.limit ?? 0) }
      unit.append(PostgresStatement(semaphoreSQL, p))
    }
    let gone = delta.semaphores.filter { $0.limit == nil }
    if !gone.isEmpty {
      unit.append(
        PostgresStatement(
          """
          DELETE FROM semaphore_limits WHERE (project, kind, name, key)
            IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]))
          """, semaphoreKeys(gone)))
    }
    if !delta.memos.isEmpty {
      let rows = delta.memos
      var p = PostgresParameters()
      p.append(column: rows) { $0.name.project.text }
      p.append(column: rows) { $0.name.cache }
      p.append(column: rows) { $0.name.key }
      try p.append(column: rows) { try RowJSON.encode($0.outputs) }
      p.append(column: rows) { $0.node }
      p.append(column: rows) { $0.workflow }
      p.append(column: rows) { $0.createdAt.milliseconds }
      p.append(column: rows) { $0.hitAt.milliseconds }
      unit.append(PostgresStatement(memoSQL, p))
    }
    if !delta.forgottenMemos.isEmpty {
      let names = delta.forgottenMemos
      var p = PostgresParameters()
      p.append(column: names) { $0.project.text }
      p.append(column: names) { $0.cache }
      p.append(column: names) { $0.key }
      unit.append(
        PostgresStatement(
          """
          DELETE FROM memos WHERE (project, cache, key) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
          """, p))
    }
    return unit
  }

  private static func semaphoreKeys(_ rows: [SemaphoreRow]) -> PostgresParameters {
    var p = PostgresParameters()
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.lock.kind.rawValue }
    p.append(column: rows) { $0.lock.name }
    p.append(column: rows) { $0.lock.key }
    return p
  }
}
