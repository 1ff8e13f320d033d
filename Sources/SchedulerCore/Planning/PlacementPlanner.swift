public import FederationModel

/// How seconds are weighed against money. See DESIGN section 8 for the terms.
public struct PlacementWeights: Hashable, Sendable {
  /// Of one second until the finish, and of the work behind it.
  public var alpha: Double
  /// Of one second beyond the deadline, on top of alpha.
  public var omega: Double
  /// Of one minor unit of money, in seconds.
  public var lambda: Double
  /// Of one second for which the link into the cluster is taken.
  public var kappa: Double
  /// Of one second that a replica made here is expected to save others; see `FutureReuse`. 0, because in the simulator it only made
  /// more bytes move: what many read is brought to where they go by the first of them anyway.
  public var nu: Double
  /// Of a cluster that is wholly taken, in seconds: spreads equal choices, and no more than that.
  public var spread: Double
  public init(
    alpha: Double = 1, omega: Double = 10, lambda: Double = 2, kappa: Double = 0.1, nu: Double = 0, spread: Double = 0.5
  ) {
    self.alpha = alpha
    self.omega = omega
    self.lambda = lambda
    self.kappa = kappa
    self.nu = nu
    self.spread = spread
  }

  var scoring: ScoringWeights {
    ScoringWeights(alpha: Float(alpha), omega: Float(omega), lambda: Float(lambda), kappa: Float(kappa))
  }
}

/// What a pass proposes. The core revalidates each placement when it applies the plan.
public struct PlacementPlan: Sendable {
  public var placements: [Placement]
  /// The tables that `placements` refer to by index.
  public var tables: [CandidateTable]
  /// What is to be moved: all that the placements lack, in their order, and then what idle links may bring ahead.
  public var stagings: [Staging]
  /// Whether tasks were left waiting for a slot that is worth more than one they could have now. When it does not come as expected
  /// nothing else may happen, so a pass is due again before long.
  public var isHolding: Bool
  public init(
    placements: [Placement] = [], tables: [CandidateTable] = [], stagings: [Staging] = [], isHolding: Bool = false
  ) {
    self.placements = placements
    self.tables = tables
    self.stagings = stagings
    self.isHolding = isHolding
  }
}

/// One decision: task -> cluster.
public struct Placement: Hashable, Sendable {
  public var task: TaskID
  public var cluster: ClusterName
  /// Index into `PlacementPlan.tables`.
  public var table: Int
  /// Bytes that have to be moved for it.
  public var moving: ByteCount
  /// Of them, those of named inputs that clusters send; empty while no cluster charges for egress.
  public var sources: [ClusterName: ByteCount]
  /// It has no slot yet, and does not need one: its inputs take longer than a slot takes to become free.
  public var isAhead: Bool
}

/// One scheduling pass: filter, score, commit at once.
///
/// - Complexity: O(groups x clusters + placements x clusters / 8).
/// - Source: DESIGN section 8. Committing each choice to slots and link backlogs before the next is scored is what makes
///   a greedy pass as good as HEFT there.
public struct PlacementPlanner: Sendable {
  /// Tasks that one pass leaves waiting for a better slot, or looks ahead to: what comes after them is looked at when its time comes.
  public static let lookaheadLimit = 64

  public var weights: PlacementWeights
  public init(weights: PlacementWeights = PlacementWeights()) { self.weights = weights }

  public func plan(_ snapshot: SchedulingSnapshot) -> PlacementPlan {
    var pass = PlacementPass(snapshot, weights)
    for group in snapshot.groups {
      pass.withhold(from: group.requirement)
      place(group, &pass)
      pass.giveBack()
    }
    for group in snapshot.upcoming {
      pass.withhold(from: group.requirement)
      foresee(group, &pass)
      pass.giveBack()
    }
    pass.prefetch()
    return pass.plan
  }

  /// The candidate table of a task that waits: what `explain` shows for it.
  public func explain(_ group: PendingGroup, in snapshot: SchedulingSnapshot) -> CandidateTable {
    var pass = PlacementPass(snapshot, weights)
    for gang in snapshot.gangsAhead {
      pass.withhold(from: gang.requirement)
      reserve(for: gang, &pass)
      pass.giveBack()
    }
    pass.withhold(from: group.requirement)
    var round = Round(group, &pass)
    if let tiers = LocalFirst(group.requirement, group.expectedRuntime) {
      round.begin(tiers, pass, waiting: group.waiting)
      var rest = group.waiting
      for tier in Tier.allCases where rest > 0 {
        round.open(tier, tiers, pass)
        for member in round.members(of: tier, pass) {
          rest -= tiers.room(pass.clusters[member]) + tiers.capacity(pass.clusters[member])
        }
      }
    } else {
      round.holdForBetter(&pass)
    }
    return round.table(pass, chosen: nil)
  }

  private func place(_ group: PendingGroup, _ pass: inout PlacementPass) {
    var round = Round(group, &pass)
    if let tiers = LocalFirst(group.requirement, group.expectedRuntime) {
      return place(group, by: tiers, &round, &pass)
    }
    for (place, task) in group.tasks.enumerated() {
      guard let best = round.best(&pass) else {
        // There is no room, and nobody knows when there will be: what it reads need not wait for that (I5).
        round.reserve(&pass)
        var rest = group
        rest.tasks.removeFirst(place)
        return foresee(rest, &pass)
      }
      round.put(task, on: best, &pass)
    }
  }

  /// Keeps room for a gang that waits before what is explained.
  private func reserve(for gang: PendingGroup, _ pass: inout PlacementPass) {
    var round = Round(gang, &pass)
    if let tiers = LocalFirst(gang.requirement, gang.expectedRuntime) {
      round.begin(tiers, pass, waiting: gang.waiting)
      round.openAll(tiers)
    }
    if round.best(&pass) == nil { round.reserve(&pass) }
  }

  /// Assumes where the tasks of a group that is not ready yet would go, so that what they read can be brought there.
  private func foresee(_ group: PendingGroup, _ pass: inout PlacementPass) {
    guard pass.heldCount < Self.lookaheadLimit, !group.requirement.data.isEmpty else { return }
    var round = Round(group, &pass, isUpcoming: true)
    for task in group.tasks {
      guard pass.heldCount < Self.lookaheadLimit, let best = round.best(&pass) else { break }
      round.put(task, on: best, &pass)
    }
  }

  /// Tier by tier; see `LocalFirst`.
  private func place(
    _ group: PendingGroup, by tiers: LocalFirst, _ round: inout Round, _ pass: inout PlacementPass
  ) {
    var tasks = group.tasks[...]
    var waiting = group.waiting
    round.begin(tiers, pass, waiting: waiting)
    for tier in Tier.allCases where waiting > 0 {
      round.open(tier, tiers, pass)
      while waiting > 0, let task = tasks.first, let best = round.best(&pass) {
        round.put(task, on: best, &pass)
        round.passOver(best, tiers, pass)
        tasks.removeFirst()
        waiting -= 1
      }
      // What the tier gets through in time waits for it.
      for member in round.members(of: tier, pass) {
        let count = min(waiting, tiers.capacity(pass.clusters[member]))
        tiers.hold(count, &pass.clusters[member])
        waiting -= count
      }
    }
    // More than all tiers get through in time: then whatever has room is sooner than to wait here.
    if waiting > 0 { round.openAll(tiers) }
    while waiting > 0, let task = tasks.first, let best = round.best(&pass) {
      round.put(task, on: best, &pass)
      tasks.removeFirst()
      waiting -= 1
    }
    if !tasks.isEmpty { round.reserve(&pass) }
  }
}
