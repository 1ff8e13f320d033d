internal import Crypto
internal import FederationModel
internal import FoundationEssentials

/// Compares two byte strings in a time that depends on their lengths alone, so that a guess learns nothing from the clock.
func constantTimeEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
  guard a.count == b.count else { return false }
  var difference: UInt8 = 0
  for index in a.indices { difference |= a[index] ^ b[index] }
  return difference == 0
}

func sha256(_ bytes: some Sequence<UInt8>) -> [UInt8] { Array(SHA256.hash(data: Array(bytes))) }

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  for byte in bytes {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  return String(decoding: text, as: UTF8.self)
}

extension RandomNumberGenerator {
  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &self) }
  }
}

/// Base 32 without padding, lower case: letters and digits survive every terminal, chat and e-mail.
///
/// - Source: RFC 4648, section 6, in lower case.
enum Base32 {
  private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

  static func encode(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    var buffer: UInt32 = 0
    var held = 0
    for byte in bytes {
      buffer = buffer << 8 | UInt32(byte)
      held += 8
      while held >= 5 {
        held -= 5
        text.append(alphabet[Int(buffer >> UInt32(held) & 31)])
      }
    }
    if held > 0 { text.append(alphabet[Int(buffer << UInt32(5 - held) & 31)]) }
    return String(decoding: text, as: UTF8.self)
  }

  /// Exactly one text decodes to given bytes: spare bits must be zero. nil for anything else.
  static func decode(_ text: some StringProtocol) -> [UInt8]? {
    var bytes: [UInt8] = []
    var buffer: UInt32 = 0
    var held = 0
    for character in text.utf8 {
      let value: UInt8
      switch character {
      case 0x61...0x7a: value = character - 0x61
      case 0x32...0x37: value = character - 0x32 + 26
      default: return nil
      }
      buffer = (buffer << 5 | UInt32(value)) & 0xfff
      held += 5
      if held >= 8 {
        held -= 8
        bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(held)))
      }
    }
    let spare = buffer & ((1 << UInt32(held)) - 1)
    return held < 5 && spare == 0 ? bytes : nil
  }

  /// How many characters `count` bytes become.
  static func encodedCount(_ count: Int) -> Int { (count * 8 + 4) / 5 }
}

extension Date {
  init(_ timestamp: Timestamp) { self.init(timeIntervalSince1970: Double(timestamp.milliseconds) / 1000) }
}

extension Timestamp {
  /// X.509 times are whole seconds, so nothing is lost.
  init(_ date: Date) { self.init(milliseconds: Int64((date.timeIntervalSince1970 * 1000).rounded())) }
}
