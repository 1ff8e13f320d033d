public import ControlPlaneCore
public import FederationModel
import Postgres

/// What an API token stands for, as of when it was looked up.
public struct TokenRecord: Hashable, Sendable {
  /// Names it to people; not secret.
  public var id: String
  public var user: String
  /// Of its user's roles, within its own limits.
  public var rights: AccessRights
  public var expiresAt: Timestamp?
  /// When it was last used, give or take a minute.
  public var usedAt: Timestamp?
  public var isRevoked: Bool
}

/// A token as it is listed: everything but itself.
public struct TokenRow: Hashable, Sendable {
  public var id: String
  public var user: String
  /// The only project that it is for; nil: all of its user's.
  public var project: ProjectName?
  public var scopes: [Scope]
  public var label: String
  public var createdAt: Timestamp
  public var createdBy: String
  public var expiresAt: Timestamp?
  public var usedAt: Timestamp?
  public var revokedAt: Timestamp?
}

/// A token that is about to be made.
public struct NewToken: Sendable {
  /// SHA-256 of the secret, 32 bytes; the secret itself is never stored.
  public var hash: [UInt8]
  public var user: String
  public var project: ProjectName?
  public var scopes: [Scope]
  public var label: String
  public var expiresAt: Timestamp?
  public init(
    hash: [UInt8], user: String, project: ProjectName? = nil, scopes: [Scope] = [.all], label: String,
    expiresAt: Timestamp? = nil
  ) {
    self.hash = hash
    self.user = user
    self.project = project
    self.scopes = scopes
    self.label = label
    self.expiresAt = expiresAt
  }
}

/// Whose tokens are meant.
public enum TokenOwner: Hashable, Sendable {
  case user(String)
  /// The service accounts of a project.
  case project(ProjectName)
  case everybody
}

extension ControlPlaneStore {
  /// Valid tokens that one user may have.
  public static let tokensPerUser = 200
  /// Every replica listens here, and drops what it remembers of tokens.
  public static let accessChannel = "fubini_access"

  /// A part of every transaction that changes what somebody may do.
  static let accessChanged = PostgresStatement("SELECT pg_notify('\(accessChannel)', '')")

  /// - Parameter audit: the line about it; `object` and `detail` are filled in here.
  /// - Throws: `.resourceExhausted` when the user has as many as may be.
  public func createToken(_ token: NewToken, audit: AuditRow) async throws {
    let made = try await unit([
      PostgresStatement(
        "INSERT INTO users (name, is_admin, created_ms) VALUES ($1, false, $2) ON CONFLICT DO NOTHING",
        .text(token.user), .int8(audit.at.milliseconds)),
      PostgresStatement(
        """
        WITH made AS (
          INSERT INTO tokens (hash, user_name, project, label, created_ms, expires_ms, scopes, created_by)
          SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE (
            SELECT count(*) FROM tokens
            WHERE user_name = $2 AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > $5)) < $9
          RETURNING id)
        INSERT INTO audit (at_ms, actor, address, action, object, detail)
        SELECT $5, $8, $10, 'token.create', id, $11 FROM made
        """, .bytes(token.hash), .text(token.user), .text(token.project?.text), .text(token.label),
        .int8(audit.at.milliseconds), .int8(token.expiresAt?.milliseconds), .text(Self.text(token.scopes)),
        .text(audit.actor), .int8(Int64(Self.tokensPerUser)), .text(audit.address),
        .text(Self.summary(token.user, token.project, token.scopes))),
    ])
    guard made[1].affectedRows == 1 else {
      throw FederationError(
        .resourceExhausted,
        "\(token.user) has \(Self.tokensPerUser) valid tokens already; revoke some: fubini token revoke ID")
    }
  }

  private static func text(_ scopes: [Scope]) -> String { scopes.map(\.description).joined(separator: " ") }

  private static func scopes(_ text: String) -> [Scope] {
    text.split(separator: " ").compactMap { Scope(text: String($0)) }
  }

  private static func summary(_ user: String, _ project: ProjectName?, _ scopes: [Scope]) -> String {
    "of \(user)\(project.map { ", project \($0)" } ?? ""), scopes \(text(scopes))"
  }

  /// nil: no such token. The caller judges expiry and revocation.
  public func token(hash: [UInt8]) async throws -> TokenRecord? {
    let rows = try await run(
      """
      SELECT id, user_name, tokens.project, scopes, expires_ms, used_ms,
        revoked_ms IS NOT NULL OR disabled_ms IS NOT NULL, service_project,
        \(Self.membershipColumns)
      FROM tokens JOIN users ON users.name = user_name WHERE hash = $1
      """, .bytes(hash))
    return try rows.rows.first.map { row in
      // A service account is never more than its project.
      let bound = try row.optionalText(7) ?? row.optionalText(2)
      return TokenRecord(
        id: try row.text(0), user: try row.text(1),
        rights: try Self.rights(
          row, from: 8, boundTo: bound.map { ProjectName($0) }, scopes: Set(Self.scopes(try row.text(3)))),
        expiresAt: try RowDecoder.moment(row, 4), usedAt: try RowDecoder.moment(row, 5), isRevoked: try row.bool(6))
    }
  }

  /// What a user may do now, whatever the token; nil: there is no such user, or none of the user's tokens is taken.
  public func rights(of user: String) async throws -> AccessRights? {
    try await run(
      """
      SELECT service_project, \(Self.membershipColumns)
      FROM (SELECT name AS user_name, service_project FROM users WHERE name = $1 AND disabled_ms IS NULL) AS tokens
      """, .text(user)
    ).rows.first.map { row in
      try Self.rights(row, from: 1, boundTo: try row.optionalText(0).map { ProjectName($0) }, scopes: [.all])
    }
  }

