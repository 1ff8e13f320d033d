import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// An HTTP server on a loopback port whose answers a test writes, and whose requests a test reads.
final class FakeServer: Sendable {
  struct Request: Sendable {
    var method: String
    /// With its query.
    var uri: String
    var headers: [String: String]
    var body: [UInt8]
    var path: String { String(uri.prefix { $0 != "?" }) }
    func query(_ name: String) -> String? {
      uri.split(separator: "?").dropFirst().first?.split(separator: "&").first { $0.hasPrefix(name + "=") }
        .map { String($0.dropFirst(name.count + 1)) }
    }
  }

  struct Answer: Sendable {
    var status = 200
    var headers: [(String, String)] = []
    var body: [UInt8] = []
    /// What becomes of the connection after the body.
    enum Ending: Sendable {
      case whole
      /// It breaks before the answer's announced end.
      case cut
      /// It stays open, and nothing more comes.
      case held
    }
    var ending = Ending.whole

    static func json(_ text: String, status: Int = 200, headers: [(String, String)] = []) -> Answer {
      Answer(status: status, headers: headers, body: Array(text.utf8))
    }
    static func events(_ text: String, _ ending: Ending = .whole) -> Answer {
      Answer(headers: [("Content-Type", "text/event-stream")], body: Array(text.utf8), ending: ending)
    }
  }

  private let answer: @Sendable (Request, Int) async -> Answer
  private let received = Mutex<[Request]>([])
  private let channel = Mutex<(any Channel)?>(nil)

  /// `answer` is given each request and its place in the order of all, from 0.
  init(_ answer: @escaping @Sendable (Request, Int) async -> Answer) { self.answer = answer }

  var requests: [Request] { received.withLock { $0 } }

  static func with<Result>(
    _ answer: @escaping @Sendable (Request, Int) async -> Answer, _ body: (FakeServer, String) async throws -> Result
  ) async throws -> Result {
    let server = FakeServer(answer)
    let url = try await server.start()
    do {
      let result = try await body(server, url)
      try await server.stop()
      return result
    } catch {
      try? await server.stop()
      throw error
    }
  }

  private func start() async throws -> String {
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(Handler(server: self))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    self.channel.withLock { $0 = channel }
    return "http://127.0.0.1:\(channel.localAddress?.port ?? 0)"
  }

  private func stop() async throws { try await channel.withLock { $0 }?.close().get() }

  private func respond(to request: Request) async -> Answer {
    let place = received.withLock { requests in
      requests.append(request)
      return requests.count - 1
    }
    return await answer(request, place)
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let server: FakeServer
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    init(server: FakeServer) { self.server = server }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head):
        self.head = head
        body = []
      case .body(let bytes): body += bytes.readableBytesView
      case .end:
        guard let head else { return }
        var headers: [String: String] = [:]
        for (name, value) in head.headers { headers[name.lowercased()] = value }
        let request = Request(method: head.method.rawValue, uri: head.uri, headers: headers, body: body)
        server.answer(request, on: context.channel)
      }
    }
  }

  private func answer(_ request: Request, on channel: any Channel) {
    Task {
      let answer = await respond(to: request)
      // A client that went away is no failure of the server's.
      try? await Self.write(answer, to: channel)
    }
  }

  private static func write(_ answer: Answer, to channel: any Channel) async throws {
    var head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: answer.status))
    for (name, value) in answer.headers { head.headers.add(name: name, value: value) }
    let announced = answer.ending == .whole ? answer.body.count : answer.body.count + 1
    head.headers.add(name: "Content-Length", value: String(announced))
    channel.write(HTTPServerResponsePart.head(head), promise: nil)
    try await channel.writeAndFlush(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(bytes: answer.body))))
    switch answer.ending {
    case .whole: try await channel.writeAndFlush(HTTPServerResponsePart.end(nil))
    case .cut: try await channel.close()
    case .held: break
    }
  }
}
