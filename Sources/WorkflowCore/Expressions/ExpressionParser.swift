import FederationModel

/// A parsed expression: what it is, where it begins in the text, and how deep it is.
struct ExpressionNode: Sendable {
  indirect enum Kind: Sendable {
    case literal(ExprValue)
    case name(String)
    /// `#`, `#acc` or `#index` in a closure.
    case pointer(String)
    case member(ExpressionNode, ExpressionNode, isOptional: Bool)
    /// The end of a chain of `?.`: what is nil within it is nil as a whole.
    case chain(ExpressionNode)
    case slice(ExpressionNode, ExpressionNode?, ExpressionNode?)
    case call(ExpressionNode, [ExpressionNode])
    case unary(String, ExpressionNode)
    case binary(String, ExpressionNode, ExpressionNode)
    case conditional(ExpressionNode, ExpressionNode, ExpressionNode)
    case list([ExpressionNode])
    case map([(ExpressionNode, ExpressionNode)])
    case declaration(String, ExpressionNode, ExpressionNode)
    case sequence([ExpressionNode])
  }
  var kind: Kind
  var offset: Int
  var height: Int
}

/// Reads an expr-lang text by precedence climbing; bounded in length and depth.
///
/// - Source: expr-lang v1.17 `parser/parser.go`, `parser/operator`.
struct ExpressionParser {
  static let lengthLimit = 64 << 10
  static let depthLimit = 64
  /// Long chains of operators are deep to the left without being nested.
  static let heightLimit = 200

  private let source: String
  private let tokens: [ExpressionToken]
  private var index = 0
  private var depth = 0
  /// How many closures are open.
  private var closures = 0

  /// Functions whose second argument is a closure.
  static let closureFunctions: Set<String> = [
    "all", "none", "any", "one", "filter", "map", "count", "sum", "find", "findIndex", "findLast", "findLastIndex",
    "groupBy", "sortBy", "reduce",
  ]

  /// - Throws: `FederationError` (`invalidArgument`) that says what is wrong, and where.
  ///
  /// - Parameter inClosure: whether `#` stands for something.
  static func parse(_ text: String, inClosure: Bool = false) throws -> ExpressionNode {
    guard text.utf8.count <= lengthLimit else {
      throw FederationError(.invalidArgument, "the expression is longer than \(lengthLimit >> 10) KiB")
    }
    var parser = ExpressionParser(source: text, tokens: try ExpressionLexer.tokens(of: text))
    if inClosure { parser.closures = 1 }
    let node = try parser.sequence()
    guard parser.current.kind == .end else { throw parser.unexpected() }
    return node
  }

  private init(source: String, tokens: [ExpressionToken]) {
    self.source = source
    self.tokens = tokens
  }

  // MARK: Tokens

  private var current: ExpressionToken { tokens[min(index, tokens.count - 1)] }
  private var following: ExpressionToken { tokens[min(index + 1, tokens.count - 1)] }

  private func failure(_ what: String) -> FederationError {
    ExpressionFailure.error(what, at: current.offset, in: source)
  }
  private func unexpected() -> FederationError { failure("unexpected token \(current.text)") }

  private mutating func take(_ sign: String) -> Bool {
    guard current.isSign(sign) else { return false }
    index += 1
    return true
  }

  private mutating func expect(_ sign: String) throws {
    if !take(sign) { throw failure("unexpected token \(current.text), expected '\(sign)'") }
  }

  private mutating func name() throws -> String {
    guard case .name(let name) = current.kind else { throw failure("expected name") }
    index += 1
    return name
  }

  private func node(_ kind: ExpressionNode.Kind, _ offset: Int, over parts: [ExpressionNode] = []) throws
    -> ExpressionNode
  {
    let height = (parts.map(\.height).max() ?? 0) + 1
    guard height <= Self.heightLimit else { throw failure("deeper than \(Self.heightLimit) levels") }
    return ExpressionNode(kind: kind, offset: offset, height: height)
  }

  // MARK: Expressions

  /// Parts between semicolons; the last one counts.
  private mutating func sequence() throws -> ExpressionNode {
    let offset = current.offset
    var parts = [try expression(0)]
    while take(";") {
      if current.kind == .end { break }
      parts.append(try expression(0))
    }
    return parts.count == 1 ? parts[0] : try node(.sequence(parts), offset, over: parts)
  }

  private static let precedences: [String: Int] = [
    "|": 0, "or": 10, "||": 10, "and": 15, "&&": 15, "==": 20, "!=": 20, "<": 20, ">": 20, ">=": 20, "<=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20, "..": 25, "+": 30, "-": 30, "*": 60,
    "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
  ]
  private static let negatable: Set<String> = ["in", "matches", "contains", "startsWith", "endsWith"]
  private static let comparisons: Set<String> = ["<", ">", "<=", ">="]

