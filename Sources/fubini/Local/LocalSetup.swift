internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import Yams

#if canImport(Glibc)
  internal import Glibc
#endif

/// The files of an embedded set-up: everything lives below one directory.
struct LocalSetup: Sendable {
  var directory: String
  var httpPort = 0
  /// The address of the port that agents dial.
  var agentHost = "127.0.0.1"
  /// Names and addresses at which agents of other machines reach that port, the preferred one first.
  var advertised: [String] = []

  func path(_ name: String) -> String { directory + "/" + name }
  func log(_ name: String) -> String { path("log/\(name).log") }
  /// Of the `up` that runs here.
  var optionsFile: String { path("pid/up-options.json") }
  func pidFile(_ name: String) -> String { path("pid/\(name).json") }
  var postgres: LocalPostgres { LocalPostgres(directory: path("pg"), log: log("postgres")) }

  struct Ready: Codable, Sendable {
    var httpPort: Int
    var gatewayPort: Int
    var pid: Int32
  }

  /// The executables beside this one.
  static func sibling(_ name: String) throws -> String {
    let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let path = String(own[..<(own.lastIndex(of: "/") ?? own.startIndex)]) + "/" + name
    guard FileManager.default.isExecutableFile(atPath: path) else {
      throw CommandFailure(.error, "\(name) is not beside fubini (\(path)): build or install it first.")
    }
    return path
  }

  /// `--data-dir` as an absolute path.
  ///
  /// - Throws: usage, for characters that PostgreSQL's programs cannot be given: `pg_ctl` hands its paths to a shell, and
  ///   libpq reads a comma as the end of a socket's path.
  static func resolve(_ dataDir: String) throws -> String {
    guard !dataDir.isEmpty else { throw CommandFailure(.usage, "--data-dir is the path of a directory.") }
    let absolute = dataDir.hasPrefix("/") ? dataDir : FileManager.default.currentDirectoryPath + "/" + dataDir
    let path = URL(filePath: absolute).standardized.path(percentEncoded: false).removingSlash
    if let bad = path.unicodeScalars.first(where: { "'\"\\$`,".unicodeScalars.contains($0) || $0.value < 0x20 }) {
      let shown = bad.value < 0x20 ? "a control character" : "\(bad)"
      throw CommandFailure(
        .usage, "--data-dir must not hold \(shown): PostgreSQL's programs cannot be given such a path.")
    }
    return path
  }

  private static let directories = ["", "log", "pid", "agents", "artifacts", "logs", "state"]

