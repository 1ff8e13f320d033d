import FederationModel

/// A piece of an expression.
struct ExpressionToken: Equatable, Sendable {
  enum Kind: Equatable, Sendable {
    case integer(Int64), number(Double), string(String), name(String)
    /// A sign, a bracket, or a word that is an operator.
    case sign(String)
    case end
  }
  var kind: Kind
  /// Where it begins, in bytes.
  var offset: Int

  func isSign(_ sign: String) -> Bool { kind == .sign(sign) }

  var text: String {
    switch kind {
    case .integer(let value): "\(value)"
    case .number(let value): "\(value)"
    case .string(let value): "\"\(value.prefix(40))\""
    case .name(let name), .sign(let name): name
    case .end: "the end"
    }
  }
}

/// Cuts an expr-lang text into tokens.
///
/// - Source: expr-lang v1.17 `parser/lexer`.
struct ExpressionLexer {
  private let bytes: [UInt8]
  private let source: String
  private var index = 0
  private var tokens: [ExpressionToken] = []

  private static let words: Set<String> = [
    "in", "or", "and", "not", "matches", "contains", "startsWith", "endsWith", "let", "if", "else",
  ]
  /// The longest first.
  private static let signs = [
    "==", "!=", "<=", ">=", "&&", "||", "??", "?.", "**", "..", "::", "(", ")", "[", "]", "{", "}", ",", ";", ":", "?",
    "!", "<", ">", "=", "+", "-", "*", "/", "%", "^", "|", ".", "#",
  ].map { ($0, Array($0.utf8)) }

  /// - Throws: `FederationError` (`invalidArgument`) that says what is wrong, and where.
  static func tokens(of text: String) throws -> [ExpressionToken] {
    var lexer = ExpressionLexer(bytes: Array(text.utf8), source: text)
    while lexer.index < lexer.bytes.count { try lexer.next() }
    lexer.tokens.append(ExpressionToken(kind: .end, offset: lexer.bytes.count))
    return lexer.tokens
  }

  private init(bytes: [UInt8], source: String) {
    self.bytes = bytes
    self.source = source
  }

  private func byte(_ offset: Int) -> UInt8 { index + offset < bytes.count ? bytes[index + offset] : 0 }

  private func failure(_ what: String, at offset: Int) -> FederationError {
    ExpressionFailure.error(what, at: offset, in: source)
  }

  private mutating func next() throws {
    let first = bytes[index]
    let start = index
    switch first {
    case 0x20, 0x09...0x0d: index += 1
    case 0x22, 0x27: tokens.append(ExpressionToken(kind: .string(try quoted()), offset: start))
    case 0x60: tokens.append(ExpressionToken(kind: .string(try raw()), offset: start))
    case UInt8(ascii: "/") where byte(1) == first: while index < bytes.count, bytes[index] != 0x0a { index += 1 }
    case UInt8(ascii: "/") where byte(1) == UInt8(ascii: "*"): try skipComment()
    case 0x30...0x39: tokens.append(ExpressionToken(kind: try number(), offset: start))
    case UInt8(ascii: ".") where (0x30...0x39).contains(byte(1)):
      tokens.append(ExpressionToken(kind: try number(), offset: start))
    case _ where Self.isLetter(first):
      while index < bytes.count, Self.isLetter(bytes[index]) || (0x30...0x39).contains(bytes[index]) { index += 1 }
      let word = String(decoding: bytes[start..<index], as: UTF8.self)
      tokens.append(ExpressionToken(kind: Self.words.contains(word) ? .sign(word) : .name(word), offset: start))
    default:
      guard
        let (sign, length) = Self.signs.first(where: { bytes[index...].starts(with: $0.1) }).map({ ($0.0, $0.1.count) })
      else {
        let rest = String(decoding: bytes[index...].prefix(4), as: UTF8.self)
        throw failure("unrecognized character '\(rest.prefix(1))'", at: index)
      }
      index += length
      tokens.append(ExpressionToken(kind: .sign(sign), offset: start))
    }
  }

