internal import Crypto
internal import FederationModel
internal import FoundationEssentials
public import Logging
public import ServiceLifecycle
internal import Subprocess
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One supervised `rclone rcd`: all our traffic with other people's stores goes through it, so that we write no client of our own
/// for any of them.
///
/// It listens on a private unix socket, or on loopback, behind a password drawn at its start, ends with this process, and is
/// started again when it ends. Its configuration is in its memory alone; credentials come in its environment, or in calls (I9).
public final class RcloneDaemon: Service, Sendable {
  public struct Address: Sendable, Hashable {
    public enum Place: Sendable, Hashable {
      /// On 127.0.0.1.
      case port(Int)
      case socket(String)
    }
    public var place: Place
    /// Value of the Authorization header.
    public var authorization: String

    /// `http://127.0.0.1:PORT`; nil for a unix socket.
    public var url: String? { if case .port(let port) = place { "http://127.0.0.1:\(port)" } else { nil } }
  }

  private enum State {
    case starting([UInt64: CheckedContinuation<Address?, Never>])
    case running(Address)
    case ended
  }

  private let settings: RcloneSettings
  private let logger: Logger
  private let state = Mutex(State.starting([:]))
  private let counter = Atomic<UInt64>(0)

  public init(_ settings: RcloneSettings, logger: Logger) {
    self.settings = settings
    self.logger = logger
  }

  /// Where it listens; waits while it starts.
  /// - Throws: `.unavailable` when it does not come up in `timeout`.
  public func address(timeout: Duration = .seconds(10)) async throws -> Address {
    let id = counter.add(1, ordering: .relaxed).newValue
    let alarm = Task {
      try await Task.sleep(for: timeout)
      give(up: id)
    }
    defer { alarm.cancel() }
    let address = await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Address?, Never>) in
        let now: Address?? = state.withLock { state in
          switch state {
          case .running(let address): return .some(address)
          case .ended: return .some(nil)
          case .starting(var waiting):
            if Task.isCancelled { return .some(nil) }
            waiting[id] = continuation
            state = .starting(waiting)
            return .none
          }
        }
        if let now { continuation.resume(returning: now) }
      }
    } onCancel: {
      give(up: id)
    }
    guard let address else {
      throw FederationError(
        .unavailable,
        "rclone, which talks to stores, is not running; the log of this service says why. Try again.",
        retryAfter: .seconds(2))
    }
    return address
  }

  private func give(up id: UInt64) {
    let continuation = state.withLock { state -> CheckedContinuation<Address?, Never>? in
      guard case .starting(var waiting) = state else { return nil }
      let continuation = waiting.removeValue(forKey: id)
      state = .starting(waiting)
      return continuation
    }
    continuation?.resume(returning: nil)
  }

  private func become(_ new: State, _ address: Address?) {
    let waiting = state.withLock { state -> [CheckedContinuation<Address?, Never>] in
      defer { state = new }
      guard case .starting(let waiting) = state else { return [] }
      return Array(waiting.values)
    }
    for continuation in waiting { continuation.resume(returning: address) }
  }

  /// Until cancelled or shut down.
  public func run() async throws {
    defer { become(.ended, nil) }
    await cancelWhenGracefulShutdown { [self] in
      var pause = Duration.milliseconds(200)
      while !Task.isCancelled {
        let start = ContinuousClock.now
        do {
          try await runOnce()
          logger.error("rclone ended; it is started again")
        } catch is CancellationError {
          return
        } catch {
          logger.error("rclone could not be run; trying again", metadata: ["error": "\(error)"])
        }
        if case .running = state.withLock({ $0 }) { become(.starting([:]), nil) }
        if start.duration(to: .now) > .seconds(60) { pause = .milliseconds(200) }
        try? await Task.sleep(for: pause * Double.random(in: 0.5...1.5))
        pause = min(pause * 2, .seconds(30))
      }
    }
  }

  private func runOnce() async throws {
    let password = SymmetricKey(size: .bits256).withUnsafeBytes { bytes in
      bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
    var environment = try settings.environment()
    environment["RCLONE_RC_USER"] = "fubini"
    environment["RCLONE_RC_PASS"] = password
    // Times are told in UTC then.
    environment["TZ"] = "UTC"
    // Everything that names proxies and what was allowed, and nothing else; AWS_CA_BUNDLE makes Debian's rclone fail.
    for (name, value) in ProcessInfo.processInfo.environment
    where environment[name] == nil
      && (name == "PATH" || name == "HOME" || name.lowercased().hasSuffix("_proxy")
        || settings.inherits(name) && name != "AWS_CA_BUNDLE")
    {
      environment[name] = value
    }
    let socket = await socketPath()
    let authorization = "Basic " + Data("fubini:\(password)".utf8).base64EncodedString()
    var options = PlatformOptions()
    options.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .seconds(2))]
    // Should this process be killed, the kernel ends the daemon.
    let arguments = [
      "--pdeathsig", "KILL", "--", settings.program, "rcd", "--rc-addr", socket.map { "unix://" + $0 } ?? "127.0.0.1:0",
      "--rc-serve", "--rc-server-read-timeout", "24h", "--rc-server-write-timeout", "24h", "--low-level-retries", "3",
      "--contimeout", "5s", "--timeout", "60s", "--buffer-size", settings.bufferSize, "--config", "",
    ]
    _ = try await Subprocess.run(
      .name("setpriv"), arguments: Arguments(arguments),
      environment: .custom(
        Dictionary(environment.map { (Environment.Key(stringLiteral: $0.key), $0.value) }, uniquingKeysWith: { $1 })),
      platformOptions: options, input: .none, output: .discarded, error: .sequence
    ) { [self] execution in
      let greeting = socket.map { path in Task { await self.awaitSocket(path, authorization) } }
      defer { greeting?.cancel() }
      for try await line in execution.standardError.strings() { noteLine(line, authorization) }
    }
  }

  /// nil: it listens on loopback.
  private func socketPath() async -> String? {
    guard let path = settings.socketPath, path.utf8.count <= 100,
      let output = await RcloneRelease.output(of: settings.program), let release = RcloneRelease(output: output),
      release >= .unixSockets
    else { return nil }
    // Of a daemon that was killed.
    unlink(path)
    return path
  }

  /// It does not say when it listens on a socket: whoever connects knows.
  private func awaitSocket(_ path: String, _ authorization: String) async {
    while !Task.isCancelled {
      if let connection = try? SocketStream(.socket(path)) {
        connection.close()
        chmod(path, 0o600)
        let address = Address(place: .socket(path), authorization: authorization)
        return become(.running(address), address)
      }
      try? await Task.sleep(for: .milliseconds(20))
    }
  }

  private func noteLine(_ line: String, _ authorization: String) {
    if let range = line.firstRange(of: "http://127.0.0.1:"), line.contains("Serving remote control") {
      if let port = Int(line[range.upperBound...].prefix { $0.isNumber }) {
        let address = Address(place: .port(port), authorization: authorization)
        become(.running(address), address)
      }
    } else if !line.contains("object not found"), !line.contains("directory not found"),
      line.contains("ERROR") || line.contains("CRITICAL") || line.contains("Failed")
    {
      // That an object is not there is an answer, and told to the one who asked. What a call was given is never shown: it may
      // hold a credential.
      logger.warning("rclone: \(line.prefix { $0 != "{" }.prefix(500))")
    }
  }
}
