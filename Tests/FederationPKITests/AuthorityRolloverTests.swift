import Crypto
import FederationModel
import FoundationEssentials
import Glibc
import Testing
import X509

@testable import FederationPKI

@Suite struct AuthorityRolloverTests {
  /// A directory with a CA, and what stages and promotes in it.
  private func withAuthority(
    _ body: (SecretDirectory, AuthorityRollover, CertificateAuthority, inout SeededRandom) throws -> Void
  ) throws {
    try withTemporaryDirectory { parent in
      var random = SeededRandom(seed: 21)
      let directory = try SecretDirectory(path: parent + "/pki")
      let domain = try TrustDomain("fed.test")
      let authority = try CertificateAuthority.loadOrMake(in: directory, trustDomain: domain, at: noon, using: &random)
      try body(directory, AuthorityRollover(directory: directory, trustDomain: domain), authority, &random)
    }
  }

  private func load(_ directory: SecretDirectory) throws -> CertificateAuthority {
    try #require(try CertificateAuthority.load(in: directory, trustDomain: TrustDomain("fed.test"), at: noon))
  }

  @Test("a CA is trusted when staged, signs when promoted, and the one before is trusted until it is retired")
  func steps() throws {
    try withAuthority { directory, rollover, first, random in
      #expect(try rollover.staged() == nil)
      let next = try rollover.stage(at: noon, using: &random)
      #expect(try rollover.staged() == next)
      #expect(try load(directory).bundle.authorities == [first.certificate, next])
      let agent = try load(directory).issueAgent("edge")
      #expect(
        try TrustBundle(trustDomain: first.trustDomain, authorities: [first.certificate]).issuer(of: agent.certificate)
          != nil)

      let promoted = try rollover.promote(at: noon)
      #expect(try load(directory).bundle == promoted.bundle)
      #expect(promoted.bundle.authorities == [next, first.certificate] && promoted.federationID == first.federationID)
      #expect(try rollover.staged() == nil)
      let later = try promoted.issueAgent("edge")
      for certificate in [agent.certificate, later.certificate] {
        guard case .agent = try PeerIdentity(certificate: certificate, trusting: promoted.bundle, at: noon) else {
          Issue.record("an agent of either CA is an agent")
          continue
        }
      }
      #expect(try rollover.retire(at: noon) == [first.certificate])
      #expect(try load(directory).bundle.authorities == [next])
      #expect(try rollover.retire(at: noon).isEmpty, "again changes nothing")
      let bundle = try load(directory).bundle
      #expect(throws: PeerRefusal.foreignAuthority) {
        try PeerIdentity(certificate: agent.certificate, trusting: bundle, at: noon)
      }
      #expect(mode(directory.path + "/authority.pem") == 0o600)
    }
  }

  @Test("steps out of turn are refused, and change nothing")
  func outOfTurn() throws {
    try withAuthority { directory, rollover, first, random in
      #expect(federationError { _ = try rollover.promote(at: noon) }?.publicMessage.contains("ca stage") == true)
      #expect(federationError { _ = try rollover.unstage() } != nil)
      let next = try rollover.stage(at: noon, using: &random)
      let again = federationError { _ = try rollover.stage(at: noon, using: &random) }
      #expect(again?.publicMessage.contains("staged already") == true)
      // What is staged is not retired by the way.
      #expect(try rollover.retire(at: noon).isEmpty)
      #expect(try load(directory).bundle.authorities == [first.certificate, next])
      #expect(try rollover.unstage() == next)
      #expect(try load(directory).bundle.authorities == [first.certificate])
    }
  }

  @Test("a crash between the two files of a promotion leaves a promoted CA")
  func crash() throws {
    try withAuthority { directory, rollover, first, random in
      let next = try rollover.stage(at: noon, using: &random)
      let file = try #require(try directory.read(CertificateAuthority.stagedFile))
      _ = try rollover.promote(at: noon)
      try directory.write(file, to: CertificateAuthority.stagedFile)
      #expect(try rollover.staged() == nil)
      #expect(try load(directory).bundle.authorities == [next, first.certificate])
      _ = try rollover.stage(at: noon, using: &random)
      #expect(try rollover.staged() != nil)
    }
  }

  @Test("an operator's CA can be staged; one that does not fit is refused before anything is written")
  func given() throws {
    try withAuthority { directory, rollover, first, random in
      let own = try makeAuthority(seed: 5)
      let pem = try own.certificatePEM()
      let wrong = federationError {
        _ = try rollover.stage((pem, first.key.pemRepresentation), at: noon, using: &random)
      }
      #expect(wrong?.publicMessage.contains("belong together") == true)
      #expect(try rollover.staged() == nil)
      // As `openssl ecparam -genkey` writes it: the curve's parameters, then the key.
      let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
      let staged = try rollover.stage((pem, parameters + own.key.pemRepresentation), at: noon, using: &random)
      #expect(staged == own.certificate)
      #expect(try rollover.promote(at: noon).key.rawRepresentation == own.key.rawRepresentation)
    }
  }

  @Test("a CA by file keeps the federation's id, trusts its bundle, and names the file that is wrong")
  func files() throws {
    try withTemporaryDirectory { parent in
      var random = SeededRandom(seed: 3)
      let (own, old) = (try makeAuthority(seed: 5), try makeAuthority(seed: 6))
      let directory = try SecretDirectory(path: parent + "/pki")
      func write(_ text: String, _ name: String, _ bits: mode_t = 0o600) throws -> String {
        let path = "\(parent)/\(name)"
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        #expect(chmod(path, bits) == 0)
        return path
      }
      func load(_ certificate: String, _ key: String, _ bundle: String?) throws -> CertificateAuthority {
        try CertificateAuthority.load(
          certificateFile: certificate, keyFile: key, bundleFile: bundle, in: directory,
          trustDomain: TrustDomain("fed.test"), at: noon, using: &random)
      }
      let certificate = try write(own.certificatePEM(), "ca.crt", 0o644)
      let key = try write(own.key.pemRepresentation, "ca.key")
      let bundle = try write(old.certificatePEM(), "bundle.pem", 0o644)
      let made = try load(certificate, key, bundle)
      #expect(made.bundle.authorities == [own.certificate, old.certificate])
      #expect(try load(certificate, key, nil).federationID == made.federationID)
      let leaf = try write(own.issueAgent("a").pem, "leaf.crt", 0o644)
      let strange = federationError { _ = try load(certificate, key, leaf) }
      #expect(strange?.publicMessage.contains("not a CA") == true)
      let mismatch = federationError { _ = try load(bundle, key, nil) }
      #expect(mismatch?.publicMessage.contains("bundle.pem") == true)
      let open = try write(own.key.pemRepresentation, "open.key", 0o640)
      #expect(federationError { _ = try load(certificate, open, nil) }?.publicMessage.contains("chmod 600") == true)
      let missing = federationError { _ = try load(certificate, parent + "/none.key", nil) }
      #expect(missing?.publicMessage.contains("none.key") == true)
    }
  }
}
