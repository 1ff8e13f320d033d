/// Where the database is and how patient to be.
public struct PostgresConfiguration: Sendable, CustomStringConvertible {
  /// A libpq connection string or URL. May hold a password, so it is never printed.
  public var connectionString: String
  /// For the whole of connecting, name resolution included as far as libpq allows.
  public var connectTimeout: Duration
  /// For a unit that names no other.
  public var unitTimeout: Duration
  /// How long a cancelled unit may take to answer before its connection is closed.
  public var cancelGrace: Duration
  /// Units that one connection holds, on the wire and waiting; more are refused.
  public var unitLimit: Int
  /// Prepared statements that one connection keeps; further texts run unprepared.
  public var statementLimit: Int
  /// One statement that each new session runs before anything else; nil for none.
  public var sessionSetup: String?

  public init(
    _ connectionString: String, connectTimeout: Duration = .seconds(5), unitTimeout: Duration = .seconds(30),
    cancelGrace: Duration = .seconds(2), unitLimit: Int = 256, statementLimit: Int = 256, sessionSetup: String? = nil
  ) {
    self.connectionString = connectionString
    self.connectTimeout = connectTimeout
    self.unitTimeout = unitTimeout
    self.cancelGrace = cancelGrace
    self.unitLimit = unitLimit
    self.statementLimit = statementLimit
    self.sessionSetup = sessionSetup
  }

  public var description: String { "PostgresConfiguration(connection string withheld)" }
}
