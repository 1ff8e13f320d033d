import Crypto
import FederationModel
import FoundationEssentials
import SwiftASN1
import Testing
import X509

@testable import FederationPKI

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

@Suite("CertificateAuthority")
struct CertificateAuthorityTests {
  @Test("a request that asks for another cluster's name gets its own alone")
  func foreignName() throws {
    let authority = try makeAuthority()
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let request = try CertificateSigningRequest(
      version: .v1, subject: DistinguishedName { CommonName("edge-2") }, privateKey: key,
      attributes: .init([
        .init(
          ExtensionRequest(
            extensions: Certificate.Extensions {
              SubjectAlternativeNames([
                .uniformResourceIdentifier("spiffe://fed.test/agent/edge-2"), .dnsName("evil.example"),
              ])
              try ExtendedKeyUsage([.serverAuth])
            }))
      ]), signatureAlgorithm: .ecdsaWithSHA256)
    var serializer = DER.Serializer()
    try serializer.serialize(request)
    var random = SeededRandom(seed: 5)
    let issued = try authority.issueAgentCertificate(
      requestDER: serializer.serializedBytes, cluster: "edge-1", at: noon, using: &random)
    let names = try #require(try issued.certificate.extensions.subjectAlternativeNames)
    #expect(Array(names) == [.uniformResourceIdentifier("spiffe://fed.test/agent/edge-1")])
    #expect(try Array(#require(try issued.certificate.extensions.extendedKeyUsage)) == [.clientAuth])
    #expect(issued.notBefore == noon + .seconds(-300))
    #expect(issued.notAfter == noon + .seconds(86400))
  }

  /// A signature's wrapping has several encodings (the count of unused bits, for one), so some flips change nothing that was signed.
  @Test("flipping any byte of a request gets it refused, or leaves what was signed as it was")
  func tamperedRequest() throws {
    let authority = try makeAuthority()
    var random = SeededRandom(seed: 6)
    let key = AgentKey(using: &random)
    let request = try key.request()
    var refusals = 0
    for index in request.indices {
      var tampered = request
      tampered[index] ^= 0x01
      do {
        let issued = try authority.issueAgentCertificate(
          requestDER: tampered, cluster: "edge-1", at: noon, using: &random)
        #expect(issued.certificate.publicKey == Certificate.PublicKey(key.privateKey.publicKey), "byte \(index)")
      } catch {
        #expect(error.code == .invalidArgument, "byte \(index)")
        refusals += 1
      }
    }
    #expect(refusals >= request.count - 2)
  }

  @Test("a request for another key than the connection's is refused")
  func otherKey() throws {
    let authority = try makeAuthority()
    var random = SeededRandom(seed: 6)
    let mine = AgentKey(using: &random)
    let other = AgentKey(using: &random)
    func issue(_ key: AgentKey) throws {
      _ = try authority.issueAgentCertificate(
        requestDER: mine.request(), cluster: "edge-1", expectedKey: Array(key.privateKey.publicKey.x963Representation),
        at: noon,
        using: &random)
    }
    try issue(mine)
    #expect(federationError { try issue(other) }?.publicMessage.contains("another key") == true)
  }

  @Test("requests that are too large, of another curve, or for no cluster's name are refused")
  func badRequests() throws {
    let authority = try makeAuthority()
    var random = SeededRandom(seed: 6)
    let p384 = try CertificateSigningRequest(
      version: .v1, subject: DistinguishedName { CommonName("x") }, privateKey: .init(P384.Signing.PrivateKey()),
      attributes: .init(), signatureAlgorithm: .ecdsaWithSHA384)
    var serializer = DER.Serializer()
    try serializer.serialize(p384)
    let good = try AgentKey(using: &random).request()
    let cases: [([UInt8], ClusterName, String)] = [
      (good + [UInt8](repeating: 0, count: 8192), "a", "larger"), (serializer.serializedBytes, "a", "P-256"),
      ([], "a", "PKCS"),
      (good, "Not a name", "not a cluster"), (good, "a/b", "not a cluster"),
    ]
    for (request, cluster, words) in cases {
      let error = federationError {
        _ = try authority.issueAgentCertificate(requestDER: request, cluster: cluster, at: noon, using: &random)
      }
      #expect(error?.publicMessage.contains(words) == true, "\(words)")
    }
  }

