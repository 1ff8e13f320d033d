import FederationModel

/// Texts as words: their cases, their first letters, their lines.
extension ExpressionEvaluator {
  mutating func sprigWords(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "title": return .string(Self.capitalized(try a.string(0), by: \.uppercaseMapping))
    case "untitle": return .string(Self.capitalized(try a.string(0), by: \.lowercaseMapping))
    case "nospace":
      return .string(String(try a.string(0).unicodeScalars.filter { !$0.properties.isWhitespace }))
    case "initials":
      return .string(
        ExpressionText.fields(try a.string(0)).compactMap { $0.unicodeScalars.first.map { String($0) } }.joined())
    case "swapcase":
      return .string(
        ExpressionText.mapping(try a.string(0)) { $0.isLowercase ? $0.uppercaseMapping : $0.lowercaseMapping })
    case "snakecase": return .string(Self.words(try a.string(0)).map(ExpressionText.lower).joined(separator: "_"))
    case "kebabcase": return .string(Self.words(try a.string(0)).map(ExpressionText.lower).joined(separator: "-"))
    case "camelcase":
      let parts = try a.string(0).unicodeScalars.split { $0 == "_" || $0 == "-" || $0.properties.isWhitespace }
      return .string(parts.map { Self.capitalized(String($0), by: \.uppercaseMapping) }.joined())
    case "wrap": return .string(try wrapped(try a.string(1), try a.integer(0), "\n", breaksWords: false))
    case "wrapWith": return .string(try wrapped(try a.string(2), try a.integer(0), try a.string(1), breaksWords: true))
    default: return nil
    }
  }

  /// The first letter of each word mapped.
  private static func capitalized(_ text: String, by mapping: (Unicode.Scalar.Properties) -> String) -> String {
    var output = String.UnicodeScalarView()
    var isStart = true
    for scalar in text.unicodeScalars {
      let mapped = mapping(scalar.properties).unicodeScalars
      output.append(isStart && mapped.count == 1 ? mapped.first! : scalar)
      isStart =
        !(scalar.properties.isAlphabetic || scalar.properties.numericType != nil || scalar == "_" || scalar == "'")
    }
    return String(output)
  }

  /// Cut at `_`, `-`, blanks, and where a word in capitals begins or ends: `HTTPServer2go` is `HTTP`, `Server`, `2`, `go`.
  ///
  /// - Source: huandu/xstrings `ToSnakeCase`.
  private static func words(_ text: String) -> [String] {
    let scalars = Array(text.unicodeScalars)
    var words: [String] = []
    var current = String.UnicodeScalarView()
    func kind(_ scalar: Unicode.Scalar) -> Int {
      scalar.properties.isUppercase ? 1 : scalar.properties.numericType != nil ? 2 : 0
    }
    for (index, scalar) in scalars.enumerated() {
      if scalar == "_" || scalar == "-" || scalar.properties.isWhitespace {
        if !current.isEmpty { words.append(String(current)) }
        current = String.UnicodeScalarView()
        continue
      }
      if let previous = current.last {
        let next = index + 1 < scalars.count ? scalars[index + 1] : scalar
        let begins = kind(scalar) == 1 && (kind(previous) != 1 || next.properties.isLowercase)
        let changesToNumber = (kind(scalar) == 2) != (kind(previous) == 2) && kind(scalar) != 1
        if begins || changesToNumber {
          words.append(String(current))
          current = String.UnicodeScalarView()
        }
      }
      current.append(scalar)
    }
    return current.isEmpty ? words : words + [String(current)]
  }

  /// - Source: Masterminds/goutils `WrapCustom`.
  private mutating func wrapped(_ text: String, _ width: Int, _ line: String, breaksWords: Bool) throws -> String {
    let scalars = Array(text.unicodeScalars)
    let width = max(1, width)
    try spend(bytes: text.utf8.count + (scalars.count / width + 1) * line.utf8.count)
    var output = String.UnicodeScalarView()
    var offset = 0
    while scalars.count - offset > width {
      if scalars[offset] == " " {
        offset += 1
        continue
      }
      let end = offset + width + 1
      if let space = scalars[offset..<min(end, scalars.count)].lastIndex(of: " "), space > offset {
        output.append(contentsOf: scalars[offset..<space])
        output.append(contentsOf: line.unicodeScalars)
        offset = space + 1
      } else if breaksWords {
        output.append(contentsOf: scalars[offset..<(offset + width)])
        output.append(contentsOf: line.unicodeScalars)
        offset += width
      } else if let space = scalars[(offset + width)...].firstIndex(of: " ") {
        output.append(contentsOf: scalars[offset..<space])
        output.append(contentsOf: line.unicodeScalars)
        offset = space + 1
      } else {
        break
      }
    }
    output.append(contentsOf: scalars[offset...])
    return String(output)
  }
}
