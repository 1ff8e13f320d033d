internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Reads JSON from bytes into `JSONValue`, and the items of a list one by one, so that a page of large objects is never
/// a whole tree in memory.
///
/// Strict as RFC 8259 is, but for two things that do no harm here: of equal keys the last counts, and what is no UTF-8
/// is replaced. Nesting is bounded.
struct JSONReader {
  enum Failure: Error, Equatable {
    /// Where, in bytes from the beginning, and what was expected there.
    case malformed(Int, String)
  }

  static let depthMax = 128

  private let bytes: UnsafeBufferPointer<UInt8>
  private var position = 0

  /// - Throws: `Failure`.
  static func value(_ bytes: [UInt8]) throws -> JSONValue {
    try bytes.withUnsafeBufferPointer { buffer in
      var reader = JSONReader(bytes: buffer)
      let value = try reader.value(depth: 0)
      try reader.end()
      return value
    }
  }

  /// Reads an object whose member `items` is a list: gives each of its elements to `each`, and returns the other
  /// members.
  ///
  /// - Throws: `Failure`, or what `each` throws.
  static func list(_ bytes: [UInt8], each: (JSONValue) throws -> Void) throws -> JSONValue {
    try bytes.withUnsafeBufferPointer { buffer in
      var reader = JSONReader(bytes: buffer)
      var rest: [String: JSONValue] = [:]
      try reader.expect("{")
      try reader.members { reader, key in
        if key == "items", reader.peek() == UInt8(ascii: "[") {
          reader.position += 1
          try reader.elements { reader in try each(try reader.value(depth: 2)) }
        } else {
          rest[key] = try reader.value(depth: 1)
        }
      }
      try reader.end()
      return .object(rest)
    }
  }

  private init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  // MARK: Grammar

  private mutating func value(depth: Int) throws -> JSONValue {
    guard depth < Self.depthMax else { throw malformed("less nesting") }
    switch peek() {
    case UInt8(ascii: "{"):
      position += 1
      var object: [String: JSONValue] = [:]
      try members { reader, key in object[key] = try reader.value(depth: depth + 1) }
      return .object(object)
    case UInt8(ascii: "["):
      position += 1
      var array: [JSONValue] = []
      try elements { reader in array.append(try reader.value(depth: depth + 1)) }
      return .array(array)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  /// After the brace, to behind the other one.
  private mutating func members(_ member: (inout JSONReader, String) throws -> Void) throws {
    if peek() == UInt8(ascii: "}") {
      position += 1
      return
    }
    while true {
      guard peek() == UInt8(ascii: "\"") else { throw malformed("a key") }
      let key = try string()
      try expect(":")
      try member(&self, key)
      if peek() == UInt8(ascii: ",") {
        position += 1
      } else {
        return try expect("}")
      }
    }
  }

  private mutating func elements(_ element: (inout JSONReader) throws -> Void) throws {
    if peek() == UInt8(ascii: "]") {
      position += 1
      return
    }
    while true {
      try element(&self)
      if peek() == UInt8(ascii: ",") {
        position += 1
      } else {
        return try expect("]")
      }
    }
  }

  private mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
    let count = text.utf8CodeUnitCount
    let isThere =
      position + count <= bytes.count && memcmp(bytes.baseAddress! + position, text.utf8Start, count) == 0
    guard isThere else { throw malformed("a value") }
    position += count
    return value
  }

  private mutating func number() throws -> JSONValue {
    let start = position
    var isWhole = true
    scan: while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): break
      case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"): isWhole = false
      default: break scan
      }
      position += 1
    }
    guard position > start, position - start < 64 else { throw malformed("a value") }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isWhole, let value = Int64(text) { return .integer(value) }
    guard let value = Double(text), value.isFinite else { throw malformed("a number") }
    return .number(value)
  }

  private mutating func string() throws -> String {
    position += 1
    let start = position
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "\""):
        defer { position += 1 }
        return String(decoding: bytes[start..<position], as: UTF8.self)
      case UInt8(ascii: "\\"): return try escapedString(from: start)
      case 0..<0x20: throw malformed("a text without control characters")
      default: position += 1
      }
    }
    throw malformed("the end of a text")
  }

  private mutating func escapedString(from start: Int) throws -> String {
    var text = Array(bytes[start..<position])
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
      case UInt8(ascii: "\\"): try escape(into: &text)
      case 0..<0x20: throw malformed("a text without control characters")
      default: text.append(byte)
      }
    }
    throw malformed("the end of a text")
  }

  /// Behind the backslash.
  private mutating func escape(into text: inout [UInt8]) throws {
    guard position < bytes.count else { throw malformed("an escape") }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(8)
    case UInt8(ascii: "f"): text.append(12)
    case UInt8(ascii: "n"): text.append(10)
    case UInt8(ascii: "r"): text.append(13)
    case UInt8(ascii: "t"): text.append(9)
    case UInt8(ascii: "u"):
      var code = try hexadecimal()
      if (0xd800..<0xdc00).contains(code), position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
        bytes[position + 1] == UInt8(ascii: "u")
      {
        let mark = position
        position += 2
        let low = try hexadecimal()
        if (0xdc00..<0xe000).contains(low) {
          code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        } else {
          position = mark
        }
      }
      // Half of a pair stands for nothing.
      text += Array(String(Unicode.Scalar(code) ?? "\u{fffd}").utf8)
    default: throw malformed("an escape")
    }
  }

  private mutating func hexadecimal() throws -> UInt32 {
    guard position + 4 <= bytes.count else { throw malformed("four digits") }
    var code: UInt32 = 0
    for byte in bytes[position..<position + 4] {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { throw malformed("four digits") }
      code = code << 4 | UInt32(digit)
    }
    position += 4
    return code
  }

  // MARK: Bytes

  /// The next byte that is no white space; 0 at the end.
  private mutating func peek() -> UInt8 {
    while position < bytes.count {
      let byte = bytes[position]
      guard byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 else { return byte }
      position += 1
    }
    return 0
  }

  private mutating func expect(_ character: Unicode.Scalar) throws {
    guard peek() == UInt8(ascii: character) else { throw malformed("\(character)") }
    position += 1
  }

  private mutating func end() throws {
    guard peek() == 0, position == bytes.count else { throw malformed("nothing more") }
  }

  private func malformed(_ expected: String) -> Failure { .malformed(position, expected) }
}
