import SchedulerCore

/// Looks for a better place of each task near a plan that is known: groups of tasks are moved together, and what is better on the
/// expected course is kept.
///
/// A task alone does not see that it would pay to stay together with those that a later one joins with it: each goes to its best
/// place, and the joining one then waits for everything to be moved. So whole groups are moved.
struct PlanSearch {
  let rollouts: PlanRollouts
  let options: CoSchedulingOptions
  private let graph: TaskGraph
  private let children: [[Int]]
  /// Tasks that may still go anywhere.
  private let open: [Int]
  private let isOpen: [Bool]
  private let sites: [Int]
  private var random: SplitMix64

  init(_ rollouts: PlanRollouts, _ options: CoSchedulingOptions, seed: UInt64) {
    self.rollouts = rollouts
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

  /// The best plan found near `plan` in so many rollouts; nil when none is better.
  ///
  /// - Parameter cost: of the candidate that `plan` comes from, on the expected course.
  mutating func improve(
    _ plan: [Int?], from cost: PlanCost, rollouts count: Int, _ goal: PlanGoal
  ) -> PlanCandidate? {
    guard !open.isEmpty, sites.count > 1 else { return nil }
    var best = PlanCandidate(options, plan: plan)
    var (least, at) = (cost, plan)
    for _ in 0..<count {
      let next = neighbour(of: at)
      guard next != at else { continue }
      let candidate = PlanCandidate(options, plan: next)
      let found = goal.cost([rollouts.run(candidate, course: 0)], of: candidate)
      if found < least { (least, at, best) = (found, next, candidate) }
    }
    return least < cost ? best : nil
  }

  private mutating func pick(_ list: [Int]) -> Int { list[Int(random.next() % UInt64(list.count))] }

  /// The plan with one group on another cluster: one task, or a task with its parents, its children, or all that is upstream of it.
  private mutating func neighbour(of plan: [Int?]) -> [Int?] {
    let task = pick(open)
    var group = [task]
    switch random.next() % 4 {
    case 0: break
    case 1: group += graph.tasks[task].parents
    case 2: group += children[task]
    default: group = upstream(of: task)
    }
    // Two times of three to where one of its relatives is: that is what spares transfers.
    let near = (graph.tasks[task].parents + children[task]).compactMap { plan[$0] }
    let site = near.isEmpty || random.next() % 3 == 0 ? pick(sites) : pick(near)
    var next = plan
    for member in group where isOpen[member] { next[member] = site }
    return next
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
