import AsyncHTTPClient
import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FederationPKI
import FoundationEssentials
import Hummingbird
import Logging
import Postgres
import ServiceLifecycle
import Synchronization
import UnixSignals

#if canImport(Glibc)
  import Glibc
#endif

/// A control-plane process put together from its configuration.
struct ControlPlaneProcess {
  let configuration: ServerConfiguration
  let logger: Logger
  let database: PostgresConfiguration

  init(_ configuration: ServerConfiguration) throws {
    self.configuration = configuration
    guard let level = Logger.Level(rawValue: configuration.logLevel) else {
      throw FederationError(
        .invalidArgument,
        "configuration key logLevel is one of \(Logger.Level.allCases.map(\.rawValue)), not \(configuration.logLevel)")
    }
    var logger = Logger(label: "fubini", factory: { StreamLogHandler.standardError(label: $0) })
    logger.logLevel = level
    self.logger = logger
    database = PostgresConfiguration(configuration.database)
  }

  // MARK: Commands

  func migrate() async throws -> [String] {
    guard let owner = configuration.ownerDatabase else {
      return try await whenDatabaseAnswers { try await withStores(database) { store, _ in try await store.migrate() } }
    }
    return try await whenDatabaseAnswers {
      try await withStores(PostgresConfiguration(owner)) { owner, store in
        let applied = try await owner.migrate()
        // What the migrations made belongs to the owner, and the role that this process works with has to be let in.
        try await owner.admit(try await store.role())
        return applied
      }
    }
  }

  /// A store of the role that migrates, and one of the role that works.
  private func withStores<Value>(
    _ owner: PostgresConfiguration,
    _ body: (_ owner: ControlPlaneStore, _ store: ControlPlaneStore) async throws -> Value
  ) async throws -> Value {
    let stores = [owner, database].map { ControlPlaneStore($0, pool: .init(connections: 1)) }
    do {
      let value = try await body(stores[0], stores[1])
      for store in stores { await store.close() }
      return value
    } catch {
      for store in stores { await store.close() }
      throw error
    }
  }

  /// Schema, CA, default project, and a first administrator's token. Each is made only if it is not there.
  func initialise(adminTokenFile: String) async throws {
    let store = ControlPlaneStore(database)
    let applied = try await migrate()
    for name in applied { logger.info("applied a migration", metadata: ["name": "\(name)"]) }
    _ = try authority()
    _ = try secretVault(store)
    let now = Timestamp.wallClock
    try await store.ensureUser("admin", isAdmin: true, at: now)
    try await store.ensureProject("default", organisation: "default", at: now)
    if !FileManager.default.fileExists(atPath: adminTokenFile) {
      var random = SystemRandomNumberGenerator()
      let token = BearerToken(using: &random)
      try await store.createToken(
        NewToken(hash: token.hash.bytes, user: "admin", label: "first administrator"),
        audit: AuditRow(at: now, actor: "init", action: "token.create", object: ""))
      try SecretFile.write(token.text + "\n", to: adminTokenFile)
    }
    await store.close()
  }

