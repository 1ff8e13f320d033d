public import ControlPlaneCore
public import FederationModel
import Postgres

/// Which lines of the audit log are asked for.
public struct AuditFilter: Hashable, Sendable {
  public var since: Timestamp?
  public var actor: String?
  /// Denials alone, or changes alone; nil: both.
  public var isDenied: Bool?
  public init(since: Timestamp? = nil, actor: String? = nil, isDenied: Bool? = nil) {
    self.since = since
    self.actor = actor
    self.isDenied = isDenied
  }
}

extension ControlPlaneStore {
  /// The newest audit records, newest first, of sequences below `before`; at most 1,000.
  public func audit(
    _ filter: AuditFilter = AuditFilter(), before: Int64? = nil, limit: Int = 100
  ) async throws -> [(sequence: Int64, row: AuditRow)] {
    let rows = try await run(
      """
      SELECT seq, at_ms, actor, address, action, object, detail, is_denied FROM audit
      WHERE ($1::int8 IS NULL OR seq < $1) AND ($3::int8 IS NULL OR at_ms >= $3) AND ($4::text IS NULL OR actor = $4)
        AND ($5::bool IS NULL OR is_denied = $5)
      ORDER BY seq DESC LIMIT $2
      """, .int8(before), .int8(Int64(min(max(limit, 1), 1000))), .int8(filter.since?.milliseconds),
      .text(filter.actor), .bool(filter.isDenied))
    return try rows.rows.map {
      let row = AuditRow(
        at: try RowDecoder.time($0, 1), actor: try $0.text(2), address: try $0.text(3), action: try $0.text(4),
        object: try $0.text(5), detail: try $0.text(6), isDenied: try $0.bool(7))
      return (try $0.int(0), row)
    }
  }

  /// For what does not go through the core: refused joins, denied requests.
  public func appendAudit(_ row: AuditRow) async throws { _ = try await unit([Self.auditing(row)]) }

  /// Statements that are one transaction.
  func unit(_ statements: [PostgresStatement]) async throws -> [PostgresResult] {
    try await pool.withConnection { try await $0.run(statements) }
  }

  /// The line of the audit log in a change that does not go through the core.
  static func auditing(_ row: AuditRow) -> PostgresStatement {
    PostgresStatement(
      """
      INSERT INTO audit (at_ms, actor, address, action, object, detail, is_denied) VALUES ($1, $2, $3, $4, $5, $6, $7)
      """, .int8(row.at.milliseconds), .text(row.actor), .text(row.address), .text(row.action), .text(row.object),
      .text(row.detail), .bool(row.isDenied))
  }
}
