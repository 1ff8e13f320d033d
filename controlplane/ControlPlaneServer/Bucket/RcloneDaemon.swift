import Crypto
import FederationModel
import Foundation
import Logging
import ServiceLifecycle
import Subprocess
import Synchronization

/// One supervised `rclone rcd`: all our traffic with a bucket goes through it, so that we write no S3 client of our own.
///
/// It listens on loopback behind a password drawn at its start, ends with this process, and is started again when it ends.
/// Credentials are in its environment alone (I9).
final class RcloneDaemon: Service, Sendable {
  struct Address: Sendable, Hashable {
    /// `http://127.0.0.1:PORT`.
    var url: String
    /// Value of the Authorization header.
    var authorization: String
  }

  private enum State {
    case starting([UInt64: CheckedContinuation<Address?, Never>])
    case running(Address)
    case ended
  }

  private let configuration: BucketConfiguration
  private let logger: Logger
  private let state = Mutex(State.starting([:]))
  private let counter = Atomic<UInt64>(0)

  init(_ configuration: BucketConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  /// Where it listens; waits while it starts.
  /// - Throws: `.unavailable` when it does not come up in `timeout`.
  func address(timeout: Duration = .seconds(10)) async throws -> Address {
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
        "The program that talks to the bucket is not running; the control plane's log says why. Try again.",
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
  func run() async throws {
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
    let password = SymmetricKey(size: .bits256).withUnsafeBytes { $0.hexadecimal }
    var environment = try configuration.environment { (path) throws(FederationError) in try Self.secret(path) }
    environment["RCLONE_RC_USER"] = "fubini"
    environment["RCLONE_RC_PASS"] = password
    let inherited = ProcessInfo.processInfo.environment
    // Everything that names credentials or proxies, and nothing else; AWS_CA_BUNDLE makes Debian's rclone fail.
    for (name, value) in inherited
    where name == "PATH" || name == "HOME" || name.lowercased().hasSuffix("_proxy")
      || name.hasPrefix("AWS_") && name != "AWS_CA_BUNDLE"
    {
      environment[name] = value
    }
    var options = PlatformOptions()
    options.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .seconds(2))]
    // Should this process be killed, the kernel ends the daemon.
    let arguments = [
      "--pdeathsig", "KILL", "--", configuration.rclone, "rcd", "--rc-addr", "127.0.0.1:0", "--rc-serve",
      "--rc-server-read-timeout", "24h", "--rc-server-write-timeout", "24h", "--low-level-retries", "3",
      "--contimeout", "5s", "--timeout", "60s", "--buffer-size", "1Mi",
    ]
    let authorization = "Basic " + Data("fubini:\(password)".utf8).base64EncodedString()
    _ = try await Subprocess.run(
      .name("setpriv"), arguments: Arguments(arguments),
      environment: .custom(
        Dictionary(environment.map { (Environment.Key(stringLiteral: $0.key), $0.value) }, uniquingKeysWith: { $1 })),
      platformOptions: options, input: .none, output: .discarded, error: .sequence
    ) { [self] execution in
      for try await line in execution.standardError.strings() {
        if let range = line.range(of: "http://127.0.0.1:"), line.contains("Serving remote control") {
          let port = line[range.upperBound...].prefix { $0.isNumber }
          let address = Address(url: "http://127.0.0.1:\(port)", authorization: authorization)
          become(.running(address), address)
        } else if !line.contains("object not found"),
          line.contains("ERROR") || line.contains("CRITICAL") || line.contains("Failed")
        {
          // That an object is not there is an answer, and told to the one who asked.
          logger.warning("rclone: \(line.prefix(500))")
        }
      }
    }
  }

  /// One line of a file.
  private static func secret(_ path: String) throws(FederationError) -> String {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
      throw FederationError(.failedPrecondition, "the credentials file \(path) cannot be read")
    }
    let line = text.trimmingCharacters(in: .whitespacesAndNewlines)
    guard !line.isEmpty, !line.contains("\n") else {
      throw FederationError(.failedPrecondition, "the credentials file \(path) must hold one line")
    }
    return line
  }
}
