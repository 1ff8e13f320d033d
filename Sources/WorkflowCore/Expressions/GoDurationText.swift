/// Go's `time.Duration`, in nanoseconds.
enum GoDurationText {
  /// `1h2m3.5s`, `150ms`, `0s`.
  static func format(_ nanoseconds: Int64) -> String {
    if nanoseconds == 0 { return "0s" }
    let sign = nanoseconds < 0 ? "-" : ""
    let total = nanoseconds.magnitude
    if total < 1_000_000_000 {
      for (unit, scale) in [("ms", 1_000_000), ("µs", 1000)] as [(String, UInt64)] where total >= scale {
        return sign + decimal(total, scale) + unit
      }
      return sign + "\(total)ns"
    }
    let seconds = total / 1_000_000_000
    let rest = decimal(seconds % 60 * 1_000_000_000 + total % 1_000_000_000, 1_000_000_000) + "s"
    if seconds < 60 { return sign + rest }
    if seconds < 3600 { return sign + "\(seconds / 60)m" + rest }
    return sign + "\(seconds / 3600)h\(seconds / 60 % 60)m" + rest
  }

  private static func decimal(_ value: UInt64, _ scale: UInt64) -> String {
    var fraction = String(value % scale)
    fraction = String(repeating: "0", count: String(scale).count - 1 - fraction.count) + fraction
    while fraction.last == "0" { fraction.removeLast() }
    return fraction.isEmpty ? "\(value / scale)" : "\(value / scale).\(fraction)"
  }

  private static let units: [String: Double] = [
    "ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9,
  ]

  /// - Source: Go `time.ParseDuration`. nil when the text is malformed or does not fit.
  static func parse(_ text: String) -> Int64? {
    guard text.utf8.count <= 64 else { return nil }
    var rest = Substring(text)
    let isNegative = rest.first == "-"
    if isNegative || rest.first == "+" { rest = rest.dropFirst() }
    if rest == "0" { return 0 }
    guard !rest.isEmpty else { return nil }
    var total = 0.0
    while !rest.isEmpty {
      let number = rest.prefix { $0.isASCII && $0.isNumber || $0 == "." }
      rest = rest.dropFirst(number.count)
      let unit = rest.prefix { !($0.isASCII && $0.isNumber) && $0 != "." }
      rest = rest.dropFirst(unit.count)
      let padded = number.first == "." ? "0\(number)" : number.last == "." ? "\(number)0" : String(number)
      guard number != ".", let value = Double(padded), let scale = units[String(unit)] else { return nil }
      total += value * scale
    }
    guard total < 9.2e18 else { return nil }
    return Int64(isNegative ? -total : total)
  }

  static func method(of nanoseconds: Int64, _ arguments: ExpressionArguments) throws -> ExprValue {
    func multiple() throws -> Int64 {
      guard case .duration(let unit) = try arguments.value(0) else { throw arguments.failure("needs a duration") }
      return unit
    }
    switch arguments.name {
    case "Hours": return .number(Double(nanoseconds) / 3600e9)
    case "Minutes": return .number(Double(nanoseconds) / 60e9)
    case "Seconds": return .number(Double(nanoseconds) / 1e9)
    case "Milliseconds": return .integer(nanoseconds / 1_000_000)
    case "Microseconds": return .integer(nanoseconds / 1000)
    case "Nanoseconds": return .integer(nanoseconds)
    case "String": return .string(format(nanoseconds))
    case "Abs": return .duration(nanoseconds == .min ? .max : abs(nanoseconds))
    case "Truncate": return .duration(truncated(nanoseconds, to: try multiple()))
    case "Round": return .duration(rounded(nanoseconds, to: try multiple()))
    default: throw ExpressionProblem("time.Duration has no method \(arguments.name.prefix(100))")
    }
  }

  static func truncated(_ value: Int64, to unit: Int64) -> Int64 { unit <= 0 ? value : value - value % unit }

  /// Halves away from zero; saturates.
  static func rounded(_ value: Int64, to unit: Int64) -> Int64 {
    guard unit > 0 else { return value }
    let rest = value % unit
    let down = value - rest
    if rest.magnitude < unit.magnitude - rest.magnitude { return down }
    let (up, overflow) = down.addingReportingOverflow(value < 0 ? -unit : unit)
    return overflow ? (value < 0 ? .min : .max) : up
  }
}
