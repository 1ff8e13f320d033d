import FederationModel

/// The two languages that share a grammar.
enum ExpressionDialect: Sendable {
  /// expr-lang: names are variables.
  case exprLang
  /// govaluate as Argo uses it in `when`: names are texts.
  case when
}

/// A parsed expression.
indirect enum ExpressionNode: Sendable {
  case literal(JSONValue)
  case name(String)
  /// `#` in a closure.
  case element
  case member(ExpressionNode, ExpressionNode)
  case slice(ExpressionNode, ExpressionNode?, ExpressionNode?)
  case call(ExpressionNode, [ExpressionNode])
  case unary(String, ExpressionNode)
  case binary(String, ExpressionNode, ExpressionNode)
  case conditional(ExpressionNode, ExpressionNode, ExpressionNode)
  case list([ExpressionNode])
  case map([(String, ExpressionNode)])
}

/// Reads an expression by precedence climbing; bounded in length and nesting.
struct ExpressionParser {
  static let lengthLimit = 64 << 10
  static let depthLimit = 64

  enum Token: Equatable {
    case number(JSONValue), string(String), word(String), sign(String), end
  }

  private let dialect: ExpressionDialect
  private let source: String
  private var tokens: [Token]
  private var index = 0
  private var depth = 0

  /// - Throws: `FederationError` (`invalidArgument`) that says what is wrong.
  static func parse(_ text: String, _ dialect: ExpressionDialect) throws -> ExpressionNode {
    guard text.utf8.count <= lengthLimit else {
      throw FederationError(.invalidArgument, "the expression is longer than \(lengthLimit >> 10) KiB")
    }
    var parser = ExpressionParser(dialect: dialect, source: text, tokens: try ExpressionLexer.tokens(of: text, dialect))
    let node = try parser.expression(0)
    guard parser.current == .end else { throw parser.failure("has something unexpected after its end") }
    return node
  }

  private init(dialect: ExpressionDialect, source: String, tokens: [Token]) {
    self.dialect = dialect
    self.source = source
    self.tokens = tokens
  }

  private var current: Token { index < tokens.count ? tokens[index] : .end }

  private func failure(_ what: String) -> FederationError {
    let hint = dialect == .when ? " (hint: try wrapping the affected expression in quotes (\"))" : ""
    return FederationError(.invalidArgument, "the expression '\(source.prefix(200))' \(what)\(hint)")
  }

  private mutating func take(_ sign: String) -> Bool {
    guard current == .sign(sign) || current == .word(sign) else { return false }
    index += 1
    return true
  }

  private mutating func expect(_ sign: String) throws { if !take(sign) { throw failure("lacks a '\(sign)'") } }

  private static let precedences: [String: Int] = [
    "|": 1, "or": 2, "||": 2, "and": 3, "&&": 3, "==": 4, "!=": 4, "<": 4, ">": 4, "<=": 4, ">=": 4, "=~": 4, "!~": 4,
    "in": 4, "not in": 4, "matches": 4, "contains": 4, "startsWith": 4, "endsWith": 4, "..": 5, "+": 6, "-": 6, "*": 7,
    "/": 7, "%": 7, "**": 8, "^": 8, "??": 9,
  ]

