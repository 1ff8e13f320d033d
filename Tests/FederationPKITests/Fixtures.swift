import Crypto
import FederationModel
import FoundationEssentials
import Glibc
import SwiftASN1
import Testing
import X509

@testable import FederationPKI

/// SplitMix64: the same numbers for the same seed.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

let noon = Timestamp(milliseconds: 1_790_000_000_000)

func makeAuthority(seed: UInt64 = 1, domain: String = "fed.test", at now: Timestamp = noon) throws
  -> CertificateAuthority
{
  var random = SeededRandom(seed: seed)
  return try .make(federationID: "f\(seed)", trustDomain: TrustDomain(domain), at: now, using: &random)
}

extension CertificateAuthority {
  /// A CA that has taken over, while this one stays trusted.
  func rolledOver(at now: Timestamp, using random: inout SeededRandom) throws -> CertificateAuthority {
    let next = try Self.make(federationID: federationID, trustDomain: trustDomain, at: now, using: &random)
    return try CertificateAuthority(
      federationID: federationID, trustDomain: trustDomain, certificate: next.certificate, key: next.key,
      previous: bundle.authorities, at: now)
  }

  /// A certificate with whatever is asked for, right or wrong.
  func sign(
    uris: [String], usage: ExtendedKeyUsage.Usage? = .clientAuth, isAuthority: Bool = false,
    key: Certificate.PublicKey? = nil,
    from: Timestamp = noon, to: Timestamp = noon + .seconds(86400)
  ) throws -> Certificate {
    try Certificate(
      version: .v3, serialNumber: .init(),
      publicKey: key ?? Certificate.PrivateKey(P256.Signing.PrivateKey()).publicKey,
      notValidBefore: Date(from), notValidAfter: Date(to), issuer: certificate.subject,
      subject: DistinguishedName { CommonName("x") }, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: Certificate.Extensions {
        if isAuthority { Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0)) }
        if let usage { try ExtendedKeyUsage([usage]) }
        SubjectAlternativeNames(uris.map { .uniformResourceIdentifier($0) })
      }, issuerPrivateKey: Certificate.PrivateKey(self.key))
  }

  func issueAgent(_ cluster: ClusterName, at now: Timestamp = noon, seed: UInt64 = 7) throws -> IssuedCertificate {
    var random = SeededRandom(seed: seed)
    let request = try AgentKey(using: &random).request()
    return try issueAgentCertificate(requestDER: request, cluster: cluster, at: now, using: &random)
  }
}

/// The error that `body` throws; records an issue when it throws none.
func federationError(_ body: () throws -> Void) -> FederationError? {
  do {
    try body()
    Issue.record("no error was thrown")
  } catch let error as FederationError {
    return error
  } catch {
    Issue.record("another kind of error was thrown: \(error)")
  }
  return nil
}

/// The permission bits of a file; 0 when there is none.
func mode(_ path: String) -> mode_t {
  var status = stat()
  return lstat(path, &status) == 0 ? status.st_mode & 0o777 : 0
}

func withTemporaryDirectory(_ body: (String) throws -> Void) throws {
  var template = Array("/tmp/fubini-pki.XXXXXX".utf8CString)
  let path = try #require(mkdtemp(&template).map { String(cString: $0) })
  defer { try? FileManager.default.removeItem(atPath: path) }
  try body(path)
}
