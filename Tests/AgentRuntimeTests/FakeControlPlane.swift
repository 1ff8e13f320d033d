import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import SwiftProtobuf
import Synchronization

@testable import AgentRuntime

/// The other side of the contract, small and over real TLS: assigns what it is told to, acknowledges, keeps logs and artifacts.
final class FakeControlPlane: Fubini_Agent_V1_AgentGateway.SimpleServiceProtocol, Sendable {
  struct State {
    /// The complete desired set.
    var assignments: [Fubini_Agent_V1_Assignment] = []
    var events: [Fubini_Agent_V1_RunEvent] = []
    var logs: [Int64: Data] = [:]
    var completeLogs: Set<Int64> = []
    var artifacts: [String: Data] = [:]
    var inventories: [Fubini_Agent_V1_Inventory] = []
    var sessions = 0
    var renewals = 0
    var heartbeats = 0
    /// Events of a further message are kept, but the session is cut instead of acknowledging them.
    var cutsAfterEvents = false
    var asksToRotate = false
    /// Every message of assignments goes over the wire twice.
    var saysTwice = false
    var putLimitBytes = Int.max
    /// Of the welcome.
    var protocolVersion: UInt32 = 1
    var capabilities: [String] = []
    var hellos: [Fubini_Agent_V1_Hello] = []
    var heartbeatWalls: [Int64] = []
    /// What the agent told of its cache.
    var reports: [Fubini_Agent_V1_CacheReport] = []
    var dataEvents: [Fubini_Agent_V1_DataEvent] = []
    /// The complete set, sent after each welcome of a session that uses data.
    var orders = Fubini_Agent_V1_DataOrders()
    /// By name.
    var secrets: [String: [String: String]] = [:]
    var secretRequests: [Fubini_Agent_V1_GetSecretRequest] = []
    var artifactRequests: [Fubini_Agent_V1_GetArtifactRequest] = []
    /// An answer is cut after so many bytes.
    var getLimitBytes = Int.max
    /// What a later release says besides: merged into each message that is sent.
    var unknownFields: [UInt8] = []
    var outgoing: AsyncStream<Fubini_Agent_V1_ControlMessage>.Continuation?
  }
  static let assignmentsPerMessage = 256
  let state = Mutex(State())
  let authority: CertificateAuthority

  init() throws {
    var random = SystemRandomNumberGenerator()
    authority = try CertificateAuthority.make(
      federationID: "f1", trustDomain: try TrustDomain("test.example"), at: SystemClock.now, using: &random)
  }

  /// Over the open session; nothing happens without one.
  func send(_ message: Fubini_Agent_V1_ControlMessage) { state.withLock { _ = $0.outgoing?.yield(message) } }

  func ends(of run: Int64) -> [Fubini_Agent_V1_RunEvent] {
    state.withLock { state in
      var seen: Set<UInt64> = []
      return state.events.filter { event in
        event.runID == run && event.phase.model?.isTerminal == true && seen.insert(event.sequence).inserted
      }
    }
  }

