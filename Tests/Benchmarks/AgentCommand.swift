internal import ArgumentParser
internal import FederationAPI
internal import FederationHarness

/// What an agent costs while it does nothing, and how soon it is ready.
struct AgentCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "agent", abstract: "Idle memory and processor time of agent and supervisor; join to ready.")
  @OptionGroup var options: BenchOptions
  @Option(help: "How long to look, seconds.") var seconds = 60

  func run() async throws {
    var federation = FederationOptions()
    federation.agents = [.init("idle")]
    federation.agentLease = 15
    federation.leaderLease = 6
    federation.logLevel = "warning"
    try await Federation.with(federation, binaries: options.directory) { federation in
      let client = try federation.client()
      var joins: [Double] = []
      for round in 0..<options.repeats {
        let agent = FederationOptions.Agent("join-\(round)", executor: "null")
        let began = ContinuousClock.now
        try await federation.join(agent)
        try federation.startAgent(agent.name)
        try await poll("it is connected", timeout: .seconds(20), every: .milliseconds(5)) {
          try await client.cluster(agent.name).live?.isConnected == true
        }
        joins.append((ContinuousClock.now - began).seconds)
        _ = try await federation.agent(agent.name).end()
      }
      Report.figure("join to ready", joins, "s", digits: 2)
      // A run first, so that everything that is made lazily has been made.
      _ = try await client.finished(try await client.submit(Documents.single("warm")).name)
      try await Task.sleep(for: .seconds(3))
      try await watch(federation)
    }
  }

  private func watch(_ federation: Federation) async throws {
    let agent = try federation.agent("idle")
    let supervisor = federation.supervisor(of: "idle")
    let processes = [agent] + (supervisor.map { [$0] } ?? [])
    let before = processes.compactMap { $0.cpuSeconds() }.reduce(0, +)
    let began = ContinuousClock.now
    try await Task.sleep(for: .seconds(seconds))
    let spent = processes.compactMap { $0.cpuSeconds() }.reduce(0, +) - before
    let took = (ContinuousClock.now - began).seconds
    guard processes.allSatisfy(\.isAlive) else { throw HarnessError("an agent's process ended") }
    let sizes = processes.compactMap { $0.memory()?.resident }.map { Double($0) / 1_048_576 }
    let parts = sizes.map { Report.format($0, 1) }.joined(separator: " + ")
    Report.line("idle agent", "RSS \(Report.format(sizes.reduce(0, +), 1)) MiB (\(parts): agent + supervisor)")
    let shares = processes.compactMap { $0.shares() }
    let proportional = Double(shares.map(\.proportional).reduce(0, +)) / 1_048_576
    let anonymous = Double(shares.map(\.anonymous).reduce(0, +)) / 1_048_576
    Report.line(
      "idle agent", "PSS \(Report.format(proportional, 1)) MiB, of it anonymous \(Report.format(anonymous, 1)) MiB")
    Report.line("idle agent", "CPU \(Report.format(100 * spent / took, 2)) % of a core over \(seconds) s")
  }
}
