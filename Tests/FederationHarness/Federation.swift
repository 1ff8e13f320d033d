internal import AsyncHTTPClient
internal import FederationAPI
internal import FederationModel
public import Foundation
internal import Glibc
public import Postgres
internal import Synchronization
public import TestSupport

/// A federation of real processes on this machine: PostgreSQL, control planes, agents, over real mTLS.
///
/// It lives in a directory of its own, with short paths (an agent's socket must fit into 108 bytes). Whatever happens, its
/// processes end: in order when the scope ends, and by a ``Watchdog`` when this process is killed.
public final class Federation: Sendable {
  public struct Replica: Sendable {
    public var index: Int
    public var httpPort: Int
    public var gatewayPort: Int
    public var holder: String { "cp-\(index)" }
  }

  private struct State {
    var controlPlanes: [Int: OwnedProcess] = [:]
    var agents: [String: OwnedProcess] = [:]
    var watchdog: Watchdog?
    var surroundings: [String: Surroundings] = [:]
  }

  /// How an agent's commands are started: through a program (`nsenter`), with variables (a clock that is wrong).
  public struct Surroundings: Sendable {
    public var prefix: [String]
    public var environment: [String: String]
    public init(prefix: [String] = [], environment: [String: String] = [:]) {
      self.prefix = prefix
      self.environment = environment
    }
  }

  public let options: FederationOptions
  /// Everything of it is below here.
  public let directory: String
  public let postgres: PostgresServer
  public let database: PostgresConfiguration
  public let replicas: [Replica]
  /// Where the three programs are.
  public let binaries: String
  let http: HTTPClient
  private let state = Mutex(State())

  /// The programs beside this one, which the same build made; or those in `FUBINI_TEST_BINARIES`.
  public static var defaultBinaries: String {
    if let named = ProcessInfo.processInfo.environment["FUBINI_TEST_BINARIES"] { return named }
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return (own as NSString).deletingLastPathComponent
  }

  /// Starts a federation, waits until every agent is connected, runs `body`, and ends it.
  ///
  /// An error that `body` throws is told with the ends of all logs.
  public static func with<Value: Sendable>(
    _ options: FederationOptions = FederationOptions(), binaries: String = Federation.defaultBinaries,
    _ body: @Sendable (Federation) async throws -> Value
  ) async throws -> Value {
    let server =
      options.hasOwnPostgres ? try PostgresServer(settings: options.postgresSettings) : try PostgresServer.shared()
    let database = try await server.createDatabase()
    let federation = try Federation(options, server, database, binaries)
    do {
      try await federation.start()
      let value = try await body(federation)
      await federation.stop()
      return value
    } catch {
      let logs = federation.logs()
      await federation.stop()
      throw HarnessError("\(error)\n\(logs)")
    }
  }

