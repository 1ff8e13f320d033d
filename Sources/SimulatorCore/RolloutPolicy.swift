public import SchedulerCore

/// Ours, with its options and a plan of the whole workflow chosen for the workflows at hand: every candidate is run to the end in
/// virtual time, on what is expected of runtimes and waits, and the best one then decides for real. That is done when a workflow is
/// submitted, when a cluster goes out of reach or comes back, and when runs or transfers deviate from what was promised, from where
/// the world has come to.
///
/// It knows of the platform what a scheduler may know: not the real runtimes, not the real waits (other seeds), no outage.
///
/// - Source: Bertsekas and Castañon, "Rollout algorithms for stochastic scheduling problems", Journal of Heuristics 5, 1999.
public struct RolloutPolicy: SchedulingPolicy {
  /// What rollouts may cost, and how wrong they take expectations to be.
  public struct Effort: Hashable, Sendable {
    /// Courses that the last candidates are compared on: the expected one, and others whose runtimes are wrong by `error`, so that no
    /// choice is right by luck alone.
    public var courses: Int
    public var error: Double
    /// Of these, so many decide in a search.
    public var searchCourses: Int
    /// Decisions of the co-scheduler in virtual time that a choice may cost: a quarter goes to candidates, half to the search for
    /// better plans, the rest to the last comparison, which takes two courses at least, and with a deadline all of them. What is
    /// found until then is what there is. Counted, not timed, so that the same input gives the same plan on every machine.
    public var decisions: Int
    /// How often a workflow is looked at again because something took longer or shorter than promised.
    public var revisions: Int
    public init(
      courses: Int = 12, searchCourses: Int = 4, error: Double = 0.2, decisions: Int = 1_000_000, revisions: Int = 3
    ) {
      self.courses = courses
      self.searchCourses = searchCourses
      self.error = error
      self.decisions = decisions
      self.revisions = revisions
    }
  }

  /// Clusters up to which each is tried alone and left out.
  private static let clustersLimit = 8
  /// Candidates that go from the expected course to all of them.
  private static let finalistsLimit = 4
  /// By how much better another candidate must be than what decides now, as a part: what is hardly better on a few courses may be so
  /// by luck, and every change gives up what was prepared. Before anything has begun there is less to give up.
  private static let margin = 0.03
  private static let freshMargin = 0.01
  /// The part by which a run or a transfer deviates from its promise that makes the choice be looked at again.
  private static let deviation = 0.3
  /// As it is known now.
  private var platform: Platform
  private let candidates: [CoSchedulingOptions]
  private let deadline: Double?
  private let effort: Effort
  private let seed: UInt64
  private var scheduler: CoScheduler
  private var heft: HEFTPolicy
  /// Decides instead of the scheduler, when that is the cheapest.
  private var blind: ListPolicy?
  private var pace = DecisionPace()
  private var current: PlanCandidate
  /// The best ones when a choice was made last: what a revision compares.
  private var finalists: [PlanCandidate] = []
  /// Whether the data-blind policy could be expected to keep the deadline when all candidates were tried last.
  private var isBlindLimit = false
  private var isDue = false
  /// Whether more than a deviation calls for a choice: then all candidates are tried.
  private var isAnew = false
  private var revisionsLeft = 0
  /// Before then nothing is looked at again.
  private var restUntil = 0.0
  /// When each running task is expected to end, and when its run began.
  private var runPromises: [Int: (since: Double, until: Double)] = [:]
  private var transferPromises: [TransferKey: (since: Double, until: Double)] = [:]

  private struct TransferKey: Hashable {
    var datum: Int
    var site: Int
  }

  /// - Parameter deadline: seconds since the start. With one, the cheapest candidate that keeps it wins, and never one that is
  ///   expected to be dearer than the data-blind policy where that one keeps it too; without one, or when none keeps it, the fastest.
  public init(_ platform: Platform, deadline: Double? = nil, effort: Effort = Effort(), seed: UInt64) {
    var known = platform
    for site in known.sites.indices {
      known.sites[site].outages = []
      known.sites[site].prices = []
      known.sites[site].failures = FailureModel()
    }
    self.platform = known
    self.deadline = deadline
    self.effort = effort
    self.seed = seed
    candidates = Self.candidates(known, deadline)
    current = PlanCandidate(candidates[0])
    scheduler = CoScheduler(
      sites: known.sites.map(\.compute), paths: known.paths, options: candidates[0])
    heft = HEFTPolicy(known)
  }

