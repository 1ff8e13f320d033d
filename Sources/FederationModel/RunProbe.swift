/// One of a container's probes: how often it is asked, what, and what the answers mean.
///
/// - Source: Kubernetes, "Configure Liveness, Readiness and Startup Probes".
public struct RunProbe: Hashable, Sendable, Codable {
  public enum Action: Hashable, Sendable, Codable {
    /// Well if the command ends with 0. It sees what its container sees.
    case exec([String])
    /// Well if the answer's status is from 200 to 399. An empty host: the run's own.
    case http(host: String, port: Int32, path: String, headers: [EnvironmentVariable])
    /// Well if somebody listens. An empty host: the run's own.
    case tcp(host: String, port: Int32)
  }
  public var action: Action
  /// Between the container's start and the first question.
  public var initialDelay: Duration
  /// From one question to the next.
  public var period: Duration
  /// A question that is not answered for so long has failed.
  public var timeout: Duration
  /// So many good answers one after the other are needed.
  public var successThreshold: Int32
  /// So many bad answers one after the other are one too many.
  public var failureThreshold: Int32
  /// From SIGTERM to SIGKILL where the container is ended for its answers; nil: the run's own.
  public var grace: Duration?

  public init(
    _ action: Action, initialDelay: Duration = .zero, period: Duration = .seconds(10), timeout: Duration = .seconds(1),
    successThreshold: Int32 = 1, failureThreshold: Int32 = 3, grace: Duration? = nil
  ) {
    self.action = action
    self.initialDelay = initialDelay
    self.period = period
    self.timeout = timeout
    self.successThreshold = successThreshold
    self.failureThreshold = failureThreshold
    self.grace = grace
  }
}

/// The probes of one container.
public struct RunProbes: Hashable, Sendable, Codable {
  /// The others wait for it; the container is ended when it fails.
  public var startup: RunProbe?
  /// Says when a daemon is ready.
  public var readiness: RunProbe?
  /// The container is ended when it fails.
  public var liveness: RunProbe?

  public init(startup: RunProbe? = nil, readiness: RunProbe? = nil, liveness: RunProbe? = nil) {
    self.startup = startup
    self.readiness = readiness
    self.liveness = liveness
  }
  public var isEmpty: Bool { startup == nil && readiness == nil && liveness == nil }
}
