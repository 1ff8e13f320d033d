/// How often a controller is asked: each interval while it answers quickly, less often when it is slow or silent.
struct Backoff: Hashable, Sendable {
  let interval: Duration
  /// Runs' ends are read from their own files and need no controller; what only Slurm can tell (a job that was lost, preempted or
  /// cancelled there) is at most so late after the controller answers again.
  let longest: Duration
  private(set) var failures = 0
  /// The last answer's cost.
  private var lastDuration: Duration = .zero

  init(interval: Duration, longest: Duration = .seconds(60)) {
    self.interval = interval
    self.longest = max(longest, interval)
  }

  mutating func succeeded(in duration: Duration) {
    failures = 0
    lastDuration = duration
  }

  mutating func failed() { failures += 1 }

  /// - Parameter jitter: drawn from 0.5...1 by the caller; without effect while all is well.
  func pause(jitter: Double) -> Duration {
    if failures > 0 { return min(longest, interval * (1 << min(failures, 10))) * jitter }
    // An answer that took long was dear: a tenth of the controller's time, as far as `longest` lets it.
    return min(longest, max(interval, lastDuration * 10))
  }
}
