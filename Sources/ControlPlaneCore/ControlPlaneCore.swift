import DequeModule
public import FederationModel
import HeapModule
import LedgerCore
import SchedulerCore
import WorkflowCore

/// The control plane as one deterministic state machine: `apply(input, at: now)`, then `takeOutput()`.
///
/// It does no I/O, reads no clock and draws nothing at random, so the leader, the tests and the simulator run the same code. The
/// leader applies a batch of inputs, commits the delta as one unit, and releases the effects only after that commit (DESIGN
/// section 4). When a unit is lost, the core is thrown away and rebuilt from the durable state: it holds nothing that matters
/// besides.
///
/// The parts: `+Workflows` (submissions and the machines' actions), `+Placement` (what waits, plans), `+Agents` (sessions and
/// events), `+Money` (projects and what they may spend), `+Slices` (how runs are paid for as they go on), `+Quota` (what they may use,
/// and where), `+Clusters` (operators' commands), `+Time` (leases, deadlines), `Data/` (data sets, replicas, transfers).
public struct ControlPlaneCore: Sendable {
  public let configuration: CoreConfiguration
  /// The last committed position that the leader knows of: set by the loop, compared with what agents have seen.
  public var position: CommitPosition
  /// Upper half of the run ids of this leader; see `RunID`.
  let incarnation: UInt32
  /// Lower half of the last run id.
  public internal(set) var runCounter: UInt32
  var lastWorkflow: WorkflowID
  var lastExplanation: Int64
  /// Never smaller than any `now` before, this leader's or another's.
  public internal(set) var now: Timestamp

  var workflows: [WorkflowID: WorkflowEntry] = [:]
  var workflowByName: [WorkflowReference: WorkflowID] = [:]
  var runs: [RunID: RunEntry] = [:]
  var clusters: [ClusterName: ClusterEntry] = [:]
  var pending = PendingTasks()
  var upcoming = UpcomingTasks()
  var replies: [ReplyKey: IdempotencyRow] = [:]
  /// The keys of `replies`, the oldest first.
  var replyOrder: Deque<ReplyKey> = []
  /// Workflows whose machines have more to do, each once, in the order of their turns.
  var unfinished: Deque<WorkflowID> = []
  /// Plans of which not every placement has been looked at.
  var openPlans: Deque<OpenPlan> = []
  var projects: [ProjectName: ProjectRow] = [:]
  /// Who holds and who waits for mutexes and semaphores; derived from the machines, but for the limits.
  var lockBook = LockBook()
  /// The last change that was told of each config map; soft, because the rows that are loaded are newer than what was told before.
  var configMapChanges: [ProjectLock: Int64] = [:]
  /// Those that have got their locks and were not told.
  var lockGrants: Deque<LockHolder> = []
  var isPassingOnLocks = false
  var memos = MemoBook()
  /// Workflows that are over and are to be deleted.
  var expiries = Heap<Expiry>()
  var organisations: [OrganisationName: OrganisationRow] = [:]
  /// What the runs of each project have now; derived from `runs`.
  var uses: [ProjectName: QuotaView] = [:]
  /// Those whose own quotas limit projects; derived from `clusters`.
  var clustersWithQuotas: Set<ClusterName> = []
  /// What each project has used and is charged.
  var shares: [ProjectName: ShareAccount] = [:]
  /// Of projects whose submissions are limited. Soft.
  var submissions: [ProjectName: SubmissionWindow] = [:]
  /// Of projects whose waiting tasks are limited. Soft.
  var startRates: [ProjectName: StartRate] = [:]
  /// Placements until one goes by age (`ProjectTurns`). Soft.
  var untilAged = ProjectTurns.agedPeriod
  /// The projects' money.
  var ledger: Ledger
  /// When what users have pinned was looked through for what is to be paid for anew.
  var pinsReviewedAt = Timestamp.epoch
  /// Pins whose next while cannot be paid for, and whose project was told.
  var warnedPins: Set<ReplicaName> = []
  /// Runs whose slices are to be renewed, by when; those whose `renewalAt` says otherwise are dropped in their turn. Soft.
  var renewals = Heap<Renewal>()
  /// The last group of waiting tasks that was asked whether it can be paid for.
  var stopCursor: Int64 = 0
  /// By project: labels of the clusters that are reserved to it; derived from `projects`.
  var reserves: [ProjectName: [String: String]] = [:]
  /// How many tasks of each class wait, and how fast they are served. Soft.
  var backlog = ClassBacklog()
  /// Who asks for the room of others. Soft.
  var preemption = PreemptionState()
  /// Data sets, where bytes are, and what moves.
  var data = DataState()
  /// Keys of projects' repositories that documents name, by what was found there. Soft.
  var looks: [RepositoryName: RepositoryLook] = [:]
  /// What may be worth something else than its agents were told.
  var staleValues = KeyQueue()
  /// What has a value: valued anew in turn, because uses count less with time.
  var valuedInTurn = KeyQueue()
  /// The clusters that share each cache: derived from their inventories.
  var cacheMembers: [String: Set<ClusterName>] = [:]
  /// Lower half of the last transfer's id.
  var transferCounter: UInt32 = 0
  /// By cluster: the last of its queued runs that was looked at.
  var stallCursor: [ClusterName: RunID] = [:]
  var storeDeadlines = Heap<StoreDeadline>()
  /// When versions were last looked through for what has outlived its use.
  var expiredAt = Timestamp.epoch
  /// Sessions whose agents have not got every assignment yet.
  var openWelcomes: Deque<OpenWelcome> = []
  /// Clusters that are being forgotten.
  var openForgets: Deque<OpenForget> = []
  /// What the input that is being applied may still work off: one bound for all the events that it makes.
  var sliceLeft = 0
  /// Workflows and everything else take turns.
  var isWorkflowNext = false
  /// Lower bound on the generation of finished workflows that were retried in this term: an older copy is stale.
  var generations: [WorkflowID: Int32] = [:]
  /// What ended runs say of those to come; soft.
  public internal(set) var history: TemplateHistory
  var wakes = Heap<Wake>()
  /// While most agents are away at once, every disconnect limit is longer (invariant I8).
  var isMassLoss = false
  /// Something changed since the last snapshot that may let a waiting task be placed.
  var wantsPlacement = true
  /// Groups of waiting tasks that passes are still to look at, though nothing changed since.
  var groupsToSweep = 0
  /// When they were all to be looked at last.
  var sweptAt = Timestamp.epoch
  /// The last plan left tasks waiting for slots that are yet to become free.
  var isHolding = false