  private mutating func expression(_ minimum: Int) throws -> ExpressionNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw failure("is nested deeper than \(Self.depthLimit)") }
    var left = try unary()
    while let name = operatorName, let precedence = Self.precedences[name], precedence >= minimum {
      index += name == "not in" ? 2 : 1
      if name == "|" {
        left = try piped(left)
      } else {
        let isRight = name == "**" || name == "^"
        left = .binary(name, left, try expression(isRight ? precedence : precedence + 1))
      }
    }
    if minimum <= 1, take("?") {
      let yes = try expression(0)
      try expect(":")
      left = .conditional(left, yes, try expression(0))
    }
    return left
  }

  private var operatorName: String? {
    switch current {
    case .sign(let sign): return sign
    case .word("not"): return index + 1 < tokens.count && tokens[index + 1] == .word("in") ? "not in" : nil
    case .word(let word): return dialect == .exprLang || word == "in" ? word : nil
    case .number, .string, .end: return nil
    }
  }

  /// `value | function(more)`: the value becomes the first argument.
  private mutating func piped(_ value: ExpressionNode) throws -> ExpressionNode {
    guard case .call(let callee, let arguments) = try unary() else {
      throw failure("pipes into something that is no call")
    }
    return .call(callee, [value] + arguments)
  }

  private mutating func unary() throws -> ExpressionNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw failure("is nested deeper than \(Self.depthLimit)") }
    for sign in ["!", "-", "+"] where current == .sign(sign) {
      index += 1
      return .unary(sign, try unary())
    }
    if dialect == .exprLang, current == .word("not") {
      index += 1
      return .unary("!", try unary())
    }
    return try postfix(try primary())
  }

  private mutating func postfix(_ start: ExpressionNode) throws -> ExpressionNode {
    var node = start
    while true {
      if dialect == .when { return node }
      if take(".") || take("?.") {
        guard case .word(let name) = current else { throw failure("lacks a name after '.'") }
        index += 1
        node = .member(node, .literal(.string(name)))
      } else if take("[") {
        node = try subscripted(node)
      } else if take("(") {
        node = .call(node, try arguments(until: ")"))
      } else {
        return node
      }
    }
  }

  private mutating func subscripted(_ node: ExpressionNode) throws -> ExpressionNode {
    if take(":") {
      let end = current == .sign("]") ? nil : try expression(0)
      try expect("]")
      return .slice(node, nil, end)
    }
    let first = try expression(2)
    if take(":") {
      let end = current == .sign("]") ? nil : try expression(0)
      try expect("]")
      return .slice(node, first, end)
    }
    try expect("]")
    return .member(node, first)
  }

  private mutating func arguments(until close: String) throws -> [ExpressionNode] {
    var nodes: [ExpressionNode] = []
    if take(close) { return nodes }
    repeat {
      if current == .sign(close) { break }
      nodes.append(try closureOrExpression())
    } while take(",")
    try expect(close)
    return nodes
  }

  /// `{ # > 1 }` stands for a function of one element; so does a plain expression with `#` in it.
  private mutating func closureOrExpression() throws -> ExpressionNode {
    guard current == .sign("{"), !isMapAhead else { return try expression(0) }
    index += 1
    let body = try expression(0)
    try expect("}")
    return body
  }

  private var isMapAhead: Bool {
    guard index + 1 < tokens.count else { return false }
    if tokens[index + 1] == .sign("}") { return true }
    guard index + 2 < tokens.count, tokens[index + 2] == .sign(":") else { return false }
    switch tokens[index + 1] {
    case .string, .word: return true;
    case .number, .sign, .end: return false
    }
  }

  private mutating func primary() throws -> ExpressionNode {
    let token = current
    index += 1
    switch token {
    case .number(let value): return .literal(value)
    case .string(let text): return .literal(.string(text))
    case .word("true"): return .literal(true)
    case .word("false"): return .literal(false)
    case .word("nil") where dialect == .exprLang, .word("null") where dialect == .exprLang: return .literal(.null)
    case .word(let name): return dialect == .when ? .literal(.string(name)) : .name(name)
    case .sign("#"): return .element
    case .sign("."):
      // `.name` inside a closure is short for `#.name`.
      index -= 1
      return .element
    case .sign("("):
      let node = try expression(0)
      if dialect == .when, current == .sign(",") {
        index += 1
        return .list([node] + (try arguments(until: ")")))
      }
      try expect(")")
      return node
    case .sign("["): return .list(try arguments(until: "]"))
    case .sign("{"): return try map()
    case .sign(let sign): throw failure("has an unexpected '\(sign)'")
    case .end: throw failure("ends too early")
    }
  }

  private mutating func map() throws -> ExpressionNode {
    var members: [(String, ExpressionNode)] = []
    if take("}") { return .map(members) }
    repeat {
      switch current {
      case .string(let key), .word(let key):
        index += 1
        try expect(":")
        members.append((key, try expression(0)))
      case .number, .sign, .end: throw failure("lacks a key")
      }
    } while take(",")
    try expect("}")
    return .map(members)
  }
}

