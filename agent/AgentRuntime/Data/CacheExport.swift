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
  /// How often password and certificate are looked at.
  static let renewal = Duration.seconds(60)

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
      do {
        let values = try await secrets.export(of: cluster, for: nil)
        guard let user = values["user"], let password = values["password"] else {
          throw FederationError(.unavailable, "the control plane gives no password for the export")
        }
        attempt = 0
        try await serve(user, password, try certificate())
        logger.warning("the export ended; it is started again")
      } catch is CancellationError {
        return
      } catch {
        attempt += 1
        if attempt == 3 { logger.warning("the cache is not exported now", metadata: ["error": "\(error)"]) }
      }
      try? await Task.sleep(for: RunDriver.pause(attempt + 2))
    }
  }

  /// Until the certificate has been renewed, or the program ends.
  private func serve(_ user: String, _ password: String, _ certificate: Certificate) async throws {
    for (name, text) in [("cert.pem", certificate.chain), ("key.pem", certificate.key)] {
      let file = try POSIXFile.open(directory + "/" + name, O_WRONLY | O_CREAT | O_TRUNC)
      defer { POSIXFile.close(file) }
      fchmod(file, 0o600)
      try POSIXFile.write(file, Data(text.utf8), name)
    }
    var environment: [Environment.Key: String] = ["RCLONE_USER": user, "RCLONE_PASS": password]
    for name in ["PATH", "HOME"] {
      if let value = ProcessInfo.processInfo.environment[name] { environment[.init(stringLiteral: name)] = value }
    }
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
    try await withThrowingTaskGroup(of: Void.self) { [environment, options] group in
      group.addTask {
        _ = try await Subprocess.run(
          .name("setpriv"), arguments: Arguments(arguments), environment: .custom(environment),
          platformOptions: options,
          input: .none, output: .discarded, error: .discarded)
      }
      group.addTask { [self] in
        while try self.certificate() == certificate { try await Task.sleep(for: Self.renewal) }
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }
}
