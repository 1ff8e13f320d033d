public import FederationModel
import Postgres

/// A batch job: a workflow to be, with a number that people know it by (ADR 32).
public struct JobRow: Hashable, Sendable {
  public enum State: String, Hashable, Sendable, CaseIterable {
    /// Something keeps it from being submitted. Can become `submitting`, `cancelled` and `refused`.
    case waiting
    /// Its workflow is being submitted, or was and nobody has noted it. Can become `submitted` and `refused`.
    case submitting
    case submitted
    case cancelled
    /// The submission was refused when its time came.
    case refused
  }
  /// The first of as many as it has tasks.
  public var number: Int64
  public var taskCount: Int64
  public var project: ProjectName
  public var name: String
  public var submittedBy: String
  public var submittedAt: Timestamp
  public var uid: String
  public var workflow: String
  public var requestKey: String?
  public var requestHash: String
  public var document: String
  public var details: String
  public var dependency: String
  public var killsOnInvalid: Bool
  public var isHeld: Bool
  public var beginAt: Timestamp?
  public var state: State
  public var reason: String
  public var message: String
  public var endedAt: Timestamp?
  /// The key of its archive in the project's repository; it goes with the row. Empty: nobody has said it.
  public var submission = ""
  /// Tasks of its array that are not submitted with it, and why: `JobRow.cancelledTask`, or what they depend on did not end well.
  public var leftOut: [Int32: String] = [:]

  /// Of a task that was cancelled before its array was submitted.
  public static let cancelledTask = "cancelled"

  public init(
    taskCount: Int64, project: ProjectName, name: String, submittedBy: String, submittedAt: Timestamp, uid: String,
    workflow: String, requestKey: String?, requestHash: String, document: String, details: String, dependency: String,
    killsOnInvalid: Bool, isHeld: Bool, beginAt: Timestamp?, reason: String
  ) {
    number = 0
    self.taskCount = taskCount
    self.project = project
    self.name = name
    self.submittedBy = submittedBy
    self.submittedAt = submittedAt
    self.uid = uid
    self.workflow = workflow
    self.requestKey = requestKey
    self.requestHash = requestHash
    self.document = document
    self.details = details
    self.dependency = dependency
    self.killsOnInvalid = killsOnInvalid
    self.isHeld = isHeld
    self.beginAt = beginAt
    state = .waiting
    self.reason = reason
    message = ""
  }

  /// What of its workflow's name goes before the number, which nobody knows before it is stored.
  public static let numberMark = "%"
}

/// Which jobs are asked for.
public struct JobFilter: Hashable, Sendable {
  /// nil: of all projects.
  public var project: ProjectName?
  /// Those that the asker may see; nil: all.
  public var projects: Set<ProjectName>?
  /// Jobs whose block of numbers has one of these; nil: any.
  public var numbers: [Int64]?
  public var name: String?
  public var submittedBy: String?
  public var since: Timestamp?
  /// Only those of which something is not over yet.
  public var isOpen = false
  public init() {}
}

/// Each change is one statement with its line of the audit log; nothing that runs reads a job.
extension ControlPlaneStore {
  /// Stores a job and gives it the next numbers; one that was stored with the same key is answered as it is.
  ///
  /// - Returns: nil when all numbers are used up, or the project cannot have it.
  public func create(_ job: JobRow, from address: String = "") async throws -> JobRow? {
    let made = try await run(
      """
      WITH taken AS (
        UPDATE job_numbers SET next = next + $2 WHERE next + $2 - 1 <= 2147483647
          AND EXISTS (SELECT 1 FROM projects WHERE name = $3 AND archived_ms IS NULL)
          AND NOT EXISTS (SELECT 1 FROM jobs WHERE request_key = $9)
        RETURNING next - $2 AS first),
      made AS (
        INSERT INTO jobs (\(Self.jobColumns))
        SELECT first, $2, $3, $4, $5, $6, $7, replace($8, '\(JobRow.numberMark)', first::text), $9, $10, $11, $12, $13,
          $14, $15, $16, 'waiting', $17, '', NULL, $18, '{}' FROM taken
        ON CONFLICT (request_key) DO NOTHING RETURNING *),
      noted AS (
        INSERT INTO audit (at_ms, actor, action, object, detail, address)
        SELECT $6, $5, 'job.create', $3 || '/' || number, $4, $1 FROM made)
      SELECT \(Self.jobColumns) FROM made
      """, .text(address), .int8(job.taskCount), .text(job.project.text), .text(job.name), .text(job.submittedBy),
      .int8(job.submittedAt.milliseconds), .text(job.uid), .text(job.workflow), .text(job.requestKey),
      .text(job.requestHash), .text(job.document), .text(job.details), .text(job.dependency), .bool(job.killsOnInvalid),
      .bool(job.isHeld), .int8(job.beginAt?.milliseconds), .text(job.reason), .text(job.submission))
    if let row = made.rows.first { return try Self.job(row) }
    guard let key = job.requestKey else { return nil }
    return try await jobs("request_key = $1", .text(key)).first
  }

