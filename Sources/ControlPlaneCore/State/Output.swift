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
  /// Clusters whose agent's row changed.
  var agents: Set<ClusterName> = [] { didSet { isDirty = true } }
  var artifacts: [ArtifactRow] = [] { didSet { isDirty = true } }
  var explanations: [ExplanationRow] = []
  var events: [EventRow] = [] { didSet { isDirty = true } }
  var idempotency: [IdempotencyRow] = []
  var audit: [AuditRow] = [] { didSet { isDirty = true } }
  var alerts: [AlertRow] = []
  var datasets: [DatasetReference: DatasetRow] = [:] { didSet { isDirty = true } }
  var datasetVersions: [DataKey: DatasetVersionRow] = [:] { didSet { isDirty = true } }
  var replicas: [ReplicaName: ReplicaRow] = [:] { didSet { isDirty = true } }
  var transfers: [TransferID: TransferRow] = [:] { didSet { isDirty = true } }
  var organisations: Set<OrganisationName> = [] { didSet { isDirty = true } }
  var projects: Set<ProjectName> = [] { didSet { isDirty = true } }
  /// Projects of whose runs some ended: what these used.
  var shares: Set<ProjectName> = [] { didSet { isDirty = true } }
  var semaphores: [ProjectLock: SemaphoreRow] = [:] { didSet { isDirty = true } }
  var memos: [MemoName: MemoRow] = [:] { didSet { isDirty = true } }
  var forgottenMemos: Set<MemoName> = [] { didSet { isDirty = true } }
  var deletedDatasets: Set<DatasetReference> = [] { didSet { isDirty = true } }
  var deletedVersions: Set<DataKey> = [] { didSet { isDirty = true } }
  /// Those of them that are there again are not deleted.
  var deletedReplicas: Set<ReplicaName> = [] { didSet { isDirty = true } }
  var deletedWorkflows: Set<WorkflowID> = [] { didSet { isDirty = true } }
  var deletedClusters: Set<ClusterName> = [] { didSet { isDirty = true } }
  private var steps: [Step] = []
  /// Messages that grow while the unit does, so that an agent gets one of each kind instead of thousands.
  private var batches: [(cluster: ClusterName, session: SessionID, runs: [RunAssignment])] = []
  /// The batch that the next assignment of a cluster joins.
  private var openBatch: [ClusterName: Int] = [:]
  private var extended: [ClusterName: (session: SessionID, slices: [RunID: Duration])] = [:]
  private var forgotten: [ClusterName: (session: SessionID, runs: [RunID])] = [:]
  private var orders: [ClusterName: (session: SessionID, orders: DataOrders)] = [:]
  private var acknowledged: [ClusterName: (session: SessionID, sequence: Int64)] = [:]

  private enum Step {
    case effect(Effect)
    /// Stands where the first assignment of a batch was made: a cancel of one of its runs comes later, a welcome that did not know of
    /// them comes before.
    case batch(Int)
  }

  init(now: Timestamp) { self.now = now }

  mutating func add(_ effect: Effect) {
    isDirty = true
    steps.append(.effect(effect))
  }

  mutating func assign(_ assignment: RunAssignment, to cluster: ClusterName, _ session: SessionID) {
    isDirty = true
    if let open = openBatch[cluster], batches[open].session == session {
      batches[open].runs.append(assignment)
    } else {
      openBatch[cluster] = batches.count
      steps.append(.batch(batches.count))
      batches.append((cluster, session, [assignment]))
    }
  }

  mutating func extend(_ run: RunID, to slice: Duration, on cluster: ClusterName, _ session: SessionID) {
    isDirty = true
    if extended[cluster]?.session != session { extended[cluster] = (session, [:]) }
    extended[cluster]!.slices[run] = slice
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

  /// Adds to what the agent's cache is to do.
  mutating func order(_ cluster: ClusterName, _ session: SessionID, _ change: (inout DataOrders) -> Void) {
    isDirty = true
    if orders[cluster]?.session != session { orders[cluster] = (session, DataOrders()) }
    change(&orders[cluster]!.orders)
  }

  /// A welcome follows: it says all that was collected for the cluster before, and what comes after it must come after it.
  mutating func dropCollected(for cluster: ClusterName) {
    openBatch[cluster] = nil
    extended[cluster] = nil
    forgotten[cluster] = nil
    orders[cluster] = nil
    acknowledged[cluster] = nil
  }

  /// In the order in which they were wanted; acknowledgements and what may be forgotten last.
  func finishedEffects() -> [Effect] {
    var all: [Effect] = steps.map { step in
      switch step {
      case .effect(let effect): effect
      case .batch(let index): .send(batches[index].cluster, batches[index].session, .assign(batches[index].runs))
      }
    }
    for cluster in extended.keys.sorted() {
      all.append(.send(cluster, extended[cluster]!.session, .extend(extended[cluster]!.slices)))
    }
    for cluster in orders.keys.sorted() where !orders[cluster]!.orders.isEmpty {
      all.append(.send(cluster, orders[cluster]!.session, .data(orders[cluster]!.orders)))
    }
    for cluster in acknowledged.keys.sorted() {
      all.append(
        .send(cluster, acknowledged[cluster]!.session, .acknowledge(sequence: acknowledged[cluster]!.sequence)))
    }
    for cluster in forgotten.keys.sorted() {
      all.append(.send(cluster, forgotten[cluster]!.session, .forget(forgotten[cluster]!.runs)))
    }
    return all
  }
}
