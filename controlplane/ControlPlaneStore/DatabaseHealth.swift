public import FederationModel
import Postgres

/// What a `doctor` asks of the database.
public struct DatabaseHealth: Hashable, Sendable {
  /// `server_version_num`: 150004 for 15.4.
  public var version: Int64
  /// As this role's sessions get them before the store sets anything.
  public var settings: [String: String]
  public var role: String
  public var isSuperuser: Bool
  /// May make tables and functions in its schema: migrations need it.
  public var mayCreate: Bool
  /// Whether it may add to the audit log and not change it, as one that the tables' owner has let in (`admit`); nil: there is none yet.
  public var mayOnlyAddToAudit: Bool?
  /// Tables of ours that another role owns: migrations cannot change them.
  public var foreignTables: [String]
  /// It is a standby that follows another server: nothing can be written.
  public var isStandby: Bool
  /// Standbys that confirm each commit.
  public var synchronousStandbys: Int64
  /// The database's clock minus ours.
  public var clockSkew: Duration
  /// The newest migration that was applied; nil before the first.
  public var schemaVersion: Int64?
}

extension ControlPlaneStore {
  /// Every session of the store begins with it. With `synchronous_commit = off` the server acknowledges what a crash can
  /// still lose, and invariant I2 would not hold; a session may ask for more than its server's default.
  static let sessionSetup =
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

  static let healthSettings = ["synchronous_commit", "fsync", "full_page_writes", "synchronous_standby_names"]

  /// The newest schema that this program knows.
  public static var schemaVersion: Int64 { embeddedMigrations.map(\.version).max() ?? 0 }

  /// A later release has changed the schema: this program may serve reads, and must not begin to lead.
  public func hasNewerSchema() async throws -> Bool {
    try await run("SELECT coalesce(max(version), 0) > $1 FROM schema_migrations", .int8(Self.schemaVersion))[0].bool(0)
  }

  /// What this store's own sessions work with.
  func ownSynchronousCommit() async throws -> String {
    try await run("SELECT current_setting('synchronous_commit')")[0].text(0)
  }

  /// - Parameter now: our wall clock; read before and after the question.
  public func health(now: @Sendable () -> Timestamp) async throws -> DatabaseHealth {
    let asked = now()
    let clock = try await run("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")[0].int(0)
    let answered = now()
    let names = Self.healthSettings.map { Optional($0) }
    // `reset_val`: what the session began with, before `sessionSetup`.
    let rows = try await run("SELECT name, reset_val FROM pg_settings WHERE name = ANY ($1)", .texts(names))
    var settings: [String: String] = [:]
    for row in rows.rows { settings[try row.text(0)] = try row.text(1) }
    let facts = try await run(
      """
      SELECT current_setting('server_version_num')::bigint, current_user::text,
        (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), pg_is_in_recovery(),
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')),
        to_regclass('schema_migrations') IS NOT NULL
      """)[0]
    let foreign = try await run(
      """
      SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() AND NOT pg_has_role(tableowner, 'USAGE')
      ORDER BY tablename LIMIT 20
      """)
    var schema: Int64?
    if try facts.bool(6) {
      schema = try await run("SELECT max(version) FROM schema_migrations")[0].optionalInt(0)
    }
    let audit = try await run(
      "SELECT has_table_privilege(oid, 'INSERT') AND NOT has_table_privilege(oid, 'UPDATE, DELETE') FROM pg_class "
        + "WHERE oid = to_regclass('audit')")
    return DatabaseHealth(
      version: try facts.int(0), settings: settings, role: try facts.text(1), isSuperuser: try facts.bool(2),
      mayCreate: try facts.bool(3), mayOnlyAddToAudit: try audit.rows.first.map { try $0.bool(0) },
      foreignTables: try foreign.rows.map { try $0.text(0) },
      isStandby: try facts.bool(4), synchronousStandbys: try facts.int(5),
      clockSkew: Timestamp(milliseconds: clock) - (asked + (answered - asked) / 2), schemaVersion: schema)
  }
}
