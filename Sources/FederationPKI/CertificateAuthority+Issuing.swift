public import Crypto
public import FederationModel
internal import FoundationEssentials
internal import SwiftASN1
public import X509

/// A certificate that was just issued, and what is recorded of it.
public struct IssuedCertificate: Sendable, Hashable {
  public var certificate: Certificate
  public var pem: String
  /// Lower-case hexadecimal.
  public var serial: String
  public var fingerprint: CertificateFingerprint
  public var notBefore: Timestamp
  public var notAfter: Timestamp

  init(_ certificate: Certificate) throws {
    self.certificate = certificate
    pem = try certificate.serializeAsPEM().pemString + "\n"
    serial = hexadecimal(certificate.serialNumber.bytes)
    fingerprint = CertificateFingerprint(der: try certificate.derBytes)
    notBefore = Timestamp(certificate.notValidBefore)
    notAfter = Timestamp(certificate.notValidAfter)
  }
}

extension CertificateAuthority {
  /// Issues an agent's certificate for `cluster`, whatever names the request asks for.
  ///
  /// - Parameters:
  ///   - requestDER: a PKCS #10 request of at most `PeerIdentity.sizeLimit` bytes, signed with its own P-256 key.
  ///   - expectedKey: X9.63 form of the key that the request must be for; while joining, the key of the TLS session, so that a
  ///     token cannot be spent for somebody else's key. nil accepts any (a renewal may change the key).
  /// - Throws: `.invalidArgument`, saying what is wrong with the request.
  public func issueAgentCertificate(
    requestDER: [UInt8], cluster: ClusterName, expectedKey: [UInt8]? = nil, at now: Timestamp,
    using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> IssuedCertificate {
    guard cluster.isDNSLabel else {
      throw FederationError(
        .invalidArgument, "\(cluster) is not a cluster's name: use lower-case letters, digits and dashes, at most 63.")
    }
    guard requestDER.count <= PeerIdentity.sizeLimit else {
      throw FederationError(.invalidArgument, "The certificate request is larger than \(PeerIdentity.sizeLimit) bytes.")
    }
    guard let request = try? CertificateSigningRequest(derEncoded: requestDER) else {
      throw FederationError(.invalidArgument, "The certificate request cannot be read: it should be PKCS #10 in DER.")
    }
    guard let key = P256.Signing.PublicKey(request.publicKey) else {
      throw FederationError(.invalidArgument, "The certificate request is not for a P-256 key.")
    }
    guard request.publicKey.isValidSignature(request.signature, for: request) else {
      throw FederationError(
        .invalidArgument, "The certificate request is not signed with its own key: possession is not proved.")
    }
    if let expectedKey, !constantTimeEqual(expectedKey, Array(key.x963Representation)) {
      throw FederationError(.invalidArgument, "The certificate request is for another key than the connection's.")
    }
    return try issue(
      request.publicKey, commonName: cluster.text,
      names: [.uniformResourceIdentifier(SPIFFEID.agent(cluster).uri(in: trustDomain))],
      usage: .clientAuth, validity: Self.agentValidity, at: now, using: &random)
  }

  /// Issues a certificate for a control plane's own key.
  ///
  /// - Parameter addresses: DNS names, IPv4 and IPv6 addresses that agents and users dial, at most 64.
  public func issueServerCertificate(
    for key: P256.Signing.PublicKey, addresses: [String], at now: Timestamp,
    using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> IssuedCertificate {
    guard addresses.count <= 64 else {
      throw FederationError(
        .invalidArgument, "A server certificate names at most 64 addresses, not \(addresses.count).")
    }
    var names: [GeneralName] = [.uniformResourceIdentifier(SPIFFEID.controlPlane.uri(in: trustDomain))]
    for address in addresses { names.append(try Self.generalName(of: address)) }
    return try issue(
      Certificate.PublicKey(key), commonName: "controlplane", names: names, usage: .serverAuth,
      validity: Self.serverValidity,
      at: now, using: &random)
  }

  private func issue(
    _ key: Certificate.PublicKey, commonName: String, names: [GeneralName], usage: ExtendedKeyUsage.Usage,
    validity: Duration,
    at now: Timestamp, using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> IssuedCertificate {
    let notAfter = min(now + validity, Timestamp(certificate.notValidAfter))
    guard now < notAfter else {
      throw FederationError(
        .failedPrecondition, "The CA has expired: replace it before more certificates can be issued.")
    }
    do {
      return try IssuedCertificate(
        Certificate(
          version: .v3, serialNumber: .random(using: &random), publicKey: key,
          notValidBefore: Date(now - PeerIdentity.clockSkew),
          notValidAfter: Date(notAfter), issuer: certificate.subject,
          subject: DistinguishedName { CommonName(commonName) }, signatureAlgorithm: .ecdsaWithSHA256,
          extensions: Certificate.Extensions {
            Critical(BasicConstraints.notCertificateAuthority)
            Critical(KeyUsage(digitalSignature: true))
            try ExtendedKeyUsage([usage])
            SubjectAlternativeNames(names)
            AuthorityKeyIdentifier(keyIdentifier: SubjectKeyIdentifier(hash: certificate.publicKey).keyIdentifier)
          }, issuerPrivateKey: Certificate.PrivateKey(self.key)))
    } catch {
      throw FederationError(.internal, "The certificate could not be made.", cause: error)
    }
  }

  static func generalName(of address: String) throws(FederationError) -> GeneralName {
    if let bytes = IPAddress.bytes(of: address) { return .ipAddress(ASN1OctetString(contentBytes: bytes[...])) }
    let labels = address.split(separator: ".", omittingEmptySubsequences: false)
    guard address.utf8.count <= 253, labels.allSatisfy({ ClusterName($0.lowercased()).isDNSLabel }) else {
      throw FederationError(.invalidArgument, "\(address) is neither a DNS name nor an IP address.")
    }
    return .dnsName(address.lowercased())
  }
}
