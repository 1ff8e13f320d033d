/// What a plain YAML scalar means, as Kubernetes' YAML-to-JSON conversion sees it.
///
/// - Source: sigs.k8s.io/yaml, which keeps go-yaml v2's YAML 1.1 rules: `yes`, `on`, `y` are booleans, `010` is eight,
///   `1_000` is a thousand; dates stay texts. Keys and names are none of its business: `YAMLDocumentParser` keeps them as
///   they are written.
enum YAMLScalar {
  /// - Returns: nil for `.inf` and `.nan`, which JSON cannot say.
  static func resolve(plain text: String) -> DocumentNode.Value? {
    guard let first = text.utf8.first else { return .null }
    switch first {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
      if infinities.contains(text) { return nil }
      return number(text).map { .number($0) } ?? .string(text)
    default:
      guard text.utf8.count <= 5 else { return .string(text) }
      return words[text] ?? .string(text)
    }
  }

  private static let infinities: Set<String> = [
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN",
  ]

  private static let words: [String: DocumentNode.Value] = {
    var words: [String: DocumentNode.Value] = [:]
    for word in ["~", "null", "Null", "NULL"] { words[word] = .null }
    for word in ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"] { words[word] = .bool(true) }
    for word in ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"] {
      words[word] = .bool(false)
    }
    return words
  }()

  /// The number as JSON writes it; nil when the text is no number.
  static func number(_ source: String) -> String? {
    let text = source.utf8.contains(UInt8(ascii: "_")) ? source.filter { $0 != "_" } : source
    var digits = Substring(text)
    var isNegative = false
    if let sign = digits.first, sign == "-" || sign == "+" {
      isNegative = sign == "-"
      digits = digits.dropFirst()
    }
    guard let first = digits.utf8.first else { return nil }
    if let magnitude = wholeNumber(digits) {
      guard isNegative else { return String(magnitude) }
      return magnitude == 0 ? "0" : magnitude <= UInt64(Int64.max) + 1 ? "-\(magnitude)" : nil
    }
    guard first == UInt8(ascii: ".") || (0x30...0x39).contains(first), isDecimal(digits) else { return nil }
    guard let value = Double(text.hasPrefix("+") ? String(digits) : text), value.isFinite else { return nil }
    return decimal(value)
  }

  /// `12`, `0x1F`, `0b101`, `0o17`, `017`.
  private static func wholeNumber(_ digits: Substring) -> UInt64? {
    if digits.utf8.count > 1, digits.utf8.first == UInt8(ascii: "0") {
      let rest = digits.dropFirst()
      switch rest.first {
      case "x", "X": return unsigned(rest.dropFirst(), radix: 16)
      case "b", "B": return unsigned(rest.dropFirst(), radix: 2)
      case "o", "O": return unsigned(rest.dropFirst(), radix: 8)
      default: return unsigned(rest, radix: 8)
      }
    }
    return unsigned(digits, radix: 10)
  }

  /// `UInt64(_:radix:)` would take a second sign.
  private static func unsigned(_ text: Substring, radix: Int) -> UInt64? {
    guard let first = text.utf8.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-") else { return nil }
    return UInt64(text, radix: radix)
  }

  /// `[0-9]*(\.[0-9]*)?([eE][-+]?[0-9]+)?` with at least one digit before the exponent.
  private static func isDecimal(_ text: Substring) -> Bool {
    let bytes = Array(text.utf8)
    var index = 0
    var digitCount = 0
    func isDigit(_ index: Int) -> Bool { index < bytes.count && (0x30...0x39).contains(bytes[index]) }
    while isDigit(index) { (index, digitCount) = (index + 1, digitCount + 1) }
    if index < bytes.count, bytes[index] == UInt8(ascii: ".") {
      index += 1
      while isDigit(index) { (index, digitCount) = (index + 1, digitCount + 1) }
    }
    guard digitCount > 0 else { return false }
    if index < bytes.count, bytes[index] | 0x20 == UInt8(ascii: "e") {
      index += 1
      if index < bytes.count, bytes[index] == UInt8(ascii: "+") || bytes[index] == UInt8(ascii: "-") { index += 1 }
      guard isDigit(index) else { return false }
      while isDigit(index) { index += 1 }
    }
    return index == bytes.count
  }

  /// The shortest text that reads back as `value`; whole numbers without a fraction, as Go's encoder prints them.
  static func decimal(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 9e15 ? String(Int64(value)) : String(value)
  }
}
