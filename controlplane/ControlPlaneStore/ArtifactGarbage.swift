public import FederationModel
import Postgres

/// Objects of the repository that no workflow needs any more: those of deleted workflows, and those that are too old.
///
/// Objects whose keys the control plane made itself, `WORKFLOW/NODE/ARTIFACT`, have an owner. What a document gave a key of its own
/// (`s3: {key: ...}`) is its author's, and stays, unless the author says otherwise (`artifactGC`).
extension ControlPlaneStore {
  public struct Garbage: Hashable, Sendable {
    public var project: ProjectName
    public var key: String
  }

  /// SQL: whether a key was made for a workflow of this name.
  ///
  /// - Parameters:
  ///   - key: a column.
  ///   - workflow: a table of workflows.
  static func isOwned(_ key: String, _ workflow: String) -> String {
    """
    split_part(\(key), '/', 1) = \(workflow).name
      AND split_part(\(key), '/', 2) ~ ('^' || replace(\(workflow).name, '.', '\\.') || '(-[0-9]+)?$')
    """
  }

  /// Gives up artifacts of workflows that are over, made before `moment`, at most `limit` of them, the oldest first.
  ///
  /// - Returns: how many.
  public func giveUpArtifacts(madeBefore moment: Timestamp, at now: Timestamp, limit: Int) async throws -> Int {
    try await run(
      """
      WITH old AS (
        SELECT a.workflow_id, a.ordinal, a.name FROM artifacts a JOIN workflows w ON w.id = a.workflow_id
        WHERE a.created_ms < $1 AND a.deleted_ms IS NULL AND NOT a.is_unstored
          AND w.phase NOT IN ('Pending', 'Running') AND NOT w.deletion_requested AND \(Self.isOwned("a.key", "w"))
        ORDER BY a.created_ms LIMIT $3 FOR UPDATE OF a SKIP LOCKED),
      gone AS (
        UPDATE artifacts a SET deleted_ms = $2 FROM old
        WHERE (a.workflow_id, a.ordinal, a.name) = (old.workflow_id, old.ordinal, old.name) RETURNING a.project, a.key)
      INSERT INTO artifact_garbage (project, key, since_ms) SELECT DISTINCT project, key, $2 FROM gone
      ON CONFLICT DO NOTHING
      """, .int8(moment.milliseconds), .int8(now.milliseconds), .int8(Int64(limit))
    ).affectedRows
  }

  /// Objects that may be deleted: since before `moment` nobody needs them. A workflow of the same name, made since, would have the same
  /// keys; as long as there is one they stay. So does what somebody else has put there since, and what a memoized template's entry names
  /// that was taken after `taken` (nil: whenever that was).
  public func artifactGarbage(
    since moment: Timestamp, taken: Timestamp? = nil, limit: Int
  ) async throws -> [Garbage] {
    try await run(
      """
      SELECT g.project, g.key FROM artifact_garbage g WHERE g.since_ms < $1
        AND NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.project = g.project AND a.key = g.key AND a.deleted_ms IS NULL)
        AND NOT EXISTS (
          SELECT 1 FROM memos m WHERE m.project = g.project AND m.hit_ms >= $3
            AND jsonb_path_query_array(m.outputs::jsonb, '$.artifacts.*.key') ? g.key)
        AND NOT EXISTS (
          SELECT 1 FROM workflows w WHERE w.project = g.project AND \(Self.isOwned("g.key", "w")) AND NOT EXISTS (
            SELECT 1 FROM artifacts a WHERE a.workflow_id = w.id AND a.key = g.key AND w.phase NOT IN ('Pending', 'Running')))
      ORDER BY g.since_ms LIMIT $2
      """, .int8(moment.milliseconds), .int8(Int64(limit)), .int8(taken?.milliseconds ?? .min)
    ).rows.map { Garbage(project: ProjectName(try $0.text(0)), key: try $0.text(1)) }
  }

  /// They are deleted.
  public func forgetGarbage(_ garbage: [Garbage]) async throws {
    _ = try await run(
      """
      DELETE FROM artifact_garbage g USING unnest($1::text[], $2::text[]) AS x (project, key)
      WHERE g.project = x.project AND g.key = x.key
      """, .texts(garbage.map(\.project.text)), .texts(garbage.map(\.key)))
  }

  /// When an object was given up, and whether that was because of its age or because its document said so; nil: it was not.
  public func artifactDeletion(
    _ key: String, of project: ProjectName
  ) async throws -> (at: Timestamp, isByDocument: Bool)? {
    try await run(
      """
      SELECT deleted_ms, collection IS NOT DISTINCT FROM 'OnWorkflowCompletion' FROM artifacts
      WHERE project = $1 AND key = $2 AND deleted_ms IS NOT NULL ORDER BY deleted_ms DESC LIMIT 1
      """, .text(project.text), .text(key)
    ).rows.first.map { (Timestamp(milliseconds: try $0.int(0)), try $0.bool(1)) }
  }

  // MARK: Logs

  /// Runs whose workflows were deleted before `moment`, and whose logs are still kept.
  public func logGarbage(since moment: Timestamp, limit: Int) async throws -> [RunID] {
    try await run(
      "SELECT run_id FROM log_garbage WHERE since_ms < $1 ORDER BY since_ms LIMIT $2", .int8(moment.milliseconds),
      .int8(Int64(limit))
    ).rows.map { RunID(try $0.int(0)) }
  }

  /// Their logs are deleted. A record that came after its workflow's deletion goes as well.
  public func forgetLogs(_ runs: [RunID]) async throws {
    for table in ["logs", "log_garbage"] {
      _ = try await run("DELETE FROM \(table) WHERE run_id = ANY ($1)", .int8s(runs.map(\.number)))
    }
  }
}
