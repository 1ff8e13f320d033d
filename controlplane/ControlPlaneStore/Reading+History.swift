public import ControlPlaneCore
import FederationModel
import Postgres
import SchedulerCore

extension ControlPlaneStore {
  /// Workflows whose runs are learnt from, and so many runs from each end of each: of a wide loop and of what comes after it.
  private static let workflowsLearntFrom: Int64 = 500
  private static let runsLearntFrom = 32
  /// A new leader waits for them with its lease running, and can do without.
  private static let learningTimeout = Duration.seconds(2)

  /// Runs of the newest workflows that ended well, the latest end last: what a new leader's `TemplateHistory` begins with.
  ///
  /// However long the history is, it costs a few look-ups for each of those workflows: no index is in the order of ends, because one
  /// would cost every run a page more.
  public func endedRuns() async throws -> [EndedRun] {
    func part(_ order: String) -> String {
      """
      (SELECT workflow_id, ordinal, finished_ms, program, input_bytes, wall_ms FROM runs
       WHERE workflow_id = w.id AND program <> 0 AND phase = \(RunPhase.succeeded.rawValue)
       ORDER BY ordinal \(order), epoch \(order) LIMIT \(Self.runsLearntFrom))
      """
    }
    let rows = try await run(
      """
      SELECT w.project, n.template_name, r.program, r.input_bytes, r.wall_ms,
        (SELECT json_object_agg(name, size_bytes) FROM artifacts
         WHERE workflow_id = r.workflow_id AND ordinal = r.ordinal)::text
      FROM (SELECT id, project FROM workflows ORDER BY id DESC LIMIT $1) AS w
      CROSS JOIN LATERAL (\(part("ASC")) UNION \(part("DESC"))) AS r
      JOIN nodes n ON n.workflow_id = r.workflow_id AND n.ordinal = r.ordinal
      ORDER BY r.finished_ms, r.workflow_id, r.ordinal
      """, .int8(Self.workflowsLearntFrom), timeout: Self.learningTimeout)
    return try rows.rows.map {
      EndedRun(
        template: TemplateKey(project: ProjectName(try $0.text(0)), name: try $0.text(1), program: try $0.int(2)),
        inputs: try $0.optionalInt(3).map { ByteCount($0) },
        seconds: Double(try $0.int(4)) / 1000,
        outputs: try $0.optionalText(5).map { try RowJSON.decode([String: ByteCount].self, $0) } ?? [:])
    }
  }
}