  var output: Output
  /// Workflows that have left with the output taken last.
  var retired: [WorkflowEntry] = []

  public init(
    state: DurableState, position: CommitPosition, incarnation: UInt32,
    configuration: CoreConfiguration = CoreConfiguration(),
    runCounter: UInt32 = 0, history: TemplateHistory = TemplateHistory()
  ) {
    self.configuration = configuration
    self.position = position
    self.incarnation = incarnation
    self.runCounter = runCounter
    self.history = history
    lastWorkflow = state.lastWorkflowID
    lastExplanation = state.lastExplanationID
    now = state.now
    output = Output(now: state.now)
    ledger = Ledger(
      budgets: state.budgets, reservations: state.reservations, allowances: state.allowances,
      storage: state.storageHolds)
    for row in state.organisations { organisations[row.name] = row }
    for row in state.projects {
      projects[row.name] = row
      noteReserves(of: row.name)
    }
    for row in state.semaphores {
      _ = lockBook.setLimit(row.limit, of: ProjectLock(project: row.project, name: row.lock))
    }
    for (reference, moment) in state.expiring { expiries.insert(Expiry(at: moment, workflow: reference)) }
    for row in state.memos { _ = memos.keep(row) }
    for row in state.shares { shares[row.project] = ShareAccount(ended: row.used, at: row.at) }
    for row in state.clusters { clusters[row.spec.name] = ClusterEntry(row: row) }
    for row in state.agents { setAgent(row, of: row.cluster) }
    for row in state.idempotency.sorted(by: { $0.at < $1.at }) {
      replies[ReplyKey(row)] = row
      replyOrder.append(ReplyKey(row))
    }
    restoreData(state)
    restore(state)
    restoreClaims()
    releaseOrphanedReservations()
    restoreRemade(state)
    dropOrphanedTransfers()
  }

