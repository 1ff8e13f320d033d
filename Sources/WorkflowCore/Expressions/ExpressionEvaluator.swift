import FederationModel

/// Evaluates an expression within a budget of steps and of bytes.
struct ExpressionEvaluator {
  /// Within 50 ms of an optimised build.
  static let stepLimit = 250_000
  /// Of one text, and of all texts that one evaluation makes.
  static let sizeLimit = 16 << 20
  static let bytesLimit = 64 << 20

  enum Operand {
    case value(ExprValue)
    /// A dotted name that has not been looked up, so that `steps['a'].outputs` needs no value of its own.
    case path(String)
  }

  /// Ends a chain of `?.` at the first nil.
  struct NothingThere: Error {}

  /// One open closure.
  struct Frame {
    var element: ExprValue
    var index: Int
    var accumulator: ExprValue
  }

  let scope: ExpressionScope
  var frames: [Frame] = []
  var random: ExpressionRandom
  /// Whether lists and texts have a member `length`, as in a JSONPath.
  var knowsLength = false
  /// States that regular expressions may still visit.
  var regexBudget = GoRegex.visitLimit
  /// Where in the text the operation stands that is being done.
  private(set) var offset = 0
  private var locals: [(name: String, value: ExprValue)] = []
  private var steps = 0
  private var bytes = 0
  private var patterns: [String: GoRegex] = [:]

  init(_ scope: ExpressionScope) {
    self.scope = scope
    random = ExpressionRandom(seed: scope.seed)
  }

  mutating func spend(_ count: Int = 1) throws {
    steps += max(1, count)
    guard steps <= Self.stepLimit else { throw ExpressionProblem("it takes more than \(Self.stepLimit) steps") }
  }

  /// Call before making a text of `count` bytes.
  mutating func spend(bytes count: Int) throws {
    guard count <= Self.sizeLimit else { throw ExpressionProblem("a text grows beyond \(Self.sizeLimit >> 20) MiB") }
    bytes += count
    guard bytes <= Self.bytesLimit else {
      throw ExpressionProblem("it makes more than \(Self.bytesLimit >> 20) MiB of texts")
    }
    try spend(count / 64)
  }

  mutating func regex(_ pattern: String) throws -> GoRegex {
    if let known = patterns[pattern] { return known }
    do {
      let regex = try GoRegex(pattern)
      if patterns.count < 64 { patterns[pattern] = regex }
      return regex
    } catch let error as FederationError { throw ExpressionProblem(error.publicMessage) }
  }

  // MARK: Nodes

  /// The value of a node; a name without a value is nil.
  mutating func value(_ node: ExpressionNode) throws -> ExprValue { try resolve(try evaluate(node)) }

  mutating func resolve(_ operand: Operand) throws -> ExprValue {
    switch operand {
    case .value(let value): return value
    case .path(let name):
      if let value = scope.values[name] { return value }
      guard let text = scope.lookup(name) else { return .null }
      try spend(text.utf8.count / 256)
      return Self.variable(name, text)
    }
  }

  /// All variables are texts but those that stand for several: `inputs.parameters` is a map of them.
  private static func variable(_ name: String, _ text: String) -> ExprValue {
    guard name.hasSuffix(".parameters") || name == "workflow.labels" || name == "workflow.annotations",
      let json = try? JSONText.parse(text)
    else { return .string(text) }
    switch json {
    case .object: return ExprValue(json)
    case .array(let entries) where !name.hasPrefix("steps.") && !name.hasPrefix("tasks."):
      var members: [String: ExprValue] = [:]
      for entry in entries {
        if let name = entry["name"]?.stringValue, let value = entry["value"] { members[name] = ExprValue(value) }
      }
      return .map(members)
    default: return .string(text)
    }
  }

