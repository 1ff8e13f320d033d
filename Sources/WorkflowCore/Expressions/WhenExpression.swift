import FederationModel

/// Argo's `when`: govaluate over a text whose tags are replaced already, with bare words as texts.
///
/// Read and evaluated in one pass. A little wider than govaluate: words may hold hyphens and dots (`my-branch`, `v1.2`), a quoted text
/// ends at its own quote, and `in` takes a list of one.
/// - Source: Argo v3.7 `workflow/controller/steps.go` (`shouldExecute`); govaluate `parsing.go`, `stagePlanner.go`,
///   `evaluationStage.go`.
struct WhenExpression {
  static let lengthLimit = 64 << 10
  static let depthLimit = 64

  private let source: String
  private let tokens: [Token]
  private var index = 0
  private var depth = 0
  private var regexBudget = GoRegex.visitLimit
  private var bytesLeft = ExpressionEvaluator.sizeLimit

  /// - Throws: `FederationError` (`invalidArgument`) when the text is no condition.
  static func evaluate(_ text: String) throws -> Bool {
    guard text.utf8.count <= lengthLimit else {
      throw FederationError(.invalidArgument, "the 'when' expression is longer than \(lengthLimit >> 10) KiB")
    }
    var expression = WhenExpression(source: text, tokens: try WhenLexer.tokens(of: text))
    let value = try expression.separated(true)
    guard expression.index == expression.tokens.count else { throw expression.failure("has something unexpected") }
    switch value {
    case .bool(let result): return result
    case .string("true"): return true
    case .string("false"): return false
    default:
      throw FederationError(
        .invalidArgument, "Expected boolean evaluation for '\(text.prefix(200))'. Got \(value.goText.prefix(200))")
    }
  }

  enum Token: Equatable {
    case number(Double), string(String), bool(Bool), sign(String)
  }

  private init(source: String, tokens: [Token]) {
    self.source = source
    self.tokens = tokens
  }

  private func failure(_ what: String) -> FederationError {
    WhenExpression.failure("\(what) \(index < tokens.count ? "at '\(text(of: tokens[index]))'" : "at its end")", source)
  }

  static func failure(_ what: String, _ source: String) -> FederationError {
    FederationError(
      .invalidArgument,
      "Invalid 'when' expression '\(source.prefix(200))': \(what) (hint: try wrapping the affected expression in quotes (\"))"
    )
  }

  private func text(of token: Token) -> String {
    switch token {
    case .number(let value): GoFloat.general(value)
    case .string(let text): String(text.prefix(40))
    case .bool(let value): "\(value)"
    case .sign(let sign): sign
    }
  }

  private mutating func take(_ signs: String...) -> String? {
    guard index < tokens.count, case .sign(let sign) = tokens[index], signs.contains(sign) else { return nil }
    index += 1
    return sign
  }

  // MARK: Levels, from the loosest. `isWanted`: whether the value counts; what does not is read but not evaluated.

