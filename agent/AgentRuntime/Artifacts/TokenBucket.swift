/// Decides how long a transfer must wait so that the link carries at most `bytesPerSecond`. Pure: the clock is an argument.
///
/// A burst of at most a quarter of a second's bytes goes at once. Debt is allowed, so a chunk larger than the burst passes and
/// the next one waits the longer: the long-run rate holds for any chunk size.
struct TokenBucket: Sendable {
  let bytesPerSecond: Int64
  private let burst: Double
  private var tokens: Double
  private var lastNanoseconds: UInt64

  init(bytesPerSecond: Int64, nowNanoseconds: UInt64) {
    precondition(bytesPerSecond > 0)
    self.bytesPerSecond = bytesPerSecond
    burst = Double(bytesPerSecond) / 4
    tokens = burst
    lastNanoseconds = nowNanoseconds
  }

  /// Takes `bytes` and returns how long to wait before they may be moved.
  mutating func take(_ bytes: Int, nowNanoseconds: UInt64) -> Duration {
    if nowNanoseconds > lastNanoseconds {
      let elapsed = Double(nowNanoseconds - lastNanoseconds) * 1e-9
      tokens = min(burst, tokens + elapsed * Double(bytesPerSecond))
      lastNanoseconds = nowNanoseconds
    }
    tokens -= Double(bytes)
    return tokens >= 0 ? .zero : .nanoseconds(Int64(-tokens / Double(bytesPerSecond) * 1e9))
  }
}
