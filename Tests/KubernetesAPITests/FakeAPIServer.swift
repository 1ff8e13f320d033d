import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// An HTTP server on a loopback port whose answers a test writes, piece by piece, and whose requests a test reads.
final class FakeAPIServer: Sendable {
  struct Request: Sendable {
    var method: String
    var path: String
    var query: [String: String]
    var headers: [String: String]
    var body: String
  }

  struct Answer: Sendable {
    var status = 200
    var headers: [(String, String)] = []
    /// Each after its pause, in a chunk of its own.
    var pieces: [(after: Duration, text: String)] = []
    enum Ending: Sendable {
      case whole
      /// The connection breaks before the answer's end.
      case cut
      /// It stays open, and nothing more comes.
      case held
    }
    var ending = Ending.whole

    init(
      _ text: String = "{}", status: Int = 200, headers: [(String, String)] = [], after pause: Duration = .zero,
      _ ending: Ending = .whole
    ) {
      (self.status, self.headers, pieces, self.ending) = (status, headers, [(pause, text)], ending)
    }

    init(lines: [String], _ ending: Ending = .whole, every pause: Duration = .zero) {
      pieces = lines.map { (pause, $0 + "\n") }
      self.ending = ending
    }
  }

  private let answer: @Sendable (Request, Int) async -> Answer
  private let received = Mutex<[Request]>([])
  private let channel = Mutex<(any Channel)?>(nil)

  private init(_ answer: @escaping @Sendable (Request, Int) async -> Answer) { self.answer = answer }

  var requests: [Request] { received.withLock { $0 } }

  /// - Parameter answer: is given each request and its place in the order of all, from 0.
  static func with<Result>(
    _ answer: @escaping @Sendable (Request, Int) async -> Answer,
    _ body: (FakeAPIServer, String) async throws -> Result
  ) async throws -> Result {
    let server = FakeAPIServer(answer)
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(Handler(server: server))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    server.channel.withLock { $0 = channel }
    do {
      let result = try await body(server, "http://127.0.0.1:\(channel.localAddress?.port ?? 0)")
      try await channel.close()
      return result
    } catch {
      try? await channel.close()
      throw error
    }
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let server: FakeAPIServer
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    init(server: FakeAPIServer) { self.server = server }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head): (self.head, body) = (head, [])
      case .body(let bytes): body += bytes.readableBytesView
      case .end:
        guard let head else { return }
        var headers: [String: String] = [:]
        for (name, value) in head.headers { headers[name.lowercased()] = value }
        let parts = head.uri.split(separator: "?", maxSplits: 1)
        var query: [String: String] = [:]
        for pair in parts.dropFirst().first?.split(separator: "&") ?? [] {
          let pair = pair.split(separator: "=", maxSplits: 1).map(String.init)
          query[pair[0]] = pair.count > 1 ? pair[1] : ""
        }
        server.respond(
          to: Request(
            method: head.method.rawValue, path: String(parts.first ?? ""), query: query, headers: headers,
            body: String(decoding: body, as: UTF8.self)), on: context.channel)
      }
    }
  }

  private func respond(to request: Request, on channel: any Channel) {
    let place = received.withLock { requests in
      requests.append(request)
      return requests.count - 1
    }
    // A client that went away is no failure of the server's.
    Task { try? await Self.write(await answer(request, place), to: channel) }
  }

  private static func write(_ answer: Answer, to channel: any Channel) async throws {
    var head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: answer.status))
    for (name, value) in answer.headers { head.headers.add(name: name, value: value) }
    head.headers.add(name: "Transfer-Encoding", value: "chunked")
    var isBegun = false
    for (pause, text) in answer.pieces {
      if pause > .zero { try await Task.sleep(for: pause) }
      if !isBegun { try await channel.writeAndFlush(HTTPServerResponsePart.head(head)) }
      isBegun = true
      try await channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: text))))
    }
    if !isBegun { try await channel.writeAndFlush(HTTPServerResponsePart.head(head)) }
    switch answer.ending {
    case .whole: try await channel.writeAndFlush(HTTPServerResponsePart.end(nil))
    case .cut: try await channel.close()
    case .held: break
    }
  }
}
