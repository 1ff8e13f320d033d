internal import FederationAPI
public import FederationModel
public import FederationPKI
public import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import Synchronization
internal import X509

/// Says which agents' certificates are void; the store's durable answer.
public protocol RevocationSource: Sendable {
  /// - Throws: when it cannot be told now; the call is then refused as unavailable, never let through.
  func isRevoked(_ agent: AgentIdentity) async throws -> Bool
}

/// A refused call, for the audit log.
public struct RefusedPeer: Sendable, Hashable {
  public var refusal: PeerRefusal
  public var method: String
  /// The peer's network address.
  public var remote: String
  /// What the certificate said, where it could be read and was ours.
  public var agent: AgentIdentity?
  public var at: Timestamp
}

/// The one place where agents are authenticated: an interceptor of every call on the agent port.
///
/// It classifies the client certificate, asks whether it is revoked, lets `Join` and `Renew` do no more than they may, and ends
/// the open streams of a cluster the moment it is revoked. Handlers read who calls from `AgentAuthenticator.peer`.
public final class AgentAuthenticator: ServerInterceptor {
  /// Who makes the call that this task serves; nil outside a call.
  @TaskLocal public static var peer: PeerIdentity?

  /// The agent whose call this task serves.
  ///
  /// - Throws: `.unauthenticated` in `Join` and in `Renew` of an expired certificate, and outside of calls.
  public static var agent: AgentIdentity {
    get throws(FederationError) {
      guard case .agent(let agent) = peer else { throw PeerRefusal.mustJoin.federationError }
      return agent
    }
  }

  private struct State {
    var bundle: TrustBundle
    /// Classified before; bounded by `cacheLimit`, forgotten as a whole when full.
    var peers: [Certificate: PeerIdentity] = [:]
    /// When each certificate, by serial, was last found unrevoked.
    var clearedAt: [String: Timestamp] = [:]
    /// Certificates of a cluster issued up to this moment are void: what this process has been told of.
    var voidUntil: [ClusterName: Timestamp] = [:]
    var streams: [ClusterName: [Int: OpenStream]] = [:]
    var nextStream = 0
  }

  private struct OpenStream {
    var agent: AgentIdentity
    var kill: AsyncStream<Never>.Continuation
  }

  static let cacheLimit = 8192
  /// How long a durable "not revoked" is believed. A revocation made here acts at once; this bounds those made elsewhere.
  static let clearedFor: Duration = .milliseconds(1500)

  private let state: Mutex<State>
  private let revocations: any RevocationSource
  private let now: @Sendable () -> Timestamp
  private let audit: @Sendable (RefusedPeer) -> Void

  /// - Parameters:
  ///   - now: the wall clock.
  ///   - audit: takes each refusal; must not block.
  public init(
    bundle: TrustBundle, revocations: any RevocationSource, now: @escaping @Sendable () -> Timestamp,
    audit: @escaping @Sendable (RefusedPeer) -> Void
  ) {
    state = Mutex(State(bundle: bundle))
    self.revocations = revocations
    self.now = now
    self.audit = audit
  }

  /// Trusts another set of CAs from now on.
  public func replace(bundle: TrustBundle) {
    state.withLock {
      $0.bundle = bundle
      $0.peers.removeAll()
    }
  }

  /// Voids what `cluster` was issued up to `moment`, and ends its open calls. Idempotent; the caller has made it durable before.
  public func revoke(_ cluster: ClusterName, issuedUpTo moment: Timestamp) {
    let ended = state.withLock { state in
      let until = max(moment, state.voidUntil[cluster] ?? moment)
      state.voidUntil[cluster] = until
      return (state.streams[cluster] ?? [:]).values.filter { $0.agent.issuedAt <= until }
    }
    for stream in ended { stream.kill.finish() }
  }

  /// How many calls of `cluster` with a response stream are open.
  public func openStreamCount(of cluster: ClusterName) -> Int { state.withLock { $0.streams[cluster]?.count ?? 0 } }

  @concurrent
  public func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingServerRequest<Input>, context: ServerContext,
    next:
      @concurrent @Sendable (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<
        Output
      >
  ) async throws -> StreamingServerResponse<Output> {
    let peer: PeerIdentity
    do {
      peer = try await authenticate(context)
    } catch {
      throw RPCError(error)
    }
    var response = try await Self.$peer.withValue(peer) { try await next(request, context) }
    // The handler of a stream does its work in the producer, after `next` has returned.
    if case .success(var contents) = response.accepted {
      let producer = contents.producer
      contents.producer = { writer in
        try await Self.$peer.withValue(peer) {
          try await self.untilRevoked(peer) { try await producer(writer) }
        }
      }
      response.accepted = .success(contents)
    }
    return response
  }
}

