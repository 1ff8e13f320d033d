public import FederationModel
internal import FoundationEssentials
internal import SwiftASN1
internal import X509

/// The control plane's certificate, as an agent checks it.
public enum ServerVerification {
  /// While joining: the chain's CA has the token's pin, signed the leaf, and the leaf is a control plane's.
  ///
  /// The trust domain is not known yet, so it is taken from the leaf, which the pinned CA vouches for.
  /// - Parameter chain: DER, the leaf first, as the peer presented it.
  /// - Throws: `.permissionDenied`, saying what does not fit.
  public static func verify(chain: [[UInt8]], pin: CAPin, at now: Timestamp) throws(FederationError) {
    let certificates = try parse(chain)
    let leaf = certificates[0]
    guard let authority = certificates.dropFirst().first(where: { $0.pin == pin && $0.isAuthority }) else {
      throw refused(
        "its CA is not the one that the join token names. Check the address; if it is right, ask for a new token")
    }
    guard authority.subject == leaf.issuer, authority.publicKey.isValidSignature(leaf.signature, for: leaf) else {
      throw refused("the CA that the join token names did not sign it")
    }
    guard let domain = leaf.namedTrustDomain else { throw refused("it does not name a control plane") }
    try verify(leaf, issuedBy: authority, in: domain, at: now)
  }

  /// After joining: one of the bundle's CAs signed the leaf, and the leaf is the control plane's of our trust domain.
  public static func verify(chain: [[UInt8]], bundle: TrustBundle, at now: Timestamp) throws(FederationError) {
    let leaf = try parse(chain)[0]
    guard let authority = bundle.issuer(of: leaf) else {
      throw refused("it was issued by another authority than this federation's")
    }
    try verify(leaf, issuedBy: authority, in: bundle.trustDomain, at: now)
  }

  private static func verify(
    _ leaf: Certificate, issuedBy authority: Certificate, in domain: TrustDomain, at now: Timestamp
  ) throws(FederationError) {
    guard let usage = try? leaf.extensions.extendedKeyUsage, usage.contains(.serverAuth) else {
      throw refused("it is not one for servers")
    }
    guard let name = try? SPIFFEID(certificate: leaf, in: domain), name == .controlPlane else {
      throw refused("it does not name the control plane of \(domain)")
    }
    for certificate in [leaf, authority] {
      guard now + PeerIdentity.clockSkew >= Timestamp(certificate.notValidBefore),
        now <= Timestamp(certificate.notValidAfter) + PeerIdentity.clockSkew
      else {
        throw refused(
          "it, or its CA, is valid from \(text(certificate.notValidBefore)) to \(text(certificate.notValidAfter)), and this "
            + "machine's clock says \(text(Date(now))). Set the clocks of both machines (NTP)")
      }
    }
  }

  private static func parse(_ chain: [[UInt8]]) throws(FederationError) -> [Certificate] {
    guard (1...4).contains(chain.count), chain.allSatisfy({ $0.count <= PeerIdentity.sizeLimit }),
      let certificates = try? chain.map({ try Certificate(derEncoded: $0) })
    else { throw refused("it cannot be read") }
    return certificates
  }

  private static func text(_ date: Date) -> String { date.formatted(.iso8601) }

  private static func refused(_ reason: String) -> FederationError {
    FederationError(.permissionDenied, "The control plane's certificate was refused: \(reason).")
  }
}

extension Certificate {
  /// The pin of this certificate's key; nil when the key cannot be written, which no parsed key is.
  var pin: CAPin? {
    var serializer = DER.Serializer()
    guard (try? serializer.serialize(publicKey)) != nil else { return nil }
    return CAPin(bytes: sha256(serializer.serializedBytes))
  }

  /// The trust domain of the one SPIFFE id among the names.
  var namedTrustDomain: TrustDomain? {
    guard let names = try? extensions.subjectAlternativeNames else { return nil }
    for case .uniformResourceIdentifier(let uri) in names where uri.hasPrefix("spiffe://") {
      return try? TrustDomain(String(uri.dropFirst("spiffe://".count).prefix { $0 != "/" }))
    }
    return nil
  }
}
