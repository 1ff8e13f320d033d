import FederationModel

/// A regular expression with RE2's syntax and meaning, whose search takes time linear in pattern times text: a Pike machine, no
/// backtracking.
///
/// - Source: Go `regexp/syntax`; leftmost match, of those the first that a backtracking search would find. Characters are Unicode
///   scalars. Not there: scripts by name (`\p{Greek}`), `\C`.
struct GoRegex: Sendable {
  static let patternLimit = 4096
  static let programLimit = 10_000
  static let textLimit = 1 << 20
  /// States that the searches of one expression may visit.
  static let visitLimit = 4_000_000

  private enum Instruction: Sendable {
    case set(CharacterSet)
    case assertion(Assertion)
    case jump(Int)
    /// The first is tried before the second.
    case fork(Int, Int)
    case save(Int)
    case match
  }

  private var program: [Instruction] = []
  let groupCount: Int
  let groupNames: [String: Int]
  var size: Int { program.count }

  /// Half-open ranges of scalars, of the whole and of each group; nil for a group that took no part.
  typealias Match = [Range<Int>?]

  /// - Throws: `FederationError` (`invalidArgument`) when the pattern is malformed or too long.
  init(_ pattern: String) throws {
    guard pattern.utf8.count <= Self.patternLimit else {
      throw Self.failure("is longer than \(Self.patternLimit) bytes", pattern)
    }
    var parser = Parser(pattern)
    let node = try parser.parse()
    groupCount = parser.groups
    groupNames = parser.names
    try compile(.group(node, 0), pattern)
    program.append(.match)
  }

  static func failure(_ what: String, _ pattern: String) -> FederationError {
    FederationError(.invalidArgument, "the regular expression '\(pattern.prefix(200))' \(what)")
  }

  // MARK: Compilation

  private mutating func compile(_ node: Node, _ pattern: String) throws {
    guard program.count < Self.programLimit else { throw Self.failure("is too large", pattern) }
    switch node {
    case .empty: break
    case .set(let set): program.append(.set(set))
    case .assertion(let assertion): program.append(.assertion(assertion))
    case .sequence(let nodes): for node in nodes { try compile(node, pattern) }
    case .group(let node, let number):
      program.append(.save(number * 2))
      try compile(node, pattern)
      program.append(.save(number * 2 + 1))
    case .choice(let nodes):
      var ends: [Int] = []
      for node in nodes.dropLast() {
        let fork = program.count
        program.append(.match)
        try compile(node, pattern)
        ends.append(program.count)
        program.append(.match)
        program[fork] = .fork(fork + 1, program.count)
      }
      try compile(nodes[nodes.count - 1], pattern)
      for end in ends { program[end] = .jump(program.count) }
    case .loop(let body, let least, let most, let isLazy): try compileLoop(body, least, most, isLazy, pattern)
    }
  }

  private mutating func compileLoop(_ body: Node, _ least: Int, _ most: Int?, _ isLazy: Bool, _ pattern: String) throws
  {
    func fork(_ inside: Int, _ outside: Int) -> Instruction {
      isLazy ? .fork(outside, inside) : .fork(inside, outside)
    }
    for _ in 0..<least { try compile(body, pattern) }
    guard let most else {
      let start = program.count
      program.append(.match)
      try compile(body, pattern)
      program.append(.jump(start))
      program[start] = fork(start + 1, program.count)
      return
    }
    var forks: [Int] = []
    for _ in least..<most {
      forks.append(program.count)
      program.append(.match)
      try compile(body, pattern)
    }
    for position in forks { program[position] = fork(position + 1, program.count) }
  }

  // MARK: Search

  /// Whether it matches anywhere in `text`.
  func matches(_ text: String) throws -> Bool {
    var budget = Self.visitLimit
    return try matches(text, budget: &budget)
  }

  /// - Parameter budget: how many states may be visited; what is left of it comes back.
  func matches(_ text: String, budget: inout Int) throws -> Bool {
    var search = Search(regex: self, text: try Self.scalars(of: text), capturesGroups: false, budget: budget)
    defer { budget = search.budget }
    return try search.run(from: 0) != nil
  }

  /// The matches in `text` that do not overlap, from the left; at most `limit`.
  func matches(in text: [Unicode.Scalar], limit: Int = .max, budget: inout Int) throws -> [Match] {
    var found: [Match] = []
    var search = Search(regex: self, text: text, capturesGroups: true, budget: budget)
    defer { budget = search.budget }
    var (position, lastEnd) = (0, -1)
    while position <= text.count, found.count < limit, let match = try search.run(from: position), let whole = match[0]
    {
      // No empty match right after another match.
      if !(whole.isEmpty && whole.lowerBound == lastEnd) { found.append(match) }
      lastEnd = whole.upperBound
      position = whole.isEmpty ? whole.upperBound + 1 : whole.upperBound
    }
    return found
  }

  static func scalars(of text: String) throws -> [Unicode.Scalar] {
    guard text.utf8.count <= textLimit else {
      throw FederationError(.invalidArgument, "a text longer than \(textLimit >> 20) MiB cannot be matched")
    }
    return Array(text.unicodeScalars)
  }

  /// Threads in the order of preference, each with the places that it has saved.
  private struct Search {
    let regex: GoRegex
    let text: [Unicode.Scalar]
    let capturesGroups: Bool
    /// States that it may still visit.
    private(set) var budget: Int
    private var marks: [Int]
    private var generation = 0

    private struct Thread {
      var state: Int
      var saved: [Int]
    }

