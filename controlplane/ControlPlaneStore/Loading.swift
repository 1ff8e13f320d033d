public import ControlPlaneCore
import FederationModel
import Postgres
import WorkflowCore

extension ControlPlaneStore {
  /// The condition of the index `workflows_open`, word for word.
  private static let open = "(phase IN ('Pending', 'Running') OR deletion_requested)"
  /// An idempotency row is good for a day.
  static let idempotencyLifetime: Int64 = 86_400_000

  /// `part` for each open workflow `w`. OFFSET 0 keeps the planner from turning this into a join that reads all of history:
  /// each workflow is one look-up through an index that begins with `workflow_id`.
  private static func ofOpenWorkflows(_ part: String, order: String) -> String {
    """
    SELECT x.* FROM (SELECT id FROM workflows WHERE \(open) OFFSET 0) AS w
    CROSS JOIN LATERAL (\(part) OFFSET 0) AS x ORDER BY \(order)
    """
  }

  /// The durable state of this moment, in one snapshot: what a new leader's core is rebuilt from.
  public func loadDurable() async throws -> DurableState {
    let results = try await pool.withConnection { connection in
      try await connection.snapshot(
        [
          "SELECT last_now_ms, last_workflow_id, last_explanation_id FROM leadership",
          "SELECT \(RowDecoder.workflows) FROM workflows WHERE \(Self.open) ORDER BY id",
          Self.ofOpenWorkflows(
            "SELECT \(RowDecoder.nodes) FROM nodes WHERE workflow_id = w.id", order: "workflow_id, ordinal"),
          // No run outlives its workflow, so those of finished workflows need not be looked at.
          Self.ofOpenWorkflows(
            "SELECT \(RowDecoder.runs) FROM runs WHERE workflow_id = w.id AND phase < 5", order: "run_id"),
          Self.ofOpenWorkflows(
            """
            SELECT workflow_id, ordinal, max(epoch) FROM runs WHERE workflow_id = w.id GROUP BY workflow_id, ordinal
            """, order: "workflow_id, ordinal"),
          RowDecoder.clusters, RowDecoder.agents,
          """
          SELECT principal, key, request_hash, reply, at_ms FROM idempotency
          WHERE at_ms >= (SELECT last_now_ms - \(Self.idempotencyLifetime) FROM leadership) ORDER BY principal, key
          """,
          "\(RowDecoder.datasets) ORDER BY project, name", "\(RowDecoder.versions) ORDER BY key",
          "\(RowDecoder.replicas) ORDER BY key, cache",
          "\(RowDecoder.transfers) WHERE finished_ms IS NULL ORDER BY id",
          "\(RowDecoder.artifacts) WHERE is_unstored ORDER BY workflow_id, ordinal, name",
          Self.ofOpenWorkflows(
            "\(RowDecoder.artifacts) WHERE workflow_id = w.id AND is_remade", order: "workflow_id, ordinal, name"),
          RowDecoder.projects, RowDecoder.budgets, RowDecoder.reservations,
          "\(RowDecoder.allowances) ORDER BY project, member", RowDecoder.shares, RowDecoder.storageHolds,
          RowDecoder.semaphores, RowDecoder.memos,
          "SELECT project, name, expires_ms FROM workflows WHERE expires_ms IS NOT NULL",
          RowDecoder.organisations,
        ].map { PostgresStatement($0) }, timeout: .seconds(120))
    }
    guard results[0].rowCount == 1 else { throw PostgresError(.decoding, "the leadership row is missing") }
    var state = DurableState(now: try RowDecoder.time(results[0][0], 0))
    var nodes: [WorkflowID: [NodeRecord]] = [:]
    for row in results[2].rows {
      let node = try RowDecoder.node(row)
      nodes[node.workflow, default: []].append(node.record)
    }
    state.workflows = try results[1].rows.map {
      let row = try RowDecoder.workflow($0)
      return LoadedWorkflow(row: row, nodes: nodes[row.id] ?? [])
    }
    state.runs = try results[3].rows.map(RowDecoder.run)
    for row in results[4].rows {
      let task = TaskID(workflow: WorkflowID(try row.int(0)), node: NodeID(Int32(clamping: try row.int(1))))
      state.epochs[task] = Int32(clamping: try row.int(2))
    }
    state.clusters = try results[5].rows.map(RowDecoder.cluster)
    state.agents = try results[6].rows.map(RowDecoder.agent)
    state.idempotency = try results[7].rows.map {
      IdempotencyRow(
        principal: try $0.text(0), key: try $0.text(1), requestHash: try $0.text(2), reply: try $0.text(3),
        at: try RowDecoder.time($0, 4))
    }
    state.datasets = try results[8].rows.map(RowDecoder.dataset)
    state.datasetVersions = try results[9].rows.map(RowDecoder.version)
    state.replicas = try results[10].rows.map(RowDecoder.replica)
    state.transfers = try results[11].rows.map(RowDecoder.transfer)
    state.unstoredArtifacts = try results[12].rows.map(RowDecoder.artifact)
    state.remadeArtifacts = try results[13].rows.map(RowDecoder.artifact)
    state.projects = try results[14].rows.map(RowDecoder.project)
    state.budgets = try results[15].rows.map(RowDecoder.budget)
    state.reservations = try results[16].rows.map(RowDecoder.reservation)
    state.allowances = try results[17].rows.map(RowDecoder.allowance)
    state.shares = try results[18].rows.map(RowDecoder.share)
    state.storageHolds = try results[19].rows.map(RowDecoder.storageHold)
    state.semaphores = try results[20].rows.map(RowDecoder.semaphore)
    state.memos = try results[21].rows.map(RowDecoder.memo)
    for row in results[22].rows {
      let reference = WorkflowReference(project: ProjectName(try row.text(0)), name: try row.text(1))
      state.expiring[reference] = try RowDecoder.time(row, 2)
    }
    state.organisations = try results[23].rows.map(RowDecoder.organisation)
    state.lastWorkflowID = WorkflowID(try results[0][0].int(1))
    state.lastExplanationID = try results[0][0].int(2)
    return state
  }

  /// A workflow with its nodes, finished or not, from one snapshot.
  public func workflow(_ reference: WorkflowReference) async throws -> LoadedWorkflow? {
    try await workflow(where: "project = $1 AND name = $2", [.text(reference.project.text), .text(reference.name)])
  }

  public func workflow(uid: String) async throws -> LoadedWorkflow? {
    try await workflow(where: "uid = $1", [.text(uid)])
  }

  private func workflow(where condition: String, _ values: [PostgresValue]) async throws -> LoadedWorkflow? {
    let results = try await pool.withConnection { connection in
      try await connection.snapshot([
        PostgresStatement("SELECT \(RowDecoder.workflows) FROM workflows WHERE \(condition)", values),
        PostgresStatement(
          "SELECT \(RowDecoder.nodes) FROM nodes WHERE workflow_id = (SELECT id FROM workflows WHERE \(condition)) ORDER BY ordinal",
          values),
      ])
    }
    guard let row = try results[0].rows.first.map(RowDecoder.workflow) else { return nil }
    return LoadedWorkflow(row: row, nodes: try results[1].rows.map { try RowDecoder.node($0).record })
  }
}
