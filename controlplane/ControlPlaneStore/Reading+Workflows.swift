public import ControlPlaneCore
public import FederationModel
import Postgres
public import WorkflowCore

/// A workflow without its document, which may have megabytes, and without its nodes.
public struct WorkflowHead: Hashable, Sendable {
  public var id: WorkflowID
  public var uid: String
  public var project: ProjectName
  public var name: String
  public var labels: [String: String]
  public var status: WorkflowStatus
  public var createdAt: Timestamp
  public var createdBy: String

  public init(
    id: WorkflowID, uid: String, project: ProjectName, name: String, labels: [String: String], status: WorkflowStatus,
    createdAt: Timestamp, createdBy: String
  ) {
    self.id = id
    self.uid = uid
    self.project = project
    self.name = name
    self.labels = labels
    self.status = status
    self.createdAt = createdAt
    self.createdBy = createdBy
  }

  public init(_ row: WorkflowRow) {
    self.init(
      id: row.id, uid: row.uid, project: row.project, name: row.name, labels: row.labels, status: row.status,
      createdAt: row.createdAt, createdBy: row.createdBy)
  }

  public var reference: WorkflowReference { WorkflowReference(project: project, name: name) }
}

/// What is new of a workflow to somebody who knows it up to a commit and an event.
public struct WorkflowChanges: Hashable, Sendable {
  /// The commit that this shows.
  public var commit: Int64
  public var head: WorkflowHead
  /// Tasks by phase.
  public var tasks: [String: Int]
  /// Nodes whose own row, runs or children have changed, in creation order. Some may have been replaced by a retry.
  public var changed: [NodeID]
  /// Nodes that wait: the ones whose reason may change without a commit.
  public var waiting: [NodeID]
  /// Oldest first, at most 1,000.
  public var events: [NumberedEvent]
}

/// What a workflow's runs have moved and cost.
public struct WorkflowTotals: Hashable, Sendable {
  public var bytesMoved: Int64
  /// Minor units, by currency.
  public var charges: [String: Amount]
}

/// Reading parts of a workflow: the work is in proportion to what is asked for, not to how large the workflow is.
extension ControlPlaneStore {
  public func workflowHead(_ reference: WorkflowReference) async throws -> WorkflowHead? {
    try await run(
      "SELECT \(RowDecoder.heads) FROM workflows WHERE project = $1 AND name = $2", .text(reference.project.text),
      .text(reference.name)
    ).rows.first.map(RowDecoder.head)
  }

  public func workflowHead(uid: String) async throws -> WorkflowHead? {
    try await run("SELECT \(RowDecoder.heads) FROM workflows WHERE uid = $1", .text(uid)).rows.first.map(
      RowDecoder.head)
  }

  /// The document as it was accepted: `WorkflowDefinition.canonicalJSON`.
  public func document(of workflow: WorkflowID) async throws -> String? {
    try await run("SELECT document FROM workflows WHERE id = $1", .int8(workflow.number)).rows.first.map {
      try $0.text(0)
    }
  }

  /// Nodes in creation order, without those that a retry replaced.
  public func nodes(of workflow: WorkflowID, after ordinal: Int64 = -1, limit: Int) async throws -> [NodeRecord] {
    try await nodes(
      "ordinal > $2 AND NOT is_superseded ORDER BY ordinal LIMIT $3", workflow, .int8(ordinal), .int8(Int64(limit)))
  }

  /// Those of `nodes` that exist and were not replaced, in creation order.
  public func nodes(of workflow: WorkflowID, numbered nodes: [NodeID]) async throws -> [NodeRecord] {
    try await self.nodes(
      "ordinal = ANY ($2::int8[]) AND NOT is_superseded ORDER BY ordinal", workflow,
      .int8s(nodes.map { Int64($0.ordinal) }))
  }

  /// By number, full name, the end of a full name after a dot, or display name.
  ///
  /// - Throws: `.invalidArgument`, with some of their full names, when several nodes are called so.
  public func node(of workflow: WorkflowID, named name: String) async throws -> NodeRecord? {
    let number = Int32(name)
    let found = try await nodes(
      """
      (ordinal = $2 OR name = $3 OR display_name = $3 OR right(name, length($3) + 1) = '.' || $3) AND NOT is_superseded
      ORDER BY ordinal = $2 DESC, name = $3 DESC, ordinal LIMIT 6
      """, workflow, .int8(number.map { Int64($0) } ?? -1), .text(name))
    guard let first = found.first else { return nil }
    if found.count == 1 || first.name == name || first.id.ordinal == number { return first }
    throw FederationError.ambiguous(name, found.map(\.name))
  }

  private func nodes(
    _ condition: String, _ workflow: WorkflowID, _ values: PostgresValue...
  ) async throws -> [NodeRecord] {
    let sql = "SELECT \(RowDecoder.nodes) FROM nodes WHERE workflow_id = $1 AND \(condition)"
    let statement = PostgresStatement(sql, [.int8(workflow.number)] + values)
    return try await pool.withConnection { try await $0.run([statement])[0] }.rows.map {
      try RowDecoder.node($0).record
    }
  }

