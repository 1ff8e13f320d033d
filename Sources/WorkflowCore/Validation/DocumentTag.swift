/// One `{{...}}` in a text.
struct DocumentTag: Hashable, Sendable {
  /// Between the braces, without surrounding blanks; for `{{=expr}}` without the `=`.
  var text: String
  var isExpression: Bool

  /// The tags of a text, in order, and what follows the first `{{` that is never closed (nil when every one is). Of tags within tags the
  /// inner ones are listed: what the outer one says is known when they are replaced. Linear.
  static func scan(_ text: String) -> (tags: [DocumentTag], unclosed: String?) {
    var tags: [DocumentTag] = []
    let bytes = Array(text.utf8)
    // Where what stands in the tags that are open begins, and whether there is another in it.
    var open: [(start: Int, isNest: Bool)] = []
    var index = 0
    func add(_ content: ArraySlice<UInt8>, isExpression: Bool) {
      var content = content
      while let first = content.first, isBlank(first) { content = content.dropFirst() }
      while let last = content.last, isBlank(last) { content = content.dropLast() }
      tags.append(DocumentTag(text: String(decoding: content, as: UTF8.self), isExpression: isExpression))
    }
    func rest(from start: Int) -> String { String(decoding: bytes[min(start, bytes.count)...], as: UTF8.self) }
    while index + 1 < bytes.count {
      if bytes[index] == UInt8(ascii: "{"), bytes[index + 1] == bytes[index], open.count < Tags.depthLimit {
        if !open.isEmpty { open[open.count - 1].isNest = true }
        if index + 2 < bytes.count, bytes[index + 2] == UInt8(ascii: "=") {
          guard let end = endOfExpression(in: bytes, from: index + 3) else {
            return (tags, rest(from: open.first?.start ?? (index + 3)))
          }
          add(bytes[(index + 3)..<end], isExpression: true)
          index = end + 2
        } else {
          index += 2
          open.append((index, false))
        }
      } else if bytes[index] == UInt8(ascii: "}"), bytes[index + 1] == bytes[index], let tag = open.popLast() {
        if !tag.isNest { add(bytes[tag.start..<index], isExpression: false) }
        index += 2
      } else {
        index += 1
      }
    }
    return (tags, open.first.map { rest(from: $0.start) })
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
