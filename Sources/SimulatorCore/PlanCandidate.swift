import SchedulerCore

/// One way to go on that rollouts try.
struct PlanCandidate: Hashable, Sendable {
  enum Decider: Hashable, Sendable {
    /// The co-scheduler with these options and, for the tasks that it names, this plan.
    case coScheduler(CoSchedulingOptions, plan: [Int?])
    /// The data-blind policy: what money is compared with.
    case dataBlind
  }
  var decider: Decider
  init(_ options: CoSchedulingOptions, plan: [Int?] = []) { decider = .coScheduler(options, plan: plan) }
  private init(decider: Decider) { self.decider = decider }
  static let dataBlind = Self(decider: .dataBlind)
}

/// What a candidate comes to on one course of the expectation, from now on.
struct PlanOutcome: Hashable, Sendable {
  /// From now to the end of the last task; infinite when the candidate stalls.
  var seconds = Double.infinity
  var money = Double.infinity
}

/// Runs candidates to the end in virtual time, from what a scheduler knows of the world.
struct PlanRollouts {
  let platform: Platform
  let scheduler: CoScheduler
  let now: Double
  let seed: UInt64
  /// By course, the seconds that each task is to take: the first one as expected (and with the waits that are), the others by chance.
  private let courses: [[Double]]

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
  }

  /// - Parameter places: is told where each task ran, nil for those that ran before.
  func run(_ candidate: PlanCandidate, course: Int, places: ((_ places: [Int?]) -> Void)? = nil) -> PlanOutcome {
    var start = scheduler
    if case .coScheduler(let options, let plan) = candidate.decider {
      start.options = options
      start.plan = plan
    }
    var simulation = Simulation(
      platform, resuming: start, runtimes: courses[course], drawsWaits: course > 0, at: now,
      seed: seed &+ UInt64(course))
    let report: SimulationReport?
    switch candidate.decider {
    case .coScheduler:
      var policy = CoSchedulingPolicy(start)
      report = try? simulation.resume(&policy)
    case .dataBlind:
      var policy = ListPolicy(.dataBlind, platform, resuming: start)
      report = try? simulation.resume(&policy)
    }
    // A candidate that stalls is none.
    guard let report else { return PlanOutcome() }
    if let places {
      var sites: [Int?] = Array(repeating: nil, count: scheduler.graph.tasks.count)
      for span in report.spans where !span.isLost { sites[span.task] = span.site }
      places(sites)
    }
    return PlanOutcome(seconds: report.makespan - now, money: report.money)
  }

  /// On all courses.
  func run(_ candidate: PlanCandidate) -> [PlanOutcome] { courses.indices.map { run(candidate, course: $0) } }
}
