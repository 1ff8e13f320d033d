/// One term of a label selector.
///
/// - Source: Kubernetes, "Labels and Selectors", set-based requirements: `a=b`, `a==b`, `a!=b`, `a in (b, c)`, `a notin (b, c)`, `a`, `!a`.
public struct LabelCondition: Hashable, Sendable, Codable {
  public enum Relation: String, Hashable, Sendable, Codable { case among = "in", notAmong = "notin", exists, absent }
  public var key: String
  public var relation: Relation
  /// Empty for `exists` and `absent`.
  public var values: [String]

  public static let textBytesMax = 4096

  public init(_ key: String, _ relation: Relation, _ values: [String] = []) {
    self.key = key
    self.relation = relation
    self.values = values
  }

  /// A whole selector: its terms all have to hold. An empty text has none.
  ///
  /// - Throws: `.invalidArgument` with the term that is not understood.
  public static func selector(_ text: String) throws -> [LabelCondition] {
    guard text.utf8.count <= textBytesMax else {
      throw FederationError(.invalidArgument, "a selector has at most \(textBytesMax) bytes")
    }
    return try terms(text).map { try LabelCondition(term: $0) }
  }

  public func holds(for labels: [String: String]) -> Bool {
    let value = labels[key]
    return switch relation {
    case .among: value.map { values.contains($0) } ?? false
    case .notAmong: value.map { !values.contains($0) } ?? true
    case .exists: value != nil
    case .absent: value == nil
    }
  }

  private init(term: String) throws {
    if let (key, values) = Self.list(term, " notin ") {
      self.init(key, .notAmong, values)
    } else if let (key, values) = Self.list(term, " in ") {
      self.init(key, .among, values)
    } else if let range = term.firstRange(of: "!=") {
      self.init(
        Self.trimmed(term[..<range.lowerBound]), .notAmong, [Self.trimmed(term[range.upperBound...])])
    } else if let range = term.firstRange(of: "==") ?? term.firstRange(of: "=") {
      self.init(Self.trimmed(term[..<range.lowerBound]), .among, [Self.trimmed(term[range.upperBound...])])
    } else if term.first == "!" {
      self.init(Self.trimmed(term.dropFirst()), .absent)
    } else {
      self.init(term, .exists)
    }
    guard !key.isEmpty, !key.contains(where: { $0.isWhitespace || "()=!".contains($0) }) else {
      throw FederationError(
        .invalidArgument,
        "the selector \"\(term.prefix(80))\" is not understood: use KEY=VALUE, KEY!=VALUE, KEY in (A, B), "
          + "KEY notin (A, B), KEY or !KEY")
    }
  }

  private static func list(_ term: String, _ word: String) -> (String, [String])? {
    guard let range = term.firstRange(of: word) else { return nil }
    let list = trimmed(term[range.upperBound...])
    guard list.first == "(", list.last == ")" else { return nil }
    return (trimmed(term[..<range.lowerBound]), list.dropFirst().dropLast().split(separator: ",").map { trimmed($0) })
  }

  /// Splits at commas outside parentheses.
  private static func terms(_ text: String) -> [String] {
    var terms: [String] = []
    var term = ""
    var depth = 0
    for character in text {
      switch character {
      case "(": depth += 1
      case ")": depth -= 1
      default: break
      }
      if character == ",", depth <= 0 {
        terms.append(term)
        term = ""
      } else {
        term.append(character)
      }
    }
    return (terms + [term]).map { trimmed($0[...]) }.filter { !$0.isEmpty }
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }
}
