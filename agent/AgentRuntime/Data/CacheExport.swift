internal import FederationModel
internal import FoundationEssentials
internal import Logging
internal import Rclone
internal import Subprocess
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Shows the cache to the agents of other clusters: `rclone serve http`, read-only, over TLS with the agent's own certificate, behind a
/// password that only the control plane hands out. Off unless the operator configures it.
final class CacheExport: Sendable {
  /// Who the agent is now: PEM.
  struct Certificate: Sendable, Hashable {
    var chain: String
    var key: String
  }

  /// Where other clusters reach it.
  let url: String
  private let listen: String
  private let program: String
  private let directory: String
  private let layout: CacheLayout
  private let cluster: ClusterName
  private let secrets: any SecretAsking
  private let certificate: @Sendable () throws -> Certificate
  private let limit: BandwidthTimetable
  private let logger: Logger
  private let lastProblem = Mutex<String?>(nil)
  /// How often password and certificate are looked at.
  static let renewal = Duration.seconds(60)
  /// What has served for so long had started, whatever ended it.
  static let startedAfter = Duration.seconds(30)
  /// Of what the program says before it ends.
  private static let linesMax = 5

  /// Why nobody can fetch from here now, for the cluster's notices; nil while all is well, or it may be well at once.
  var problem: String? { lastProblem.withLock { $0 } }

  private enum End {
    case renewed
    /// By itself; its last words.
    case ended(String)
  }

  /// - Parameters:
  ///   - directory: of the agent's own, for the certificate's files.
  ///   - limit: of what others fetch, all of them together.
  init(
    configuration: CacheConfiguration.Export, program: String, directory: String, layout: CacheLayout,
    cluster: ClusterName, secrets: any SecretAsking, certificate: @escaping @Sendable () throws -> Certificate,
    limit: BandwidthTimetable = BandwidthTimetable(bytesPerSecond: nil), logger: Logger
  ) throws {
    url = configuration.url
    listen = configuration.listen
    self.program = program
    self.directory = directory
    self.layout = layout
    self.cluster = cluster
    self.secrets = secrets
    self.certificate = certificate
    self.limit = limit
    self.logger = logger
    try POSIXFile.makeDirectories(directory)
  }

  /// Until the task is cancelled.
  func run() async {
    var attempt = 0
    while !Task.isCancelled {
      let start = ContinuousClock.now
      do {
        let values = try await secrets.export(of: cluster, for: nil)
        guard let user = values["user"], let password = values["password"] else {
          throw FederationError(.unavailable, "the control plane gives no password for the export")
        }
        switch try await serve(user, password, try certificate()) {
        case .renewed: attempt = 0
        case .ended(let words):
          throw FederationError(.unavailable, "rclone, which serves it, ended\(words.isEmpty ? "" : ": \(words)")")
        }
      } catch is CancellationError {
        return
      } catch {
        attempt = start.duration(to: .now) < Self.startedAfter ? attempt + 1 : 1
        let reason = (error as? FederationError)?.publicMessage ?? "\(error)"
        if attempt == 3 { logger.warning("the cache is not exported now", metadata: ["error": "\(reason)"]) }
        if attempt >= 3 { lastProblem.withLock { $0 = "the cache is not exported: \(reason)" } }
      }
      try? await Task.sleep(for: RunDriver.pause(attempt + 2))
    }
  }

  /// - Parameter own: the agent's.
  static func environment(_ user: String, _ password: String, of own: [String: String]) -> [String: String] {
    var environment = ["RCLONE_USER": user, "RCLONE_PASS": password]
    // The timetable of its limit is meant in the agent's own time.
    for name in ["PATH", "HOME", "TZ"] {
      if let value = own[name] { environment[name] = value }
    }
    return environment
  }

  /// Until the certificate has been renewed, or the program ends.
  private func serve(_ user: String, _ password: String, _ certificate: Certificate) async throws -> End {
    for (name, text) in [("cert.pem", certificate.chain), ("key.pem", certificate.key)] {
      let file = try POSIXFile.open(directory + "/" + name, O_WRONLY | O_CREAT | O_TRUNC)
      defer { POSIXFile.close(file) }
      fchmod(file, 0o600)
      try POSIXFile.write(file, Data(text.utf8), name)
    }
    let environment = Dictionary(
      uniqueKeysWithValues: Self.environment(user, password, of: ProcessInfo.processInfo.environment)
        .map { (Environment.Key(stringLiteral: $0.key), $0.value) })
    let arguments =
      [
        "--pdeathsig", "KILL", "--", program, "serve", "http", layout.directory, "--config", "", "--read-only",
        "--addr", listen, "--cert", directory + "/cert.pem", "--key", directory + "/key.pem", "--dir-cache-time", "1s",
        "--poll-interval", "0", "--no-checksum", "--filter", "+ /objects/*", "--filter", "+ /trees/*/data/**",
        "--filter",
        "- **",
      ] + (limit.rclone.map { ["--bwlimit", $0] } ?? [])
    var options = PlatformOptions()
    options.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .seconds(2))]
    return try await withThrowingTaskGroup(of: End?.self) { [environment, options] group in
      group.addTask {
        let words = Mutex<[String]>([])
        _ = try await Subprocess.run(
          .name("setpriv"), arguments: Arguments(arguments), environment: .custom(environment),
          platformOptions: options, input: .none, output: .discarded, error: .sequence
        ) { execution in
          for try await line in execution.standardError.strings() {
            let line = String(line.filter { !$0.isNewline }.prefix(300))
            words.withLock { $0 = Array(($0 + [line]).suffix(Self.linesMax)) }
          }
        }
        try Task.checkCancellation()
        return .ended(words.withLock { $0 }.joined(separator: "; "))
      }
      group.addTask { [self] in
        while try self.certificate() == certificate { try await Task.sleep(for: Self.renewal) }
        return .renewed
      }
      group.addTask { [self] in
        try await Task.sleep(for: Self.startedAfter)
        lastProblem.withLock { $0 = nil }
        return nil
      }
      defer { group.cancelAll() }
      while let end = try await group.next() { if let end { return end } }
      return .renewed
    }
  }
}
