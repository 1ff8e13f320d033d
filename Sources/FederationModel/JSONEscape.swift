/// What stands behind a backslash in a text of JSON.
///
/// - Source: RFC 8259, section 7.
public enum JSONEscape {
  public enum Problem: Error, Sendable {
    /// The text ends here.
    case end
    /// No escape begins so.
    case unknown(UInt8)
    /// `\u` takes four hexadecimal digits.
    case digits
  }

  /// Reads an escape, both halves of a surrogate pair included.
  ///
  /// - Parameter index: of the byte behind the backslash; then behind the escape.
  /// - Returns: nil for half of a surrogate pair, which is no character: what follows it is left where it is.
  public static func read(
    _ bytes: some RandomAccessCollection<UInt8>, at index: inout Int
  ) throws(Problem) -> Unicode.Scalar? {
    guard let byte = byte(bytes, at: index) else { throw .end }
    index += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): break
    default: throw .unknown(byte)
    }
    let high = try digits(bytes, at: &index)
    guard (0xd800..<0xdc00).contains(high) else { return Unicode.Scalar(high) }
    var next = index
    guard Self.byte(bytes, at: next) == UInt8(ascii: "\\"), Self.byte(bytes, at: next + 1) == UInt8(ascii: "u") else {
      return nil
    }
    next += 2
    let low = try digits(bytes, at: &next)
    guard (0xdc00..<0xe000).contains(low) else { return nil }
    index = next
    return Unicode.Scalar(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
  }

  private static func byte(_ bytes: some RandomAccessCollection<UInt8>, at index: Int) -> UInt8? {
    index < bytes.count ? bytes[bytes.index(bytes.startIndex, offsetBy: index)] : nil
  }

  private static func digits(
    _ bytes: some RandomAccessCollection<UInt8>, at index: inout Int
  ) throws(Problem) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = byte(bytes, at: index) else { throw .digits }
      switch byte {
      case 0x30...0x39: value = value << 4 | UInt32(byte - 0x30)
      case 0x41...0x46: value = value << 4 | UInt32(byte - 0x41 + 10)
      case 0x61...0x66: value = value << 4 | UInt32(byte - 0x61 + 10)
      default: throw .digits
      }
      index += 1
    }
    return value
  }
}
