public import ControlPlaneCore
public import FederationModel
import Postgres

/// Which workflows to list. Every condition that is set must hold.
public struct WorkflowFilter: Hashable, Sendable {
  public var project: ProjectName?
  /// Of these alone; nil: of any.
  public var projects: Set<ProjectName>?
  public var phases: [NodePhase]
  public var labels: [String: String]
  public var namePrefix: String?
  /// Created at this moment or later.
  public var createdSince: Timestamp?
  public init(
    project: ProjectName? = nil, phases: [NodePhase] = [], labels: [String: String] = [:], namePrefix: String? = nil,
    createdSince: Timestamp? = nil
  ) {
    self.project = project
    self.phases = phases
    self.labels = labels
    self.namePrefix = namePrefix
    self.createdSince = createdSince
  }
}

/// An event with its place in the history.
public struct NumberedEvent: Hashable, Sendable {
  public var sequence: Int64
  public var row: EventRow
}

extension ControlPlaneStore {
  /// The newest first. `before` is the id of the last workflow of the page before; at most 1,000 rows.
  public func workflows(_ filter: WorkflowFilter, before: WorkflowID? = nil, limit: Int = 100) async throws
    -> [WorkflowRow]
  {
    try await list(RowDecoder.workflows, filter, before, limit).rows.map(RowDecoder.workflow)
  }

  /// The same, without documents.
  public func workflowHeads(_ filter: WorkflowFilter, before: WorkflowID? = nil, limit: Int = 100) async throws
    -> [WorkflowHead]
  {
    try await list(RowDecoder.heads, filter, before, limit).rows.map(RowDecoder.head)
  }

  private func list(
    _ columns: String, _ filter: WorkflowFilter, _ before: WorkflowID?, _ limit: Int
  ) async throws -> PostgresResult {
    let phases = filter.phases.map { Optional($0.rawValue) }
    return try await run(
      """
      SELECT \(columns) FROM workflows
      WHERE ($1::text IS NULL OR project = $1) AND (cardinality($2) = 0 OR phase = ANY ($2)) AND labels @> $3::jsonb
        AND ($4::text IS NULL OR starts_with(name, $4)) AND ($5::int8 IS NULL OR id < $5)
        AND ($7::int8 IS NULL OR created_ms >= $7) AND ($8 OR project = ANY ($9))
      ORDER BY id DESC LIMIT $6
      """, .text(filter.project?.text), .texts(phases), .text(try RowJSON.encode(filter.labels)),
      .text(filter.namePrefix),
      .int8(before?.number), .int8(Int64(min(max(limit, 1), 1000))),
      .int8(filter.createdSince?.milliseconds), .bool(filter.projects == nil),
      .texts((filter.projects ?? []).map(\.text).sorted()))
  }

  /// All runs of a workflow, by task and epoch.
  public func runs(of workflow: WorkflowID) async throws -> [RunRow] {
    let rows = try await run(
      "SELECT \(RowDecoder.runs) FROM runs WHERE workflow_id = $1 ORDER BY ordinal, epoch", .int8(workflow.number))
    return try rows.rows.map(RowDecoder.run)
  }

  /// The newest runs of a task, the oldest of them first.
  public func newestRuns(of task: TaskID, limit: Int) async throws -> [RunRow] {
    let rows = try await run(
      "SELECT \(RowDecoder.runs) FROM runs WHERE workflow_id = $1 AND ordinal = $2 ORDER BY epoch DESC LIMIT $3",
      .int8(task.workflow.number), .int4(task.node.ordinal), .int8(Int64(limit)))
    return try rows.rows.reversed().map(RowDecoder.run)
  }

  public func clusters() async throws -> [ClusterRow] {
    try await run(RowDecoder.clusters).rows.map(RowDecoder.cluster)
  }

  /// By id; those that are kept no more are left out.
  public func explanations(_ ids: [Int64]) async throws -> [Int64: ExplanationRow] {
    guard !ids.isEmpty else { return [:] }
    let rows = try await run(
      "SELECT id, at_ms, document, workflow_id FROM explanations WHERE id = ANY ($1)", .int8s(ids))
    let found = try rows.rows.map {
      ExplanationRow(
        id: try $0.int(0), workflow: try $0.optionalInt(3).map { WorkflowID($0) }, at: try RowDecoder.time($0, 1),
        document: try $0.text(2))
    }
    return Dictionary(uniqueKeysWithValues: found.map { ($0.id, $0) })
  }

  /// Events after `sequence`, oldest first; at most 1,000.
  public func events(of workflow: WorkflowID? = nil, after sequence: Int64, limit: Int = 1000) async throws
    -> [NumberedEvent]
  {
    try await run(
      "\(RowDecoder.events) WHERE seq > $1 AND ($2::int8 IS NULL OR workflow_id = $2) ORDER BY seq LIMIT $3",
      .int8(sequence), .int8(workflow?.number), .int8(Int64(min(max(limit, 1), 1000)))
    ).rows.map(RowDecoder.event)
  }

  /// The newest events of one task, oldest first; at most 100.
  public func events(of task: TaskID) async throws -> [NumberedEvent] {
    try await run(
      "\(RowDecoder.events) WHERE workflow_id = $1 AND ordinal = $2 ORDER BY seq DESC LIMIT 100",
      .int8(task.workflow.number), .int4(task.node.ordinal)
    ).rows.map(RowDecoder.event).reversed()
  }
}
