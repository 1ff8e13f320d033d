/// What a statement, a connection or a pool answers when it cannot do what was asked.
///
/// Never holds a connection string: what libpq says about a failed connection names host and user, not the password, and
/// the configuration is not part of it.
public struct PostgresError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The failures that callers tell apart.
  public enum Kind: Hashable, Sendable {
    case uniqueViolation(constraint: String)
    case checkViolation(constraint: String)
    case foreignKeyViolation(constraint: String)
    case notNullViolation(column: String)
    case serializationFailure
    case deadlock
    case lockNotAvailable
    /// Cancelled by request (SQLSTATE 57014).
    case cancelled
    /// Not answered in time. When `isConnectionLoss` the statement may have committed.
    case timeout(isConnectionLoss: Bool)
    /// The server is read-only: a standby, or being demoted.
    case readOnly
    /// The server or the backend was told to end, or is starting.
    case adminShutdown
    case connectionLost
    case authenticationFailed
    /// Too many connections, disk full, out of memory.
    case insufficientResources
    /// An SQLSTATE of our own, raised by a function of the schema.
    case raised(String)
    /// A result that does not have the shape that the reader expects.
    case decoding
    /// The connection or pool was closed, or may not be used like this.
    case misuse
    case other
  }

  public var kind: Kind
  /// Five characters; empty when the failure did not come from the server.
  public var sqlstate: String
  public var message: String
  public var detail: String
  public var constraint: String

  public init(_ kind: Kind, _ message: String, sqlstate: String = "", detail: String = "", constraint: String = "") {
    self.kind = kind
    self.sqlstate = sqlstate
    self.message = message
    self.detail = detail
    self.constraint = constraint
  }

  /// The connection is gone. Whether a unit that was in flight has committed is not known.
  public var isConnectionLoss: Bool {
    switch kind {
    case .connectionLost, .adminShutdown, .timeout(isConnectionLoss: true): true
    default: false
    }
  }

  /// The same unit may succeed when it is tried again.
  public var isRetryable: Bool {
    switch kind {
    case .serializationFailure, .deadlock, .lockNotAvailable, .readOnly, .insufficientResources, .timeout: true
    default: isConnectionLoss
    }
  }

  public var description: String {
    var text = sqlstate.isEmpty ? message : "[\(sqlstate)] \(message)"
    if !detail.isEmpty { text += " (\(detail))" }
    return text
  }
}

extension PostgresError {
  /// - Source: PostgreSQL 15, appendix A, "PostgreSQL Error Codes".
  static func kind(of sqlstate: String, constraint: String, column: String) -> Kind {
    switch sqlstate {
    case "23505": .uniqueViolation(constraint: constraint)
    case "23514": .checkViolation(constraint: constraint)
    case "23503": .foreignKeyViolation(constraint: constraint)
    case "23502": .notNullViolation(column: column)
    case "40001": .serializationFailure
    case "40P01": .deadlock
    case "55P03": .lockNotAvailable
    case "57014": .cancelled
    case "25006": .readOnly
    case "57P01", "57P02", "57P03", "57P04", "57P05": .adminShutdown
    case "28000", "28P01": .authenticationFailed
    case "": .connectionLost
    default:
      if sqlstate.hasPrefix("08") {
        .connectionLost
      } else if sqlstate.hasPrefix("53") {
        .insufficientResources
      } else if sqlstate.hasPrefix("FB") {
        .raised(sqlstate)
      } else {
        .other
      }
    }
  }

  static func lost(_ message: String) -> Self {
    Self(.connectionLost, message.isEmpty ? "the connection to the database was lost" : message)
  }
}
