public import FederationModel
public import SchedulerCore
public import WorkflowCore

/// The durable state, row by row. Soft state (bandwidths, sessions, explanations of what waits) has no row here.
///
/// A row is always the whole current image, so writing it twice changes nothing. Within one unit each key appears at most once.

/// A submitted workflow. Key: `id`; (`project`, `name`) and `uid` are unique too.
public struct WorkflowRow: Hashable, Sendable {
  public var id: WorkflowID
  public var uid: String
  public var project: ProjectName
  public var name: String
  /// `WorkflowDefinition.canonicalJSON`, arguments of the submission included. Written once.
  public var document: String
  public var labels: [String: String]
  public var status: WorkflowStatus
  public var createdAt: Timestamp
  public var createdBy: String
  /// Grows by one with every `retry`, so that a stale copy is told from the current one.
  public var generation: Int32
  /// Asked for by a user while runs were still alive: the rows go when the last run has ended.
  public var deletionRequested: Bool
  /// The versions of the data sets that its document names without one, as of its submission. Written once; nil: none.
  public var datasetVersions: [String: Int32]?

  public init(
    id: WorkflowID, uid: String, project: ProjectName, name: String, document: String, labels: [String: String],
    status: WorkflowStatus,
    createdAt: Timestamp, createdBy: String, generation: Int32 = 0, deletionRequested: Bool = false,
    datasetVersions: [String: Int32]? = nil
  ) {
    self.id = id
    self.uid = uid
    self.project = project
    self.name = name
    self.document = document
    self.labels = labels
    self.status = status
    self.createdAt = createdAt
    self.createdBy = createdBy
    self.generation = generation
    self.deletionRequested = deletionRequested
    self.datasetVersions = datasetVersions
  }
}

/// A node of a workflow. Key: (`workflow`, `record.id`).
public struct NodeRow: Hashable, Sendable {
  public var workflow: WorkflowID
  public var record: NodeRecord
  public init(workflow: WorkflowID, record: NodeRecord) {
    self.workflow = workflow
    self.record = record
  }
}

/// A run. Key: `id`; (`task`, `epoch`) is unique too. The moments are those of its transitions, each written with the unit that made it durable.
public struct RunRow: Hashable, Sendable {
  public var id: RunID
  public var task: TaskID
  /// The attempt's number at this task, from 1; fences the earlier ones.
  public var epoch: Int32
  public var cluster: ClusterName
  public var phase: RunPhase
  public var boundAt: Timestamp
  public var dispatchedAt: Timestamp?
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  public var exitCode: Int32?
  public var message: String
  /// Of an end that was not its own; nil in rows of earlier releases and while it lives.
  public var cause: RunEndCause?
  /// Why an end is wanted; nil while none is.
  public var cancelReason: String?
  /// The task that it makes room for; nil: none. With it `cancelReason` is set, and it ends preempted.
  public var preemptedFor: TaskID?
  /// What it has agreed to on spot capacity; nil: it is not on any.
  public var spot: SpotTerms?
  /// Set while the cluster cannot say whether it runs (a new journal); such a run is neither sent again nor replaced without an operator's word.
  public var isUnaccounted: Bool
  /// Key of the placement's `ExplanationRow`; 0 for none.
  public var explanation: Int64
  /// The price sheet that binds this run, as quoted at placement; nil when the cluster has no price.
  public var quote: PriceSheet?
  /// What clusters charge for what they send for it, by source; empty where none does.
  public var egress: [EgressQuote]
  /// nil in rows of earlier releases.
  public var priorityClass: PriorityClass?
  /// What it asked for, all copies together: the room that it takes on its cluster.
  public var resources: Resources
  /// What its template runs: `WorkflowTemplate.program`; 0 in rows of earlier releases.
  public var program: Int64
  /// Bytes of its inputs, whether they had to be moved or not; nil in rows of earlier releases.
  public var inputBytes: ByteCount?
  /// In the quote's currency, settled at the end.
  public var charge: Amount?
  public var bytesIn: ByteCount
  public var bytesOut: ByteCount
  public var stagingMilliseconds: Int64
  public var wallMilliseconds: Int64
  /// What really ran, as the agent says (`host`, a root file system, an image digest).
  public var runsAs: String