  /// Seven columns about the user of a row of `tokens`: roles in the federation; projects and roles in them; organisations and roles in
  /// them; organisations and their projects.
  private static let membershipColumns = """
    (SELECT string_agg(role, ' ') FROM organisation_members m
      WHERE m.user_name = tokens.user_name AND m.organisation = 'default'),
    (SELECT array_agg(m.project ORDER BY m.project, m.role) FROM members m WHERE m.user_name = tokens.user_name),
    (SELECT array_agg(m.role ORDER BY m.project, m.role) FROM members m WHERE m.user_name = tokens.user_name),
    (SELECT array_agg(m.organisation ORDER BY m.organisation, m.role) FROM organisation_members m
      WHERE m.user_name = tokens.user_name AND m.organisation <> 'default'),
    (SELECT array_agg(m.role ORDER BY m.organisation, m.role) FROM organisation_members m
      WHERE m.user_name = tokens.user_name AND m.organisation <> 'default'),
    (SELECT array_agg(p.organisation ORDER BY p.name) FROM projects p WHERE p.organisation <> 'default'
      AND p.organisation IN (SELECT organisation FROM organisation_members m WHERE m.user_name = tokens.user_name)),
    (SELECT array_agg(p.name ORDER BY p.name) FROM projects p WHERE p.organisation <> 'default'
      AND p.organisation IN (SELECT organisation FROM organisation_members m WHERE m.user_name = tokens.user_name))
    """

  /// - Parameter first: where `membershipColumns` begin.
  private static func rights(
    _ row: PostgresRow, from first: Int, boundTo project: ProjectName?, scopes: Set<Scope>
  ) throws -> AccessRights {
    var projects: [ProjectName: Set<Role>] = [:]
    // A role of a later release means nothing here.
    for (name, role) in zip(try row.optionalTexts(first + 1) ?? [], try row.optionalTexts(first + 2) ?? []) {
      guard let name, let role = role.flatMap({ Role(rawValue: $0) }) else { continue }
      projects[ProjectName(name), default: []].insert(role)
    }
    var memberships: [OrganisationName: AccessRights.Membership] = [:]
    for (name, role) in zip(try row.optionalTexts(first + 3) ?? [], try row.optionalTexts(first + 4) ?? []) {
      guard let name, let role = role.flatMap({ Role(rawValue: $0) }) else { continue }
      memberships[OrganisationName(name), default: AccessRights.Membership(roles: [])].roles.insert(role)
    }
    for (name, project) in zip(try row.optionalTexts(first + 5) ?? [], try row.optionalTexts(first + 6) ?? []) {
      guard let name, let project else { continue }
      memberships[OrganisationName(name)]?.projects.insert(ProjectName(project))
    }
    let federation = try (row.optionalText(first) ?? "").split(separator: " ").compactMap { Role(rawValue: "\($0)") }
    return AccessRights(
      federation: Set(federation), organisations: memberships, projects: projects, boundTo: project, scopes: scopes)
  }

  /// Notes a token's use, at most once a minute.
  public func noteUse(ofToken id: String, at now: Timestamp) async throws {
    _ = try await run(
      "UPDATE tokens SET used_ms = $2 WHERE id = $1 AND (used_ms IS NULL OR used_ms <= $2 - 60000)", .text(id),
      .int8(now.milliseconds))
  }

  /// Newest first; at most 1,000.
  public func tokens(of owner: TokenOwner, id: String? = nil) async throws -> [TokenRow] {
    let (condition, value): (String, String?) =
      switch owner {
      case .user(let name): ("user_name = $1", name)
      case .project(let project): ("service_project = $1", project.text)
      case .everybody: ("$1::text IS NULL", nil)
      }
    return try await run(
      """
      SELECT id, user_name, coalesce(service_project, tokens.project), scopes, label, tokens.created_ms, created_by,
        expires_ms, used_ms, revoked_ms
      FROM tokens JOIN users ON users.name = user_name
      WHERE \(condition) AND ($2::text IS NULL OR id = $2) ORDER BY tokens.created_ms DESC, id LIMIT 1000
      """, .text(value), .text(id)
    ).rows.map { row in
      TokenRow(
        id: try row.text(0), user: try row.text(1), project: try row.optionalText(2).map { ProjectName($0) },
        scopes: Self.scopes(try row.text(3)), label: try row.text(4), createdAt: try RowDecoder.time(row, 5),
        createdBy: try row.text(6), expiresAt: try RowDecoder.moment(row, 7), usedAt: try RowDecoder.moment(row, 8),
        revokedAt: try RowDecoder.moment(row, 9))
    }
  }

  /// Voids a token at once, on every replica. - Returns: false when it was void already or never was.
  public func revokeToken(_ id: String, audit: AuditRow) async throws -> Bool {
    let results = try await unit([
      PostgresStatement(
        """
        WITH gone AS (UPDATE tokens SET revoked_ms = $2 WHERE id = $1 AND revoked_ms IS NULL RETURNING user_name)
        INSERT INTO audit (at_ms, actor, address, action, object, detail)
        SELECT $2, $3, $4, 'token.revoke', $1, 'of ' || user_name FROM gone
        """, .text(id), .int8(audit.at.milliseconds), .text(audit.actor), .text(audit.address)),
      Self.accessChanged,
    ])
    return results[0].affectedRows == 1
  }
}
