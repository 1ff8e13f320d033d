public import ControlPlaneCore
public import FederationModel
import Postgres

extension ControlPlaneStore {
  /// How many tasks (nodes with a run behind them) of each phase the workflows have.
  public func taskCounts(of workflows: [WorkflowID]) async throws -> [WorkflowID: [String: Int]] {
    guard !workflows.isEmpty else { return [:] }
    let rows = try await run(
      """
      SELECT workflow_id, phase, count(*) FROM nodes
      WHERE workflow_id = ANY ($1::int8[]) AND type = 'Pod' AND NOT is_superseded GROUP BY workflow_id, phase
      """, .int8s(workflows.map(\.number)))
    var counts: [WorkflowID: [String: Int]] = [:]
    for row in rows.rows { counts[WorkflowID(try row.int(0)), default: [:]][try row.text(1)] = Int(try row.int(2)) }
    return counts
  }

  /// Of workflows that have nodes.
  public func commits(of workflows: [WorkflowID]) async throws -> [WorkflowID: WorkflowCommits] {
    guard !workflows.isEmpty else { return [:] }
    let rows = try await run(
      """
      SELECT workflow_id, min(created_seq), max(changed_seq) FROM nodes WHERE workflow_id = ANY ($1::int8[])
      GROUP BY workflow_id
      """, .int8s(workflows.map(\.number)))
    var commits: [WorkflowID: WorkflowCommits] = [:]
    for row in rows.rows {
      commits[WorkflowID(try row.int(0))] = WorkflowCommits(created: try row.int(1), changed: try row.int(2))
    }
    return commits
  }

  public func run(_ id: RunID) async throws -> RunRow? {
    try await run("SELECT \(RowDecoder.runs) FROM runs WHERE run_id = $1", .int8(id.number)).rows.first.map(
      RowDecoder.run)
  }
}

/// The commits that made a workflow's first node and that changed one last.
public struct WorkflowCommits: Hashable, Sendable {
  public var created: Int64
  public var changed: Int64
  public init(created: Int64, changed: Int64) {
    self.created = created
    self.changed = changed
  }
}
