import FederationModel
import Testing

@testable import FederationPKI

@Suite("SecretKeyring")
struct SecretKeyringTests {
  private let values = ["access_key_id": "AKIA-1", "secret_access_key": "sehr geheim\n\u{1F511}"]

  @Test("what a ring seals opens with the ring and with its text, and shows none of it")
  func roundTrip() throws {
    let ring = SecretKeyring()
    let sealed = try ring.seal(values, project: "p", name: "s3")
    #expect(try ring.open(sealed, project: "p", name: "s3") == values)
    #expect(try SecretKeyring(text: ring.text).open(sealed, project: "p", name: "s3") == values)
    let shown = String(decoding: sealed, as: UTF8.self)
    for word in Array(values.keys) + Array(values.values) { #expect(!shown.contains(word)) }
    #expect(try ring.seal(values, project: "p", name: "s3") != sealed, "a nonce is never used twice")
  }

  @Test("what is sealed under one name opens under no other, with no other ring, and not when it was changed")
  func binding() throws {
    let ring = SecretKeyring()
    let sealed = try ring.seal(values, project: "p", name: "s3")
    #expect(throws: FederationError.self) { try ring.open(sealed, project: "q", name: "s3") }
    #expect(throws: FederationError.self) { try ring.open(sealed, project: "p", name: "s4") }
    #expect(throws: FederationError.self) { try SecretKeyring().open(sealed, project: "p", name: "s3") }
    #expect(throws: FederationError.self) { try ring.open([], project: "p", name: "s3") }
    for index in sealed.indices {
      var hurt = sealed
      hurt[index] ^= 1
      #expect(throws: FederationError.self, "byte \(index)") { try ring.open(hurt, project: "p", name: "s3") }
    }
    for count in sealed.indices {
      #expect(throws: FederationError.self, "\(count) bytes") {
        try ring.open(Array(sealed.prefix(count)), project: "p", name: "s3")
      }
    }
  }

  @Test("after a rotation the new key seals and the old one still opens; once retired it does not")
  func rotation() throws {
    let old = SecretKeyring()
    let sealed = try old.seal(values, project: "p", name: "s")
    let ring = try old.rotated()
    #expect(ring.count == 2 && !ring.isCurrent(sealed))
    #expect(try SecretKeyring(text: ring.text).open(sealed, project: "p", name: "s") == values)
    let anew = try ring.seal(values, project: "p", name: "s")
    #expect(ring.isCurrent(anew))
    #expect(throws: FederationError.self) { try old.open(anew, project: "p", name: "s") }
    #expect(throws: FederationError.self) { try ring.retired.open(sealed, project: "p", name: "s") }
    #expect(try ring.retired.open(anew, project: "p", name: "s") == values)
  }

  @Test("a text that is no ring is refused, and the refusal quotes none of it", arguments: 0..<6)
  func damage(_ kind: Int) throws {
    let text = SecretKeyring().text
    let texts = [
      "", "fubini-secret-keys 1\n", "fubini-secret-keys 2\n" + text.split(separator: "\n")[1], text + "x",
      String(text.dropLast(9)),
      text + String(repeating: String(text.split(separator: "\n")[1]) + "\n", count: 16),
    ]
    let error = federationError { _ = try SecretKeyring(text: texts[kind]) }
    #expect(error?.code == .failedPrecondition)
    #expect(error?.publicMessage.contains(text.suffix(20)) == false)
  }
}
