/// Work on the bytes of texts, as Go's `strings` does it: no canonical equivalence, no locale.
enum ExpressionText {
  static func isEqual(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }
  static func isBefore(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }
  static func hasPrefix(_ text: String, _ part: String) -> Bool { text.utf8.starts(with: part.utf8) }
  static func hasSuffix(_ text: String, _ part: String) -> Bool {
    text.utf8.count >= part.utf8.count && text.utf8.suffix(part.utf8.count).elementsEqual(part.utf8)
  }
  static func contains(_ text: String, _ part: String) -> Bool { index(of: part, in: text) != nil }

  private static func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isWhitespace }

  static func trim(_ text: String) -> String { trim(text, where: isSpace) }

  /// Without the scalars at both ends for which `isCut` holds.
  static func trim(_ text: String, where isCut: (Unicode.Scalar) -> Bool) -> String {
    let scalars = text.unicodeScalars
    var rest = scalars[...]
    while let first = rest.first, isCut(first) { rest.removeFirst() }
    while let last = rest.last, isCut(last) { rest.removeLast() }
    return String(rest)
  }

  static func removingPrefix(_ part: String, from text: String) -> String {
    hasPrefix(text, part) ? String(decoding: text.utf8.dropFirst(part.utf8.count), as: UTF8.self) : text
  }

  static func removingSuffix(_ part: String, from text: String) -> String {
    hasSuffix(text, part) ? String(decoding: text.utf8.dropLast(part.utf8.count), as: UTF8.self) : text
  }

  /// Every scalar by its simple mapping, so that the number of scalars stays.
  static func mapping(_ text: String, _ body: (Unicode.Scalar.Properties) -> String) -> String {
    if text.utf8.allSatisfy({ $0 < 0x80 }) {
      return String(
        String.UnicodeScalarView(text.unicodeScalars.map { body($0.properties).unicodeScalars.first ?? $0 }))
    }
    var output = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      let mapped = body(scalar.properties).unicodeScalars
      output.append(mapped.count == 1 ? mapped.first! : scalar)
    }
    return String(output)
  }

  static func upper(_ text: String) -> String { mapping(text, \.uppercaseMapping) }
  static func lower(_ text: String) -> String { mapping(text, \.lowercaseMapping) }

  /// In bytes; nil when it is not there.
  static func index(of part: String, in text: String) -> Int? { positions(of: part, in: text, limit: 1).first }

  static func lastIndex(of part: String, in text: String) -> Int? {
    let (bytes, needle) = (Array(text.utf8), Array(part.utf8))
    guard needle.count <= bytes.count else { return nil }
    for start in stride(from: bytes.count - needle.count, through: 0, by: -1)
    where bytes[start..<(start + needle.count)].elementsEqual(needle) { return start }
    return nil
  }

  /// Where `part` stands, without overlaps, in bytes. An empty one stands at the start only.
  private static func positions(of part: String, in text: String, limit: Int) -> [Int] {
    let (bytes, needle) = (Array(text.utf8), Array(part.utf8))
    guard !needle.isEmpty else { return [0] }
    guard needle.count <= bytes.count else { return [] }
    var found: [Int] = []
    // Knuth, Morris and Pratt: linear in the text, whatever the part.
    var fall = [Int](repeating: 0, count: needle.count)
    var length = 0
    for index in needle.indices.dropFirst() {
      while length > 0, needle[index] != needle[length] { length = fall[length - 1] }
      if needle[index] == needle[length] { length += 1 }
      fall[index] = length
    }
    length = 0
    for (index, byte) in bytes.enumerated() {
      while length > 0, byte != needle[length] { length = fall[length - 1] }
      if byte == needle[length] { length += 1 }
      if length == needle.count {
        found.append(index + 1 - length)
        if found.count == limit { break }
        length = 0
      }
    }
    return found
  }

  /// The pieces between occurrences of `separator`, at most `limit` (negative: all); single characters when it is empty.
  static func split(_ text: String, _ separator: String, limit: Int = -1, keepsSeparator: Bool = false) -> [String] {
    if limit == 0 { return [] }
    guard !separator.isEmpty else {
      let scalars = Array(text.unicodeScalars)
      guard limit > 0, scalars.count > limit else { return scalars.map { String($0) } }
      return scalars.prefix(limit - 1).map { String($0) } + [
        String(String.UnicodeScalarView(scalars.dropFirst(limit - 1)))
      ]
    }
    let bytes = Array(text.utf8)
    let width = separator.utf8.count
    var pieces: [String] = []
    var start = 0
    for position in positions(of: separator, in: text, limit: limit > 0 ? limit : .max) {
      if limit > 0, pieces.count == limit - 1 { break }
      pieces.append(
        String(decoding: bytes[start..<(position + (keepsSeparator ? width : 0))], as: UTF8.self))
      start = position + width
    }
    return pieces + [String(decoding: bytes[start...], as: UTF8.self)]
  }

  /// The bytes that `replace` would make.
  static func replacedSize(_ text: String, _ old: String, _ new: String) -> Int {
    guard new.utf8.count > old.utf8.count else { return text.utf8.count }
    let count = old.isEmpty ? text.unicodeScalars.count + 1 : positions(of: old, in: text, limit: .max).count
    let (growth, overflow) = count.multipliedReportingOverflow(by: new.utf8.count - old.utf8.count)
    return overflow ? .max : text.utf8.count.addingReportingOverflow(growth).overflow ? .max : text.utf8.count + growth
  }

  /// At most `limit` occurrences (negative: all).
  static func replace(_ text: String, _ old: String, _ new: String, limit: Int = -1) -> String {
    guard old.isEmpty else {
      return split(text, old, limit: limit < 0 ? -1 : limit + 1).joined(separator: new)
    }
    var output = ""
    var left = limit < 0 ? Int.max : limit
    for scalar in text.unicodeScalars {
      if left > 0 {
        output += new
        left -= 1
      }
      output.unicodeScalars.append(scalar)
    }
    return left > 0 ? output + new : output
  }

  /// Pieces of more than no blanks.
  static func fields(_ text: String) -> [String] {
    text.unicodeScalars.split(whereSeparator: isSpace).map { String($0) }
  }

  // MARK: Base 64 and 32

  private static let base64Letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let base32Letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)

  /// RFC 4648, with padding.
  static func base64(_ text: String) -> String { base64(Array(text.utf8)) }
  static func base64(_ bytes: [UInt8]) -> String { encode(bytes, base64Letters, bits: 6, group: 4) }
  static func base32(_ text: String) -> String { encode(Array(text.utf8), base32Letters, bits: 5, group: 8) }

  /// nil when the text is malformed. Line breaks are passed over.
  static func decodeBase64(_ text: String) -> String? { decode(text, base64Letters, bits: 6, group: 4) }
  static func decodeBase32(_ text: String) -> String? { decode(text, base32Letters, bits: 5, group: 8) }

  private static func encode(_ bytes: [UInt8], _ letters: [UInt8], bits width: Int, group: Int) -> String {
    var output: [UInt8] = []
    var (bits, count): (UInt32, Int) = (0, 0)
    for byte in bytes {
      bits = (bits << 8 | UInt32(byte)) & 0xffff
      count += 8
      while count >= width {
        count -= width
        output.append(letters[Int(bits >> UInt32(count)) & (1 << width - 1)])
      }
    }
    if count > 0 { output.append(letters[Int(bits << UInt32(width - count)) & (1 << width - 1)]) }
    while output.count % group != 0 { output.append(UInt8(ascii: "=")) }
    return String(decoding: output, as: UTF8.self)
  }

  private static func decode(_ text: String, _ letters: [UInt8], bits width: Int, group: Int) -> String? {
    var output: [UInt8] = []
    var (bits, count, length): (UInt32, Int, Int) = (0, 0, 0)
    var hasEnded = false
    for byte in text.utf8 where byte != 0x0a && byte != 0x0d {
      length += 1
      if byte == UInt8(ascii: "=") {
        hasEnded = true
        continue
      }
      guard !hasEnded, let value = letters.firstIndex(of: byte) else { return nil }
      bits = (bits << UInt32(width) | UInt32(value)) & 0xff_ffff
      count += width
      if count >= 8 {
        count -= 8
        output.append(UInt8(bits >> UInt32(count) & 0xff))
      }
    }
    return length % group == 0 && count < 8 ? String(decoding: output, as: UTF8.self) : nil
  }
}
