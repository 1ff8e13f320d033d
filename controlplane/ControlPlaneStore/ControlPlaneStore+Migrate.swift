import Migrations
import Postgres

extension ControlPlaneStore {
  /// Brings the schema up to what this program knows, over a connection of its own.
  ///
  /// Safe to call from several processes at once: they wait for each other.
  ///
  /// - Returns: the names of the migrations that were applied now.
  /// - Throws: `MigrationError`, `PostgresError`.
  @discardableResult
  public func migrate() async throws -> [String] { try await migrate(Self.embeddedMigrations) }

  func migrate(_ migrations: [Migration]) async throws -> [String] {
    let connection = try await PostgresConnection.connect(configuration)
    do {
      let names = try await connection.migrate(migrations)
      await connection.close()
      return names
    } catch {
      await connection.close()
      throw error
    }
  }

  static let embeddedMigrations: [Migration] = EmbeddedMigrations.all.map { file in
    guard let migration = Migration(file: file.name, sql: file.sql) else {
      preconditionFailure("\(file.name) is not called like V0001__what_it_does.sql")
    }
    return migration
  }
}

extension Migration {
  /// Reads the version out of a file name, `V0001__what_it_does.sql`; nil for any other name.
  public init?(file name: String, sql: String) {
    guard name.hasPrefix("V"), name.hasSuffix(".sql") else { return nil }
    let stem = name.dropFirst().dropLast(4)
    let digits = stem.prefix { $0.isASCII && $0.isNumber }
    guard let version = Int64(digits), version > 0, stem.dropFirst(digits.count).hasPrefix("__"),
      stem.count > digits.count + 2
    else { return nil }
    self.init(version: version, name: name, sql: sql)
  }
}
