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