  private mutating func expression(_ minimum: Int) throws -> ExpressionNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw failure("is nested deeper than \(Self.depthLimit) levels") }
    if minimum == 0, current.isSign("let") { return try declaration() }
    if minimum == 0, current.isSign("if") { return try branch() }
    var left = try primary()
    var previous = ""
    while case .sign(var sign) = current.kind {
      let offset = current.offset
      let isNegated = sign == "not"
      if isNegated {
        guard case .sign(let next) = following.kind, Self.negatable.contains(next) else { throw unexpected() }
        sign = next
      }
      guard let precedence = Self.precedences[sign], precedence >= minimum else { break }
      index += isNegated ? 2 : 1
      if sign == "|" {
        left = try pipe(left)
      } else {
        if previous == "??", sign != "??" {
          throw failure("Operator (\(sign)) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses.")
        }
        left =
          Self.comparisons.contains(sign)
          ? try comparison(left, sign, precedence, offset)
          : try binary(left, sign, precedence, offset)
        if isNegated { left = try node(.unary("!", left), offset, over: [left]) }
      }
      previous = sign
    }
    return minimum == 0 ? try conditional(left) : left
  }

  private mutating func binary(_ left: ExpressionNode, _ sign: String, _ precedence: Int, _ offset: Int) throws
    -> ExpressionNode
  {
    let isRight = sign == "**" || sign == "^"
    let right = try expression(isRight ? precedence : precedence + 1)
    return try node(.binary(sign, left, right), offset, over: [left, right])
  }

  /// `1 < x < 3` means `1 < x && x < 3`.
  private mutating func comparison(_ left: ExpressionNode, _ sign: String, _ precedence: Int, _ offset: Int) throws
    -> ExpressionNode
  {
    var (left, sign) = (left, sign)
    var result: ExpressionNode?
    while true {
      let right = try expression(precedence + 1)
      let test = try node(.binary(sign, left, right), offset, over: [left, right])
      result = try result.map { try node(.binary("&&", $0, test), offset, over: [$0, test]) } ?? test
      guard case .sign(let next) = current.kind, Self.comparisons.contains(next) else { return result! }
      (left, sign) = (right, next)
      index += 1
    }
  }

  private mutating func declaration() throws -> ExpressionNode {
    index += 1
    let offset = current.offset
    let name = try name()
    try expect("=")
    let value = try expression(0)
    try expect(";")
    let body = try sequence()
    return try node(.declaration(name, value, body), offset, over: [value, body])
  }

  private mutating func branch() throws -> ExpressionNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw failure("is nested deeper than \(Self.depthLimit) levels") }
    let offset = current.offset
    index += 1
    let condition = try expression(0)
    try expect("{")
    let yes = try sequence()
    try expect("}")
    try expect("else")
    let no: ExpressionNode
    if current.isSign("if") {
      no = try branch()
    } else {
      try expect("{")
      no = try sequence()
      try expect("}")
    }
    return try node(.conditional(condition, yes, no), offset, over: [condition, yes, no])
  }

  private mutating func conditional(_ condition: ExpressionNode) throws -> ExpressionNode {
    var result = condition
    while current.isSign("?") {
      let offset = current.offset
      index += 1
      let yes = current.isSign(":") ? result : try expression(0)
      try expect(":")
      let no = try expression(0)
      result = try node(.conditional(result, yes, no), offset, over: [result, yes, no])
    }
    return result
  }

  // MARK: Calls

  /// `value | function(more)`: the value becomes the first argument. The function may have a dotted name.
  private mutating func pipe(_ value: ExpressionNode) throws -> ExpressionNode {
    let offset = current.offset
    var callee = try node(.name(try name()), offset)
    while take(".") {
      let key = try node(.literal(.string(try name())), current.offset)
      callee = try node(.member(callee, key, isOptional: false), offset, over: [callee])
    }
    guard current.isSign("(") else { throw unexpected() }
    return try postfix(try call(callee, [value], offset))
  }

  private mutating func call(_ callee: ExpressionNode, _ first: [ExpressionNode], _ offset: Int) throws
    -> ExpressionNode
  {
    try expect("(")
    var arguments = first
    var takesClosure = false
    if case .name(let name) = callee.kind { takesClosure = Self.closureFunctions.contains(name) }
    var isFirst = true
    while !current.isSign(")") {
      if !isFirst { try expect(",") }
      if current.isSign(")") { break }
      isFirst = false
      arguments.append(takesClosure && arguments.count == 1 ? try closure() : try expression(0))
    }
    try expect(")")
    return try node(.call(callee, arguments), offset, over: [callee] + arguments)
  }

  /// `{ # > 1 }`, or the same without braces.
  private mutating func closure() throws -> ExpressionNode {
    closures += 1
    defer { closures -= 1 }
    guard take("{") else { return try expression(0) }
    let body = try sequence()
    try expect("}")
    return body
  }

  // MARK: Operands

  private mutating func primary() throws -> ExpressionNode {
    let token = current
    if case .sign(let sign) = token.kind, let precedence = ["!": 50, "not": 50, "-": 90, "+": 90][sign] {
      index += 1
      let operand = try expression(precedence)
      return try postfix(
        try node(.unary(sign == "not" ? "!" : sign, operand), token.offset, over: [operand]))
    }
    if take("(") {
      let inner = try sequence()
      try expect(")")
      return try postfix(inner)
    }
    if closures > 0, token.isSign("#") || token.isSign(".") {
      var name = ""
      if take("#"), case .name(let suffix) = current.kind, current.offset == token.offset + 1 {
        name = suffix
        index += 1
      }
      return try postfix(try node(.pointer(name), token.offset))
    }
    if take("::") {
      guard case .name = current.kind else { throw unexpected() }
    }
    return try secondary()
  }

  private mutating func secondary() throws -> ExpressionNode {
    let token = current
    index += 1
    switch token.kind {
    case .integer(let value): return try node(.literal(.integer(value)), token.offset)
    case .number(let value): return try node(.literal(.number(value)), token.offset)
    case .string(let text): return try postfix(try node(.literal(.string(text)), token.offset))
    case .name("true"): return try node(.literal(.bool(true)), token.offset)
    case .name("false"): return try node(.literal(.bool(false)), token.offset)
    case .name("nil"): return try node(.literal(.null), token.offset)
    case .name(let name):
      let named = try node(.name(name), token.offset)
      return try postfix(current.isSign("(") ? try call(named, [], token.offset) : named)
    case .sign("["): return try postfix(try list(token.offset))
    case .sign("{"): return try postfix(try map(token.offset))
    case .sign, .end:
      index -= 1
      throw current.kind == .end ? failure("unexpected end of expression") : unexpected()
    }
  }

  private mutating func list(_ offset: Int) throws -> ExpressionNode {
    var elements: [ExpressionNode] = []
    while !current.isSign("]") {
      if !elements.isEmpty { try expect(",") }
      if current.isSign("]") { break }
      elements.append(try expression(0))
    }
    try expect("]")
    return try node(.list(elements), offset, over: elements)
  }

  private mutating func map(_ offset: Int) throws -> ExpressionNode {
    var pairs: [(ExpressionNode, ExpressionNode)] = []
    while !current.isSign("}") {
      if !pairs.isEmpty { try expect(",") }
      if current.isSign("}") { break }
      let key = try mapKey()
      try expect(":")
      pairs.append((key, try expression(0)))
    }
    try expect("}")
    return try node(.map(pairs), offset, over: pairs.flatMap { [$0.0, $0.1] })
  }

  private mutating func mapKey() throws -> ExpressionNode {
    let token = current
    switch token.kind {
    case .name(let text), .string(let text):
      index += 1
      return try node(.literal(.string(text)), token.offset)
    case .integer, .number:
      index += 1
      return try node(.literal(.string(token.text)), token.offset)
    case .sign("("): return try expression(0)
    case .sign, .end:
      throw failure("a map key must be a quoted string, a number, an identifier, or an expression in parentheses")
    }
  }

  private mutating func postfix(_ start: ExpressionNode) throws -> ExpressionNode {
    var result = start
    while case .sign(let sign) = current.kind {
      let offset = current.offset
      switch sign {
      case ".", "?.":
        index += 1
        if sign == "?.", take("[") {
          result = try subscripted(result, offset, isOptional: true)
        } else {
          result = try member(result, offset, isOptional: sign == "?.")
        }
      case "[":
        index += 1
        result = try subscripted(result, offset, isOptional: false)
      default: return result
      }
    }
    return result
  }

  private mutating func member(_ base: ExpressionNode, _ offset: Int, isOptional: Bool) throws -> ExpressionNode {
    let property: String
    switch current.kind {
    case .name(let text): property = text
    // Words that are operators are good names, too.
    case .sign(let text) where text.utf8.allSatisfy(ExpressionLexer.isLetter): property = text
    default: throw failure("expected name")
    }
    let key = try node(.literal(.string(property)), current.offset)
    index += 1
    var (inner, isChain) = (base, isOptional)
    if case .chain(let chained) = base.kind { (inner, isChain) = (chained, true) }
    var result = try node(.member(inner, key, isOptional: isOptional), offset, over: [inner])
    if current.isSign("(") { result = try call(result, [], offset) }
    return isChain ? try node(.chain(result), offset, over: [result]) : result
  }

  private mutating func subscripted(_ base: ExpressionNode, _ offset: Int, isOptional: Bool) throws -> ExpressionNode {
    let from = current.isSign(":") ? nil : try expression(0)
    if take(":") {
      let to = current.isSign("]") ? nil : try expression(0)
      try expect("]")
      return try node(.slice(base, from, to), offset, over: [base] + [from, to].compactMap(\.self))
    }
    try expect("]")
    let key = from!
    let result = try node(.member(base, key, isOptional: isOptional), offset, over: [base, key])
    return isOptional ? try node(.chain(result), offset, over: [result]) : result
  }
}
