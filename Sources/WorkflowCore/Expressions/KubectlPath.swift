public import FederationModel

/// What `kubectl get -o jsonpath=TEMPLATE` prints of an object: text with `{paths}` in it, among them `{range .items[*]}...{end}` and texts
/// in quotes (`{"\n"}`).
///
/// - Source: Kubernetes, "JSONPath Support". Filters are expressions with `@` for the element; regular expressions in them are not known.
public enum KubectlPath {
  /// Ranges within ranges, and the bytes that are printed at most.
  private static let (depthLimit, lengthLimit) = (8, 1 << 20)

  /// Empty where a path leads nowhere, as in kubectl.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) for what is no template.
  public static func text(_ template: String, of object: JSONValue) throws(FederationError) -> String {
    let parts = try parsed(template)
    var output = ""
    var index = 0
    try print(parts, &index, ExprValue(object), depth: 0, into: &output)
    guard index == parts.count else { throw failure(template, "has an {end} without its {range}") }
    return output
  }

  /// Whether it is a template at all.
  public static func check(_ template: String) throws(FederationError) { _ = try text(template, of: [:]) }

  private enum Part {
    case text(String), path(String), range(String), end
  }

  private static func failure(_ template: String, _ what: String) -> FederationError {
    FederationError(.invalidArgument, "the jsonPath '\(template.prefix(200))' \(what)")
  }

  private static func parsed(_ template: String) throws(FederationError) -> [Part] {
    guard template.utf8.count <= JSONPath.lengthLimit else {
      throw failure(template, "is longer than \(JSONPath.lengthLimit) bytes")
    }
    var parts: [Part] = []
    var rest = Array(template.unicodeScalars)[...]
    while let scalar = rest.first {
      if scalar != "{" {
        let literal = rest.prefix { $0 != "{" }
        parts.append(.text(String(String.UnicodeScalarView(literal))))
        rest = rest.dropFirst(literal.count)
        continue
      }
      rest.removeFirst()
      var body: [Unicode.Scalar] = []
      var quote: Unicode.Scalar?
      var isClosed = false
      while let scalar = rest.popFirst() {
        if quote == nil, scalar == "}" {
          isClosed = true
          break
        }
        body.append(scalar)
        if scalar == "\\", let next = rest.popFirst() {
          body.append(next)
        } else if quote == scalar {
          quote = nil
        } else if quote == nil, scalar == "'" || scalar == "\"" {
          quote = scalar
        }
      }
      guard isClosed else { throw failure(template, "lacks a }") }
      parts.append(part(ExpressionText.trim(String(String.UnicodeScalarView(body)))))
    }
    return parts
  }

  private static func part(_ body: String) -> Part {
    if body == "end" { return .end }
    if body.hasPrefix("range ") { return .range(ExpressionText.trim(String(body.dropFirst(6)))) }
    guard let quote = body.first, quote == "\"" || quote == "'", body.count >= 2, body.last == quote else {
      return .path(body)
    }
    var text = ""
    var escaped = false
    for character in body.dropFirst().dropLast() {
      if escaped {
        text.append(character == "n" ? "\n" : character == "t" ? "\t" : character)
        escaped = false
      } else if character == "\\" {
        escaped = true
      } else {
        text.append(character)
      }
    }
    return .text(text)
  }

  /// Prints up to the end of the range that it is in, or of everything; `index` is then at that end.
  private static func print(
    _ parts: [Part], _ index: inout Int, _ value: ExprValue, depth: Int, into output: inout String
  ) throws(FederationError) {
    while index < parts.count {
      guard output.utf8.count <= lengthLimit else {
        throw FederationError(.invalidArgument, "the jsonPath prints more than \(lengthLimit >> 20) MiB")
      }
      switch parts[index] {
      case .end: return
      case .text(let text): output += text
      case .path(let path):
        output += try values(path, of: value).map(Self.printed).joined(separator: " ")
      case .range(let path):
        guard depth < depthLimit else { throw failure(path, "has too many ranges within each other") }
        let start = index + 1
        var end = start
        let elements = try values(path, of: value)
        for element in elements {
          end = start
          try print(parts, &end, element, depth: depth + 1, into: &output)
        }
        // Nothing to go over: its end is looked for without printing.
        if elements.isEmpty { end = try closing(parts, from: start) }
        guard end < parts.count, case .end = parts[end] else { throw failure(path, "has a {range} without its {end}") }
        index = end
      }
      index += 1
    }
  }

  private static func closing(_ parts: [Part], from start: Int) throws(FederationError) -> Int {
    var depth = 0
    for index in start..<max(start, parts.count) {
      switch parts[index] {
      case .range: depth += 1
      case .end:
        if depth == 0 { return index }
        depth -= 1
      case .text, .path: break
      }
    }
    return parts.count
  }

  private static func printed(_ value: ExprValue) -> String {
    switch value {
    case .null: ""
    case .string(let text): text
    default: value.json.description
    }
  }

  /// What a path finds, one after the other; nothing where it leads nowhere.
  private static func values(_ path: String, of value: ExprValue) throws(FederationError) -> [ExprValue] {
    if path == "@" || path == "$" || path == "." { return [value] }
    let written = path.hasPrefix("@") ? String(path.dropFirst()) : path
    var query: JSONPath
    do { query = try JSONPath(unescaped(written)) } catch { throw failure(path, "cannot be read: \(error)") }
    guard let found = try? query.query(value) else { return [] }
    if query.selectsList, case .list(let elements) = found { return elements }
    return [found]
  }

  /// `.a\.b` is the name `a.b`.
  private static func unescaped(_ path: String) -> String {
    guard path.contains("\\.") else { return path }
    var output = ""
    for name in path.replacing("\\.", with: "\u{0}").split(separator: ".", omittingEmptySubsequences: false) {
      if name.contains("\u{0}") {
        let bracket = name.firstIndex(of: "[") ?? name.endIndex
        output +=
          "['\(name[..<bracket].replacing("\u{0}", with: "."))']\(name[bracket...].replacing("\u{0}", with: "."))"
      } else if !output.isEmpty || !name.isEmpty {
        output += ".\(name)"
      }
    }
    return output
  }
}
