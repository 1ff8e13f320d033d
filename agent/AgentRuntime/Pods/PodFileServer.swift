internal import Execution
internal import FederationModel
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Serves runs' files to their pods, over TLS, one request for each connection (docs/adr/0033-kubernetes.md).
///
/// - `GET /v1/runs/RUN/inputs`: a tar stream.
/// - `PUT /v1/runs/RUN/outputs`: a tar stream.
/// - `PUT /v1/runs/RUN/stdout`: the end of the program's standard output.
/// - `GET /v1/runs/RUN/members`: of a gang, how many of its pods have come.
/// - `GET /v1/runs/RUN/farewell`: of a run that must leave, the signal that it has asked for and milliseconds of grace; 204 without.
/// - `GET /v1/runs/RUN/lease`: milliseconds since the agent's session was last known to be alive, `-` when it never was; then, where the
///   run is paid for as it goes on, how many of its wall time are held for it. 404 when there is neither.
///
/// Each with `Authorization: Bearer TOKEN`, where the token is for that run alone, with `Fubini-Pod`, the pod's UID, and in gangs with
/// `Fubini-Rank`.
final class PodFileServer: PodFiles {
  struct Configuration: Sendable {
    /// Of the agent.
    var stateDirectory: String
    /// As pods reach it: `https://HOST:PORT`.
    var url: String
    var port: Int
    /// nil: every one of the machine.
    var address: String?
    var limits = ArchiveLimits()
    /// Further ones are closed at once; pods come again.
    var connectionsMax = 64
    /// From connecting to the end of the request's head.
    var headTime = Duration.seconds(15)
    /// Without a byte in either direction.
    var silenceMax = Duration.seconds(60)
  }

  typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

  private let configuration: Configuration
  private let authority: PodAuthority
  private let store: PodFileStore
  private let logger: Logger
  private let leaseBegin = Mutex<UInt64?>(nil)
  private let bound = Mutex<Int?>(nil)
  private let connections = Atomic(0)

  init(
    _ configuration: Configuration, workspace: @escaping @Sendable (RunID) -> RunWorkspace, logger: Logger
  ) throws {
    self.configuration = configuration
    self.logger = logger
    let (host, _) = try ExportAccess.address(configuration.url)
    authority = try PodAuthority(directory: configuration.stateDirectory + "/pods", host: host)
    store = PodFileStore(workspace: workspace, limits: configuration.limits)
  }

  /// Where it listens; nil before it does.
  var port: Int? { bound.withLock { $0 } }

  // MARK: For the executor

  func access(for run: RunID) throws -> PodAccess {
    PodAccess(
      url: configuration.url, certificateAuthorityPEM: authority.certificatePEM, token: authority.token(for: run))
  }

  func share(_ files: SharedPodFiles, of run: RunID, in workspace: RunWorkspace) throws {
    try PodFileStore.write(files, in: workspace)
  }

  func gather(_ run: RunID) async throws { try await BlockingWork.run { [store] in try store.gather(run) } }

  func renewLease(boottimeNanoseconds: UInt64) {
    leaseBegin.withLock { $0 = max($0 ?? 0, boottimeNanoseconds) }
  }

  // MARK: Connections

  /// Until the task is cancelled.
  ///
  /// - Throws: `.failedPrecondition` when it cannot listen.
  func run() async throws {
    // A pod that goes away while its files are packed must not end the agent.
    signal(SIGPIPE, SIG_IGN)
    let listener = try await listen()
    bound.withLock { $0 = listener.channel.localAddress?.port }
    try await listener.executeThenClose { incoming in
      try await withThrowingDiscardingTaskGroup { group in
        for try await connection in incoming { group.addTask { [self] in await serve(connection) } }
      }
    }
  }

  private func listen() async throws -> NIOAsyncChannel<Connection, Never> {
    func listen(at address: String) async throws -> NIOAsyncChannel<Connection, Never> {
      try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .serverChannelOption(.backlog, value: 1024)
        .bind(host: address, port: configuration.port) { [self] channel in
          channel.eventLoop.makeCompletedFuture { try self.prepare(channel) }
        }
    }
    do {
      if let address = configuration.address { return try await listen(at: address) }
      // Where the kernel has no IPv6 there is no address for both.
      do { return try await listen(at: "::") } catch let error as IOError where error.errnoCode == EAFNOSUPPORT {
        return try await listen(at: "0.0.0.0")
      }
    } catch {
      throw FederationError(
        .failedPrecondition, "the server of pods' files cannot listen on port \(configuration.port): \(error)",
        cause: error)
    }
  }

  private func prepare(_ channel: any Channel) throws -> Connection {
    let handlers = channel.pipeline.syncOperations
    try handlers.addHandler(NIOSSLServerHandler(context: try authority.serverContext()))
    let silence = TimeAmount.milliseconds(configuration.silenceMax.milliseconds)
    try handlers.addHandler(IdleStateHandler(allTimeout: silence))
    try handlers.addHandler(ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)))
    try handlers.addHandler(HTTPResponseEncoder())
    try handlers.addHandler(PodConnectionGuard(headTime: .milliseconds(configuration.headTime.milliseconds)))
    return try Connection(
      wrappingChannelSynchronously: channel,
      configuration: .init(
        backPressureStrategy: .init(lowWatermark: 2, highWatermark: 8), isOutboundHalfClosureEnabled: false))
  }

  private func serve(_ connection: Connection) async {
    let count = connections.add(1, ordering: .relaxed).newValue
    defer { connections.subtract(1, ordering: .relaxed) }
    guard count <= configuration.connectionsMax else {
      connection.channel.close(promise: nil)
      // Not without the rites: the channel must be used once.
      try? await connection.executeThenClose { _, _ in }
      return
    }
    do {
      try await connection.executeThenClose { inbound, outbound in
        var parts = inbound.makeAsyncIterator()
        guard case .head(let head)? = try await parts.next() else { return }
        try await PodExchange(
          head: head, store: store, authority: authority, leaseBegin: leaseBegin.withLock { $0 }, outbound: outbound
        ).answer(&parts)
      }
    } catch {
      // A pod that has gone, or that does not speak TLS: nobody is there to be told.
      logger.debug("a pod's connection ended", metadata: ["error": "\(error)"])
    }
  }
}

/// Closes a connection whose request does not come, that is silent, or that is no HTTP.
private final class PodConnectionGuard: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = HTTPServerRequestPart
  private let headTime: TimeAmount
  private var deadline: Scheduled<Void>?

  init(headTime: TimeAmount) { self.headTime = headTime }

  func handlerAdded(context: ChannelHandlerContext) {
    let channel = context.channel
    deadline = context.eventLoop.scheduleTask(in: headTime) { channel.close(promise: nil) }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    deadline?.cancel()
    context.fireChannelRead(data)
  }

  func channelInactive(context: ChannelHandlerContext) {
    deadline?.cancel()
    context.fireChannelInactive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