extension AgentAuthenticator {
  private func authenticate(_ context: ServerContext) async throws(FederationError) -> PeerIdentity {
    let moment = now()
    var known: AgentIdentity?
    do {
      let peer = try classify(context, at: moment)
      switch peer {
      case .agent(let agent), .expiredAgent(let agent): known = agent
      case .joining: break
      }
      try Self.check(peer, mayCall: context.descriptor.method)
      if let known, try await isRevoked(known, at: moment) { throw PeerRefusal.revoked }
      return peer
    } catch let refusal as PeerRefusal {
      audit(
        RefusedPeer(
          refusal: refusal, method: context.descriptor.method, remote: context.remotePeer, agent: known, at: moment))
      throw refusal.federationError
    } catch {
      throw FederationError(
        .unavailable, "The control plane cannot check the certificate just now; it will be tried again.", cause: error,
        retryAfter: .seconds(2))
    }
  }

  private func classify(_ context: ServerContext, at moment: Timestamp) throws(PeerRefusal) -> PeerIdentity {
    let transport = context.transportSpecific as? HTTP2ServerTransport.Posix.Context
    guard let certificate = transport?.peerCertificate else { throw .missing }
    let (known, bundle) = state.withLock { ($0.peers[certificate], $0.bundle) }
    if let known { return try known.reclassified(at: moment) }
    let peer = try PeerIdentity(certificate: certificate, trusting: bundle, at: moment)
    if case .joining = peer { return peer }
    state.withLock {
      if $0.peers.count >= Self.cacheLimit { $0.peers.removeAll() }
      if $0.bundle == bundle { $0.peers[certificate] = peer }
    }
    return peer
  }

  private static func check(_ peer: PeerIdentity, mayCall method: String) throws(PeerRefusal) {
    switch (peer, method) {
    case (.joining, "Join"), (.agent, "Renew"), (.expiredAgent, "Renew"): return
    case (.agent, "Join"), (.expiredAgent, "Join"): throw .alreadyJoined
    case (.joining, _): throw .mustJoin
    case (.expiredAgent, _): throw .mustRenew
    case (.agent, _): return
    }
  }

  private func isRevoked(_ agent: AgentIdentity, at moment: Timestamp) async throws -> Bool {
    let cached: Bool? = state.withLock { state in
      if let until = state.voidUntil[agent.cluster], agent.issuedAt <= until { return true }
      guard let cleared = state.clearedAt[agent.serial], moment >= cleared, moment < cleared + Self.clearedFor
      else { return nil }
      return false
    }
    if let cached { return cached }
    if try await revocations.isRevoked(agent) { return true }
    state.withLock {
      if $0.clearedAt.count >= Self.cacheLimit { $0.clearedAt.removeAll() }
      $0.clearedAt[agent.serial] = moment
    }
    return false
  }

  /// Runs a stream's handler, and cancels it when its cluster is revoked.
  private func untilRevoked(_ peer: PeerIdentity, _ body: @escaping @Sendable () async throws -> Metadata) async throws
    -> Metadata
  {
    guard case .agent(let agent) = peer else { return try await body() }
    let (killed, kill) = AsyncStream<Never>.makeStream()
    guard let number = register(OpenStream(agent: agent, kill: kill)) else {
      throw RPCError(PeerRefusal.revoked.federationError)
    }
    defer { unregister(number, of: agent.cluster) }
    return try await withThrowingTaskGroup(of: Metadata?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        for await _ in killed {}
        return nil
      }
      defer { group.cancelAll() }
      if let metadata = try await group.next() ?? nil { return metadata }
      // The stream's end: revoked, unless this task itself was cancelled because the peer has gone.
      try Task.checkCancellation()
      throw RPCError(PeerRefusal.revoked.federationError)
    }
  }

  /// nil when the cluster was revoked between the check of the call and now.
  private func register(_ stream: OpenStream) -> Int? {
    state.withLock { state in
      if let until = state.voidUntil[stream.agent.cluster], stream.agent.issuedAt <= until { return nil }
      let number = state.nextStream
      state.nextStream += 1
      state.streams[stream.agent.cluster, default: [:]][number] = stream
      return number
    }
  }

  private func unregister(_ number: Int, of cluster: ClusterName) {
    state.withLock {
      $0.streams[cluster]?[number] = nil
      if $0.streams[cluster]?.isEmpty == true { $0.streams[cluster] = nil }
    }
  }
}
