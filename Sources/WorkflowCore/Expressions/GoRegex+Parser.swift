import FederationModel

extension GoRegex {
  /// One character of a text that a pattern asks for.
  struct CharacterSet: Sendable {
    var ranges: [ClosedRange<UInt32>] = []
    /// Sets of Unicode categories (`\pL`), each with whether it is negated.
    var categories: [(Set<Unicode.GeneralCategory>, isNegated: Bool)] = []
    var isNegated = false
    var foldsCase = false

    func contains(_ scalar: Unicode.Scalar) -> Bool {
      if holds(scalar) != isNegated { return true }
      guard foldsCase, !isNegated else { return false }
      let properties = scalar.properties
      return [properties.lowercaseMapping, properties.uppercaseMapping].contains { mapping in
        guard let other = mapping.unicodeScalars.first, mapping.unicodeScalars.count == 1 else { return false }
        return holds(other)
      }
    }

    private func holds(_ scalar: Unicode.Scalar) -> Bool {
      for range in ranges where range.contains(scalar.value) { return true }
      return categories.contains { $0.0.contains(scalar.properties.generalCategory) != $0.isNegated }
    }
  }

  indirect enum Node: Sendable {
    case empty
    case set(CharacterSet)
    case assertion(Assertion)
    case sequence([Node])
    case choice([Node])
    case group(Node, Int)
    case loop(Node, least: Int, most: Int?, isLazy: Bool)
  }

  enum Assertion: Sendable {
    case textStart, textEnd, lineStart, lineEnd, wordBoundary, noWordBoundary
  }

  /// Reads RE2's syntax.
  struct Parser {
    let scalars: [Unicode.Scalar]
    let pattern: String
    var index = 0
    var groups = 0
    var names: [String: Int] = [:]
    private var flags = Flags()

    private struct Flags {
      var foldsCase = false
      var isMultiline = false
      var dotTakesAll = false
      var isUngreedy = false
    }

    init(_ pattern: String) {
      scalars = Array(pattern.unicodeScalars)
      self.pattern = pattern
    }

    private var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }
    private func ahead(_ offset: Int) -> Unicode.Scalar? {
      index + offset < scalars.count ? scalars[index + offset] : nil
    }
    func failure(_ what: String) -> FederationError { GoRegex.failure(what, pattern) }

    mutating func parse() throws -> Node {
      let node = try choice(depth: 0)
      guard index == scalars.count else { throw failure("has a ')' too many") }
      return node
    }

    private mutating func choice(depth: Int) throws -> Node {
      guard depth < 50 else { throw failure("is nested too deeply") }
      let outer = flags
      defer { flags = outer }
      var branches = [try sequence(depth: depth)]
      while current == "|" {
        index += 1
        branches.append(try sequence(depth: depth))
      }
      return branches.count == 1 ? branches[0] : .choice(branches)
    }

    private mutating func sequence(depth: Int) throws -> Node {
      var nodes: [Node] = []
      while let scalar = current, scalar != "|", scalar != ")" {
        var node = try atom(depth: depth)
        if let bounds = try repetition() {
          var isLazy = flags.isUngreedy
          if current == "?" {
            index += 1
            isLazy.toggle()
          }
          node = .loop(node, least: bounds.least, most: bounds.most, isLazy: isLazy)
          if try repetition() != nil { throw failure("repeats a repetition") }
        }
        nodes.append(node)
      }
      return nodes.count == 1 ? nodes[0] : .sequence(nodes)
    }

    private mutating func repetition() throws -> (least: Int, most: Int?)? {
      switch current {
      case "*": index += 1; return (0, nil)
      case "+": index += 1; return (1, nil)
      case "?": index += 1; return (0, 1)
      case "{": return try counted()
      default: return nil
      }
    }

    /// `{2}`, `{2,}`, `{2,5}`; anything else is a brace.
    private mutating func counted() throws -> (least: Int, most: Int?)? {
      var position = index + 1
      func number() -> Int? {
        var digits = ""
        while position < scalars.count, ("0"..."9").contains(scalars[position]), digits.utf8.count < 6 {
          digits.unicodeScalars.append(scalars[position])
          position += 1
        }
        return Int(digits)
      }
      guard let least = number() else { return nil }
      var most: Int? = least
      if position < scalars.count, scalars[position] == "," {
        position += 1
        most = number()
      }
      guard position < scalars.count, scalars[position] == "}" else { return nil }
      guard least <= 1000, most ?? 0 <= 1000, most ?? least >= least else {
        throw failure("has an invalid repeat count")
      }
      index = position + 1
      return (least, most)
    }

