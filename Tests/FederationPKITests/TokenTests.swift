import FederationModel
import Testing

@testable import FederationPKI

@Suite("JoinToken and BearerToken")
struct TokenTests {
  private func token(seed: UInt64 = 1) throws -> JoinToken {
    var random = SeededRandom(seed: seed)
    return JoinToken(pin: try makeAuthority().pin, using: &random)
  }

  @Test("a join token survives its text, and white space around it", arguments: 0..<50)
  func roundTrip(seed: UInt64) throws {
    let token = try token(seed: seed)
    #expect(try JoinToken(text: token.text) == token, "seed \(seed)")
    #expect(try JoinToken(text: "  \(token.text)\n") == token, "seed \(seed)")
    #expect(token.text.utf8.count == 127)
  }

  @Test("a join token changed at any character is refused")
  func mutations() throws {
    let text = Array(try token().text)
    let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567_1-A")
    for index in text.indices {
      for replacement in alphabet where replacement != text[index] {
        var mutated = text
        mutated[index] = replacement
        #expect(throws: FederationError.self, "character \(index)") { try JoinToken(text: String(mutated)) }
      }
    }
  }

  @Test("a token that was cut off is told from a damaged one, a longer one and another thing")
  func explanations() throws {
    let text = try token().text
    for count in JoinToken.prefix.count..<text.count {
      let error = federationError { _ = try JoinToken(text: String(text.prefix(count))) }
      #expect(error?.publicMessage.contains("cut off") == true, "\(count) characters")
    }
    let last = text.last == "a" ? "e" : "a"
    #expect(federationError { _ = try JoinToken(text: text + "a") }?.publicMessage.contains("too long") == true)
    #expect(
      federationError { _ = try JoinToken(text: text.replacing(text.dropFirst(40).prefix(4), with: "aaaa")) }?
        .publicMessage.contains("damaged") == true)
    #expect(
      federationError { _ = try JoinToken(text: text.dropLast() + last) }?.publicMessage.contains("Copy it again")
        == true)
    #expect(federationError { _ = try JoinToken(text: "fbn_x") }?.publicMessage.contains("not a join token") == true)
  }

  @Test("a token is admitted once, until it expires, and for its own cluster alone")
  func admission() throws {
    let token = try token()
    var record = token.record(cluster: "edge-1", expiresAt: noon + .seconds(600))
    #expect(try record.admit(token, at: noon) == "edge-1")
    #expect(try record.admit(token, at: noon + .seconds(599)) == "edge-1")
    #expect(
      federationError { _ = try record.admit(token, at: noon + .seconds(600)) }?.publicMessage.contains("expired")
        == true)
    #expect(
      federationError { _ = try record.admit(self.token(seed: 2), at: noon) }?.publicMessage.contains("does not know")
        == true)
    record.usedAt = noon
    #expect(federationError { _ = try record.admit(token, at: noon) }?.publicMessage.contains("has been used") == true)
    // Same id, other secret: nothing is said of the record's state.
    let forged = JoinTokenRecord(
      id: token.id, secretHash: try self.token(seed: 3).record(cluster: "x", expiresAt: noon).secretHash,
      cluster: "edge-1",
      expiresAt: noon, usedAt: noon)
    #expect(
      federationError { _ = try forged.admit(token, at: noon) }?.publicMessage == JoinTokenRecord.unknown.publicMessage)
  }

  @Test("I9: neither a token's description nor its record shows the secret")
  func noSecretShown() throws {
    let token = try token()
    var random = SeededRandom(seed: 1)
    let bearer = BearerToken(using: &random)
    for text in ["\(token)", String(reflecting: token), "\(bearer)", String(reflecting: bearer)] {
      #expect(text.utf8.count < 40)
    }
    #expect(!"\(token.record(cluster: "a", expiresAt: noon))".contains(token.text.dropFirst(20).prefix(20)))
  }

  @Test("an API token survives its text and is refused when changed at any character")
  func bearer() throws {
    var random = SeededRandom(seed: 5)
    let token = BearerToken(using: &random)
    let other = BearerToken(using: &random)
    #expect(token.text.hasPrefix("fbn_"))
    #expect(token.text.utf8.count == 62)
    #expect(try BearerToken(text: token.text) == token)
    #expect(token.matches(token.hash))
    #expect(!token.matches(other.hash))
    #expect(SecretHash(bytes: token.hash.bytes) == token.hash)
    #expect(SecretHash(bytes: [1, 2]) == nil)
    let text = Array(token.text)
    for index in text.indices {
      for replacement in "abz27_A" where replacement != text[index] {
        var mutated = text
        mutated[index] = replacement
        #expect(throws: FederationError.self, "character \(index)") { try BearerToken(text: String(mutated)) }
      }
      #expect(throws: FederationError.self, "\(index) characters") { try BearerToken(text: String(text[..<index])) }
    }
  }

  @Test("base 32 decodes what it encoded, and exactly one text for given bytes", arguments: 0..<100)
  func base32(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let bytes = random.bytes(Int.random(in: 0...80, using: &random))
    let text = Base32.encode(bytes)
    #expect(Base32.decode(text) == bytes, "seed \(seed)")
    #expect(text.utf8.count == Base32.encodedCount(bytes.count), "seed \(seed)")
    guard let last = text.last else { return }
    let others = "abcdefghijklmnopqrstuvwxyz234567".filter { $0 != last }
    #expect(others.allSatisfy { Base32.decode(text.dropLast() + String($0)) != bytes }, "seed \(seed)")
  }

  @Test(
    "RFC 4648's test vectors",
    arguments: [
      ("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb"),
      ("foobar", "mzxw6ytboi"),
    ])
  func vectors(plain: String, encoded: String) {
    #expect(Base32.encode(Array(plain.utf8)) == encoded)
  }

  @Test("comparison finds every difference")
  func comparison() {
    let bytes: [UInt8] = [1, 2, 3, 255]
    #expect(constantTimeEqual(bytes, bytes))
    #expect(!constantTimeEqual(bytes, [1, 2, 3]))
    for index in bytes.indices {
      var other = bytes
      other[index] ^= 0x80
      #expect(!constantTimeEqual(bytes, other))
    }
  }
}

