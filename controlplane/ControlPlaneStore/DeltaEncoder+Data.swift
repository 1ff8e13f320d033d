import ControlPlaneCore
import FederationModel
import Postgres

/// Data sets, replicas and transfers.
extension DeltaEncoder {
  static let datasetColumns = [
    ("project", "text"), ("name", "text"), ("spec", "text"), ("created_ms", "int8"), ("created_by", "text"),
    ("last_version", "int4"), ("removed_ms", "int8"),
  ]
  static let versionColumns = [
    ("key", "text"), ("project", "text"), ("name", "text"), ("version", "int4"), ("phase", "text"), ("files", "int8"),
    ("bytes", "int8"), ("manifest", "text"), ("origin", "text"), ("indexed_via", "text"), ("message", "text"),
    ("created_ms", "int8"), ("created_by", "text"), ("used_ms", "int8"),
    ("archive", "text"), ("stored", "text"),
  ]
  static let replicaColumns = [
    ("key", "text"), ("cache", "text"), ("bytes", "int8"), ("ready_ms", "int8"), ("is_pinned", "bool"),
  ]
  static let transferColumns = [
    ("id", "int8"), ("key", "text"), ("project", "text"), ("cluster", "text"), ("cause", "text"), ("phase", "text"),
    ("source", "text"), ("bytes", "int8"), ("moved_bytes", "int8"), ("created_ms", "int8"), ("started_ms", "int8"),
    ("finished_ms", "int8"), ("message", "text"),
  ]
  private static let datasetSQL = upsert("datasets", key: ["project", "name"], datasetColumns)
  private static let versionSQL = upsert(
    "dataset_versions", key: ["key"], fixed: ["project", "name", "version"], versionColumns)
  private static let replicaSQL = upsert("replicas", key: ["key", "cache"], replicaColumns)
  private static let transferSQL = upsert("transfers", key: ["id"], transferColumns)

  static func data(_ delta: DurableDelta) throws -> [PostgresStatement] {
    var unit: [PostgresStatement] = []
    if !delta.datasets.isEmpty { unit.append(try datasets(delta.datasets)) }
    if !delta.datasetVersions.isEmpty { unit.append(try versions(delta.datasetVersions)) }
    if !delta.replicas.isEmpty { unit.append(replicas(delta.replicas)) }
    if !delta.transfers.isEmpty { unit.append(transfers(delta.transfers)) }
    return unit
  }

  static func dataDeletions(_ delta: DurableDelta) -> [PostgresStatement] {
    var unit: [PostgresStatement] = []
    let removed = delta.deletedDatasets
    if !removed.isEmpty {
      let pairs = "(SELECT * FROM unnest($1::text[], $2::text[]))"
      let names = [PostgresValue.texts(removed.map(\.project.text)), .texts(removed.map(\.name))]
      unit.append(PostgresStatement("DELETE FROM dataset_versions WHERE (project, name) IN \(pairs)", names))
      unit.append(PostgresStatement("DELETE FROM datasets WHERE (project, name) IN \(pairs)", names))
    }
    if !delta.deletedVersions.isEmpty {
      unit.append(
        PostgresStatement(
          "DELETE FROM dataset_versions WHERE key = ANY ($1)", .texts(delta.deletedVersions.map(\.text))))
    }
    if !delta.deletedReplicas.isEmpty {
      unit.append(
        PostgresStatement(
          "DELETE FROM replicas WHERE (key, cache) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
          [.texts(delta.deletedReplicas.map(\.key.text)), .texts(delta.deletedReplicas.map(\.cache))]))
    }
    return unit
  }

  private static func datasets(_ rows: [DatasetRow]) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.spec.project.text }
    p.append(column: rows) { $0.spec.name }
    try p.append(column: rows) { try RowJSON.encode($0.spec) }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.createdBy }
    p.append(column: rows) { $0.lastVersion }
    p.append(column: rows) { $0.removedAt?.milliseconds }
    return PostgresStatement(datasetSQL, p)
  }

  private static func versions(_ rows: [DatasetVersionRow]) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.key.text }
    p.append(column: rows) { $0.dataset.project.text }
    p.append(column: rows) { $0.dataset.name }
    p.append(column: rows) { $0.number }
    p.append(column: rows) { $0.phase.rawValue }
    p.append(column: rows) { $0.files }
    p.append(column: rows) { $0.size.bytes }
    try p.append(column: rows) { try $0.manifest.map { try RowJSON.encode($0) } }
    try p.append(column: rows) { try $0.origin.map { try RowJSON.encode($0) } }
    p.append(column: rows) { $0.indexedVia?.text }
    p.append(column: rows) { $0.message }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.createdBy }
    p.append(column: rows) { $0.usedAt?.milliseconds }
    try p.append(column: rows) { try $0.archive.map { try RowJSON.encode($0) } }
    try p.append(column: rows) { try $0.stored.map { try RowJSON.encode($0) } }
    return PostgresStatement(versionSQL, p)
  }

  private static func replicas(_ rows: [ReplicaRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.key.text }
    p.append(column: rows) { $0.cache }
    p.append(column: rows) { $0.size.bytes }
    p.append(column: rows) { $0.readyAt.milliseconds }
    p.append(column: rows) { $0.isPinned }
    return PostgresStatement(replicaSQL, p)
  }

  private static func transfers(_ rows: [TransferRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.id.number }
    p.append(column: rows) { $0.key.text }
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.cluster.text }
    p.append(column: rows) { $0.cause.rawValue }
    p.append(column: rows) { $0.phase.rawValue }
    p.append(column: rows) { $0.source }
    p.append(column: rows) { $0.size.bytes }
    p.append(column: rows) { $0.moved.bytes }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.startedAt?.milliseconds }
    p.append(column: rows) { $0.finishedAt?.milliseconds }
    p.append(column: rows) { $0.message }
    return PostgresStatement(transferSQL, p)
  }
}
