internal import FederationModel

/// When a request is sent again, and how long to wait before: exponential back-off with full jitter, or what the server asks for.
struct RetryPolicy: Sendable {
  var attemptsMax = 6
  var base = Duration.milliseconds(200)
  var cap = Duration.seconds(10)
  /// A server that asks for more than this is not waited for: the person decides.
  var retryAfterMax = Duration.seconds(60)

  /// Of a command that waits for something that goes on without it: a control plane that starts again, or fails over, is
  /// waited for. With full jitter about three minutes on average, six at most.
  static let patientAttemptsMax = 40

  /// The answers after which the same request may succeed.
  static func isRetryable(status: Int) -> Bool { status == 429 || status == 502 || status == 503 || status == 504 }

  /// The wait before attempt `attempt` + 1; nil when there is none. `attempt` counts from 1, `random` is in 0...1.
  func delay(afterAttempt attempt: Int, retryAfter: Duration?, random: Double) -> Duration? {
    guard attempt < attemptsMax else { return nil }
    let exponential = base * (1 << min(attempt - 1, 16))
    let own = Duration.milliseconds(max(1, Int64(Double(min(exponential, cap).milliseconds) * random)))
    guard let retryAfter else { return own }
    guard retryAfter <= retryAfterMax else { return nil }
    // Who is patient waits no shorter than without the server's word: else its attempts would be over in a minute.
    let asked = retryAfter + .milliseconds(Int64(random * 250))
    return attemptsMax >= Self.patientAttemptsMax ? max(asked, own) : asked
  }
}
