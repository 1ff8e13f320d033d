import FederationModel

/// Reads one JSON text (RFC 8259) into a tree, under the same bounds as YAML.
///
/// Used for stored documents and for requests, so it is written for speed: one pass over the bytes, strings without
/// escapes
/// copied whole.
struct JSONDocumentParser {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var index = 0
  private var line: Int32 = 1
  private var lineStart = 0
  private var budget: DocumentBudget

  static func parse(_ bytes: [UInt8], limits: DocumentLimits) throws(DocumentErrors) -> DocumentNode {
    let result = bytes.withUnsafeBufferPointer { buffer -> Result<DocumentNode, DocumentErrors> in
      Result { () throws(DocumentErrors) -> DocumentNode in
        var parser = JSONDocumentParser(bytes: buffer, budget: DocumentBudget(limits: limits))
        return try parser.document()
      }
    }
    return try result.get()
  }

  private init(bytes: UnsafeBufferPointer<UInt8>, budget: DocumentBudget) {
    self.bytes = bytes
    self.budget = budget
  }

  private var mark: SourceMark {
    SourceMark(line: line, column: Int32(clamping: index - lineStart + 1))
  }

  private func failure(_ message: String) -> DocumentErrors { .syntax("not readable as JSON: \(message)", at: mark) }

  private mutating func document() throws(DocumentErrors) -> DocumentNode {
    skipBlanks()
    let node = try value(depth: 0)
    skipBlanks()
    if index < bytes.count { throw failure("something follows the document's end") }
    return node
  }

  private mutating func skipBlanks() {
    while index < bytes.count {
      switch bytes[index] {
      case 0x20, 0x09, 0x0d: index += 1
      case 0x0a:
        index += 1
        line += 1
        lineStart = index
      default: return
      }
    }
  }

  private mutating func value(depth: Int) throws(DocumentErrors) -> DocumentNode {
    guard index < bytes.count else { throw failure("the document ends too early") }
    let start = mark
    try budget.spend(nodes: 1, bytes: 0, at: start)
    switch bytes[index] {
    case UInt8(ascii: "{"): return try mapping(depth: depth + 1, at: start)
    case UInt8(ascii: "["): return try sequence(depth: depth + 1, at: start)
    case UInt8(ascii: "\""): return DocumentNode(.string(try string()), mark: start)
    case UInt8(ascii: "t"): return try word("true", .bool(true), at: start)
    case UInt8(ascii: "f"): return try word("false", .bool(false), at: start)
    case UInt8(ascii: "n"): return try word("null", .null, at: start)
    default: return try number(at: start)
    }
  }

  private mutating func word(
    _ word: StaticString, _ value: DocumentNode.Value, at start: SourceMark
  ) throws(DocumentErrors) -> DocumentNode {
    let end = index + word.utf8CodeUnitCount
    guard end <= bytes.count, (0..<word.utf8CodeUnitCount).allSatisfy({ bytes[index + $0] == word.utf8Start[$0] })
    else {
      throw failure("a value is expected here")
    }
    index = end
    return DocumentNode(value, mark: start)
  }

  private mutating func number(at start: SourceMark) throws(DocumentErrors) -> DocumentNode {
    let first = index
    while index < bytes.count, Self.isNumberByte(bytes[index]) { index += 1 }
    let text = String(decoding: bytes[first..<index], as: UTF8.self)
    let digits = text.utf8.first == UInt8(ascii: "-") ? text.dropFirst() : text[...]
    let hasLeadingZero =
      digits.utf8.count > 1 && digits.utf8.first == UInt8(ascii: "0")
      && (0x30...0x39).contains(digits.utf8[digits.utf8.index(after: digits.utf8.startIndex)])
    guard let head = digits.utf8.first, (0x30...0x39).contains(head), !hasLeadingZero,
      let number = YAMLScalar.number(text)
    else {
      index = first
      throw failure("a value is expected here")
    }
    return DocumentNode(.number(number), mark: start)
  }

