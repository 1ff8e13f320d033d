public import FederationModel

/// A cluster as a placement pass sees it.
public struct ClusterView: Sendable {
  public var spec: ClusterSpec
  public var inventory: ClusterInventory
  /// Why nothing new goes there; nil when it is open.
  public var closedBecause: String?
  /// Whether what it holds can be copied from there: a cordoned cluster still sends, one whose agent is away does not.
  public var isReachable: Bool
  /// Capacity less what runs that hold a slot use.
  public var free: Resources
  /// Runs that may still be added; nil when only resources limit them.
  public var freeSlots: Int?
  /// Bytes per second into the cluster: measured, else declared, else a default.
  public var bandwidth: Double
  /// Bytes that are promised to its link and not there yet.
  public var backlogIn: ByteCount
  /// Bytes per second out of the cluster to others; infinite where nobody knows a limit, 0 where nobody may fetch from it.
  public var bandwidthOut: Double
  /// Bytes that it has been asked to send and has not sent yet.
  public var backlogOut = ByteCount.zero
  /// Relative to the clusters that runtimes were learnt on; above zero.
  public var speed: Double
  /// nil: it keeps no data between runs, and nothing limits what a run brings.
  public var cache: CacheView?
  /// Seconds until the first of its runs is expected to end; nil when none runs, or nobody knows.
  public var firstEnd: Double?
  /// Mean seconds of the runs that hold its slots: how far apart, by the number of slots, further ends are. 0: nobody knows.
  public var meanRun: Double
  /// Of the runs that hold its slots: those that are not known to be over in a moment (`shortTask`).
  public var longRuns = 0
  /// When runs that are there are expected to end, the soonest first. Only needed while a gang waits: see `GangReservation`.
  public var releases: [ExpectedRelease] = []
  /// The projects that it is reserved to; nil: it is not.
  public var reservedTo: Set<ProjectName>?
  /// Room that is kept for tasks which preempted others here.
  public var claims: [RoomClaim] = []
  /// Of its free room, what realtime work will probably want; nil: nothing is held.
  public var headroom: Headroom?
  /// Its agent can be told that what is held for a run is more than it was: a placement need not hold the whole bound.
  public var renewsSlices = false
  /// The part of it that may be taken back; nil: none.
  public var spot: SpotView?
  /// What our runs have of its partitions that hold a slot and were sent to one, by name.
  public var partitionsUsed: [String: Resources] = [:]
  /// While tasks of one requirement look at it: where they go, and what the whole of it charges.
  var enteredPartition: EnteredPartition?
  /// Seconds that the tasks take which this pass has left waiting for it (`placementPolicy: local-first`).
  var heldSeconds = 0.0

  public init(
    spec: ClusterSpec, inventory: ClusterInventory, closedBecause: String? = nil, isReachable: Bool = true,
    free: Resources, freeSlots: Int?, bandwidth: Double, backlogIn: ByteCount = .zero,
    bandwidthOut: Double = .infinity, speed: Double = 1, cache: CacheView? = nil,
    firstEnd: Double? = nil, meanRun: Double = 0
  ) {
    self.spec = spec
    self.inventory = inventory
    self.closedBecause = closedBecause
    self.isReachable = isReachable
    self.free = free
    self.freeSlots = freeSlots
    self.bandwidth = bandwidth
    self.backlogIn = backlogIn
    self.bandwidthOut = bandwidthOut
    self.speed = speed
    self.cache = cache
    self.firstEnd = firstEnd
    self.meanRun = meanRun
  }

  /// A run was added that gives back what it holds at that moment.
  mutating func add(_ release: ExpectedRelease) {
    releases.insert(release, at: releases.firstIndex { $0.end > release.end } ?? releases.count)
  }

  /// Whether a run may be handed over now.
  ///
  /// A cluster with a queue of its own takes as much again as it can run at once: enough that a slot never waits for us, and
  /// little enough that most tasks are bound late; of tasks that take less than `shortQueuedTask` four times as much, because
  /// the cluster runs several of them in one job when it has them. So does an agent with slots, of tasks that take less than
  /// `shortTask`, as many as it runs of that kind: between the end of one run and the start of the next the agent asks nobody then.
  ///
  /// - Parameter runtime: what the task is expected to take; nil for one that is not to wait there.
  public func hasRoom(for resources: Resources, lasting runtime: Duration? = nil) -> Bool {
    let isShort = runtime.map { $0 < Self.shortQueuedTask } == true
    let queue = inventory.capacity * (isShort ? Self.shortTasksAhead : 1)
    guard resources.fits(in: inventory.queues ? free + queue : free) else { return false }
    guard let freeSlots else { return true }
    let ahead = runtime.map { $0 < Self.shortTask } == true ? changingSlots : 0
    return freeSlots + ahead > 0
  }

  /// Slots that change hands soon: nothing is queued behind the others.
  var changingSlots: Int { max(0, (inventory.slots ?? 0) - longRuns) }

  /// Whether a task's `maxPrice` allows it here.
  ///
  /// - Parameter egress: minor units that the sources of its inputs charge.
  public func isAffordable(for requirement: Requirement, egress: Double, lasting runtime: Duration) -> Bool {
    Filter.price(self, requirement, egress, runtime) == nil
  }

  /// Minor units for a GiB that another cluster fetches from its export, for whoever pays in `currency`; 0 without an export, because
  /// what comes through the repository costs nothing, and for a price in another currency, which nobody could charge.
  public func egressGibibyte(in currency: String) -> Double {
    guard inventory.cache?.exportURL != nil, let sheet = spec.prices, sheet.currency == currency else { return 0 }
    return sheet.egressGibibyte
  }

  /// Whether what others fetch from its export has a price.
  public var chargesEgress: Bool { spec.prices.map { egressGibibyte(in: $0.currency) > 0 } ?? false }

  /// While a slot changes hands through the control plane it stands empty for some 25 ms, two commits and two messages: a tenth of
  /// such a task. What takes longer is bound late instead.
  public static let shortTask = Duration.milliseconds(250)

  /// A batch system fills a place again after about a second, and starting a job costs it some 20 ms: a long row of such tasks is
  /// served better than a few at a time, and is over soon.
  public static let shortQueuedTask = Duration.seconds(2)
  private static let shortTasksAhead = 4
}

extension ClusterView {
  /// What its operator has set under this name, else what its agent tells of its machines; nil: nothing.
  public func label(_ name: String) -> String? { spec.labels[name] ?? inventory.labels?[name] }
}