  /// The nodes that have one of `nodes` above them, for each, in creation order.
  public func children(of nodes: [NodeID], in workflow: WorkflowID) async throws -> [NodeID: [NodeID]] {
    guard !nodes.isEmpty else { return [:] }
    let rows = try await run(
      """
      SELECT above, ordinal FROM nodes CROSS JOIN LATERAL unnest(upstream) AS above
      JOIN unnest($2::int8[]) AS wanted ON wanted = above
      WHERE workflow_id = $1 AND NOT is_superseded ORDER BY ordinal
      """, .int8(workflow.number), .int8s(nodes.map { Int64($0.ordinal) }))
    var children: [NodeID: [NodeID]] = [:]
    for row in rows.rows {
      children[NodeID(Int32(clamping: try row.int(0))), default: []].append(NodeID(Int32(clamping: try row.int(1))))
    }
    return children
  }

  /// The last run of each of `nodes` that has one.
  public func latestRuns(of nodes: [NodeID], in workflow: WorkflowID) async throws -> [NodeID: RunRow] {
    guard !nodes.isEmpty else { return [:] }
    let rows = try await run(
      """
      SELECT DISTINCT ON (ordinal) \(RowDecoder.runs) FROM runs JOIN unnest($2::int8[]) AS wanted ON wanted = ordinal
      WHERE workflow_id = $1 ORDER BY ordinal, epoch DESC
      """, .int8(workflow.number), .int8s(nodes.map { Int64($0.ordinal) }))
    var latest: [NodeID: RunRow] = [:]
    for row in rows.rows {
      let run = try RowDecoder.run(row)
      latest[run.task.node] = run
    }
    return latest
  }

  public func totals(of workflow: WorkflowID) async throws -> WorkflowTotals {
    let rows = try await run(
      """
      SELECT quote, coalesce(sum(\(RowDecoder.charge)), 0)::int8, coalesce(sum(bytes_in + bytes_out), 0)::int8 FROM runs
      WHERE workflow_id = $1 GROUP BY quote
      """, .int8(workflow.number))
    var totals = WorkflowTotals(bytesMoved: 0, charges: [:])
    for row in rows.rows {
      totals.bytesMoved += try row.int(2)
      // Few price sheets stand behind many runs.
      guard let quote = try row.optionalText(0) else { continue }
      totals.charges[try RowJSON.decode(PriceSheet.self, quote).currency, default: .zero] += Amount(
        micros: try row.int(1))
    }
    return totals
  }

  /// What commits after `commit` (-1: all) have changed, and events after `event`, from one snapshot; nil when there is no such
  /// workflow.
  public func changes(of uid: String, after commit: Int64, event: Int64) async throws -> WorkflowChanges? {
    let id = "(SELECT id FROM workflows WHERE uid = $1)"
    let uid = PostgresValue.text(uid)
    let statements = [
      PostgresStatement("SELECT commit_seq FROM leadership"),
      PostgresStatement("SELECT \(RowDecoder.heads) FROM workflows WHERE uid = $1", uid),
      PostgresStatement(
        """
        SELECT phase, count(*) FROM nodes WHERE workflow_id = \(id) AND type = 'Pod' AND NOT is_superseded GROUP BY phase
        """, uid),
      PostgresStatement(
        """
        SELECT ordinal FROM nodes WHERE workflow_id = \(id) AND changed_seq > $2
        UNION SELECT ordinal FROM runs WHERE workflow_id = \(id) AND changed_seq > $2
        UNION SELECT unnest(upstream) FROM nodes
          WHERE workflow_id = \(id) AND changed_seq > $2 AND (created_seq > $2 OR is_superseded)
        ORDER BY 1
        """, uid, .int8(commit)),
      PostgresStatement(
        """
        SELECT ordinal FROM nodes WHERE workflow_id = \(id) AND phase = 'Pending' AND NOT is_superseded ORDER BY ordinal
        """, uid),
      PostgresStatement(
        "\(RowDecoder.events) WHERE workflow_id = \(id) AND seq > $2 ORDER BY seq LIMIT 1000", uid, .int8(event)),
    ]
    let results = try await pool.withConnection { try await $0.snapshot(statements) }
    guard let head = try results[1].rows.first.map(RowDecoder.head) else { return nil }
    var tasks: [String: Int] = [:]
    for row in results[2].rows { tasks[try row.text(0)] = Int(try row.int(1)) }
    func nodes(_ result: PostgresResult) throws -> [NodeID] {
      try result.rows.map { NodeID(Int32(clamping: try $0.int(0))) }
    }
    return WorkflowChanges(
      commit: try results[0][0].int(0), head: head, tasks: tasks, changed: try nodes(results[3]),
      waiting: head.status.phase.isTerminal ? [] : try nodes(results[4]),
      events: try results[5].rows.map(RowDecoder.event))
  }
}
