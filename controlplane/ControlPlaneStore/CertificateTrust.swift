public import FederationModel
import Postgres

/// What the newest certificate of a cluster's agent says about the CAs.
public struct ClusterTrust: Hashable, Sendable {
  public var cluster: ClusterName
  /// SHA-256 of the CA that signed it; nil when an earlier release issued it.
  public var authority: String?
  /// SHA-256 of each CA that the agent was told to trust with it.
  public var trusts: Set<String>
  public var notAfter: Timestamp

  public init(cluster: ClusterName, authority: String?, trusts: Set<String>, notAfter: Timestamp) {
    self.cluster = cluster
    self.authority = authority
    self.trusts = trusts
    self.notAfter = notAfter
  }
}

extension ControlPlaneStore {
  /// Of every cluster that has a certificate and was not revoked, by name.
  public func clusterTrust() async throws -> [ClusterTrust] {
    // One index look-up for each cluster: the table keeps every certificate that was ever issued.
    let rows = try await run(
      """
      SELECT k.name, c.authority, coalesce(c.trusts, ''), c.not_after_ms FROM clusters k
      CROSS JOIN LATERAL (
        SELECT authority, trusts, not_after_ms FROM certificates WHERE cluster = k.name AND revoked_ms IS NULL
        ORDER BY recorded_ms DESC NULLS LAST, issued_ms DESC LIMIT 1) c
      WHERE k.revoked_ms IS NULL ORDER BY k.name
      """)
    return try rows.rows.map {
      ClusterTrust(
        cluster: ClusterName(try $0.text(0)), authority: try $0.optionalText(1),
        trusts: Set(try $0.text(2).split(separator: " ").map(String.init)), notAfter: try RowDecoder.time($0, 3))
    }
  }

  /// How many join tokens could still be spent.
  public func openJoinTokenCount(at now: Timestamp) async throws -> Int {
    let rows = try await run(
      "SELECT count(*) FROM join_tokens WHERE used_ms IS NULL AND expires_ms > $1", .int8(now.milliseconds))
    return Int(try rows[0].int(0))
  }
}
