import FederationModel

/// Argo's `when`: govaluate over a text whose tags are replaced already, with bare words as texts.
enum WhenExpression {
  /// - Throws: `FederationError` (`invalidArgument`) when the text is no condition.
  static func evaluate(_ text: String) throws -> Bool {
    let node = try ExpressionParser.parse(text, .when)
    var evaluator = ExpressionEvaluator { _ in nil }
    let value = try evaluator.json(node)
    switch value {
    case .bool(let result): return result
    case .string("true"): return true
    case .string("false"): return false
    default:
      throw FederationError(.invalidArgument, "Expected boolean evaluation for '\(text.prefix(200))'. Got \(value)")
    }
  }
}

/// expr-lang, as in `{{=...}}`, `valueFrom.expression` and `retryStrategy.expression`.
///
/// Variables are dotted names that `lookup` knows (`steps.a.outputs.result`); all their values are texts, as in Argo.
/// - Source: expr-lang language definition; Argo `util/expr/env`.
enum ExprLang {
  /// What an expression comes to.
  struct Result {
    fileprivate let operand: ExpressionEvaluator.Operand
    fileprivate let lookup: String?

    /// - Throws: `FederationError` (`invalidArgument`) when it is a name without a value.
    func value() throws -> JSONValue {
      switch operand {
      case .value(let value): return value
      case .path(let name):
        guard let lookup else { throw FederationError(.invalidArgument, "failed to resolve {{=\(name)}}") }
        return .string(lookup)
      }
    }

    /// The value as it is put into a text.
    ///
    /// - Throws: `FederationError` (`invalidArgument`), also for NUL, which an expression can decode or write, and no text may hold.
    func text() throws -> String {
      let text = try value().tagText
      guard !text.utf8.contains(0) else {
        throw FederationError(
          .invalidArgument, "an expression comes to a text with the character NUL, which no text may hold")
      }
      return text
    }

    /// The name that it comes to, such as that of an artifact; nil for a plain value.
    var reference: String? { if case .path(let name) = operand { name } else { nil } }
  }

  static func evaluate(_ text: String, constants: [String: JSONValue] = [:], lookup: (String) -> String?) throws
    -> Result
  {
    let node = try ExpressionParser.parse(text, .exprLang)
    return try withoutActuallyEscaping(lookup) { lookup in
      var evaluator = ExpressionEvaluator(constants: constants, lookup: lookup)
      let operand = try evaluator.evaluate(node)
      if case .path(let name) = operand, let value = constants[name] {
        return Result(operand: .value(value), lookup: nil)
      }
      if case .path(let name) = operand { return Result(operand: operand, lookup: lookup(name)) }
      return Result(operand: operand, lookup: nil)
    }
  }
}

/// Evaluates an expression within a budget of steps.
struct ExpressionEvaluator {
  static let stepLimit = 1_000_000
  static let sizeLimit = 16 << 20

  enum Operand {
    case value(JSONValue)
    /// A dotted name that has not been looked up, so that `steps['a'].outputs` needs no value of its own.
    case path(String)
  }

  let constants: [String: JSONValue]
  let lookup: (String) -> String?
  var elements: [JSONValue] = []
  private var steps = 0

  init(constants: [String: JSONValue] = [:], lookup: @escaping (String) -> String?) {
    self.constants = constants
    self.lookup = lookup
  }

  func failure(_ what: String) -> FederationError { FederationError(.invalidArgument, "expression: \(what)") }

  /// The value of a node; a name without a value is null.
  mutating func json(_ node: ExpressionNode) throws -> JSONValue {
    switch try evaluate(node) {
    case .value(let value): return value
    case .path(let name): return constants[name] ?? lookup(name).map { .string($0) } ?? .null
    }
  }

  mutating func spend(_ count: Int = 1) throws {
    steps += max(1, count)
    guard steps <= Self.stepLimit else { throw failure("takes more than \(Self.stepLimit) steps") }
  }

  mutating func evaluate(_ node: ExpressionNode) throws -> Operand {
    try spend()
    switch node {
    case .literal(let value): return .value(value)
    case .name(let name): return .path(name)
    case .element:
      guard let element = elements.last else { throw failure("'#' stands outside a closure") }
      return .value(element)
    case .member(let base, let key): return try member(base, key)
    case .slice(let base, let from, let to): return .value(try slice(base, from, to))
    case .call(let callee, let arguments): return .value(try call(callee, arguments))
    case .unary(let sign, let operand): return .value(try unary(sign, try json(operand)))
    case .binary(let name, let left, let right): return try binary(name, left, right)
    case .conditional(let condition, let yes, let no): return try evaluate(try truth(try json(condition)) ? yes : no)
    case .list(let nodes): return .value(.array(try nodes.map { try json($0) }))
    case .map(let members):
      var object: [String: JSONValue] = [:]
      for (key, node) in members { object[key] = try json(node) }
      return .value(.object(object))
    }
  }

