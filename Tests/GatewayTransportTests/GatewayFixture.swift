import AgentRuntime
import ControlPlaneServer
import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import SwiftProtobuf
import Synchronization
import Testing

let noon = Timestamp(milliseconds: 1_790_000_000_000)

/// A clock that stands still until it is set.
final class TestClock: Sendable {
  private let moment = Mutex(noon)
  var now: Timestamp { moment.withLock { $0 } }
  func set(_ timestamp: Timestamp) { moment.withLock { $0 = timestamp } }
}

/// The durable side of revocation, and how often it was asked.
final class TestRevocations: RevocationSource {
  private struct State {
    var revoked: Set<ClusterName> = []
    var questions = 0
    var isDown = false
  }
  private let state = Mutex(State())
  var questions: Int { state.withLock { $0.questions } }
  func insert(_ cluster: ClusterName) { state.withLock { _ = $0.revoked.insert(cluster) } }
  func goDown() { state.withLock { $0.isDown = true } }
  func isRevoked(_ agent: AgentIdentity) async throws -> Bool {
    try state.withLock {
      $0.questions += 1
      if $0.isDown { throw FederationError(.unavailable, "no database") }
      return $0.revoked.contains(agent.cluster)
    }
  }
}

/// Answers each message of a session with who it was taken for.
struct WhoService: Fubini_Agent_V1_AgentGateway.SimpleServiceProtocol {
  func join(request: Fubini_Agent_V1_JoinRequest, context: ServerContext) async throws
    -> Fubini_Agent_V1_CertificateReply
  {
    guard case .joining(let key) = AgentAuthenticator.peer else {
      throw RPCError(code: .internalError, message: "not joining")
    }
    return .with { $0.cluster = "joining with a key of \(key.count) bytes" }
  }

  func renew(request: Fubini_Agent_V1_RenewRequest, context: ServerContext) async throws
    -> Fubini_Agent_V1_CertificateReply
  {
    switch AgentAuthenticator.peer {
    case .agent(let agent): .with { $0.cluster = "\(agent.cluster)" }
    case .expiredAgent(let agent): .with { $0.cluster = "\(agent.cluster), expired" }
    default: throw RPCError(code: .internalError, message: "nobody who may renew")
    }
  }

  func session(
    request: RPCAsyncSequence<Fubini_Agent_V1_AgentMessage, any Error>,
    response: RPCWriter<Fubini_Agent_V1_ControlMessage>,
    context: ServerContext
  ) async throws {
    for try await _ in request {
      let agent = try AgentAuthenticator.agent
      try await response.write(
        .with {
          $0.refused.code = agent.cluster.text
          $0.refused.message = agent.serial
        })
    }
  }

  func logs(
    request: RPCAsyncSequence<Fubini_Agent_V1_LogChunk, any Error>, response: RPCWriter<Fubini_Agent_V1_LogAck>,
    context: ServerContext
  ) async throws {}

  func getArtifact(
    request: Fubini_Agent_V1_GetArtifactRequest, response: RPCWriter<Fubini_Agent_V1_ArtifactChunk>,
    context: ServerContext
  ) async throws {
    try await response.write(.with { $0.data = .init(try! AgentAuthenticator.agent.cluster.text.utf8) })
  }

  func putArtifact(
    request: RPCAsyncSequence<Fubini_Agent_V1_PutArtifactMessage, any Error>, context: ServerContext
  ) async throws -> Fubini_Agent_V1_PutArtifactReply {
    var size: Int64 = 0
    for try await message in request { size += Int64(message.data.count) }
    return .with { $0.size = size }
  }

  func findUpload(
    request: Fubini_Agent_V1_PutArtifactStart, context: ServerContext
  ) async throws -> Fubini_Agent_V1_UploadPosition { .init() }

  func getSecret(
    request: Fubini_Agent_V1_GetSecretRequest, context: ServerContext
  ) async throws -> Fubini_Agent_V1_SecretReply { .init() }
}

/// A federation with a gateway on a port of its own.
struct Gateway: Sendable {
  var authority: CertificateAuthority
  var authenticator: AgentAuthenticator
  var serverCredentials: ServerCredentials
  var revocations: TestRevocations
  var clock: TestClock
  var audit: AuditLog
  var port: Int

