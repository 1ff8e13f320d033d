public import FederationModel
import Postgres

/// What the leader notes of a cron workflow.
public struct CronStateRow: Hashable, Sendable {
  public struct ActiveWorkflow: Hashable, Sendable, Codable {
    public var name: String
    public var uid: String
    public init(name: String, uid: String) {
      self.name = name
      self.uid = uid
    }
  }
  /// What went wrong the last time, in Argo's words: `SubmissionError` or `SpecError`.
  public struct Condition: Hashable, Sendable, Codable {
    public var type: String
    public var message: String
    public init(type: String, message: String) {
      self.type = type
      self.message = message
    }
  }
  public var uid: String
  /// 0: it is not stored yet.
  public var revision: Int64
  public var schedule: String
  public var scheduledSince: Timestamp
  public var hasNewSchedule: Bool
  public var lastScheduledAt: Timestamp?
  public var seenWorkflow: WorkflowID
  public var active: [ActiveWorkflow]
  public var succeeded: Int64
  public var failed: Int64
  public var isStopped: Bool
  public var condition: Condition?

  public init(uid: String, schedule: String, scheduledSince: Timestamp) {
    self.uid = uid
    revision = 0
    self.schedule = schedule
    self.scheduledSince = scheduledSince
    hasNewSchedule = false
    seenWorkflow = WorkflowID(0)
    active = []
    succeeded = 0
    failed = 0
    isStopped = false
  }
}

extension ControlPlaneStore {
  /// By the UID of the cron workflow.
  public func cronState(_ uid: String) async throws -> CronStateRow? {
    try await run("SELECT \(Self.cronColumns) FROM cron_states WHERE uid = $1", .text(uid)).rows.first.map(
      Self.cronState)
  }

  /// Stores a state in the place of the revision that it was read with.
  ///
  /// - Returns: the new revision; nil when somebody else has written meanwhile, or the cron workflow is gone.
  public func put(_ state: CronStateRow) async throws -> Int64? {
    try await run(
      """
      INSERT INTO cron_states (\(Self.cronColumns))
      SELECT $1, $2 + 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
      WHERE EXISTS (SELECT 1 FROM objects WHERE uid = $1)
        AND ($2 = 0 OR EXISTS (SELECT 1 FROM cron_states WHERE uid = $1))
      ON CONFLICT (uid) DO UPDATE SET revision = excluded.revision, schedule = excluded.schedule,
        scheduled_since_ms = excluded.scheduled_since_ms, has_new_schedule = excluded.has_new_schedule,
        last_scheduled_ms = excluded.last_scheduled_ms, seen_workflow = excluded.seen_workflow,
        active = excluded.active, succeeded = excluded.succeeded, failed = excluded.failed,
        is_stopped = excluded.is_stopped, condition = excluded.condition
        WHERE cron_states.revision = $2
      RETURNING revision
      """, .text(state.uid), .int8(state.revision), .text(state.schedule), .int8(state.scheduledSince.milliseconds),
      .bool(state.hasNewSchedule), .int8(state.lastScheduledAt?.milliseconds), .int8(state.seenWorkflow.number),
      .text(try RowJSON.encode(state.active)), .int8(state.succeeded), .int8(state.failed), .bool(state.isStopped),
      .text(try state.condition.map { try RowJSON.encode($0) })
    ).rows.first.map { try $0.int(0) }
  }

  /// Whether a project takes nothing new.
  public func isArchived(_ project: ProjectName) async throws -> Bool {
    try await run("SELECT archived_ms IS NOT NULL FROM projects WHERE name = $1", .text(project.text)).rows.first.map {
      try $0.bool(0)
    } ?? false
  }

  /// The cron workflows of all projects, and a mark that changes with any of them.
  public func cronWorkflows() async throws -> [StoredObject] {
    try await run(
      "SELECT \(Self.objectColumns) FROM objects WHERE kind = $1 ORDER BY project, name",
      .text(StoredObjectKind.cronWorkflow.rawValue)
    ).rows.map(Self.object)
  }

  /// Changes whenever an object of a kind is made, changed or removed.
  public func mark(of kind: StoredObjectKind) async throws -> String {
    let row = try await run(
      "SELECT count(*), coalesce(max(revision), 0) FROM objects WHERE kind = $1", .text(kind.rawValue))[0]
    return "\(try row.int(0)).\(try row.int(1))"
  }

  /// Which of these workflows are over, or gone.
  public func ended(of uids: [String]) async throws -> Set<String> {
    guard !uids.isEmpty else { return [] }
    let rows = try await run(
      "SELECT uid FROM workflows WHERE uid = ANY ($1) AND phase IN ('Pending', 'Running')",
      .texts(uids.map { Optional($0) }))
    return Set(uids).subtracting(try rows.rows.map { try $0.text(0) })
  }

  private static let cronColumns = """
    uid, revision, schedule, scheduled_since_ms, has_new_schedule, last_scheduled_ms, seen_workflow, active, succeeded, \
    failed, is_stopped, condition
    """

  private static func cronState(_ row: PostgresRow) throws -> CronStateRow {
    var state = CronStateRow(
      uid: try row.text(0), schedule: try row.text(2), scheduledSince: try RowDecoder.time(row, 3))
    state.revision = try row.int(1)
    state.hasNewSchedule = try row.bool(4)
    state.lastScheduledAt = try RowDecoder.moment(row, 5)
    state.seenWorkflow = WorkflowID(try row.int(6))
    state.active = try RowJSON.decode([CronStateRow.ActiveWorkflow].self, try row.text(7))
    state.succeeded = try row.int(8)
    state.failed = try row.int(9)
    state.isStopped = try row.bool(10)
    state.condition = try row.optionalText(11).map { try RowJSON.decode(CronStateRow.Condition.self, $0) }
    return state
  }
}
