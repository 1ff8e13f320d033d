public import FederationModel
import Postgres

/// A project's secret as the database has it.
public struct SecretRow: Hashable, Sendable {
  public var project: ProjectName
  public var name: String
  /// Opens only with a key that is not in the database.
  public var sealed: [UInt8]
  /// The names of its values, in order.
  public var fields: [String]
  public var changedAt: Timestamp
  public var changedBy: String
  public init(
    project: ProjectName, name: String, sealed: [UInt8], fields: [String], changedAt: Timestamp, changedBy: String
  ) {
    self.project = project
    self.name = name
    self.sealed = sealed
    self.fields = fields
    self.changedAt = changedAt
    self.changedBy = changedBy
  }
}

/// Secrets do not pass through the core: its state is kept whole in memory and its commands in a queue, and a value must be in neither.
extension ControlPlaneStore {
  /// Adds a secret or replaces it, and notes that in the audit log, in one transaction.
  ///
  /// - Returns: false, with nothing changed, when the project has `limit` other secrets already.
  public func put(_ row: SecretRow, limit: Int, from address: String = "") async throws -> Bool {
    let rows = try await run(
      """
      WITH room AS (SELECT count(*) < $7 AS is_there FROM secrets WHERE project = $1 AND name <> $2),
      put AS (
        INSERT INTO secrets (project, name, sealed, fields, changed_ms, changed_by)
        SELECT $1, $2, $3, $4, $5, $6 FROM room WHERE is_there
        ON CONFLICT (project, name) DO UPDATE SET sealed = excluded.sealed, fields = excluded.fields,
          changed_ms = excluded.changed_ms, changed_by = excluded.changed_by
        RETURNING 1)
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT $5, $6, 'secret.set', $1 || '/' || $2, $4, $8 FROM put
      """,
      .text(row.project.text), .text(row.name), .bytes(row.sealed), .text(row.fields.joined(separator: " ")),
      .int8(row.changedAt.milliseconds), .text(row.changedBy), .int8(Int64(limit)),
      .text(address))
    return rows.affectedRows == 1
  }

  /// Adds a secret unless there is one of that name.
  public func putIfAbsent(_ row: SecretRow) async throws -> Bool {
    try await run(
      """
      INSERT INTO secrets (project, name, sealed, fields, changed_ms, changed_by) VALUES ($1, $2, $3, $4, $5, $6)
      ON CONFLICT DO NOTHING
      """, .text(row.project.text), .text(row.name), .bytes(row.sealed), .text(row.fields.joined(separator: " ")),
      .int8(row.changedAt.milliseconds), .text(row.changedBy)
    ).affectedRows == 1
  }

  /// Removes a secret. - Returns: false when there is none.
  public func removeSecret(
    _ name: String, of project: ProjectName, by user: String, from address: String = "", at now: Timestamp
  ) async throws -> Bool {
    let rows = try await run(
      """
      WITH gone AS (DELETE FROM secrets WHERE project = $1 AND name = $2 RETURNING 1)
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT $3, $4, 'secret.remove', $1 || '/' || $2, '', $5 FROM gone
      """, .text(project.text), .text(name), .int8(now.milliseconds), .text(user), .text(address))
    return rows.affectedRows == 1
  }

  /// What is opened with a secret, in words; nil when nothing is. Versions keep the origin that they were listed at.
  public func user(ofSecret name: String, in project: ProjectName) async throws -> String? {
    try await run(
      """
      SELECT 'data set ' || name FROM datasets
      WHERE project = $1 AND removed_ms IS NULL AND name NOT LIKE '.%'
        AND $2 IN (spec::jsonb -> 'origin' ->> 'secret', spec::jsonb -> 'archive' -> 'target' ->> 'secret')
      UNION ALL SELECT 'the webhook of the budget' FROM alert_hooks WHERE project = $1 AND secret = $2
      UNION ALL SELECT 'version ' || version || ' of data set ' || name FROM dataset_versions
      WHERE project = $1 AND name NOT LIKE '.%' AND $2 IN (origin::jsonb ->> 'secret', archive::jsonb ->> 'secret') ORDER BY 1 LIMIT 1
      """, .text(project.text), .text(name)
    ).rows.first.map { try $0.text(0) }
  }

  public func secret(_ name: String, of project: ProjectName) async throws -> SecretRow? {
    try await run(
      "SELECT \(Self.secretColumns) FROM secrets WHERE project = $1 AND name = $2", .text(project.text), .text(name)
    ).rows.first.map(Self.secretRow)
  }

  /// By name.
  ///
  /// - Parameter project: nil: of every project.
  public func secrets(of project: ProjectName? = nil) async throws -> [SecretRow] {
    try await run(
      "SELECT \(Self.secretColumns) FROM secrets WHERE $1::text IS NULL OR project = $1 ORDER BY project, name",
      .text(project?.text)
    ).rows.map(Self.secretRow)
  }

  /// Replaces what a secret is sealed as, unless it was set meanwhile.
  public func reseal(_ row: SecretRow, as sealed: [UInt8]) async throws -> Bool {
    try await run(
      "UPDATE secrets SET sealed = $4 WHERE project = $1 AND name = $2 AND sealed = $3", .text(row.project.text),
      .text(row.name), .bytes(row.sealed), .bytes(sealed)
    ).affectedRows == 1
  }

  private static let secretColumns = "project, name, sealed, fields, changed_ms, changed_by"

  private static func secretRow(_ row: PostgresRow) throws -> SecretRow {
    SecretRow(
      project: ProjectName(try row.text(0)), name: try row.text(1), sealed: try row.bytes(2),
      fields: try row.text(3).split(separator: " ").map(String.init),
      changedAt: Timestamp(milliseconds: try row.int(4)),
      changedBy: try row.text(5))
  }
}
