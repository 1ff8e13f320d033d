/// How long to wait after failures in a row: doubled each time, with jitter, so that a thousand that failed together do
/// not ask together again.
public struct BackOff: Hashable, Sendable {
  public var first: Duration
  public var most: Duration

  public init(first: Duration, most: Duration) {
    self.first = first
    self.most = most
  }

  /// - Parameters:
  ///   - failures: in a row, from 1.
  ///   - retryAfter: what the server asked for; it is waited at least, and at most half as long again.
  ///   - random: from 0 to 1.
  /// - Returns: between half of the step and the whole of it.
  public func pause(failures: Int, retryAfter: Duration? = nil, random: Double) -> Duration {
    let random = min(max(random, 0), 1)
    if let retryAfter { return retryAfter + retryAfter * (random / 2) }
    let step = min(first * (1 << min(max(failures - 1, 0), 20)), most)
    return step / 2 + step / 2 * random
  }
}
