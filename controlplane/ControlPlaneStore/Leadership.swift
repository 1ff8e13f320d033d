public import ControlPlaneCore
import Postgres

/// The leadership row as it was read.
public struct LeadershipRecord: Hashable, Sendable {
  public var term: Int64
  public var commitSequence: Int64
  /// nil: released, or never held.
  public var holder: String?
  public var address: String?
  public var incarnation: Int64
  /// By the database's clock at the time of reading; negative when the lease has run out.
  public var leaseLeft: Duration
  public var lastNow: Int64
  public var position: CommitPosition { CommitPosition(term: term, sequence: commitSequence) }
}

extension ControlPlaneStore {
  private static let clock = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

  /// Takes the lead when nobody holds a valid lease by the database's clock.
  ///
  /// - Returns: the new term and the sequence it starts from; nil when another holds the lease.
  public func tryAcquire(
    holder: String, address: String, incarnation: UInt32, leaseDuration: Duration
  ) async throws -> CommitPosition? {
    let rows = try await run(
      """
      UPDATE leadership SET term = term + 1, holder = $1, address = $2, incarnation = $3, lease_expires_ms = \(Self.clock) + $4
      WHERE holder IS NULL OR lease_expires_ms <= \(Self.clock) RETURNING term, commit_seq
      """, .text(holder), .text(address), .int8(Int64(incarnation)), .int8(Self.milliseconds(leaseDuration)))
    guard rows.rowCount == 1 else { return nil }
    return CommitPosition(term: try rows[0].int(0), sequence: try rows[0].int(1))
  }

  /// - Returns: false when the term is over.
  public func renew(term: Int64, leaseDuration: Duration) async throws -> Bool {
    try await run(
      "UPDATE leadership SET lease_expires_ms = \(Self.clock) + $2 WHERE term = $1 AND holder IS NOT NULL", .int8(term),
      .int8(Self.milliseconds(leaseDuration))
    ).affectedRows == 1
  }

  /// Lets a standby take over at once. Does nothing when the term is over.
  public func release(term: Int64) async throws {
    _ = try await run(
      "UPDATE leadership SET holder = NULL, address = NULL, lease_expires_ms = 0 WHERE term = $1", .int8(term))
  }

  public func readLeadership() async throws -> LeadershipRecord {
    let rows = try await run(
      """
      SELECT term, commit_seq, holder, address, incarnation, lease_expires_ms - \(Self.clock), last_now_ms FROM leadership
      """)
    guard rows.rowCount == 1 else { throw PostgresError(.decoding, "the leadership row is missing") }
    let row = rows[0]
    return LeadershipRecord(
      term: try row.int(0), commitSequence: try row.int(1), holder: try row.optionalText(2),
      address: try row.optionalText(3),
      incarnation: try row.int(4), leaseLeft: .milliseconds(try row.int(5)), lastNow: try row.int(6))
  }

  /// The term and sequence that the database holds now.
  public func position() async throws -> CommitPosition { try await readLeadership().position }

  private static func milliseconds(_ duration: Duration) -> Int64 {
    duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000
  }
}
