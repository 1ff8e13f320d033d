public import FederationModel
import Postgres

/// How a join token was answered. Each refusal is told apart, so that it can be audited and explained.
public enum JoinTokenOutcome: Hashable, Sendable {
  case accepted(ClusterName)
  case unknown
  case used(ClusterName)
  case expired(ClusterName)
}

extension ControlPlaneStore {
  // MARK: Join tokens

  public func createJoinToken(hash: [UInt8], cluster: ClusterName, at now: Timestamp, expiresAt: Timestamp) async throws
  {
    _ = try await run(
      "INSERT INTO join_tokens (hash, cluster, created_ms, expires_ms) VALUES ($1, $2, $3, $4)", .bytes(hash),
      .text(cluster.text), .int8(now.milliseconds), .int8(expiresAt.milliseconds))
  }

  /// Uses a token up for one key. Of several keys with the same token one is accepted; the same key may ask again, because its
  /// first answer may have been lost.
  ///
  /// - Parameter key: SHA-256 of the joining agent's public key.
  public func consumeJoinToken(hash: [UInt8], key: [UInt8], at now: Timestamp) async throws -> JoinTokenOutcome {
    let taken = try await run(
      """
      UPDATE join_tokens SET used_ms = coalesce(used_ms, $2), used_by = $3
      WHERE hash = $1 AND (used_ms IS NULL OR used_by = $3) AND expires_ms > $2 RETURNING cluster
      """, .bytes(hash), .int8(now.milliseconds), .bytes(key))
    if let row = taken.rows.first { return .accepted(ClusterName(try row.text(0))) }
    let rows = try await run("SELECT cluster, used_ms FROM join_tokens WHERE hash = $1", .bytes(hash))
    guard let row = rows.rows.first else { return .unknown }
    let cluster = ClusterName(try row.text(0))
    return try row.isNull(1) ? .expired(cluster) : .used(cluster)
  }

  // MARK: Certificates

  /// - Parameters:
  ///   - authority: SHA-256 of the CA that signed it.
  ///   - trusts: SHA-256 of each CA that the agent is told to trust with it.
  public func recordCertificate(
    serial: String, fingerprint: String, cluster: ClusterName, issuedAt: Timestamp, notAfter: Timestamp,
    authority: String, trusts: [String], at now: Timestamp
  ) async throws {
    _ = try await run(
      """
      INSERT INTO certificates (serial, fingerprint, cluster, issued_ms, not_after_ms, authority, trusts, recorded_ms)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
      """,
      .text(serial), .text(fingerprint), .text(cluster.text), .int8(issuedAt.milliseconds),
      .int8(notAfter.milliseconds), .text(authority), .text(trusts.joined(separator: " ")), .int8(now.milliseconds))
  }

  /// - Returns: how many certificates became void now.
  public func revokeCertificates(of cluster: ClusterName, at now: Timestamp) async throws -> Int {
    try await run(
      "UPDATE certificates SET revoked_ms = $2 WHERE cluster = $1 AND revoked_ms IS NULL", .text(cluster.text),
      .int8(now.milliseconds)
    ).affectedRows
  }

  /// Whether a certificate of our CA may not be used any more: it was revoked, its cluster was after it had been issued, or the cluster
  /// is not part of the federation.
  ///
  /// A serial that is not recorded says nothing by itself: a database that was restored to an earlier moment does not know the
  /// certificates issued since, and their agents are the ones that `recover` is for.
  public func isRevoked(serial: String, of cluster: ClusterName, issuedAt: Timestamp) async throws -> Bool {
    let rows = try await run(
      """
      SELECT coalesce(k.revoked_ms >= $3, false) OR coalesce((SELECT c.revoked_ms IS NOT NULL FROM certificates c WHERE c.serial = $1), false)
      FROM clusters k WHERE k.name = $2
      """, .text(serial), .text(cluster.text), .int8(issuedAt.milliseconds))
    return try rows.rows.first.map { try $0.bool(0) } ?? true
  }
}
