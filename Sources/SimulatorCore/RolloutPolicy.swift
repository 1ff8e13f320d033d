public import SchedulerCore

/// Ours, with its options chosen for each workflow: before the first decision every candidate is run to the end in virtual time, on
/// what is expected of runtimes and waits, and the best one then decides for real.
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

  private let platform: Platform
  private let candidates: [CoSchedulingOptions]
  private let deadline: Double?
  private let samples: Samples
  private let seed: UInt64
  private var policy: CoSchedulingPolicy?

  /// - Parameter deadline: seconds since the start. With one, the cheapest candidate that keeps it wins; else, or when none does, the
  ///   fastest.
  public init(
    _ platform: Platform, deadline: Double? = nil, samples: Samples = Samples(), seed: UInt64
  ) {
    var known = platform
    for site in known.sites.indices { known.sites[site].outages = [] }
    self.platform = known
    self.deadline = deadline
    self.samples = samples
    self.seed = seed
    candidates = Self.candidates(deadline)
  }

  private static func candidates(_ deadline: Double?) -> [CoSchedulingOptions] {
    let fast = [0, 0.5, 1].flatMap { lookahead in
      [true, false].map { CoSchedulingOptions(deadline: deadline, isPrefetching: $0, lookahead: lookahead) }
    }
    guard deadline != nil else { return fast }
    // Ever dearer money buys ever slower plans.
    let cheap = [100, 1000, 10_000, 100_000].map { lambda in
      CoSchedulingOptions(weights: ScoringWeights(omega: 1000, lambda: lambda, kappa: 0.1), deadline: deadline)
    }
    return fast + cheap
  }

  public mutating func react(to events: [SimulationEvent], at now: Double) -> [SchedulingAction] {
    if policy == nil { policy = CoSchedulingPolicy(platform, choose(for: events)) }
    return policy!.react(to: events, at: now)
  }

  private func choose(for events: [SimulationEvent]) -> CoSchedulingOptions {
    var workloads: [Workload] = []
    for case .submitted(let graph) in events {
      workloads.append(Workload(name: "expected", graph: graph, runtimes: graph.tasks.map(\.runtime)))
    }
    var best = candidates[0]
    var least = (isLate: true, cost: Double.infinity)
    for candidate in candidates {
      var (makespan, money) = (0.0, 0.0)
      for sample in 0..<samples.count {
        let error = sample == 0 ? 0 : samples.error
        let drawn = workloads.map { $0.withRuntimeError(error, seed: seed &+ UInt64(sample)) }
        var simulation = Simulation(platform, drawn, seed: seed &+ UInt64(sample))
        var policy = CoSchedulingPolicy(platform, candidate)
        // A candidate that stalls is none.
        guard let report = try? simulation.run(&policy) else {
          makespan = .infinity
          break
        }
        makespan += report.makespan / Double(samples.count)
        money += report.money / Double(samples.count)
      }
      let isLate = deadline.map { makespan > $0 } ?? true
      let cost = isLate ? makespan : money
      if (isLate ? 1 : 0, cost) < (least.isLate ? 1 : 0, least.cost) { (best, least) = (candidate, (isLate, cost)) }
    }
    return best
  }
}
