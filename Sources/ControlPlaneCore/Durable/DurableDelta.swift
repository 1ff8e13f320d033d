public import FederationModel
public import LedgerCore
public import WorkflowCore

/// What one unit writes: the whole image of every row that its inputs changed.
///
/// Order inside a unit does not matter to the reader, because a unit is one transaction; deletions are applied last.
public struct DurableDelta: Hashable, Sendable {
  /// The greatest `now` that any input of the unit was applied at; persisted, so that time never runs backwards across leaders.
  public var now: Timestamp
  public var workflows: [WorkflowRow] = []
  public var nodes: [NodeRow] = []
  public var runs: [RunRow] = []
  public var clusters: [ClusterRow] = []
  public var agents: [AgentRow] = []
  public var artifacts: [ArtifactRow] = []
  public var explanations: [ExplanationRow] = []
  public var events: [EventRow] = []
  public var idempotency: [IdempotencyRow] = []
  public var audit: [AuditRow] = []
  public var alerts: [AlertRow] = []
  public var datasets: [DatasetRow] = []
  public var datasetVersions: [DatasetVersionRow] = []
  public var replicas: [ReplicaRow] = []
  public var transfers: [TransferRow] = []
  public var organisations: [OrganisationRow] = []
  public var projects: [ProjectRow] = []
  public var shares: [ShareRow] = []
  public var semaphores: [SemaphoreRow] = []
  public var memos: [MemoRow] = []
  /// None of `memos`.
  public var forgottenMemos: [MemoName] = []
  public var ledger = LedgerChanges()
  /// With their versions.
  public var deletedDatasets: [DatasetReference] = []
  /// By their keys.
  public var deletedVersions: [DataKey] = []
  public var deletedReplicas: [ReplicaName] = []
  /// Workflows that are over and have outputs that go with their end.
  public var collectedWorkflows: [WorkflowID] = []
  /// With everything that belongs to them.
  public var deletedWorkflows: [WorkflowID] = []
  /// Clusters forgotten for good.
  public var deletedClusters: [ClusterName] = []

  /// When set, the unit moves `commit_seq` to at least this value instead of one step: `recover` lifts a restored database above
  /// everything that any agent has seen.
  public var minimumSequence: Int64?

  public init(now: Timestamp) { self.now = now }

  /// Rows that the unit writes.
  public var rowCount: Int {
    workflows.count + nodes.count + runs.count + clusters.count + agents.count + artifacts.count + explanations.count
      + events.count + idempotency.count
      + audit.count + alerts.count + datasets.count + datasetVersions.count + replicas.count + transfers.count
      + organisations.count + projects.count + shares.count + semaphores.count + memos.count
      + ledger.budgets.count
      + ledger.reservations.count + ledger.allowances.count
      + ledger.entries.count + ledger.storage.count
  }

  public var isEmpty: Bool {
    minimumSequence == nil && workflows.isEmpty && nodes.isEmpty && runs.isEmpty && clusters.isEmpty
      && agents.isEmpty && artifacts.isEmpty && explanations.isEmpty && events.isEmpty
      && idempotency.isEmpty && audit.isEmpty && alerts.isEmpty && collectedWorkflows.isEmpty
      && deletedWorkflows.isEmpty && deletedClusters.isEmpty
      && datasets.isEmpty && datasetVersions.isEmpty && replicas.isEmpty && transfers.isEmpty
      && deletedDatasets.isEmpty && deletedVersions.isEmpty && deletedReplicas.isEmpty && projects.isEmpty
      && organisations.isEmpty
      && shares.isEmpty && semaphores.isEmpty && memos.isEmpty && forgottenMemos.isEmpty
      && ledger.isEmpty
  }
}

/// The durable state as Postgres holds it: what a new leader's core is rebuilt from.
public struct DurableState: Hashable, Sendable {
  /// The last persisted `now`.
  public var now: Timestamp
  /// Workflows whose phase is not terminal, or that wait to be deleted, by id.
  public var workflows: [LoadedWorkflow]
  /// Runs whose phase is not terminal, by id.
  public var runs: [RunRow]
  /// The greatest epoch of every task of `workflows` that ever had a run.
  public var epochs: [TaskID: Int32]
  public var clusters: [ClusterRow]
  public var agents: [AgentRow]
  /// Not older than a day.
  public var idempotency: [IdempotencyRow]
  public var datasets: [DatasetRow] = []
  public var datasetVersions: [DatasetVersionRow] = []
  public var replicas: [ReplicaRow] = []
  /// Those that are not over.
  public var transfers: [TransferRow] = []
  /// Outputs that are nowhere but in caches.
  public var unstoredArtifacts: [ArtifactRow] = []
  /// Outputs of `workflows` that took the place of lost ones.
  public var remadeArtifacts: [ArtifactRow] = []
  public var organisations: [OrganisationRow] = []
  public var projects: [ProjectRow] = []
  /// By project.
  public var shares: [ShareRow] = []
  /// With a limit, by project and lock.
  public var semaphores: [SemaphoreRow] = []
  /// By name.
  public var memos: [MemoRow] = []
  /// Workflows that are over and go at a moment.
  public var expiring: [WorkflowReference: Timestamp] = [:]
  public var budgets: [Budget] = []
  /// By run.
  public var reservations: [Reservation] = []
  /// By project and member.
  public var allowances: [Allowance] = []
  /// By name.
  public var storageHolds: [StorageHold] = []
  /// The greatest ever used; 0 for none.
  public var lastWorkflowID: WorkflowID
  /// The greatest ever used; 0 for none.
  public var lastExplanationID: Int64

  public init(
    now: Timestamp, workflows: [LoadedWorkflow] = [], runs: [RunRow] = [], epochs: [TaskID: Int32] = [:],
    clusters: [ClusterRow] = [], agents: [AgentRow] = [],
    idempotency: [IdempotencyRow] = [], lastWorkflowID: WorkflowID = WorkflowID(0), lastExplanationID: Int64 = 0
  ) {
    self.now = now
    self.workflows = workflows
    self.runs = runs
    self.epochs = epochs
    self.clusters = clusters
    self.agents = agents
    self.idempotency = idempotency
    self.lastWorkflowID = lastWorkflowID
    self.lastExplanationID = lastExplanationID
  }
}

/// A workflow with all its nodes, by ordinal.
public struct LoadedWorkflow: Hashable, Sendable {
  public var row: WorkflowRow
  public var nodes: [NodeRecord]
  public init(row: WorkflowRow, nodes: [NodeRecord]) {
    self.row = row
    self.nodes = nodes
  }
}
