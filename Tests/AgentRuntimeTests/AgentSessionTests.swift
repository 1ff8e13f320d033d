import FederationAPI
import FederationModel
import FederationPKI
import Logging
import Synchronization
import Testing

@testable import AgentRuntime

@Suite(.serialized) struct AgentSessionTests {
  private func withAgent(
    _ plane: FakeControlPlane, _ directory: String, _ body: @Sendable (AgentProcess) async throws -> Void
  ) async throws {
    try await plane.serving { address in
      var configuration = AgentConfiguration()
      configuration.controlPlane = [address]
      configuration.stateDirectory = directory
      configuration.executor = .null
      if try CertificateStore(stateDirectory: directory).load() == nil {
        var random = SystemRandomNumberGenerator()
        let token = JoinToken(pin: plane.authority.pin, using: &random)
        #expect(try await Joining.join(configuration, token: token.text, configurationFile: nil) == "edge-1")
      }
      let agent = try await AgentProcess(
        configuration: configuration, logger: silentLogger())
      let work = Task { try await agent.run() }
      do { try await body(agent) } catch {
        work.cancel()
        _ = try? await work.value
        throw error
      }
      work.cancel()
      _ = try? await work.value
    }
  }

  @Test("I2: an agent joins, runs what it is assigned, and tells each end exactly once across a cut and a restart")
  func wholeSession() async throws {
    let directory = try TemporaryDirectory()
    let plane = try FakeControlPlane()
    plane.state.withLock { state in
      state.assignments = (1...500).map { assignment($0) }
      state.cutsAfterEvents = true
    }
    let path = directory.path
    try await withAgent(plane, path) { _ in
      try await waitUntil {
        plane.state.withLock { Set($0.events.filter { $0.phase == .succeeded }.map(\.runID)).count == 500 }
      }
      let sessions = plane.state.withLock { $0.sessions }
      #expect(sessions >= 2)
    }
    // The same journal, a new process: nothing is run or told again.
    plane.state.withLock { $0.sessions = 0 }
    try await withAgent(plane, path) { _ in
      try await waitUntil { plane.state.withLock { $0.sessions == 1 && $0.heartbeats > 2 } }
    }
    let ends = plane.state.withLock { state in
      Dictionary(grouping: state.events.filter { $0.phase == .succeeded }, by: \.sequence).count
    }
    #expect(ends == 500)
  }

  @Test("N+1: what a later control plane says besides is skipped, and the agent works on")
  func laterControlPlane() async throws {
    let directory = try TemporaryDirectory()
    let plane = try FakeControlPlane()
    plane.state.withLock { state in
      state.assignments = [assignment(1)]
      state.protocolVersion = 2
      state.capabilities = ["clock", "teleport"]
      // Field 99 with the three bytes 1, 2, 3: on a message of its own, and beside those that are known.
      state.unknownFields = [0x9a, 0x06, 0x03, 1, 2, 3]
    }
    try await withAgent(plane, directory.path) { agent in
      try await waitUntil { plane.state.withLock { $0.heartbeats > 1 } }
      plane.send(.init())
      try await waitUntil { !plane.ends(of: 1).isEmpty }
      #expect(plane.ends(of: 1).map(\.phase) == [.succeeded])
      let hello = plane.state.withLock { $0.hellos[0] }
      #expect(
        hello.protocolMin == 1 && hello.protocolMax == 2
          && hello.capabilities == ["clock", "resumable-uploads", "data", "slices"])
      try await waitUntil { plane.state.withLock { $0.heartbeatWalls.last ?? 0 > 0 } }
      // It knows that its clock is behind, and says so to both who may mend it.
      try await waitUntil { (await agent.report().clockSkewMilliseconds ?? 0) < -100_000 }
      #expect(await agent.report().text(now: SystemClock.now).contains("behind the control plane's"))
      try await waitUntil {
        plane.state.withLock { $0.inventories.last?.notices.contains { $0.contains("clock") } } == true
      }
      let sessions = plane.state.withLock { $0.sessions }
      #expect(sessions == 1, "an unknown message ended the session")
    }
  }

  @Test("N-1: to a control plane of the release before, nothing is said that it does not know")
  func earlierControlPlane() async throws {
    let directory = try TemporaryDirectory()
    let plane = try FakeControlPlane()
    // Capabilities of a welcome of version 1 mean nothing.
    plane.state.withLock { $0.capabilities = ["clock"] }
    try await withAgent(plane, directory.path) { agent in
      try await waitUntil { plane.state.withLock { $0.heartbeats > 2 } }
      let walls = plane.state.withLock { $0.heartbeatWalls }
      #expect(walls.allSatisfy { $0 == 0 })
      #expect(await agent.report().clockSkewMilliseconds == nil)
    }
  }

  @Test("a welcome of a version that the agent did not offer is refused by the agent, with both versions")
  func strangeWelcome() async throws {
    let directory = try TemporaryDirectory()
    let plane = try FakeControlPlane()
    plane.state.withLock { $0.protocolVersion = 9 }
    try await withAgent(plane, directory.path) { agent in
      try await waitUntil { await agent.report().problem?.contains("protocol 9, this agent 1 to 2") == true }
    }
  }

  @Test("I9: a token is read from a file or standard input, so that it need not be an argument")
  func tokenFile() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/token"
    try POSIXFile.write(try POSIXFile.open(path, 0o101), Array("  fbj1_a.b \n".utf8), path)
    #expect(try TokenOptions.read(path) == "fbj1_a.b")
    #expect(throws: FederationError.self) { try TokenOptions.read("/dev/null") }
    #expect(throws: FederationError.self) { try TokenOptions.read(path + ".none") }
  }

  @Test("a certificate is renewed on request without dropping the session; I9: the status holds no key")
  func rotate() async throws {
    let directory = try TemporaryDirectory()
    let plane = try FakeControlPlane()
    plane.state.withLock { $0.asksToRotate = true }
    try await withAgent(plane, directory.path) { agent in
      try await waitUntil { plane.state.withLock { $0.renewals == 1 } }
      let beats = plane.state.withLock { $0.heartbeats }
      try await waitUntil { plane.state.withLock { $0.heartbeats > beats + 2 } }
      let sessions = plane.state.withLock { $0.sessions }
      #expect(sessions == 1)
      let report = await agent.report()
      #expect(report.session.hasPrefix("established"))
      #expect(!report.text(now: SystemClock.now).contains("PRIVATE"))
    }
  }
}
