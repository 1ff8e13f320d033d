import FederationModel
import HeapModule
import SchedulerCore

/// A cluster in memory: its durable row, and what its agent's session says.
struct ClusterEntry: Sendable {
  var row: ClusterRow
  /// What its agent is and said last; nil before one has joined.
  var agent: AgentRow?
  /// Soft from here on.
  var session: SessionID?
  var inventory: ClusterInventory { agent?.inventory ?? ClusterInventory() }
  /// The session has the capability `data`.
  var takesOrders = false
  /// The session has the capability `slices`.
  var renewsSlices = false
  /// What the agent's hello claimed to have seen.
  var highestSeen = CommitPosition(term: 0, sequence: 0)
  /// Silence at the last tick was longer than the lease.
  var isSilent = false
  /// Runs that are not over.
  var runs: Set<RunID> = []
  /// Of the runs that hold a slot.
  var used = Resources.zero
  var slotsUsed = 0
  /// Of the runs on spot capacity that hold a slot.
  private var spotUsed = Resources.zero
  private var spotSlotsUsed = 0
  /// Of the runs that hold a slot and were quoted for a partition, by its name.
  private var partitionsUsed: [String: Resources] = [:]
  /// Runs on spot capacity that are not over.
  private(set) var spotRuns = 0
  /// The terms under which its spot runs were last looked at; nil: they were not, or not all of them.
  var spotReviewed: SpotReview?
  /// Of the runs that hold a slot, by class.
  private var useByClass: [PriorityClass: (resources: Resources, slots: Int)] = [:]
  /// What realtime work has wanted here lately.
  var demand = DemandForecast()
  /// What it will probably want, all together; nil: nothing is held for it.
  var expectedDemand: Headroom?
  /// Of the runs that hold a slot: those that are not known to be over in a moment.
  var longRuns = 0
  var backlogIn = ByteCount.zero
  /// Bytes per second into the cluster, as its transfers have shown; nil until something was moved.
  var measuredBandwidth: Double?
  /// Whether that is of transfers that were followed one by one.
  var isLinkKnown = false
  /// Bytes per second out of the cluster to the one that had most from it, the repository included; nil until something was moved.
  var measuredBandwidthOut: Double?
  /// Bytes per second from here into the repository, an exponentially weighted mean; nil until an output was copied.
  var storedBandwidth: Double?
  /// When its runs are expected to end, of those whose templates have a history; some may be over, but not the first.
  private var ends = Heap<ExpectedEnd>()
  /// Since when its queue takes nothing, as ticks saw it.
  private var shutSince: Timestamp?
  /// Mean of what runs that started here were expected to take.
  private var meanRun = 0.0

  init(row: ClusterRow) { self.row = row }

  /// Why nothing new is placed here; nil when it is open.
  var closedBecause: String? {
    if row.isDraining { return row.cordonReason.map { "draining: \($0)" } ?? "draining" }
    if let reason = row.cordonReason { return "cordoned: \(reason)" }
    if row.isAdopting { return "its agent has seen more than the database holds; run `fubini recover`" }
    if row.journal == nil && session == nil { return "no agent has joined yet" }
    if session == nil || isSilent { return "AgentOffline: its agent does not answer" }
    return mismatch ?? inventory.closed
  }

  /// Workflows ask for a cluster's kind: where its agent runs work in another way than was declared, it gets none.
  private var mismatch: String? {
    guard let executor = inventory.executor, executor != row.spec.kind.rawValue else { return nil }
    return "declared as \(row.spec.kind.rawValue), but its agent has `executor: \(executor)`: one of the two is wrong"
  }

  /// Whether its agent is there and takes nothing new: what waits in its queue is better off elsewhere.
  var isShut: Bool { session != nil && !isSilent && inventory.closed != nil }

  /// A tick: since when its queue takes nothing; nil when it takes something, or nobody knows.
  mutating func noteShut(at now: Timestamp) -> Timestamp? {
    shutSince = isShut ? shutSince ?? now : nil
    return shutSince
  }

  /// Bytes per second to others; infinite where nobody knows a limit, 0 where nobody may fetch from here.
  var bandwidthOut: Double { sendsToOthers ? limited(measuredBandwidthOut) ?? .infinity : 0 }

  /// What was measured, within what the agent holds itself to: a short transfer may pass on what it had saved up.
  private func limited(_ measured: Double?) -> Double? {
    guard let declared = inventory.linkBytesPerSecond.map(Double.init) else { return measured }
    return min(measured ?? declared, declared)
  }

  /// Whether other clusters can have what is here: from its export, or copied into the repository by its agent.
  private var sendsToOthers: Bool { takesOrders || inventory.cache?.exportURL != nil || inventory.cache == nil }

