public import FederationModel
import Postgres

/// An artifact in the repository.
public struct ArtifactRecord: Hashable, Sendable {
  public var key: String
  public var workflowUID: String
  public var size: ByteCount
  public var sha256: String
  public var createdAt: Timestamp
  public init(key: String, workflowUID: String, size: ByteCount, sha256: String, createdAt: Timestamp) {
    self.key = key
    self.workflowUID = workflowUID
    self.size = size
    self.sha256 = sha256
    self.createdAt = createdAt
  }
}

/// Where a run's log is and how much of it has arrived.
public struct LogRecord: Hashable, Sendable {
  public var run: RunID
  public var workflowUID: String
  public var location: String
  public var size: ByteCount
  public var isComplete: Bool
  public init(run: RunID, workflowUID: String, location: String, size: ByteCount, isComplete: Bool) {
    self.run = run
    self.workflowUID = workflowUID
    self.location = location
    self.size = size
    self.isComplete = isComplete
  }
}

extension ControlPlaneStore {
  public func recordArtifact(_ artifact: ArtifactRecord) async throws {
    _ = try await run(
      """
      INSERT INTO artifacts (key, workflow_uid, size_bytes, sha256, created_ms) VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (key) DO UPDATE SET workflow_uid = $2, size_bytes = $3, sha256 = $4, created_ms = $5
      """, .text(artifact.key), .text(artifact.workflowUID), .int8(artifact.size.bytes), .text(artifact.sha256),
      .int8(artifact.createdAt.milliseconds))
  }

  public func artifact(key: String) async throws -> ArtifactRecord? {
    let rows = try await run(
      "SELECT key, workflow_uid, size_bytes, sha256, created_ms FROM artifacts WHERE key = $1", .text(key))
    return try rows.rows.first.map {
      ArtifactRecord(
        key: try $0.text(0), workflowUID: try $0.text(1), size: ByteCount(try $0.int(2)), sha256: try $0.text(3),
        createdAt: try RowDecoder.time($0, 4))
    }
  }

  /// A record never shrinks: a late report of an earlier size changes nothing.
  public func recordLog(_ log: LogRecord) async throws {
    _ = try await run(
      """
      INSERT INTO logs (run_id, workflow_uid, location, size_bytes, is_complete) VALUES ($1, $2, $3, $4, $5)
      ON CONFLICT (run_id) DO UPDATE SET size_bytes = greatest(logs.size_bytes, $4), is_complete = logs.is_complete OR $5
      """, .int8(log.run.number), .text(log.workflowUID), .text(log.location), .int8(log.size.bytes),
      .bool(log.isComplete))
  }

  public func log(of id: RunID) async throws -> LogRecord? {
    let rows = try await run(
      "SELECT run_id, workflow_uid, location, size_bytes, is_complete FROM logs WHERE run_id = $1", .int8(id.number))
    return try rows.rows.first.map {
      LogRecord(
        run: RunID(try $0.int(0)), workflowUID: try $0.text(1), location: try $0.text(2),
        size: ByteCount(try $0.int(3)),
        isComplete: try $0.bool(4))
    }
  }
}