  /// Newest first, at most `limit`, with numbers below `before`.
  public func jobs(_ filter: JobFilter, before: Int64 = .max, limit: Int) async throws -> [JobRow] {
    return try await jobs(
      """
      number < $1 AND ($2::text IS NULL OR project = $2) AND (NOT $3 OR project = ANY ($10::text[]))
        AND (NOT $4 OR EXISTS (
          SELECT 1 FROM unnest($11::int8[]) AS wanted WHERE wanted BETWEEN number AND number + task_count - 1))
        AND ($5::text IS NULL OR name = $5) AND ($6::text IS NULL OR submitted_by = $6)
        AND ($7::int8 IS NULL OR submitted_ms >= $7)
        AND (NOT $8 OR state IN ('waiting', 'submitting') OR state = 'submitted' AND EXISTS (
          SELECT 1 FROM workflows w WHERE w.uid = jobs.uid AND w.phase IN ('Pending', 'Running')))
      ORDER BY number DESC LIMIT $9
      """, .int8(before), .text(filter.project?.text), .bool(filter.projects != nil),
      .bool(filter.numbers != nil), .text(filter.name), .text(filter.submittedBy),
      .int8(filter.since?.milliseconds), .bool(filter.isOpen), .int8(Int64(limit)),
      .texts((filter.projects ?? []).map(\.text).sorted()), .int8s(filter.numbers ?? []))
  }

  /// The job that has this number, or this number in its block.
  public func job(_ number: Int64) async throws -> JobRow? {
    try await jobs("number <= $1 AND number + task_count > $1 ORDER BY number DESC LIMIT 1", .int8(number)).first
  }

  /// Those that are not submitted yet, the eldest first.
  public func waitingJobs(after number: Int64 = 0, limit: Int) async throws -> [JobRow] {
    try await jobs(
      "state IN ('waiting', 'submitting') AND number > $1 ORDER BY number LIMIT $2", .int8(number), .int8(Int64(limit)))
  }

  /// Whether an earlier job of the same name and user is not over.
  public func hasEarlierOpenJob(than job: JobRow) async throws -> Bool {
    try await run(
      """
      SELECT EXISTS (SELECT 1 FROM jobs WHERE submitted_by = $1 AND name = $2 AND number < $3 AND project = $4
        AND (state IN ('waiting', 'submitting') OR state = 'submitted' AND EXISTS (
          SELECT 1 FROM workflows w WHERE w.uid = jobs.uid AND w.phase IN ('Pending', 'Running'))))
      """, .text(job.submittedBy), .text(job.name), .int8(job.number), .text(job.project.text))[0].bool(0)
  }

  /// Takes a job for submission. - Returns: whether it was still waiting, and not held.
  public func beginSubmission(of number: Int64) async throws -> Bool {
    try await run(
      "UPDATE jobs SET state = 'submitting', reason = '' WHERE number = $1 AND state = 'waiting' AND NOT is_held",
      .int8(number)
    ).affectedRows == 1
  }

  /// Leaves tasks out of an array that waits; what was said of a task before holds.
  ///
  /// - Returns: whether it was still waiting.
  public func leaveOut(
    _ tasks: [Int32: String], of number: Int64, by user: String, address: String = "", at now: Timestamp
  ) async throws -> Bool {
    try await run(
      """
      WITH changed AS (
        UPDATE jobs SET left_out = ($2::jsonb || left_out::jsonb)::text WHERE number = $1 AND state = 'waiting'
        RETURNING *)
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT $3, $4, 'job.leave-out', project || '/' || number, $5, $6 FROM changed
      """, .int8(number), .text(try RowJSON.encode(Self.texts(tasks))), .int8(now.milliseconds), .text(user),
      .text(tasks.keys.sorted().prefix(100).map { "\($0)" }.joined(separator: ",")), .text(address)
    ).affectedRows == 1
  }

  private static func texts(_ tasks: [Int32: String]) -> [String: String] {
    Dictionary(uniqueKeysWithValues: tasks.map { ("\($0.key)", $0.value) })
  }

  /// Its workflow is there: the document is not needed any more.
  public func noteSubmitted(_ number: Int64) async throws {
    _ = try await run(
      "UPDATE jobs SET state = 'submitted', document = '' WHERE number = $1 AND state = 'submitting'", .int8(number))
  }

