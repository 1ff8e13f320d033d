public import SchedulerCore

/// The policies that can be compared.
public enum PolicyName: String, Hashable, Sendable, CaseIterable {
  case ours
  /// Ours with options that rollouts choose for each workflow.
  case planned
  case heft
  case dataBlind = "data-blind"
  case hardLocality = "hard-locality"
  case random
}

extension Simulation {
  /// Runs workloads under a named policy.
  ///
  /// - Parameters:
  ///   - seed: of queue waits, and of the policy `random`.
  ///   - options: of `ours`; `planned` takes the deadline alone.
  ///   - effort: of `planned`.
  public static func run(
    _ name: PolicyName, _ platform: Platform, _ workloads: [Workload], seed: UInt64,
    options: CoSchedulingOptions = CoSchedulingOptions(), effort: RolloutPolicy.Effort = RolloutPolicy.Effort()
  ) throws(SimulationStall) -> SimulationReport {
    var simulation = Simulation(platform, workloads, seed: seed)
    switch name {
    case .ours:
      var policy = CoSchedulingPolicy(platform, options)
      return try simulation.run(&policy)
    case .planned:
      var policy = RolloutPolicy(platform, deadline: options.deadline, effort: effort, seed: seed ^ 0x5eed_0000)
      return try simulation.run(&policy)
    case .heft:
      var policy = HEFTPolicy(platform)
      return try simulation.run(&policy)
    case .dataBlind:
      var policy = ListPolicy(.dataBlind, platform)
      return try simulation.run(&policy)
    case .hardLocality:
      var policy = ListPolicy(.hardLocality, platform)
      return try simulation.run(&policy)
    case .random:
      var policy = ListPolicy(.random(seed), platform)
      return try simulation.run(&policy)
    }
  }
}