  private mutating func separated(_ isWanted: Bool) throws -> ExprValue {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw failure("is nested deeper than \(Self.depthLimit) levels") }
    let first = try ternary(isWanted)
    guard take(",") != nil else { return first }
    var list = [first]
    repeat { list.append(try ternary(isWanted)) } while take(",") != nil
    return .list(list)
  }

  private mutating func ternary(_ isWanted: Bool) throws -> ExprValue {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw failure("is nested deeper than \(Self.depthLimit) levels") }
    var left = try either(isWanted)
    while let sign = take("?", "??") {
      if sign == "??" {
        let right = try either(isWanted && left.isNull)
        if left.isNull { left = right }
        continue
      }
      let holds = try truth(left, "?", isWanted)
      let yes = try ternary(isWanted && holds)
      var no = ExprValue.null
      if take(":") != nil { no = try ternary(isWanted && !holds) }
      left = holds ? yes : no
    }
    return left
  }

  private mutating func either(_ isWanted: Bool) throws -> ExprValue {
    var left = try both(isWanted)
    while take("||") != nil {
      let holds = try truth(left, "||", isWanted)
      let right = try both(isWanted && !holds)
      left = .bool(holds ? true : try truth(right, "||", isWanted))
    }
    return left
  }

  private mutating func both(_ isWanted: Bool) throws -> ExprValue {
    var left = try comparison(isWanted)
    while take("&&") != nil {
      let holds = try truth(left, "&&", isWanted)
      let right = try comparison(isWanted && holds)
      left = .bool(holds ? try truth(right, "&&", isWanted) : false)
    }
    return left
  }

  private mutating func comparison(_ isWanted: Bool) throws -> ExprValue {
    var left = try binary(0, isWanted)
    while let sign = take("==", "!=", "<", ">", "<=", ">=", "=~", "!~", "in") {
      let right = try binary(0, isWanted)
      left = isWanted ? .bool(try compare(sign, left, right)) : .bool(false)
    }
    return left
  }

  private static let levels = [["^", "&", "|"], ["<<", ">>"], ["+", "-"], ["*", "/", "%"], ["**"]]

  private mutating func binary(_ level: Int, _ isWanted: Bool) throws -> ExprValue {
    guard level < Self.levels.count else { return try prefixed(isWanted) }
    var left = try binary(level + 1, isWanted)
    while index < tokens.count, case .sign(let sign) = tokens[index], Self.levels[level].contains(sign) {
      index += 1
      let right = try binary(level + 1, isWanted)
      if isWanted { left = try calculate(sign, left, right) }
    }
    return left
  }

  private mutating func prefixed(_ isWanted: Bool) throws -> ExprValue {
    guard let sign = take("!", "-", "~") else { return try operand(isWanted) }
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw failure("is nested deeper than \(Self.depthLimit) levels") }
    let value = try prefixed(isWanted)
    if !isWanted { return value }
    if sign == "!" { return .bool(!(try truth(value, "!", true))) }
    guard case .number(let number) = value else { throw misuse(value, "the prefix '\(sign)'", "a number") }
    return .number(sign == "-" ? -number : Double(~Self.integer(number)))
  }

  private mutating func operand(_ isWanted: Bool) throws -> ExprValue {
    guard index < tokens.count else { throw failure("ends too early") }
    let token = tokens[index]
    index += 1
    switch token {
    case .number(let value): return .number(value)
    case .bool(let value): return .bool(value)
    case .string(let text): return .string(text)
    case .sign("("):
      if take(")") != nil { return .list([]) }
      let value = try separated(isWanted)
      guard take(")") != nil else { throw failure("has an unbalanced parenthesis") }
      return value
    case .sign:
      index -= 1
      throw failure("lacks a value")
    }
  }

  // MARK: Operations

  private func misuse(_ value: ExprValue, _ with: String, _ what: String) -> FederationError {
    Self.failure("Value '\(value.goText.prefix(100))' cannot be used with \(with), it is not \(what)", source)
  }

  private func truth(_ value: ExprValue, _ sign: String, _ isWanted: Bool) throws -> Bool {
    if case .bool(let truth) = value { return truth }
    if !isWanted { return false }
    throw misuse(value, "the logical operator '\(sign)'", "a bool")
  }

  private mutating func compare(_ sign: String, _ a: ExprValue, _ b: ExprValue) throws -> Bool {
    switch sign {
    case "==": return ExprValue.areEqual(a, b)
    case "!=": return !ExprValue.areEqual(a, b)
    case "in": return (b.listValue ?? [b]).contains { ExprValue.areEqual($0, a) }
    case "=~", "!~":
      guard case .string(let text) = a else { throw misuse(a, "the comparator '\(sign)'", "a text") }
      guard case .string(let pattern) = b else { throw misuse(b, "the comparator '\(sign)'", "a text") }
      return try GoRegex(pattern).matches(text, budget: &regexBudget) == (sign == "=~")
    default:
      switch (a, b) {
      case (.number(let x), .number(let y)): return holds(sign, x, y)
      case (.string(let x), .string(let y)):
        let order = ExpressionText.isBefore(x, y) ? -1 : ExpressionText.isBefore(y, x) ? 1 : 0
        return holds(sign, order, 0)
      default: throw misuse(a, "the comparator '\(sign)'", "a number")
      }
    }
  }

  private func holds<Value: Comparable>(_ sign: String, _ a: Value, _ b: Value) -> Bool {
    switch sign {
    case "<": a < b
    case ">": a > b
    case "<=": a <= b
    default: a >= b
    }
  }

  private mutating func calculate(_ sign: String, _ a: ExprValue, _ b: ExprValue) throws -> ExprValue {
    if sign == "+", a.stringValue != nil || b.stringValue != nil {
      let text = a.goText + b.goText
      bytesLeft -= text.utf8.count
      guard bytesLeft >= 0 else { throw Self.failure("makes texts that are too long", source) }
      return .string(text)
    }
    guard case .number(let x) = a else { throw misuse(a, "the modifier '\(sign)'", "a number") }
    guard case .number(let y) = b else { throw misuse(b, "the modifier '\(sign)'", "a number") }
    let (m, n) = (Self.integer(x), Self.integer(y))
    switch sign {
    case "+": return .number(x + y)
    case "-": return .number(x - y)
    case "*": return .number(x * y)
    case "/": return .number(x / y)
    case "%": return .number(x.truncatingRemainder(dividingBy: y))
    case "**": return .number(GoMath.power(x, y))
    case "&": return .number(Double(m & n))
    case "|": return .number(Double(m | n))
    case "^": return .number(Double(m ^ n))
    default:
      let (bits, count) = (UInt64(bitPattern: m), n < 0 ? 64 : min(n, 64))
      return .number(Double(sign == "<<" ? bits << UInt64(count) : bits >> UInt64(count)))
    }
  }

  private static func integer(_ number: Double) -> Int64 { GoFloat.integer(number) ?? .min }
}

/// Cuts a `when` into tokens.
private struct WhenLexer {
  private let source: String
  private let scalars: [Unicode.Scalar]
  private var index = 0

