import FederationModel

/// Operators of two values.
///
/// - Source: expr-lang v1.17 `vm/runtime`. Whole numbers wrap around, `/` and `**` give floating point, `%` is for whole numbers.
extension ExpressionEvaluator {
  mutating func apply(_ sign: String, _ a: ExprValue, _ b: ExprValue) throws -> ExprValue {
    switch sign {
    case "==", "!=":
      try spend(min(a.weight(upTo: 4096), b.weight(upTo: 4096)) / 16)
      return .bool(ExprValue.areEqual(a, b) == (sign == "=="))
    case "<", ">", "<=", ">=": return .bool(try compare(sign, a, b))
    case "in": return .bool(try isIn(a, b))
    case "matches": return .bool(try matches(a, b))
    case "contains", "startsWith", "endsWith": return .bool(try holds(sign, a, b))
    case "..": return try range(a, b)
    case "+": return try add(a, b)
    case "-": return try subtract(a, b)
    case "*": return try multiply(a, b)
    case "/", "**", "^":
      guard let x = a.doubleValue, let y = b.doubleValue else { throw undefined(sign, a, b) }
      return .number(sign == "/" ? x / y : GoMath.power(x, y))
    case "%":
      guard case .integer(let x) = a, case .integer(let y) = b else { throw undefined(sign, a, b) }
      guard y != 0 else { throw ExpressionProblem("integer divide by zero") }
      return .integer(x.remainderReportingOverflow(dividingBy: y).partialValue)
    default: throw ExpressionProblem("unknown operator \(sign)")
    }
  }

  private func undefined(_ sign: String, _ a: ExprValue, _ b: ExprValue) -> ExpressionProblem {
    let hint = a.stringValue != nil || b.stringValue != nil ? "; asInt and asFloat make numbers of texts" : ""
    return ExpressionProblem("invalid operation: \(a.goType) \(sign) \(b.goType)\(hint)")
  }

  private func compare(_ sign: String, _ a: ExprValue, _ b: ExprValue) throws -> Bool {
    let isSwapped = sign == ">" || sign == "<="
    guard let isLess = isSwapped ? ExprValue.isLess(b, a) : ExprValue.isLess(a, b) else { throw undefined(sign, a, b) }
    if sign.utf8.count == 2 {
      if let x = a.doubleValue, let y = b.doubleValue, x.isNaN || y.isNaN { return false }
      return !isLess
    }
    return isLess
  }

  private mutating func isIn(_ a: ExprValue, _ b: ExprValue) throws -> Bool {
    switch b {
    case .null: return false
    case .list(let elements):
      try spend(elements.count)
      return elements.contains { ExprValue.areEqual($0, a) }
    case .map(let members): return a.stringValue.map { members[$0] != nil } ?? false
    case .string(let text):
      // Lists are handed on as JSON texts.
      try spend(text.utf8.count / 64)
      guard case .array(let elements)? = try? JSONText.parse(text) else { throw undefined("in", a, b) }
      return elements.contains { ExprValue.areEqual(ExprValue($0), a) }
    default: throw undefined("in", a, b)
    }
  }

  private mutating func matches(_ a: ExprValue, _ b: ExprValue) throws -> Bool {
    if a.isNull || b.isNull { return false }
    guard case .string(let text) = a, case .string(let pattern) = b else { throw undefined("matches", a, b) }
    return try search(pattern, in: text) { try $0.matches($1, budget: &$2) }
  }

  /// Runs a regular expression and counts its cost.
  mutating func search<Result>(
    _ pattern: String, in text: String, _ body: (GoRegex, String, inout Int) throws -> Result
  ) throws -> Result {
    let regex = try regex(pattern)
    try spend(text.utf8.count / 8 + regex.size / 8)
    do { return try body(regex, text, &regexBudget) } catch let error as FederationError {
      throw ExpressionProblem(error.publicMessage)
    }
  }