  /// The gateway as it is reached through `port`, a proxy's.
  func through(port: Int) -> Gateway {
    var other = self
    other.port = port
    return other
  }

  /// Where it is dialled, without the port.
  var host = "127.0.0.1"

  var address: ControlPlaneAddress { get throws { try ControlPlaneAddress("\(host):\(port)") } }

  func agent(_ cluster: ClusterName, at now: Timestamp = noon) throws -> AgentCredentials {
    var random = SystemRandomNumberGenerator()
    let key = AgentKey(using: &random)
    let issued = try authority.issueAgentCertificate(
      requestDER: key.request(), cluster: cluster, at: now, using: &random)
    return try AgentCredentials(certificatePEM: issued.pem, keyPEM: key.pem, trust: .bundle(authority.bundle))
  }

  func joining(pin: CAPin? = nil) throws -> AgentCredentials {
    var random = SystemRandomNumberGenerator()
    let key = AgentKey(using: &random)
    return try AgentCredentials(
      certificatePEM: key.joiningCertificate(at: noon, using: &random), keyPEM: key.pem,
      trust: .pin(pin ?? authority.pin))
  }

  func connected<Result: Sendable>(
    _ credentials: AgentCredentials,
    _ body: (Fubini_Agent_V1_AgentGateway.Client<HTTP2ClientTransport.Posix>) async throws -> Result
  ) async throws -> Result {
    let clock = clock
    let transport = try ControlPlaneTransport.make(to: address, credentials: credentials) { clock.now }
    return try await withGRPCClient(transport: transport) { try await body(.init(wrapping: $0)) }
  }
}

final class AuditLog: Sendable {
  private let entries = Mutex<[RefusedPeer]>([])
  func append(_ entry: RefusedPeer) { entries.withLock { $0.append(entry) } }
  var all: [RefusedPeer] { entries.withLock { $0 } }
}

func makeAuthority(id: String = "test") throws -> CertificateAuthority {
  var random = SystemRandomNumberGenerator()
  return try .make(federationID: id, trustDomain: TrustDomain("fed.test"), at: noon, using: &random)
}

func serverPEM(_ authority: CertificateAuthority) throws -> (certificate: String, authority: String, key: String) {
  var random = SystemRandomNumberGenerator()
  let key = P256.Signing.PrivateKey()
  let issued = try authority.issueServerCertificate(
    for: key.publicKey, addresses: ["127.0.0.1"], at: noon, using: &random)
  return (issued.pem, try authority.bundle.pem(), key.pemRepresentation)
}

func withGateway(host: String = "127.0.0.1", _ body: @Sendable @escaping (Gateway) async throws -> Void) async throws {
  let authority = try makeAuthority()
  let (clock, revocations, audit) = (TestClock(), TestRevocations(), AuditLog())
  let authenticator = AgentAuthenticator(
    bundle: authority.bundle, revocations: revocations, now: { clock.now }, audit: { audit.append($0) })
  let pem = try serverPEM(authority)
  let credentials = try ServerCredentials(certificatePEM: pem.certificate, authorityPEM: pem.authority, keyPEM: pem.key)
  let transport = try GatewayTransport.make(
    address: GatewayTransport.address(host: host, port: 0), credentials: credentials, bundle: authority.bundle)
  try await withGRPCServer(transport: transport, services: [WhoService()], interceptors: [authenticator]) { _ in
    let bound = try await transport.listeningAddress
    let port = try #require(bound.ipv4?.port ?? bound.ipv6?.port)
    try await body(
      Gateway(
        authority: authority, authenticator: authenticator, serverCredentials: credentials, revocations: revocations,
        clock: clock,
        audit: audit, port: port))
  }
}

/// The status that `body` fails with; records an issue when it does not fail.
func rpcError(_ body: () async throws -> Void) async -> RPCError? {
  do {
    try await body()
    Issue.record("the call succeeded")
  } catch let error as RPCError {
    return error
  } catch {
    Issue.record("another kind of error: \(error)")
  }
  return nil
}

var quickly: CallOptions {
  var options = CallOptions.defaults
  options.waitForReady = false
  options.timeout = .seconds(60)
  return options
}
