/// One `{{...}}` in a text.
struct DocumentTag: Hashable, Sendable {
  /// Between the braces, without surrounding blanks; for `{{=expr}}` without the `=`.
  var text: String
  var isExpression: Bool

  /// The tags of a text, in order, and whether the last one is never closed. Linear.
  static func scan(_ text: String) -> (tags: [DocumentTag], isUnclosed: Bool) {
    var tags: [DocumentTag] = []
    let bytes = Array(text.utf8)
    var index = 0
    while let open = pair(UInt8(ascii: "{"), in: bytes, from: index) {
      let isExpression = open + 2 < bytes.count && bytes[open + 2] == UInt8(ascii: "=")
      let start = open + (isExpression ? 3 : 2)
      guard let close = pair(UInt8(ascii: "}"), in: bytes, from: min(start, bytes.count)) else { return (tags, true) }
      // `{{=toJson({a: {b: 1}})}}`: the last two of a run of braces close the tag.
      var end = close
      while isExpression, end + 2 < bytes.count, bytes[end + 2] == UInt8(ascii: "}") { end += 1 }
      var content = bytes[start..<end]
      while let first = content.first, isBlank(first) { content = content.dropFirst() }
      while let last = content.last, isBlank(last) { content = content.dropLast() }
      tags.append(DocumentTag(text: String(decoding: content, as: UTF8.self), isExpression: isExpression))
      index = end + 2
    }
    return (tags, false)
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