  private mutating func holds(_ sign: String, _ a: ExprValue, _ b: ExprValue) throws -> Bool {
    if a.isNull || b.isNull { return false }
    if sign == "contains", case .list(let elements) = a {
      try spend(elements.count)
      return elements.contains { ExprValue.areEqual($0, b) }
    }
    guard case .string(let text) = a, case .string(let part) = b else { throw undefined(sign, a, b) }
    try spend(text.utf8.count / 64)
    switch sign {
    case "contains": return ExpressionText.contains(text, part)
    case "startsWith": return ExpressionText.hasPrefix(text, part)
    default: return ExpressionText.hasSuffix(text, part)
    }
  }

  private mutating func range(_ a: ExprValue, _ b: ExprValue) throws -> ExprValue {
    guard let from = a.integerValue, let to = b.integerValue else { throw undefined("..", a, b) }
    let (count, overflow) = to.subtractingReportingOverflow(from)
    guard from <= to else { return .list([]) }
    guard !overflow, count < 1_000_000 else { throw ExpressionProblem("'..' makes more than 1000000 elements") }
    try spend(Int(count))
    return .list((from...to).map { .integer($0) })
  }

  private mutating func add(_ a: ExprValue, _ b: ExprValue) throws -> ExprValue {
    switch (a, b) {
    case (.integer(let x), .integer(let y)): return .integer(x &+ y)
    case (.string(let x), .string(let y)):
      try spend(bytes: x.utf8.count + y.utf8.count)
      return .string(x + y)
    case (.time(let time), .duration(let nanoseconds)), (.duration(let nanoseconds), .time(let time)):
      return .time(time.adding(nanoseconds))
    case (.duration(let x), .duration(let y)): return .duration(x &+ y)
    default:
      guard let x = a.doubleValue, let y = b.doubleValue else { throw undefined("+", a, b) }
      return .number(x + y)
    }
  }

  private func subtract(_ a: ExprValue, _ b: ExprValue) throws -> ExprValue {
    switch (a, b) {
    case (.integer(let x), .integer(let y)): return .integer(x &- y)
    case (.time(let x), .time(let y)): return .duration(x.nanoseconds(since: y))
    case (.time(let time), .duration(let nanoseconds)): return .time(time.adding(0 &- nanoseconds))
    case (.duration(let x), .duration(let y)): return .duration(x &- y)
    default:
      guard let x = a.doubleValue, let y = b.doubleValue else { throw undefined("-", a, b) }
      return .number(x - y)
    }
  }

  private func multiply(_ a: ExprValue, _ b: ExprValue) throws -> ExprValue {
    switch (a, b) {
    case (.integer(let x), .integer(let y)): return .integer(x &* y)
    case (.duration(let x), .integer(let y)), (.integer(let x), .duration(let y)), (.duration(let x), .duration(let y)):
      return .duration(x &* y)
    case (.duration(let nanoseconds), .number(let factor)), (.number(let factor), .duration(let nanoseconds)):
      return .number(Double(nanoseconds) * factor)
    default:
      guard let x = a.doubleValue, let y = b.doubleValue else { throw undefined("*", a, b) }
      return .number(x * y)
    }
  }

  // MARK: Closures

  mutating func overElements(_ name: String, _ nodes: [ExpressionNode], at place: Int) throws -> ExprValue {
    let needsClosure = name != "count" && name != "sum"
    guard nodes.count >= (needsClosure ? 2 : 1), nodes.count <= (name == "reduce" || name == "sortBy" ? 3 : 2) else {
      throw ExpressionProblem("\(name): invalid number of arguments (got \(nodes.count))")
    }
    let list = try ExpressionArguments(name: name, values: [try value(nodes[0])]).list(0)
    switch name {
    case "all", "none", "any", "one", "count": return try quantify(name, list, nodes)
    case "find", "findIndex", "findLast", "findLastIndex": return try find(name, list, nodes[1])
    case "reduce": return try reduce(list, nodes)
    case "filter":
      let flags = try results(list, nodes[1])
      return .list(try zip(list, flags).filter { try truth($1) }.map(\.0))
    case "map": return .list(try results(list, nodes[1]))
    case "sum":
      let values = nodes.count > 1 ? try results(list, nodes[1]) : list
      var sum = ExprValue.integer(0)
      for value in values { sum = try add(sum, value) }
      return sum
    case "groupBy":
      var groups: [String: [ExprValue]] = [:]
      for (element, key) in zip(list, try results(list, nodes[1])) { groups[key.goText, default: []].append(element) }
      return .map(groups.mapValues { .list($0) })
    default:
      let keys = try results(list, nodes[1])
      let order = nodes.count > 2 ? try value(nodes[2]) : .string("asc")
      return .list(try sorted(list, by: keys, order))
    }
  }

