public import SchedulerCore

/// Ours, with its options chosen for the workflows at hand: every candidate is run to the end in virtual time, on what is expected of
/// runtimes and waits, and the best one then decides for real. That is done when a workflow is submitted, and when a cluster goes out of
/// reach or comes back, from where the world has come to.
///
/// It knows of the platform what a scheduler may know: not the real runtimes, not the real waits (other seeds), no outage.
///
/// - Source: Bertsekas and Castañon, "Rollout algorithms for stochastic scheduling problems", Journal of Heuristics 5, 1999.
public struct RolloutPolicy: SchedulingPolicy {
  /// What is run beside the plain expectation: runtimes that are wrong by `error`, so that no choice is right by luck alone.
  public struct Samples: Hashable, Sendable {
    public var count: Int
    public var error: Double
    public init(count: Int = 2, error: Double = 0.2) {
      self.count = count
      self.error = error
    }
  }

  /// Clusters up to which each is tried alone and left out.
  private static let clustersLimit = 8
  /// By how much better than the present candidate another one must be.
  private static let margin = 0.03
  private let platform: Platform
  private let candidates: [CoSchedulingOptions]
  private let deadline: Double?
  private let samples: Samples
  private let seed: UInt64
  private var policy: CoSchedulingPolicy?
  /// The candidate that decides now.
  private var current = 0
  private var isDue = false

  /// - Parameter deadline: seconds since the start. With one, the cheapest candidate that keeps it wins; else, or when none does, the
  ///   fastest.
  public init(
    _ platform: Platform, deadline: Double? = nil, samples: Samples = Samples(), seed: UInt64
  ) {
    var known = platform
    for site in known.sites.indices {
      known.sites[site].outages = []
      known.sites[site].failures = FailureModel()
    }
    self.platform = known
    self.deadline = deadline
    self.samples = samples
    self.seed = seed
    candidates = Self.candidates(known, deadline)
  }

  private static func candidates(_ platform: Platform, _ deadline: Double?) -> [CoSchedulingOptions] {
    let plain = CoSchedulingOptions(deadline: deadline)
    var list = [
      plain, CoSchedulingOptions(deadline: deadline, lookahead: 0.5),
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
    guard deadline != nil else { return list }
    // Ever dearer money buys ever slower plans.
    return list
      + [100, 1000, 10_000, 100_000].map { lambda in
        CoSchedulingOptions(weights: ScoringWeights(omega: 1000, lambda: lambda, kappa: 0.1), deadline: deadline)
      }
  }

  public mutating func react(to events: [SimulationEvent], at now: Double) -> [SchedulingAction] {
    if policy == nil { policy = CoSchedulingPolicy(platform, candidates[0]) }
    for event in events {
      policy!.scheduler.happened(event, at: now)
      switch event {
      case .submitted, .reachabilityChanged: isDue = true
      default: break
      }
    }
    if isDue {
      choose(at: now)
      isDue = false
    }
    return policy!.scheduler.decide(at: now)
  }

  /// Runs what is left with each candidate, and goes on with the best one.
  private mutating func choose(at now: Double) {
    let scheduler = policy!.scheduler
    let drawn = (0..<samples.count).map { sample in
      let expected = Workload(name: "", graph: scheduler.graph, runtimes: [])
      return expected.expecting.withRuntimeError(sample == 0 ? 0 : samples.error, seed: seed &+ UInt64(sample)).runtimes
    }
    var best = current
    var least = (isLate: true, cost: Double.infinity)
    var stay = (isLate: true, cost: Double.infinity)
    for index in [current] + candidates.indices.filter({ $0 != current }) {
      var candidate = scheduler
      candidate.options = candidates[index]
      var (makespan, money) = (0.0, 0.0)
      for sample in drawn.indices {
        var simulation = Simulation(
          platform, resuming: candidate, runtimes: drawn[sample], at: now, seed: seed &+ UInt64(sample))
        var policy = CoSchedulingPolicy(candidate)
        // A candidate that stalls is none.
        guard let report = try? simulation.resume(&policy) else {
          makespan = .infinity
          break
        }
        makespan += (report.makespan - now) / Double(samples.count)
        money += report.money / Double(samples.count)
      }
      let isLate = deadline.map { makespan + now > $0 } ?? true
      let cost = isLate ? makespan : money
      if index == current {
        (least, stay) = ((isLate, cost), (isLate, cost))
        continue
      }
      // A candidate that is hardly better on a few samples may be so by luck: the present one stays.
      guard isLate != stay.isLate || cost < stay.cost * (1 - Self.margin) else { continue }
      if (isLate ? 1 : 0, cost) < (least.isLate ? 1 : 0, least.cost) { (best, least) = (index, (isLate, cost)) }
    }
    current = best
    policy!.scheduler.options = candidates[best]
  }
}
