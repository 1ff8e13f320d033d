import FederationModel

/// JSON, base 64 and 32, checksums.
extension ExpressionEvaluator {
  mutating func sprigCoding(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "fromJson": return (try? decoded(try a.string(0))) ?? .null
    case "mustFromJson": return try decoded(try a.string(0))
    case "toJson", "mustToJson", "toRawJson", "mustToRawJson":
      return .string(try json(of: try a.value(0), isPretty: false))
    case "toPrettyJson", "mustToPrettyJson": return .string(try json(of: try a.value(0), isPretty: true))
    case "b64enc", "b32enc":
      let text = try a.string(0)
      try spend(bytes: text.utf8.count * 2)
      return .string(name == "b64enc" ? ExpressionText.base64(text) : ExpressionText.base32(text))
    case "b64dec", "b32dec":
      let text = try a.string(0)
      try spend(bytes: text.utf8.count)
      guard let decoded = name == "b64dec" ? ExpressionText.decodeBase64(text) : ExpressionText.decodeBase32(text)
      else {
        throw a.failure("illegal \(name == "b64dec" ? "base64" : "base32") data")
      }
      return .string(decoded)
    case "sha1sum", "sha256sum", "sha512sum", "adler32sum":
      let bytes = Array(try a.string(0).utf8)
      try spend(bytes.count / 4)
      switch name {
      case "sha1sum": return .string(Checksum.sha1(bytes))
      case "sha256sum": return .string(Checksum.sha256(bytes))
      case "sha512sum": return .string(Checksum.sha512(bytes))
      default: return .string(String(Checksum.adler32(bytes)))
      }
    default: return nil
    }
  }
}

/// Checksums as hexadecimal digits.
enum Checksum {
  /// - Source: RFC 1950.
  static func adler32(_ bytes: [UInt8]) -> UInt32 {
    var (a, b): (UInt32, UInt32) = (1, 0)
    for byte in bytes {
      a = (a + UInt32(byte)) % 65_521
      b = (b + a) % 65_521
    }
    return b << 16 | a
  }

  private static func padded(_ bytes: [UInt8], block: Int) -> [UInt8] {
    var padded = bytes + [0x80]
    while padded.count % block != block - 8 { padded.append(0) }
    for shift in stride(from: 56, through: 0, by: -8) {
      padded.append(UInt8(truncatingIfNeeded: (UInt64(bytes.count) << 3) >> UInt64(shift)))
    }
    return padded
  }

