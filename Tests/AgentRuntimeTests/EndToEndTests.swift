import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import SwiftProtobuf
import Synchronization
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// The real binary with real processes against a control plane over TLS.
@Suite(.serialized) struct EndToEndTests {
  /// One joined cluster in a directory of its own.
  private struct Cluster {
    let plane: FakeControlPlane
    let directory: TemporaryDirectory
    let address: String
    var state: String { directory.path + "/state" }
    /// Runs see what is in it, read-only.
    var gate: String { directory.path + "/gate" }
    var configuration: String { directory.path + "/agent.yaml" }

    init(_ plane: FakeControlPlane, at address: String, sandbox: AgentConfiguration.Sandbox) async throws {
      self.plane = plane
      self.address = address
      directory = try TemporaryDirectory()
      // Root's runs become another user, who must pass through.
      chmod(directory.path, 0o711)
      try POSIXFile.makeDirectories(gate, mode: 0o755)
      try directory.write(
        """
        controlPlane: ["\(address)"]
        stateDirectory: \(state)
        sandbox: \(sandbox.rawValue)
        tenancy: shared
        cgroups: none
        allowedHostPaths: [\(gate)]
        slots: 3

        """, to: "agent.yaml")
      var random = SystemRandomNumberGenerator()
      let token = JoinToken(pin: plane.authority.pin, using: &random).text
      let words = [AgentBinary.path, "join", "--config", configuration, "--token", token]
      let result = try await BlockingWork.run {
        let result = try StepRunner.execute(words)
        return "\(result.status) \(result.output)"
      }
      #expect(result.hasPrefix("0 joined as cluster edge-1"), "\(result)")
    }

    func start() throws -> AgentBinary {
      try AgentBinary(["run", "--config", configuration], log: directory.path + "/agent.log")
    }

    func runDirectory(_ run: Int64) -> String { state + "/runs/" + RunID(run).hexadecimal }
    func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
    var log: String { (try? directory.read("agent.log")) ?? "" }
  }

  private func script(_ number: Int64, _ text: String) -> Fubini_Agent_V1_Assignment {
    assignment(number) {
      $0.spec.command = ["/bin/sh", "-c", text]
      $0.spec.image = "any"
      $0.spec.terminationGraceMs = 1000
    }
  }

  private func withCluster(
    sandbox: AgentConfiguration.Sandbox = .bubblewrap, _ body: @Sendable (Cluster) async throws -> Void
  ) async throws {
    let plane = try FakeControlPlane()
    try await plane.serving { address in
      let cluster = try await Cluster(plane, at: address, sandbox: sandbox)
      defer { AgentBinary.endSupervisor(of: cluster.state) }
      try await body(cluster)
    }
  }

  @Test("I1, I2, I4: one real run brings its input, log, parameter and artifact through duplicates and a cut session")
  func wholeRun() async throws {
    try await withCluster { cluster in
      let text = "cat ../in/x; seq 1 40000; printf 42 > ../out/p; echo made > ../out/a"
      let run = Self.producing(script(1, text))
      let plane = cluster.plane
      plane.state.withLock { state in
        state.assignments = [run]
        state.saysTwice = true
        state.cutsAfterEvents = true
      }
      let agent = try cluster.start()
      defer { agent.end(SIGTERM) }
      try await waitUntil { plane.isFinished(1) }
      let ends = plane.ends(of: 1)
      #expect(ends.map(\.phase) == [.succeeded], "\(ends) \(cluster.log)")
      #expect(ends.first?.outcome.exitCode == 0)
      #expect(ends.first?.outcome.parameters == ["p": "42"])
      #expect(ends.first?.outcome.artifacts["a"]?.key == "k/a")
      let (log, artifact, sessions, inventory) = plane.state.withLock {
        ($0.logs[1] ?? Data(), $0.artifacts["k/a"], $0.sessions, $0.inventories.first)
      }
      let expected = "given" + (1...40000).map { "\($0)\n" }.joined()
      #expect(String(decoding: log, as: UTF8.self) == expected, "\(log.count) of \(expected.utf8.count) bytes")
      #expect(artifact == Data("made\n".utf8))
      #expect(sessions >= 2)
      #expect(inventory?.slots == 3)
      // The control plane holds the end: the files go.
      #expect(cluster.exists(cluster.runDirectory(1)))
      plane.state.withLock { $0.assignments = [] }
      plane.send(.with { $0.forget.runIds = [1] })
      try await waitUntil { !cluster.exists(cluster.runDirectory(1)) }
    }
  }

  private static func producing(_ run: Fubini_Agent_V1_Assignment) -> Fubini_Agent_V1_Assignment {
    var run = run
    run.spec.inputs = [
      .with {
        $0.name = "x"
        $0.path = "/in/x"
        $0.source = .raw("given")
      }
    ]
    run.spec.outputParameters = [
      .with {
        $0.name = "p"
        $0.path = "/out/p"
      }
    ]
    run.spec.outputArtifacts = [
      .with {
        $0.name = "a"
        $0.path = "/out/a"
        $0.key = "k/a"
      }
    ]
    return run
  }

