import Postgres

extension ControlPlaneStore {
  /// Tables of which no line is ever changed: a role that does not own them may only add to them.
  static let appendOnly = ["audit", "ledger_entries"]

  /// Who this store's connections act as.
  public func role() async throws -> String { try await run("SELECT current_user::text")[0].text(0) }

  /// Lets another role do what a control plane does, and not change what is append only. To be called by the role that owns the tables,
  /// after each migration; calling it again changes nothing.
  public func admit(_ role: String) async throws {
    let names = try await run(
      "SELECT quote_ident(current_schema()::text), quote_ident($1), quote_ident(current_database()::text)", .text(role))
    let (schema, grantee) = (try names[0].text(0), try names[0].text(1))
    let fixed = Self.appendOnly.joined(separator: ", ")
    _ = try await unit(
      [
        "GRANT USAGE ON SCHEMA \(schema) TO \(grantee)",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(schema) TO \(grantee)",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA \(schema) TO \(grantee)",
        "REVOKE UPDATE, DELETE, TRUNCATE ON \(fixed) FROM \(grantee)",
        "REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON schema_migrations FROM \(grantee)",
      ].map { PostgresStatement($0, isPrepared: false) })
  }
}