  @Test("serial numbers are unique, positive and 16 bytes long")
  func serials() throws {
    let authority = try makeAuthority()
    var random = SeededRandom(seed: 8)
    let request = try AgentKey(using: &random).request()
    let serials = try (0..<200).map { _ in
      try authority.issueAgentCertificate(requestDER: request, cluster: "a", at: noon, using: &random).serial
    }
    #expect(Set(serials).count == 200)
    #expect(serials.allSatisfy { $0.count == 32 && $0.first! < "8" })
  }

  @Test("a server certificate carries the control plane's name and its addresses; a wrong address is refused")
  func serverCertificate() throws {
    let authority = try makeAuthority()
    var random = SeededRandom(seed: 9)
    let key = P256.Signing.PrivateKey()
    let issued = try authority.issueServerCertificate(
      for: key.publicKey, addresses: ["Fubini.example.org", "127.0.0.1", "::1"], at: noon, using: &random)
    let names = try Array(#require(try issued.certificate.extensions.subjectAlternativeNames))
    #expect(
      names == [
        .uniformResourceIdentifier("spiffe://fed.test/controlplane"), .dnsName("fubini.example.org"),
        .ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, 1])),
        .ipAddress(ASN1OctetString(contentBytes: ArraySlice([UInt8](repeating: 0, count: 15) + [1]))),
      ])
    for address in ["", "a b", "-x.example", "a..b", "*.example.org"] {
      let error = federationError {
        _ = try authority.issueServerCertificate(for: key.publicKey, addresses: [address], at: noon, using: &random)
      }
      #expect(error?.code == .invalidArgument, "\(address)")
    }
  }

  @Test("agents believe the control plane of their CA, and nobody else")
  func serverVerification() throws {
    let authority = try makeAuthority()
    let stranger = try makeAuthority(seed: 2)
    var random = SeededRandom(seed: 9)
    let key = P256.Signing.PrivateKey().publicKey
    func chain(_ ca: CertificateAuthority, _ leaf: Certificate? = nil) throws -> [[UInt8]] {
      let leaf = try leaf ?? ca.issueServerCertificate(for: key, addresses: [], at: noon, using: &random).certificate
      return [try leaf.derBytes, try ca.certificate.derBytes]
    }
    let good = try chain(authority)
    try ServerVerification.verify(chain: good, pin: authority.pin, at: noon)
    try ServerVerification.verify(chain: good, bundle: authority.bundle, at: noon)
    let agentLeaf = try authority.issueAgent("edge-1").certificate
    let otherDomain = try authority.sign(uris: ["spiffe://other.test/controlplane"], usage: .serverAuth)
    let serverAsAgent = try authority.sign(uris: ["spiffe://fed.test/agent/edge-1"], usage: .serverAuth)
    let attempts: [(String, [[UInt8]], Timestamp, inPin: Bool)] = [
      ("foreign", try chain(stranger), noon, true), ("an agent's", try chain(authority, agentLeaf), noon, true),
      ("agent name, server use", try chain(authority, serverAsAgent), noon, true),
      ("other domain", try chain(authority, otherDomain), noon, false),
      ("expired", good, noon + .seconds(8 * 86400), true),
      ("not yet", good, noon + .seconds(-1000), true), ("empty", [], noon, true), ("rubbish", [[1, 2, 3]], noon, true),
      ("foreign leaf, our CA", [try chain(stranger)[0], try authority.certificate.derBytes], noon, true),
    ]
    for (name, chain, now, inPin) in attempts {
      let byBundle = federationError { try ServerVerification.verify(chain: chain, bundle: authority.bundle, at: now) }
      #expect(byBundle?.code == .permissionDenied, "\(name)")
      guard inPin else { continue }
      let byPin = federationError { try ServerVerification.verify(chain: chain, pin: authority.pin, at: now) }
      #expect(byPin?.code == .permissionDenied, "\(name)")
    }
    #expect(
      federationError { try ServerVerification.verify(chain: good, pin: stranger.pin, at: noon) }?.publicMessage
        .contains("join token") == true)
    #expect(federationError { try ServerVerification.verify(chain: [good[0]], pin: authority.pin, at: noon) } != nil)
  }

  @Test("an operator's CA is checked: key, certificate and use must fit together")
  func operatorsAuthority() throws {
    let authority = try makeAuthority()
    let other = try makeAuthority(seed: 2)
    let leaf = try authority.issueAgent("a")
    func load(_ certificate: String, _ key: String, at now: Timestamp = noon) throws {
      _ = try CertificateAuthority(
        federationID: "f", trustDomain: TrustDomain("fed.test"), certificatePEM: certificate, keyPEM: key, at: now)
    }
    let pem = try authority.bundle.pem()
    let key = authority.key.pemRepresentation
    try load(pem, key)
    var random = SeededRandom(seed: 7)
    let leafKey = AgentKey(using: &random)
    #expect(
      federationError { try load(pem, other.key.pemRepresentation) }?.publicMessage.contains("belong together") == true)
    #expect(federationError { try load(leaf.pem, leafKey.pem) }?.publicMessage.contains("not a CA") == true)
    #expect(federationError { try load("", key) }?.publicMessage.contains("no certificate") == true)
    #expect(federationError { try load(pem, "rubbish") }?.publicMessage.contains("private key") == true)
    #expect(
      federationError { try load("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", key) }?.code
        == .invalidArgument)
    #expect(
      federationError { try load(pem, key, at: noon + CertificateAuthority.authorityValidity + .seconds(1)) }?
        .publicMessage.contains("expired") == true)
  }

  @Test("the CA is made once, and is the same after every start; its files are their owner's alone")
  func files() throws {
    try withTemporaryDirectory { parent in
      let path = parent + "/pki"
      var random = SeededRandom(seed: 11)
      let domain = try TrustDomain("fed.test")
      let made = try CertificateAuthority.loadOrMake(
        in: SecretDirectory(path: path), trustDomain: domain, at: noon, using: &random)
      let loaded = try CertificateAuthority.loadOrMake(
        in: SecretDirectory(path: path), trustDomain: domain, at: noon, using: &random)
      #expect(loaded.federationID == made.federationID)
      #expect(loaded.bundle == made.bundle)
      #expect(loaded.key.rawRepresentation == made.key.rawRepresentation)
      #expect(mode(path) == 0o700)
      #expect(try FileManager.default.contentsOfDirectory(atPath: path).sorted() == ["authority.pem", "federation"])
      #expect(mode(path + "/authority.pem") == 0o600)
      let next = try made.rolledOver(at: noon, using: &random)
      try next.save(in: SecretDirectory(path: path))
      let rolled = try CertificateAuthority.loadOrMake(
        in: SecretDirectory(path: path), trustDomain: domain, at: noon, using: &random)
      #expect(rolled.bundle == next.bundle)
      #expect(rolled.federationID == made.federationID)
      let other = try TrustDomain("other.test")
      let error = federationError {
        _ = try CertificateAuthority.loadOrMake(
          in: SecretDirectory(path: path), trustDomain: other, at: noon, using: &random)
      }
      #expect(error?.code == .failedPrecondition)
    }
  }

  @Test(
    "key files and directories that others can open are refused, with the command that mends them",
    arguments: [0o640, 0o604, 0o620, 0o602])
  func permissions(bits: Int) throws {
    try withTemporaryDirectory { parent in
      let path = parent + "/pki"
      var random = SeededRandom(seed: 11)
      let directory = try SecretDirectory(path: path)
      _ = try CertificateAuthority.loadOrMake(
        in: directory, trustDomain: TrustDomain("fed.test"), at: noon, using: &random)
      #expect(chmod(path + "/authority.pem", mode_t(bits)) == 0)
      let file = federationError {
        _ = try CertificateAuthority.loadOrMake(
          in: directory, trustDomain: TrustDomain("fed.test"), at: noon, using: &random)
      }
      #expect(file?.publicMessage.contains("chmod 600") == true)
      #expect(chmod(path, mode_t(bits | 0o100)) == 0)
      #expect(federationError { _ = try SecretDirectory(path: path) }?.publicMessage.contains("chmod 700") == true)
    }
  }

  @Test("a damaged CA directory is refused instead of being overwritten")
  func damaged() throws {
    try withTemporaryDirectory { parent in
      let directory = try SecretDirectory(path: parent + "/pki")
      try directory.write("nothing useful", to: "authority.pem")
      var random = SeededRandom(seed: 11)
      let error = federationError {
        _ = try CertificateAuthority.loadOrMake(
          in: directory, trustDomain: TrustDomain("fed.test"), at: noon, using: &random)
      }
      #expect(error?.code == .failedPrecondition)
      #expect(try directory.read("authority.pem") == "nothing useful")
      #expect(try directory.read("missing") == nil)
    }
  }
}
