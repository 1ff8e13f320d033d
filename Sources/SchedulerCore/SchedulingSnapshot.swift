public import FederationModel

/// What one placement pass sees: a value, taken from the core between two turns and planned on outside its loop.
public struct SchedulingSnapshot: Sendable {
  /// By name, so that equal scores are broken the same way everywhere.
  public var clusters: [ClusterView]
  /// Those of a project in order of precedence; without `turns`, all of them.
  public var groups: [PendingGroup]
  /// Tasks whose parents all run: what they read may be brought to where they would go, but they are not placed.
  public var upcoming: [PendingGroup]
  /// Of an explanation: gangs that wait before the group which is explained.
  public var gangsAhead: [PendingGroup] = []
  /// Whose turn it is; nil: the groups go one after the other.
  public var turns: ProjectTurns?
  /// What the groups read by name (`Requirement.data`). A name that is missing here can be read nowhere.
  public var data: [DataKey: DataView]
  public init(
    clusters: [ClusterView], groups: [PendingGroup], upcoming: [PendingGroup] = [], data: [DataKey: DataView] = [:]
  ) {
    self.clusters = clusters
    self.groups = groups
    self.upcoming = upcoming
    self.data = data
  }
}

/// Tasks with one requirement, first come first.
public struct PendingGroup: Sendable {
  /// Names it in who made the snapshot; 0: it has no name.
  public var key: Int64
  public var requirement: Requirement
  public var tasks: [TaskID]
  /// All that wait with this requirement; `tasks` may be the first of them only.
  public var waiting: Int
  /// From the template's history, else walltime, else a default.
  public var expectedRuntime: Duration
  /// What nine of ten runs of the template do not exceed, less `expectedRuntime`: zero when nothing was learnt.
  public var runtimeSpread: Duration
  /// Whether `expectedRuntime` was learnt. Nothing waits for a better cluster on a guess.
  public var isRuntimeKnown: Bool
  /// Seconds of work behind a task: the longest chain of those that need its outputs, its upward rank without itself; 0 when nothing
  /// follows or nobody knows.
  public var tail: Double
  /// Seconds from now until the workflow should be over; nil without a deadline.
  public var deadline: Double?
  /// What its project's budget allows; nil: it has none.
  public var budget: BudgetView?
  /// What its project may use; nil: it is not limited.
  public var quota: QuotaView?
  public init(
    key: Int64 = 0, requirement: Requirement, tasks: [TaskID], waiting: Int? = nil, expectedRuntime: Duration,
    runtimeSpread: Duration = .zero, isRuntimeKnown: Bool = false, tail: Double = 0, deadline: Double? = nil
  ) {
    self.key = key
    self.requirement = requirement
    self.tasks = tasks
    self.waiting = max(tasks.count, waiting ?? 0)
    self.expectedRuntime = expectedRuntime
    self.runtimeSpread = runtimeSpread
    self.isRuntimeKnown = isRuntimeKnown
    self.tail = tail
    self.deadline = deadline
  }

  /// Upward rank: seconds from the start of one of its tasks to the end of what needs it.
  public var rank: Double { expectedRuntime.seconds + tail }
}
