public import ControlPlaneCore
public import FederationModel
import Postgres

/// A person or a service account, as administrators see it.
public struct UserRow: Hashable, Sendable {
  public var name: String
  /// Whose service account it is; nil: a person.
  public var project: ProjectName?
  public var createdAt: Timestamp
  /// Since when none of its tokens is taken; nil: they are.
  public var disabledAt: Timestamp?
  /// Tokens that are neither revoked nor expired.
  public var tokens: Int64
}

extension ControlPlaneStore {
  /// That somebody else, who is not disabled, administers the federation. The user is parameter $1.
  static let hasOtherAdministrator = """
    EXISTS (SELECT FROM organisation_members m JOIN users u ON u.name = m.user_name
      WHERE m.organisation = 'default' AND m.role = 'org-admin' AND m.user_name <> $1 AND u.disabled_ms IS NULL)
    """

  /// By name, after `last`; at most `limit`.
  public func users(after last: String?, limit: Int, at now: Timestamp) async throws -> [UserRow] {
    try await run(
      """
      SELECT name, service_project, created_ms, disabled_ms,
        (SELECT count(*) FROM tokens WHERE user_name = name AND revoked_ms IS NULL
          AND (expires_ms IS NULL OR expires_ms > $1))
      FROM users WHERE name > $2 ORDER BY name LIMIT $3
      """, .int8(now.milliseconds), .text(last ?? ""), .int8(Int64(min(max(limit, 1), 500)))
    ).rows.map { row in
      UserRow(
        name: try row.text(0), project: try row.optionalText(1).map { ProjectName($0) },
        createdAt: try RowDecoder.time(row, 2), disabledAt: try RowDecoder.moment(row, 3), tokens: try row.int(4))
    }
  }

  /// What became of an order to disable or enable a user.
  public enum UserChange: Sendable {
    case done, unknown
    /// The last one who could undo it.
    case lastAdministrator
  }

  /// Disables a user, at once and on every replica, or enables one again. Roles and tokens stay as they are. Nothing happens, and nothing
  /// is audited, where it is so already.
  ///
  /// - Parameter audit: who, when and from where.
  public func setDisabled(_ user: String, _ isDisabled: Bool, audit: AuditRow) async throws -> UserChange {
    let results = try await unit([
      // One after the other: of two that disable each other one stays.
      PostgresStatement(
        "SELECT 1 FROM organisations WHERE name = $1 FOR UPDATE", .text(OrganisationName.federation.text)),
      PostgresStatement(
        """
        WITH changed AS (
          UPDATE users SET disabled_ms = CASE WHEN $2 THEN $3::int8 END
          WHERE name = $1 AND (disabled_ms IS NOT NULL) <> $2 AND (NOT $2 OR \(Self.hasOtherAdministrator))
          RETURNING name)
        INSERT INTO audit (at_ms, actor, address, action, object, detail)
        SELECT $3, $4, $5, CASE WHEN $2 THEN 'user.disable' ELSE 'user.enable' END, name, '' FROM changed
        """, .text(user), .bool(isDisabled), .int8(audit.at.milliseconds), .text(audit.actor), .text(audit.address)),
      PostgresStatement("SELECT disabled_ms IS NOT NULL FROM users WHERE name = $1", .text(user)),
      Self.accessChanged,
    ])
    guard let row = results[2].rows.first else { return .unknown }
    return try row.bool(0) == isDisabled ? .done : .lastAdministrator
  }
}
