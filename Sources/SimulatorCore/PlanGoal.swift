import SchedulerCore

/// What a candidate costs: the less, the better. Classes first, then the value within one.
struct PlanCost: Comparable, Sendable {
  /// 0 keeps the deadline, or there is none; 1 does not; 2 is dearer than it may be.
  var rank: Int
  /// Money where a deadline is kept, else seconds.
  var value: Double

  static func < (left: Self, right: Self) -> Bool {
    left.rank < right.rank || left.rank == right.rank && left.value < right.value
  }

  /// - Parameter margin: by how much better it must be, as a part.
  func isBetter(than other: Self, margin: Double) -> Bool {
    rank < other.rank || rank == other.rank && value < other.value * (1 - margin)
  }
}

/// What is asked of a plan: the least time; or, with a deadline, the least money that keeps it, and never more than the data-blind
/// policy is expected to pay where that one keeps the deadline too.
struct PlanGoal: Sendable {
  /// Seconds from now.
  var deadline: Double?
  /// What the data-blind policy comes to on each course; empty without a deadline.
  var blind: [PlanOutcome] = []
  /// Whether it could keep the deadline when the workflow was submitted: what it pays stays the limit then, however the rest goes.
  var isBlindLimit = false

  /// What must be left of the deadline on each course, as a part: what is promised is not exact.
  private static let slack = 0.05
  /// How much cheaper than data-blind a plan must be on each course, as a part.
  private static let saving = 0.02
  /// By how much the data-blind policy may be late and still count as keeping the deadline: somebody who sets as deadline
  /// what it takes cannot know that more exactly either.
  private static let tolerance = 0.15

  /// Whether the data-blind policy keeps the deadline on average.
  var isBlindInTime: Bool {
    guard let deadline, !blind.isEmpty else { return false }
    return blind.reduce(0) { $0 + $1.seconds } / Double(blind.count) <= deadline * (1 + Self.tolerance)
  }

  /// Whether the data-blind policy keeps the deadline on some course, more or less.
  var canBlindBeInTime: Bool {
    guard let deadline, let soonest = blind.map(\.seconds).min() else { return false }
    return soonest <= deadline * (1 + Self.tolerance)
  }

  /// Seconds that a candidate may take on the next course and still be better than another one.
  ///
  /// - Parameters:
  ///   - best: what the other one comes to on all courses.
  ///   - outcomes: of the candidate, on the courses before.
  ///   - least: by course, what nobody can undercut.
  ///   - tolerance: how much worse it may be until the last course, as a part.
  func limit(_ best: [PlanOutcome], _ outcomes: [PlanOutcome], _ least: [Double], tolerance: Double) -> Double {
    let cost = cost(best, of: PlanCandidate(CoSchedulingOptions()))
    if let deadline, cost.rank == 0 { return deadline / (1 + Self.slack) }
    guard cost.rank < 2 else { return .infinity }
    let course = outcomes.count
    let spent = outcomes.reduce(0) { $0 + $1.seconds }
    let rest = (course + 1..<best.count).reduce(0) { $0 + least[$1] }
    let inAll = best.reduce(0) { $0 + $1.seconds } - spent - rest
    let soFar = best[...course].reduce(0) { $0 + $1.seconds } * (1 + tolerance) - spent
    return min(inAll, soFar)
  }

  /// Whether nobody can do noticeably better.
  func isReached(_ outcomes: [PlanOutcome], _ least: [Double], _ nearness: Double) -> Bool {
    deadline == nil && zip(outcomes, least).allSatisfy { $0.seconds <= $1 * (1 + nearness) }
  }

  /// - Parameter outcomes: on the first so many courses.
  func cost(_ outcomes: [PlanOutcome], of candidate: PlanCandidate) -> PlanCost {
    let count = Double(outcomes.count)
    let seconds = outcomes.reduce(0) { $0 + $1.seconds } / count
    let money = outcomes.reduce(0) { $0 + $1.money } / count
    guard let deadline else { return PlanCost(rank: 0, value: seconds) }
    guard seconds < .infinity else { return PlanCost(rank: 2, value: seconds) }
    if isBlindInTime || isBlindLimit {
      if candidate.decider == .dataBlind {
        return isBlindInTime ? PlanCost(rank: 0, value: money) : PlanCost(rank: 1, value: seconds)
      }
      let isDearer = zip(outcomes, blind).contains { $0.money > $1.money * (1 - Self.saving) }
      // Where nothing costs anything nothing can be cheaper.
      if isDearer, blind.contains(where: { $0.money > 0 }) { return PlanCost(rank: 2, value: money) }
    }
    let isInTime = outcomes.allSatisfy { $0.seconds * (1 + Self.slack) <= deadline }
    return isInTime ? PlanCost(rank: 0, value: money) : PlanCost(rank: 1, value: seconds)
  }
}
