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
  /// Whether a group had its turn and could have placed more: another pass is due as soon as this one is taken.
  public var isCutShort = false
  /// By the key of each group that was looked at: whether something other than room keeps it waiting, on every cluster.
  public var obstructions: [Int64: Bool] = [:]
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
  /// It takes spot capacity.
  public var isSpot = false
  /// The partition or pool that it is quoted for and sent to; nil: prices do not depend on it.
  public var partition: String?
  /// It went by age: see `ProjectTurns.agedPeriod`.
  public var isAged = false
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
    var order = PassOrder(snapshot)
    var open = OpenRounds(snapshot.groups)
    while let turn = order.next() {
      pass.withhold(from: open.groups[turn.group])
      take(turn, &order, &open, &pass)
      pass.giveBack()
    }
    for group in snapshot.upcoming {
      pass.withhold(from: group)
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
      pass.withhold(from: gang)
      reserve(for: gang, &pass)
      pass.giveBack()
    }
    pass.withhold(from: group)
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

  /// One turn of a group.
  private func take(
    _ turn: PassOrder.Turn, _ order: inout PassOrder, _ open: inout OpenRounds, _ pass: inout PlacementPass
  ) {
    let group = open.groups[turn.group]
    if let tiers = LocalFirst(group.requirement, group.expectedRuntime) {
      // What a tier keeps is counted once: the group has one turn in a pass.
      order.end(turn.group)
      open.active = nil
      var round = Round(group, &pass)
      pass.plan.obstructions[group.key] = round.isObstructed
      return place(group, by: tiers, turn, &order, &round, &pass)
    }
    var round = open.take(turn.group, &pass)
    if pass.plan.obstructions[group.key] == nil { pass.plan.obstructions[group.key] = round.isObstructed }
    while order.mayContinue(turn) {
      guard let task = open.next(of: turn.group) else { return order.end(turn.group) }
      guard let best = round.best(&pass) else {
        // There is no room, and nobody knows when there will be: what it reads need not wait for that (I5).
        order.end(turn.group)
        round.reserve(&pass)
        open.active = nil
        return foresee(open.rest(of: turn.group), &pass)
      }
      open.advance(turn.group)
      put(task, on: best, turn, &order, &round, &pass)
    }
    open.put(round, of: turn.group)
  }

  private func put(
    _ task: TaskID, on index: Int, _ turn: PassOrder.Turn, _ order: inout PassOrder, _ round: inout Round,
    _ pass: inout PlacementPass
  ) {
    let before = pass.plan.placements.count
    round.put(task, on: index, &pass)
    guard pass.plan.placements.count > before else { return }
    pass.plan.placements[before].isAged = turn.isAged
    order.placed(turn)
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
    _ group: PendingGroup, by tiers: LocalFirst, _ turn: PassOrder.Turn, _ order: inout PassOrder,
    _ round: inout Round, _ pass: inout PlacementPass
  ) {
    var tasks = group.tasks[...]
    var waiting = group.waiting
    round.begin(tiers, pass, waiting: waiting)
    for tier in Tier.allCases where waiting > 0 {
      round.open(tier, tiers, pass)
      while waiting > 0, let task = tasks.first, let best = round.best(&pass) {
        guard order.mayContinue(turn) else { return pass.plan.isCutShort = true }
        put(task, on: best, turn, &order, &round, &pass)
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
      guard order.mayContinue(turn) else { return pass.plan.isCutShort = true }
      put(task, on: best, turn, &order, &round, &pass)
      tasks.removeFirst()
      waiting -= 1
    }
    if !tasks.isEmpty { round.reserve(&pass) }
  }
}

/// The groups of a pass between their turns.
private struct OpenRounds {
  let groups: [PendingGroup]
  private var rounds: [Round?]
  /// By group: its first task that was not looked at.
  private var places: [Int]
  /// The group that the ledger and its columns know of; nil: none of them.
  var active: Int?

  init(_ groups: [PendingGroup]) {
    self.groups = groups
    rounds = groups.map { _ in nil }
    places = groups.map { _ in 0 }
  }

  mutating func take(_ group: Int, _ pass: inout PlacementPass) -> Round {
    defer { (rounds[group], active) = (nil, group) }
    guard var round = rounds[group] else { return Round(groups[group], &pass) }
    if active != group { round.resume(&pass) }
    return round
  }

  mutating func put(_ round: Round, of group: Int) { rounds[group] = round }

  func next(of group: Int) -> TaskID? {
    places[group] < groups[group].tasks.count ? groups[group].tasks[places[group]] : nil
  }

  mutating func advance(_ group: Int) { places[group] += 1 }

  func rest(of group: Int) -> PendingGroup {
    var rest = groups[group]
    rest.tasks.removeFirst(places[group])
    return rest
  }
}
