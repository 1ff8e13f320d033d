internal import ArgumentParser
internal import Dispatch
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import LocalSlurm
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#endif

struct Up: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Start a whole federation on this machine: PostgreSQL, control plane, agents, all over mTLS.")
  @Option(help: "Where everything lives.") var dataDir: String
  @Option(help: "0: the port of the last time; the first time the system chooses.") var httpPort = 0
  @Option(help: "Where the port listens that agents dial: an address, 0.0.0.0 or ::.") var agentHost = "127.0.0.1"
  @Option(help: "A name or address at which agents of other machines reach that port. May be repeated.")
  var advertise: [String] = []
  @Option(help: "Local agents, 0 to 32, where --agent names none.") var agents = 1
  @Option(
    name: [.customLong("agent"), .customLong("agent-config")],
    help: "name=cloud,labels=k=v;k=v,slots=4,transfer=50MB/s,price=core-hour=4 CNY")
  var agent: [String] = []
  @Option(help: "A YAML list of agents with the same keys.") var agentsFile: String?
  @Flag(help: "Start a real Slurm cluster too, for the agent named or labelled hpc, else the last one.") var slurm =
    false
  @Flag(help: "Return once it is ready; it goes on until `fubini down`.") var detach = false

  func specifications() throws -> [AgentSpecification] {
    guard (0...32).contains(agents), (0...65_535).contains(httpPort) else {
      throw CommandFailure(.usage, "--agents is 0 to 32, --http-port 0 to 65535.")
    }
    var named = try agent.map(AgentSpecification.parse)
    if let agentsFile { named += try AgentSpecification.load(file: agentsFile) }
    if named.isEmpty { named = (1...max(1, agents)).prefix(agents).map { AgentSpecification(name: "local-\($0)") } }
    return try AgentSpecification.unique(named)
  }

  func run() async throws {
    let specifications = try specifications()
    let setup = LocalSetup(
      directory: try LocalSetup.resolve(dataDir), httpPort: httpPort, agentHost: agentHost, advertised: advertise)
    let options = UpOptions(
      agents: specifications, httpPort: httpPort, agentHost: agentHost, advertised: advertise, isSlurm: slurm)
    if let other = ProcessIdentity.load(from: setup.pidFile("up")), other.isAlive {
      let me = ProcessIdentity(pid: getpid())
      if other != me {
        if FileManager.default.fileExists(atPath: setup.path("client.env")) {
          return try await Self.alreadyUp(setup, options, process: other.pid)
        }
        throw CommandFailure(.error, "Another `fubini up` (process \(other.pid)) is starting \(setup.directory).")
      }
    }
    try setup.prepare()
    unlink(setup.path("client.env"))
    if detach { return try await startDetached(setup) }
    try ProcessIdentity(pid: getpid())?.save(to: setup.pidFile("up"))
    try options.save(to: setup.optionsFile)
    let runner = LocalRunner(setup: setup, specifications: specifications, withSlurm: slurm)
    let stopping = Stopping()
    do {
      try await runner.start()
      try await Self.next(setup)
      try await runner.supervise { stopping.isRequested }
    } catch {
      await runner.stop()
      unlink(setup.pidFile("up"))
      throw error
    }
    Terminal.note("Stopping agents, control plane, PostgreSQL.")
    await runner.stop()
    unlink(setup.pidFile("up"))
  }

  /// The same command again, in a session of its own, without `--detach`: one way of supervising, not two.
  private func startDetached(_ setup: LocalSetup) async throws {
    let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let arguments = [own] + CommandLine.arguments.dropFirst().filter { $0 != "--detach" }
    let identity = try ChildProcess.spawn(arguments, environment: setup.environment, log: setup.log("up"))
    let deadline = ContinuousClock.now + .seconds(180)
    while !FileManager.default.fileExists(atPath: setup.path("client.env")) {
      guard identity.isAlive else {
        throw CommandFailure(.error, "It did not come up:\n\(ChildProcess.tail(setup.log("up")))")
      }
      guard ContinuousClock.now < deadline else {
        await identity.end(grace: .seconds(30))
        throw CommandFailure(.unreachable, "It was not ready in three minutes:\n\(ChildProcess.tail(setup.log("up")))")
      }
      try await Task.sleep(for: .milliseconds(50))
    }
    try await Self.next(setup)
  }

  /// - Throws: error, when something else is asked for than what runs; unreachable, when it does not answer just now.
  private static func alreadyUp(_ setup: LocalSetup, _ options: UpOptions, process: Int32) async throws {
    let port = setup.ready?.httpPort ?? 0
    let differences = UpOptions.load(from: setup.optionsFile).map { options.differences(from: $0, port: port) } ?? []
    guard differences.isEmpty else {
      throw CommandFailure(
        .error,
        """
        Already up, with other options: \(differences.joined(separator: "; ")). \
        `fubini down --data-dir \(ClusterText.shell([setup.directory]))`, then `up` again with these.
        """)
    }
    do { try await next(setup, title: "Already up.") } catch let failure as CommandFailure
      where failure.code == .unreachable
    {
      throw CommandFailure(
        .unreachable,
        """
        Already up, but the control plane does not answer; `up` (process \(process)) starts it again when it has ended. \
        Its log: \(setup.log("controlplane"))
        """)
    }
  }

  /// Tells what to do next, and first what the agents say of this machine that a person would otherwise learn from a task
  /// that fails.
  static func next(_ setup: LocalSetup, title: String? = nil) async throws {
    if let ready = setup.ready {
      let list: ClusterList = try await APIClient.with(try setup.connection(ready)) { client in
        try await client.get(["v1", "clusters"])
      }
      for notice in notices(list) { Terminal.note("Notice: \(Terminal.printable(notice))") }
    }
    if let title { Terminal.line(title) }
    Terminal.line(
      """
      Ready. The local agents run every image as this machine's own tools, in a sandbox.
      Next:
        . \(ClusterText.shell([setup.path("client.env")]))
        fubini submit -f examples/hello.yaml --watch
        fubini down --data-dir \(ClusterText.shell([setup.directory]))
      """)
  }
}

