import FederationModel

/// A JSONPath, as Argo's function `jsonpath` takes it: `$.a.b[0]`, `$..name`, `$.list[?(@.price > 10)].title`.
///
/// A path of names and positions selects one place, which must be there. One with `*`, `..`, a slice, a union or a filter selects a list.
/// Filters and scripts are expr-lang with `@` for the element and `$` for the document.
/// - Source: evilmonkeyinc/jsonpath v0.8.1, which Argo v3.7 uses.
struct JSONPath: Sendable {
  static let lengthLimit = 4096
  /// Places that one query may look at.
  static let visitLimit = 200_000

  private enum Selector: Sendable {
    case key(String)
    case index(Int)
    case wildcard
    case slice(Int?, Int?, Int)
    case union([Selector])
    case filter(ExpressionNode)
    case script(ExpressionNode)
  }
  private struct Step: Sendable {
    var selector: Selector
    var isRecursive = false
  }

  private let source: String
  private var steps: [Step] = []
  private var visits = 0

  /// - Throws: `ExpressionProblem` when the text is no path.
  init(_ text: String) throws {
    source = text
    guard text.utf8.count <= Self.lengthLimit else { throw problem("is longer than \(Self.lengthLimit) bytes") }
    var rest = Array(text.unicodeScalars)[...]
    while rest.last == " " { rest.removeLast() }
    while rest.first == " " { rest.removeFirst() }
    if rest.first == "$" { rest.removeFirst() }
    while let first = rest.first {
      var isRecursive = false
      if first == "." {
        rest.removeFirst()
        if rest.first == "." {
          isRecursive = true
          rest.removeFirst()
        }
        if rest.first != "[" {
          steps.append(Step(selector: try name(&rest), isRecursive: isRecursive))
          continue
        }
      } else if first != "[" {
        guard steps.isEmpty else { throw problem("has something unexpected after a ']'") }
        steps.append(Step(selector: try name(&rest)))
        continue
      }
      steps.append(Step(selector: try subscripted(&rest), isRecursive: isRecursive))
    }
  }

  private func problem(_ what: String) -> ExpressionProblem {
    ExpressionProblem("the jsonpath '\(source.prefix(200))' \(what)")
  }

  // MARK: Parsing

  private func name(_ rest: inout ArraySlice<Unicode.Scalar>) throws -> Selector {
    let name = rest.prefix { $0 != "." && $0 != "[" }
    rest = rest.dropFirst(name.count)
    guard !name.isEmpty else { throw problem("has an empty name") }
    return name.elementsEqual(["*"]) ? .wildcard : .key(String(String.UnicodeScalarView(name)))
  }

  /// What stands between brackets; brackets and quotes within are passed over.
  private func subscripted(_ rest: inout ArraySlice<Unicode.Scalar>) throws -> Selector {
    rest.removeFirst()
    var body: [Unicode.Scalar] = []
    var depth = 0
    var quote: Unicode.Scalar?
    while let scalar = rest.popFirst() {
      if let open = quote {
        if scalar == "\\", let next = rest.popFirst() {
          body += [scalar, next]
          continue
        }
        if scalar == open { quote = nil }
      } else if scalar == "'" || scalar == "\"" {
        quote = scalar
      } else if scalar == "[" || scalar == "(" {
        depth += 1
      } else if scalar == ")" {
        depth -= 1
      } else if scalar == "]" {
        if depth <= 0 { return try selector(String(String.UnicodeScalarView(body))) }
        depth -= 1
      }
      body.append(scalar)
    }
    throw problem("lacks a ]")
  }