  private static let signs = [
    "==", "!=", "<=", ">=", "=~", "!~", "&&", "||", "??", "**", "<<", ">>", "(", ")", ",", "?", ":", "!", "<", ">", "+",
    "-", "*", "/", "%", "^", "&", "|", "~",
  ].map { ($0, Array($0.unicodeScalars)) }

  static func tokens(of text: String) throws -> [WhenExpression.Token] {
    var lexer = WhenLexer(source: text)
    var tokens: [WhenExpression.Token] = []
    while let token = try lexer.next() { tokens.append(token) }
    return tokens
  }

  private init(source: String) {
    self.source = source
    scalars = Array(source.unicodeScalars)
  }

  private mutating func next() throws -> WhenExpression.Token? {
    while index < scalars.count, scalars[index].properties.isWhitespace { index += 1 }
    guard index < scalars.count else { return nil }
    let first = scalars[index]
    if first == "'" || first == "\"" { return try quoted(closing: first) }
    if first == "[" {
      guard case .string(let name) = try quoted(closing: "]", isTime: false) else { return nil }
      return .string(name)
    }
    if Self.isDigit(first) || (first == "." && index + 1 < scalars.count && Self.isDigit(scalars[index + 1])) {
      return number()
    }
    if Self.isLetter(first) || first == "\\" { return word() }
    guard let sign = Self.signs.first(where: { scalars[index...].starts(with: $0.1) }) else {
      throw WhenExpression.failure("Invalid token: '\(first)'", source)
    }
    index += sign.1.count
    return .sign(sign.0)
  }

  private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
  private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isAlphabetic || scalar == "_" || scalar == "$" || scalar.value >= 0x80
  }

  /// A backslash takes the next character as it is.
  private mutating func quoted(closing quote: Unicode.Scalar, isTime: Bool = true) throws -> WhenExpression.Token {
    index += 1
    var text = String.UnicodeScalarView()
    while index < scalars.count, scalars[index] != quote {
      if scalars[index] == "\\", index + 1 < scalars.count { index += 1 }
      text.append(scalars[index])
      index += 1
    }
    guard index < scalars.count else { throw WhenExpression.failure("Unclosed string literal", source) }
    index += 1
    let string = String(text)
    // A quoted date is the number of its second.
    if isTime, let time = Self.time(string) { return .number(Double(time.seconds)) }
    return .string(string)
  }

  private static let layouts = [
    "Mon Jan _2 15:04:05 2006", "Mon Jan _2 15:04:05 MST 2006", "Mon Jan 02 15:04:05 -0700 2006", "3:04PM",
    "2006-01-02T15:04:05Z07:00", "2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05",
    "2006-01-02 15:04:05-07:00", "2006-01-02T15Z0700", "2006-01-02T15:04Z0700", "2006-01-02T15:04:05Z0700",
  ]

  private static func time(_ text: String) -> GoTime? {
    guard (6...40).contains(text.utf8.count), text.utf8.contains(where: { (0x30...0x39).contains($0) }),
      text.utf8.contains(UInt8(ascii: ":")) || text.utf8.contains(UInt8(ascii: "-"))
    else { return nil }
    for layout in layouts {
      if let time = GoTimeLayout.parse(text, layout) { return time }
    }
    return nil
  }

  /// A number; what begins like one and goes on like a word (`3rd`, `1.2.3`) is a word.
  private mutating func number() -> WhenExpression.Token {
    let start = index
    while index < scalars.count {
      let scalar = scalars[index]
      let isFraction = scalar == "." && index + 1 < scalars.count && Self.isDigit(scalars[index + 1])
      let isExponent =
        (scalar == "+" || scalar == "-") && index > start && (scalars[index - 1] == "e" || scalars[index - 1] == "E")
        && index + 1 < scalars.count && Self.isDigit(scalars[index + 1])
      guard Self.isDigit(scalar) || Self.isLetter(scalar) || isFraction || isExponent else { break }
      index += 1
    }
    let text = String(String.UnicodeScalarView(scalars[start..<index]))
    if text.hasPrefix("0x"), let value = UInt64(text.dropFirst(2), radix: 16) { return .number(Double(value)) }
    let isPlain = text.utf8.allSatisfy { (0x30...0x39).contains($0) || [0x2e, 0x65, 0x45, 0x2b, 0x2d].contains($0) }
    if isPlain, let value = Double(text.hasPrefix(".") ? "0" + text : text), value.isFinite { return .number(value) }
    return .string(text)
  }

  private mutating func word() -> WhenExpression.Token {
    var text = String.UnicodeScalarView()
    while index < scalars.count {
      let scalar = scalars[index]
      if scalar == "\\", index + 1 < scalars.count {
        text.append(scalars[index + 1])
        index += 2
        continue
      }
      guard Self.isLetter(scalar) || Self.isDigit(scalar) || scalar == "-" || scalar == "." else { break }
      text.append(scalar)
      index += 1
    }
    if text.isEmpty { index += 1 }
    switch String(text) {
    case "true": return .bool(true)
    case "false": return .bool(false)
    case "in", "IN": return .sign("in")
    case let word: return .string(word)
    }
  }
}