  /// It has ended, and all that it said is here.
  func isFinished(_ run: Int64) -> Bool {
    guard let end = ends(of: run).first else { return false }
    return end.phase == .error || state.withLock { $0.completeLogs.contains(run) }
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

  func join(
    request: Fubini_Agent_V1_JoinRequest, context: ServerContext
  ) async throws -> Fubini_Agent_V1_CertificateReply { try certificate(request.csrDer) }

  func renew(
    request: Fubini_Agent_V1_RenewRequest, context: ServerContext
  ) async throws -> Fubini_Agent_V1_CertificateReply {
    state.withLock { $0.renewals += 1 }
    return try certificate(request.csrDer)
  }

  func session(
    request: RPCAsyncSequence<Fubini_Agent_V1_AgentMessage, any Error>,
    response: RPCWriter<Fubini_Agent_V1_ControlMessage>, context: ServerContext
  ) async throws {
    let (messages, continuation) = AsyncStream.makeStream(of: Fubini_Agent_V1_ControlMessage.self)
    state.withLock { $0.outgoing = continuation }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [self] in
        for await message in messages {
          var later = message
          try later.merge(serializedBytes: state.withLock { $0.unknownFields })
          try await response.write(later)
        }
      }
      group.addTask { [self] in
        defer { continuation.finish() }
        for try await message in request { try received(message, continuation) }
      }
      while try await group.next() != nil {}
    }
  }

  private func received(
    _ message: Fubini_Agent_V1_AgentMessage, _ reply: AsyncStream<Fubini_Agent_V1_ControlMessage>.Continuation
  ) throws {
    switch message.message {
    case .hello(let hello): welcome(hello, reply)
    case .heartbeat(let heartbeat):
      let saysTime = state.withLock { state in
        state.heartbeats += 1
        state.heartbeatWalls.append(heartbeat.wallMs)
        return state.capabilities.contains("clock")
      }
      reply.yield(
        .with {
          $0.heartbeat.sentBoottimeNs = heartbeat.sentBoottimeNs
          // Two minutes ahead of the agent.
          if saysTime { $0.heartbeat.wallMs = SystemClock.now.milliseconds + 120_000 }
        })
    case .events(let events):
      let cuts = state.withLock { state in
        state.events += events.events
        defer { state.cutsAfterEvents = false }
        return state.cutsAfterEvents
      }
      if cuts { throw RPCError(code: .unavailable, message: "cut by the test") }
      reply.yield(.with { $0.ack.sequence = events.events.last?.sequence ?? 0 })
    case .inventory(let inventory): state.withLock { $0.inventories.append(inventory) }
    case .cache(let report): state.withLock { $0.reports.append(report) }
    case .data(let data): state.withLock { $0.dataEvents += data.events }
    // None of its agents has volumes.
    case .claims: break
    case nil: break
    }
  }

  private func welcome(
    _ hello: Fubini_Agent_V1_Hello, _ reply: AsyncStream<Fubini_Agent_V1_ControlMessage>.Continuation
  ) {
    let (assignments, acknowledged, rotates, times) = state.withLock { state in
      state.sessions += 1
      state.hellos.append(hello)
      state.inventories.append(hello.inventory)
      return (
        state.assignments, state.events.map(\.sequence).max() ?? 0, state.asksToRotate, state.saysTwice ? 2 : 1
      )
    }
    let (version, capabilities) = state.withLock { ($0.protocolVersion, $0.capabilities) }
    reply.yield(
      .with {
        $0.welcome.protocol = version
        $0.welcome.capabilities = capabilities
        $0.welcome.assignments = Array(assignments.prefix(Self.assignmentsPerMessage))
        $0.welcome.desiredRuns = assignments.map(\.runID)
        $0.welcome.ackedSequence = acknowledged
        $0.welcome.heartbeatIntervalMs = 200
      })
    for _ in 0..<times {
      var rest = assignments.dropFirst(times == 1 ? Self.assignmentsPerMessage : 0)
      while !rest.isEmpty {
        let some = Array(rest.prefix(Self.assignmentsPerMessage))
        rest = rest.dropFirst(some.count)
        reply.yield(.with { $0.assign.assignments = some })
      }
    }
    if rotates { reply.yield(.with { $0.rotate = .init() }) }
    if capabilities.contains("data") {
      var orders = state.withLock { $0.orders }
      orders.complete = true
      reply.yield(.with { $0.data = orders })
    }
  }

  func logs(
    request: RPCAsyncSequence<Fubini_Agent_V1_LogChunk, any Error>, response: RPCWriter<Fubini_Agent_V1_LogAck>,
    context: ServerContext
  ) async throws {
    for try await chunk in request {
      let ack = state.withLock { state -> Fubini_Agent_V1_LogAck in
        var stored = state.logs[chunk.runID] ?? Data()
        // What is stored already is left as it is; a gap is not filled with what comes after it.
        if chunk.offset <= stored.count {
          stored += chunk.data.dropFirst(stored.count - Int(chunk.offset))
          if chunk.last { state.completeLogs.insert(chunk.runID) }
        }
        state.logs[chunk.runID] = stored
        return .with {
          $0.runID = chunk.runID
          $0.offset = Int64(stored.count)
          $0.complete = state.completeLogs.contains(chunk.runID)
        }
      }
      try await response.write(ack)
    }
  }

  func getArtifact(
    request: Fubini_Agent_V1_GetArtifactRequest, response: RPCWriter<Fubini_Agent_V1_ArtifactChunk>,
    context: ServerContext
  ) async throws {
    let (found, limit) = state.withLock { state in
      state.artifactRequests.append(request)
      return (state.artifacts[request.key], state.getLimitBytes)
    }
    guard let data = found else {
      throw RPCError(FederationError(.notFound, "nothing is stored at \(request.key)"))
    }
    var rest = data.dropFirst(Int(request.offset))
    let isCut = rest.count > limit
    rest = rest.prefix(limit)
    while !rest.isEmpty {
      try await response.write(.with { $0.data = Data(rest.prefix(256 << 10)) })
      rest = rest.dropFirst(256 << 10)
    }
    if isCut { throw RPCError(code: .unavailable, message: "cut by the test") }
  }

  func putArtifact(
    request: RPCAsyncSequence<Fubini_Agent_V1_PutArtifactMessage, any Error>, context: ServerContext
  ) async throws -> Fubini_Agent_V1_PutArtifactReply {
    let limit = state.withLock { $0.putLimitBytes }
    var key = ""
    var data = Data()
    for try await message in request {
      switch message.message {
      case .start(let start): key = start.key
      case .data(let bytes):
        data += bytes
        if data.count > limit {
          throw RPCError(FederationError(.resourceExhausted, "\(key) is larger than the \(limit) bytes allowed here"))
        }
      case .end, nil: break
      }
    }
    let sha256 = ArtifactPacking.hexadecimal(SHA256.hash(data: data))
    state.withLock { $0.artifacts[key] = data }
    return .with {
      $0.size = Int64(data.count)
      $0.sha256 = sha256
    }
  }

  func getSecret(
    request: Fubini_Agent_V1_GetSecretRequest, context: ServerContext
  ) async throws -> Fubini_Agent_V1_SecretReply {
    let name = request.exportOf.isEmpty ? request.name : "export:" + request.exportOf
    let values = state.withLock { state in
      state.secretRequests.append(request)
      return state.secrets[name]
    }
    guard let values else { throw RPCError(FederationError(.permissionDenied, "no order names the secret \(name)")) }
    return .with { $0.values = values }
  }

  func findUpload(
    request: Fubini_Agent_V1_PutArtifactStart, context: ServerContext
  ) async throws -> Fubini_Agent_V1_UploadPosition {
    throw RPCError(code: .unimplemented, message: "this control plane keeps nothing of a cut upload")
  }

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
    try await withThrowingTaskGroup(of: Void.self) { group in
      let server = GRPCServer(transport: transport, services: [self])
      group.addTask { try await server.serve() }
      let address = try await server.listeningAddress
      // Whoever is still connected when the body ends is cut off: the next test must not wait for it.
      defer { group.cancelAll() }
      try await body("127.0.0.1:\(address?.ipv4?.port ?? 0)")
    }
  }
}
