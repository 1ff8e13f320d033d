public import FederationModel

/// `startupProbe`, `readinessProbe` and `livenessProbe` of a container.
public struct ProbesTemplate: Hashable, Sendable, Codable {
  public var startup: ProbeTemplate?
  public var readiness: ProbeTemplate?
  public var liveness: ProbeTemplate?
  public init() {}

  public var all: [ProbeTemplate] { [startup, readiness, liveness].compactMap(\.self) }
  /// Whether the container may be ended for its answers.
  public var endsContainers: Bool { startup != nil || liveness != nil }
}

/// One of a container's probes. Texts may hold tags.
public struct ProbeTemplate: Hashable, Sendable, Codable {
  public enum Action: Hashable, Sendable, Codable {
    case exec([String])
    /// - Parameter port: a number.
    case http(host: String, port: String, path: String, headers: [EnvironmentVariable])
    case tcp(host: String, port: String)
  }
  public var action: Action
  public var initialDelaySeconds: Int64 = 0
  public var periodSeconds: Int64 = 10
  public var timeoutSeconds: Int64 = 1
  public var successThreshold: Int64 = 1
  public var failureThreshold: Int64 = 3
  /// nil: the run's own.
  public var graceSeconds: Int64?
  public init(_ action: Action) { self.action = action }

  /// Everything in it that may hold tags.
  var texts: [String] {
    switch action {
    case .exec(let command): command
    case .http(let host, let port, let path, let headers):
      [host, port, path] + headers.flatMap { [$0.name, $0.value] }
    case .tcp(let host, let port): [host, port]
    }
  }

  /// With every tag replaced.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) for a port that is no port.
  func resolved(_ text: (String) throws -> String) throws -> RunProbe {
    func number(_ port: String) throws -> Int32 {
      let written = try text(port)
      guard let number = Int32(written), (1...65_535).contains(number) else {
        throw FederationError(.invalidArgument, "the probe's port '\(written)' is no number from 1 to 65535")
      }
      return number
    }
    let action: RunProbe.Action =
      switch self.action {
      case .exec(let command): .exec(try command.map(text))
      case .http(let host, let port, let path, let headers):
        .http(
          host: try text(host), port: try number(port), path: try text(path),
          headers: try headers.map { EnvironmentVariable(name: try text($0.name), value: try text($0.value)) })
      case .tcp(let host, let port): .tcp(host: try text(host), port: try number(port))
      }
    return RunProbe(
      action, initialDelay: .seconds(initialDelaySeconds), period: .seconds(periodSeconds),
      timeout: .seconds(timeoutSeconds), successThreshold: Int32(successThreshold),
      failureThreshold: Int32(failureThreshold), grace: graceSeconds.map { .seconds($0) })
  }
}
