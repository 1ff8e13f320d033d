import FederationModel
import SchedulerCore

/// A cluster in memory: its durable row, and what its agent's session says.
struct ClusterEntry: Sendable {
  var row: ClusterRow
  /// What its agent is and said last; nil before one has joined.
  var agent: AgentRow?
  /// Soft from here on.
  var session: SessionID?
  var inventory: ClusterInventory { agent?.inventory ?? ClusterInventory() }
  /// What the agent's hello claimed to have seen.
  var highestSeen = CommitPosition(term: 0, sequence: 0)
  /// Silence at the last tick was longer than the lease.
  var isSilent = false
  /// Runs that are not over.
  var runs: Set<RunID> = []
  /// Of the runs that hold a slot.
  var used = Resources.zero
  var slotsUsed = 0
  var backlogIn = ByteCount.zero
  /// Bytes per second, an exponentially weighted mean; nil until something was moved.
  var measuredBandwidth: Double?

  init(row: ClusterRow) { self.row = row }

  /// Why nothing new is placed here; nil when it is open.
  var closedBecause: String? {
    if let reason = row.cordonReason { return "cordoned: \(reason)" }
    if row.isDraining { return "draining" }
    if row.isAdopting { return "its agent has seen more than the database holds; run `fubini recover`" }
    if row.journal == nil && session == nil { return "no agent has joined yet" }
    if session == nil || isSilent { return "AgentOffline: its agent does not answer" }
    return nil
  }

  func view(defaultBandwidth: Double) -> ClusterView {
    ClusterView(
      spec: row.spec, inventory: inventory, closedBecause: closedBecause, free: inventory.capacity - used,
      freeSlots: inventory.slots.map { $0 - slotsUsed },
      bandwidth: measuredBandwidth ?? inventory.linkBytesPerSecond.map(Double.init) ?? defaultBandwidth,
      backlogIn: backlogIn)
  }

  mutating func add(_ run: RunEntry) {
    runs.insert(run.row.id)
    backlogIn += run.promisedBytes
    if run.holdsSlot { take(run.row.resources) }
  }

  mutating func remove(_ run: RunEntry) {
    guard runs.remove(run.row.id) != nil else { return }
    backlogIn = backlogIn - run.promisedBytes
    if run.holdsSlot { giveBack(run.row.resources) }
  }

  mutating func seen(at moment: Timestamp) { agent?.seenAt = moment }

  mutating func take(_ resources: Resources) {
    used += resources
    slotsUsed += 1
  }

  mutating func giveBack(_ resources: Resources) {
    used -= resources
    slotsUsed -= 1
  }

  mutating func measured(_ bytes: ByteCount, inMilliseconds milliseconds: Int64) {
    // Small transfers measure latency, not bandwidth.
    guard bytes.bytes >= 64 << 10, milliseconds > 0 else { return }
    let sample = Double(bytes.bytes) * 1000 / Double(milliseconds)
    measuredBandwidth = measuredBandwidth.map { $0 * 0.7 + sample * 0.3 } ?? sample
  }
}