@Suite("RotationSchedule")
struct RotationScheduleTests {
  @Test("renewal falls between half and six tenths of the life, for any jitter", arguments: 0..<100)
  func window(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let life = Int64.random(in: 0...1_000_000_000, using: &random)
    let jitter = Double.random(in: -2...3, using: &random)
    let renewal = RotationSchedule.renewal(notBefore: noon, notAfter: noon + .milliseconds(life), jitter: jitter)
    #expect((renewal - noon).milliseconds >= life / 2, "seed \(seed)")
    #expect((renewal - noon).milliseconds <= life * 6 / 10 + 1, "seed \(seed)")
  }

  @Test("odd input gives a time all the same")
  func oddInput() {
    #expect(RotationSchedule.renewal(notBefore: noon, notAfter: noon + .seconds(-5), jitter: 0.5) == noon)
    #expect(
      RotationSchedule.renewal(notBefore: noon, notAfter: noon + .seconds(10), jitter: .nan) == noon + .seconds(5))
  }

  @Test("the pause between attempts grows to ten minutes and no further")
  func pauses() {
    #expect(RotationSchedule.retryDelay(attempt: 0, jitter: 0) == .seconds(5))
    #expect(RotationSchedule.retryDelay(attempt: 1, jitter: 0) == .seconds(10))
    #expect(RotationSchedule.retryDelay(attempt: 1_000_000, jitter: 0) == .seconds(600))
    #expect(RotationSchedule.retryDelay(attempt: -1, jitter: 1) == .milliseconds(2500))
  }
}
