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