  /// - Throws: usage, for a directory that holds something else: what we would write among it could not be told apart.
  private func refuseForeignDirectory() throws {
    guard !FileManager.default.fileExists(atPath: path("controlplane.yaml")) else { return }
    var status = stat()
    if stat(directory, &status) != 0, errno == ENOENT { return }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw CommandFailure(.usage, "\(directory) is no directory that can be used: name a new one with --data-dir.")
    }
    guard let entries = try? FileManager.default.contentsOfDirectory(atPath: directory) else {
      throw CommandFailure(.usage, "\(directory) cannot be read: name another one with --data-dir.")
    }
    // An `up` that died early has left nothing but directories of these names.
    guard let foreign = entries.sorted().first(where: { !Self.directories.contains($0) }) else { return }
    throw CommandFailure(
      .usage,
      "\(directory) is not empty (\(Terminal.printable(foreign))) and no data directory of `fubini up`: name a new one."
    )
  }

  private static func makeDirectory(_ path: String) throws {
    var partial = ""
    for part in path.split(separator: "/") {
      partial += "/" + part
      guard mkdir(partial, 0o755) != 0, errno != EEXIST else { continue }
      throw CommandFailure(.usage, "Cannot create \(partial): \(String(cString: strerror(errno))).")
    }
  }

  func prepare() throws {
    try refuseForeignDirectory()
    for name in Self.directories {
      try Self.makeDirectory(path(name))
      // As root the postgres user passes through the top to its own part; everything else is the owner's alone.
      chmod(path(name), name.isEmpty || name == "agents" ? (getuid() == 0 ? 0o711 : 0o700) : 0o700)
    }
    try writeControlPlaneYAML()
  }

  private func writeControlPlaneYAML() throws {
    try PrivateFile.write(try controlPlaneYAML(), to: path("controlplane.yaml"))
  }

  func controlPlaneYAML() throws -> String {
    try JSONValue.object([
      "database": .string(try postgres.conninfo), "dataDirectory": .string(path("state")),
      "readyFile": .string(path("controlplane.ready")),
      "http": ["host": "127.0.0.1", "port": .integer(Int64(httpPort))],
      "gateway": [
        "host": .string(agentHost), "port": .integer(Int64(gatewayPort)),
        "advertise": .array((advertised + ["127.0.0.1"]).map { .string($0) }),
      ],
      "federation": ["trustDomain": "fubini.local"], "artifacts": ["directory": .string(path("artifacts"))],
      "logs": ["directory": .string(path("logs"))], "holder": "local", "logLevel": "info",
    ]).yaml()
  }

  /// Agents dial the port that they joined at, so it is drawn once and kept.
  var gatewayPort: Int { ready.map(\.gatewayPort) ?? 0 }
  var ready: Ready? {
    for name in ["controlplane.ready", "controlplane.last"] {
      if let data = FileManager.default.contents(atPath: path(name)),
        let ready = try? JSONDecoder().decode(Ready.self, from: data)
      {
        return ready
      }
    }
    return nil
  }

  /// The port that clients know, for a start: the one asked for, else that of the last time, so that a `client.env` which
  /// somebody has read stays right; else 0, which lets the system choose.
  ///
  /// - Throws: usage, when the one asked for is taken or not for us.
  func chosenHTTPPort() throws -> Int {
    if httpPort != 0 {
      let problem = Self.whyNotListening(httpPort)
      guard problem == 0 else {
        if problem != EADDRINUSE {
          throw CommandFailure(
            .usage,
            "Cannot listen on port \(httpPort): \(String(cString: strerror(problem))). Choose another --http-port.")
        }
        throw CommandFailure(
          .usage, "Port \(httpPort) is taken by another program: choose another --http-port, or leave it out.")
      }
      return httpPort
    }
    guard let kept = ready?.httpPort else { return 0 }
    guard Self.whyNotListening(kept) != 0 else { return kept }
    Terminal.note("Port \(kept) of the last time cannot be had again: a new one is chosen.")
    return 0
  }

  /// Why a server could not listen there on this machine's loopback address, as an `errno`; 0 when it could.
  private static func whyNotListening(_ port: Int) -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return 0 }
    defer { close(descriptor) }
    // As the server does: connections of the last life that linger are no obstacle.
    var on: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(clamping: port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) == 0 ? 0 : errno }
    }
  }

  var environment: [String: String] {
    var kept: [String: String] = [:]
    for (name, value) in ProcessInfo.processInfo.environment where !name.hasPrefix("FUBINI_") { kept[name] = value }
    return kept
  }

  func startControlPlane() async throws -> ProcessIdentity {
    let binary = try Self.sibling("fubini-controlplane")
    try writeControlPlaneYAML()
    try await ChildProcess.run(
      [binary, "init", "--config", path("controlplane.yaml"), "--admin-token-file", path("admin.token")],
      environment: environment, log: log("controlplane"), timeout: .seconds(60))
    return try launchControlPlane(binary)
  }

  func launchControlPlane(_ binary: String) throws -> ProcessIdentity {
    rename(path("controlplane.ready"), path("controlplane.last"))
    // With the ports that clients and agents know by now.
    try writeControlPlaneYAML()
    let identity = try ChildProcess.spawn(
      [binary, "run", "--config", path("controlplane.yaml")], environment: environment, log: log("controlplane"))
    try identity.save(to: pidFile("controlplane"))
    return identity
  }

  /// What the control plane that is this process has written; nil until it is ready.
  func ready(of identity: ProcessIdentity) -> Ready? {
    guard let data = FileManager.default.contents(atPath: path("controlplane.ready")),
      let ready = try? JSONDecoder().decode(Ready.self, from: data), ready.pid == identity.pid
    else { return nil }
    return ready
  }

  /// - Throws: with the end of the log, when it died or is not ready in time.
  func awaitReady(_ identity: ProcessIdentity, timeout: Duration) async throws -> Ready {
    let deadline = ContinuousClock.now + timeout
    while ContinuousClock.now < deadline {
      if let ready = ready(of: identity) { return ready }
      guard identity.isAlive else {
        throw CommandFailure(.error, "The control plane ended:\n\(ChildProcess.tail(log("controlplane")))")
      }
      try await Task.sleep(for: .milliseconds(25))
    }
    throw CommandFailure(
      .unreachable, "The control plane was not ready in \(timeout):\n\(ChildProcess.tail(log("controlplane")))")
  }

  func adminToken() throws -> String {
    guard let data = FileManager.default.contents(atPath: path("admin.token")) else {
      throw CommandFailure(
        .error, "\(path("admin.token")) is missing: was it removed? A new --data-dir gets a new one.")
    }
    return String(decoding: data, as: UTF8.self).trimmingLast()
  }

  func connection(_ ready: Ready) throws -> Connection {
    Connection(url: "http://127.0.0.1:\(ready.httpPort)", token: try adminToken(), project: "default")
  }

  func writeClientEnvironment(_ connection: Connection) throws {
    let lines = [
      "FUBINI_URL=\(connection.url)", "FUBINI_TOKEN=\(connection.token ?? "")", "FUBINI_CA=",
      "FUBINI_PROJECT=\(connection.project)",
    ]
    try PrivateFile.write(lines.map { "export \($0)\n" }.joined(), to: path("client.env"))
  }

  func startAgent(
    _ specification: AgentSpecification, _ client: APIClient, _ ready: Ready, isSlurm: Bool
  ) async throws -> ProcessIdentity {
    let binary = try Self.sibling("fubini-agent")
    let config = path("agents/\(specification.name).yaml")
    let joined = path("agents/\(specification.name).joined")
    let state = path("agents/\(specification.name)")
    try PrivateFile.write(
      try agentYAML(specification, state: state, gateway: "127.0.0.1:\(ready.gatewayPort)", isSlurm: isSlurm),
      to: config)
    if !FileManager.default.fileExists(atPath: joined) {
      let join = try await joinToken(specification, client, isSlurm ? .slurm : .process)
      // In the environment of this one process: an argument could be read by everybody on the machine.
      var environment = environment
      environment["FUBINI_JOIN_TOKEN"] = join.token
      try await ChildProcess.run(
        [binary, "join", "--config", config], environment: environment,
        log: log("agent-\(specification.name)"), timeout: .seconds(60))
      try PrivateFile.write(join.cluster + "\n", to: joined)
    }
    return try launchAgent(specification.name, binary)
  }

  func launchAgent(_ name: String, _ binary: String) throws -> ProcessIdentity {
    let identity = try ChildProcess.spawn(
      [binary, "run", "--config", path("agents/\(name).yaml")], environment: environment, log: log("agent-\(name)"))
    try identity.save(to: pidFile("agent-\(name)"))
    return identity
  }

  private func joinToken(
    _ specification: AgentSpecification, _ client: APIClient, _ kind: ClusterKind
  ) async throws -> JoinDocument {
    let list: ClusterList = try await client.get(["v1", "clusters"])
    if list.items.contains(where: { $0.name == specification.name }) {
      return try await client.post(["v1", "clusters", specification.name, "join-token"], body: ClusterActionRequest())
    }
    let created: ClusterCreated = try await client.post(
      ["v1", "clusters"],
      body: ClusterRequest(
        name: specification.name, kind: kind, labels: specification.labels,
        prices: try specification.price.map(ClusterText.prices)))
    return created.join
  }

  func agentYAML(
    _ specification: AgentSpecification, state: String, gateway: String, isSlurm: Bool = false
  ) throws -> String {
    var document: [String: JSONValue] = [
      "controlPlane": [.string(gateway)], "stateDirectory": .string(state), "executor": "process",
      // One person's own machine: whoever may submit here is that person.
      "tenancy": "shared", "images": [["pattern": "*", "runsAs": "host"]],
    ]
    if isSlurm {
      document["executor"] = "slurm"
      document["slurm"] = [
        "sharedDirectory": .string(slurmShared), "slurmConf": .string(try slurmConfigurationFile),
      ]
    }
    if let slots = specification.slots { document["slots"] = .integer(Int64(slots)) }
    if let transfer = specification.transfer { document["transferLimit"] = .string(transfer) }
    return try JSONValue.object(document).yaml()
  }
}

extension JSONValue {
  func yaml() throws -> String {
    let encoder = YAMLEncoder()
    encoder.options.sortKeys = true
    return try encoder.encode(self)
  }
}

extension String {
  func trimmingLast() -> String {
    var text = self[...]
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }
}