  func view(defaultBandwidth: Double, at now: Timestamp) -> ClusterView {
    var view = ClusterView(
      spec: row.spec.quoted(at: now), inventory: inventory, closedBecause: closedBecause,
      isReachable: session != nil && !isSilent,
      free: inventory.capacity - used, freeSlots: inventory.slots.map { $0 - slotsUsed },
      bandwidth: limited(measuredBandwidth) ?? defaultBandwidth, backlogIn: backlogIn, bandwidthOut: bandwidthOut,
      firstEnd: ends.min.map { $0.seconds(from: now) }, meanRun: meanRun)
    view.longRuns = longRuns
    view.renewsSlices = renewsSlices
    view.headroom = headroom
    view.partitionsUsed = partitionsUsed
    view.spot = row.spec.spot.map {
      SpotView(offer: $0, prices: row.spec.spotPrices(at: now), used: spotUsed, slotsUsed: spotSlotsUsed)
    }
    return view
  }

  /// - Parameter seconds: what its template's history says.
  mutating func started(_ run: RunID, at now: Timestamp, expected seconds: Double) {
    meanRun = meanRun == 0 ? seconds : meanRun * 0.9 + seconds * 0.1
    ends.insert(ExpectedEnd(at: now + .seconds(seconds), startedAt: now, run: run))
  }

  /// Runs that should have ended get new times, so that one that hangs does not hide when the others end.
  mutating func postponeLateEnds(at now: Timestamp, limit: Int) {
    for _ in 0..<limit {
      guard let first = ends.min, first.at <= now else { return }
      ends.removeMin()
      guard runs.contains(first.run) else { continue }
      ends.insert(
        ExpectedEnd(at: now + .seconds(first.seconds(from: now)), startedAt: first.startedAt, run: first.run))
    }
  }

  mutating func add(_ run: RunEntry) {
    runs.insert(run.row.id)
    backlogIn += run.promisedBytes
    if run.row.spot != nil { spotRuns += 1 }
    if run.holdsSlot { take(run) }
  }

  mutating func remove(_ run: RunEntry) {
    guard runs.remove(run.row.id) != nil else { return }
    backlogIn -= run.promisedBytes
    if run.row.spot != nil { spotRuns -= 1 }
    if run.holdsSlot { giveBack(run) }
    while let first = ends.min, !runs.contains(first.run) { ends.removeMin() }
  }

  mutating func seen(at moment: Timestamp) { agent?.seenAt = moment }

  mutating func take(_ run: RunEntry) {
    used += run.row.resources
    slotsUsed += 1
    note(run, 1)
    if !run.isShort { longRuns += 1 }
  }

  /// What runs of a class have that hold a slot.
  func use(of priorityClass: PriorityClass) -> (resources: Resources, slots: Int) {
    useByClass[priorityClass] ?? (.zero, 0)
  }

  private mutating func note(_ run: RunEntry, _ change: Int) {
    useByClass[run.priorityClass, default: (.zero, 0)].slots += change
    useByClass[run.priorityClass]!.resources += run.row.resources * change
    if let partition = run.row.quote?.partition {
      let used = (partitionsUsed[partition] ?? .zero) + run.row.resources * change
      partitionsUsed[partition] = used == .zero ? nil : used
    }
    guard run.row.spot != nil else { return }
    spotUsed += run.row.resources * change
    spotSlotsUsed += change
  }

  mutating func giveBack(_ run: RunEntry) {
    used -= run.row.resources
    slotsUsed -= 1
    note(run, -1)
    if !run.isShort { longRuns -= 1 }
  }

  /// What the small inputs of a run say of the link, until something larger was moved.
  mutating func measured(_ bytes: ByteCount, inMilliseconds milliseconds: Int64) {
    // Small transfers measure latency, not bandwidth.
    guard !isLinkKnown, bytes.bytes >= 64 << 10, milliseconds > 0 else { return }
    let sample = Double(bytes.bytes) * 1000 / Double(milliseconds)
    measuredBandwidth = measuredBandwidth.map { $0 * 0.7 + sample * 0.3 } ?? sample
  }
}

/// When a run is expected to end.
struct ExpectedEnd: Comparable, Sendable {
  var at: Timestamp
  var startedAt: Timestamp
  var run: RunID

  /// One that takes longer than expected takes nobody knows how long: a tenth of what it has taken, and a second at least.
  func seconds(from now: Timestamp) -> Double {
    at > now ? (at - now).seconds : max(1, (now - startedAt).seconds / 10)
  }

  static func < (a: Self, b: Self) -> Bool { (a.at, a.run) < (b.at, b.run) }
}