  private func selector(_ body: String) throws -> Selector {
    let text = ExpressionText.trim(body)
    if text == "*" { return .wildcard }
    if text.hasPrefix("?(") || text.hasPrefix("? (") { return .filter(try condition(text.drop { $0 != "(" })) }
    if text.hasPrefix("(") { return .script(try condition(text[...])) }
    let parts = try pieces(text, separator: ",")
    if parts.count > 1 { return .union(try parts.map { try simple(ExpressionText.trim($0)) }) }
    let bounds = try pieces(text, separator: ":")
    guard bounds.count > 1 else { return try simple(text) }
    guard bounds.count <= 3 else { throw problem("has a slice with too many colons") }
    let numbers = try bounds.map { part -> Int? in
      let part = ExpressionText.trim(part)
      guard !part.isEmpty else { return nil }
      guard let number = Int(part) else { throw problem("has a slice of something that is no number") }
      return number
    }
    let step = numbers.count == 3 ? numbers[2] ?? 1 : 1
    guard step != 0 else { throw problem("has a slice with the step 0") }
    return .slice(numbers[0], numbers[1], step)
  }

  private func simple(_ text: String) throws -> Selector {
    if let index = Int(text) { return .index(index) }
    if text.hasPrefix("("), text.hasSuffix(")") { return .script(try condition(text[...])) }
    guard let quote = text.unicodeScalars.first, quote == "'" || quote == "\"", text.unicodeScalars.last == quote,
      text.unicodeScalars.count >= 2
    else { throw problem("has '\(text.prefix(40))' between brackets, which is neither a number nor a text in quotes") }
    var name = String.UnicodeScalarView()
    var isEscaped = false
    for scalar in text.unicodeScalars.dropFirst().dropLast() {
      if scalar == "\\", !isEscaped {
        isEscaped = true
      } else {
        name.append(scalar)
        isEscaped = false
      }
    }
    return .key(String(name))
  }

  /// Cut at separators outside quotes and parentheses.
  private func pieces(_ text: String, separator: Unicode.Scalar) throws -> [String] {
    var pieces: [String] = [""]
    var (depth, quote, isEscaped): (Int, Unicode.Scalar?, Bool) = (0, nil, false)
    for scalar in text.unicodeScalars {
      if isEscaped {
        isEscaped = false
      } else if let open = quote {
        if scalar == "\\" { isEscaped = true }
        if scalar == open { quote = nil }
      } else if scalar == "'" || scalar == "\"" {
        quote = scalar
      } else if scalar == "(" || scalar == ")" {
        depth += scalar == "(" ? 1 : -1
      } else if scalar == separator, depth == 0 {
        pieces.append("")
        continue
      }
      pieces[pieces.count - 1].unicodeScalars.append(scalar)
    }
    return pieces
  }

  /// `(@.a > 1)`: outside quotes `@` is the element.
  private func condition(_ text: Substring) throws -> ExpressionNode {
    guard text.hasSuffix(")") else { throw problem("lacks a )") }
    var output = ""
    var quote: Character?
    for character in text {
      if let open = quote {
        if character == open { quote = nil }
      } else if character == "'" || character == "\"" {
        quote = character
      }
      output.append(quote == nil && character == "@" ? "#" : character)
    }
    do { return try ExpressionParser.parse(output, inClosure: true) } catch let error as FederationError {
      throw ExpressionProblem(error.publicMessage)
    }
  }

  // MARK: Queries

  /// - Throws: `ExpressionProblem` when the path leads nowhere or looks at too many places.
  mutating func query(_ document: ExprValue) throws -> ExprValue {
    var values = [document]
    var isList = false
    for step in steps {
      if step.isRecursive {
        isList = true
        values = try values.flatMap { try descendants(of: $0) }
      }
      switch step.selector {
      case .wildcard, .slice, .union, .filter: isList = true
      case .key, .index, .script: break
      }
      var next: [ExprValue] = []
      for value in values {
        do { next += try select(step.selector, in: value, document) } catch let problem as ExpressionProblem {
          // In a list of places those that lack something are left out.
          if !isList { throw problem }
        }
      }
      values = next
      try visit(values.count)
    }
    return isList ? .list(values) : values.first ?? .null
  }

