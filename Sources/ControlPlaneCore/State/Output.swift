import FederationModel

/// What the inputs of one unit have changed and want done, collected row by row so that each row is written once.
struct Output: Sendable {
  var now: Timestamp
  var isDirty = false
  var minimumSequence: Int64? { didSet { isDirty = true } }
  /// Workflows to ask for their changes.
  var workflows: Set<WorkflowID> = [] { didSet { isDirty = true } }
  /// Finished or removed in this unit: they leave memory when their rows have been taken.
  var retired: Set<WorkflowID> = []
  /// Last images of workflows that could not be read back.
  var quarantined: [WorkflowRow] = [] { didSet { isDirty = true } }
  var runs: [RunID: RunRow] = [:] { didSet { isDirty = true } }
  var clusters: Set<ClusterName> = [] { didSet { isDirty = true } }
  var explanations: [ExplanationRow] = []
  var events: [EventRow] = [] { didSet { isDirty = true } }
  var idempotency: [IdempotencyRow] = []
  var audit: [AuditRow] = [] { didSet { isDirty = true } }
  var deletedWorkflows: Set<WorkflowID> = [] { didSet { isDirty = true } }
  var deletedClusters: Set<ClusterName> = [] { didSet { isDirty = true } }
  private var effects: [Effect] = []
  /// Messages that grow while the unit does, so that an agent gets one of each kind instead of thousands.
  private var assignments: [ClusterName: (session: SessionID, runs: [RunAssignment])] = [:]
  private var forgotten: [ClusterName: (session: SessionID, runs: [RunID])] = [:]
  private var acknowledged: [ClusterName: (session: SessionID, sequence: Int64)] = [:]

  init(now: Timestamp) { self.now = now }

  mutating func add(_ effect: Effect) {
    isDirty = true
    effects.append(effect)
  }

  mutating func assign(_ assignment: RunAssignment, to cluster: ClusterName, _ session: SessionID) {
    isDirty = true
    assignments[cluster, default: (session, [])].session = session
    assignments[cluster]!.runs.append(assignment)
  }

  mutating func forget(_ run: RunID, on cluster: ClusterName, _ session: SessionID) {
    isDirty = true
    forgotten[cluster, default: (session, [])].session = session
    forgotten[cluster]!.runs.append(run)
  }

  mutating func acknowledge(_ sequence: Int64, of cluster: ClusterName, _ session: SessionID) {
    isDirty = true
    acknowledged[cluster] = (session, sequence)
  }

  /// A welcome says all that was collected for the session before, and more.
  mutating func dropCollected(for cluster: ClusterName) {
    assignments[cluster] = nil
    forgotten[cluster] = nil
    acknowledged[cluster] = nil
  }

  /// Assignments first, so that a cancel of the same unit finds its run at the agent; then the rest in order.
  func finishedEffects() -> [Effect] {
    var all: [Effect] = []
    for cluster in assignments.keys.sorted() {
      all.append(.send(cluster, assignments[cluster]!.session, .assign(assignments[cluster]!.runs)))
    }
    all += effects
    for cluster in acknowledged.keys.sorted() {
      all.append(.send(cluster, acknowledged[cluster]!.session, .acknowledge(sequence: acknowledged[cluster]!.sequence)))
    }
    for cluster in forgotten.keys.sorted() {
      all.append(.send(cluster, forgotten[cluster]!.session, .forget(forgotten[cluster]!.runs)))
    }
    return all
  }
}
