public import ControlPlaneCore
public import FederationModel
import Postgres

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
  /// What the tasks of a workflow have put into the repository, by task and name.
  public func artifacts(of workflow: WorkflowID) async throws -> [ArtifactRow] {
    try await run("\(RowDecoder.artifacts) WHERE workflow_id = $1 ORDER BY ordinal, name", .int8(workflow.number)).rows
      .map(RowDecoder.artifact)
  }

  /// Who has put an object into a project's repository: more than one when an author chose the key. The newest first, 100 at most.
  public func artifacts(key: String, in project: ProjectName) async throws -> [ArtifactRow] {
    try await run(
      "\(RowDecoder.artifacts) WHERE project = $1 AND key = $2 ORDER BY created_ms DESC, workflow_id DESC LIMIT 100",
      .text(project.text), .text(key)
    ).rows.map(RowDecoder.artifact)
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