  private mutating func result(of body: ExpressionNode, _ frame: Frame) throws -> ExprValue {
    frames.append(frame)
    defer { frames.removeLast() }
    return try value(body)
  }

  private mutating func results(_ list: [ExprValue], _ body: ExpressionNode) throws -> [ExprValue] {
    var results: [ExprValue] = []
    results.reserveCapacity(list.count)
    for (index, element) in list.enumerated() {
      results.append(try result(of: body, Frame(element: element, index: index, accumulator: .null)))
    }
    return results
  }

  private mutating func quantify(_ name: String, _ list: [ExprValue], _ nodes: [ExpressionNode]) throws -> ExprValue {
    var count = 0
    for (index, element) in list.enumerated() {
      let frame = Frame(element: element, index: index, accumulator: .null)
      let holds = try truth(nodes.count > 1 ? try result(of: nodes[1], frame) : element)
      if holds { count += 1 }
      if name == "any", holds { return .bool(true) }
      if name == "none", holds { return .bool(false) }
      if name == "all", !holds { return .bool(false) }
    }
    switch name {
    case "count": return .integer(Int64(count))
    case "one": return .bool(count == 1)
    default: return .bool(name != "any")
    }
  }

  private mutating func find(_ name: String, _ list: [ExprValue], _ body: ExpressionNode) throws -> ExprValue {
    let isIndex = name.hasSuffix("Index")
    let order = name.hasPrefix("findLast") ? Array(list.indices.reversed()) : Array(list.indices)
    for index in order {
      let frame = Frame(element: list[index], index: index, accumulator: .null)
      if try truth(try result(of: body, frame)) { return isIndex ? .integer(Int64(index)) : list[index] }
    }
    return isIndex ? .integer(-1) : .null
  }

  private mutating func reduce(_ list: [ExprValue], _ nodes: [ExpressionNode]) throws -> ExprValue {
    var accumulator: ExprValue
    var rest = list.indices[...]
    if nodes.count > 2 {
      accumulator = try value(nodes[2])
    } else {
      guard let first = list.first else { throw ExpressionProblem("reduce of empty array with no initial value") }
      accumulator = first
      rest = rest.dropFirst()
    }
    for index in rest {
      accumulator = try result(of: nodes[1], Frame(element: list[index], index: index, accumulator: accumulator))
    }
    return accumulator
  }

  /// Stable. `order` is `asc` or `desc`.
  mutating func sorted(_ list: [ExprValue], by keys: [ExprValue], _ order: ExprValue) throws -> [ExprValue] {
    guard case .string(let text) = order, text == "asc" || text == "desc" else {
      throw ExpressionProblem("unknown order, use asc or desc")
    }
    try spend(list.count * 4)
    return try list.indices.sorted { a, b in
      let (x, y) = text == "asc" ? (keys[a], keys[b]) : (keys[b], keys[a])
      guard let isLess = ExprValue.isLess(x, y), let isMore = ExprValue.isLess(y, x) else {
        throw ExpressionProblem("cannot sort \(x.goType) and \(y.goType)")
      }
      return isLess || (!isMore && a < b)
    }.map { list[$0] }
  }
}