  private static func isNumberByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
      true
    default: false
    }
  }

  private mutating func sequence(depth: Int, at start: SourceMark) throws(DocumentErrors) -> DocumentNode {
    try budget.checkDepth(depth, at: start)
    index += 1
    var items: [DocumentNode] = []
    skipBlanks()
    if take(UInt8(ascii: "]")) { return DocumentNode(.sequence(items), mark: start) }
    while true {
      skipBlanks()
      items.append(try value(depth: depth))
      skipBlanks()
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "]")) else { throw failure("\",\" or \"]\" is expected here") }
      return DocumentNode(.sequence(items), mark: start)
    }
  }

  private mutating func mapping(depth: Int, at start: SourceMark) throws(DocumentErrors) -> DocumentNode {
    try budget.checkDepth(depth, at: start)
    index += 1
    var members: [DocumentNode.Member] = []
    var keys: Set<String> = []
    skipBlanks()
    if take(UInt8(ascii: "}")) { return DocumentNode(.mapping(members), mark: start) }
    while true {
      skipBlanks()
      let keyMark = mark
      guard index < bytes.count, bytes[index] == UInt8(ascii: "\"") else {
        throw failure("a key in quotes is expected here")
      }
      let key = try string()
      guard Self.isNew(key, among: members, &keys) else {
        throw .syntax("the key \"\(key)\" is given twice", at: keyMark)
      }
      skipBlanks()
      guard take(UInt8(ascii: ":")) else { throw failure("\":\" is expected here") }
      skipBlanks()
      members.append(DocumentNode.Member(key: key, keyMark: keyMark, value: try value(depth: depth)))
      skipBlanks()
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "}")) else { throw failure("\",\" or \"}\" is expected here") }
      return DocumentNode(.mapping(members), mark: start)
    }
  }

  /// A set costs more than it saves while the map is small.
  private static func isNew(_ key: String, among members: [DocumentNode.Member], _ keys: inout Set<String>) -> Bool {
    if members.count < 12 { return !members.contains { $0.key == key } }
    if keys.isEmpty { keys = Set(members.map(\.key)) }
    return keys.insert(key).inserted
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard index < bytes.count, bytes[index] == byte else { return false }
    index += 1
    return true
  }

  // MARK: Strings

  private mutating func string() throws(DocumentErrors) -> String {
    index += 1
    let first = index
    while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "\""):
        let text = String(decoding: bytes[first..<index], as: UTF8.self)
        try budget.spend(nodes: 0, bytes: index - first, at: mark)
        index += 1
        return text
      case UInt8(ascii: "\\"): return try escapedString(from: first)
      case 0..<0x20: throw failure("a control character in a text must be written as an escape")
      default: index += 1
      }
    }
    throw failure("a text is not closed")
  }

  private mutating func escapedString(from first: Int) throws(DocumentErrors) -> String {
    var text = Array(bytes[first..<index])
    while index < bytes.count {
      let byte = bytes[index]
      index += 1
      switch byte {
      case UInt8(ascii: "\""):
        try budget.spend(nodes: 0, bytes: text.count, at: mark)
        let text = String(decoding: text, as: UTF8.self)
        try budget.checkText(text, at: mark)
        return text
      case UInt8(ascii: "\\"): try escape(into: &text)
      case 0..<0x20: throw failure("a control character in a text must be written as an escape")
      default: text.append(byte)
      }
    }
    throw failure("a text is not closed")
  }

  /// An escape of half a surrogate pair becomes U+FFFD, as in Go.
  private mutating func escape(into text: inout [UInt8]) throws(DocumentErrors) {
    do {
      text.append(contentsOf: String(Character(try JSONEscape.read(bytes, at: &index) ?? "\u{fffd}")).utf8)
    } catch {
      switch error {
      case .end: throw failure("a text is not closed")
      case .unknown(let byte): throw failure("\"\\\(Character(Unicode.Scalar(byte)))\" is no escape of JSON")
      case .digits: throw failure("\"\\u\" takes four hexadecimal digits")
      }
    }
  }
}
