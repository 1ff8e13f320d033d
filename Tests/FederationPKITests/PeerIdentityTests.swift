import Crypto
import FederationModel
import FoundationEssentials
import SwiftASN1
import Testing
import X509

@testable import FederationPKI

@Suite("PeerIdentity")
struct PeerIdentityTests {
  let authority: CertificateAuthority
  init() throws { authority = try makeAuthority() }

  private func classify(_ certificate: Certificate, at now: Timestamp = noon) throws -> PeerIdentity {
    try PeerIdentity(certificate: certificate, trusting: authority.bundle, at: now)
  }

  @Test("an issued certificate is its cluster's agent, with what audit records of it")
  func agent() throws {
    let issued = try authority.issueAgent("edge-1")
    guard case .agent(let agent) = try classify(issued.certificate) else { Issue.record("not an agent"); return }
    #expect(agent.cluster == "edge-1")
    #expect(agent.serial == issued.serial)
    #expect(agent.serial.count == 32)
    #expect(agent.fingerprint == issued.fingerprint)
    #expect(agent.issuedAt == noon)
    #expect(agent.notAfter == noon + .seconds(86400))
  }

  @Test(
    "what a certificate may do depends on the time",
    arguments: [
      (-601, "notYetValid"), (-599, "agent"), (0, "agent"), (86400, "agent"), (86401, "expired"),
      (86400 * 31, "expired"),
      (86400 * 31 + 1, "expiredTooLong"),
    ])
  func times(offset: Int, expected: String) throws {
    let issued = try authority.issueAgent("edge-1")
    let outcome: String
    do {
      let fresh = try classify(issued.certificate, at: noon + .seconds(offset))
      let again = try classify(issued.certificate, at: noon).reclassified(at: noon + .seconds(offset))
      #expect(fresh == again)
      outcome =
        switch fresh {
        case .agent: "agent"
        case .expiredAgent: "expired"
        case .joining: "joining"
        }
    } catch {
      outcome = (error as? PeerRefusal)?.rawValue ?? "\(error)"
    }
    #expect(outcome == expected)
  }

  @Test("a self-signed certificate may join, with its own key")
  func joining() throws {
    var random = SeededRandom(seed: 3)
    let key = AgentKey(using: &random)
    let certificate = try Certificate(pemEncoded: key.joiningCertificate(at: noon, using: &random))
    #expect(try classify(certificate) == .joining(publicKey: Array(key.privateKey.publicKey.x963Representation)))
  }