  private static func candidates(_ platform: Platform, _ deadline: Double?) -> [CoSchedulingOptions] {
    let plain = CoSchedulingOptions(deadline: deadline)
    var list = [plain]
    if deadline != nil {
      // Ever dearer money buys ever slower plans.
      list += [100, 1000, 10_000, 100_000].map { lambda in
        CoSchedulingOptions(weights: ScoringWeights(omega: 1000, lambda: lambda, kappa: 0.1), deadline: deadline)
      }
    }
    list += [
      CoSchedulingOptions(deadline: deadline, lookahead: 0.5),
      CoSchedulingOptions(weights: ScoringWeights(kappa: 0.5), deadline: deadline),
      CoSchedulingOptions(deadline: deadline, risk: 0), CoSchedulingOptions(deadline: deadline, risk: 1),
    ]
    // Each cluster alone and each one left out: where joins are dear, few clusters do better than many, and no task sees that
    // by itself.
    let compute = platform.sites.indices.filter { platform.sites[$0].compute.slots > 0 }
    if compute.count > 1, compute.count <= Self.clustersLimit {
      for site in compute {
        list.append(CoSchedulingOptions(deadline: deadline, avoided: [site]))
        if compute.count > 2 {
          list.append(CoSchedulingOptions(deadline: deadline, avoided: Set(compute).subtracting([site])))
        }
      }
    }
    return list
  }

  public mutating func react(to events: [SimulationEvent], at now: Double) -> [SchedulingAction] {
    for event in events {
      note(event, at: now)
      scheduler.happened(event, at: now)
    }
    let isChosenAnew = isDue
    if isDue { choose(at: now) }
    let actions: [SchedulingAction]
    if blind != nil {
      actions = blind!.react(to: isChosenAnew ? [] : events, at: now)
      for case .bind(let task, let site, _) in actions { scheduler.bound(task, to: site, at: now) }
    } else {
      actions = isChosenAnew || pace.isNews(events, at: now) ? scheduler.decide(at: now) : []
    }
    for case .stage(let datum, _, let site) in actions {
      guard let copy = scheduler.copies(of: datum).first(where: { $0.site == site }) else { continue }
      transferPromises[TransferKey(datum: datum, site: site)] = (now, copy.availableAt)
    }
    return actions
  }

  /// Whether what happened calls for another choice.
  private mutating func note(_ event: SimulationEvent, at now: Double) {
    switch event {
    case .submitted:
      _ = heft.react(to: [event], at: now)
      (isDue, isAnew) = (true, true)
      revisionsLeft = effort.revisions
    case .reachabilityChanged: (isDue, isAnew) = (true, true)
    case .priceChanged(let site, let perSecond, let egressPerByte):
      platform.sites[site].compute.pricePerSecond = perSecond
      platform.sites[site].compute.egressPerByte = egressPerByte
      (isDue, isAnew) = (true, true)
    case .started(let task):
      if case .bound(let site, _, _) = scheduler.phase(of: task) {
        runPromises[task] = (now, now + scheduler.graph.tasks[task].runtime / scheduler.sites[site].speed)
      }
    case .finished(let task): settle(runPromises.removeValue(forKey: task), at: now)
    case .transferFinished(let datum, let site):
      settle(transferPromises.removeValue(forKey: TransferKey(datum: datum, site: site)), at: now)
    case .transferFailed(let datum, let site): transferPromises[TransferKey(datum: datum, site: site)] = nil
    case .lost(let task): runPromises[task] = nil
    case .ready: break
    }
  }

  private mutating func settle(_ promise: (since: Double, until: Double)?, at now: Double) {
    guard let promise, revisionsLeft > 0, now >= restUntil else { return }
    if abs(now - promise.until) > Self.deviation * (promise.until - promise.since) {
      isDue = true
      revisionsLeft -= 1
    }
  }
}