  /// Reacts to one input. What is to be written and done is collected until `takeOutput()`.
  public mutating func apply(_ input: Input, at moment: Timestamp) {
    now = max(now, moment)
    output.now = now
    sliceLeft = configuration.sliceLimit
    switch input {
    case .command(let command, let request, let principal, let idempotency):
      apply(command, request, principal, idempotency, loaded: .notAsked)
    case .loaded(let workflow, let command, let request, let principal, let idempotency):
      apply(command, request, principal, idempotency, loaded: workflow.map { .found($0) } ?? .missing)
    case .agentConnected(let cluster, let session, let hello): connected(cluster, session, hello)
    case .agentDisconnected(let cluster, let session): disconnected(cluster, session)
    case .agentEvents(let cluster, let session, let events): received(events, from: cluster, session)
    case .cacheReported(let cluster, let session, let report): reported(report, of: cluster, session)
    case .dataEvents(let cluster, let session, let events): received(events, from: cluster, session)
    case .inventoryChanged(let cluster, let session, let inventory): changed(inventory, of: cluster, session)
    case .looked(let project, let key, let answer): looked(key, of: project, answer)
    case .plan(let plan): adopt(plan)
    case .tick(let silence): tick(silence: silence)
    case .proceed: proceed()
    }
  }

  /// Whether inputs so far have left something undone, so that `Input.proceed` would do something.
  public var isUnfinished: Bool {
    !unfinished.isEmpty || isRenewalDue || !openPlans.isEmpty || !openWelcomes.isEmpty || !openForgets.isEmpty
      || preemption.isWanted
  }

  /// One more slice of what was left undone.
  private mutating func proceed() {
    defer { isWorkflowNext.toggle() }
    if !isWorkflowNext || unfinished.isEmpty {
      if !openWelcomes.isEmpty { return proceedWithWelcome() }
      if !openForgets.isEmpty { return proceedWithForget() }
      if isRenewalDue { return renewSlices() }
      if !openPlans.isEmpty { return proceedWithPlan() }
      if preemption.isWanted { return makeRoom() }
    }
    while let id = unfinished.popFirst() {
      guard workflows[id] != nil else { continue }
      workflows[id]!.isInLine = false
      return handle(.proceed, in: id)
    }
  }

  /// Whether anything has to be written or done.
  public var hasOutput: Bool { output.isDirty || ledger.hasChanges }

  /// What the inputs since the last call wrote and want done. The delta is one unit; the effects wait for its commit.
  public mutating func takeOutput() -> (delta: DurableDelta, effects: [Effect]) {
    retired = []
    var delta = DurableDelta(now: now)
    delta.minimumSequence = output.minimumSequence
    collectWorkflows(into: &delta)
    delta.runs = output.runs.values.sorted { $0.id < $1.id }
    delta.clusters = output.clusters.sorted().compactMap { clusters[$0]?.row }
    delta.agents = output.agents.sorted().compactMap { clusters[$0]?.agent }
    delta.artifacts = output.artifacts
    delta.explanations = output.explanations
    delta.events = output.events
    delta.idempotency = output.idempotency
    delta.audit = output.audit
    delta.alerts = output.alerts
    collectData(into: &delta)
    delta.organisations = output.organisations.sorted().compactMap { organisations[$0] }
    delta.projects = output.projects.sorted().compactMap { projects[$0] }
    delta.shares = output.shares.sorted().compactMap { name in
      shares[name].map { ShareRow(project: name, used: $0.ended, at: $0.endedAt) }
    }
    delta.semaphores = output.semaphores.values.sorted { ($0.project, $0.lock) < ($1.project, $1.lock) }
    delta.memos = output.memos.values.sorted { $0.name < $1.name }
    delta.forgottenMemos = output.forgottenMemos.sorted()
    if ledger.hasChanges { delta.ledger = ledger.takeChanges() }
    delta.deletedWorkflows = output.deletedWorkflows.sorted()
    delta.deletedClusters = output.deletedClusters.sorted()
    let effects = output.finishedEffects()
    output = Output(now: now)
    return (delta, effects)
  }