  mutating func evaluate(_ node: ExpressionNode) throws -> Operand {
    try spend()
    switch node.kind {
    case .literal(let value): return .value(value)
    case .name(let name):
      return locals.last { $0.name == name }.map { .value($0.value) } ?? .path(name)
    case .pointer(let name): return .value(try pointer(name))
    case .member(let base, let key, let isOptional): return try member(base, key, isOptional, at: node.offset)
    case .chain(let inner):
      do { return .value(try value(inner)) } catch is NothingThere { return .value(.null) }
    case .slice(let base, let from, let to): return .value(try slice(base, from, to, at: node.offset))
    case .call(let callee, let arguments): return .value(try call(callee, arguments, at: node.offset))
    case .unary(let sign, let operand): return .value(try unary(sign, operand, at: node.offset))
    case .binary(let sign, let left, let right): return try binary(sign, left, right, at: node.offset)
    case .conditional(let condition, let yes, let no):
      return try evaluate(try truth(of: condition, at: node.offset) ? yes : no)
    case .list(let nodes):
      var elements: [ExprValue] = []
      for element in nodes { elements.append(try value(element)) }
      return .value(.list(elements))
    case .map(let pairs): return .value(try map(pairs, at: node.offset))
    case .declaration(let name, let initial, let body):
      locals.append((name, try value(initial)))
      defer { locals.removeLast() }
      return .value(try value(body))
    case .sequence(let parts):
      for part in parts.dropLast() { _ = try value(part) }
      return try evaluate(parts[parts.count - 1])
    }
  }

  private func pointer(_ name: String) throws -> ExprValue {
    guard let frame = frames.last else { throw ExpressionProblem("'#' stands outside a closure") }
    switch name {
    case "": return frame.element
    case "acc": return frame.accumulator
    case "index": return .integer(Int64(frame.index))
    default: throw ExpressionProblem("unknown pointer #\(name.prefix(40))")
    }
  }

  private mutating func map(_ pairs: [(ExpressionNode, ExpressionNode)], at place: Int) throws -> ExprValue {
    var members: [String: ExprValue] = [:]
    for (keyNode, valueNode) in pairs {
      let key = try value(keyNode)
      offset = place
      guard case .string(let text) = key else { throw ExpressionProblem("a map key is no text but \(key.goType)") }
      members[text] = try value(valueNode)
    }
    return .map(members)
  }

  func truth(_ value: ExprValue) throws -> Bool {
    switch value {
    case .bool(let value): return value
    // Variables are texts.
    case .string("true"): return true
    case .string("false"): return false
    default: throw ExpressionProblem("\(value.goType) is no truth value")
    }
  }

  private mutating func truth(of node: ExpressionNode, at place: Int) throws -> Bool {
    let result = try value(node)
    offset = place
    return try truth(result)
  }

  // MARK: Members and slices

  private mutating func member(_ base: ExpressionNode, _ key: ExpressionNode, _ isOptional: Bool, at place: Int) throws
    -> Operand
  {
    let operand = try evaluate(base)
    let key = try value(key)
    offset = place
    guard case .path(let name) = operand else {
      let whole = try resolve(operand)
      if knowsLength, key.stringValue == "length", whole.mapValue?["length"] == nil,
        let length = JSONPath.length(of: whole)
      {
        return .value(.integer(Int64(length)))
      }
      return .value(try Self.fetch(whole, key, isOptional))
    }
    if case .string(let text) = key {
      let joined = name + "." + text
      if scope.values[joined] == nil, let whole = scope.values[name] {
        return .value(try Self.fetch(whole, key, isOptional))
      }
      return .path(joined)
    }
    // Lists are handed on as JSON texts.
    guard let list = scope.lookup(name) else { return .value(.null) }
    try spend(list.utf8.count / 64)
    guard case .array(let elements)? = try? JSONText.parse(list) else {
      return .value(try Self.fetch(.string(list), key, isOptional))
    }
    return .value(try Self.fetch(.list(elements.map { ExprValue($0) }), key, isOptional))
  }

