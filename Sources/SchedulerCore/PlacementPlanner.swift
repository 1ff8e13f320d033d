public import FederationModel

/// How seconds are weighed against money. See DESIGN section 8 for the terms.
public struct PlacementWeights: Hashable, Sendable {
  /// Of one second until the finish.
  public var alpha: Double
  /// Of one minor unit of money, in seconds.
  public var lambda: Double
  /// Of a cluster that is wholly taken, in seconds: spreads equal choices, and no more than that.
  public var spread: Double
  public init(alpha: Double = 1, lambda: Double = 2, spread: Double = 0.5) {
    self.alpha = alpha
    self.lambda = lambda
    self.spread = spread
  }
}

/// What a pass proposes. The core revalidates each placement when it applies the plan.
public struct PlacementPlan: Sendable {
  public var placements: [Placement]
  /// The tables that `placements` refer to by index.
  public var tables: [CandidateTable]
  public init(placements: [Placement] = [], tables: [CandidateTable] = []) {
    self.placements = placements
    self.tables = tables
  }
}

/// One decision: task -> cluster.
public struct Placement: Hashable, Sendable {
  public var task: TaskID
  public var cluster: ClusterName
  /// Index into `PlacementPlan.tables`.
  public var table: Int
}

/// One scheduling pass: filter, score, commit at once.
///
/// - Complexity: O(groups x clusters + placements x open clusters).
/// - Source: DESIGN section 8. Committing each choice to slots and link backlogs before the next is scored is what makes
///   a greedy pass as good as HEFT there.
public struct PlacementPlanner: Sendable {
  public var weights: PlacementWeights
  public init(weights: PlacementWeights = PlacementWeights()) { self.weights = weights }

  public func plan(_ snapshot: SchedulingSnapshot) -> PlacementPlan {
    var clusters = snapshot.clusters
    var plan = PlacementPlan()
    for group in snapshot.groups {
      place(group, on: &clusters, into: &plan)
    }
    return plan
  }

  /// The candidate table of a task that waits: what `explain` shows for it.
  ///
  /// - Parameter waiting: tasks that wait with the same requirement, this one among them.
  public func explain(
    _ requirement: Requirement, expectedRuntime: Duration, waiting: Int = 1, on clusters: [ClusterView]
  ) -> CandidateTable {
    var round = Round(requirement, expectedRuntime, clusters, self)
    if let tiers = LocalFirst(requirement, expectedRuntime) {
      round.begin(tiers, clusters, waiting: waiting)
      var rest = waiting
      for tier in Tier.allCases where rest > 0 {
        round.open(tier, tiers, clusters)
        for member in round.members(of: tier, clusters) {
          rest -= tiers.room(clusters[member]) + tiers.capacity(clusters[member])
        }
      }
    }
    return round.table(clusters, chosen: nil)
  }

  private func place(_ group: PendingGroup, on clusters: inout [ClusterView], into plan: inout PlacementPlan) {
    var round = Round(group.requirement, group.expectedRuntime, clusters, self)
    if let tiers = LocalFirst(group.requirement, group.expectedRuntime) {
      return place(group, by: tiers, &round, on: &clusters, into: &plan)
    }
    for task in group.tasks {
      guard let best = round.best() else { break }
      round.put(task, on: best, &clusters, &plan, self)
    }
  }

  /// Tier by tier; see `LocalFirst`.
  private func place(
    _ group: PendingGroup, by tiers: LocalFirst, _ round: inout Round, on clusters: inout [ClusterView],
    into plan: inout PlacementPlan
  ) {
    var tasks = group.tasks[...]
    var waiting = group.waiting
    round.begin(tiers, clusters, waiting: waiting)
    for tier in Tier.allCases where waiting > 0 {
      round.open(tier, tiers, clusters)
      while waiting > 0, let task = tasks.first, let best = round.best() {
        round.put(task, on: best, &clusters, &plan, self)
        round.passOver(best, tiers, clusters)
        tasks.removeFirst()
        waiting -= 1
      }
      // What the tier gets through in time waits for it.
      for member in round.members(of: tier, clusters) {
        let count = min(waiting, tiers.capacity(clusters[member]))
        tiers.hold(count, &clusters[member])
        waiting -= count
      }
    }
    // More than all tiers get through in time: then whatever has room is sooner than to wait here.
    if waiting > 0 { round.openAll(tiers) }
    while waiting > 0, let task = tasks.first, let best = round.best() {
      round.put(task, on: best, &clusters, &plan, self)
      tasks.removeFirst()
      waiting -= 1
    }
  }

  func estimate(
    _ cluster: ClusterView, _ requirement: Requirement, _ missing: ByteCount, _ expectedRuntime: Duration
  ) -> Estimate {
    // Bytes wait behind those that the link was promised before; with nothing to move nothing waits.
    let stage = missing.bytes == 0 ? 0 : Double(cluster.backlogIn.bytes + missing.bytes) / max(1, cluster.bandwidth)
    let run = expectedRuntime.seconds
    // Staging overlaps queueing.
    var wait = QueueWait.seconds(cluster, requirement, expectedRuntime: run)
    if let slots = cluster.inventory.slots, slots > 0, let free = cluster.freeSlots, free <= 0 {
      // It waits at the agent until one of those before it has ended.
      wait += run * Double(1 - free) / Double(slots)
    }
    let finish = max(stage, wait) + run
    let price = cluster.spec.prices?.cost(of: requirement.priced, for: expectedRuntime, moving: missing)
    var taken = 0.0
    if let slots = cluster.inventory.slots, slots > 0, let free = cluster.freeSlots {
      taken = 1 - Double(free) / Double(slots)
    } else if cluster.inventory.capacity.cpuMillicores > 0 {
      taken = 1 - Double(cluster.free.cpuMillicores) / Double(cluster.inventory.capacity.cpuMillicores)
    }
    return Estimate(
      missing: missing, stageSeconds: stage, waitSeconds: wait, runSeconds: run, finishSeconds: finish,
      priceMinorUnits: price,
      currency: cluster.spec.prices?.currency,
      score: weights.alpha * finish + weights.lambda * (price ?? 0) + weights.spread * taken)
  }
}
