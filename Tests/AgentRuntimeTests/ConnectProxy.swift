import NIOCore
import NIOPosix
import Synchronization

/// A small proxy that knows `CONNECT` alone, and one name: whatever `plane.test:N` is asked for is port N of this machine.
final class ConnectProxy: Sendable {
  struct Seen: Sendable, Hashable {
    var target: String
    var authorization: String?
  }
  private let seen = Mutex<[Seen]>([])
  private let channel: any Channel
  var requests: [Seen] { seen.withLock { $0 } }
  var port: Int { channel.localAddress?.port ?? 0 }

  /// - Parameter requiring: the value of `Proxy-Authorization` without which it answers 407.
  static func serving(
    requiring authorization: String? = nil, _ body: @Sendable (ConnectProxy) async throws -> Void
  ) async throws {
    let record = Record()
    let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .childChannelOption(.autoRead, value: true)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Handshake(record: record, authorization: authorization))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let proxy = ConnectProxy(channel)
    record.note = { seen in proxy.seen.withLock { $0.append(seen) } }
    do { try await body(proxy) } catch {
      try? await channel.close()
      throw error
    }
    try? await channel.close()
  }

  private init(_ channel: any Channel) { self.channel = channel }

  private final class Record: Sendable {
    private let sink = Mutex<(@Sendable (Seen) -> Void)?>(nil)
    var note: (@Sendable (Seen) -> Void)? {
      get { sink.withLock { $0 } }
      set { sink.withLock { $0 = newValue } }
    }
  }

  /// Reads the request, dials, and then hands every byte on.
  private final class Handshake: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let record: Record
    private let authorization: String?
    private var request = ByteBuffer()
    private var isDone = false

    init(record: Record, authorization: String?) {
      self.record = record
      self.authorization = authorization
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      if isDone { return context.fireChannelRead(data) }
      var bytes = unwrapInboundIn(data)
      request.writeBuffer(&bytes)
      let text = String(buffer: request)
      guard text.hasSuffix("\r\n\r\n") else { return }
      let lines = text.split(separator: "\r\n")
      let words = lines[0].split(separator: " ")
      let given = lines.first { $0.hasPrefix("Proxy-Authorization: ") }.map { String($0.dropFirst(21)) }
      record.note?(Seen(target: String(words[1]), authorization: given))
      guard words[0] == "CONNECT", words[1].hasPrefix("plane.test:"), let port = Int(words[1].dropFirst(11)) else {
        return answer(context, "HTTP/1.1 403 Forbidden\r\n\r\n", thenCloses: true)
      }
      guard authorization == nil || given == authorization else {
        return answer(context, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", thenCloses: true)
      }
      let near = context.channel
      let bound = NIOLoopBound((context, self), eventLoop: context.eventLoop)
      ClientBootstrap(group: context.eventLoop).channelInitializer { far in
        far.eventLoop.makeCompletedFuture { try far.pipeline.syncOperations.addHandler(Relay(to: near)) }
      }.connect(host: "127.0.0.1", port: port).whenComplete { result in
        let (context, handler) = bound.value
        guard case .success(let far) = result else {
          return handler.answer(context, "HTTP/1.1 502 Bad Gateway\r\n\r\n", thenCloses: true)
        }
        try? context.pipeline.syncOperations.addHandler(Relay(to: far))
        handler.isDone = true
        handler.answer(context, "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n", thenCloses: false)
      }
    }

    private func answer(_ context: ChannelHandlerContext, _ text: String, thenCloses: Bool) {
      let channel = context.channel
      channel.writeAndFlush(ByteBuffer(string: text)).whenComplete { _ in if thenCloses { channel.close(promise: nil) }
      }
    }
  }

  private final class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let other: any Channel
    init(to other: any Channel) { self.other = other }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      other.writeAndFlush(unwrapInboundIn(data), promise: nil)
    }
    func channelInactive(context: ChannelHandlerContext) {
      other.close(promise: nil)
      context.fireChannelInactive()
    }
  }
}