  /// - Source: expr-lang `runtime.Fetch`.
  static func fetch(_ base: ExprValue, _ key: ExprValue, _ isOptional: Bool) throws -> ExprValue {
    switch base {
    case .null where isOptional: throw NothingThere()
    case .map(let members):
      guard let name = key.stringValue ?? (key.doubleValue != nil ? key.goText : nil) else { return .null }
      return members[name] ?? .null
    case .list(let elements):
      guard let index = key.integerValue else { throw ExpressionProblem("a list is indexed by \(key.goType)") }
      let position = index < 0 ? index + Int64(elements.count) : index
      guard position >= 0, position < Int64(elements.count) else {
        throw ExpressionProblem("index out of range: \(index) (array length is \(elements.count))")
      }
      return elements[Int(position)]
    case .string(let text):
      guard let index = key.integerValue else { throw ExpressionProblem("a text is indexed by \(key.goType)") }
      let position = index < 0 ? index + Int64(text.utf8.count) : index
      guard position >= 0, position < Int64(text.utf8.count) else {
        throw ExpressionProblem("index out of range: \(index) (array length is \(text.utf8.count))")
      }
      return .integer(Int64(text.utf8[text.utf8.index(text.utf8.startIndex, offsetBy: Int(position))]))
    default: throw ExpressionProblem("cannot fetch \(key.goText.prefix(100)) from \(base.goType)")
    }
  }

  private mutating func slice(_ base: ExpressionNode, _ from: ExpressionNode?, _ to: ExpressionNode?, at place: Int)
    throws -> ExprValue
  {
    let value = try value(base)
    let from = try from.map { try self.value($0) }
    let to = try to.map { try self.value($0) }
    offset = place
    func bounds(_ count: Int) throws -> Range<Int> {
      func clamp(_ end: ExprValue?, _ otherwise: Int) throws -> Int {
        guard let end else { return otherwise }
        guard let index = end.integerValue else { throw ExpressionProblem("a slice's end is \(end.goType)") }
        return Int(min(max(index < 0 ? index &+ Int64(count) : index, 0), Int64(count)))
      }
      let last = try clamp(to, count)
      return min(try clamp(from, 0), last)..<last
    }
    switch value {
    case .list(let elements):
      let bounds = try bounds(elements.count)
      try spend(bounds.count / 8)
      return .list(Array(elements[bounds]))
    case .string(let text):
      let bytes = Array(text.utf8)
      let bounds = try bounds(bytes.count)
      try spend(bytes: bounds.count)
      return .string(String(decoding: bytes[bounds], as: UTF8.self))
    default: throw ExpressionProblem("cannot slice \(value.goType)")
    }
  }

  // MARK: Operators

  private mutating func unary(_ sign: String, _ node: ExpressionNode, at place: Int) throws -> ExprValue {
    let operand = try value(node)
    offset = place
    if sign == "!" { return .bool(!(try truth(operand))) }
    switch operand {
    case .integer(let number): return .integer(sign == "-" ? 0 &- number : number)
    case .number(let number): return .number(sign == "-" ? -number : number)
    case .duration(let nanoseconds): return .duration(sign == "-" ? 0 &- nanoseconds : nanoseconds)
    default: throw ExpressionProblem("invalid operation: \(sign) \(operand.goType)")
    }
  }

  private mutating func binary(_ sign: String, _ left: ExpressionNode, _ right: ExpressionNode, at place: Int) throws
    -> Operand
  {
    switch sign {
    case "&&", "and": return .value(.bool(try truth(of: left, at: place) ? try truth(of: right, at: place) : false))
    case "||", "or": return .value(.bool(try truth(of: left, at: place) ? true : try truth(of: right, at: place)))
    case "??":
      let operand: Operand
      do { operand = try evaluate(left) } catch is NothingThere { return try evaluate(right) }
      return try resolve(operand).isNull ? try evaluate(right) : operand
    default:
      let (a, b) = (try value(left), try value(right))
      offset = place
      return .value(try apply(sign, a, b))
    }
  }

