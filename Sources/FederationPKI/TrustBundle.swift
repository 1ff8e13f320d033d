public import FederationModel
internal import SwiftASN1
public import X509

/// The CA certificates that one federation trusts: one, or the old and the new one while the CA is being replaced.
public struct TrustBundle: Sendable, Hashable {
  public let trustDomain: TrustDomain
  /// The one that signs now comes first. At least one, at most `limit`.
  public let authorities: [Certificate]

  public static let limit = 8
  static let pemSizeLimit = 64 * 1024

  /// - Throws: `.invalidArgument` when there is none, there are too many, or one is not a CA.
  public init(trustDomain: TrustDomain, authorities: [Certificate]) throws(FederationError) {
    guard (1...Self.limit).contains(authorities.count) else {
      throw FederationError(
        .invalidArgument, "A CA bundle holds 1 to \(Self.limit) certificates, not \(authorities.count).")
    }
    for authority in authorities where !authority.isAuthority {
      throw FederationError(
        .invalidArgument, "The CA bundle holds a certificate that is not a CA's: \(authority.subject).")
    }
    self.trustDomain = trustDomain
    self.authorities = authorities
  }

  /// Reads a PEM file of CA certificates.
  public init(trustDomain: TrustDomain, pem: String) throws(FederationError) {
    try self.init(trustDomain: trustDomain, authorities: Certificate.parsePEM(pem, limit: Self.limit))
  }

  public func pem() throws(FederationError) -> String {
    do {
      return try authorities.map { try $0.serializeAsPEM().pemString + "\n" }.joined()
    } catch {
      throw FederationError(.internal, "The CA bundle cannot be written.", cause: error)
    }
  }

  /// The authority that signed `certificate`; nil when it is none of these. An authority did not issue itself.
  func issuer(of certificate: Certificate) -> Certificate? {
    authorities.first {
      $0 != certificate && $0.subject == certificate.issuer
        && $0.publicKey.isValidSignature(certificate.signature, for: certificate)
    }
  }
}

extension Certificate {
  /// May sign certificates: basic constraints say CA, and the key usage, where given, allows it.
  var isAuthority: Bool {
    guard case .some(.isCertificateAuthority) = try? extensions.basicConstraints else { return false }
    guard let usage = try? extensions.keyUsage else { return true }
    return usage.keyCertSign
  }

  static func parsePEM(_ pem: String, limit: Int) throws(FederationError) -> [Certificate] {
    guard pem.utf8.count <= TrustBundle.pemSizeLimit else {
      throw FederationError(.invalidArgument, "A certificate file is larger than \(TrustBundle.pemSizeLimit) bytes.")
    }
    do {
      return try PEMDocument.parseMultiple(pemString: pem).prefix(limit + 1).map { try Certificate(pemDocument: $0) }
    } catch {
      throw FederationError(
        .invalidArgument, "A certificate file cannot be read: it should hold PEM certificates alone.", cause: error)
    }
  }
}
