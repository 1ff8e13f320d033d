public import ControlPlaneCore
public import FederationModel
import Postgres

/// A role that a user has.
public struct MemberRow: Hashable, Sendable {
  public var user: String
  public var role: Role
  public var createdAt: Timestamp
  public var createdBy: String
}

/// Users and what they are members of. Passwords are not kept: a user is a name that has roles and tokens.
extension ControlPlaneStore {
  public func ensureUser(_ name: String, isAdmin: Bool, at now: Timestamp) async throws {
    var statements = [
      // An older release, which knows no roles, goes by the column.
      PostgresStatement(
        """
        INSERT INTO users (name, is_admin, created_ms) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET is_admin = $2
        """, .text(name), .bool(isAdmin), .int8(now.milliseconds))
    ]
    if isAdmin {
      statements += [
        Self.ensuring(OrganisationName.federation.text, now),
        PostgresStatement(
          """
          INSERT INTO organisation_members (organisation, user_name, role, created_ms, created_by)
          VALUES ($1, $2, $3, $4, 'init') ON CONFLICT DO NOTHING
          """, .text(OrganisationName.federation.text), .text(name), .text(Role.orgAdmin.rawValue),
          .int8(now.milliseconds)),
      ]
    }
    _ = try await unit(statements + [Self.accessChanged])
  }

  private static func ensuring(_ organisation: String, _ now: Timestamp) -> PostgresStatement {
    PostgresStatement(
      "INSERT INTO organisations (name, created_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING", .text(organisation),
      .int8(now.milliseconds))
  }

  public func ensureProject(_ name: ProjectName, organisation: String, at now: Timestamp) async throws {
    _ = try await unit([
      Self.ensuring(organisation, now),
      PostgresStatement(
        "INSERT INTO projects (name, organisation, created_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        .text(name.text), .text(organisation), .int8(now.milliseconds)),
    ])
  }

  /// By user and role. nil: those of an organisation.
  public func members(
    of project: ProjectName?, organisation: OrganisationName = .federation
  ) async throws -> [MemberRow] {
    let rows = try await run(
      """
      SELECT user_name, role, created_ms, created_by FROM \(Self.memberTable(project)) = $1 ORDER BY user_name, role
      """, .text(project?.text ?? organisation.text))
    return try rows.rows.compactMap { row in
      // A role of a later release means nothing here.
      guard let role = Role(rawValue: try row.text(1)) else { return nil }
      return MemberRow(
        user: try row.text(0), role: role, createdAt: try RowDecoder.time(row, 2), createdBy: try row.text(3))
    }
  }

  /// The table, and the column that says whose members they are.
  private static func memberTable(_ project: ProjectName?) -> String {
    project == nil ? "organisation_members WHERE organisation" : "members WHERE project"
  }

  /// Gives a user a role, and makes the user where there is none of that name. Nothing happens where there is the role already.
  ///
  /// - Parameters:
  ///   - project: nil: in an organisation.
  ///   - isService: an account of the project itself.
  ///   - audit: the line about it; who, when and from where.
  public func addMember(
    _ user: String, _ role: Role, to project: ProjectName?, organisation: OrganisationName = .federation,
    isService: Bool = false, audit: AuditRow
  ) async throws {
    let (table, column) = project == nil ? ("organisation_members", "organisation") : ("members", "project")
    _ = try await unit([
      PostgresStatement(
        """
        INSERT INTO users (name, is_admin, created_ms, service_project) VALUES ($1, false, $2, $3) ON CONFLICT DO NOTHING
        """, .text(user), .int8(audit.at.milliseconds), .text(isService ? project?.text : nil)),
      PostgresStatement(
        """
        WITH added AS (
          INSERT INTO \(table) (\(column), user_name, role, created_ms, created_by) VALUES ($1, $2, $3, $4, $5)
          ON CONFLICT DO NOTHING RETURNING 1)
        INSERT INTO audit (at_ms, actor, address, action, object, detail)
        SELECT $4, $5, $6, 'member.add', $1, $2 || ' ' || $3 FROM added
        """, .text(project?.text ?? organisation.text), .text(user), .text(role.rawValue),
        .int8(audit.at.milliseconds), .text(audit.actor), .text(audit.address)),
      Self.accessChanged,
    ])
  }

  /// Takes a role from a user. The last administrator of the federation who is not disabled stays.
  ///
  /// - Returns: false when the user has not had it, or is the last.
  public func removeMember(
    _ user: String, _ role: Role, from project: ProjectName?, organisation: OrganisationName = .federation,
    audit: AuditRow
  ) async throws -> Bool {
    let results = try await unit([
      // One after the other: of two that remove each other one stays.
      PostgresStatement(
        "SELECT 1 FROM organisations WHERE name = $1 FOR UPDATE", .text(OrganisationName.federation.text)),
      PostgresStatement(
        """
        WITH gone AS (
          DELETE FROM \(Self.memberTable(project)) = $2 AND user_name = $1 AND role = $3
            AND ($3 <> 'org-admin' OR $2 <> 'default' OR \(Self.hasOtherAdministrator))
          RETURNING 1)
        INSERT INTO audit (at_ms, actor, address, action, object, detail)
        SELECT $4, $5, $6, 'member.remove', $2, $1 || ' ' || $3 FROM gone
        """, .text(user), .text(project?.text ?? organisation.text), .text(role.rawValue),
        .int8(audit.at.milliseconds), .text(audit.actor), .text(audit.address)),
      Self.accessChanged,
    ])
    return results[1].affectedRows == 1
  }

  /// Every replica forgets what it remembers of rights: a project came to an organisation.
  public func announceAccess() async throws { _ = try await unit([Self.accessChanged]) }
}