  // MARK: Calls

  private mutating func call(_ callee: ExpressionNode, _ arguments: [ExpressionNode], at place: Int) throws -> ExprValue
  {
    if case .member(let base, let key, let isOptional) = callee.kind, case .literal(.string(let name)) = key.kind {
      let operand = try evaluate(base)
      switch operand {
      case .path(let path) where scope.values[path] == nil:
        return try function(path + "." + name, arguments, at: place)
      default:
        let receiver = try resolve(operand)
        if receiver.isNull, isOptional { throw NothingThere() }
        return try method(name, of: receiver, arguments, at: place)
      }
    }
    guard case .name(let name) = callee.kind else { throw ExpressionProblem("calls something that is no function") }
    return try function(name, arguments, at: place)
  }

  private mutating func function(_ name: String, _ nodes: [ExpressionNode], at place: Int) throws -> ExprValue {
    if ExpressionParser.closureFunctions.contains(name) { return try overElements(name, nodes, at: place) }
    let arguments = ExpressionArguments(name: name, values: try values(of: nodes))
    offset = place
    try spend(arguments.values.reduce(0) { $0 + ($1.stringValue?.utf8.count ?? 0) / 64 })
    if name.hasPrefix("sprig.") { return try sprig(String(name.dropFirst("sprig.".count)), arguments) }
    return try builtin(name, arguments)
  }

  private mutating func values(of nodes: [ExpressionNode]) throws -> [ExprValue] {
    var values: [ExprValue] = []
    for node in nodes { values.append(try value(node)) }
    return values
  }

  private mutating func method(_ name: String, of receiver: ExprValue, _ nodes: [ExpressionNode], at place: Int) throws
    -> ExprValue
  {
    let arguments = ExpressionArguments(name: name, values: try values(of: nodes))
    offset = place
    switch receiver {
    case .time(let time): return try time.method(arguments)
    case .duration(let nanoseconds): return try GoDurationText.method(of: nanoseconds, arguments)
    // What sprig's `semver` gives: its numbers are methods in Go.
    case .map(let members) where arguments.count == 0 && members[name] != nil: return members[name]!
    default: throw ExpressionProblem("\(receiver.goType) has no method \(name.prefix(100))")
    }
  }
}

/// What a function is called with.
struct ExpressionArguments {
  let name: String
  let values: [ExprValue]

  var count: Int { values.count }

  func failure(_ what: String) -> ExpressionProblem { ExpressionProblem("\(name.prefix(100)): \(what)") }

  func expect(_ range: ClosedRange<Int>) throws {
    guard range.contains(values.count) else {
      let expected = range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
      throw failure("invalid number of arguments (expected \(expected), got \(values.count))")
    }
  }

  func value(_ index: Int) throws -> ExprValue {
    guard values.indices.contains(index) else { throw failure("needs \(index + 1) arguments") }
    return values[index]
  }

  func string(_ index: Int) throws -> String {
    guard case .string(let text) = try value(index) else { throw wrong(index, "a text") }
    return text
  }

  func integer(_ index: Int) throws -> Int {
    guard let number = try value(index).integerValue else { throw wrong(index, "a number") }
    return Int(number)
  }

  /// A list, also one that a variable hands on as JSON text.
  func list(_ index: Int) throws -> [ExprValue] {
    switch try value(index) {
    case .list(let elements): return elements
    case .string(let text):
      guard case .array(let elements)? = try? JSONText.parse(text) else { throw wrong(index, "a list") }
      return elements.map { ExprValue($0) }
    default: throw wrong(index, "a list")
    }
  }

  func map(_ index: Int) throws -> [String: ExprValue] {
    guard case .map(let members) = try value(index) else { throw wrong(index, "a map") }
    return members
  }

  private func wrong(_ index: Int, _ what: String) -> ExpressionProblem {
    failure("argument \(index + 1) is \(values[index].goType), not \(what)")
  }
}