// MARK: Choosing
extension RolloutPolicy {
  /// Runs what is left with each candidate, and goes on with the best one.
  private mutating func choose(at now: Double) {
    let certain = isCertain
    var rollouts = PlanRollouts(
      platform, from: scheduler, courses: certain ? 1 : effort.courses, error: effort.error, at: now, seed: seed)
    let blind = deadline == nil ? [] : outcomes(of: .dataBlind, &rollouts, courses: rollouts.courseCount)
    var goal = PlanGoal(deadline: deadline.map { $0 - now }, blind: blind)
    if isAnew { isBlindLimit = goal.canBlindBeInTime }
    goal.isBlindLimit = isBlindLimit
    let margin = !isAnew ? Self.margin : certain ? 0 : Self.freshMargin
    // What is certain was foreseen: a deviation from a promise is none from the rollout.
    if certain { revisionsLeft = 0 }
    if isAnew { seek(&rollouts, goal) }
    (isDue, isAnew) = (false, false)
    let courses = deadline == nil ? affordable(finalists.count + 1, rollouts) : rollouts.courseCount
    let stay = outcomes(of: current, &rollouts, courses: courses)
    var (chosen, least) = (current, goal.cost(stay, of: current))
    var seconds = stay[0].seconds
    for candidate in finalists where candidate != current {
      let outcomes = outcomes(of: candidate, &rollouts, courses: courses)
      let cost = goal.cost(outcomes, of: candidate)
      guard cost.isBetter(than: least, margin: chosen == current ? margin : 0) else { continue }
      (chosen, least, seconds) = (candidate, cost, outcomes[0].seconds)
    }
    restUntil = now + (seconds < .infinity ? seconds / 10 : 0)
    adopt(chosen)
  }

  /// Tries all candidates, and searches near the best one, for what goes on to the last comparison.
  private mutating func seek(_ rollouts: inout PlanRollouts, _ goal: PlanGoal) {
    let tried = firstRound(&rollouts, goal)
    finalists = tried.prefix(Self.finalistsLimit).map(\.candidate)
    if let best = tried.first, best.cost.value < .infinity, case .coScheduler(let options, _) = best.candidate.decider {
      var search = PlanSearch(rollouts, options, seed: seed)
      let courses = min(rollouts.courseCount, effort.searchCourses)
      let found = search.improve(
        best.candidate, &rollouts, courses: courses, until: effort.decisions / 4 * 3, goal)
      if let found { finalists.append(found) }
    }
    if deadline != nil { finalists.append(.dataBlind) }
  }

  private func outcomes(of candidate: PlanCandidate, _ rollouts: inout PlanRollouts, courses: Int) -> [PlanOutcome] {
    (0..<courses).map { rollouts.run(candidate, course: $0) }
  }

  /// Courses that so many candidates can be compared on with what is left of the effort; two at least, where there are two.
  private func affordable(_ candidates: Int, _ rollouts: PlanRollouts) -> Int {
    let one = max(1, rollouts.spent / max(1, rollouts.count))
    let left = max(0, effort.decisions - rollouts.spent)
    return min(rollouts.courseCount, max(2, left / one / max(1, candidates)))
  }

  /// Whether all courses would be the same.
  private var isCertain: Bool {
    platform.sites.allSatisfy { $0.wait == nil } && scheduler.graph.tasks.allSatisfy { $0.runtimeSpread == 0 }
  }

  /// Candidates, the best one first: as many of them, and on as many of the first courses, as a quarter of the effort allows. What
  /// decides now and HEFT's placement come first.
  private func firstRound(
    _ rollouts: inout PlanRollouts, _ goal: PlanGoal
  ) -> [(candidate: PlanCandidate, cost: PlanCost)] {
    let mapping = heft.siteOfTask.map(Optional.some)
    let list =
      [current, PlanCandidate(candidates[0], plan: mapping)]
      + candidates.map { PlanCandidate($0) }.filter { $0 != current }
    let limit = effort.decisions / 4
    var tried: [(candidate: PlanCandidate, outcomes: [PlanOutcome])] = []
    for candidate in list where rollouts.spent < limit || tried.count < 2 {
      tried.append((candidate, [rollouts.run(candidate, course: 0)]))
    }
    let perCourse = rollouts.spent
    for course in 1..<max(1, min(rollouts.courseCount, effort.searchCourses))
    where rollouts.spent + perCourse < limit {
      for index in tried.indices { tried[index].outcomes.append(rollouts.run(tried[index].candidate, course: course)) }
    }
    return tried.map { ($0.candidate, goal.cost($0.outcomes, of: $0.candidate)) }.enumerated().sorted {
      ($0.element.1, $0.offset) < ($1.element.1, $1.offset)
    }.map(\.element)
  }

  private mutating func adopt(_ candidate: PlanCandidate) {
    current = candidate
    switch candidate.decider {
    case .coScheduler(let options, let plan):
      blind = nil
      scheduler.options = options
      scheduler.plan = plan
    case .dataBlind: blind = ListPolicy(.dataBlind, platform, resuming: scheduler)
    }
  }
}