  private init(
    _ options: FederationOptions, _ server: PostgresServer, _ database: PostgresConfiguration, _ binaries: String
  ) throws {
    self.options = options
    self.binaries = binaries
    postgres = server
    self.database = database
    directory = "/tmp/fit-\(getpid())-\(String(UInt32.random(in: 0 ... .max), radix: 36))"
    // Runs have another user, and must reach the directory that tests share with them.
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    for name in ["log", "agents", "state"] {
      try FileManager.default.createDirectory(atPath: "\(directory)/\(name)", withIntermediateDirectories: false)
    }
    try FileManager.default.createDirectory(
      atPath: directory + "/shared", withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    replicas = try (0..<options.controlPlanes).map {
      Replica(index: $0, httpPort: try FreePort.next(), gatewayPort: try FreePort.next())
    }
    http = RESTClient.makeHTTPClient()
    let watchdog = try Watchdog(directory, ending: .commandLine(directory + "/"))
    state.withLock { $0.watchdog = watchdog }
  }

  public func path(_ name: String) -> String { directory + "/" + name }
  public func log(_ name: String) -> String { path("log/\(name).log") }
  /// A directory that runs see, read-only, under the same path; named pipes in it can be written all the same.
  public var shared: String { path("shared") }

  // MARK: Start and stop

  private func start() async throws {
    for replica in replicas { try controlPlaneYAML(replica).write(toFile: path("cp-\(replica.index).yaml")) }
    let code = try await OwnedProcess.run(
      [
        "\(binaries)/fubini-controlplane", "init", "--config", path("cp-0.yaml"), "--admin-token-file",
        path("admin.token"),
      ], log: log("init"))
    guard code == 0 else { throw HarnessError("init ended with \(code):\n\(LogTail.of(log("init")))") }
    for replica in replicas { try startControlPlane(replica.index) }
    try await awaitReady()
    for agent in options.agents {
      try await join(agent)
      try startAgent(agent.name)
    }
    if options.awaitsAgents { try await awaitAgents() }
  }

  /// Ends agents, their supervisors, and control planes; removes the directory.
  private func stop() async {
    let (agents, controlPlanes) = state.withLock { (Array($0.agents.values), Array($0.controlPlanes.values)) }
    for process in agents + controlPlanes { process.signal(SIGCONT) }
    for process in agents { await process.end() }
    for process in controlPlanes { await process.end() }
    // What outlives an agent on purpose: its supervisor, and the runs in it. Only they know this directory.
    for (process, _) in OwnedProcess.all(withCommandLineContaining: directory + "/agents/") {
      try? await process.kill()
    }
    try? await http.shutdown()
    if options.hasOwnPostgres { try? postgres.stopImmediately() }
    // The watchdog finds nothing to end, and removes the directory.
    state.withLock { $0.watchdog = nil }
    try? FileManager.default.removeItem(atPath: directory)
  }

  // MARK: Control planes

  /// The `s3:` block, when artifacts and logs are in a bucket.
  private func bucketYAML() throws -> String? {
    guard let url = options.s3Endpoint else { return nil }
    let lines = try S3Service.configuration(at: url, prefix: databaseName, directory: directory)
    return "{s3: {" + lines.sorted { $0.key < $1.key }.map { "\($0.key): \"\($0.value)\"" }.joined(separator: ", ")
      + "}}"
  }

  private func controlPlaneYAML(_ replica: Replica) throws -> String {
    let s3 = try bucketYAML()
    return """
      database: "\(postgres.connectionString(database: databaseName))"
      dataDirectory: \(path("state"))
      readyFile: \(path("cp-\(replica.index).ready"))
      holder: \(replica.holder)
      http: {host: 127.0.0.1, port: \(replica.httpPort)}
      gateway: {host: "\(options.gatewayHost)", port: \(replica.gatewayPort), advertise: ["\(dialled(replica))"]\(protocols)}
      federation: {trustDomain: test.fubini\(options.federationKeys)}
      artifacts: \(s3 ?? "{directory: \(path("artifacts"))}")
      logs: \(s3 ?? "{directory: \(path("logs"))}")
      logLevel: \(options.logLevel)
      leases:
        leaderSeconds: \(options.leaderLease)
        agentSeconds: \(options.agentLease)
        disconnectLimitSeconds: \(options.disconnectLimit)
        fenceMarginSeconds: \(options.fenceMargin)
      """
  }

  private var protocols: String {
    options.protocols.map { ", protocolMin: \($0.lowerBound), protocolMax: \($0.upperBound)" } ?? ""
  }

  /// What agents dial, and the leader says of itself.
  private func dialled(_ replica: Replica) -> String {
    options.gatewayHost.contains(":")
      ? "[\(options.gatewayHost)]:\(replica.gatewayPort)" : "\(options.gatewayHost):\(replica.gatewayPort)"
  }

  public var databaseName: String {
    database.connectionString.split(separator: " ").first { $0.hasPrefix("dbname=") }.map { String($0.dropFirst(7)) }
      ?? "postgres"
  }

  public func startControlPlane(_ index: Int) throws {
    try? FileManager.default.removeItem(atPath: path("cp-\(index).ready"))
    let process = try OwnedProcess.spawn(
      ["\(binaries)/fubini-controlplane", "run", "--config", path("cp-\(index).yaml")], log: log("cp-\(index)"))
    state.withLock { $0.controlPlanes[index] = process }
  }

  public func controlPlane(_ index: Int = 0) throws -> OwnedProcess {
    guard let process = state.withLock({ $0.controlPlanes[index] }) else { throw HarnessError("cp-\(index) never ran") }
    return process
  }

  public func agent(_ name: String) throws -> OwnedProcess {
    guard let process = state.withLock({ $0.agents[name] }) else { throw HarnessError("agent \(name) never ran") }
    return process
  }

  /// Waits until every control plane serves and one leads.
  public func awaitReady(timeout: Duration = .seconds(30)) async throws {
    for replica in replicas {
      let process = try controlPlane(replica.index)
      try await poll("cp-\(replica.index) serves", timeout: timeout) {
        guard process.isAlive else {
          throw HarnessError("cp-\(replica.index) ended:\n\(LogTail.of(log("cp-\(replica.index)")))")
        }
        return FileManager.default.fileExists(atPath: path("cp-\(replica.index).ready"))
      }
    }
    // Its row in the database comes first, then it loads what it leads.
    try await poll("a control plane leads", timeout: timeout) {
      guard let leader = try await leader() else { return false }
      return try await client(leader).get("/v1/version", as: VersionDocument.self).isLeader
    }
  }

  /// The replica whose lease is valid, as the database says; nil when there is none.
  public func leader() async throws -> Int? {
    let result = try await query(
      """
      SELECT holder FROM leadership
      WHERE holder IS NOT NULL AND lease_expires_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint
      """)
    return try result.rows.first.flatMap { row in
      let holder = try row.text(0)
      return replicas.first { $0.holder == holder }?.index
    }
  }

  public func adminToken() throws -> String {
    guard let data = FileManager.default.contents(atPath: path("admin.token")) else {
      throw HarnessError("no admin token was written")
    }
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  public func client(_ replica: Int = 0) throws -> RESTClient {
    RESTClient(url: "http://127.0.0.1:\(replicas[replica].httpPort)", token: try adminToken(), http: http)
  }

  /// One statement on a connection of its own.
  @discardableResult
  public func query(_ sql: String, _ values: PostgresValue...) async throws -> PostgresResult {
    let connection = try await PostgresConnection.connect(database)
    do {
      let result = try await connection.run([PostgresStatement(sql, values)])
      await connection.close()
      return result[0]
    } catch {
      await connection.close()
      throw error
    }
  }

  // MARK: Agents

  public func agentConfigurationPath(_ name: String) -> String { path("agents/\(name).yaml") }
  public func agentState(_ name: String) -> String { path("agents/\(name)") }

  /// Writes an agent's configuration file.
  public func writeConfiguration(of agent: FederationOptions.Agent) throws {
    let addresses = replicas.map { "\"\(dialled($0))\"" }.joined(separator: ", ")
    var keys = [
      "controlPlane": "[\(addresses)]", "stateDirectory": agentState(agent.name), "executor": agent.executor,
      "cgroups": "none", "tenancy": "shared", "slots": "\(agent.slots)", "images": #"[{pattern: "*", runsAs: host}]"#,
      "allowedHostPaths": "[\(shared)]", "logLevel": options.logLevel,
    ]
    if agent.executor != "slurm" { keys["resources"] = "{cpu: \"\(agent.slots)\", memory: 64Gi}" }
    keys["protocolMax"] = agent.protocolMax.map { "\($0)" }
    keys.merge(agent.keys) { $1 }
    let yaml = keys.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\n" }.joined()
    try yaml.write(toFile: agentConfigurationPath(agent.name))
  }

  /// Declares a cluster, and joins its agent with the one-time token.
  public func join(_ agent: FederationOptions.Agent) async throws {
    try writeConfiguration(of: agent)
    if let user = agent.user, geteuid() == 0 { try lend(to: agent.name, user: user) }
    var prices: PriceSheet?
    if let hour = agent.coreHour { prices = PriceSheet(currency: "CNY", coreHour: hour) }
    let created: ClusterCreated = try await client(try await leader() ?? 0).post(
      "/v1/clusters",
      ClusterRequest(
        name: agent.name, kind: agent.executor == "slurm" ? .slurm : .process, labels: agent.labels, prices: prices))
    let code = try await join(agent.name, token: created.join.token)
    guard code == 0 else {
      throw HarnessError("join of \(agent.name) ended with \(code):\n\(LogTail.of(log("join-\(agent.name)")))")
    }
  }

  /// Lets an ordinary user run an agent: the state directory is the user's, and its commands are started as the user.
  private func lend(to name: String, user: String) throws {
    guard let entry = getpwnam(user) else { throw HarnessError("there is no user \(user) here") }
    try FileManager.default.createDirectory(
      atPath: agentState(name), withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    guard chown(agentState(name), entry.pointee.pw_uid, entry.pointee.pw_gid) == 0 else {
      throw HarnessError("cannot give \(agentState(name)) to \(user)")
    }
    // Other tests of this process may have set its umask.
    for path in [directory, path("agents"), shared] { chmod(path, 0o755) }
    chmod(agentConfigurationPath(name), 0o644)
    let ids = ["--reuid=\(entry.pointee.pw_uid)", "--regid=\(entry.pointee.pw_gid)", "--clear-groups"]
    surround(name, with: Surroundings(prefix: ["/usr/bin/setpriv"] + ids, environment: ["USER": user]))
  }

  /// Runs `fubini-agent join`; its output is in `log("join-NAME")`. Returns the exit code.
  public func join(_ name: String, token: String) async throws -> Int32 {
    let around = state.withLock { $0.surroundings[name] } ?? Surroundings()
    return try await OwnedProcess.run(
      around.prefix + ["\(binaries)/fubini-agent", "join", "--config", agentConfigurationPath(name)],
      environment: around.environment.merging(["FUBINI_JOIN_TOKEN": token]) { $1 }, log: log("join-\(name)"))
  }

  /// From its next start on.
  public func surround(_ name: String, with surroundings: Surroundings) {
    state.withLock { $0.surroundings[name] = surroundings }
  }

  public func startAgent(_ name: String) throws {
    let around = state.withLock { $0.surroundings[name] } ?? Surroundings()
    let process = try OwnedProcess.spawn(
      around.prefix + ["\(binaries)/fubini-agent", "run", "--config", agentConfigurationPath(name)],
      environment: around.environment, log: log("agent-\(name)"))
    state.withLock { $0.agents[name] = process }
  }

  /// The supervisor of an agent; nil when none runs.
  public func supervisor(of name: String) -> OwnedProcess? {
    OwnedProcess.all(withCommandLineContaining: agentState(name)).first { entry in
      entry.words.count > 3 && entry.words[1] == "supervisor" && entry.words.contains(agentState(name))
    }?.process
  }

  /// The database's server and its backends, while it has one of its own.
  public func databaseProcesses() -> [OwnedProcess] {
    let servers = OwnedProcess.all(withCommandLineContaining: postgres.directory + "/data").map(\.process)
    return servers + servers.flatMap { $0.children() }
  }

  public func awaitAgents(timeout: Duration = .seconds(30)) async throws {
    var missing: [String] = []
    try await poll("all agents are connected; missing: \(missing)", timeout: timeout) {
      guard let leader = try? await leader(), let list: ClusterList = try? await client(leader).get("/v1/clusters")
      else { return false }
      let connected = Set(list.items.filter { $0.live?.isConnected == true }.map(\.name))
      missing = options.agents.map(\.name).filter { !connected.contains($0) }
      return missing.isEmpty
    }
  }

  // MARK: The command line

  /// Runs `fubini` against the first control plane. Returns the exit code, and standard output and error together.
  public func fubini(
    _ arguments: [String], replica: Int = 0, environment: [String: String] = [:], timeout: Duration = .seconds(60)
  ) async throws -> (code: Int32, output: String) {
    let (code, bytes) = try await fubiniBytes(
      arguments, replica: replica, environment: environment, timeout: timeout)
    return (code, String(decoding: bytes, as: UTF8.self))
  }

  /// The same, with the output as it was written. `environment` wins over what the federation sets.
  public func fubiniBytes(
    _ arguments: [String], replica: Int = 0, environment: [String: String] = [:], timeout: Duration = .seconds(60)
  ) async throws -> (code: Int32, output: Data) {
    let file = path("log/cli-\(UInt32.random(in: 0 ... .max)).log")
    let code = try await OwnedProcess.run(
      ["\(binaries)/fubini"] + arguments,
      environment: [
        "FUBINI_URL": "http://127.0.0.1:\(replicas[replica].httpPort)", "FUBINI_TOKEN": try adminToken(),
        "NO_COLOR": "1", "HOME": directory,
      ].merging(environment) { $1 }, log: file, timeout: timeout)
    return (code, FileManager.default.contents(atPath: file) ?? Data())
  }

  /// Runs `fubini-controlplane WORDS --config` with a replica's configuration. Returns the exit code, and standard output and
  /// error together.
  public func controlPlaneCommand(_ words: [String], replica: Int = 0) async throws -> (code: Int32, output: String) {
    try await output(of: ["\(binaries)/fubini-controlplane"] + words + ["--config", path("cp-\(replica).yaml")])
  }

  /// Runs `fubini-agent WORDS --config` with an agent's configuration.
  public func agentCommand(_ words: [String], of name: String) async throws -> (code: Int32, output: String) {
    try await output(of: ["\(binaries)/fubini-agent"] + words + ["--config", agentConfigurationPath(name)])
  }

  private func output(of command: [String]) async throws -> (code: Int32, output: String) {
    let file = path("log/cli-\(UInt32.random(in: 0 ... .max)).log")
    let code = try await OwnedProcess.run(command, log: file)
    return (code, String(decoding: FileManager.default.contents(atPath: file) ?? Data(), as: UTF8.self))
  }

  /// The ends of all logs.
  public func logs(lines: Int = 15) -> String {
    let names = ((try? FileManager.default.contentsOfDirectory(atPath: path("log"))) ?? []).sorted()
    var texts = names.filter { !$0.hasPrefix("cli-") }.map {
      "--- \($0)\n\(LogTail.of(path("log/\($0)"), lines: lines))"
    }
    if options.hasOwnPostgres { texts.append("--- postgres\n\(LogTail.of(postgres.directory + "/log", lines: lines))") }
    return texts.joined(separator: "\n")
  }
}

extension String {
  fileprivate func write(toFile path: String) throws { try write(toFile: path, atomically: true, encoding: .utf8) }
}

extension FreePort {
  /// Waits until a server that was given a port answers there.
  ///
  /// - Parameter log: what the server says; the error shows its end when the server dies instead.
  public static func answers(_ port: Int, of server: OwnedProcess, log: String) async throws {
    try await poll("port \(port) answers; its server says\n\(LogTail.of(log))", timeout: .seconds(30)) {
      guard server.isAlive else { throw HarnessError("the server ended:\n\(LogTail.of(log))") }
      return answers(port)
    }
  }
}
