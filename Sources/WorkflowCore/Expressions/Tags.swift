import FederationModel

/// `{{tag}}` and `{{=expression}}` in texts.
///
/// One pass, linear in the text and the values put in: what a tag is replaced by is never scanned again, so a task's output
/// cannot smuggle in a tag.
enum Tags {
  /// A text never grows beyond this by substitution, in bytes.
  static let outputLimit = 16 << 20

  static func mayContainTag(_ text: String) -> Bool {
    var previous: UInt8 = 0
    for byte in text.utf8 {
      if byte == 0x7b, previous == 0x7b { return true }
      previous = byte
    }
    return false
  }

  /// Replaces every tag by its value. An unclosed `{{` stays as it is.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) for an unknown name or an expression that fails.
  static func substitute(
    _ text: String, values: [String: ExprValue] = [:], at moment: ExpressionMoment = ExpressionMoment(),
    _ lookup: (String) -> TagValue
  ) throws -> String {
    var output: [UInt8] = []
    for part in parts(of: text) {
      switch part {
      case .text(let slice): output.append(contentsOf: slice)
      case .tag(let content, let whole):
        if content.first == UInt8(ascii: "=") {
          let expression = String(decoding: content.dropFirst(), as: UTF8.self)
          output.append(
            contentsOf: try ExprLang.evaluate(expression, values: values, at: moment) {
              lookup($0).string
            }.text().utf8)
        } else {
          let name = trimmed(content)
          switch lookup(name) {
          case .text(let value): output.append(contentsOf: value.utf8)
          case .absent: output.append(contentsOf: whole)
          case .unknown: throw FederationError(.invalidArgument, "failed to resolve {{\(name)}}")
          }
        }
      }
      guard output.count <= outputLimit else {
        throw FederationError(
          .invalidArgument, "a text grows beyond \(outputLimit >> 20) MiB when its tags are replaced")
      }
    }
    return String(decoding: output, as: UTF8.self)
  }

  /// The name when the text is exactly one simple tag, blanks around it allowed; else nil.
  static func onlyName(in text: String) -> String? {
    var name: String?
    for part in parts(of: text) {
      switch part {
      case .text(let slice): if slice.contains(where: { !isBlank($0) }) { return nil }
      case .tag(let content, _):
        guard name == nil, content.first != UInt8(ascii: "=") else { return nil }
        name = trimmed(content)
      }
    }
    return name
  }

  /// Whether a document looks at any node's `outputs.result`.
  static func mentionsResult(_ document: String) -> Bool {
    let bytes = Array(document.utf8)
    let needle = Array("result".utf8)
    guard bytes.count > needle.count else { return false }
    var index = 1
    while index + needle.count <= bytes.count {
      // `.result` in a tag, `['result']` in an expression.
      if bytes[index] == needle[0], [0x2e, 0x27, 0x22].contains(bytes[index - 1]),
        bytes[index..<(index + needle.count)].elementsEqual(needle)
      {
        return true
      }
      index += 1
    }
    return false
  }

  private enum Part {
    case text(ArraySlice<UInt8>)
    /// Between the braces, and with them.
    case tag(ArraySlice<UInt8>, whole: ArraySlice<UInt8>)
  }

  private static func parts(of text: String) -> [Part] {
    let bytes = Array(text.utf8)
    var parts: [Part] = []
    var start = 0
    var index = 0
    while index + 1 < bytes.count {
      guard bytes[index] == 0x7b, bytes[index + 1] == 0x7b else {
        index += 1
        continue
      }
      guard let end = closing(bytes, from: index + 2) else { break }
      if start < index { parts.append(.text(bytes[start..<index])) }
      parts.append(.tag(bytes[(index + 2)..<end], whole: bytes[index..<(end + 2)]))
      index = end + 2
      start = index
    }
    if start < bytes.count { parts.append(.text(bytes[start...])) }
    return parts
  }

  /// Where `}}` closes a tag. In an expression, braces inside quotes do not count.
  private static func closing(_ bytes: [UInt8], from start: Int) -> Int? {
    let isExpression = start < bytes.count && bytes[start] == UInt8(ascii: "=")
    var quote: UInt8?
    var index = start
    while index + 1 < bytes.count {
      let byte = bytes[index]
      if isExpression, let open = quote {
        if byte == UInt8(ascii: "\\") { index += 1 } else if byte == open { quote = nil }
      } else if isExpression, byte == 0x22 || byte == 0x27 {
        quote = byte
      } else if byte == 0x7d, bytes[index + 1] == 0x7d {
        // Of a longer run of braces, the last two close an expression: `{{={'k': 1}}}`.
        var last = index
        while isExpression, last + 2 < bytes.count, bytes[last + 2] == 0x7d { last += 1 }
        return last
      }
      index += 1
    }
    return nil
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private static func trimmed(_ bytes: ArraySlice<UInt8>) -> String {
    var bytes = bytes
    while let first = bytes.first, isBlank(first) { bytes.removeFirst() }
    while let last = bytes.last, isBlank(last) { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension TagValue {
  var string: String? { if case .text(let text) = self { text } else { nil } }
}