  public init(
    id: RunID, task: TaskID, epoch: Int32, cluster: ClusterName, phase: RunPhase = .bound, boundAt: Timestamp,
    dispatchedAt: Timestamp? = nil, startedAt: Timestamp? = nil, finishedAt: Timestamp? = nil, exitCode: Int32? = nil,
    message: String = "", cancelReason: String? = nil, isUnaccounted: Bool = false, explanation: Int64 = 0,
    quote: PriceSheet? = nil, egress: [EgressQuote] = [], priorityClass: PriorityClass? = nil,
    resources: Resources = .zero, program: Int64 = 0, inputBytes: ByteCount? = nil, charge: Amount? = nil,
    bytesIn: ByteCount = .zero, bytesOut: ByteCount = .zero,
    stagingMilliseconds: Int64 = 0, wallMilliseconds: Int64 = 0, runsAs: String = ""
  ) {
    self.id = id
    self.task = task
    self.epoch = epoch
    self.cluster = cluster
    self.phase = phase
    self.boundAt = boundAt
    self.dispatchedAt = dispatchedAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.exitCode = exitCode
    self.message = message
    self.cancelReason = cancelReason
    self.isUnaccounted = isUnaccounted
    self.explanation = explanation
    self.quote = quote
    self.egress = egress
    self.priorityClass = priorityClass
    self.resources = resources
    self.program = program
    self.inputBytes = inputBytes
    self.charge = charge
    self.bytesIn = bytesIn
    self.bytesOut = bytesOut
    self.stagingMilliseconds = stagingMilliseconds
    self.wallMilliseconds = wallMilliseconds
    self.runsAs = runsAs
  }
}

extension RunRow {
  /// It was told to leave, for a task of a higher class or with its spot capacity: its task goes on elsewhere.
  public var isLeaving: Bool { preemptedFor != nil || spot?.isEvicted == true }
}

/// The candidate table of one placement decision, shared by every run of one workflow that the same decision placed. Key: `id`.
/// Written once, and kept as long as its workflow, or until the workflow has too many newer ones (the store's retention).
public struct ExplanationRow: Hashable, Sendable {
  public var id: Int64
  /// nil in rows of the first release, which did not note it.
  public var workflow: WorkflowID?
  public var at: Timestamp
  /// JSON: the candidate table as the API shows it.
  public var document: String
  public init(id: Int64, workflow: WorkflowID? = nil, at: Timestamp, document: String) {
    self.id = id
    self.workflow = workflow
    self.at = at
    self.document = document
  }
}

/// A cluster and what is durably known of its agent. Key: `spec.name`.
public struct ClusterRow: Hashable, Sendable {
  public var spec: ClusterSpec
  public var createdAt: Timestamp
  /// Why nothing new is placed there; nil when it is open.
  public var cordonReason: String?
  public var isDraining: Bool
  /// Certificates issued up to this moment are void; the agent must join anew.
  public var revokedAt: Timestamp?
  /// The journal whose events were taken last.
  public var journal: String?
  /// Every event of `journal` up to here is durable.
  public var ackedSequence: Int64
  /// The database is behind what its agent has seen: its runs are kept as they are until `fubini recover`.
  public var isAdopting: Bool
  public init(
    spec: ClusterSpec, createdAt: Timestamp, cordonReason: String? = nil, isDraining: Bool = false,
    revokedAt: Timestamp? = nil,
    journal: String? = nil, ackedSequence: Int64 = 0, isAdopting: Bool = false
  ) {
    self.spec = spec
    self.createdAt = createdAt
    self.cordonReason = cordonReason
    self.isDraining = isDraining
    self.revokedAt = revokedAt
    self.journal = journal
    self.ackedSequence = ackedSequence
    self.isAdopting = isAdopting
  }
}

/// What is known of the agent that speaks for a cluster, and what it said last. Key: `cluster`.
///
/// Nothing is decided by it: it is shown, so that a cluster whose agent is away is offline and not empty.
public struct AgentRow: Hashable, Sendable {
  public var cluster: ClusterName
  /// Of the agent's program.
  public var version: String
  /// Names the installation.
  public var journal: String
  /// When `journal` was first heard of.
  public var joinedAt: Timestamp
  /// When its session last began or ended, or when it was last heard before it fell silent.
  public var seenAt: Timestamp
  public var inventory: ClusterInventory
  public init(
    cluster: ClusterName, version: String, journal: String, joinedAt: Timestamp, seenAt: Timestamp,
    inventory: ClusterInventory
  ) {
    self.cluster = cluster
    self.version = version
    self.journal = journal
    self.joinedAt = joinedAt
    self.seenAt = seenAt
    self.inventory = inventory
  }
}

/// An artifact that a task has put into its project's repository. Key: (`task`, `name`).
public struct ArtifactRow: Hashable, Sendable {
  public var task: TaskID
  /// The output artifact's name in the template.
  public var name: String
  public var workflowUID: String
  public var project: ProjectName
  /// Where it is, and how to know that it is whole. `producedOn` is the cluster that made it, and is likely to have it cached.
  public var stored: StoredArtifact
  public var createdAt: Timestamp
  /// It took the place of bytes that were lost: whoever was to read those reads these.
  public var isRemade: Bool
  /// When it is to be copied into the repository at the latest; nil: when somebody needs it there, or it is there.
  public var storeBy: Timestamp?
  /// When it goes from the repository; nil: its document says nothing of that.
  public var collection: ArtifactGCStrategy?
  public init(
    task: TaskID, name: String, workflowUID: String, project: ProjectName, stored: StoredArtifact, createdAt: Timestamp,
    isRemade: Bool = false, storeBy: Timestamp? = nil, collection: ArtifactGCStrategy? = nil
  ) {
    self.collection = collection
    self.isRemade = isRemade
    self.storeBy = storeBy
    self.task = task
    self.name = name
    self.workflowUID = workflowUID
    self.project = project
    self.stored = stored
    self.createdAt = createdAt
  }
}