    private mutating func atom(depth: Int) throws -> Node {
      let scalar = scalars[index]
      index += 1
      switch scalar {
      case "^": return .assertion(flags.isMultiline ? .lineStart : .textStart)
      case "$": return .assertion(flags.isMultiline ? .lineEnd : .textEnd)
      case ".":
        return .set(CharacterSet(ranges: flags.dotTakesAll ? [] : [10...10], isNegated: true))
      case "*", "+", "?": throw failure("repeats nothing")
      case "[": return .set(try set())
      case "(": return try group(depth: depth)
      case "\\": return try escaped()
      default: return literal(scalar)
      }
    }

    private func literal(_ scalar: Unicode.Scalar) -> Node {
      .set(CharacterSet(ranges: [scalar.value...scalar.value], foldsCase: flags.foldsCase))
    }

    private mutating func group(depth: Int) throws -> Node {
      guard current == "?" else {
        groups += 1
        let number = groups
        return .group(try closed(depth: depth), number)
      }
      index += 1
      if current == "P" || (current == "<" && ahead(1) != "=" && ahead(1) != "!") {
        if current == "P" { index += 1 }
        guard current == "<" else { throw failure("has an unknown kind of group") }
        index += 1
        var name = ""
        while let scalar = current, scalar != ">" {
          name.unicodeScalars.append(scalar)
          index += 1
        }
        index += 1
        groups += 1
        guard !name.isEmpty, names.updateValue(groups, forKey: name) == nil else {
          throw failure("has a group without a name of its own")
        }
        let number = groups
        return .group(try closed(depth: depth), number)
      }
      return try flagged(depth: depth)
    }

    /// `(?i)` for the rest of the group, `(?i:...)` for its own, `(?:...)`.
    private mutating func flagged(depth: Int) throws -> Node {
      var isOn = true
      var changed = flags
      while let scalar = current {
        index += 1
        switch scalar {
        case "i": changed.foldsCase = isOn
        case "m": changed.isMultiline = isOn
        case "s": changed.dotTakesAll = isOn
        case "U": changed.isUngreedy = isOn
        case "-": isOn = false
        case ")":
          flags = changed
          return .empty
        case ":":
          let outer = flags
          flags = changed
          defer { flags = outer }
          return try closed(depth: depth)
        default: throw failure("has an unknown kind of group")
        }
      }
      throw failure("lacks a ')'")
    }

    private mutating func closed(depth: Int) throws -> Node {
      let node = try choice(depth: depth + 1)
      guard current == ")" else { throw failure("lacks a ')'") }
      index += 1
      return node
    }

    private mutating func escaped() throws -> Node {
      switch current {
      case "b": index += 1; return .assertion(.wordBoundary)
      case "B": index += 1; return .assertion(.noWordBoundary)
      case "A": index += 1; return .assertion(.textStart)
      case "z": index += 1; return .assertion(.textEnd)
      case "Q":
        index += 1
        var nodes: [Node] = []
        while let scalar = current {
          if scalar == "\\", ahead(1) == "E" {
            index += 2
            break
          }
          nodes.append(literal(scalar))
          index += 1
        }
        return .sequence(nodes)
      default:
        var set = try escape()
        set.foldsCase = flags.foldsCase
        return .set(set)
      }
    }

    /// What follows a backslash, as a set of characters.
    private mutating func escape() throws -> CharacterSet {
      guard let scalar = current else { throw failure("ends in a backslash") }
      index += 1
      func one(_ value: UInt32) -> CharacterSet { CharacterSet(ranges: [value...value]) }
      switch scalar {
      case "d", "D": return CharacterSet(ranges: [48...57], isNegated: scalar == "D")
      case "w", "W": return CharacterSet(ranges: [48...57, 65...90, 95...95, 97...122], isNegated: scalar == "W")
      case "s", "S": return CharacterSet(ranges: [9...10, 12...13, 32...32], isNegated: scalar == "S")
      case "a": return one(7)
      case "f": return one(12)
      case "n": return one(10)
      case "r": return one(13)
      case "t": return one(9)
      case "v": return one(11)
      case "p", "P": return CharacterSet(categories: [(try category(), scalar == "P")])
      case "x": return one(try hexadecimal())
      default:
        guard !scalar.properties.isAlphabetic, scalar.properties.numericType == nil || scalar == "0" else {
          throw failure("has an invalid escape sequence '\\\(scalar)'")
        }
        return one(scalar == "0" ? 0 : scalar.value)
      }
    }

    private mutating func hexadecimal() throws -> UInt32 {
      var digits = ""
      if current == "{" {
        index += 1
        while let scalar = current, scalar != "}" {
          digits.unicodeScalars.append(scalar)
          index += 1
        }
        index += 1
      } else {
        for _ in 0..<2 {
          if let scalar = current { digits.unicodeScalars.append(scalar) }
          index += 1
        }
      }
      guard let value = UInt32(digits, radix: 16), value <= 0x10_ffff, index <= scalars.count else {
        throw failure("has an invalid escape sequence")
      }
      return value
    }

