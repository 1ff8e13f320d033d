/// When something that ended is started again: at once-ish at first, then after pauses that double up to half a minute.
struct RestartPlan: Sendable {
  /// Of the present life, or the last one.
  private var startedAt: ContinuousClock.Instant
  private var restartAt: ContinuousClock.Instant?
  private(set) var failures = 0
  /// A life of at least this length wipes out the failures before it.
  static let healthyAfter = Duration.seconds(60)

  init(startedAt: ContinuousClock.Instant) { self.startedAt = startedAt }

  var isPlanned: Bool { restartAt != nil }
  func isDue(_ now: ContinuousClock.Instant) -> Bool { restartAt.map { now >= $0 } ?? false }

  /// Notes an end, or a start that failed, and plans the next start. `random` is in 0...1.
  ///
  /// - Returns: the pause in seconds.
  mutating func plan(_ now: ContinuousClock.Instant, random: Double = .random(in: 0...1)) -> Double {
    // A start that failed is no life, however long the pause before it was.
    failures = !isPlanned && now - startedAt > Self.healthyAfter ? 1 : failures + 1
    let pause = min(30, 0.25 * Double(1 << min(failures, 7))) * (0.5 + random / 2)
    restartAt = now + .milliseconds(Int64(pause * 1000))
    return pause
  }

  /// It runs again.
  mutating func succeeded(_ now: ContinuousClock.Instant) {
    guard isPlanned else { return }
    startedAt = now
    restartAt = nil
  }
}
