public import FederationModel
import Postgres

/// How much history the database keeps. What belongs to a workflow goes with it in any case; these are the bounds of what grows
/// while nothing is deleted.
public struct RetentionPolicy: Hashable, Sendable {
  /// Candidate tables kept for each workflow, the newest.
  public var explanationsPerWorkflow: Int
  /// Events kept for each workflow, the newest.
  public var eventsPerWorkflow: Int
  /// How long events are kept that belong to no workflow (clusters, leadership), and candidate tables of unknown workflows.
  public var history: Duration
  /// How long tokens are listed that were revoked or have expired.
  public var tokens: Duration
  /// How long batch jobs that are over are told by `sacct`, and their archives are kept; nil: for ever.
  public var jobs: Duration?
  /// How long artifacts of workflows that are over are kept in the repository; nil: as long as their workflows.
  public var artifacts: Duration?

  public init(
    explanationsPerWorkflow: Int = 1000, eventsPerWorkflow: Int = 10_000, history: Duration = .seconds(30 * 86_400),
    artifacts: Duration? = nil, tokens: Duration = .seconds(30 * 86_400), jobs: Duration? = .seconds(90 * 86_400)
  ) {
    self.jobs = jobs
    self.tokens = tokens
    self.artifacts = artifacts
    self.explanationsPerWorkflow = explanationsPerWorkflow
    self.eventsPerWorkflow = eventsPerWorkflow
    self.history = history
  }
}

extension ControlPlaneStore {
  /// Deletes what the policy does not keep, at most `batch` rows of each kind, the oldest first; returns how many went. Called again
  /// until it returns 0. It takes no lock that a unit waits for: units only add such rows, and delete them with their workflow.
  ///
  /// The audit log is append only and is not touched.
  public func expire(_ policy: RetentionPolicy, at now: Timestamp, batch: Int = 1000) async throws -> Int {
    let oldest = (now + (.zero - policy.history)).milliseconds
    var deleted = 0
    deleted += try await trim(
      "explanations", by: "id", keeping: policy.explanationsPerWorkflow, batch: batch)
    deleted += try await trim("events", by: "seq", keeping: policy.eventsPerWorkflow, batch: batch)
    for (table, key) in [("explanations", "id"), ("events", "seq")] {
      deleted += try await run(
        """
        DELETE FROM \(table) WHERE \(key) = ANY (ARRAY(
          SELECT \(key) FROM \(table) WHERE workflow_id IS NULL AND at_ms < $1 ORDER BY \(key) LIMIT $2))
        """, .int8(oldest), .int8(Int64(batch))
      ).affectedRows
    }
    if let age = policy.jobs {
      deleted += try await expireJobs(overBefore: now + (.zero - age), at: now, limit: batch)
    }
    // What they did stays in the audit log.
    deleted += try await run(
      """
      DELETE FROM tokens WHERE hash = ANY (ARRAY(
        SELECT hash FROM tokens WHERE revoked_ms < $1 OR expires_ms < $1 ORDER BY created_ms LIMIT $2))
      """, .int8((now + (.zero - policy.tokens)).milliseconds), .int8(Int64(batch))
    ).affectedRows
    return deleted
  }

  /// Deletes the rows of workflows that have more than `limit`, all but the newest.
  private func trim(_ table: String, by key: String, keeping limit: Int, batch: Int) async throws -> Int {
    try await run(
      """
      DELETE FROM \(table) WHERE \(key) = ANY (ARRAY(
        SELECT x.\(key) FROM (
          SELECT workflow_id FROM \(table) WHERE workflow_id IS NOT NULL GROUP BY workflow_id HAVING count(*) > $1
        ) AS w CROSS JOIN LATERAL (
          SELECT t.\(key) FROM \(table) t WHERE t.workflow_id = w.workflow_id ORDER BY t.\(key) DESC OFFSET $1
        ) AS x ORDER BY x.\(key) LIMIT $2))
      """, .int8(Int64(limit)), .int8(Int64(batch))
    ).affectedRows
  }
}
