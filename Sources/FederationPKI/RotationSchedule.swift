public import FederationModel

/// When a certificate is renewed.
public enum RotationSchedule {
  /// Half of the validity, and up to a tenth of it later: agents that were started together do not renew together, and more
  /// than a third of the life is left for retries.
  ///
  /// - Parameter jitter: in 0..<1, drawn by the caller once for each certificate; values outside are clamped.
  public static func renewal(notBefore: Timestamp, notAfter: Timestamp, jitter: Double) -> Timestamp {
    let life = max((notAfter - notBefore).milliseconds, 0)
    let share = 0.5 + 0.1 * (jitter.isFinite ? min(max(jitter, 0), 1) : 0)
    return notBefore + .milliseconds(Int64(Double(life) * share))
  }

  /// How long to wait before attempt `attempt` (0 is the first retry) after a failed renewal: 5 s, doubled each time, at most
  /// 10 minutes, of which up to half is taken away by `jitter` in 0..<1.
  public static func retryDelay(attempt: Int, jitter: Double) -> Duration {
    let base = min(5000 * (1 << min(max(attempt, 0), 10)), 600_000)
    let kept = 1 - 0.5 * (jitter.isFinite ? min(max(jitter, 0), 1) : 0)
    return .milliseconds(Int64(Double(base) * kept))
  }
}