  /// Serves until SIGTERM or SIGINT.
  func run() async throws {
    // A request that cannot be served soon is told so: its caller can wait better than a queue can.
    let store = ControlPlaneStore(database, pool: .init(connections: 6, waitTimeout: .seconds(3)))
    let applied = try await migrate()
    for name in applied { logger.info("applied a migration", metadata: ["name": "\(name)"]) }
    try await whenDatabaseAnswers { try await warnOfDurability(store) }
    let authority = try liveAuthority()
    let secrets = try secretVault(store)
    let metrics = ControlPlaneMetrics()
    let storage = try await RunStorage(configuration, logger: logger)
    let (logs, artifacts) = (storage.logs, storage.artifacts)
    let changes = ChangeNotifier(database, logger: logger)
    let access = ChangeNotifier(database, channel: ControlPlaneStore.accessChannel, logger: logger)
    let denials = DenialLog(store: store, logger: logger)
    let bound = BoundPorts(readyFile: configuration.readyFile)
    let controlPlane = ControlPlane(
      store: store, candidate: candidate(), configuration: configuration.core, metrics: metrics, logger: logger,
      retention: configuration.retention,
      look: { try await artifacts.stat(try ArtifactKey(project: $0, path: $1)) })
    let gateway = try GatewayService(
      configuration: configuration, authority: authority, store: store, port: controlPlane, logs: logs,
      artifacts: artifacts, secrets: secrets, denials: denials, logger: logger)
    let advertised = advertised
    let client = try StandbyProxy.makeClient(certificate: configuration.http.tls?.certificate)
    let api = APIServer(
      services: APIServices(
        commands: controlPlane, store: store, logs: logs, artifacts: artifacts, secrets: secrets, authority: authority,
        metrics: metrics, changes: changes, access: access, denials: denials, sessions: gateway.sessions,
        logger: logger,
        agentAddress: { advertised.text(defaultPort: try await gateway.boundPort) },
        examine: { await Examination(self, database: store).findings() },
        closeStreams: { gateway.authenticator.revoke($0, issuedUpTo: $1) },
        addresses: ClientAddress(trusted: configuration.http.trustedProxies.compactMap { AddressRange($0) }),
        privateHosts: configuration.privateHosts),
      standby: StandbyProxy(commands: controlPlane, client: client))
    let application = try api.application(configuration.http) { port in
      guard let gatewayPort = try? await gateway.boundPort else { return }
      bound.serve(httpPort: port, gatewayPort: gatewayPort)
    }
    // They end in the opposite order: the API first, then the leader (which closes the agents' sessions), then their port.
    var group = ServiceGroupConfiguration(
      services: storage.daemons + [
        DatasetSweep(
          repository: api.services.datasets, requests: api.services.sweeps,
          logger: logger),
        CronRunner(store: store, commands: controlPlane, logger: logger),
        SemaphoreLimits(store: store, commands: controlPlane, logger: logger),
        JobRunner(store: store, commands: controlPlane, logger: logger),
        AlertDeliveries(store: store, secrets: secrets, privateHosts: configuration.privateHosts, logger: logger),
        ArtifactCollection(
          store: store, artifacts: artifacts, logs: logs, age: configuration.retention.artifacts, logger: logger),
        gateway, changes, access, denials,
        LeaderService(controlPlane: controlPlane), application,
      ],
      gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    group.maximumGracefulShutdownDuration = .seconds(10)
    group.maximumCancellationDuration = .seconds(2)
    logger.info(
      "starting", metadata: ["version": "\(ProductVersion.current)", "federation": "\(authority.current.federationID)"])
    do { try await ServiceGroup(configuration: group).run() } catch {
      try? await client.shutdown()
      try? await storage.close()
      throw error
    }
    try await client.shutdown()
    try await storage.close()
    await store.close()
  }

  // MARK: Parts

  /// What a session can set is set by the store; what only the server can is said loudly, because I2 depends on it.
  private func warnOfDurability(_ store: ControlPlaneStore) async throws {
    let settings = try await store.health(now: { Timestamp.wallClock }).settings
    if settings["synchronous_commit"] == "off" {
      logger.warning("synchronous_commit is off for this role; this process sets it on for its own sessions")
    }
    for name in ["fsync", "full_page_writes"] where settings[name] == "off" {
      logger.error("\(name) is off: a crash of the database's host can lose what was acknowledged; set it on")
    }
  }

  /// The database may come up later than this process: it waits, and says so.
  private func whenDatabaseAnswers<Value>(_ body: () async throws -> Value) async throws -> Value {
    var attempts = 0
    while true {
      do {
        return try await body()
      } catch let error as PostgresError where error.isConnectionLoss || error.isRetryable {
        if attempts % 10 == 0 { logger.warning("waiting for the database", metadata: ["error": "\(error)"]) }
        attempts += 1
        try await Task.sleep(for: .milliseconds(500))
      } catch let error as MigrationError {
        throw FederationError(.failedPrecondition, error.description)
      }
    }
  }

  /// Where agents dial, as join commands and standbys say it.
  private var advertised: Endpoint {
    Endpoint(configuration.gateway.advertise.first ?? configuration.gateway.host)
  }

  private func liveAuthority() throws -> LiveAuthority { try LiveAuthority { try authority() } }

  /// A store for one command.
  ///
  /// - Throws: `.unavailable` when the database cannot be reached.
  func withStore<Value>(_ body: (ControlPlaneStore) async throws -> Value) async throws -> Value {
    let store = ControlPlaneStore(database, pool: .init(connections: 1))
    do {
      let value = try await body(store)
      await store.close()
      return value
    } catch {
      await store.close()
      guard let error = error as? PostgresError else { throw error }
      throw FederationError(.unavailable, "the database does not answer as it should: \(error)", cause: error)
    }
  }

  func authority() throws -> CertificateAuthority {
    let directory = try keyDirectory()
    let domain = try TrustDomain(configuration.trustDomain)
    var random = SystemRandomNumberGenerator()
    if let files = configuration.authority {
      return try CertificateAuthority.load(
        certificateFile: files.certificate, keyFile: files.key, bundleFile: files.bundle, in: directory,
        trustDomain: domain, at: Timestamp.wallClock, using: &random)
    }
    return try CertificateAuthority.loadOrMake(
      in: directory, trustDomain: domain, at: Timestamp.wallClock, using: &random)
  }

  func keyDirectory() throws -> SecretDirectory {
    do {
      try FileManager.default.createDirectory(
        atPath: configuration.dataDirectory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw FederationError(
        .invalidArgument,
        "dataDirectory \(configuration.dataDirectory) cannot be made; make it for the user that runs this program",
        cause: error)
    }
    return try SecretDirectory(path: configuration.dataDirectory + "/pki")
  }

  /// The keys are made if they are not there.
  func secretVault(_ store: ControlPlaneStore) throws -> SecretVault {
    let file = try configuration.secretKeyFile ?? keyDirectory().path + "/secrets.key"
    let vault = SecretVault(store: store, keyFile: file)
    try vault.prepare()
    return vault
  }

  private func candidate() -> LeadershipCandidate {
    let scheme = configuration.http.tls == nil ? "http" : "https"
    return LeadershipCandidate(
      holder: configuration.holder ?? "\(ProcessInfo.processInfo.hostName)-\(getpid())",
      url: configuration.advertiseURL
        ?? "\(scheme)://\(Endpoint(configuration.http.host).text(defaultPort: configuration.http.port))",
      agentAddress: advertised.text(defaultPort: configuration.gateway.port),
      lease: configuration.leaderLease)
  }
}

/// The leader as a service of the process.
private struct LeaderService: Service {
  let controlPlane: ControlPlane
  func run() async throws { await cancelWhenGracefulShutdown { await controlPlane.run() } }
}

/// Tells whoever started the process where it serves.
private final class BoundPorts: Sendable {
  private let readyFile: String?

  init(readyFile: String?) { self.readyFile = readyFile }

  func serve(httpPort: Int, gatewayPort: Int) {
    guard let readyFile else { return }
    let text = "{\"httpPort\":\(httpPort),\"gatewayPort\":\(gatewayPort),\"pid\":\(getpid())}\n"
    try? SecretFile.write(text, to: readyFile)
  }
}

/// Files that only their owner may read.
enum SecretFile {
  /// Replaces the file in one step.
  static func write(_ text: String, to path: String) throws {
    let temporary = "\(path).\(getpid())"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw FederationError(.internal, "\(path) cannot be written: \(String(cString: strerror(errno)))")
    }
    let bytes = Array(text.utf8)
    let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    let isDurable = written == bytes.count && fsync(descriptor) == 0
    close(descriptor)
    guard isDurable, rename(temporary, path) == 0 else {
      unlink(temporary)
      throw FederationError(.internal, "\(path) cannot be written: \(String(cString: strerror(errno)))")
    }
  }
}