/// Something that a reader of a workflow's history wants to see. Append only; the store numbers it.
public struct EventRow: Hashable, Sendable {
  public var at: Timestamp
  public var workflow: WorkflowID?
  public var node: NodeID?
  public var cluster: ClusterName?
  /// A short CamelCase word: `Submitted`, `RunLost`, `ClusterOffline`.
  public var reason: String
  public var message: String
  public init(
    at: Timestamp, workflow: WorkflowID? = nil, node: NodeID? = nil, cluster: ClusterName? = nil, reason: String,
    message: String
  ) {
    self.at = at
    self.workflow = workflow
    self.node = node
    self.cluster = cluster
    self.reason = reason
    self.message = message
  }
}

/// The first answer to a write, so that its repetition gets the same. Key: (`principal`, `key`).
public struct IdempotencyRow: Hashable, Sendable {
  public var principal: String
  public var key: String
  /// SHA-256 of the request, so that the same key with another request is refused.
  public var requestHash: String
  /// JSON of the `Reply`.
  public var reply: String
  public var at: Timestamp
  public init(principal: String, key: String, requestHash: String, reply: String, at: Timestamp) {
    self.principal = principal
    self.key = key
    self.requestHash = requestHash
    self.reply = reply
    self.at = at
  }
}

/// An organisation. Key: `name`.
public struct OrganisationRow: Hashable, Sendable {
  public var name: OrganisationName
  public var description: String
  public var createdAt: Timestamp
  /// Its part of what is shared, compared with the other organisations'. Above zero.
  public var weight: Double
  /// nil: nothing bounds the budgets of its projects together.
  public var grant: OrganisationGrant?
  public init(
    name: OrganisationName, description: String = "", createdAt: Timestamp, weight: Double = 1,
    grant: OrganisationGrant? = nil
  ) {
    self.name = name
    self.description = description
    self.createdAt = createdAt
    self.weight = weight
    self.grant = grant
  }
}

/// A project. Key: `name`.
public struct ProjectRow: Hashable, Sendable {
  public var name: ProjectName
  public var description: String
  public var createdAt: Timestamp
  /// Since then nothing new is taken for it; nil: it is in use.
  public var archivedAt: Timestamp?
  /// What it may use at once, and where.
  public var limits: ProjectLimits
  /// Its part of what is shared, compared with the other projects'. Above zero.
  public var weight: Double
  /// Whose it is. Written once.
  public var organisation: OrganisationName
  public init(
    name: ProjectName, description: String = "", createdAt: Timestamp, archivedAt: Timestamp? = nil,
    limits: ProjectLimits = ProjectLimits(), weight: Double = 1, organisation: OrganisationName = .federation
  ) {
    self.organisation = organisation
    self.weight = weight
    self.limits = limits
    self.name = name
    self.description = description
    self.createdAt = createdAt
    self.archivedAt = archivedAt
  }
}

/// What a project's ended runs have used, with decay. Key: `project`. Written with the ends of its runs, once in a unit; that of live
/// runs follows from their own rows.
public struct ShareRow: Hashable, Sendable {
  public var project: ProjectName
  /// As it was at `at`.
  public var used: ResourceSeconds
  public var at: Timestamp
  public init(project: ProjectName, used: ResourceSeconds, at: Timestamp) {
    self.project = project
    self.used = used
    self.at = at
  }
}

/// Spending has reached one of a budget's alerts: told to the project's webhook, where it has one.
public struct AlertRow: Hashable, Sendable {
  public var at: Timestamp
  public var project: ProjectName
  /// The alert: this much of what is granted is spent.
  public var percent: Int
  public var spent: Amount
  public var granted: Amount
  /// ISO 4217, upper case.
  public var currency: String
  public var periodStart: Timestamp
  public init(
    at: Timestamp, project: ProjectName, percent: Int, spent: Amount, granted: Amount, currency: String,
    periodStart: Timestamp
  ) {
    self.at = at
    self.project = project
    self.percent = percent
    self.spent = spent
    self.granted = granted
    self.currency = currency
    self.periodStart = periodStart
  }
}

/// Who changed what, or was denied it. Append only.
public struct AuditRow: Hashable, Sendable {
  public var at: Timestamp
  /// Empty: nobody knows.
  public var actor: String
  /// Where the request came from; empty when it came from nowhere outside.
  public var address: String
  /// Verb and object in dotted words: `cluster.cordon`. Of a denial the route: `POST /v1/clusters`.
  public var action: String
  public var object: String
  public var detail: String
  public var isDenied: Bool
  public init(
    at: Timestamp, actor: String, address: String = "", action: String, object: String, detail: String = "",
    isDenied: Bool = false
  ) {
    self.at = at
    self.actor = actor
    self.address = address
    self.action = action
    self.object = object
    self.detail = detail
    self.isDenied = isDenied
  }
}