  func truth(_ value: JSONValue) throws -> Bool {
    switch value {
    case .bool(let value): return value
    case .string("true"): return true
    case .string("false"): return false
    default: throw failure("\(value.description.prefix(100)) is neither true nor false")
    }
  }

  private mutating func member(_ base: ExpressionNode, _ key: ExpressionNode) throws -> Operand {
    let operand = try evaluate(base)
    let key = try json(key)
    switch operand {
    case .path(let name):
      guard let text = key.stringValue else {
        guard let position = key.integerValue, let list = lookup(name),
          case .array(let elements)? = try? JSONText.parse(list)
        else { return .value(.null) }
        return .value(element(of: elements, at: position))
      }
      return .path(name + "." + text)
    case .value(.object(let members)): return .value(members[key.tagText] ?? .null)
    case .value(.array(let elements)):
      guard let position = key.integerValue else {
        throw failure("a list is indexed by '\(key.description.prefix(100))'")
      }
      return .value(element(of: elements, at: position))
    case .value(.null): return .value(.null)
    case .value(let value): throw failure("\(value.description.prefix(100)) has no members")
    }
  }

  private func element(of elements: [JSONValue], at position: Int64) -> JSONValue {
    let index = position < 0 ? Int64(elements.count) &+ position : position
    return index >= 0 && index < Int64(elements.count) ? elements[Int(index)] : .null
  }

  private mutating func slice(_ base: ExpressionNode, _ from: ExpressionNode?, _ to: ExpressionNode?) throws
    -> JSONValue
  {
    let value = try json(base)
    func bounds(_ count: Int, _ from: Int64?, _ to: Int64?) -> Range<Int> {
      func clamp(_ index: Int64) -> Int { Int(min(max(index < 0 ? index &+ Int64(count) : index, 0), Int64(count))) }
      let start = from.map(clamp) ?? 0
      return start..<max(start, to.map(clamp) ?? count)
    }
    let first = try from.map { try json($0) }?.integerValue
    let last = try to.map { try json($0) }?.integerValue
    switch value {
    case .array(let elements): return .array(Array(elements[bounds(elements.count, first, last)]))
    case .string(let text):
      let characters = Array(text)
      return .string(String(characters[bounds(characters.count, first, last)]))
    default: throw failure("only lists and texts can be sliced")
    }
  }

  private func unary(_ sign: String, _ value: JSONValue) throws -> JSONValue {
    if sign == "!" { return .bool(!(try truth(value))) }
    if sign == "+" { return value }
    if case .integer(let number) = value, number != .min { return .integer(-number) }
    guard let number = value.doubleValue else { throw failure("'-' needs a number") }
    return .number(-number)
  }

  private mutating func binary(_ name: String, _ left: ExpressionNode, _ right: ExpressionNode) throws -> Operand {
    switch name {
    case "&&", "and": return .value(.bool(try truth(try json(left)) ? try truth(try json(right)) : false))
    case "||", "or": return .value(.bool(try truth(try json(left)) ? true : try truth(try json(right))))
    case "??":
      let value = try json(left)
      return value == .null ? try evaluate(right) : .value(value)
    default: return .value(try apply(name, try json(left), try json(right)))
    }
  }

  private mutating func apply(_ name: String, _ a: JSONValue, _ b: JSONValue) throws -> JSONValue {
    switch name {
    case "==": return .bool(isEqual(a, b))
    case "!=": return .bool(!isEqual(a, b))
    case "<", ">", "<=", ">=": return .bool(try compare(name, a, b))
    case "in": return .bool(try isIn(a, b))
    case "not in": return .bool(!(try isIn(a, b)))
    case "=~", "matches": return .bool(try LinearRegex(b.tagText).matches(a.tagText))
    case "!~": return .bool(!(try LinearRegex(b.tagText).matches(a.tagText)))
    case "contains":
      if case .array(let elements) = a { return .bool(elements.contains { isEqual($0, b) }) }
      return .bool(ExpressionText.contains(a.tagText, b.tagText))
    case "startsWith": return .bool(a.tagText.hasPrefix(b.tagText))
    case "endsWith": return .bool(a.tagText.hasSuffix(b.tagText))
    case "..": return try range(a, b)
    default: return try arithmetic(name, a, b)
    }
  }

  func isEqual(_ a: JSONValue, _ b: JSONValue) -> Bool {
    if let x = a.doubleValue, let y = b.doubleValue { return x == y }
    return a == b
  }