  @Test("a self-signed certificate that names an agent still may only join")
  func impostor() throws {
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let name = try DistinguishedName { CommonName("x") }
    let certificate = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: key.publicKey, notValidBefore: Date(noon),
      notValidAfter: Date(noon + .seconds(60)),
      issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: Certificate.Extensions {
        try ExtendedKeyUsage([.clientAuth])
        SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://fed.test/agent/edge-1")])
      }, issuerPrivateKey: key)
    guard case .joining = try classify(certificate) else { Issue.record("taken for more than a joining agent"); return }
  }

  @Test(
    "a name that is not exactly one agent's is refused",
    arguments: [
      ([], PeerRefusal.malformedName), (["spiffe://fed.test/agent/a", "spiffe://fed.test/agent/b"], .malformedName),
      (["spiffe://fed.test/agent/"], .malformedName), (["spiffe://fed.test/agent/a/b"], .malformedName),
      (["spiffe://fed.test/agent/A"], .malformedName), (["spiffe://fed.test/agent/a%2fb"], .malformedName),
      (["spiffe://fed.test/agent/a?x"], .malformedName), (["spiffe://fed.test"], .malformedName),
      (["https://fed.test/agent/a"], .malformedName), (["spiffe://other.test/agent/a"], .wrongTrustDomain),
      (["spiffe://fed.test:1/agent/a"], .wrongTrustDomain), (["spiffe://fed.test.evil/agent/a"], .wrongTrustDomain),
      (["spiffe://fed.test/controlplane"], .notAnAgent),
    ] as [([String], PeerRefusal)])
  func names(uris: [String], expected: PeerRefusal) throws {
    let certificate = try authority.sign(uris: uris)
    #expect(throws: expected) { try classify(certificate) }
  }

  @Test("a certificate for another use is refused: server, none, or a CA's")
  func usage() throws {
    let uri = ["spiffe://fed.test/agent/a"]
    #expect(throws: PeerRefusal.wrongUsage) { try classify(authority.sign(uris: uri, usage: .serverAuth)) }
    #expect(throws: PeerRefusal.wrongUsage) { try classify(authority.sign(uris: uri, usage: nil)) }
    #expect(throws: PeerRefusal.wrongUsage) { try classify(authority.sign(uris: uri, isAuthority: true)) }
  }

  @Test("a certificate of another CA is refused, also when that CA bears the same name")
  func foreign() throws {
    let stranger = try makeAuthority(seed: 2)
    #expect(throws: PeerRefusal.foreignAuthority) { try classify(stranger.issueAgent("edge-1").certificate) }
    let key = P256.Signing.PrivateKey()
    let twin = try Certificate(
      version: .v3, serialNumber: .init(), publicKey: Certificate.PrivateKey(key).publicKey, notValidBefore: Date(noon),
      notValidAfter: Date(noon + .seconds(60)), issuer: authority.certificate.subject,
      subject: DistinguishedName { CommonName("x") },
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: Certificate.Extensions {
        SubjectAlternativeNames([.uniformResourceIdentifier("spiffe://fed.test/agent/a")])
      },
      issuerPrivateKey: Certificate.PrivateKey(P256.Signing.PrivateKey()))
    #expect(throws: PeerRefusal.foreignAuthority) { try classify(twin) }
  }

  @Test("a key of another curve is refused, and so is what an expired CA issued")
  func keyAndAuthority() throws {
    let p384 = Certificate.PrivateKey(P384.Signing.PrivateKey()).publicKey
    #expect(throws: PeerRefusal.unsupportedKey) {
      try classify(authority.sign(uris: ["spiffe://fed.test/agent/a"], key: p384))
    }
    let late = noon + CertificateAuthority.authorityValidity + .seconds(301)
    let certificate = try authority.sign(uris: ["spiffe://fed.test/agent/a"], to: late + .seconds(60))
    #expect(throws: PeerRefusal.authorityExpired) { try classify(certificate, at: late) }
  }

  @Test("flipping any byte of a certificate never makes it say anything else")
  func mutations() throws {
    let issued = try authority.issueAgent("edge-1")
    let der = try issued.certificate.derBytes
    var accepted = 0
    for index in der.indices {
      var mutated = der
      mutated[index] ^= 0x01
      guard let outcome = try? PeerIdentity(der: mutated, trusting: authority.bundle, at: noon) else { continue }
      // A signature has more than one encoding; what it signs has not.
      accepted += 1
      guard case .agent(let agent) = outcome else { Issue.record("byte \(index): \(outcome)"); continue }
      #expect(agent.cluster == "edge-1", "byte \(index)")
      #expect(agent.serial == issued.serial, "byte \(index)")
      #expect(agent.notAfter == issued.notAfter, "byte \(index)")
    }
    #expect(accepted <= 2)
  }

  @Test("bytes that are no certificate, and too many of them, are refused")
  func rubbish() {
    #expect(throws: PeerRefusal.malformed) { try PeerIdentity(der: [], trusting: authority.bundle, at: noon) }
    #expect(throws: PeerRefusal.malformed) {
      try PeerIdentity(der: [0x30, 0x80, 1], trusting: authority.bundle, at: noon)
    }
    let large = [UInt8](repeating: 0x30, count: PeerIdentity.sizeLimit + 1)
    #expect(throws: PeerRefusal.tooLarge) { try PeerIdentity(der: large, trusting: authority.bundle, at: noon) }
  }

  @Test("every refusal tells the peer what is wrong", arguments: PeerRefusal.allCases)
  func messages(refusal: PeerRefusal) {
    let error = refusal.federationError
    #expect(error.publicMessage.count > 30)
    #expect([.unauthenticated, .permissionDenied, .failedPrecondition].contains(error.code))
  }

  @Test("during a rollover agents of both CAs are known, and afterwards those of the old one are foreign")
  func rollover() throws {
    var random = SeededRandom(seed: 4)
    let old = try authority.issueAgent("edge-1").certificate
    let next = try authority.rolledOver(at: noon + .seconds(10), using: &random)
    let new = try next.issueAgent("edge-2", at: noon + .seconds(10)).certificate
    for certificate in [old, new] {
      guard case .agent = try PeerIdentity(certificate: certificate, trusting: next.bundle, at: noon + .seconds(20))
      else {
        Issue.record("not an agent")
        return
      }
    }
    let alone = try TrustBundle(trustDomain: next.trustDomain, authorities: [next.certificate])
    #expect(throws: PeerRefusal.foreignAuthority) { try PeerIdentity(certificate: old, trusting: alone, at: noon) }
    #expect(try TrustBundle(trustDomain: next.trustDomain, pem: next.bundle.pem()) == next.bundle)
  }
}
