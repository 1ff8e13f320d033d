/// Whether Slurm's controller answers, as far as questions to it show. Pure.
struct ControllerHealth: Sendable {
  typealias Instant = ContinuousClock.Instant

  /// How long Slurm may be silent before nothing more is sent to it.
  static let patience = Duration.seconds(15)

  /// What the last question came to, when it failed.
  private(set) var problem: String?
  /// Whether it has ever answered.
  private(set) var hasAnswered = false
  /// When the first question was asked of those that have failed since the last answer, and how many there are.
  private var failures: (since: Instant, count: Int, longest: Duration)?

  mutating func answered() {
    problem = nil
    hasAnswered = true
    failures = nil
  }

  mutating func failed(_ problem: String, askedAt: Instant, now: Instant) {
    self.problem = problem
    let before = failures ?? (askedAt, 0, .zero)
    failures = (before.since, before.count + 1, max(before.longest, now - askedAt))
  }

  /// Whether it is silent, and not slow or disturbed for a moment: one question waited in vain for longer than `patience`, or several
  /// failed for so long. A question that is answered late is an answer.
  func isSilent(now: Instant) -> Bool {
    guard let failures, now - failures.since > Self.patience else { return false }
    return failures.count > 1 || failures.longest > Self.patience
  }
}
