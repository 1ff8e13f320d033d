import SchedulerCore

/// Looks for a better place of each task near a plan that is known: groups of tasks are moved together, and what is better on all
/// courses together is kept.
///
/// A task alone does not see that it would pay to stay together with those that a later one joins with it: each goes to its best
/// place, and the joining one then waits for everything to be moved. So whole groups are moved.
struct PlanSearch {
  /// Moves that changed nothing, in a row, after which there is nothing left to try.
  private static let idleLimit = 200
  /// How much worse than the best plan another one may be on the first courses to be looked at on the next one, as a part.
  private static let tolerance = 0.02
  /// A plan that is so near to what none can undercut is good enough, as a part.
  private static let nearness = 0.002

  let options: CoSchedulingOptions
  private let graph: TaskGraph
  private let children: [[Int]]
  /// Tasks that may still go anywhere.
  private let open: [Int]
  private let isOpen: [Bool]
  private let sites: [Int]
  private var random: SplitMix64

  init(_ rollouts: PlanRollouts, _ options: CoSchedulingOptions, seed: UInt64) {
    self.options = options
    let scheduler = rollouts.scheduler
    graph = scheduler.graph
    var children: [[Int]] = graph.tasks.map { _ in [] }
    for (task, entry) in graph.tasks.enumerated() { for parent in entry.parents { children[parent].append(task) } }
    self.children = children
    let isOpen = graph.tasks.indices.map { [.waiting, .ready].contains(scheduler.phase(of: $0)) }
    self.isOpen = isOpen
    open = graph.tasks.indices.filter { isOpen[$0] }
    sites = scheduler.sites.indices.filter { scheduler.sites[$0].slots > 0 && scheduler.isReachable($0) }
    random = SplitMix64(seed: seed)
  }

  /// The best plan found near what a candidate does, until `limit` decisions are spent; nil when none is better.
  ///
  /// - Parameter courses: how many of the courses plans are compared on.
  mutating func improve(
    _ start: PlanCandidate, _ rollouts: inout PlanRollouts, courses: Int, until limit: Int, _ goal: PlanGoal
  ) -> PlanCandidate? {
    guard !open.isEmpty, sites.count > 1, var trace = rollouts.trace(start),
      case .coScheduler(_, var plan) = start.decider
    else { return nil }
    if plan.isEmpty { plan = graph.tasks.map { _ in nil } }
    var outcomes = (0..<courses).map { rollouts.run(start, course: $0) }
    var least = goal.cost(outcomes, of: start)
    var best: PlanCandidate?
    var idle = 0
    while rollouts.spent < limit, idle < Self.idleLimit, !goal.isReached(outcomes, rollouts.least, Self.nearness) {
      // What is not planned reacts to how things go, so where nothing is certain half of the moves leave it so.
      let base = courses > 1 && random.next() % 2 == 0 ? plan : trace.places
      let next = neighbour(of: base, trace)
      guard next != base else {
        idle += 1
        continue
      }
      idle = 0
      let candidate = PlanCandidate(options, plan: next)
      guard let found = compare(candidate, outcomes, &rollouts, goal) else { continue }
      let cost = goal.cost(found, of: candidate)
      guard cost < least, let after = rollouts.trace(candidate) else { continue }
      (least, outcomes, best, trace, plan) = (cost, found, candidate, after, next)
    }
    return best
  }

  /// What a plan comes to on each course; nil as soon as it is seen to be no better than the best one.
  private func compare(
    _ candidate: PlanCandidate, _ best: [PlanOutcome], _ rollouts: inout PlanRollouts, _ goal: PlanGoal
  ) -> [PlanOutcome]? {
    var outcomes: [PlanOutcome] = []
    for course in best.indices {
      let limit = goal.limit(best, outcomes, rollouts.least, tolerance: Self.tolerance)
      let outcome = rollouts.run(candidate, course: course, within: limit)
      guard outcome.seconds < .infinity else { return nil }
      outcomes.append(outcome)
    }
    return outcomes
  }

  private mutating func pick(_ list: [Int]) -> Int { list[Int(random.next() % UInt64(list.count))] }

  /// The plan with one group on another cluster: one task, or a task with its parents, its children, those that read the same, or all
  /// that is upstream of it; or with two tasks in each other's place. Two times of three the task is one that the end waits for.
  private mutating func neighbour(of plan: [Int?], _ trace: PlanTrace) -> [Int?] {
    var next = plan
    let critical = random.next() % 3 == 0 ? [] : trace.critical.filter { isOpen[$0] }
    let task = pick(critical.isEmpty ? open : critical)
    var group = [task]
    switch random.next() % 6 {
    case 0: break
    case 1: group += graph.tasks[task].parents
    case 2: group += children[task]
    case 3:
      let other = pick(open)
      (next[task], next[other]) = (trace.places[other], trace.places[task])
      return next
    case 4: group += siblings(of: task, on: trace.places[task], trace.places)
    default: group = upstream(of: task)
    }
    // Two times of three to where one of its relatives is: that is what spares transfers.
    let near = (graph.tasks[task].parents + children[task]).compactMap { trace.places[$0] }
    let site = near.isEmpty || random.next() % 3 == 0 ? pick(sites) : pick(near)
    for member in group where isOpen[member] { next[member] = site }
    return next
  }

  /// Those on the same cluster that a task joins with it, or that read what one of its parents has made.
  private func siblings(of task: Int, on site: Int?, _ places: [Int?]) -> [Int] {
    let near = graph.tasks[task].parents.flatMap { children[$0] } + children[task].flatMap { graph.tasks[$0].parents }
    return near.filter { places[$0] == site }
  }

  private func upstream(of task: Int) -> [Int] {
    var seen: Set<Int> = [task]
    var group = [task]
    var index = 0
    while index < group.count {
      for parent in graph.tasks[group[index]].parents where seen.insert(parent).inserted { group.append(parent) }
      index += 1
    }
    return group
  }
}
