import FederationModel

/// A value of an expression, with Go's kinds: whole numbers and others differ, and times are no texts.
enum ExprValue: Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  case number(Double)
  case string(String)
  case list([ExprValue])
  case map([String: ExprValue])
  case time(GoTime)
  /// Nanoseconds.
  case duration(Int64)
  case zone(String, TimeZoneRules)
}

extension ExprValue {
  /// A JSON text's numbers are floating point, as Go decodes them.
  init(decoding json: JSONValue) {
    switch json {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    case .integer(let value): self = .number(Double(value))
    case .number(let value): self = .number(value)
    case .string(let value): self = .string(value)
    case .array(let elements): self = .list(elements.map { ExprValue(decoding: $0) })
    case .object(let members): self = .map(members.mapValues { ExprValue(decoding: $0) })
    }
  }

  /// As it is, whole numbers whole.
  init(_ json: JSONValue) {
    switch json {
    case .integer(let value): self = .integer(value)
    case .array(let elements): self = .list(elements.map { ExprValue($0) })
    case .object(let members): self = .map(members.mapValues { ExprValue($0) })
    default: self.init(decoding: json)
    }
  }

  /// As Go's `json.Marshal` sees it: times in RFC 3339, durations in nanoseconds.
  var json: JSONValue {
    switch self {
    case .null: .null
    case .bool(let value): .bool(value)
    case .integer(let value): .integer(value)
    case .number(let value): .number(value)
    case .string(let value): .string(value)
    case .list(let elements): .array(elements.map(\.json))
    case .map(let members): .object(members.mapValues(\.json))
    case .time(let time): .string(time.rfc3339)
    case .duration(let nanoseconds): .integer(nanoseconds)
    case .zone: .object([:])
    }
  }

  /// The name that expr-lang's `type` gives.
  var typeName: String {
    switch self {
    case .null: "nil"
    case .bool: "bool"
    case .integer: "int"
    case .number: "float"
    case .string: "string"
    case .list: "array"
    case .map: "map"
    case .time: "time.Time"
    case .duration: "time.Duration"
    case .zone: "time.Location"
    }
  }

  /// The name that Go's `%T` prints.
  var goType: String {
    switch self {
    case .null: "<nil>"
    case .number: "float64"
    case .list: "[]interface {}"
    case .map: "map[string]interface {}"
    default: typeName
    }
  }

  /// As Go's `%v` prints it.
  var goText: String {
    var text = ""
    write(to: &text)
    return text
  }

  private func write(to text: inout String) {
    switch self {
    case .null: text += "<nil>"
    case .bool(let value): text += value ? "true" : "false"
    case .integer(let value): text += String(value)
    case .number(let value): text += GoFloat.general(value)
    case .string(let value): text += value
    case .list(let elements):
      text += "["
      for (index, element) in elements.enumerated() {
        if index > 0 { text += " " }
        element.write(to: &text)
      }
      text += "]"
    case .map(let members):
      text += "map["
      for (index, key) in members.keys.sorted(by: ExpressionText.isBefore).enumerated() {
        if index > 0 { text += " " }
        text += key + ":"
        members[key]!.write(to: &text)
      }
      text += "]"
    case .time(let time): text += time.description
    case .duration(let nanoseconds): text += GoDurationText.format(nanoseconds)
    case .zone(let name, _): text += name
    }
  }

  /// The value as it is put into a text: a text as it is, everything else as JSON.
  var tagText: String {
    switch self {
    case .string(let text): text
    case .time(let time): time.rfc3339
    default: ExpressionJSON.text(self)
    }
  }

