internal import Crypto
public import FederationModel
internal import SwiftASN1
public import X509

/// Who presented a client certificate, and so what it may do.
///
/// Possession of the key is not proved here: the TLS handshake has done that.
public enum PeerIdentity: Hashable, Sendable {
  /// May do whatever the agent of its cluster may.
  case agent(AgentIdentity)
  /// Expired for at most `PeerIdentity.renewalWindow`: may renew, and nothing else.
  case expiredAgent(AgentIdentity)
  /// A self-signed certificate: may present a join token, and nothing else. The bytes are the key's X9.63 form.
  case joining(publicKey: [UInt8])

  /// How far the clocks of the issuer and of the verifier may be apart.
  public static let clockSkew: Duration = .seconds(300)
  /// For how long an expired certificate may still renew, so that an outage strands nobody.
  public static let renewalWindow: Duration = .seconds(30 * 86400)
  /// The largest certificate or request that is looked at, bytes of DER.
  public static let sizeLimit = 8192
}

/// The agent that a certificate of ours names.
public struct AgentIdentity: Hashable, Sendable {
  public var cluster: ClusterName
  /// Lower-case hexadecimal, as audit records show it.
  public var serial: String
  public var fingerprint: CertificateFingerprint
  /// When it was issued, to the second: the start of its validity plus the allowance for clock skew.
  public var issuedAt: Timestamp
  public var notAfter: Timestamp

  public init(
    cluster: ClusterName, serial: String, fingerprint: CertificateFingerprint, issuedAt: Timestamp, notAfter: Timestamp
  ) {
    self.cluster = cluster
    self.serial = serial
    self.fingerprint = fingerprint
    self.issuedAt = issuedAt
    self.notAfter = notAfter
  }
}

/// The SHA-256 of a certificate's DER. For people and caches: a signature has several encodings, so revocation goes by serial.
public struct CertificateFingerprint: Hashable, Sendable, CustomStringConvertible {
  public let bytes: [UInt8]
  public init(der: [UInt8]) { bytes = sha256(der) }
  public var description: String { hexadecimal(bytes) }
}

/// Why a certificate is not accepted.
public enum PeerRefusal: String, Error, Hashable, Sendable, CaseIterable {
  case missing, tooLarge, malformed, unsupportedKey, foreignAuthority, authorityExpired, notYetValid, expiredTooLong,
    wrongUsage
  case malformedName, wrongTrustDomain, notAnAgent, revoked
  /// An expired certificate asked for more than a renewal.
  case mustRenew
  /// A self-signed certificate asked for more than to join.
  case mustJoin
  /// An agent's certificate asked to join.
  case alreadyJoined

  /// For the peer: what is wrong and what to do.
  public var federationError: FederationError {
    let rejoin = "Join anew: fubini cluster create NAME --print-join-command."
    return switch self {
    case .missing: FederationError(.unauthenticated, "No client certificate was presented. \(rejoin)")
    case .tooLarge:
      FederationError(.unauthenticated, "The client certificate is larger than \(PeerIdentity.sizeLimit) bytes.")
    case .malformed: FederationError(.unauthenticated, "The client certificate cannot be read. \(rejoin)")
    case .unsupportedKey:
      FederationError(.unauthenticated, "The client certificate's key is not a P-256 key. \(rejoin)")
    case .foreignAuthority:
      FederationError(
        .unauthenticated, "The client certificate was issued by another authority than this federation's. \(rejoin)")
    case .authorityExpired:
      FederationError(.unauthenticated, "The authority that issued the client certificate has expired. \(rejoin)")
    case .notYetValid:
      FederationError(.unauthenticated, "The client certificate is not valid yet: set the clocks of both machines.")
    case .expiredTooLong:
      FederationError(.unauthenticated, "The client certificate expired more than 30 days ago. \(rejoin)")
    case .wrongUsage: FederationError(.unauthenticated, "The certificate is not one for clients. \(rejoin)")
    case .malformedName: FederationError(.unauthenticated, "The client certificate does not name one agent. \(rejoin)")
    case .wrongTrustDomain:
      FederationError(.unauthenticated, "The client certificate is of another trust domain. \(rejoin)")
    case .notAnAgent: FederationError(.unauthenticated, "The client certificate does not name an agent. \(rejoin)")
    case .revoked: FederationError(.permissionDenied, "This cluster's certificate was revoked. \(rejoin)")
    case .mustRenew: FederationError(.unauthenticated, "The client certificate has expired: it may only be renewed.")
    case .mustJoin:
      FederationError(.unauthenticated, "A self-signed certificate may only join. \(rejoin)")
    case .alreadyJoined:
      FederationError(.failedPrecondition, "This agent has joined already: it renews its certificate instead.")
    }
  }
}