  /// Whether it finds a list of places, however many there are.
  var selectsList: Bool {
    steps.contains { step in
      switch step.selector {
      case .wildcard, .slice, .union, .filter: true
      case .key, .index, .script: step.isRecursive
      }
    }
  }

  private mutating func visit(_ count: Int) throws {
    visits += count
    guard visits <= Self.visitLimit else { throw problem("looks at more than \(Self.visitLimit) places") }
  }

  private mutating func descendants(of value: ExprValue) throws -> [ExprValue] {
    var found: [ExprValue] = []
    var open = [value]
    while let value = open.popLast() {
      try visit(1)
      found.append(value)
      open.append(contentsOf: Self.children(of: value).reversed())
    }
    return found
  }

  private static func children(of value: ExprValue) -> [ExprValue] {
    switch value {
    case .list(let elements): elements
    case .map(let members): members.keys.sorted(by: ExpressionText.isBefore).map { members[$0]! }
    default: []
    }
  }

  private mutating func select(_ selector: Selector, in value: ExprValue, _ document: ExprValue) throws -> [ExprValue] {
    switch selector {
    case .key(let name):
      if case .map(let members) = value, let member = members[name] { return [member] }
      if name == "length", let length = Self.length(of: value) { return [.integer(Int64(length))] }
      throw problem("leads nowhere: key '\(name.prefix(100))' not found")
    case .index(let index):
      guard case .list(let elements) = value else { throw problem("has a position in something that is no list") }
      let position = index < 0 ? index + elements.count : index
      guard elements.indices.contains(position) else { throw problem("leads nowhere: index \(index) out of range") }
      return [elements[position]]
    case .wildcard: return Self.children(of: value)
    case .slice(let start, let end, let step):
      guard case .list(let elements) = value else { throw problem("slices something that is no list") }
      return Self.slice(elements, start, end, step)
    case .union(let selectors):
      return try selectors.flatMap { try select($0, in: value, document) }
    case .filter(let node):
      return try Self.children(of: value).filter { Self.isTruth(try evaluate(node, $0, document)) }
    case .script(let node):
      let key = try evaluate(node, value, document)
      if let index = key.integerValue { return try select(.index(Int(index)), in: value, document) }
      return try select(.key(key.stringValue ?? ""), in: value, document)
    }
  }

  private static func slice(_ elements: [ExprValue], _ start: Int?, _ end: Int?, _ step: Int) -> [ExprValue] {
    func clamp(_ index: Int) -> Int { min(max(index < 0 ? index &+ elements.count : index, 0), elements.count) }
    let (from, to) = (start.map(clamp) ?? 0, end.map(clamp) ?? elements.count)
    guard from < to else { return [] }
    let part = Array(elements[from..<to])
    let ordered = step < 0 ? part.reversed() : part
    let stride = step == .min ? Int.max : abs(step)
    return ordered.enumerated().filter { $0.offset % stride == 0 }.map(\.element)
  }

  private mutating func evaluate(_ node: ExpressionNode, _ element: ExprValue, _ document: ExprValue) throws
    -> ExprValue
  {
    try visit(node.height)
    var scope = ExpressionScope { _ in nil }
    scope.values = ["$": document]
    var evaluator = ExpressionEvaluator(scope)
    evaluator.knowsLength = true
    evaluator.frames = [ExpressionEvaluator.Frame(element: element, index: 0, accumulator: .null)]
    do { return try evaluator.value(node) } catch is ExpressionEvaluator.NothingThere { return .null }
  }

  static func length(of value: ExprValue) -> Int? {
    switch value {
    case .list(let elements): elements.count
    case .map(let members): members.count
    case .string(let text): text.unicodeScalars.count
    default: nil
    }
  }

  private static func isTruth(_ value: ExprValue) -> Bool {
    switch value {
    case .null: false
    case .bool(let value): value
    case .string(let text): !text.isEmpty
    default: true
    }
  }
}
