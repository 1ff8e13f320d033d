import FederationModel

/// Reads JSON texts (RFC 8259) that tasks and tags produce: loop lists, aggregated results.
enum JSONText {
  static let depthLimit = 128
  static let lengthLimit = 32 << 20

  /// NUL is refused, as in documents: it ends a text wherever a program meets it, and the database cannot hold it.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) when the text is no JSON value, or beyond the limits.
  static func parse(_ text: String) throws -> JSONValue {
    guard text.utf8.count <= lengthLimit else { throw failure("is longer than \(lengthLimit >> 20) MiB") }
    var reader = Reader(bytes: Array(text.utf8))
    let value = try reader.value(depth: 0)
    reader.skipBlanks()
    guard reader.index == reader.bytes.count else { throw failure("goes on after its value at byte \(reader.index)") }
    return value
  }

  private static func failure(_ what: String) -> FederationError {
    FederationError(.invalidArgument, "the JSON text \(what)")
  }

  private struct Reader {
    let bytes: [UInt8]
    var index = 0

    var current: UInt8? { index < bytes.count ? bytes[index] : nil }

    mutating func skipBlanks() {
      while let byte = current, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { index += 1 }
    }

    mutating func take(_ byte: UInt8) -> Bool {
      skipBlanks()
      guard current == byte else { return false }
      index += 1
      return true
    }

    mutating func value(depth: Int) throws -> JSONValue {
      guard depth < JSONText.depthLimit else { throw failure("is nested deeper than \(JSONText.depthLimit)") }
      skipBlanks()
      switch current {
      case UInt8(ascii: "{"): return try object(depth: depth)
      case UInt8(ascii: "["): return try array(depth: depth)
      case UInt8(ascii: "\""): return .string(try string())
      case UInt8(ascii: "t"): return try literal("true", .bool(true))
      case UInt8(ascii: "f"): return try literal("false", .bool(false))
      case UInt8(ascii: "n"): return try literal("null", .null)
      default: return try number()
      }
    }

    mutating func literal(_ word: String, _ value: JSONValue) throws -> JSONValue {
      guard bytes[index...].starts(with: word.utf8) else { throw failure("has an unknown word at byte \(index)") }
      index += word.utf8.count
      return value
    }

    mutating func number() throws -> JSONValue {
      let start = index
      while let byte = current, (0x30...0x39).contains(byte) || [0x2b, 0x2d, 0x2e, 0x45, 0x65].contains(byte) {
        index += 1
      }
      let digits = bytes[start..<index].drop { $0 == 0x2d }
      let text = String(decoding: bytes[start..<index], as: UTF8.self)
      let hasLeadingZero =
        digits.count > 1 && digits.first == 0x30 && (0x30...0x39).contains(digits[digits.startIndex + 1])
      guard let first = digits.first, (0x30...0x39).contains(first), !hasLeadingZero, bytes[index - 1] != 0x2e else {
        throw failure("has no value at byte \(start)")
      }
      if let whole = Int64(text) { return .integer(whole) }
      guard let value = Double(text), value.isFinite else { throw failure("has a malformed number at byte \(start)") }
      return .number(value)
    }

    mutating func array(depth: Int) throws -> JSONValue {
      index += 1
      var elements: [JSONValue] = []
      if take(0x5d) { return .array(elements) }
      repeat { elements.append(try value(depth: depth + 1)) } while take(0x2c)
      guard take(0x5d) else { throw failure("lacks a ] at byte \(index)") }
      return .array(elements)
    }

    mutating func object(depth: Int) throws -> JSONValue {
      index += 1
      var members: [String: JSONValue] = [:]
      if take(0x7d) { return .object(members) }
      repeat {
        skipBlanks()
        guard current == 0x22 else { throw failure("lacks a key at byte \(index)") }
        let key = try string()
        guard take(0x3a) else { throw failure("lacks a : at byte \(index)") }
        members[key] = try value(depth: depth + 1)
      } while take(0x2c)
      guard take(0x7d) else { throw failure("lacks a } at byte \(index)") }
      return .object(members)
    }

    mutating func string() throws -> String {
      index += 1
      // Most texts have no escape, and are copied whole.
      let start = index
      while let byte = current, byte != 0x22, byte != 0x5c, byte >= 0x20 { index += 1 }
      if current == 0x22 {
        defer { index += 1 }
        return String(decoding: bytes[start..<index], as: UTF8.self)
      }
      var text = Array(bytes[start..<index])
      while let byte = current, byte != 0x22 {
        guard byte >= 0x20 else { throw failure("has a bare control character at byte \(index)") }
        index += 1
        if byte == 0x5c { text.append(contentsOf: try escape()) } else { text.append(byte) }
      }
      guard current == 0x22 else { throw failure("ends inside a string") }
      index += 1
      return String(decoding: text, as: UTF8.self)
    }

    mutating func escape() throws -> [UInt8] {
      let start = index - 1
      let scalar: Unicode.Scalar
      do {
        scalar = try JSONEscape.read(bytes, at: &index) ?? "\u{fffd}"
      } catch {
        switch error {
        case .end: throw failure("ends inside a string")
        case .unknown: throw failure("has an unknown escape at byte \(start)")
        case .digits: throw failure("has a malformed \\u escape at byte \(start)")
        }
      }
      guard scalar != "\0" else {
        throw failure("has the character NUL (\\u0000) at byte \(start), which no text may hold")
      }
      return Array(String(Character(scalar)).utf8)
    }

    func failure(_ what: String) -> FederationError { JSONText.failure(what) }
  }
}
