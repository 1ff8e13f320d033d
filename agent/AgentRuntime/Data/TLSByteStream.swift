internal import Dispatch
internal import FederationModel
internal import FederationPKI
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import Rclone
internal import Synchronization

/// A TLS connection to another cluster's export, for a thread that blocks.
///
/// The peer is known by its certificate: the federation's authority issued it, and it names the cluster that we mean. Its host name
/// means nothing.
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

  /// - Throws: `.unavailable` when it cannot be reached.
  init(host: String, port: Int, cluster: ClusterName, trust: TrustBundle) throws {
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.trustRoots = .certificates([])
    configuration.certificateVerification = .noHostnameVerification
    configuration.minimumTLSVersion = .tlsv13
    let context = try NIOSSLContext(configuration: configuration)
    let inbox = inbox
    let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connectTimeout(.seconds(5))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let tls = try NIOSSLClientHandler(
            context: context, serverHostname: nil,
            customVerificationCallback: { chain, promise in
              promise.succeed(Self.isAgent(chain, of: cluster, trust) ? .certificateVerified : .failed)
            })
          try channel.pipeline.syncOperations.addHandlers(tls, Handler(inbox))
        }
      }
    do { channel = try bootstrap.connect(host: host, port: port).wait() } catch {
      throw FederationError(
        .unavailable, "the export of cluster \(cluster) cannot be reached at \(host):\(port)", cause: error,
        retryAfter: .seconds(5))
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

  func send(_ bytes: [UInt8], _ isCancelled: () -> Bool) throws {
    // It is not waited for: a peer that never answers the handshake would hold the thread, and `receive` has a limit.
    channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenFailure { [inbox] in inbox.end($0) }
  }

  func close() { channel.close(promise: nil) }
  deinit { close() }

  private func failure(_ error: (any Error)?) -> FederationError {
    FederationError(
      .unavailable, "the connection to another cluster's export failed", cause: error, retryAfter: .seconds(2))
  }
}