    private mutating func category() throws -> Set<Unicode.GeneralCategory> {
      var name = ""
      if current == "{" {
        index += 1
        while let scalar = current, scalar != "}" {
          name.unicodeScalars.append(scalar)
          index += 1
        }
      } else if let scalar = current {
        name.unicodeScalars.append(scalar)
      }
      index += 1
      guard index <= scalars.count, let set = Self.categories[name] else {
        throw failure("names the unknown class of characters '\(name.prefix(20))'")
      }
      return set
    }

    private static let categories: [String: Set<Unicode.GeneralCategory>] = [
      "L": [.uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter],
      "Lu": [.uppercaseLetter], "Ll": [.lowercaseLetter], "Lt": [.titlecaseLetter], "Lm": [.modifierLetter],
      "Lo": [.otherLetter], "M": [.nonspacingMark, .spacingMark, .enclosingMark], "Mn": [.nonspacingMark],
      "N": [.decimalNumber, .letterNumber, .otherNumber], "Nd": [.decimalNumber], "Nl": [.letterNumber],
      "P": [
        .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
        .finalPunctuation, .otherPunctuation,
      ],
      "Pd": [.dashPunctuation], "S": [.mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol],
      "Sc": [.currencySymbol], "Sm": [.mathSymbol], "Z": [.spaceSeparator, .lineSeparator, .paragraphSeparator],
      "Zs": [.spaceSeparator], "C": [.control, .format, .surrogate, .privateUse, .unassigned], "Cc": [.control],
    ]

    private static let posix: [String: [ClosedRange<UInt32>]] = [
      "alnum": [48...57, 65...90, 97...122], "alpha": [65...90, 97...122], "ascii": [0...127],
      "blank": [9...9, 32...32], "cntrl": [0...31, 127...127], "digit": [48...57], "graph": [33...126],
      "lower": [97...122], "print": [32...126], "punct": [33...47, 58...64, 91...96, 123...126],
      "space": [9...13, 32...32], "upper": [65...90], "word": [48...57, 65...90, 95...95, 97...122],
      "xdigit": [48...57, 65...70, 97...102],
    ]

    private mutating func set() throws -> CharacterSet {
      var result = CharacterSet(foldsCase: flags.foldsCase)
      if current == "^" {
        result.isNegated = true
        index += 1
      }
      var isFirst = true
      while let scalar = current, scalar != "]" || isFirst {
        isFirst = false
        if scalar == "[", ahead(1) == ":" {
          try addPosix(to: &result)
          continue
        }
        index += 1
        var low = scalar.value
        if scalar == "\\" {
          let escaped = try escape()
          guard escaped.categories.isEmpty, !escaped.isNegated, escaped.ranges.count == 1,
            escaped.ranges[0].count == 1
          else {
            add(escaped, to: &result)
            continue
          }
          low = escaped.ranges[0].lowerBound
        }
        guard current == "-", let end = ahead(1), end != "]" else {
          result.ranges.append(low...low)
          continue
        }
        index += 2
        var high = end.value
        if end == "\\" {
          let escaped = try escape()
          guard escaped.ranges.count == 1, !escaped.isNegated else { throw failure("has a malformed range") }
          high = escaped.ranges[0].lowerBound
        }
        guard low <= high else { throw failure("has a range that runs backwards") }
        result.ranges.append(low...high)
      }
      guard current == "]" else { throw failure("lacks a ']'") }
      index += 1
      return result
    }

    private mutating func addPosix(to set: inout CharacterSet) throws {
      index += 2
      let isNegated = current == "^"
      if isNegated { index += 1 }
      var name = ""
      while let scalar = current, scalar != ":" {
        name.unicodeScalars.append(scalar)
        index += 1
      }
      guard let ranges = Self.posix[name], ahead(1) == "]" else {
        throw failure("names the unknown class of characters '[:\(name.prefix(20)):]'")
      }
      index += 2
      add(CharacterSet(ranges: ranges, isNegated: isNegated), to: &set)
    }

    private func add(_ part: CharacterSet, to set: inout CharacterSet) {
      set.categories += part.categories
      guard part.isNegated else {
        set.ranges += part.ranges
        return
      }
      var start: UInt32 = 0
      for range in part.ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
        if range.lowerBound > start { set.ranges.append(start...(range.lowerBound - 1)) }
        start = range.upperBound + 1
      }
      set.ranges.append(start...0x10_ffff)
    }
  }
}