  private static func hex<Word: FixedWidthInteger & UnsignedInteger>(_ words: [Word]) -> String {
    words.map { word in
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: Word.bitWidth / 4 - digits.count) + digits
    }.joined()
  }

  private static func words<Word: FixedWidthInteger & UnsignedInteger>(_ bytes: ArraySlice<UInt8>) -> [Word] {
    let width = Word.bitWidth / 8
    return stride(from: bytes.startIndex, to: bytes.endIndex, by: width).map { start in
      bytes[start..<(start + width)].reduce(Word(0)) { $0 << 8 | Word($1) }
    }
  }

  private static func rotated<Word: FixedWidthInteger & UnsignedInteger>(_ word: Word, right count: Int) -> Word {
    word >> Word(count) | word << Word(Word.bitWidth - count)
  }

  /// - Source: FIPS 180-4, section 6.1.
  static func sha1(_ bytes: [UInt8]) -> String {
    var hash: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
    let message = padded(bytes, block: 64)
    for start in stride(from: 0, to: message.count, by: 64) {
      var schedule: [UInt32] = words(message[start..<(start + 64)])
      for index in 16..<80 {
        let mixed = schedule[index - 3] ^ schedule[index - 8] ^ schedule[index - 14] ^ schedule[index - 16]
        schedule.append(rotated(mixed, right: 31))
      }
      var (a, b, c, d, e) = (hash[0], hash[1], hash[2], hash[3], hash[4])
      for index in 0..<80 {
        let (mixed, constant): (UInt32, UInt32) =
          switch index / 20 {
          case 0: (b & c | ~b & d, 0x5a82_7999)
          case 1: (b ^ c ^ d, 0x6ed9_eba1)
          case 2: (b & c | b & d | c & d, 0x8f1b_bcdc)
          default: (b ^ c ^ d, 0xca62_c1d6)
          }
        let next = rotated(a, right: 27) &+ mixed &+ e &+ constant &+ schedule[index]
        (e, d, c, b, a) = (d, c, rotated(b, right: 2), a, next)
      }
      for (index, word) in [a, b, c, d, e].enumerated() { hash[index] &+= word }
    }
    return hex(hash)
  }

  static func sha256(_ bytes: [UInt8]) -> String {
    var hash = roots[0..<8].map { UInt32(truncatingIfNeeded: $0 >> 32) }
    compress(
      padded(bytes, block: 64), into: &hash,
      constants: constants.prefix(64).map { UInt32(truncatingIfNeeded: $0 >> 32) },
      big: ((2, 13, 22), (6, 11, 25)), small: ((7, 18, 3), (17, 19, 10)))
    return hex(hash)
  }

  static func sha512(_ bytes: [UInt8]) -> String {
    var hash = roots
    // Its length field has 16 bytes, of which the first eight are zero.
    var message = bytes + [0x80]
    while message.count % 128 != 112 { message.append(0) }
    message += [UInt8](repeating: 0, count: 8)
    for shift in stride(from: 56, through: 0, by: -8) {
      message.append(UInt8(truncatingIfNeeded: (UInt64(bytes.count) << 3) >> UInt64(shift)))
    }
    compress(
      message, into: &hash, constants: constants, big: ((28, 34, 39), (14, 18, 41)),
      small: ((1, 8, 7), (19, 61, 6)))
    return hex(hash)
  }

  /// - Source: FIPS 180-4, sections 6.2 and 6.4, which differ in width and in rotations only.
  private static func compress<Word: FixedWidthInteger & UnsignedInteger>(
    _ message: [UInt8], into hash: inout [Word], constants: [Word], big: ((Int, Int, Int), (Int, Int, Int)),
    small: ((Int, Int, Int), (Int, Int, Int))
  ) {
    func sum(_ word: Word, _ turns: (Int, Int, Int)) -> Word {
      rotated(word, right: turns.0) ^ rotated(word, right: turns.1) ^ rotated(word, right: turns.2)
    }
    func shifted(_ word: Word, _ turns: (Int, Int, Int)) -> Word {
      rotated(word, right: turns.0) ^ rotated(word, right: turns.1) ^ word >> Word(turns.2)
    }
    let block = Word.bitWidth * 2
    for start in stride(from: 0, to: message.count, by: block) {
      var schedule: [Word] = words(message[start..<(start + block)])
      for index in 16..<constants.count {
        schedule.append(
          shifted(schedule[index - 2], small.1) &+ schedule[index - 7] &+ shifted(schedule[index - 15], small.0)
            &+ schedule[index - 16])
      }
      var state = hash
      for index in constants.indices {
        let choice = state[4] & state[5] ^ ~state[4] & state[6]
        let majority = state[0] & state[1] ^ state[0] & state[2] ^ state[1] & state[2]
        let first = state[7] &+ sum(state[4], big.1) &+ choice &+ constants[index] &+ schedule[index]
        state = [first &+ sum(state[0], big.0) &+ majority] + state[0..<3] + [state[3] &+ first] + state[4..<7]
      }
      for index in hash.indices { hash[index] &+= state[index] }
    }
  }

  /// The fractions of the square roots of the first 8 primes, and of the cube roots of the first 80, in 64 bits.
  private static let roots = fractions(8, power: 2)
  private static let constants = fractions(80, power: 3)

  private static func fractions(_ count: Int, power: Int) -> [UInt64] {
    var primes: [UInt64] = []
    var candidate: UInt64 = 2
    while primes.count < count {
      if !primes.contains(where: { candidate % $0 == 0 }) { primes.append(candidate) }
      candidate += 1
    }
    return primes.map { fraction(of: $0, power: power) }
  }

  /// The greatest root r with 64 bits after the point whose power is not above the prime, bit by bit.
  private static func fraction(of prime: UInt64, power: Int) -> UInt64 {
    // Numbers as 32-bit digits, the least first; the prime is shifted by 64 bits for each factor.
    let target = [UInt32](repeating: 0, count: power * 2) + [UInt32(prime)]
    var root: [UInt32] = [0, 0, 0]
    for bit in stride(from: 68, through: 0, by: -1) {
      var trial = root
      trial[bit / 32] |= 1 << UInt32(bit % 32)
      let raised = (1..<power).reduce(trial) { product, _ in multiplied(product, trial) }
      if !isGreater(raised, target) { root = trial }
    }
    return UInt64(root[1]) << 32 | UInt64(root[0])
  }

  private static func multiplied(_ a: [UInt32], _ b: [UInt32]) -> [UInt32] {
    var product = [UInt32](repeating: 0, count: a.count + b.count)
    for (i, x) in a.enumerated() {
      var carry: UInt64 = 0
      for (j, y) in b.enumerated() {
        let sum = UInt64(x) * UInt64(y) + UInt64(product[i + j]) + carry
        product[i + j] = UInt32(truncatingIfNeeded: sum)
        carry = sum >> 32
      }
      product[i + b.count] = UInt32(truncatingIfNeeded: carry)
    }
    return product
  }

  private static func isGreater(_ a: [UInt32], _ b: [UInt32]) -> Bool {
    for index in stride(from: max(a.count, b.count) - 1, through: 0, by: -1) {
      let (x, y) = (index < a.count ? a[index] : 0, index < b.count ? b[index] : 0)
      if x != y { return x > y }
    }
    return false
  }
}
