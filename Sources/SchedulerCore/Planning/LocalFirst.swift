import FederationModel

/// What `placementPolicy: local-first` knows about one group: how long it would wait where, and what it may cost.
///
/// A tier keeps as many waiting tasks as it gets through within the threshold; only those beyond go on to the next tier, the
/// oldest first. So a short peak is waited out, and what bursts is what would have waited too long.
struct LocalFirst {
  var policy: PlacementPolicy
  var requirement: Requirement
  /// Seconds of one run, above zero.
  var runtime: Double
  private let threshold: Double

  /// nil for a requirement without that policy.
  init?(_ requirement: Requirement, _ expectedRuntime: Duration) {
    guard let policy = requirement.hints.placementPolicy else { return nil }
    self.policy = policy
    self.requirement = requirement
    runtime = max(expectedRuntime.seconds, 0.001)
    threshold = policy.waitThreshold.seconds
  }

  /// Runs of the requirement that the cluster has room for when it is empty; at least 1.
  func parallel(_ cluster: ClusterView) -> Double {
    let (wanted, all) = (requirement.resources, cluster.inventory.capacity)
    var count = Double(cluster.inventory.slots ?? Int(Int32.max))
    for (asked, has) in [
      (wanted.cpuMillicores, all.cpuMillicores), (wanted.memory.bytes, all.memory.bytes), (wanted.gpus, all.gpus),
    ] where asked > 0 { count = min(count, (Double(has) / Double(asked)).rounded(.down)) }
    return max(1, count)
  }

  /// Seconds until one more would start there, behind those that this pass has left waiting for it.
  func wait(on cluster: ClusterView) -> Double {
    QueueWait.seconds(cluster, requirement, expectedRuntime: runtime) + cluster.heldSeconds
  }

  /// Seconds until the last of `count` would start, spread over clusters; infinite without any.
  func wait(of count: Int, on clusters: [ClusterView]) -> Double {
    let rate = clusters.reduce(0) { $0 + parallel($1) } / runtime
    return (clusters.map { wait(on: $0) }.min() ?? .infinity) + (rate > 0 ? Double(count) / rate : 0)
  }

  /// Tasks that the cluster starts now.
  func room(_ cluster: ClusterView) -> Int {
    var view = cluster
    view.inventory.capacity = view.free
    view.inventory.slots = view.freeSlots
    return cluster.hasRoom(for: requirement.resources) ? Int(min(1e9, parallel(view))) : 0
  }

  /// How many more tasks the cluster starts within the threshold, though it has no room for them now.
  func capacity(_ cluster: ClusterView) -> Int {
    Int(min(1e9, max(0, (threshold - wait(on: cluster)) * parallel(cluster) / runtime)))
  }

  /// Notes that `count` tasks are left waiting for a cluster.
  func hold(_ count: Int, _ cluster: inout ClusterView) {
    cluster.heldSeconds += Double(count) * runtime / parallel(cluster)
  }

  /// Why a run may not burst to a cluster; nil when it may, or when the cluster is local.
  ///
  /// - Parameter egress: minor units that the sources of its inputs charge.
  func priceRejection(_ cluster: ClusterView, egress: Double) -> Rejection? {
    guard let limit = policy.priceThreshold, cluster.tier != .local else { return nil }
    guard let sheet = cluster.spec.prices?.quoted(to: requirement.hints.priorityClass) else {
      return Rejection("NoPrice", "local-first bursts for at most \(limit), and the cluster has no price")
    }
    guard sheet.currency == limit.currency else {
      return Rejection("OtherCurrency", "the burst's limit is in \(limit.currency), the price in \(sheet.currency)")
    }
    func cost(_ sheet: PriceSheet) -> Double {
      (sheet.cost(of: requirement.priced, for: .seconds(runtime)) + egress).rounded(.up)
    }
    guard cost(sheet) > Double(limit.minorUnits) else { return nil }
    let price = Money(minorUnits: Int64(min(cost(sheet), 9e18)), currency: sheet.currency)
    // A cheaper pool may have room later.
    let isTemporary = cluster.otherPools(for: requirement).contains {
      cost($0.spec.prices!.quoted(to: requirement.hints.priorityClass)) <= Double(limit.minorUnits)
    }
    return Rejection(
      "BurstTooExpensive", "it would cost \(price), local-first bursts for at most \(limit)", isTemporary: isTemporary)
  }

  /// Why a cluster is not used before the tiers `earlier` are.
  func heldRejection(_ tier: Tier, waiting count: Int, earlier: [ClusterView]) -> Rejection {
    let behind = count - earlier.reduce(0) { $0 + room($1) }
    let wait = behind > 0 ? wait(of: behind, on: earlier) : 0
    return Rejection(
      "HeldForEarlierTier",
      "local-first uses \(tier.rawValue) clusters when the wait for those before is above \(Self.text(threshold)); it is "
        + "about \(Self.text(wait)) with \(count) of its kind waiting", isTemporary: true)
  }

  /// Why the clusters of a tier are used, when they are.
  ///
  /// - Parameter earlier: the clusters of the tiers before it that take the requirement.
  func note(_ tier: Tier, waiting count: Int, earlier: [ClusterView]) -> String {
    let limit = Self.text(threshold)
    if tier == Tier.allCases.first { return "local-first: it starts within \(limit) there" }
    guard !earlier.isEmpty else { return "local-first: no cluster of an earlier tier takes it" }
    let behind = max(1, count - earlier.reduce(0) { $0 + room($1) })
    return "local-first: elsewhere it waits about \(Self.text(wait(of: behind, on: earlier))), above \(limit)"
  }

  /// Why a cluster is used though no tier gets through all that wait in time.
  var lastResortNote: String { "local-first: the wait is above \(Self.text(threshold)) in every tier" }

  /// Why a cluster with room in a queue of its own is passed over; nil when a run starts soon enough there.
  func waitRejection(_ seconds: Double) -> Rejection? {
    guard seconds > threshold else { return nil }
    return Rejection(
      "WaitTooLong",
      "a run would wait about \(Self.text(seconds)) there, and local-first waits at most \(Self.text(threshold))",
      isTemporary: true)
  }

  static func text(_ seconds: Double) -> String {
    guard seconds.isFinite else { return "endless" }
    if seconds < 100 { return "\(Int(seconds.rounded())) s" }
    if seconds < 6000 { return "\(Int((seconds / 60).rounded())) min" }
    return "\(Int(min(1e9, seconds / 3600).rounded())) h"
  }
}