  /// Ends a job that will never be submitted. - Returns: whether it was still in `from`.
  public func end(
    _ number: Int64, as state: JobRow.State, from: JobRow.State, reason: String, message: String, by user: String,
    address: String = "", at now: Timestamp
  ) async throws -> Bool {
    try await run(
      """
      WITH ended AS (
        UPDATE jobs SET state = $2, reason = $4, message = $5, ended_ms = $6, document = ''
        WHERE number = $1 AND state = $3 RETURNING *)
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT $6, $7, 'job.' || $2, project || '/' || number, $5, $8 FROM ended
      """, .int8(number), .text(state.rawValue), .text(from.rawValue), .text(reason), .text(message),
      .int8(now.milliseconds), .text(user), .text(address)
    ).affectedRows == 1
  }

  /// - Returns: whether it is still waiting.
  public func hold(
    _ number: Int64, _ isHeld: Bool, by user: String, address: String = "", at now: Timestamp
  ) async throws -> Bool {
    try await run(
      """
      WITH changed AS (UPDATE jobs SET is_held = $2 WHERE number = $1 AND state = 'waiting' RETURNING *)
      INSERT INTO audit (at_ms, actor, action, object, detail, address)
      SELECT $3, $4, CASE WHEN $2 THEN 'job.hold' ELSE 'job.release' END, project || '/' || number, '', $5 FROM changed
      """, .int8(number), .bool(isHeld), .int8(now.milliseconds), .text(user), .text(address)
    ).affectedRows == 1
  }

  /// Why it waits now.
  public func noteReason(_ reason: String, of number: Int64) async throws {
    _ = try await run(
      "UPDATE jobs SET reason = $2 WHERE number = $1 AND state = 'waiting' AND reason <> $2", .int8(number),
      .text(reason))
  }

  /// Forgets jobs that were over before `moment`, the oldest first, at most `limit`, and gives up their archives. Their numbers are
  /// never given again; their workflows stay as long as they would without.
  ///
  /// - Returns: how many.
  func expireJobs(overBefore moment: Timestamp, at now: Timestamp, limit: Int) async throws -> Int {
    let counted = try await run(
      """
      WITH old AS (
        SELECT number FROM jobs j WHERE submitted_ms < $1
          AND (state IN ('cancelled', 'refused') AND ended_ms < $1
            OR state = 'submitted' AND NOT EXISTS (
              SELECT 1 FROM workflows w WHERE w.uid = j.uid
                AND (w.phase IN ('Pending', 'Running') OR EXISTS (
                  SELECT 1 FROM nodes n WHERE n.workflow_id = w.id AND n.ordinal = 0 AND n.finished_ms >= $1))))
        ORDER BY submitted_ms LIMIT $3 FOR UPDATE OF j SKIP LOCKED),
      gone AS (
        DELETE FROM jobs USING old WHERE jobs.number = old.number RETURNING jobs.project, jobs.submission),
      given_up AS (
        INSERT INTO artifact_garbage (project, key, since_ms)
        SELECT DISTINCT project, submission, $2 FROM gone WHERE submission <> '' ON CONFLICT DO NOTHING)
      SELECT count(*) FROM gone
      """, .int8(moment.milliseconds), .int8(now.milliseconds), .int8(Int64(limit)))
    return Int(try counted[0].int(0))
  }

  private func jobs(_ condition: String, _ values: PostgresValue...) async throws -> [JobRow] {
    let statement = PostgresStatement("SELECT \(Self.jobColumns) FROM jobs WHERE \(condition)", values)
    return try await pool.withConnection { try await $0.run([statement])[0] }.rows.map(Self.job)
  }

  private static let jobColumns = """
    number, task_count, project, name, submitted_by, submitted_ms, uid, workflow, request_key, request_hash, document, \
    details, dependency, kills_on_invalid, is_held, begin_ms, state, reason, message, ended_ms, submission, left_out
    """

  private static func job(_ row: PostgresRow) throws -> JobRow {
    var job = JobRow(
      taskCount: try row.int(1), project: ProjectName(try row.text(2)), name: try row.text(3),
      submittedBy: try row.text(4), submittedAt: try RowDecoder.time(row, 5), uid: try row.text(6),
      workflow: try row.text(7), requestKey: try row.optionalText(8), requestHash: try row.text(9),
      document: try row.text(10), details: try row.text(11), dependency: try row.text(12),
      killsOnInvalid: try row.bool(13), isHeld: try row.bool(14), beginAt: try RowDecoder.moment(row, 15),
      reason: try row.text(17))
    job.number = try row.int(0)
    job.state = try RowDecoder.word(try row.text(16), JobRow.State.self)
    job.message = try row.text(18)
    job.endedAt = try RowDecoder.moment(row, 19)
    job.submission = try row.text(20)
    for (task, why) in try RowJSON.decode([String: String].self, try row.text(21)) {
      if let task = Int32(task) { job.leftOut[task] = why }
    }
    return job
  }
}
