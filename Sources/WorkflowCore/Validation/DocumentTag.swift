/// One `{{...}}` in a text.
struct DocumentTag: Hashable, Sendable {
  /// Between the braces, without surrounding blanks; for `{{=expr}}` without the `=`.
  var text: String
  var isExpression: Bool

  /// The tags of a text, in order, and what follows a last `{{` that is never closed (nil when every one is). Linear.
  static func scan(_ text: String) -> (tags: [DocumentTag], unclosed: String?) {
    var tags: [DocumentTag] = []
    let bytes = Array(text.utf8)
    var index = 0
    while let open = pair(UInt8(ascii: "{"), in: bytes, from: index) {
      let isExpression = open + 2 < bytes.count && bytes[open + 2] == UInt8(ascii: "=")
      let start = open + (isExpression ? 3 : 2)
      let close =
        isExpression ? endOfExpression(in: bytes, from: start) : pair(UInt8(ascii: "}"), in: bytes, from: start)
      guard let end = close else { return (tags, String(decoding: bytes[min(start, bytes.count)...], as: UTF8.self)) }
      var content = bytes[start..<end]
      while let first = content.first, isBlank(first) { content = content.dropFirst() }
      while let last = content.last, isBlank(last) { content = content.dropLast() }
      tags.append(DocumentTag(text: String(decoding: content, as: UTF8.self), isExpression: isExpression))
      index = end + 2
    }
    return (tags, nil)
  }

  /// Braces inside quotes do not close an expression, and `}}}` closes at its last two.
  private static func endOfExpression(in bytes: [UInt8], from start: Int) -> Int? {
    var quote: UInt8?
    var index = start
    while index + 1 < bytes.count {
      let byte = bytes[index]
      if let open = quote {
        if byte == UInt8(ascii: "\\") { index += 1 } else if byte == open { quote = nil }
      } else if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
        quote = byte
      } else if byte == UInt8(ascii: "}"), bytes[index + 1] == byte {
        return index + 2 < bytes.count && bytes[index + 2] == byte ? index + 1 : index
      }
      index += 1
    }
    return nil
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  /// Where `byte` first stands twice in a row.
  private static func pair(_ byte: UInt8, in bytes: [UInt8], from start: Int) -> Int? {
    var index = start
    while index + 1 < bytes.count {
      if bytes[index] == byte, bytes[index + 1] == byte { return index }
      index += 1
    }
    return nil
  }
}

extension String {
  /// Whether there is anything to scan for.
  var hasTags: Bool {
    var previous: UInt8 = 0
    for byte in utf8 {
      if byte == UInt8(ascii: "{"), previous == byte { return true }
      previous = byte
    }
    return false
  }
}
