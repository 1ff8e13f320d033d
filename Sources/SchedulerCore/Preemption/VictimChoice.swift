public import FederationModel

/// A run that might have to leave, as its cluster's room is made.
public struct VictimView: Hashable, Sendable {
  public var run: RunID
  public var priorityClass: PriorityClass
  /// Of the whole gang: all of it leaves, or none.
  public var resources: Resources
  /// What would be done again: since its start, which is since its last checkpoint.
  public var workSeconds: Double
  /// To bring its inputs to wherever it goes on.
  public var restageSeconds: Double
  /// It was preempted before and has not run for long since: it leaves only when nobody else can.
  public var isProtected: Bool
  public init(
    run: RunID, priorityClass: PriorityClass, resources: Resources, workSeconds: Double, restageSeconds: Double = 0,
    isProtected: Bool = false
  ) {
    self.run = run
    self.priorityClass = priorityClass
    self.resources = resources
    self.workSeconds = workSeconds
    self.restageSeconds = restageSeconds
    self.isProtected = isProtected
  }

  /// Seconds of the whole cluster that its leaving wastes: work times its dominant share of what there is, and the restaging.
  ///
  /// - Parameter capacity: of the cluster.
  func cost(of capacity: Resources) -> Double {
    func share(_ part: Int64, _ all: Int64) -> Double { all > 0 ? Double(part) / Double(all) : 0 }
    let dominant = max(
      share(resources.cpuMillicores, capacity.cpuMillicores), share(resources.memory.bytes, capacity.memory.bytes),
      share(resources.gpus, capacity.gpus))
    return workSeconds * max(dominant, 1e-6) + restageSeconds
  }
}

/// Room that a cluster lacks for a task. Negative amounts: there is more than enough of it.
public struct MissingRoom: Hashable, Sendable {
  public var resources: Resources
  public var slots: Int
  public init(resources: Resources, slots: Int) {
    self.resources = resources
    self.slots = slots
  }

  /// Nothing is missing.
  public var isNone: Bool {
    resources.cpuMillicores <= 0 && resources.memory.bytes <= 0 && resources.gpus <= 0 && slots <= 0
  }

  mutating func fill(with victim: VictimView) {
    resources -= victim.resources
    slots -= 1
  }

  mutating func open(without victim: VictimView) {
    resources += victim.resources
    slots += 1
  }

  func isHelped(by victim: VictimView) -> Bool {
    resources.cpuMillicores > 0 && victim.resources.cpuMillicores > 0
      || resources.memory.bytes > 0 && victim.resources.memory.bytes > 0
      || resources.gpus > 0 && victim.resources.gpus > 0 || slots > 0
  }
}

/// The runs of one cluster whose leaving makes room for a task at the least cost.
public struct VictimChoice: Hashable, Sendable {
  public var runs: [RunID]
  /// The highest class among them.
  public var priorityClass: PriorityClass
  public var disturbsProtected: Bool
  /// Cluster seconds; see `VictimView.cost`.
  public var cost: Double

  /// Lower classes leave before higher ones whatever they cost, then those that were left alone before, then the cheaper, then the
  /// fewer.
  public static func isBetter(_ a: Self, than b: Self) -> Bool {
    if a.priorityClass != b.priorityClass { return a.priorityClass > b.priorityClass }
    if a.disturbsProtected != b.disturbsProtected { return !a.disturbsProtected }
    return (a.cost, a.runs.count) < (b.cost, b.runs.count)
  }

  /// nil when all of them together do not make the room.
  ///
  /// Greedy, the least costly first, and then whatever the others made superfluous stays, the dearest first; and each run that would
  /// do alone. To find the cheapest set is a knapsack problem; this one never contains a run that is not needed.
  ///
  /// - Parameters:
  ///   - runs: those that may leave for the task, in any order.
  ///   - capacity: of the cluster.
  /// - Complexity: O(runs x log(runs)).
  public static func choose(making missing: MissingRoom, from runs: [VictimView], capacity: Resources) -> VictimChoice?
  {
    guard !missing.isNone else { return nil }
    let ranked = runs.map { (view: $0, cost: $0.cost(of: capacity)) }.sorted {
      if $0.view.priorityClass != $1.view.priorityClass { return $0.view.priorityClass > $1.view.priorityClass }
      if $0.view.isProtected != $1.view.isProtected { return !$0.view.isProtected }
      return ($0.cost, $0.view.run) < ($1.cost, $1.view.run)
    }
    var left = missing
    var chosen: [(view: VictimView, cost: Double)] = []
    for one in ranked where !left.isNone && left.isHelped(by: one.view) {
      left.fill(with: one.view)
      chosen.append(one)
    }
    guard left.isNone else { return nil }
    for index in chosen.indices.reversed() {
      left.open(without: chosen[index].view)
      if left.isNone { chosen.remove(at: index) } else { left.fill(with: chosen[index].view) }
    }
    var best = VictimChoice(chosen)
    for one in ranked {
      var alone = missing
      alone.fill(with: one.view)
      guard alone.isNone else { continue }
      let choice = VictimChoice([one])
      if isBetter(choice, than: best) { best = choice }
    }
    return best
  }

  private init(_ chosen: [(view: VictimView, cost: Double)]) {
    runs = chosen.map(\.view.run).sorted()
    priorityClass = chosen.map(\.view.priorityClass).min() ?? .idle
    disturbsProtected = chosen.contains(where: \.view.isProtected)
    cost = chosen.reduce(0) { $0 + $1.cost }
  }
}