extension Up {
  /// Each notice once, with the clusters that give it: agents of one machine mostly give the same ones.
  static func notices(_ list: ClusterList) -> [String] {
    var clusters: [String: [String]] = [:]
    var order: [String] = []
    for cluster in list.items {
      for notice in cluster.live?.notices ?? [] {
        if clusters[notice] == nil { order.append(notice) }
        clusters[notice, default: []].append(cluster.name)
      }
    }
    return order.map { "\((clusters[$0] ?? []).joined(separator: ", ")): \($0)." }
  }
}

extension String {
  var removingSlash: String { count > 1 && hasSuffix("/") ? String(dropLast()) : self }
}

/// SIGINT and SIGTERM as a question that a loop asks.
final class Stopping: Sendable {
  private let requested = Mutex(false)
  // Set once in init; a dispatch source is itself safe to use from any thread.
  nonisolated(unsafe) private let sources: [any DispatchSourceSignal]

  init() {
    sources = [SIGINT, SIGTERM].map { number in
      signal(number, SIG_IGN)
      return DispatchSource.makeSignalSource(signal: number, queue: .global())
    }
    for source in sources {
      source.setEventHandler { [weak self] in self?.requested.withLock { $0 = true } }
      source.resume()
    }
  }

  var isRequested: Bool { requested.withLock { $0 } }
}

/// Starts, watches and ends the processes of an embedded set-up.
final class LocalRunner {
  private struct Child {
    var identity: ProcessIdentity
    var restart = RestartPlan(startedAt: .now)
  }

  private var setup: LocalSetup
  /// Of `--http-port`; 0: none.
  private let askedPort: Int
  let specifications: [AgentSpecification]
  let withSlurm: Bool
  /// The agent that feeds the Slurm cluster; nil: none does.
  private var slurmMember: String?
  private var slurmRestart = RestartPlan(startedAt: .now)
  private var children: [String: Child] = [:]
  /// The control plane whose address `client.env` holds.
  private var announced: ProcessIdentity?
  private var postgresRestart = RestartPlan(startedAt: .now)

  init(setup: LocalSetup, specifications: [AgentSpecification], withSlurm: Bool) {
    self.setup = setup
    askedPort = setup.httpPort
    self.withSlurm = withSlurm
    self.specifications = specifications
  }