/// Cuts an expression into tokens.
enum ExpressionLexer {
  private static let signs = [
    "==", "!=", "<=", ">=", "=~", "!~", "&&", "||", "??", "?.", "**", "..", "(", ")", "[", "]", "{", "}", ",", ":", "?",
    "!",
    "<", ">", "+", "-", "*", "/", "%", "^", "|", ".", "#",
  ].map { Array($0.utf8) }

  static func tokens(of text: String, _ dialect: ExpressionDialect) throws -> [ExpressionParser.Token] {
    let bytes = Array(text.utf8)
    var tokens: [ExpressionParser.Token] = []
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      if byte == 0x20 || (0x09...0x0d).contains(byte) {
        index += 1
      } else if byte == 0x22 || byte == 0x27 || byte == 0x60 {
        tokens.append(.string(try string(bytes, &index)))
      } else if isDigit(byte) {
        tokens.append(number(bytes, &index, dialect))
      } else if isLetter(byte) {
        let start = index
        while index < bytes.count, isWordByte(bytes, index, dialect) { index += 1 }
        tokens.append(.word(String(decoding: bytes[start..<index], as: UTF8.self)))
      } else if let sign = signs.first(where: { bytes[index...].starts(with: $0) }) {
        tokens.append(.sign(String(decoding: sign, as: UTF8.self)))
        index += sign.count
      } else {
        let hint = dialect == .when ? " (hint: try wrapping the affected expression in quotes (\"))" : ""
        throw FederationError(.invalidArgument, "Invalid token at byte \(index) of '\(text.prefix(200))'\(hint)")
      }
    }
    return tokens
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
  private static func isLetter(_ byte: UInt8) -> Bool {
    (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x5f || byte == 0x24 || byte >= 0x80
  }

  /// In a `when`, words hold dots and dashes too: `my-branch`, `v1.2`.
  private static func isWordByte(_ bytes: [UInt8], _ index: Int, _ dialect: ExpressionDialect) -> Bool {
    isLetter(bytes[index]) || isDigit(bytes[index])
      || (dialect == .when && (bytes[index] == 0x2d || bytes[index] == 0x2e))
  }

  /// A number; in a `when`, what begins like a number and goes on like a word (`3rd`, `1.2.3`) is a word.
  private static func number(_ bytes: [UInt8], _ index: inout Int, _ dialect: ExpressionDialect)
    -> ExpressionParser.Token
  {
    let start = index
    while index < bytes.count {
      let isFraction = bytes[index] == 0x2e && index + 1 < bytes.count && isDigit(bytes[index + 1])
      let isExponent =
        [0x2b, 0x2d].contains(bytes[index]) && [0x45, 0x65].contains(bytes[index - 1]) && index > start
      guard isDigit(bytes[index]) || isLetter(bytes[index]) || isFraction || isExponent else { break }
      index += 1
    }
    let text = String(decoding: bytes[start..<index], as: UTF8.self)
    if let whole = Int64(text) { return .number(.integer(whole)) }
    if text.hasPrefix("0x"), let whole = Int64(text.dropFirst(2), radix: 16) { return .number(.integer(whole)) }
    if let value = Double(text), value.isFinite, text.allSatisfy({ $0.isNumber || ".eE+-".contains($0) }) {
      return .number(.number(value))
    }
    return .word(text)
  }

  private static func string(_ bytes: [UInt8], _ index: inout Int) throws -> String {
    let quote = bytes[index]
    index += 1
    var text: [UInt8] = []
    while index < bytes.count, bytes[index] != quote {
      var byte = bytes[index]
      if byte == 0x5c, quote != 0x60, index + 1 < bytes.count {
        index += 1
        switch bytes[index] {
        case UInt8(ascii: "n"): byte = 0x0a
        case UInt8(ascii: "t"): byte = 0x09
        case UInt8(ascii: "r"): byte = 0x0d
        case UInt8(ascii: "\\"), 0x22, 0x27: byte = bytes[index]
        default: text.append(0x5c); byte = bytes[index]
        }
      }
      text.append(byte)
      index += 1
    }
    guard index < bytes.count else { throw FederationError(.invalidArgument, "the expression ends inside a string") }
    index += 1
    return String(decoding: text, as: UTF8.self)
  }
}
