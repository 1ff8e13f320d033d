import Crypto
import FoundationEssentials
public import Postgres

/// One step of the schema: `V0001__foundation.sql`.
public struct Migration: Hashable, Sendable {
  public var version: Int64
  public var name: String
  public var sql: String
  public init(version: Int64, name: String, sql: String) {
    self.version = version
    self.name = name
    self.sql = sql
  }
  /// SHA-256 of the text, in hexadecimal.
  public var checksum: String {
    SHA256.hash(data: Data(sql.utf8)).map { byte in
      let digits = String(byte, radix: 16)
      return byte < 16 ? "0" + digits : digits
    }.joined()
  }
}

/// Why the schema and this program do not go together.
public enum MigrationError: Error, Hashable, Sendable, CustomStringConvertible {
  case changed(name: String)
  case missing(name: String)
  /// The schema is newer than this program: it may serve reads, and must not lead.
  case newerSchema(applied: Int64, known: Int64)

  public var description: String {
    switch self {
    case .changed(let name):
      "migration \(name) was changed after it had been applied; restore its text and add a new migration instead"
    case .missing(let name): "migration \(name) has been applied to the database, but this program does not have it"
    case .newerSchema(let applied, let known):
      "the database has schema version \(applied), this program knows \(known); upgrade the program before it may lead"
    }
  }
}

extension PostgresConnection {
  /// Brings the schema up to `migrations`, each in a transaction of its own, one process at a time.
  ///
  /// - Parameter migrations: in ascending order of version.
  /// - Returns: the names of those that were applied now.
  /// - Throws: `MigrationError`, `PostgresError`.
  public func migrate(_ migrations: [Migration]) async throws -> [String] {
    // Two processes that start together wait for each other here; the lock ends with the connection at the latest.
    try await run([PostgresStatement("SELECT pg_advisory_lock(5046)")], timeout: .seconds(120))
    do {
      let applied = try await applyMissing(migrations)
      try await query("SELECT pg_advisory_unlock(5046)")
      return applied
    } catch {
      _ = try? await query("SELECT pg_advisory_unlock(5046)")
      throw error
    }
  }

  private func applyMissing(_ migrations: [Migration]) async throws -> [String] {
    try await script([
      """
      CREATE TABLE IF NOT EXISTS schema_migrations (
        version bigint PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now())
      """
    ])
    let rows = try await query("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
    var known = Dictionary(migrations.map { ($0.version, $0) }, uniquingKeysWith: { $1 })
    let newest = migrations.map(\.version).max() ?? 0
    for row in rows.rows {
      let version = try row.int(0)
      if version > newest { throw MigrationError.newerSchema(applied: version, known: newest) }
      guard let migration = known.removeValue(forKey: version) else {
        throw MigrationError.missing(name: try row.text(1))
      }
      guard migration.checksum == (try row.text(2)) else { throw MigrationError.changed(name: migration.name) }
    }
    var names: [String] = []
    for migration in known.values.sorted(by: { $0.version < $1.version }) {
      // A DO block runs many statements in one message, which the extended protocol does not allow otherwise.
      let run = PostgresStatement("SELECT set_config('fubini.migration', $1, true)", .text(migration.sql))
      let apply = PostgresStatement(
        "DO $fubini$ BEGIN EXECUTE current_setting('fubini.migration'); END $fubini$", isPrepared: false)
      let note = PostgresStatement(
        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)", .int8(migration.version),
        .text(migration.name), .text(migration.checksum))
      try await self.run([run, apply, note], timeout: .seconds(600))
      names.append(migration.name)
    }
    return names
  }
}
