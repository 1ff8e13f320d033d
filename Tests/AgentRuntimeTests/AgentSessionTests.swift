import Crypto
import Execution
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Logging
import SwiftProtobuf
import Synchronization
import Testing

@testable import AgentRuntime

/// The other side of the contract, small: assigns what it is told to, acknowledges, forgets what has ended.
final class FakeControlPlane: Fubini_Agent_V1_AgentGateway.SimpleServiceProtocol, Sendable {
  struct State {
    var assignments: [Fubini_Agent_V1_Assignment] = []
    var events: [Fubini_Agent_V1_RunEvent] = []
    var sessions = 0
    var renewals = 0
    var heartbeats = 0
    var cutsAfterEvents = false
    var asksToRotate = false
  }
  let state = Mutex(State())
  let authority: CertificateAuthority

  init() throws {
    var random = SystemRandomNumberGenerator()
    authority = try CertificateAuthority.make(
      federationID: "f1", trustDomain: try TrustDomain("test.example"), at: SystemClock.now, using: &random)
  }

  private func certificate(_ der: Data) throws -> Fubini_Agent_V1_CertificateReply {
    var random = SystemRandomNumberGenerator()
    let issued = try authority.issueAgentCertificate(
      requestDER: Array(der), cluster: "edge-1", at: SystemClock.now, using: &random)
    let bundle = try authority.bundle.pem()
    return .with {
      $0.certificatePem = issued.pem
      $0.caPem = bundle
      $0.cluster = "edge-1"
      $0.federationID = "f1"
    }
  }

  func join(request: Fubini_Agent_V1_JoinRequest, context: ServerContext) async throws -> Fubini_Agent_V1_CertificateReply {
    try certificate(request.csrDer)
  }

  func renew(request: Fubini_Agent_V1_RenewRequest, context: ServerContext) async throws -> Fubini_Agent_V1_CertificateReply {
    state.withLock { $0.renewals += 1 }
    return try certificate(request.csrDer)
  }

  func session(
    request: RPCAsyncSequence<Fubini_Agent_V1_AgentMessage, any Error>, response: RPCWriter<Fubini_Agent_V1_ControlMessage>,
    context: ServerContext
  ) async throws {
    for try await message in request {
      switch message.message {
      case .hello:
        let (assignments, acknowledged, rotates) = state.withLock { state in
          state.sessions += 1
          return (state.assignments, state.events.map(\.sequence).max() ?? 0, state.asksToRotate)
        }
        try await response.write(
          .with {
            $0.welcome.protocol = 1
            $0.welcome.assignments = assignments
            $0.welcome.ackedSequence = acknowledged
            $0.welcome.heartbeatIntervalMs = 200
          })
        if rotates { try await response.write(.with { $0.rotate = .init() }) }
      case .heartbeat(let heartbeat):
        state.withLock { $0.heartbeats += 1 }
        try await response.write(.with { $0.heartbeat.sentBoottimeNs = heartbeat.sentBoottimeNs })
      case .events(let events):
        let cuts = state.withLock { state in
          state.events += events.events
          defer { state.cutsAfterEvents = false }
          return state.cutsAfterEvents
        }
        if cuts { throw RPCError(code: .unavailable, message: "cut by the test") }
        try await response.write(.with { $0.ack.sequence = events.events.last?.sequence ?? 0 })
      default: break
      }
    }
  }

  func logs(
    request: RPCAsyncSequence<Fubini_Agent_V1_LogChunk, any Error>, response: RPCWriter<Fubini_Agent_V1_LogAck>,
    context: ServerContext
  ) async throws { for try await _ in request {} }

  func getArtifact(
    request: Fubini_Agent_V1_GetArtifactRequest, response: RPCWriter<Fubini_Agent_V1_ArtifactChunk>, context: ServerContext
  ) async throws { throw RPCError(code: .notFound, message: "nothing is stored here") }

  func putArtifact(
    request: RPCAsyncSequence<Fubini_Agent_V1_PutArtifactMessage, any Error>, context: ServerContext
  ) async throws -> Fubini_Agent_V1_PutArtifactReply { throw RPCError(code: .unimplemented, message: "not here") }

  /// Serves over TLS 1.3 on a port of its own while `body` runs.
  func serving(_ body: @Sendable (String) async throws -> Void) async throws {
    var random = SystemRandomNumberGenerator()
    let key = P256.Signing.PrivateKey()
    let issued = try authority.issueServerCertificate(
      for: key.publicKey, addresses: ["127.0.0.1"], at: SystemClock.now, using: &random)
    let chain = try [issued.pem, authority.bundle.pem()].map {
      TLSConfig.CertificateSource.bytes(Array($0.utf8), format: .pem)
    }
    let transport = HTTP2ServerTransport.Posix(
      address: .ipv4(host: "127.0.0.1", port: 0),
      transportSecurity: .tls(
        certificateChain: chain, privateKey: .bytes(Array(key.pemRepresentation.utf8), format: .pem)))
    try await withGRPCServer(transport: transport, services: [self]) { server in
      let address = try await server.listeningAddress
      try await body("127.0.0.1:\(address?.ipv4?.port ?? 0)")
    }
  }
}

func waitUntil(timeout: Duration = .seconds(20), _ condition: () async -> Bool) async throws {
  let start = ContinuousClock.now
  while !(await condition()) {
    guard ContinuousClock.now - start < timeout else {
      Issue.record("the condition did not hold within \(timeout)")
      throw CancellationError()
    }
    try await Task.sleep(for: .milliseconds(10))
  }
}

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
        configuration: configuration, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
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
      try await waitUntil { plane.state.withLock { Set($0.events.filter { $0.phase == .succeeded }.map(\.runID)).count == 500 } }
      #expect(plane.state.withLock { $0.sessions } >= 2)
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
      #expect(plane.state.withLock { $0.sessions } == 1)
      let report = await agent.report()
      #expect(report.session.hasPrefix("established"))
      #expect(!report.text(now: SystemClock.now).contains("PRIVATE"))
    }
  }
}
