public import FederationModel
import Postgres

/// Whom a project's alerts are told.
public struct AlertHook: Hashable, Sendable {
  public var project: ProjectName
  public var url: String
  /// The project's secret with the key that is signed with.
  public var secret: String
  public var changedAt: Timestamp
  public var changedBy: String
  public init(project: ProjectName, url: String, secret: String, changedAt: Timestamp, changedBy: String) {
    self.project = project
    self.url = url
    self.secret = secret
    self.changedAt = changedAt
    self.changedBy = changedBy
  }
}

/// An alert on its way to a hook.
public struct AlertDelivery: Hashable, Sendable {
  public var id: Int64
  public var project: ProjectName
  /// JSON: what is sent.
  public var body: String
  public var createdAt: Timestamp
  /// Begun so far.
  public var attempts: Int
  /// When it is tried next; nil: it is over.
  public var nextAt: Timestamp?
  /// nil: it was not taken.
  public var deliveredAt: Timestamp?
  /// Why it was not taken the last time; empty before.
  public var failure: String
}

/// Hooks do not pass through the core: what an alert says is written by its unit (`DurableDelta.alerts`), and whoever delivers it may
/// be any replica, because a delivery is claimed by a row lock.
extension ControlPlaneStore {
  public func alertHook(of project: ProjectName) async throws -> AlertHook? {
    try await run(
      "SELECT project, url, secret, changed_ms, changed_by FROM alert_hooks WHERE project = $1", .text(project.text)
    ).rows.first.map {
      AlertHook(
        project: ProjectName(try $0.text(0)), url: try $0.text(1), secret: try $0.text(2),
        changedAt: Timestamp(milliseconds: try $0.int(3)), changedBy: try $0.text(4))
    }
  }

  /// Adds a hook or replaces it, and notes that in the audit log, in one transaction.
  public func put(_ hook: AlertHook) async throws {
    _ = try await run(
      """
      WITH put AS (
        INSERT INTO alert_hooks (project, url, secret, changed_ms, changed_by) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (project) DO UPDATE SET url = excluded.url, secret = excluded.secret,
          changed_ms = excluded.changed_ms, changed_by = excluded.changed_by
        RETURNING 1)
      INSERT INTO audit (at_ms, actor, action, object, detail) SELECT $4, $5, 'budget.webhook', $1, $2 FROM put
      """, .text(hook.project.text), .text(hook.url), .text(hook.secret), .int8(hook.changedAt.milliseconds),
      .text(hook.changedBy))
  }

  /// Removes a hook. - Returns: false when there is none.
  public func removeAlertHook(of project: ProjectName, by user: String, at now: Timestamp) async throws -> Bool {
    try await run(
      """
      WITH gone AS (DELETE FROM alert_hooks WHERE project = $1 RETURNING 1)
      INSERT INTO audit (at_ms, actor, action, object, detail) SELECT $2, $3, 'budget.webhook', $1, '' FROM gone
      """, .text(project.text), .int8(now.milliseconds), .text(user)
    ).affectedRows == 1
  }

  private static let deliveryColumns = "id, project, body, created_ms, attempts, next_ms, delivered_ms, failure"

  private static func delivery(_ row: PostgresRow) throws -> AlertDelivery {
    AlertDelivery(
      id: try row.int(0), project: ProjectName(try row.text(1)), body: try row.text(2),
      createdAt: Timestamp(milliseconds: try row.int(3)), attempts: Int(try row.int(4)),
      nextAt: try row.optionalInt(5).map { Timestamp(milliseconds: $0) },
      deliveredAt: try row.optionalInt(6).map { Timestamp(milliseconds: $0) }, failure: try row.text(7))
  }

  /// The newest of a project.
  public func alertDeliveries(of project: ProjectName, limit: Int) async throws -> [AlertDelivery] {
    try await run(
      "SELECT \(Self.deliveryColumns) FROM alert_deliveries WHERE project = $1 ORDER BY id DESC LIMIT $2",
      .text(project.text), .int8(Int64(min(max(limit, 1), 100)))
    ).rows.map(Self.delivery)
  }

  /// Takes what is due. Each is due again later by itself, after a time that doubles with every attempt from half a minute to an hour and
  /// is spread by a fifth, so that one whose process dies is tried by another.
  public func claimAlerts(at now: Timestamp, limit: Int) async throws -> [AlertDelivery] {
    try await run(
      """
      UPDATE alert_deliveries SET attempts = attempts + 1,
        next_ms = $1 + (least(3600000::float8, 30000 * power(2, least(attempts, 12))) * (0.8 + 0.4 * random()))::bigint
      WHERE id IN (SELECT id FROM alert_deliveries WHERE next_ms <= $1 ORDER BY next_ms LIMIT $2 FOR UPDATE SKIP LOCKED)
      RETURNING \(Self.deliveryColumns)
      """, .int8(now.milliseconds), .int8(Int64(limit))
    ).rows.map(Self.delivery)
  }

  /// What became of an attempt.
  ///
  /// - Parameter failure: why it was not taken; nil: it was.
  /// - Parameter isLast: it is not tried again.
  public func settleAlert(_ id: Int64, failure: String?, isLast: Bool, at now: Timestamp) async throws {
    _ = try await run(
      """
      UPDATE alert_deliveries SET failure = coalesce($2, ''),
        delivered_ms = CASE WHEN $2::text IS NULL THEN $4::bigint END,
        next_ms = CASE WHEN $3 OR $2::text IS NULL THEN NULL ELSE next_ms END
      WHERE id = $1
      """, .int8(id), .text(failure), .bool(isLast), .int8(now.milliseconds))
  }

  /// Forgets what was over before a moment.
  public func forgetAlerts(before moment: Timestamp) async throws {
    _ = try await run(
      """
      DELETE FROM alert_deliveries WHERE id IN (
        SELECT id FROM alert_deliveries WHERE next_ms IS NULL AND created_ms < $1 ORDER BY id LIMIT 1000)
      """, .int8(moment.milliseconds))
  }
}
