/// One statement of a unit: SQL and its parameters. Results come in binary format.
public struct PostgresStatement: Sendable {
  public var sql: String
  public var parameters: PostgresParameters
  /// Whether the connection keeps a prepared statement for this text. False for what is said once.
  public var isPrepared: Bool

  public init(_ sql: String, _ parameters: PostgresParameters, isPrepared: Bool = true) {
    self.sql = sql
    self.parameters = parameters
    self.isPrepared = isPrepared
  }

  public init(_ sql: String, _ values: [PostgresValue], isPrepared: Bool = true) {
    var parameters = PostgresParameters()
    for value in values { value.append(to: &parameters) }
    self.init(sql, parameters, isPrepared: isPrepared)
  }

  public init(_ sql: String, _ values: PostgresValue..., isPrepared: Bool = true) {
    self.init(sql, values, isPrepared: isPrepared)
  }
}

/// A scalar or array parameter by value, for statements that are not on the hot path. A null has its type.
public enum PostgresValue: Sendable {
  case text(String?)
  case int8(Int64?)
  case int4(Int32?)
  case int2(Int16?)
  case bool(Bool?)
  case float8(Double?)
  case bytes([UInt8]?)
  case texts([String?])
  case int8s([Int64?])

  func append(to parameters: inout PostgresParameters) {
    switch self {
    case .text(let value): parameters.append(value)
    case .int8(let value): parameters.append(value)
    case .int4(let value): parameters.append(value)
    case .int2(let value): parameters.append(value)
    case .bool(let value): parameters.append(value)
    case .float8(let value): parameters.append(value)
    case .bytes(let value): parameters.append(value)
    case .texts(let values): parameters.append(column: values) { $0 }
    case .int8s(let values): parameters.append(column: values) { $0 }
    }
  }
}
