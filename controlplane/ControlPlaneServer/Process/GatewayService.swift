import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationModel
import FederationPKI
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Logging
import ServiceLifecycle

/// The agent port as a service: its certificate, its server, and the renewal of the one while the other runs.
struct GatewayService: Service {
  let server: GRPCServer<HTTP2ServerTransport.Posix>
  let transport: HTTP2ServerTransport.Posix
  let authenticator: AgentAuthenticator
  private let identity: ServerIdentity
  private let logger: Logger

  init(
    configuration: ServerConfiguration, authority: CertificateAuthority, store: ControlPlaneStore, port: any AgentPort,
    logs: any LogStore, artifacts: any ArtifactStore, logger: Logger
  ) throws {
    self.logger = logger
    identity = try ServerIdentity(authority: authority, addresses: Self.names(configuration))
    let audit = AuditQueue(store: store, logger: logger)
    authenticator = AgentAuthenticator(
      bundle: authority.bundle, revocations: StoredRevocations(store: store), now: { Timestamp.wallClock },
      audit: { audit.record($0) })
    transport = try GatewayTransport.make(
      address: .ipv4(host: configuration.gateway.host, port: configuration.gateway.port),
      credentials: identity.credentials,
      bundle: authority.bundle)
    server = GRPCServer(
      transport: transport,
      services: [
        AgentGatewayService(
          federationID: authority.federationID, port: port, store: store, authority: authority, logs: logs,
          artifacts: artifacts,
          logger: logger, now: { Timestamp.wallClock },
          heartbeatInterval: AgentGatewayService.heartbeatInterval(for: configuration.core))
      ], interceptors: [authenticator])
  }

  func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await withGracefulShutdownHandler {
          try await server.serve()
        } onGracefulShutdown: {
          server.beginGracefulShutdown()
        }
      }
      group.addTask { await cancelWhenGracefulShutdown { await identity.keepFresh(logger) } }
      // The server ends when it is told to; the renewal alone must not end the service.
      try await group.next()
      server.beginGracefulShutdown()
      group.cancelAll()
      try await group.waitForAll()
    }
  }

  /// The port that is really bound; waits until it is.
  var boundPort: Int {
    get async throws { try await transport.listeningAddress.ipv4?.port ?? 0 }
  }

  /// What agents may dial, without ports.
  private static func names(_ configuration: ServerConfiguration) -> [String] {
    let advertised = configuration.gateway.advertise.map { address in
      address.split(separator: ":").count == 2 ? String(address.prefix { $0 != ":" }) : address
    }
    let all = [configuration.gateway.host, "127.0.0.1", "localhost"] + advertised
    return all.filter { $0 != "0.0.0.0" && $0 != "::" }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }
}

/// The control plane's own certificate for the agent port. Its key lives in memory alone and is drawn anew at each start.
private struct ServerIdentity: Sendable {
  let credentials: ServerCredentials
  private let authority: CertificateAuthority
  private let addresses: [String]
  private let key = P256.Signing.PrivateKey()

  init(authority: CertificateAuthority, addresses: [String]) throws {
    self.authority = authority
    self.addresses = addresses
    let pem = try Self.issue(authority, key, addresses)
    credentials = try ServerCredentials(
      certificatePEM: pem, authorityPEM: try authority.bundle.pem(), keyPEM: key.pemRepresentation)
  }

  private static func issue(_ authority: CertificateAuthority, _ key: P256.Signing.PrivateKey, _ addresses: [String])
    throws -> String
  {
    var random = SystemRandomNumberGenerator()
    return try authority.issueServerCertificate(
      for: key.publicKey, addresses: addresses, at: .wallClock, using: &random
    ).pem
  }

  func keepFresh(_ logger: Logger) async {
    while !Task.isCancelled {
      try? await Task.sleep(for: CertificateAuthority.serverValidity / 4)
      guard !Task.isCancelled else { return }
      do {
        try credentials.replace(
          certificatePEM: Self.issue(authority, key, addresses), authorityPEM: authority.bundle.pem(),
          keyPEM: key.pemRepresentation)
      } catch {
        logger.error("the agent port's certificate could not be renewed", metadata: ["error": "\(error)"])
      }
    }
  }
}

private struct StoredRevocations: RevocationSource {
  let store: ControlPlaneStore
  func isRevoked(_ agent: AgentIdentity) async throws -> Bool {
    try await store.isRevoked(serial: agent.serial, of: agent.cluster, issuedAt: agent.issuedAt)
  }
}

/// Refusals on their way to the audit log. Bounded: a flood of refusals must not grow memory, and the newest say the most.
private final class AuditQueue: Sendable {
  private let refusals: AsyncStream<RefusedPeer>.Continuation

  init(store: ControlPlaneStore, logger: Logger) {
    let (stream, continuation) = AsyncStream.makeStream(of: RefusedPeer.self, bufferingPolicy: .bufferingNewest(1000))
    refusals = continuation
    Task {
      for await refusal in stream {
        let actor = refusal.agent.map { "agent:\($0.cluster)" } ?? "unknown"
        logger.warning(
          "an agent was refused",
          metadata: ["agent": "\(actor)", "remote": "\(refusal.remote)", "why": "\(refusal.refusal.rawValue)"])
        try? await store.appendAudit(
          AuditRow(
            at: refusal.at, actor: actor, action: "agent.refused", object: refusal.agent?.cluster.text ?? "",
            detail: "\(refusal.method) from \(refusal.remote): \(refusal.refusal.rawValue)"))
      }
    }
  }

  func record(_ refusal: RefusedPeer) { refusals.yield(refusal) }
}
