public import FederationModel
public import FederationPKI

/// What the gateway asks of the database about agents' identities. These writes need no leader: each is one atomic statement.
public protocol AgentIdentityStore: RevocationSource {
  /// nil: there is no such token.
  func joinToken(id: String) async throws -> JoinTokenRecord?
  /// Marks the token as used and records the certificate, in one transaction.
  ///
  /// - Parameter keyHash: of the joining key: a repetition by the same key, whose first answer was lost, is let through.
  /// - Returns: false when another key has used the token.
  func redeem(_ token: JoinTokenRecord, keyHash: String, certificate: IssuedCertificateRecord, at now: Timestamp)
    async throws -> Bool
  func record(_ certificate: IssuedCertificateRecord) async throws
  func audit(at: Timestamp, actor: String, action: String, object: String, detail: String) async throws
}

/// What is kept of an issued certificate.
public struct IssuedCertificateRecord: Sendable, Hashable {
  public var cluster: ClusterName
  /// Lower-case hexadecimal.
  public var serial: String
  /// Lower-case hexadecimal.
  public var fingerprint: String
  public var issuedAt: Timestamp
  public var notAfter: Timestamp
  public init(cluster: ClusterName, serial: String, fingerprint: String, issuedAt: Timestamp, notAfter: Timestamp) {
    self.cluster = cluster
    self.serial = serial
    self.fingerprint = fingerprint
    self.issuedAt = issuedAt
    self.notAfter = notAfter
  }
}
