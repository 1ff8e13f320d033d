import SchedulerCore

/// What a candidate comes to on one course of the expectation, from now on.
struct PlanOutcome: Hashable, Sendable {
  /// From now to the end of the last task; infinite when the candidate stalls, or was cut.
  var seconds = Double.infinity
  var money = Double.infinity
}

/// Where and when tasks ran on one course.
struct PlanTrace: Sendable {
  /// Nil for those that ran before.
  var places: [Int?]
  /// The chain that ends last: each task with what it waited for, its slot's last task or its last parent.
  var critical: [Int]
}

/// Runs candidates to the end in virtual time, from what a scheduler knows of the world, and counts what that costs.
struct PlanRollouts {
  let platform: Platform
  let scheduler: CoScheduler
  let now: Double
  let seed: UInt64
  /// Rollouts so far, and the decisions of the co-scheduler in them.
  private(set) var count = 0
  private(set) var spent = 0
  /// By course, the seconds that each task is to take: the first one as expected (and with the waits that are), the others by chance.
  private let courses: [[Double]]
  /// By course and task, seconds that at least pass between its end and the end of all.
  private let tails: [[Double]]
  /// By course, seconds from now that no plan can undercut.
  let least: [Double]

  /// - Parameter error: standard deviation of runtimes, relative, where nobody knows how far they spread.
  init(_ platform: Platform, from scheduler: CoScheduler, courses: Int, error: Double, at now: Double, seed: UInt64) {
    self.platform = platform
    self.scheduler = scheduler
    self.now = now
    self.seed = seed
    let tasks = scheduler.graph.tasks
    self.courses = (0..<courses).map { course in
      guard course > 0 else { return tasks.map(\.runtime) }
      return tasks.enumerated().map { index, task in
        var random = SplitMix64(seed: seed &+ UInt64(course), stream: UInt64(index))
        let deviation = task.runtimeSpread.map { $0 / Workload.upperTenth } ?? error * task.runtime
        return max(task.runtime / 10, task.runtime + deviation * random.normal())
      }
    }
    let bounds = PlanBounds(scheduler, at: now)
    tails = self.courses.map { bounds.tails($0) }
    least = zip(self.courses, tails).map { bounds.least($0, $1) }
  }

  /// How many courses there are, the expected one among them.
  var courseCount: Int { courses.count }

  /// - Parameter seconds: beyond which the outcome is of no use: the rollout is cut, and infinite, as soon as it cannot be kept.
  mutating func run(_ candidate: PlanCandidate, course: Int, within seconds: Double = .infinity) -> PlanOutcome {
    report(candidate, course: course, within: seconds)
      .map { PlanOutcome(seconds: $0.makespan - now, money: $0.money) } ?? PlanOutcome()
  }

  /// What happens on the expected course; nil when the candidate stalls.
  mutating func trace(_ candidate: PlanCandidate) -> PlanTrace? {
    guard let report = report(candidate, course: 0, within: .infinity) else { return nil }
    var places: [Int?] = Array(repeating: nil, count: scheduler.graph.tasks.count)
    for span in report.spans where !span.isLost { places[span.task] = span.site }
    return PlanTrace(places: places, critical: critical(report))
  }

  private mutating func report(
    _ candidate: PlanCandidate, course: Int, within seconds: Double
  ) -> SimulationReport? {
    guard least[course] <= seconds else { return nil }
    var start = scheduler
    if case .coScheduler(let options, let plan) = candidate.decider {
      start.options = options
      start.plan = plan
    }
    let bound = seconds < .infinity ? RolloutBound(until: now + seconds, tails: tails[course]) : nil
    var simulation = Simulation(
      platform, resuming: start, runtimes: courses[course], drawsWaits: course > 0, bound: bound, at: now,
      seed: seed &+ UInt64(course))
    count += 1
    switch candidate.decider {
    case .coScheduler:
      let before = start.decisions
      var policy = CoSchedulingPolicy(start)
      defer { spent += policy.scheduler.decisions - before }
      return try? simulation.resume(&policy)
    case .dataBlind:
      var policy = ListPolicy(.dataBlind, platform, resuming: start)
      spent += scheduler.graph.tasks.count
      return try? simulation.resume(&policy)
    }
  }

  /// From the task that ends last back to the first one: to whose slot a task has taken over, else to the parent that ended last.
  private func critical(_ report: SimulationReport) -> [Int] {
    struct End: Hashable {
      var site: Int
      var at: Double
    }
    var spans: [Int: SimulationReport.Span] = [:]
    var enders: [End: SimulationReport.Span] = [:]
    for span in report.spans {
      spans[span.task] = span
      // What took no time frees no slot that it did not find free.
      if span.endedAt > span.startedAt { enders[End(site: span.site, at: span.endedAt)] = span }
    }
    var chain: [Int] = []
    var next = report.spans.max { $0.endedAt < $1.endedAt }
    while let span = next, chain.count < report.spans.count {
      chain.append(span.task)
      if let freed = enders[End(site: span.site, at: span.startedAt)], span.startedAt > span.readyAt {
        next = freed
      } else {
        next = scheduler.graph.tasks[span.task].parents.compactMap { spans[$0] }.max { $0.endedAt < $1.endedAt }
      }
    }
    return chain
  }
}

/// What no plan can undercut: the longest chain that is left, and all work that is left, on clusters as fast as the platform has them.
private struct PlanBounds {
  private let scheduler: CoScheduler
  private let now: Double
  private let children: [[Int]]
  /// Tasks, each after all of its children.
  private let order: [Int]
  private let speed: Double
  private let throughput: Double

  init(_ scheduler: CoScheduler, at now: Double) {
    self.scheduler = scheduler
    self.now = now
    let tasks = scheduler.graph.tasks
    var children: [[Int]] = tasks.map { _ in [] }
    for (task, entry) in tasks.enumerated() { for parent in entry.parents { children[parent].append(task) } }
    var open = children.map(\.count)
    var order = tasks.indices.filter { open[$0] == 0 }
    var next = 0
    while next < order.count {
      for parent in tasks[order[next]].parents {
        open[parent] -= 1
        if open[parent] == 0 { order.append(parent) }
      }
      next += 1
    }
    self.children = children
    self.order = order
    speed = scheduler.sites.reduce(1e-9) { $1.slots > 0 ? max($0, $1.speed) : $0 }
    throughput = scheduler.sites.reduce(1e-9) { $0 + Double($1.slots) * $1.speed }
  }

  func tails(_ runtimes: [Double]) -> [Double] {
    var tails = runtimes.map { _ in 0.0 }
    for task in order {
      tails[task] = children[task].reduce(0) { max($0, runtimes[$1] / speed + tails[$1]) }
    }
    return tails
  }

  func least(_ runtimes: [Double], _ tails: [Double]) -> Double {
    var (longest, work) = (0.0, 0.0)
    for task in runtimes.indices {
      switch scheduler.phase(of: task) {
      case .ended: break
      case .running: longest = max(longest, tails[task])
      case .waiting, .ready, .bound:
        longest = max(longest, runtimes[task] / speed + tails[task])
        work += runtimes[task]
      }
    }
    return max(longest, work / throughput)
  }
}