extension PeerIdentity {
  /// Classifies the certificate that a peer presented. A pure function; about 100 us, so callers keep what it returns by
  /// fingerprint and ask again with `classify(_:at:)` only when time has passed.
  public init(certificate: Certificate, trusting bundle: TrustBundle, at now: Timestamp) throws(PeerRefusal) {
    guard let der = try? certificate.derBytes else { throw .malformed }
    guard der.count <= Self.sizeLimit else { throw .tooLarge }
    guard let key = P256.Signing.PublicKey(certificate.publicKey) else { throw .unsupportedKey }
    let issuer = bundle.issuer(of: certificate)
    if issuer == nil, certificate.issuer == certificate.subject,
      certificate.publicKey.isValidSignature(certificate.signature, for: certificate)
    {
      self = .joining(publicKey: Array(key.x963Representation))
      return
    }
    guard let issuer else { throw .foreignAuthority }
    guard now <= Timestamp(issuer.notValidAfter) + Self.clockSkew else { throw .authorityExpired }
    let cluster = try Self.agentName(of: certificate, in: bundle.trustDomain)
    let agent = AgentIdentity(
      cluster: cluster, serial: hexadecimal(certificate.serialNumber.bytes),
      fingerprint: CertificateFingerprint(der: der),
      issuedAt: Timestamp(certificate.notValidBefore) + Self.clockSkew, notAfter: Timestamp(certificate.notValidAfter))
    self = try Self.atTime(now, agent)
  }

  /// Reads DER of at most `sizeLimit` bytes, and classifies it.
  public init(der: [UInt8], trusting bundle: TrustBundle, at now: Timestamp) throws(PeerRefusal) {
    guard der.count <= Self.sizeLimit else { throw .tooLarge }
    guard let certificate = try? Certificate(derEncoded: der) else { throw .malformed }
    try self.init(certificate: certificate, trusting: bundle, at: now)
  }

  /// The same peer at another time: the cheap question about a certificate that was classified before.
  public func reclassified(at now: Timestamp) throws(PeerRefusal) -> PeerIdentity {
    switch self {
    case .agent(let agent), .expiredAgent(let agent): try Self.atTime(now, agent)
    case .joining: self
    }
  }

  private static func atTime(_ now: Timestamp, _ agent: AgentIdentity) throws(PeerRefusal) -> PeerIdentity {
    // The certificate is valid from `issuedAt` minus the allowance; a verifier whose clock is behind allows as much again.
    if now + clockSkew + clockSkew < agent.issuedAt { throw .notYetValid }
    if now <= agent.notAfter { return .agent(agent) }
    if now <= agent.notAfter + renewalWindow { return .expiredAgent(agent) }
    throw .expiredTooLong
  }

  private static func agentName(of certificate: Certificate, in domain: TrustDomain) throws(PeerRefusal) -> ClusterName
  {
    let extensions = certificate.extensions
    guard let usage = try? extensions.extendedKeyUsage, usage.contains(.clientAuth) else { throw .wrongUsage }
    if case .some(.isCertificateAuthority) = try? extensions.basicConstraints { throw .wrongUsage }
    guard case .agent(let cluster) = try SPIFFEID(certificate: certificate, in: domain) else { throw .notAnAgent }
    return cluster
  }
}

extension SPIFFEID {
  /// The one URI among a certificate's names. Several would leave open who is meant.
  init(certificate: Certificate, in domain: TrustDomain) throws(PeerRefusal) {
    guard let names = try? certificate.extensions.subjectAlternativeNames else { throw .malformedName }
    var uris: [String] = []
    for case .uniformResourceIdentifier(let uri) in names { uris.append(uri) }
    guard uris.count == 1 else { throw .malformedName }
    try self.init(uri: uris[0], in: domain)
  }
}

extension Certificate {
  var derBytes: [UInt8] {
    get throws {
      var serializer = DER.Serializer()
      try serializer.serialize(self)
      return serializer.serializedBytes
    }
  }
}