  private func compare(_ name: String, _ a: JSONValue, _ b: JSONValue) throws -> Bool {
    if let x = a.doubleValue, let y = b.doubleValue { return holds(name, x, y) }
    guard let x = a.stringValue, let y = b.stringValue else {
      throw failure("'\(name)' cannot compare \(a.description.prefix(100)) and \(b.description.prefix(100))")
    }
    return holds(name, x, y)
  }

  private func holds<Value: Comparable>(_ name: String, _ a: Value, _ b: Value) -> Bool {
    switch name {
    case "<": a < b;
    case ">": a > b;
    case "<=": a <= b;
    default: a >= b
    }
  }

  private func isIn(_ a: JSONValue, _ b: JSONValue) throws -> Bool {
    switch b {
    case .array(let elements): return elements.contains { isEqual($0, a) }
    case .object(let members): return members[a.tagText] != nil
    case .string(let text):
      guard case .array(let elements)? = try? JSONText.parse(text) else { return text == a.tagText }
      return elements.contains { isEqual($0, a) }
    default: return isEqual(a, b)
    }
  }

  private mutating func range(_ a: JSONValue, _ b: JSONValue) throws -> JSONValue {
    guard let from = a.integerValue, let to = b.integerValue, from <= to,
      to.subtractingReportingOverflow(from).partialValue < 100_000,
      !to.subtractingReportingOverflow(from).overflow
    else { throw failure("'..' needs two whole numbers, at most 100000 apart") }
    try spend(Int(to - from))
    return .array((from...to).map { .integer($0) })
  }

  private func arithmetic(_ name: String, _ a: JSONValue, _ b: JSONValue) throws -> JSONValue {
    if name == "+", let x = a.stringValue, let y = b.stringValue {
      guard x.utf8.count + y.utf8.count <= Self.sizeLimit else { throw failure("a text grows beyond its limit") }
      return .string(x + y)
    }
    if case .integer(let x) = a, case .integer(let y) = b, let whole = try integers(name, x, y) {
      return .integer(whole)
    }
    guard let x = a.doubleValue, let y = b.doubleValue else {
      throw failure(
        "'\(name)' needs numbers, not \(a.description.prefix(100)) and \(b.description.prefix(100)); use asInt or asFloat"
      )
    }
    switch name {
    case "+": return .number(x + y)
    case "-": return .number(x - y)
    case "*": return .number(x * y)
    case "/": return .number(x / y)
    case "%":
      guard y != 0 else { throw failure("division by zero") }
      return .number(x.truncatingRemainder(dividingBy: y))
    case "**", "^": return .number(ExpressionText.power(x, y))
    default: throw failure("has an unknown operator '\(name)'")
    }
  }

  /// Whole-number arithmetic; nil where the result is not whole or overflows, and floating point takes over.
  private func integers(_ name: String, _ x: Int64, _ y: Int64) throws -> Int64? {
    let (value, overflow): (Int64, Bool)
    switch name {
    case "+": (value, overflow) = x.addingReportingOverflow(y)
    case "-": (value, overflow) = x.subtractingReportingOverflow(y)
    case "*": (value, overflow) = x.multipliedReportingOverflow(by: y)
    case "%":
      guard y != 0 else { throw failure("division by zero") }
      (value, overflow) = x.remainderReportingOverflow(dividingBy: y)
    default: return nil
    }
    return overflow ? nil : value
  }

  // MARK: Calls

  private mutating func call(_ callee: ExpressionNode, _ arguments: [ExpressionNode]) throws -> JSONValue {
    guard case .path(let name) = try evaluate(callee) else { throw failure("calls something that is no function") }
    if ["filter", "map", "any", "all", "none", "one", "count", "find"].contains(name), arguments.count == 2 {
      return try overElements(name, arguments)
    }
    let values = try arguments.map { try json($0) }
    try spend(values.reduce(0) { $0 + ($1.stringValue?.utf8.count ?? 0) / 64 })
    return try ExpressionFunctions.call(name, values, self)
  }

  private mutating func overElements(_ name: String, _ arguments: [ExpressionNode]) throws -> JSONValue {
    var source = try json(arguments[0])
    if case .string(let text) = source, let parsed = try? JSONText.parse(text) { source = parsed }
    guard case .array(let list) = source else { throw failure("\(name) needs a list") }
    var kept: [JSONValue] = []
    var results: [JSONValue] = []
    for element in list {
      elements.append(element)
      let result = try json(arguments[1])
      elements.removeLast()
      if name == "map" { results.append(result) } else if try truth(result) { kept.append(element) }
    }
    switch name {
    case "map": return .array(results)
    case "filter": return .array(kept)
    case "any": return .bool(!kept.isEmpty)
    case "all": return .bool(kept.count == list.count)
    case "none": return .bool(kept.isEmpty)
    case "one": return .bool(kept.count == 1)
    case "count": return .integer(Int64(kept.count))
    default: return kept.first ?? .null
    }
  }
}