  /// The workflows that have left with the output taken last. Letting go of a large one takes long: the caller does it elsewhere.
  public mutating func takeRetired() -> RetiredWorkflows {
    defer { retired = [] }
    return RetiredWorkflows(entries: retired)
  }

  /// Whose run it is that `cluster` holds and that is not over; nil for any other.
  public func access(of run: RunID, on cluster: ClusterName) -> RunAccess? {
    guard let row = runs[run]?.row, row.cluster == cluster, let workflow = workflows[row.task.workflow] else {
      return nil
    }
    return RunAccess(
      project: workflow.row.project, workflowUID: workflow.row.uid, nodeName: workflow.machine[row.task.node].name)
  }

  /// The project whose secret or config map a run may read now: its template names it, and it has not ended; nil for any other.
  public func mayRead(_ object: ProjectObject, by run: RunID, on cluster: ClusterName) -> ProjectName? {
    guard let row = runs[run]?.row, row.cluster == cluster, !row.phase.isTerminal,
      let workflow = workflows[row.task.workflow],
      (try? workflow.machine.taskSpec(for: row.task.node))?.objects.contains(object) == true
    else { return nil }
    return workflow.row.project
  }

  public var clusterNames: some Sequence<ClusterName> { clusters.keys }

  /// The soft side of every cluster.
  public func clusterStatuses() -> [ClusterName: ClusterSoftStatus] {
    clusters.mapValues {
      ClusterSoftStatus(
        isConnected: $0.session != nil && !$0.isSilent, inventory: $0.inventory, activeRuns: $0.runs.count,
        measuredBandwidth: $0.measuredBandwidth, closedBecause: $0.closedBecause ?? "",
        agentVersion: $0.agent?.version ?? "")
    }
  }

  /// Counts for metrics.
  public var census: Census {
    Census(
      workflows: workflows.count, pendingTasks: pending.count, runs: runs.count,
      connectedClusters: clusters.values.count { $0.session != nil })
  }
}

/// Workflows that are over; they are memory to be freed, and nothing else.
public struct RetiredWorkflows: Sendable {
  let entries: [WorkflowEntry]
  public var isEmpty: Bool { entries.isEmpty }
}

/// How much the core holds.
public struct Census: Hashable, Sendable {
  public var workflows: Int
  public var pendingTasks: Int
  public var runs: Int
  public var connectedClusters: Int
}

/// Whose a run is, and so what its agent may read and write for it.
public struct RunAccess: Hashable, Sendable {
  public var project: ProjectName
  public var workflowUID: String
  public var nodeName: String
  public init(project: ProjectName, workflowUID: String, nodeName: String) {
    self.project = project
    self.workflowUID = workflowUID
    self.nodeName = nodeName
  }
}

/// What is known of a cluster besides what was declared. The inventory and the version are the last known ones.
public struct ClusterSoftStatus: Hashable, Sendable {
  public var isConnected: Bool
  public var inventory: ClusterInventory
  public var activeRuns: Int
  /// Bytes per second; nil until something was moved.
  public var measuredBandwidth: Double?
  /// Why nothing new is placed there; empty when it is open.
  public var closedBecause: String
  /// Empty before an agent has joined.
  public var agentVersion: String
}

/// Makes `IdempotencyRow`s findable.
struct ReplyKey: Hashable, Sendable {
  var principal: String
  var key: String
  init(principal: String, key: String) {
    self.principal = principal
    self.key = key
  }
  init(_ row: IdempotencyRow) { self.init(principal: row.principal, key: row.key) }
}

/// When a finished workflow goes. One that was retried or deleted meanwhile is left alone when its moment comes.
struct Expiry: Comparable, Sendable {
  var at: Timestamp
  var workflow: WorkflowReference
  static func < (a: Self, b: Self) -> Bool {
    (a.at, a.workflow.project, a.workflow.name) < (b.at, b.workflow.project, b.workflow.name)
  }
}

/// A workflow's next moment. Entries are dropped lazily: a machine is asked again when its moment comes.
struct Wake: Comparable, Sendable {
  var at: Timestamp
  var workflow: WorkflowID
  static func < (a: Self, b: Self) -> Bool { (a.at, a.workflow) < (b.at, b.workflow) }
}
