import FederationModel

/// Which ends of a task may pass: what `retryPolicy: OnTransientError` retries.
///
/// What ends in Error is the infrastructure's doing (a lost cluster, a full disk) and counts. What failed counts by its message: if
/// it tells of a network that gave way, or matches the operator's pattern, which is Argo's `TRANSIENT_ERROR_PATTERN`.
/// - Source: Argo Workflows v4.1, `util/errors/errors.go`.
public struct TransientErrors: Hashable, Sendable {
  /// RE2's syntax; nil for none.
  public let pattern: String?
  private let regex: GoRegex?

  /// Only what everybody knows to pass.
  public init() { (pattern, regex) = (nil, nil) }

  /// - Throws: `FederationError` (`invalidArgument`) when the pattern is malformed.
  public init(pattern: String) throws {
    self.pattern = pattern
    regex = try GoRegex(pattern)
  }

  private static let known = [
    "Connection closed by foreign host", "net/http: TLS handshake timeout", "i/o timeout", "connection timed out",
    "connection reset by peer", "connect: connection refused", "http2: client connection lost",
    "http2: server sent GOAWAY and closed the connection", "request did not complete within requested timeout",
    "error when reading response body", "invalid connection", "etcdserver: leader changed",
    "etcdserver: request timed out", "etcdserver: too many requests", "transient error",
  ]

  /// Whether a task that ended in this way may do better when it is tried again.
  func contains(_ phase: NodePhase, _ message: String) -> Bool {
    if phase == .error { return true }
    guard phase == .failed else { return false }
    if Self.known.contains(where: { message.contains($0) }) { return true }
    return (try? regex?.matches(message)) ?? false
  }

  public static func == (a: Self, b: Self) -> Bool { a.pattern == b.pattern }
  public func hash(into hasher: inout Hasher) { hasher.combine(pattern) }
}
