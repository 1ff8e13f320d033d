public import FederationModel

/// `successCondition` and `failureCondition` of a `resource` template: requirements of a label selector whose keys are paths of the object.
/// All of the first must hold, and one of the second is enough.
///
/// - Source: Argo Workflows v3.7, workflow/executor/resource.go (`matchConditions`), Kubernetes' label selectors, and the part of
///   gjson's paths that are names joined by dots, numbers of list elements and `#` for a list's length.
public struct ResourceCondition: Hashable, Sendable {
  enum Comparison: Hashable, Sendable {
    case equals(String), differs(String), isOneOf(Set<String>), isNoneOf(Set<String>), exists, isMissing
    case greater(Int64), less(Int64)
  }
  struct Requirement: Hashable, Sendable {
    var path: [String]
    var comparison: Comparison
  }
  let requirements: [Requirement]

  /// - Throws: `FederationError` (`invalidArgument`) for what is no list of requirements.
  public init(_ text: String) throws(FederationError) {
    var scanner = Scanner(Array(text.unicodeScalars))
    requirements = try scanner.requirements()
  }

  /// Whether the object is as it must be. A value that is not there fulfils `!=`, `notin` and `!key` alone.
  public func holds(_ object: JSONValue) -> Bool { requirements.allSatisfy { $0.holds(object) } }

  /// The first requirement that the object fulfils, as Argo's messages show it: `{status.failed gt [3]}`; nil: it fulfils none.
  public func firstMet(by object: JSONValue) -> String? { requirements.first { $0.holds(object) }?.description }
}

extension ResourceCondition.Requirement: CustomStringConvertible {
  var description: String {
    let (name, values): (String, [String]) =
      switch comparison {
      case .equals(let value): ("=", [value])
      case .differs(let value): ("!=", [value])
      case .isOneOf(let values): ("in", values.sorted())
      case .isNoneOf(let values): ("notin", values.sorted())
      case .exists: ("exists", [])
      case .isMissing: ("!", [])
      case .greater(let bound): ("gt", ["\(bound)"])
      case .less(let bound): ("lt", ["\(bound)"])
      }
    return "{\(path.joined(separator: ".")) \(name) [\(values.joined(separator: " "))]}"
  }

  fileprivate func holds(_ object: JSONValue) -> Bool {
    let found = value(in: object)
    switch comparison {
    case .exists: return found != nil
    case .isMissing: return found == nil
    case .equals(let wanted): return found == wanted
    case .differs(let wanted): return found != wanted
    case .isOneOf(let wanted): return found.map(wanted.contains) ?? false
    case .isNoneOf(let wanted): return !(found.map(wanted.contains) ?? false)
    case .greater(let bound): return found.flatMap { Int64($0) }.map { $0 > bound } ?? false
    case .less(let bound): return found.flatMap { Int64($0) }.map { $0 < bound } ?? false
    }
  }

  private func value(in object: JSONValue) -> String? {
    var value = object
    for (index, part) in path.enumerated() {
      if part == "#", index == path.count - 1, let list = value.arrayValue { return "\(list.count)" }
      guard let next = value[part] ?? Int(part).flatMap({ value[$0] }) else { return nil }
      value = next
    }
    switch value {
    case .null: return nil
    case .string(let text): return text
    default: return value.description
    }
  }
}

extension ResourceCondition {
  fileprivate struct Scanner {
    private let scalars: [Unicode.Scalar]
    private var index = 0

    init(_ scalars: [Unicode.Scalar]) { self.scalars = scalars }

    private var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }

    private mutating func skipBlanks() {
      while let scalar = current, scalar.properties.isWhitespace { index += 1 }
    }

    mutating func requirements() throws(FederationError) -> [Requirement] {
      var all: [Requirement] = []
      repeat { all.append(try requirement()) } while take(",")
      skipBlanks()
      guard index == scalars.count else { throw failure("goes on after its end") }
      return all
    }

    private mutating func requirement() throws(FederationError) -> Requirement {
      let isNegated = take("!")
      let path = try word().split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      guard path.allSatisfy({ !$0.isEmpty }) else { throw failure("has a path with an empty part") }
      func of(_ comparison: Comparison) -> Requirement { Requirement(path: path, comparison: comparison) }
      if isNegated { return of(.isMissing) }
      if take("!") {
        guard take("=") else { throw failure("has \"!\" without \"=\"") }
        return of(.differs(try value()))
      }
      if take("=") {
        _ = take("=")
        return of(.equals(try value()))
      }
      if take(">") { return of(.greater(try number())) }
      if take("<") { return of(.less(try number())) }
      skipBlanks()
      guard let scalar = current, scalar != "," else { return of(.exists) }
      switch try word() {
      case "in": return of(.isOneOf(try set()))
      case "notin": return of(.isNoneOf(try set()))
      case let other: throw failure("has no operator \"\(other)\"")
      }
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
      skipBlanks()
      guard current == scalar else { return false }
      index += 1
      return true
    }

    private mutating func word() throws(FederationError) -> String {
      let word = try value()
      guard !word.isEmpty else { throw failure("lacks the name of a value") }
      return word
    }

    /// Up to a blank or an operator; empty where there is nothing, as label selectors have it.
    private mutating func value() throws(FederationError) -> String {
      skipBlanks()
      let start = index
      while let scalar = current, !scalar.properties.isWhitespace, !"=!<>,()".unicodeScalars.contains(scalar) {
        index += 1
      }
      return String(String.UnicodeScalarView(scalars[start..<index]))
    }

    private mutating func number() throws(FederationError) -> Int64 {
      let text = try value()
      guard let number = Int64(text) else { throw failure("compares with \"\(text)\", which is no whole number") }
      return number
    }

    private mutating func set() throws(FederationError) -> Set<String> {
      guard take("(") else { throw failure("lacks \"(\" after in or notin") }
      var values: Set<String> = []
      repeat { values.insert(try value()) } while take(",")
      guard take(")") else { throw failure("lacks \")\"") }
      return values
    }

    private func failure(_ what: String) -> FederationError {
      FederationError(
        .invalidArgument, "the condition \(what): write for example status.succeeded > 0, status.phase = Done")
    }
  }
}
