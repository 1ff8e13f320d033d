import FederationModel

/// A regular expression whose search takes time linear in pattern times text: a Pike machine, no backtracking.
///
/// Knows `. [] [^] \d \w \s \D \W \S ^ $ | ( ) (?: ) * + ?`, which is what conditions are written with.
struct LinearRegex: Sendable {
  static let patternLimit = 1024
  static let textLimit = 1 << 20

  private indirect enum Node {
    case empty
    case one([ClosedRange<UInt32>], isNegated: Bool)
    case start, end
    case sequence([Node])
    case choice([Node])
    case loop(Node, isOptional: Bool, isRepeated: Bool)
  }
  private enum Instruction {
    case one([ClosedRange<UInt32>], isNegated: Bool)
    case start, end, match
    case jump(Int)
    case fork(Int, Int)
  }
  private var program: [Instruction] = []

  /// - Throws: `FederationError` (`invalidArgument`) when the pattern is malformed or too long.
  init(_ pattern: String) throws {
    guard pattern.utf8.count <= Self.patternLimit else {
      throw Self.failure("is longer than \(Self.patternLimit) bytes", pattern)
    }
    var parser = Parser(scalars: Array(pattern.unicodeScalars), pattern: pattern)
    let node = try parser.choice(depth: 0)
    guard parser.index == parser.scalars.count else { throw Self.failure("has a ')' too many", pattern) }
    compile(node)
    program.append(.match)
  }

  private static func failure(_ what: String, _ pattern: String) -> FederationError {
    FederationError(.invalidArgument, "the regular expression '\(pattern.prefix(200))' \(what)")
  }

  /// Whether it matches anywhere in `text`.
  func matches(_ text: String) throws -> Bool {
    guard text.utf8.count <= Self.textLimit else {
      throw FederationError(.invalidArgument, "a text longer than \(Self.textLimit >> 20) MiB cannot be matched")
    }
    var current: [Int] = []
    var marks = [Int](repeating: -1, count: program.count)
    var position = 0
    let scalars = Array(text.unicodeScalars)
    while position <= scalars.count {
      add(0, to: &current, &marks, position, scalars.count)
      if current.contains(where: { if case .match = program[$0] { true } else { false } }) { return true }
      guard position < scalars.count else { return false }
      var next: [Int] = []
      for state in current {
        guard case .one(let ranges, let isNegated) = program[state] else { continue }
        let isIn = ranges.contains { $0.contains(scalars[position].value) }
        if isIn != isNegated { add(state + 1, to: &next, &marks, position + 1, scalars.count) }
      }
      current = next
      position += 1
    }
    return false
  }

  private func add(_ state: Int, to list: inout [Int], _ marks: inout [Int], _ position: Int, _ end: Int) {
    var open = [state]
    while let state = open.popLast() {
      guard marks[state] != position else { continue }
      marks[state] = position
      switch program[state] {
      case .jump(let target): open.append(target)
      case .fork(let first, let second): open += [second, first]
      case .start: if position == 0 { open.append(state + 1) }
      case .end: if position == end { open.append(state + 1) }
      case .one, .match: list.append(state)
      }
    }
  }

  private mutating func compile(_ node: Node) {
    switch node {
    case .empty: break
    case .one(let ranges, let isNegated): program.append(.one(ranges, isNegated: isNegated))
    case .start: program.append(.start)
    case .end: program.append(.end)
    case .sequence(let nodes): for node in nodes { compile(node) }
    case .choice(let nodes):
      var ends: [Int] = []
      for (index, node) in nodes.enumerated() {
        guard index < nodes.count - 1 else {
          compile(node)
          break
        }
        let fork = program.count
        program.append(.match)
        compile(node)
        ends.append(program.count)
        program.append(.match)
        program[fork] = .fork(fork + 1, program.count)
      }
      for end in ends { program[end] = .jump(program.count) }
    case .loop(let body, let isOptional, let isRepeated):
      let start = program.count
      if isOptional { program.append(.match) }
      compile(body)
      if isRepeated { program.append(isOptional ? .jump(start) : .fork(start, program.count + 1)) }
      if isOptional { program[start] = .fork(start + 1, program.count) }
    }
  }

  private struct Parser {
    let scalars: [Unicode.Scalar]
    let pattern: String
    var index = 0
    var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }

    mutating func choice(depth: Int) throws -> Node {
      guard depth < 50 else { throw failure("is nested too deeply", pattern) }
      var branches = [try sequence(depth: depth)]
      while current == "|" {
        index += 1
        branches.append(try sequence(depth: depth))
      }
      return branches.count == 1 ? branches[0] : .choice(branches)
    }

    mutating func sequence(depth: Int) throws -> Node {
      var nodes: [Node] = []
      while let scalar = current, scalar != "|", scalar != ")" {
        var node = try atom(depth: depth)
        var repeats = 0
        while let sign = current, sign == "*" || sign == "+" || sign == "?" {
          index += 1
          repeats += 1
          guard repeats <= 2 else { throw failure("repeats a repetition", pattern) }
          if repeats == 1 { node = .loop(node, isOptional: sign != "+", isRepeated: sign != "?") }
        }
        nodes.append(node)
      }
      return .sequence(nodes)
    }

    mutating func atom(depth: Int) throws -> Node {
      let scalar = scalars[index]
      index += 1
      switch scalar {
      case "^": return .start
      case "$": return .end
      case ".": return .one([10...10], isNegated: true)
      case "*", "+", "?": throw failure("repeats nothing", pattern)
      case "[": return try set()
      case "\\":
        let (ranges, isNegated) = try escape()
        return .one(ranges, isNegated: isNegated)
      case "(":
        if current == "?", index + 1 < scalars.count, scalars[index + 1] == ":" { index += 2 }
        let node = try choice(depth: depth + 1)
        guard current == ")" else { throw failure("lacks a ')'", pattern) }
        index += 1
        return node
      case "{", "}": throw failure("uses {}, which is not supported; write \\{ for the character", pattern)
      default: return .one([scalar.value...scalar.value], isNegated: false)
      }
    }

    mutating func escape() throws -> ([ClosedRange<UInt32>], Bool) {
      guard let scalar = current else { throw failure("ends in a backslash", pattern) }
      index += 1
      switch scalar {
      case "d", "D": return ([48...57], scalar == "D")
      case "w", "W": return ([48...57, 65...90, 95...95, 97...122], scalar == "W")
      case "s", "S": return ([9...13, 32...32], scalar == "S")
      case "n": return ([10...10], false)
      case "t": return ([9...9], false)
      case "r": return ([13...13], false)
      default: return ([scalar.value...scalar.value], false)
      }
    }

    mutating func set() throws -> Node {
      var isNegated = false
      if current == "^" {
        isNegated = true
        index += 1
      }
      var ranges: [ClosedRange<UInt32>] = []
      var isFirst = true
      while let scalar = current, scalar != "]" || isFirst {
        isFirst = false
        index += 1
        if scalar == "\\" {
          let (escaped, negated) = try escape()
          guard !negated else { throw failure("negates a class inside []", pattern) }
          ranges += escaped
        } else if current == "-", index + 1 < scalars.count, scalars[index + 1] != "]" {
          let last = scalars[index + 1]
          index += 2
          guard scalar <= last else { throw failure("has a range that runs backwards", pattern) }
          ranges.append(scalar.value...last.value)
        } else {
          ranges.append(scalar.value...scalar.value)
        }
      }
      guard current == "]" else { throw failure("lacks a ']'", pattern) }
      index += 1
      return .one(ranges, isNegated: isNegated)
    }
  }
}
