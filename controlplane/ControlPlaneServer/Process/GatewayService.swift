import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationAPI
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
  let sessions: SessionRegistry
  private let identity: ServerIdentity
  private let authority: LiveAuthority
  private let store: ControlPlaneStore
  private let logger: Logger

  init(
    configuration: ServerConfiguration, authority: LiveAuthority, store: ControlPlaneStore, port: any AgentPort,
    logs: any LogStore, artifacts: any ArtifactStore, secrets: SecretVault, denials: DenialLog, logger: Logger
  ) throws {
    self.logger = logger
    self.authority = authority
    self.store = store
    sessions = SessionRegistry(protocols: configuration.gateway.protocols)
    identity = try ServerIdentity(authority: authority, addresses: Self.names(configuration))
    authenticator = AgentAuthenticator(
      bundle: authority.current.bundle, revocations: StoredRevocations(store: store), now: { Timestamp.wallClock },
      audit: { denials.note($0) })
    transport = try GatewayTransport.make(
      address: GatewayTransport.address(host: configuration.gateway.host, port: configuration.gateway.port),
      credentials: identity.credentials,
      bundle: authority.current.bundle)
    server = GRPCServer(
      transport: transport,
      services: [
        AgentGatewayService(
          federationID: authority.current.federationID, port: port, store: store, denials: denials,
          authority: authority, logs: logs,
          artifacts: artifacts, secrets: secrets,
          logger: logger, now: { Timestamp.wallClock }, sessions: sessions,
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
      group.addTask { await cancelWhenGracefulShutdown { await followAuthority() } }
      // The server ends when it is told to; the renewal alone must not end the service.
      try await group.next()
      server.beginGracefulShutdown()
      group.cancelAll()
      try await group.waitForAll()
    }
  }

  /// The port that is really bound; waits until it is.
  var boundPort: Int {
    get async throws {
      let address = try await transport.listeningAddress
      return address.ipv4?.port ?? address.ipv6?.port ?? 0
    }
  }

  /// What agents may dial, without ports.
  private static func names(_ configuration: ServerConfiguration) -> [String] {
    let endpoints = ([configuration.gateway.host] + configuration.gateway.advertise).map { Endpoint($0) }
    let all = endpoints.filter { !$0.isWildcard }.map(\.host) + ["127.0.0.1", "::1", "localhost"]
    return all.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }
}

// MARK: Replacing the CA

extension GatewayService {
  /// How often the CA's files are read again.
  private static let authorityInterval = Duration.seconds(2)
  /// How often the agents that are behind are looked for while there are any.
  private static let catchUpInterval = Duration.seconds(15)

  /// Follows the CA's files: a change acts on the next handshake, and every agent that does not know it yet is asked to renew,
  /// over its open session, until all do.
  private func followAuthority() async {
    var isSettled = false
    var checked = ContinuousClock.now - Self.catchUpInterval
    var lastProblem = ""
    while !Task.isCancelled {
      do {
        if try authority.reload() {
          try adopt()
          isSettled = false
          checked = .now - Self.catchUpInterval
        }
        if !isSettled, .now - checked >= Self.catchUpInterval {
          checked = .now
          isSettled = try await catchUp()
        }
        lastProblem = ""
      } catch {
        let problem = (error as? FederationError)?.publicMessage ?? "\(error)"
        if problem != lastProblem {
          logger.error("the CA stays as it was", metadata: ["problem": "\(problem)"])
        }
        lastProblem = problem
      }
      try? await Task.sleep(for: Self.authorityInterval)
    }
  }

  private func adopt() throws {
    let bundle = authority.current.bundle
    // Trust first: whoever meets the new certificate must not be refused for the one that he answers with.
    authenticator.replace(bundle: bundle)
    try identity.refresh()
    sessions.forgetAsking()
    logger.notice(
      "the CA has changed",
      metadata: ["signs": "\(bundle.fingerprints[0])", "trusted": "\(bundle.fingerprints.count)"])
  }

  /// - Returns: whether every cluster's newest certificate is of the CA that signs now, and came with all that are trusted now.
  private func catchUp() async throws -> Bool {
    let trusted = authority.current.bundle.fingerprints
    let behind = try await store.clusterTrust().filter {
      $0.authority != trusted[0] || $0.trusts != Set(trusted)
    }
    let asked = sessions.rotate(Set(behind.map(\.cluster)), at: .now)
    if asked > 0 { logger.info("agents are asked to renew their certificates", metadata: ["count": "\(asked)"]) }
    return behind.isEmpty
  }
}

/// The control plane's own certificate for the agent port. Its key lives in memory alone and is drawn anew at each start.
private struct ServerIdentity: Sendable {
  let credentials: ServerCredentials
  private let authority: LiveAuthority
  private let addresses: [String]
  private let key = P256.Signing.PrivateKey()

  init(authority: LiveAuthority, addresses: [String]) throws {
    self.authority = authority
    self.addresses = addresses
    let signing = authority.current
    credentials = try ServerCredentials(
      certificatePEM: Self.issue(signing, key, addresses), authorityPEM: signing.certificatePEM(),
      keyPEM: key.pemRepresentation)
  }

  private static func issue(_ authority: CertificateAuthority, _ key: P256.Signing.PrivateKey, _ addresses: [String])
    throws -> String
  {
    var random = SystemRandomNumberGenerator()
    return try authority.issueServerCertificate(
      for: key.publicKey, addresses: addresses, at: .wallClock, using: &random
    ).pem
  }

  /// A new certificate, by the CA that signs now, for connections made from now on.
  func refresh() throws {
    let signing = authority.current
    try credentials.replace(
      certificatePEM: Self.issue(signing, key, addresses), authorityPEM: signing.certificatePEM(),
      keyPEM: key.pemRepresentation)
  }

  func keepFresh(_ logger: Logger) async {
    while !Task.isCancelled {
      try? await Task.sleep(for: CertificateAuthority.serverValidity / 4)
      guard !Task.isCancelled else { return }
      do {
        try refresh()
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