  var stringValue: String? { if case .string(let value) = self { value } else { nil } }
  var listValue: [ExprValue]? { if case .list(let value) = self { value } else { nil } }
  var mapValue: [String: ExprValue]? { if case .map(let value) = self { value } else { nil } }
  var isNull: Bool { if case .null = self { true } else { false } }
  var doubleValue: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }

  /// A whole number, or the whole part of another, as Go's `int(x)`.
  var integerValue: Int64? {
    switch self {
    case .integer(let value): value
    case .number(let value): GoFloat.integer(value)
    default: nil
    }
  }

  /// What it weighs in `toJSON` and the like, at least, in bytes; stops counting at `limit`.
  func weight(upTo limit: Int) -> Int {
    var total = 0
    var open: [ExprValue] = [self]
    while let value = open.popLast(), total <= limit {
      switch value {
      case .string(let text): total += text.utf8.count + 2
      case .list(let elements):
        total += elements.count + 2
        open.append(contentsOf: elements)
      case .map(let members):
        total += members.reduce(2) { $0 + $1.key.utf8.count + 4 }
        open.append(contentsOf: members.values)
      default: total += 8
      }
    }
    return total
  }

  /// - Source: expr-lang `runtime.Equal`: numbers by value, everything else by kind and content.
  static func areEqual(_ a: ExprValue, _ b: ExprValue) -> Bool {
    switch (a, b) {
    case (.null, .null): return true
    case (.bool(let x), .bool(let y)): return x == y
    case (.integer(let x), .integer(let y)): return x == y
    case (.string(let x), .string(let y)): return ExpressionText.isEqual(x, y)
    case (.time(let x), .time(let y)): return x.isSameMoment(as: y)
    case (.duration(let x), .duration(let y)): return x == y
    case (.zone(let x, _), .zone(let y, _)): return x == y
    case (.list(let x), .list(let y)): return x.count == y.count && zip(x, y).allSatisfy { areEqual($0, $1) }
    case (.map(let x), .map(let y)):
      return x.count == y.count && x.allSatisfy { key, value in y[key].map { areEqual(value, $0) } ?? false }
    default:
      guard let x = a.doubleValue, let y = b.doubleValue else { return false }
      return x == y
    }
  }

  /// nil when the two cannot be ordered.
  static func isLess(_ a: ExprValue, _ b: ExprValue) -> Bool? {
    switch (a, b) {
    case (.integer(let x), .integer(let y)): x < y
    case (.string(let x), .string(let y)): ExpressionText.isBefore(x, y)
    case (.time(let x), .time(let y)): x.isBefore(y)
    case (.duration(let x), .duration(let y)): x < y
    default:
      if let x = a.doubleValue, let y = b.doubleValue { x < y } else { nil }
    }
  }
}

/// How Go writes and cuts floating-point numbers.
enum GoFloat {
  /// `%v`: with an exponent below 1e-04 and from 1e+06 on.
  static func general(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "NaN" : value < 0 ? "-Inf" : "+Inf" }
    let (sign, digits, point) = decimal(value)
    if digits == "0" { return sign + "0" }
    if point - 1 < -4 || point - 1 >= 6 { return sign + exponential(digits, point, width: 2) }
    return sign + plain(digits, point)
  }

  /// As `encoding/json`: with an exponent below 1e-6 and from 1e21 on. JSON knows no infinity and no NaN.
  static func json(_ value: Double) -> String {
    guard value.isFinite else { return "null" }
    let (sign, digits, point) = decimal(value)
    if digits == "0" { return sign + "0" }
    if point - 1 < -6 || point - 1 >= 21 { return sign + exponential(digits, point, width: 1) }
    return sign + plain(digits, point)
  }

  /// Towards zero; nil where there is none.
  static func integer(_ value: Double) -> Int64? {
    value.isFinite && abs(value) < 9.2e18 ? Int64(value) : nil
  }

  /// The shortest digits that mean `value`, and where the point stands: 0.0012 is "12" and -2.
  private static func decimal(_ value: Double) -> (sign: String, digits: String, point: Int) {
    let sign = value.sign == .minus ? "-" : ""
    let text = String(abs(value))
    let parts = text.split(whereSeparator: { $0 == "e" || $0 == "E" })
    let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    let fraction = mantissa.count > 1 ? mantissa[1] : ""
    var digits = Substring(String(mantissa[0]) + fraction)
    var point = mantissa[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
    while digits.count > 1, digits.first == "0" {
      digits = digits.dropFirst()
      point -= 1
    }
    while digits.count > 1, digits.last == "0" { digits = digits.dropLast() }
    return (sign, String(digits), point)
  }

  private static func plain(_ digits: String, _ point: Int) -> String {
    if point <= 0 { return "0." + String(repeating: "0", count: -point) + digits }
    if digits.count <= point { return digits + String(repeating: "0", count: point - digits.count) }
    return "\(digits.prefix(point)).\(digits.dropFirst(point))"
  }

  private static func exponential(_ digits: String, _ point: Int, width: Int) -> String {
    let exponent = point - 1
    let text = String(abs(exponent))
    let mantissa = digits.count > 1 ? "\(digits.prefix(1)).\(digits.dropFirst())" : digits
    return mantissa + (exponent < 0 ? "e-" : "e+") + String(repeating: "0", count: max(0, width - text.count)) + text
  }
}
