public import Crypto
public import FederationModel
internal import FoundationEssentials
internal import SwiftASN1
public import X509

/// The federation's own certificate authority: one P-256 key that signs agents and control planes, and nothing else.
public struct CertificateAuthority: Sendable {
  public let federationID: String
  public let certificate: Certificate
  /// What peers are checked against: this CA first, then those that it replaces.
  public let bundle: TrustBundle
  let key: P256.Signing.PrivateKey

  public var trustDomain: TrustDomain { bundle.trustDomain }

  static let authorityValidity: Duration = .seconds(10 * 365 * 86400)
  public static let agentValidity: Duration = .seconds(86400)
  public static let serverValidity: Duration = .seconds(7 * 86400)

  /// A CA from its parts.
  ///
  /// - Parameter previous: CA certificates that stay trusted while this one replaces them.
  /// - Throws: `.invalidArgument` unless the certificate is a CA's, valid now, P-256, and of this key.
  public init(
    federationID: String, trustDomain: TrustDomain, certificate: Certificate, key: P256.Signing.PrivateKey,
    previous: [Certificate] = [], at now: Timestamp
  ) throws(FederationError) {
    guard (1...64).contains(federationID.utf8.count),
      federationID.utf8.allSatisfy({ (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d })
    else {
      throw FederationError(.invalidArgument, "A federation id is 1 to 64 lower-case letters, digits and dashes.")
    }
    guard let publicKey = P256.Signing.PublicKey(certificate.publicKey) else {
      throw FederationError(
        .invalidArgument, "The CA's key is not a P-256 key: make one with openssl ecparam -name prime256v1 -genkey.")
    }
    guard publicKey.rawRepresentation == key.publicKey.rawRepresentation else {
      throw FederationError(
        .invalidArgument, "The CA's certificate and private key do not belong together. Check both files.")
    }
    guard certificate.isAuthority else {
      throw FederationError(
        .invalidArgument,
        "The CA's certificate is not a CA's: its basic constraints must say CA:TRUE and its key usage keyCertSign.")
    }
    guard now + PeerIdentity.clockSkew >= Timestamp(certificate.notValidBefore) else {
      throw FederationError(
        .invalidArgument,
        "The CA's certificate is valid from \(certificate.notValidBefore) on only: set this machine's clock (NTP).")
    }
    guard now <= Timestamp(certificate.notValidAfter) else {
      throw FederationError(
        .invalidArgument,
        "The CA's certificate has expired on \(certificate.notValidAfter): renew it with the same key, or replace the CA."
      )
    }
    self.federationID = federationID
    self.certificate = certificate
    self.key = key
    bundle = try TrustBundle(
      trustDomain: trustDomain, authorities: [certificate] + previous.filter { $0 != certificate })
  }

  /// Makes a new CA.
  public static func make(
    federationID: String, trustDomain: TrustDomain, at now: Timestamp, using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> CertificateAuthority {
    let key = P256.Signing.PrivateKey(using: &random)
    let signer = Certificate.PrivateKey(key)
    let serial = Certificate.SerialNumber.random(using: &random)
    let certificate: Certificate
    do {
      // The name carries part of the serial number, so that the CAs of a rollover are told apart by name already.
      let name = try DistinguishedName {
        CommonName("Fubini CA \(hexadecimal(serial.bytes).prefix(8))")
        OrganizationName(federationID)
      }
      certificate = try Certificate(
        version: .v3, serialNumber: serial, publicKey: signer.publicKey,
        notValidBefore: Date(now - PeerIdentity.clockSkew), notValidAfter: Date(now + authorityValidity), issuer: name,
        subject: name, signatureAlgorithm: .ecdsaWithSHA256,
        extensions: Certificate.Extensions {
          Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
          Critical(KeyUsage(keyCertSign: true, cRLSign: true))
          SubjectKeyIdentifier(hash: signer.publicKey)
        }, issuerPrivateKey: signer)
    } catch {
      throw FederationError(.internal, "The CA's certificate could not be made.", cause: error)
    }
    return try CertificateAuthority(
      federationID: federationID, trustDomain: trustDomain, certificate: certificate, key: key, at: now)
  }

  /// Reads an operator's CA.
  ///
  /// - Parameter certificatePEM: the CA that signs first; further ones stay trusted (rollover).
  public init(
    federationID: String, trustDomain: TrustDomain, certificatePEM: String, keyPEM: String, at now: Timestamp
  ) throws(FederationError) {
    let certificates = try Certificate.parsePEM(certificatePEM, limit: TrustBundle.limit)
    guard let first = certificates.first else {
      throw FederationError(.invalidArgument, "The CA's certificate file holds no certificate.")
    }
    guard let key = Self.privateKey(in: keyPEM) else {
      // The cause is left out on purpose: nothing derived from a key file may reach a log.
      throw FederationError(
        .invalidArgument, "The CA's private key cannot be read: it should be an unencrypted P-256 key in PEM.")
    }
    try self.init(
      federationID: federationID, trustDomain: trustDomain, certificate: first, key: key,
      previous: Array(certificates.dropFirst()), at: now)
  }

  /// The one key block of a PEM file; `openssl ecparam` writes the curve's parameters before it.
  private static func privateKey(in pem: String) -> P256.Signing.PrivateKey? {
    for name in ["EC PRIVATE KEY", "PRIVATE KEY"] {
      guard let begin = pem.firstRange(of: "-----BEGIN \(name)-----"),
        let end = pem.firstRange(of: "-----END \(name)-----"), begin.lowerBound < end.lowerBound
      else { continue }
      return try? P256.Signing.PrivateKey(pemRepresentation: String(pem[begin.lowerBound..<end.upperBound]))
    }
    return nil
  }

  /// The certificate that signs, alone.
  public func certificatePEM() throws(FederationError) -> String {
    try TrustBundle(trustDomain: trustDomain, authorities: [certificate]).pem()
  }

  /// What join tokens carry.
  public var pin: CAPin {
    guard let pin = certificate.pin else { preconditionFailure("the key of a CA that was checked cannot be written") }
    return pin
  }
}

extension Timestamp {
  static func - (a: Timestamp, b: Duration) -> Timestamp { a + (.zero - b) }
}

extension P256.Signing.PrivateKey {
  /// A key from the given source of randomness. Draws again in the one case of 2^32 where the number is no scalar of the curve.
  public init(using random: inout some RandomNumberGenerator) {
    while true {
      if let key = try? Self(rawRepresentation: random.bytes(32)) {
        self = key
        return
      }
    }
  }
}

extension Certificate.SerialNumber {
  /// 127 random bits: positive, and 16 bytes long always.
  static func random(using generator: inout some RandomNumberGenerator) -> Self {
    var bytes = generator.bytes(16)
    bytes[0] = bytes[0] & 0x3f | 0x40
    return Self(bytes: bytes)
  }
}
