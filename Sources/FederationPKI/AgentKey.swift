public import Crypto
public import FederationModel
internal import FoundationEssentials
internal import SwiftASN1
internal import X509

/// A key of an agent, and what it signs with it before it has a certificate.
public struct AgentKey: Sendable {
  public let privateKey: P256.Signing.PrivateKey

  public init(using random: inout some RandomNumberGenerator) { privateKey = P256.Signing.PrivateKey(using: &random) }

  /// - Throws: `.invalidArgument` when it is no unencrypted P-256 key in PEM.
  public init(pem: String) throws(FederationError) {
    guard let key = try? P256.Signing.PrivateKey(pemRepresentation: pem) else {
      throw FederationError(.invalidArgument, "The agent's private key cannot be read. Join anew.")
    }
    privateKey = key
  }

  /// Secret. For the key file and for TLS alone.
  public var pem: String { privateKey.pemRepresentation + "\n" }

  /// A PKCS #10 request. The control plane decides on the names, so it asks for none.
  public func request() throws(FederationError) -> [UInt8] {
    do {
      let request = try CertificateSigningRequest(
        version: .v1, subject: DistinguishedName { CommonName("fubini-agent") },
        privateKey: Certificate.PrivateKey(privateKey),
        attributes: .init(), signatureAlgorithm: .ecdsaWithSHA256)
      var serializer = DER.Serializer()
      try serializer.serialize(request)
      return serializer.serializedBytes
    } catch {
      throw FederationError(.internal, "The certificate request could not be made.", cause: error)
    }
  }

  /// The self-signed certificate that a joining agent presents, PEM. Good for nothing but `Join`.
  public func joiningCertificate(
    at now: Timestamp, using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> String {
    let key = Certificate.PrivateKey(privateKey)
    do {
      let name = try DistinguishedName { CommonName("fubini-agent joining") }
      let certificate = try Certificate(
        version: .v3, serialNumber: .random(using: &random), publicKey: key.publicKey,
        notValidBefore: Date(now - PeerIdentity.clockSkew), notValidAfter: Date(now + .seconds(3600)), issuer: name,
        subject: name,
        signatureAlgorithm: .ecdsaWithSHA256,
        extensions: Certificate.Extensions {
          Critical(BasicConstraints.notCertificateAuthority)
          try ExtendedKeyUsage([.clientAuth])
        }, issuerPrivateKey: key)
      return try certificate.serializeAsPEM().pemString + "\n"
    } catch {
      throw FederationError(.internal, "The certificate for joining could not be made.", cause: error)
    }
  }

  /// Whether `certificatePEM`, which the control plane answered, is for this key; its life, for the rotation schedule.
  ///
  /// - Throws: `.invalidArgument` when it is not.
  public func validity(ofCertificatePEM certificatePEM: String) throws(FederationError) -> (
    notBefore: Timestamp, notAfter: Timestamp
  ) {
    let certificates = try Certificate.parsePEM(certificatePEM, limit: 1)
    guard certificates.count == 1, let key = P256.Signing.PublicKey(certificates[0].publicKey),
      key.rawRepresentation == privateKey.publicKey.rawRepresentation
    else {
      throw FederationError(
        .invalidArgument, "The agent's certificate and private key do not belong together. Join anew.")
    }
    return (Timestamp(certificates[0].notValidBefore), Timestamp(certificates[0].notValidAfter))
  }
}
