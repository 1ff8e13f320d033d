#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Mathematics as Go's `math` does it.
enum GoMath {
  static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }
}

/// Draws for functions such as `randAlphaNum`: always the same for one seed, so that a rebuilt machine draws the same.
///
/// No secret is safe that was drawn here.
/// - Source: SplitMix64 (Steele, Lea, Flood 2014); the seed by FNV-1a.
struct ExpressionRandom: Sendable {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  static func seed(_ parts: [String]) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for part in parts {
      for byte in part.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
      hash = (hash ^ 0xff) &* 0x100_0000_01b3
    }
    return hash
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func text(_ count: Int, of letters: [UInt8]) -> String {
    String(decoding: (0..<count).map { _ in letters[Int(next() % UInt64(letters.count))] }, as: UTF8.self)
  }

  /// RFC 9562, version 4.
  mutating func uuid() -> String {
    var bytes: [UInt8] = []
    for word in [next(), next()] {
      for shift in stride(from: 56, through: 0, by: -8) {
        bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
      }
    }
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    var text = ""
    for (index, byte) in bytes.enumerated() {
      if [4, 6, 8, 10].contains(index) { text += "-" }
      text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
    return text
  }
}