    init(regex: GoRegex, text: [Unicode.Scalar], capturesGroups: Bool, budget: Int) {
      self.budget = budget
      self.regex = regex
      self.text = text
      self.capturesGroups = capturesGroups
      marks = [Int](repeating: 0, count: regex.program.count)
    }

    mutating func run(from start: Int) throws -> Match? {
      let unset = capturesGroups ? [Int](repeating: -1, count: (regex.groupCount + 1) * 2) : []
      var current: [Thread] = []
      var best: [Int]?
      var position = start
      generation += 1
      while true {
        if best == nil { try add(Thread(state: 0, saved: unset), to: &current, position) }
        if current.isEmpty, best != nil { break }
        var next: [Thread] = []
        generation += 1
        threads: for thread in current {
          switch regex.program[thread.state] {
          case .match:
            best = thread.saved
            if !capturesGroups { return [] }
            // Those after it are worth less.
            break threads
          case .set(let set) where position < text.count && set.contains(text[position]):
            try add(Thread(state: thread.state + 1, saved: thread.saved), to: &next, position + 1)
          default: break
          }
        }
        guard position < text.count else { break }
        current = next
        position += 1
      }
      return best.map { saved in
        stride(from: 0, to: saved.count, by: 2).map {
          saved[$0] >= 0 && saved[$0 + 1] >= 0 ? saved[$0]..<saved[$0 + 1] : nil
        }
      }
    }

    private mutating func add(_ thread: Thread, to list: inout [Thread], _ position: Int) throws {
      var open = [thread]
      while var thread = open.popLast() {
        budget -= 1
        guard budget >= 0 else {
          throw FederationError(.invalidArgument, "a regular expression takes too many steps")
        }
        guard marks[thread.state] != generation else { continue }
        marks[thread.state] = generation
        switch regex.program[thread.state] {
        case .jump(let target):
          thread.state = target
          open.append(thread)
        case .fork(let first, let second):
          open.append(Thread(state: second, saved: thread.saved))
          thread.state = first
          open.append(thread)
        case .save(let slot):
          if capturesGroups { thread.saved[slot] = position }
          thread.state += 1
          open.append(thread)
        case .assertion(let assertion):
          guard holds(assertion, at: position) else { continue }
          thread.state += 1
          open.append(thread)
        case .set, .match: list.append(thread)
        }
      }
    }

    private func holds(_ assertion: Assertion, at position: Int) -> Bool {
      func isWord(_ index: Int) -> Bool {
        guard text.indices.contains(index) else { return false }
        let value = text[index].value
        return (48...57).contains(value) || (65...90).contains(value) || (97...122).contains(value) || value == 95
      }
      switch assertion {
      case .textStart: return position == 0
      case .textEnd: return position == text.count
      case .lineStart: return position == 0 || text[position - 1] == "\n"
      case .lineEnd: return position == text.count || text[position] == "\n"
      case .wordBoundary: return isWord(position - 1) != isWord(position)
      case .noWordBoundary: return isWord(position - 1) == isWord(position)
      }
    }
  }

  // MARK: Replacement

  /// Replaces every match by `template`, in which `$1`, `${1}` and `${name}` stand for groups and `$$` for a dollar.
  ///
  /// - Parameter limit: of the result, in bytes.
  func replacingAll(in text: String, with template: String, isLiteral: Bool, limit: Int, budget: inout Int)
    throws -> String
  {
    let scalars = try Self.scalars(of: text)
    var output = String.UnicodeScalarView()
    var end = 0
    let parts = isLiteral ? [.text(Array(template.unicodeScalars))] : self.parts(of: template)
    for match in try matches(in: scalars, budget: &budget) {
      guard let whole = match[0] else { continue }
      output.append(contentsOf: scalars[end..<whole.lowerBound])
      for part in parts {
        switch part {
        case .text(let text): output.append(contentsOf: text)
        case .group(let number):
          if match.indices.contains(number), let range = match[number] { output.append(contentsOf: scalars[range]) }
        }
      }
      end = whole.upperBound
      guard output.count <= limit else {
        throw FederationError(.invalidArgument, "a text grows beyond \(limit >> 20) MiB when it is replaced")
      }
    }
    output.append(contentsOf: scalars[end...])
    return String(output)
  }

  private enum TemplatePart {
    case text([Unicode.Scalar])
    case group(Int)
  }

  /// - Source: Go `Regexp.Expand`: `$1x` is the group named `1x`, which is empty.
  private func parts(of template: String) -> [TemplatePart] {
    var parts: [TemplatePart] = []
    var rest = Array(template.unicodeScalars)[...]
    var plain: [Unicode.Scalar] = []
    while let scalar = rest.popFirst() {
      guard scalar == "$" else {
        plain.append(scalar)
        continue
      }
      if rest.first == "$" {
        plain.append("$")
        rest.removeFirst()
        continue
      }
      let isBraced = rest.first == "{"
      let body = isBraced ? rest.dropFirst() : rest
      let name = body.prefix { $0 == "_" || $0.properties.isAlphabetic || $0.properties.numericType != nil }
      guard !name.isEmpty, !isBraced || body.dropFirst(name.count).first == "}" else {
        plain.append(scalar)
        continue
      }
      rest = body.dropFirst(name.count + (isBraced ? 1 : 0))
      parts.append(.text(plain))
      plain = []
      var text = ""
      text.unicodeScalars.append(contentsOf: name)
      parts.append(.group(Int(text) ?? groupNames[text] ?? -1))
    }
    return parts + [.text(plain)]
  }
}