  @Test("I1, I2: an agent that is killed with -9 while a run lives reports its true exit code once, and runs it once")
  func killed() async throws {
    try await withCluster { cluster in
      let plane = cluster.plane
      let text = "echo once; while [ ! -e \(cluster.gate)/open ]; do sleep 0.05; done; echo late; exit 7"
      let run = script(2, text)
      plane.state.withLock { $0.assignments = [run] }
      let first = try cluster.start()
      try await waitUntil { plane.state.withLock { $0.events.contains { $0.runID == 2 && $0.phase == .running } } }
      first.end(SIGKILL)
      // The run ends while nobody is there to see it.
      try cluster.directory.write("", to: "gate/open")
      try await waitUntil { cluster.exists(cluster.runDirectory(2) + "/exit") }
      #expect(plane.ends(of: 2).isEmpty)
      let second = try cluster.start()
      defer { second.end(SIGTERM) }
      try await waitUntil { plane.isFinished(2) }
      // Once more, so that a second report would have its chance.
      second.end(SIGKILL)
      let sessions = plane.state.withLock { $0.sessions }
      let third = try cluster.start()
      defer { third.end(SIGTERM) }
      let beats = plane.state.withLock { $0.heartbeats }
      try await waitUntil { plane.state.withLock { $0.sessions > sessions && $0.heartbeats > beats + 2 } }
      let ends = plane.ends(of: 2)
      #expect(ends.map(\.phase) == [.failed], "\(ends) \(cluster.log)")
      #expect(ends.first?.outcome.exitCode == 7)
      let log = plane.state.withLock { $0.logs[2] ?? Data() }
      #expect(String(decoding: log, as: UTF8.self) == "once\nlate\n")
    }
  }

  @Test(
    "an output that the repository refuses for its size ends the run in Error and says so; a retry may replace a key",
    arguments: AgentConfiguration.Sandbox.allCases)
  func outputLimits(sandbox: AgentConfiguration.Sandbox) async throws {
    try await withCluster(sandbox: sandbox) { cluster in
      let plane = cluster.plane
      let big = Self.producing(script(3, "printf 1 > ../out/p; head -c 5000 /dev/zero > ../out/a"))
      let first = Self.producing(script(4, "printf 1 > ../out/p; printf one > ../out/a"))
      let second = Self.producing(script(5, "printf 1 > ../out/p; printf two > ../out/a"))
      plane.state.withLock { state in
        state.putLimitBytes = 1000
        state.assignments = [big, first]
      }
      let agent = try cluster.start()
      defer { agent.end(SIGTERM) }
      try await waitUntil { !plane.ends(of: 3).isEmpty && !plane.ends(of: 4).isEmpty }
      let end = plane.ends(of: 3).first
      #expect(end?.phase == .error)
      #expect(end?.message.contains("1000 bytes allowed") == true, "\(end?.message ?? "") \(cluster.log)")
      #expect(plane.ends(of: 4).first?.phase == .succeeded)
      plane.send(.with { $0.assign.assignments = [second] })
      try await waitUntil { !plane.ends(of: 5).isEmpty }
      let stored = plane.state.withLock { $0.artifacts["k/a"] }
      #expect(stored == Data("two".utf8))
    }
  }

  @Test(
    "a background start is told when keeper and agent are there; what it cannot do it says; its log is bounded meanwhile"
  )
  func backgroundStart() async throws {
    try await withCluster { cluster in
      let (state, configuration) = (cluster.state, cluster.configuration)
      let log = state + "/agent.log"
      try await BlockingWork.run {
        var runner = StepRunner(stateDirectory: state)
        runner.awaitReady = { try $0.awaitBackground(log: $1, timeout: .seconds(2)) }
        let words = [AgentBinary.path, "keep", "--state-dir", state, "--config"]
        let error = #expect(throws: FederationError.self) {
          try runner.perform(.startBackground(words + [configuration + ".none"], log: log))
        }
        let message = error?.publicMessage ?? ""
        #expect(message.contains(log) && message.contains(configuration + ".none"), "\(message)")
        try runner.perform(.stopBackground)

        runner.awaitReady = { try $0.awaitBackground(log: $1, timeout: .seconds(60)) }
        try runner.perform(.startBackground(words + [configuration], log: log))
        #expect(try StatusSocket.ask(StateDirectory.socketPath(in: state)).cluster == "edge-1")
        // The agent has the log open, and says the rest of its life what it does at the end of it.
        let file = try POSIXFile.open(log, O_WRONLY | O_APPEND)
        defer { POSIXFile.close(file) }
        try POSIXFile.write(file, [UInt8](repeating: 0x0a, count: 9 << 20), log)
      }
      try await waitUntil { POSIXFile.size(log + ".1") ?? 0 > 9 << 20 && POSIXFile.size(log) ?? 0 < 1 << 20 }
      try await BlockingWork.run {
        var runner = StepRunner(stateDirectory: state)
        try runner.perform(.stopBackground)
        #expect(throws: FederationError.self) { try StatusSocket.ask(StateDirectory.socketPath(in: state)) }
      }
    }
  }
}
