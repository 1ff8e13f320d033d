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

  public func run(_ id: RunID) async throws -> RunRow? {
    try await run("SELECT \(RowDecoder.runs) FROM runs WHERE run_id = $1", .int8(id.number)).rows.first.map(
      RowDecoder.run)
  }
}
