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
  /// On labels, beyond equality.
  public var conditions: [LabelCondition] = []
  public var namePrefix: String?
  /// Created at this moment or later.
  public var createdSince: Timestamp?
  /// Created before this moment.
  public var createdBefore: Timestamp?
  public var name: String?
  /// Somewhere in the name.
  public var namePart: String?
  /// All but this one.
  public var excludedName: String?
  /// Over before this moment.
  public var finishedBefore: Timestamp?
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

/// An event with the workflow that it is about.
public struct WorkflowEventRecord: Hashable, Sendable {
  public var sequence: Int64
  public var row: EventRow
  /// Its name.
  public var workflow: String
  public var uid: String
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
        AND ($11::int8 IS NULL OR created_ms < $11) AND ($12::text IS NULL OR name = $12)
        AND ($13::text IS NULL OR strpos(name, $13) > 0) AND ($14::text IS NULL OR name <> $14)
        AND ($15::int8 IS NULL OR (status::jsonb ->> 'finishedAt')::int8 < $15) AND \(Self.conditions("$10"))
      ORDER BY id DESC LIMIT $6
      """, .text(filter.project?.text), .texts(phases), .text(try RowJSON.encode(filter.labels)),
      .text(filter.namePrefix),
      .int8(before?.number), .int8(Int64(min(max(limit, 1), 1000))),
      .int8(filter.createdSince?.milliseconds), .bool(filter.projects == nil),
      .texts((filter.projects ?? []).map(\.text).sorted()), .text(try RowJSON.encode(filter.conditions)),
      .int8(filter.createdBefore?.milliseconds), .text(filter.name), .text(filter.namePart),
      .text(filter.excludedName), .int8(filter.finishedBefore?.milliseconds))
  }

  /// The keys of labels of finished workflows, in order; at most 1,000.
  ///
  /// - Parameter projects: nil: all.
  public func labelKeys(in projects: Set<ProjectName>?) async throws -> [String] {
    try await run(
      """
      SELECT DISTINCT jsonb_object_keys(labels) AS key FROM workflows
      WHERE phase IN ('Succeeded', 'Failed', 'Error') AND ($1 OR project = ANY ($2)) ORDER BY key LIMIT 1000
      """, .bool(projects == nil), .texts((projects ?? []).map(\.text).sorted())
    ).rows.map { try $0.text(0) }
  }

  /// The values of a label of finished workflows, in order; at most 1,000.
  public func labelValues(of key: String, in projects: Set<ProjectName>?) async throws -> [String] {
    try await run(
      """
      SELECT DISTINCT labels ->> $3 AS value FROM workflows
      WHERE phase IN ('Succeeded', 'Failed', 'Error') AND labels ? $3 AND ($1 OR project = ANY ($2))
      ORDER BY value LIMIT 1000
      """, .bool(projects == nil), .texts((projects ?? []).map(\.text).sorted()), .text(key)
    ).rows.map { try $0.text(0) }
  }

  /// Workflows that a pod of this name may belong to: those whose names it begins with, the longest first.
  public func workflowHeads(ofPod name: String, in project: ProjectName) async throws -> [WorkflowHead] {
    try await run(
      """
      SELECT \(RowDecoder.heads) FROM workflows WHERE project = $1 AND (name = $2 OR starts_with($2, name || '-'))
      ORDER BY length(name) DESC LIMIT 5
      """, .text(project.text), .text(name)
    ).rows.map(RowDecoder.head)
  }

  /// SQL that holds where every `LabelCondition` of the JSON list in a parameter holds for the column `labels`.
  static func conditions(_ parameter: String) -> String {
    """
    NOT EXISTS (SELECT 1 FROM jsonb_array_elements(\(parameter)::jsonb) AS condition WHERE NOT CASE condition ->> 'relation'
      WHEN 'in' THEN labels ? (condition ->> 'key') AND (condition -> 'values') ? (labels ->> (condition ->> 'key'))
      WHEN 'notin' THEN NOT (labels ? (condition ->> 'key')
        AND (condition -> 'values') ? (labels ->> (condition ->> 'key')))
      WHEN 'exists' THEN labels ? (condition ->> 'key')
      ELSE NOT labels ? (condition ->> 'key') END)
    """
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

  /// Events of a project's workflows after `sequence`, oldest first; at most 1,000.
  public func events(in project: ProjectName, after sequence: Int64, limit: Int) async throws -> [WorkflowEventRecord] {
    try await run(
      """
      SELECT e.seq, e.at_ms, e.workflow_id, e.ordinal, e.cluster, e.reason, e.message, w.name, w.uid
      FROM events e JOIN workflows w ON w.id = e.workflow_id
      WHERE e.seq > $1 AND w.project = $2 ORDER BY e.seq LIMIT $3
      """, .int8(sequence), .text(project.text), .int8(Int64(min(max(limit, 1), 1000)))
    ).rows.map { row in
      let event = try RowDecoder.event(row)
      return WorkflowEventRecord(
        sequence: event.sequence, row: event.row, workflow: try row.text(7), uid: try row.text(8))
    }
  }

  /// The sequence of the newest event; 0 without one.
  public func lastEvent() async throws -> Int64 {
    try await run("SELECT coalesce(max(seq), 0) FROM events")[0].int(0)
  }

  /// The newest events of one task, oldest first; at most 100.
  public func events(of task: TaskID) async throws -> [NumberedEvent] {
    try await run(
      "\(RowDecoder.events) WHERE workflow_id = $1 AND ordinal = $2 ORDER BY seq DESC LIMIT 100",
      .int8(task.workflow.number), .int4(task.node.ordinal)
    ).rows.map(RowDecoder.event).reversed()
  }
}
