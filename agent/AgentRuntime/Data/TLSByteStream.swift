internal import Dispatch
internal import FederationModel
internal import FederationPKI
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import Rclone
internal import Synchronization

/// A TLS connection for a thread that blocks: to another cluster's export, or from a pod to its agent.
final class TLSByteStream: ByteStream {
  /// What has come and was not taken. Reading stops while it is full.
  private final class Inbox: Sendable {
    struct State {
      var pieces: [ByteBuffer] = []
      var bytes = 0
      var isEnded = false
      var error: (any Error)?
    }
    static let bytesMax = 4 << 20
    let state = Mutex(State())
    let arrival = DispatchSemaphore(value: 0)

    /// - Returns: whether more may come.
    func put(_ piece: ByteBuffer) -> Bool {
      let isRoom = state.withLock { state in
        state.pieces.append(piece)
        state.bytes += piece.readableBytes
        return state.bytes < Self.bytesMax
      }
      arrival.signal()
      return isRoom
    }

    func end(_ error: (any Error)? = nil) {
      state.withLock { state in
        state.isEnded = true
        state.error = state.error ?? error
      }
      arrival.signal()
    }
  }

  private final class Handler: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    let inbox: Inbox
    init(_ inbox: Inbox) { self.inbox = inbox }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      if !inbox.put(unwrapInboundIn(data)) { _ = context.channel.setOption(.autoRead, value: false) }
    }
    func channelInactive(context: ChannelHandlerContext) { inbox.end() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      inbox.end(error)
      context.close(promise: nil)
    }
  }

  static let silenceMax = Duration.seconds(60)
  private let channel: any Channel
  private let inbox = Inbox()

  /// Who is at the other end, for people.
  private let peer: String

  /// To another cluster's export. The peer is known by its certificate: the federation's authority issued it, and it names the cluster
  /// that we mean. Its host name means nothing.
  ///
  /// - Throws: `.unavailable` when it cannot be reached.
  convenience init(host: String, port: Int, cluster: ClusterName, trust: TrustBundle) throws {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.trustRoots = .certificates([])
    configuration.certificateVerification = .noHostnameVerification
    configuration.minimumTLSVersion = .tlsv13
    let context = try NIOSSLContext(configuration: configuration)
    try self.init(host: host, port: port, peer: "the export of cluster \(cluster)") {
      try NIOSSLClientHandler(
        context: context, serverHostname: nil,
        customVerificationCallback: { chain, promise in
          promise.succeed(Self.isAgent(chain, of: cluster, trust) ? .certificateVerified : .failed)
        })
    }
  }

  /// To whoever the context's authorities vouch for by this name or address.
  convenience init(host: String, port: Int, context: NIOSSLContext, peer: String) throws {
    // An address is no name for TLS; it is compared with the certificate's all the same.
    let isAddress = (try? SocketAddress(ipAddress: host, port: port)) != nil
    try self.init(host: host, port: port, peer: peer) {
      try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host)
    }
  }

  private init(
    host: String, port: Int, peer: String, handler: @escaping @Sendable () throws -> NIOSSLClientHandler
  ) throws {
    self.peer = peer
    let inbox = inbox
    let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connectTimeout(.seconds(5))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandlers(try handler(), Handler(inbox))
        }
      }
    do { channel = try bootstrap.connect(host: host, port: port).wait() } catch {
      throw FederationError(
        .unavailable, "\(peer) cannot be reached at \(host):\(port)", cause: error, retryAfter: .seconds(5))
    }
  }

  private static func isAgent(_ chain: [NIOSSLCertificate], of cluster: ClusterName, _ trust: TrustBundle) -> Bool {
    guard let leaf = chain.first, let der = try? leaf.toDERBytes(),
      case .agent(let agent)? = try? PeerIdentity(der: der, trusting: trust, at: SystemClock.now)
    else { return false }
    return agent.cluster == cluster
  }

  func receive(_ isCancelled: () -> Bool) throws -> [UInt8] {
    let start = ContinuousClock.now
    while true {
      let (pieces, isEnded, error) = inbox.state.withLock { state in
        defer { (state.pieces, state.bytes) = ([], 0) }
        return (state.pieces, state.isEnded, state.error)
      }
      if !pieces.isEmpty {
        channel.setOption(.autoRead, value: true).whenFailure { _ in }
        return pieces.flatMap { Array(buffer: $0) }
      }
      if let error { throw failure(error) }
      if isEnded { return [] }
      if isCancelled() { throw CancellationError() }
      guard ContinuousClock.now - start < Self.silenceMax else { throw failure(nil) }
      _ = inbox.arrival.wait(timeout: .now() + .milliseconds(200))
    }
  }

  /// Returns when the bytes have gone: a body that is longer than what the network takes is nowhere whole.
  func send(_ bytes: [UInt8], _ isCancelled: () -> Bool) throws {
    let gone = DispatchSemaphore(value: 0)
    channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenComplete { [inbox] result in
      if case .failure(let error) = result { inbox.end(error) }
      gone.signal()
    }
    let start = ContinuousClock.now
    while gone.wait(timeout: .now() + .milliseconds(200)) == .timedOut {
      if isCancelled() { throw CancellationError() }
      guard ContinuousClock.now - start < Self.silenceMax else { throw failure(nil) }
    }
    if let error = inbox.state.withLock({ $0.error }) { throw failure(error) }
  }

  func close() { channel.close(promise: nil) }
  deinit { close() }

  private func failure(_ error: (any Error)?) -> FederationError {
    let text = error.map { "\($0)" } ?? ""
    if text.contains("CERTIFICATE_VERIFY_FAILED") || text.contains("failedToValidateHostname") {
      return FederationError(
        .unauthenticated, "\(peer) does not show a certificate that is trusted here", cause: error)
    }
    return FederationError(
      .unavailable, "the connection to \(peer) failed", cause: error, retryAfter: .seconds(2))
  }
}
