import ControlPlaneCore
import FederationModel
import LedgerCore
import WorkflowCore

/// What Postgres would hold: rows by key, changed only by whole units.
struct InMemoryDatabase: Equatable {
  var now = Timestamp.epoch
  var sequence: Int64 = 0
  var workflows: [WorkflowID: WorkflowRow] = [:]
  var nodes: [TaskID: NodeRecord] = [:]
  var runs: [RunID: RunRow] = [:]
  var clusters: [ClusterName: ClusterRow] = [:]
  var agents: [ClusterName: AgentRow] = [:]
  var artifacts: [String: ArtifactRow] = [:]
  var explanations: [Int64: ExplanationRow] = [:]
  var events: [EventRow] = []
  var idempotency: [String: IdempotencyRow] = [:]
  var audit: [AuditRow] = []
  var datasets: [DatasetReference: DatasetRow] = [:]
  var versions: [DataKey: DatasetVersionRow] = [:]
  var replicas: [ReplicaName: ReplicaRow] = [:]
  var transfers: [TransferID: TransferRow] = [:]
  var organisations: [OrganisationName: OrganisationRow] = [:]
  var projects: [ProjectName: ProjectRow] = ["default": ProjectRow(name: "default", createdAt: .epoch)]
  var semaphores: [String: SemaphoreRow] = [:]
  var memos: [MemoName: MemoRow] = [:]
  var usage: [ProjectName: ShareRow] = [:]
  var budgets: [ProjectName: Budget] = [:]
  var reservations: [RunID: Reservation] = [:]
  var allowances: [Allowance.Name: Allowance] = [:]
  var storage: [String: StorageHold] = [:]
  var entries: [LedgerEntry] = []

  mutating func commit(_ delta: DurableDelta) {
    sequence = max(sequence + 1, (delta.minimumSequence ?? 0) + 1)
    now = delta.now
    for row in delta.workflows { workflows[row.id] = row }
    for row in delta.nodes { nodes[TaskID(workflow: row.workflow, node: row.record.id)] = row.record }
    for row in delta.runs { runs[row.id] = row }
    for row in delta.clusters { clusters[row.spec.name] = row }
    for row in delta.agents { agents[row.cluster] = row }
    for row in delta.artifacts { artifacts["\(row.task)/\(row.name)"] = row }
    for row in delta.explanations { explanations[row.id] = row }
    for row in delta.idempotency { idempotency["\(row.principal)/\(row.key)"] = row }
    events += delta.events
    audit += delta.audit
    for id in delta.collectedWorkflows {
      for (key, row) in artifacts where row.task.workflow == id && row.collection == .onWorkflowCompletion {
        artifacts[key]!.stored.isUnstored = nil
        artifacts[key]!.storeBy = nil
      }
    }
    for id in delta.deletedWorkflows {
      workflows[id] = nil
      nodes = nodes.filter { $0.key.workflow != id }
      runs = runs.filter { $0.value.task.workflow != id }
      artifacts = artifacts.filter { $0.value.task.workflow != id }
      explanations = explanations.filter { $0.value.workflow != id }
      events.removeAll { $0.workflow == id }
    }
    for name in delta.deletedClusters { (clusters[name], agents[name]) = (nil, nil) }
    commitData(delta)
  }

  private mutating func commitData(_ delta: DurableDelta) {
    for row in delta.datasets { datasets[row.reference] = row }
    for row in delta.datasetVersions { versions[row.key] = row }
    for row in delta.replicas { replicas[ReplicaName(key: row.key, cache: row.cache)] = row }
    for row in delta.transfers { transfers[row.id] = row }
    for name in delta.deletedDatasets {
      datasets[name] = nil
      versions = versions.filter { $0.value.dataset != name }
    }
    for key in delta.deletedVersions { versions[key] = nil }
    for name in delta.deletedReplicas { replicas[name] = nil }
    for row in delta.organisations { organisations[row.name] = row }
    for row in delta.projects { projects[row.name] = row }
    for row in delta.semaphores { semaphores["\(row.project)/\(row.lock)"] = row.limit == nil ? nil : row }
    for row in delta.memos { memos[row.name] = row }
    for name in delta.forgottenMemos { memos[name] = nil }
    for row in delta.shares { usage[row.project] = row }
    for budget in delta.ledger.budgets { budgets[budget.project] = budget }
    for reservation in delta.ledger.reservations { reservations[reservation.run] = reservation }
    for run in delta.ledger.ended { reservations[run] = nil }
    for hold in delta.ledger.storage { storage[hold.name] = hold }
    for name in delta.ledger.endedStorage { storage[name] = nil }
    for allowance in delta.ledger.allowances { allowances[allowance.name] = allowance }
    entries += delta.ledger.entries
  }

  func loaded(_ id: WorkflowID) -> LoadedWorkflow? {
    workflows[id].map { row in
      LoadedWorkflow(
        row: row, nodes: nodes.filter { $0.key.workflow == id }.map(\.value).sorted { $0.id < $1.id })
    }
  }

  func load() -> DurableState {
    let live = workflows.values.filter { !$0.status.phase.isTerminal }.sorted { $0.id < $1.id }
    var epochs: [TaskID: Int32] = [:]
    for run in runs.values { epochs[run.task] = max(epochs[run.task] ?? 0, run.epoch) }
    var state = DurableState(
      now: now, workflows: live.compactMap { loaded($0.id) },
      runs: runs.values.filter { !$0.phase.isTerminal }.sorted { $0.id < $1.id }, epochs: epochs,
      clusters: clusters.values.sorted { $0.spec.name < $1.spec.name },
      agents: agents.values.sorted { $0.cluster < $1.cluster }, idempotency: Array(idempotency.values),
      lastWorkflowID: workflows.keys.max() ?? WorkflowID(0), lastExplanationID: explanations.keys.max() ?? 0)
    state.organisations = organisations.values.sorted { $0.name < $1.name }
    state.projects = projects.values.sorted { $0.name < $1.name }
    state.semaphores = semaphores.values.sorted { ($0.project, $0.lock) < ($1.project, $1.lock) }
    for row in workflows.values {
      state.expiring[WorkflowReference(project: row.project, name: row.name)] = row.status.expiresAt
    }
    state.memos = memos.values.sorted { $0.name < $1.name }
    state.shares = usage.values.sorted { $0.project < $1.project }
    state.budgets = budgets.values.sorted { $0.project < $1.project }
    state.reservations = reservations.values.sorted { $0.run < $1.run }
    state.storageHolds = storage.values.sorted { $0.name < $1.name }
    state.allowances = allowances.values.sorted { $0.name < $1.name }
    state.datasets = datasets.values.sorted { $0.reference < $1.reference }
    state.datasetVersions = versions.values.sorted { $0.key < $1.key }
    state.replicas = replicas.values.sorted { ($0.key, $0.cache) < ($1.key, $1.cache) }
    state.transfers = transfers.values.filter { !$0.phase.isTerminal }.sorted { $0.id < $1.id }
    state.unstoredArtifacts = artifacts.values.filter { $0.stored.isUnstored == true }.sorted {
      ($0.task, $0.name) < ($1.task, $1.name)
    }
    let ids = Set(live.map(\.id))
    state.remadeArtifacts = artifacts.values.filter { $0.isRemade && ids.contains($0.task.workflow) }.sorted {
      ($0.task, $0.name) < ($1.task, $1.name)
    }
    return state
  }
}
