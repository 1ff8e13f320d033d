import FederationModel

/// Texts: trimming, cutting, padding, quoting. The text comes last, as sprig has it for pipes.
extension ExpressionEvaluator {
  mutating func sprigText(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "trim": return .string(ExpressionText.trim(try a.string(0)))
    case "trimAll", "trimall":
      let cut = Set(try a.string(0).unicodeScalars)
      return .string(ExpressionText.trim(try a.string(1)) { cut.contains($0) })
    case "trimPrefix": return .string(ExpressionText.removingPrefix(try a.string(0), from: try a.string(1)))
    case "trimSuffix": return .string(ExpressionText.removingSuffix(try a.string(0), from: try a.string(1)))
    case "upper": return .string(ExpressionText.upper(try a.string(0)))
    case "lower": return .string(ExpressionText.lower(try a.string(0)))
    case "contains": return .bool(ExpressionText.contains(try a.string(1), try a.string(0)))
    case "hasPrefix": return .bool(ExpressionText.hasPrefix(try a.string(1), try a.string(0)))
    case "hasSuffix": return .bool(ExpressionText.hasSuffix(try a.string(1), try a.string(0)))
    case "replace": return .string(try replaced(try a.string(2), try a.string(0), try a.string(1), limit: -1))
    case "repeat": return .string(try repeated(try a.string(1), try a.integer(0)))
    case "quote", "squote": return .string(try quoted(a, isSingle: name == "squote"))
    case "cat": return .string(try joined(a.values.filter { !$0.isNull }, " "))
    case "indent", "nindent":
      let pad = String(repeating: " ", count: min(max(0, try a.integer(0)), 10_000))
      let text = try replaced(try a.string(1), "\n", "\n" + pad, limit: -1)
      return .string((name == "nindent" ? "\n" : "") + pad + text)
    case "plural": return .string(try a.integer(2) == 1 ? try a.string(0) : try a.string(1))
    case "toString":
      try spend(bytes: try a.value(0).weight(upTo: Self.sizeLimit) * 2)
      return .string(try a.value(0).goText)
    case "toStrings": return .list(Self.texts(try a.value(0)).map { .string($0) })
    case "join": return .string(try joined(Self.elements(try a.value(1)).filter { !$0.isNull }, try a.string(0)))
    case "splitList": return .list(try splitPieces(try a.string(1), try a.string(0), -1).map { .string($0) })
    case "split", "splitn":
      let (text, limit) = name == "split" ? (try a.string(1), -1) : (try a.string(2), try a.integer(1))
      let pieces = try splitPieces(text, try a.string(0), limit)
      return .map(Dictionary(uniqueKeysWithValues: pieces.enumerated().map { ("_\($0.offset)", .string($0.element)) }))
    case "substr", "trunc", "abbrev", "abbrevboth": return .string(try cut(name, a))
    default: return nil
    }
  }

  private mutating func splitPieces(_ text: String, _ separator: String, _ limit: Int) throws -> [String] {
    try spend(text.utf8.count / 8)
    return ExpressionText.split(text, separator, limit: limit)
  }

  /// What a list consists of; a single value of itself. Variables hand lists on as JSON texts, which are no lists here.
  static func elements(_ value: ExprValue) -> [ExprValue] {
    value.listValue ?? (value.isNull ? [] : [value])
  }

  static func texts(_ value: ExprValue) -> [String] { elements(value).filter { !$0.isNull }.map(\.goText) }

  private mutating func quoted(_ a: ExpressionArguments, isSingle: Bool) throws -> String {
    var parts: [ExprValue] = []
    for value in a.values where !value.isNull {
      let text = value.goText
      try spend(bytes: text.utf8.count * 2)
      parts.append(.string(isSingle ? "'\(text)'" : GoQuote.quote(text)))
    }
    return try joined(parts, " ")
  }

  private func cut(_ name: String, _ a: ExpressionArguments) throws -> String {
    func part(_ text: String, _ range: Range<Int>) -> String {
      String(decoding: Array(text.utf8)[range], as: UTF8.self)
    }
    switch name {
    case "substr":
      let (start, end, text) = (try a.integer(0), try a.integer(1), try a.string(2))
      let count = text.utf8.count
      let (from, to) = start < 0 ? (0, end) : (start, end < 0 || end > count ? count : end)
      guard from >= 0, from <= to, to <= count else { throw a.failure("slice bounds out of range") }
      return part(text, from..<to)
    case "trunc":
      let (width, text) = (try a.integer(0), try a.string(1))
      let count = text.utf8.count
      if width < 0, count + max(width, -count) > 0 { return part(text, (count + width)..<count) }
      return width >= 0 && count > width ? part(text, 0..<width) : text
    default:
      let isBoth = name == "abbrevboth"
      let offset = isBoth ? try a.integer(0) : 0
      let (width, text) = (try a.integer(isBoth ? 1 : 0), try a.string(isBoth ? 2 : 1))
      return abbreviated(text, from: offset, to: width, isBoth)
    }
  }

  /// - Source: Masterminds/goutils `AbbreviateFull`.
  private func abbreviated(_ text: String, from offset: Int, to width: Int, _ isBoth: Bool) -> String {
    if width < 4 || (isBoth && offset > 0 && width < 7) { return text }
    let bytes = Array(text.utf8)
    guard bytes.count > width else { return text }
    func piece(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
    var start = min(max(0, offset), bytes.count)
    if bytes.count - start < width - 3 { start = bytes.count - (width - 3) }
    if start <= 4 { return piece(0..<(width - 3)) + "..." }
    if start + width - 3 < bytes.count {
      return "..." + abbreviated(piece(start..<bytes.count), from: 0, to: width - 3, false)
    }
    return "..." + piece((bytes.count - (width - 3))..<bytes.count)
  }
}

/// A text in double quotes, as Go's `%q`.
enum GoQuote {
  static func quote(_ text: String) -> String {
    var output = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": output += "\\\""
      case "\\": output += "\\\\"
      case "\u{07}": output += "\\a"
      case "\u{08}": output += "\\b"
      case "\u{0c}": output += "\\f"
      case "\n": output += "\\n"
      case "\r": output += "\\r"
      case "\t": output += "\\t"
      case "\u{0b}": output += "\\v"
      case _ where scalar.value < 0x20 || scalar.value == 0x7f:
        output += "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: output.unicodeScalars.append(scalar)
      }
    }
    return output + "\""
  }
}
