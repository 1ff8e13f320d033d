public import FederationModel

/// What one placement pass sees: a value, taken from the core between two turns and planned on outside its loop.
public struct SchedulingSnapshot: Sendable {
  /// By name, so that equal scores are broken the same way everywhere.
  public var clusters: [ClusterView]
  /// In order of precedence.
  public var groups: [PendingGroup]
  public init(clusters: [ClusterView], groups: [PendingGroup]) {
    self.clusters = clusters
    self.groups = groups
  }
}

/// A cluster as a placement pass sees it.
public struct ClusterView: Sendable {
  public var spec: ClusterSpec
  public var inventory: ClusterInventory
  /// Why nothing new goes there; nil when it is open.
  public var closedBecause: String?
  /// Capacity less what runs that hold a slot use.
  public var free: Resources
  /// Runs that may still be added; nil when only resources limit them.
  public var freeSlots: Int?
  /// Bytes per second into the cluster: measured, else declared, else a default.
  public var bandwidth: Double
  /// Bytes that are promised to its link and not there yet.
  public var backlogIn: ByteCount
  /// Seconds that the tasks take which this pass has left waiting for it (`placementPolicy: local-first`).
  var heldSeconds = 0.0

  public init(
    spec: ClusterSpec, inventory: ClusterInventory, closedBecause: String? = nil, free: Resources, freeSlots: Int?,
    bandwidth: Double,
    backlogIn: ByteCount = .zero
  ) {
    self.spec = spec
    self.inventory = inventory
    self.closedBecause = closedBecause
    self.free = free
    self.freeSlots = freeSlots
    self.bandwidth = bandwidth
    self.backlogIn = backlogIn
  }

  /// Whether a run may be handed over now.
  ///
  /// A cluster with a queue of its own takes as much again as it can run at once: enough that a slot never waits for us, and
  /// little enough that most tasks are bound late. So does an agent with slots, of tasks that take less than `shortTask`:
  /// between the end of one run and the start of the next the agent asks nobody then.
  ///
  /// - Parameter runtime: what the task is expected to take; nil for one that is not to wait there.
  public func hasRoom(for resources: Resources, lasting runtime: Duration? = nil) -> Bool {
    guard resources.fits(in: inventory.queues ? free + inventory.capacity : free) else { return false }
    guard let freeSlots else { return true }
    let ahead = runtime.map { $0 < Self.shortTask } == true ? inventory.slots ?? 0 : 0
    return freeSlots + ahead > 0
  }

  /// While a slot changes hands through the control plane it stands empty for some 25 ms, two commits and two messages: a tenth of
  /// such a task. What takes longer is bound late instead.
  public static let shortTask = Duration.milliseconds(250)
}

/// Tasks with one requirement, first come first.
public struct PendingGroup: Sendable {
  public var requirement: Requirement
  public var tasks: [TaskID]
  /// All that wait with this requirement; `tasks` may be the first of them only.
  public var waiting: Int
  /// From the template's history, else walltime, else a default.
  public var expectedRuntime: Duration
  public init(requirement: Requirement, tasks: [TaskID], waiting: Int? = nil, expectedRuntime: Duration) {
    self.requirement = requirement
    self.tasks = tasks
    self.waiting = max(tasks.count, waiting ?? 0)
    self.expectedRuntime = expectedRuntime
  }
}