  func start() async throws {
    // What a killed `up` left behind would hold the ports and the database.
    await Down.sweep(setup, keepingPostgres: true)
    try choosePort()
    Terminal.note("Starting PostgreSQL ...")
    try await setup.postgres.start()
    Terminal.note("Starting the control plane ...")
    let identity = try await setup.startControlPlane()
    children["controlplane"] = Child(identity: identity)
    let ready = try await setup.awaitReady(identity, timeout: .seconds(60))
    let connection = try setup.connection(ready)
    if withSlurm { slurmMember = try await setup.startSlurm(for: specifications) }
    try await APIClient.with(connection) { client in
      for specification in specifications {
        Terminal.note("Starting agent \(specification.name) ...")
        children["agent-\(specification.name)"] = Child(
          identity: try await setup.startAgent(specification, client, ready, isSlurm: specification.name == slurmMember)
        )
      }
      try await awaitAgents(client)
    }
    try setup.writeClientEnvironment(connection)
    announced = identity
  }

  /// The same after a crash where it can be had: clients that wait try again at the address they know.
  private func choosePort() throws {
    setup.httpPort = askedPort
    setup.httpPort = try setup.chosenHTTPPort()
  }

  /// After a restart of the control plane `client.env` is written anew, as soon as it answers.
  private func announce() throws {
    guard let identity = children["controlplane"]?.identity, identity != announced,
      let ready = setup.ready(of: identity)
    else { return }
    try setup.writeClientEnvironment(try setup.connection(ready))
    announced = identity
    Terminal.note("The control plane is ready again, on port \(ready.httpPort).")
  }

  private func awaitAgents(_ client: APIClient) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while true {
      let list: ClusterList = try await client.get(["v1", "clusters"])
      let missing = specifications.map(\.name).filter { name in
        !list.items.contains { $0.name == name && $0.live?.isConnected == true }
      }
      guard let first = missing.first else { return }
      if ContinuousClock.now > deadline {
        throw CommandFailure(
          .unreachable, "Agent \(first) did not connect:\n\(ChildProcess.tail(setup.log("agent-\(first)")))")
      }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  /// Restarts what ends, with growing pauses, until `isOver`.
  func supervise(until isOver: () -> Bool) async throws {
    while !isOver() {
      for (name, child) in children {
        ChildProcess.reap(child.identity)
        guard !child.identity.isAlive else { continue }
        var next = child
        if !child.restart.isDue(.now) {
          if child.restart.isPlanned { continue }
          let pause = next.restart.plan(.now)
          Terminal.note("\(name) ended; it is started again in \(Display.duration(pause)). Its log: \(setup.log(name))")
        } else {
          do {
            next.identity = try relaunch(name)
            next.restart.succeeded(.now)
          } catch {
            let pause = next.restart.plan(.now)
            Terminal.note("\(name) could not be started: \(error). Next attempt in \(Display.duration(pause)).")
          }
        }
        children[name] = next
      }
      await keepPostgres()
      await keepSlurm()
      do { try announce() } catch { Terminal.note("client.env could not be written: \(error)") }
      try await Task.sleep(for: .milliseconds(250))
    }
  }

  private func keepPostgres() async {
    guard setup.postgres.postmaster() == nil else { return postgresRestart.succeeded(.now) }
    guard postgresRestart.isDue(.now) || !postgresRestart.isPlanned else { return }
    do { try await setup.postgres.start() } catch {
      let pause = postgresRestart.plan(.now)
      Terminal.note("PostgreSQL could not be started: \(error). Next attempt in \(Display.duration(pause)).")
    }
  }

  private func keepSlurm() async {
    guard slurmMember != nil, let cluster = try? setup.slurm() else { return }
    // munge, the controller, and the nodes.
    guard cluster.daemons.count < cluster.configuration.nodes + 2 else { return slurmRestart.succeeded(.now) }
    guard slurmRestart.isDue(.now) || !slurmRestart.isPlanned else { return }
    do { try await cluster.start() } catch {
      let pause = slurmRestart.plan(.now)
      Terminal.note("Slurm could not be started: \(error). Next attempt in \(Display.duration(pause)).")
    }
  }

  private func relaunch(_ name: String) throws -> ProcessIdentity {
    guard name == "controlplane" else {
      return try setup.launchAgent(String(name.dropFirst("agent-".count)), LocalSetup.sibling("fubini-agent"))
    }
    try choosePort()
    return try setup.launchControlPlane(LocalSetup.sibling("fubini-controlplane"))
  }

  func stop() async { await Down.sweep(setup, keepingPostgres: false) }
}