  static func isLetter(_ byte: UInt8) -> Bool {
    (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f || byte == 0x24 || byte >= 0x80
  }

  private mutating func skipComment() throws {
    let start = index
    index += 2
    while !(byte(0) == UInt8(ascii: "*") && byte(1) == UInt8(ascii: "/")) {
      guard index < bytes.count else { throw failure("unclosed comment", at: start) }
      index += 1
    }
    index += 2
  }

  private mutating func digits(_ radix: Int) -> String {
    var text = ""
    while let digit = index < bytes.count ? Character(Unicode.Scalar(bytes[index])) : nil,
      digit == "_" || (digit.hexDigitValue.map { $0 < radix } ?? false)
    {
      if digit != "_" { text.append(digit) }
      index += 1
    }
    return text
  }

  private mutating func number() throws -> ExpressionToken.Kind {
    let start = index
    let radix: Int? =
      byte(0) != 0x30
      ? nil
      : ["x": 16, "X": 16, "o": 8, "O": 8, "b": 2, "B": 2][Character(Unicode.Scalar(byte(1)))]
    let kind: ExpressionToken.Kind?
    if let radix {
      index += 2
      kind = Int64(digits(radix), radix: radix).map { .integer($0) }
    } else {
      var text = digits(10)
      var isWhole = true
      if byte(0) == UInt8(ascii: "."), byte(1) != UInt8(ascii: ".") {
        isWhole = false
        index += 1
        text = (text.isEmpty ? "0" : text) + "." + { $0.isEmpty ? "0" : $0 }(digits(10))
      }
      if byte(0) | 0x20 == UInt8(ascii: "e") {
        isWhole = false
        index += 1
        text += "e"
        if byte(0) == 0x2b || byte(0) == 0x2d {
          text.append(Character(Unicode.Scalar(byte(0))))
          index += 1
        }
        text += digits(10)
      }
      kind = isWhole ? Int64(text).map { .integer($0) } : Double(text).flatMap { $0.isFinite ? .number($0) : nil }
    }
    guard let kind, !(index < bytes.count && (Self.isLetter(bytes[index]))) else {
      throw failure("bad number syntax: '\(String(decoding: bytes[start...].prefix(20), as: UTF8.self))'", at: start)
    }
    return kind
  }

  private mutating func raw() throws -> String {
    let start = index
    index += 1
    while index < bytes.count, bytes[index] != 0x60 { index += 1 }
    guard index < bytes.count else { throw failure("literal not terminated", at: start) }
    index += 1
    return String(decoding: bytes[(start + 1)..<(index - 1)], as: UTF8.self)
  }

  private mutating func quoted() throws -> String {
    let start = index
    let quote = bytes[index]
    index += 1
    var text: [UInt8] = []
    while index < bytes.count, bytes[index] != quote {
      guard bytes[index] == 0x5c else {
        text.append(bytes[index])
        index += 1
        continue
      }
      index += 1
      text.append(contentsOf: try escape(from: start))
    }
    guard index < bytes.count else { throw failure("literal not terminated", at: start) }
    index += 1
    return String(decoding: text, as: UTF8.self)
  }

  private mutating func escape(from start: Int) throws -> [UInt8] {
    let letter = byte(0)
    index += 1
    func scalar(_ text: ArraySlice<UInt8>, _ radix: UInt32) throws -> [UInt8] {
      guard let value = UInt32(String(decoding: text, as: UTF8.self), radix: Int(radix)) else {
        throw failure("unable to unescape string", at: start)
      }
      return Array(String(Character(Unicode.Scalar(value) ?? "\u{fffd}")).utf8)
    }
    switch letter {
    case UInt8(ascii: "a"): return [0x07]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "f"): return [0x0c]
    case UInt8(ascii: "n"): return [0x0a]
    case UInt8(ascii: "r"): return [0x0d]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "v"): return [0x0b]
    case 0x5c, 0x27, 0x22, 0x60, 0x3f: return [letter]
    case UInt8(ascii: "x"), UInt8(ascii: "X"), UInt8(ascii: "u"), UInt8(ascii: "U"):
      if byte(0) == UInt8(ascii: "{") {
        let hex = bytes[(index + 1)...].prefix { $0 != UInt8(ascii: "}") }
        guard (1...6).contains(hex.count), index + 1 + hex.count < bytes.count else {
          throw failure("unable to unescape string", at: start)
        }
        index += hex.count + 2
        return try scalar(hex, 16)
      }
      let count = letter == UInt8(ascii: "u") ? 4 : letter == UInt8(ascii: "U") ? 8 : 2
      let hex = bytes[min(index, bytes.count)...].prefix(count)
      guard hex.count == count else { throw failure("unable to unescape string", at: start) }
      index += count
      return try scalar(hex, 16)
    case 0x30...0x33:
      let octal = bytes[(index - 1)...].prefix(3)
      guard octal.count == 3 else { throw failure("unable to unescape string", at: start) }
      index += 2
      return try scalar(octal, 8)
    default: throw failure("unable to unescape string", at: start)
    }
  }
}

/// Errors of expressions, with their place: `... (1:7)` is line and column.
enum ExpressionFailure {
  static func error(_ what: String, at offset: Int, in source: String) -> FederationError {
    let before = source.utf8.prefix(offset)
    let line = before.reduce(1) { $0 + ($1 == 0x0a ? 1 : 0) }
    let column = before.reversed().prefix { $0 != 0x0a }.count + 1
    return FederationError(
      .invalidArgument, "the expression '\(source.prefix(200))' fails: \(what) (\(line):\(column))")
  }
}
