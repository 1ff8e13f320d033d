public import FederationModel

/// What is told of a batch job without looking at what runs of it. All of it comes from who submitted it.
public struct JobDetails: Hashable, Sendable, Codable {
  /// On the submitting machine.
  public var user: String
  public var host: String
  public var account: String
  public var partition: String
  public var qos: String
  /// nil: one.
  public var nodes: Int64?
  /// Whether the job writes its output into its file by itself, unless it has a log.
  public var isDirect: Bool?
  /// Of all nodes, as `gpus`.
  public var cpus: Int64
  public var tasks: Int64
  /// Of each node.
  public var memoryMebibytes: Int64?
  public var gpus: Int64
  public var timeLimitSeconds: Int64?
  /// Where it was submitted, and where its files come back to.
  public var directory: String
  public var command: String
  /// Patterns: `slurm-%j.out`.
  public var output: String
  /// nil: with the output.
  public var error: String?
  public var appends: Bool
  public var comment: String
  public var constraint: String
  public var licences: String
  public var reservation: String
  public var requeues: Bool
  /// Of an array: its indices, and how many may run at once.
  public var indices: [Int32]?
  public var parallelism: Int?
  /// Options that were taken without effect, and why.
  public var notes: [String]

  public init(
    user: String, host: String, account: String, partition: String, qos: String, cpus: Int64, tasks: Int64,
    memoryMebibytes: Int64?, gpus: Int64, timeLimitSeconds: Int64?, directory: String, command: String,
    output: String, error: String?, appends: Bool, comment: String, constraint: String, licences: String,
    reservation: String, requeues: Bool, indices: [Int32]?, parallelism: Int?, notes: [String], nodes: Int64? = nil,
    isDirect: Bool? = nil
  ) {
    self.nodes = nodes
    self.isDirect = isDirect
    self.user = user
    self.host = host
    self.account = account
    self.partition = partition
    self.qos = qos
    self.cpus = cpus
    self.tasks = tasks
    self.memoryMebibytes = memoryMebibytes
    self.gpus = gpus
    self.timeLimitSeconds = timeLimitSeconds
    self.directory = directory
    self.command = command
    self.output = output
    self.error = error
    self.appends = appends
    self.comment = comment
    self.constraint = constraint
    self.licences = licences
    self.reservation = reservation
    self.requeues = requeues
    self.indices = indices
    self.parallelism = parallelism
    self.notes = notes
  }
}

/// The body of `POST /v1/projects/{p}/jobs`.
public struct JobRequest: Hashable, Sendable, Codable {
  public var name: String
  /// One workflow whose argument `job` gets the job's number.
  public var document: JSONValue
  public var details: JobDetails
  /// As `--dependency` has it; nil: none.
  public var dependency: String?
  /// Whether a dependency that can never be met cancels the job.
  public var killsOnInvalidDependency: Bool?
  public var isHeld: Bool?
  public var beginAt: WireTime?
  /// The key of its archive in the project's repository, `slurm/.../submission.tar`: it goes with the job; nil: it has none.
  public var submission: String?

  public init(
    name: String, document: JSONValue, details: JobDetails, dependency: String? = nil,
    killsOnInvalidDependency: Bool? = nil, isHeld: Bool? = nil, beginAt: WireTime? = nil, submission: String? = nil
  ) {
    self.submission = submission
    self.name = name
    self.document = document
    self.details = details
    self.dependency = dependency
    self.killsOnInvalidDependency = killsOnInvalidDependency
    self.isHeld = isHeld
    self.beginAt = beginAt
  }
}

/// The answer to it. A dry run has the number 0.
public struct JobAccepted: Hashable, Sendable, Codable {
  public var number: Int64
  public var project: String
  public var workflow: String
  public init(number: Int64, project: String, workflow: String) {
    self.number = number
    self.project = project
    self.workflow = workflow
  }
}

/// A task of a job: the job itself, or one index of an array.
public struct JobTaskDocument: Hashable, Sendable, Codable {
  /// Its index; nil of a job that is no array.
  public var task: Int32?
  /// The node of the workflow; nil before there is one.
  public var node: Int32?
  public var phase: NodePhase
  /// Why it waits, in one word; empty once it does not.
  public var reason: String
  public var message: String
  public var cluster: String?
  /// Of its last run.
  public var run: String?
  public var runPhase: String?
  public var startedAt: WireTime?
  public var finishedAt: WireTime?
  public var exitCode: Int32?
  /// Of an end that was not its own; nil: it was, or nobody told.
  public var cause: RunEndCause?
  public var isCancelled: Bool
  /// Whether it has left files.
  public var hasResults: Bool

  public init(
    task: Int32?, node: Int32? = nil, phase: NodePhase, reason: String, message: String, cluster: String? = nil,
    run: String? = nil, runPhase: String? = nil, startedAt: WireTime? = nil, finishedAt: WireTime? = nil,
    exitCode: Int32? = nil, cause: RunEndCause? = nil, isCancelled: Bool = false, hasResults: Bool = false
  ) {
    self.cause = cause
    self.task = task
    self.node = node
    self.phase = phase
    self.reason = reason
    self.message = message
    self.cluster = cluster
    self.run = run
    self.runPhase = runPhase
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.exitCode = exitCode
    self.isCancelled = isCancelled
    self.hasResults = hasResults
  }
}

public struct JobDocument: Hashable, Sendable, Codable {
  /// The first of as many as it has tasks.
  public var number: Int64
  public var project: String
  public var name: String
  public var submittedBy: String
  public var submittedAt: WireTime
  public var beginAt: WireTime?
  public var workflow: String
  public var workflowUID: String
  public var dependency: String
  public var details: JobDetails
  /// In the order of their indices; one of a job that is no array.
  public var tasks: [JobTaskDocument]

  public init(
    number: Int64, project: String, name: String, submittedBy: String, submittedAt: WireTime, beginAt: WireTime?,
    workflow: String, workflowUID: String, dependency: String, details: JobDetails, tasks: [JobTaskDocument]
  ) {
    self.number = number
    self.project = project
    self.name = name
    self.submittedBy = submittedBy
    self.submittedAt = submittedAt
    self.beginAt = beginAt
    self.workflow = workflow
    self.workflowUID = workflowUID
    self.dependency = dependency
    self.details = details
    self.tasks = tasks
  }
}

public struct JobList: Hashable, Sendable, Codable {
  /// Newest first.
  public var items: [JobDocument]
  /// Pass as `continue` for the next page; nil on the last one.
  public var next: String?
  public init(items: [JobDocument], next: String? = nil) {
    self.items = items
    self.next = next
  }
}

/// The body of `POST /v1/projects/{p}/jobs/{j}/cancel`.
public struct JobCancelRequest: Hashable, Sendable, Codable {
  /// Of an array: these alone; nil: all of it.
  public var tasks: [Int32]?
  public init(tasks: [Int32]? = nil) { self.tasks = tasks }
}
