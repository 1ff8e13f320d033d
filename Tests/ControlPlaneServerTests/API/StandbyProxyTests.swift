import AsyncHTTPClient
import ControlPlaneCore
import Crypto
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import Synchronization
import TestSupport
import Testing

@testable import ControlPlaneServer

/// A standby before a leader, both on real sockets; the leader's routes are the test's own.
@Suite(.serialized, .timeLimit(.minutes(2))) struct StandbyProxyTests {
  /// Who leads, as the test says.
  private final class Commands: CommandPort {
    private let view = Mutex(LeadershipView(isLeader: false, leaderURL: nil, commitSequence: 0))
    func set(leader: String?, isLeader: Bool = false) {
      view.withLock { $0 = LeadershipView(isLeader: isLeader, leaderURL: leader, commitSequence: 0) }
    }
    var leadership: LeadershipView { get async { view.withLock { $0 } } }
    func perform(_ command: Command, as principal: Principal, idempotency: IdempotencyKey?) async throws -> Reply {
      throw FederationError(.internal, "not asked here")
    }
    func clusterStatuses() async -> [ClusterName: ClusterStatus] { [:] }
    func reasons(in workflow: WorkflowReference, of nodes: [NodeID]) async -> [NodeID: String] { [:] }
  }

  /// Serves a router on a loopback port while `body` runs.
  private static func serving(
    _ router: Router<APIContext>, _ body: @escaping @Sendable (String) async throws -> Void
  ) async throws {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let (ports, told) = AsyncStream.makeStream(of: Int.self)
    let application = Application(
      router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
      onServerRunning: { told.yield($0.localAddress?.port ?? 0) }, logger: logger)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await application.run() }
      group.addTask {
        guard let port = await ports.first(where: { _ in true }) else { return }
        try await body("http://127.0.0.1:\(port)")
      }
      defer { group.cancelAll() }
      // The server never ends by itself.
      try await group.next()
    }
  }

  private struct Pair: Sendable {
    var standby: String
    var leader: String
    var commands: Commands
    var http: HTTPClient
  }

  /// - Parameter routes: what the leader answers.
  private static func withPair(
    _ routes: (Router<APIContext>) -> Void, _ body: @escaping @Sendable (Pair) async throws -> Void
  ) async throws {
    let leaderRouter = Router(context: APIContext.self)
    routes(leaderRouter)
    let commands = Commands()
    let proxied = try StandbyProxy.makeClient(certificate: nil)
    let http = HTTPClient(eventLoopGroupProvider: .singleton)
    do {
      try await serving(leaderRouter) { leader in
        commands.set(leader: leader)
        let standbyRouter = Router(context: APIContext.self)
        standbyRouter.add(middleware: ErrorMapping(metrics: ControlPlaneMetrics()))
        standbyRouter.add(middleware: StandbyProxy(commands: commands, client: proxied))
        // What reaches the standby's own handlers is answered by its name.
        for method in [HTTPRequest.Method.get, .post, .put] {
          standbyRouter.on("**", method: method) { _, _ in "standby" }
        }
        try await serving(standbyRouter) { standby in
          try await body(Pair(standby: standby, leader: leader, commands: commands, http: http))
        }
      }
    } catch {
      try? await http.shutdown()
      try? await proxied.shutdown()
      throw error
    }
    try await http.shutdown()
    try await proxied.shutdown()
  }

  private static func request(_ method: String, _ url: String, _ headers: [(String, String)] = []) -> HTTPClientRequest
  {
    var request = HTTPClientRequest(url: url)
    request.method = .init(rawValue: method)
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    return request
  }

  @Test("writes and what only the leader knows are passed on; reads are not")
  func choice() async throws {
    try await Self.withPair { router in
      for method in [HTTPRequest.Method.get, .post, .put, .delete] {
        router.on("**", method: method) { request, _ in "leader \(request.uri.string)" }
      }
    } _: { pair in
      for (method, path, who) in [
        ("POST", "/v1/workflows?dryRun=true", "leader /v1/workflows?dryRun=true"), ("GET", "/v1/workflows", "standby"),
        ("GET", "/v1/clusters", "leader /v1/clusters"), ("GET", "/v1/clusters/a%20b", "leader /v1/clusters/a%20b"),
        ("GET", "/v1/projects/p/workflows/w/explain?node=1", "leader /v1/projects/p/workflows/w/explain?node=1"),
        ("DELETE", "/v1/projects/p/workflows/w", "leader /v1/projects/p/workflows/w"),
      ] {
        let answer = try await pair.http.execute(Self.request(method, pair.standby + path), timeout: .seconds(10))
        #expect(String(buffer: try await answer.body.collect(upTo: 1000)) == who)
      }
      pair.commands.set(leader: nil, isLeader: true)
      let own = try await pair.http.execute(Self.request("POST", pair.standby + "/x"), timeout: .seconds(10))
      #expect(String(buffer: try await own.body.collect(upTo: 1000)) == "standby", "a leader answers by itself")
    }
  }

  @Test("headers of one connection, and those that it names, stay; the others and the status pass both ways")
  func headers() async throws {
    let seen = Mutex<HTTPFields>([:])
    let host = Mutex("")
    let keep = HTTPField.Name("X-Keep")!
    try await Self.withPair { router in
      router.post("echo") { request, _ in
        seen.withLock { $0 = request.headers }
        host.withLock { $0 = request.head.authority ?? "" }
        return Response(
          status: .init(code: 418, reasonPhrase: "teapot"),
          headers: [keep: "answer", .retryAfter: "7", HTTPField.Name("Keep-Alive")!: "timeout=9"],
          body: .init(byteBuffer: ByteBuffer(string: "body")))
      }
    } _: { pair in
      let answer = try await pair.http.execute(
        Self.request(
          "POST", pair.standby + "/echo",
          [
            ("X-Keep", "request"), ("Authorization", "Bearer t"), ("Idempotency-Key", "k"),
            ("Proxy-Authorization", "p"),
            ("TE", "trailers"), ("X-Private", "1"), ("Connection", "X-Private"), ("Keep-Alive", "timeout=5"),
          ]), timeout: .seconds(10))
      #expect(answer.status.code == 418 && answer.headers.first(name: "Retry-After") == "7")
      #expect(answer.headers.first(name: "X-Keep") == "answer")
      #expect(answer.headers.first(name: "Keep-Alive") != "timeout=9")
      #expect(String(buffer: try await answer.body.collect(upTo: 1000)) == "body")
      let fields = seen.withLock { $0 }
      #expect(fields[keep] == "request" && fields[.authorization] == "Bearer t" && fields[.idempotencyKey] == "k")
      #expect(fields[.forwardedByStandby] == "1")
      for name in ["Proxy-Authorization", "TE", "X-Private", "Keep-Alive"] {
        #expect(fields[HTTPField.Name(name)!] == nil, "\(name) was passed on")
      }
      #expect("http://\(host.withLock { $0 })" == pair.leader, "the host is the leader's")
    }
  }

  @Test("events pass as they come, not when the stream ends")
  func events() async throws {
    let (ticks, tick) = AsyncStream.makeStream(of: Int.self)
    try await Self.withPair { router in
      router.get("v1/clusters/events") { _, _ in
        Response(
          status: .ok, headers: [.contentType: "text/event-stream"],
          body: ResponseBody { writer in
            for await number in ticks { try await writer.write(ByteBuffer(string: "data: \(number)\n\n")) }
            try await writer.finish(nil)
          })
      }
    } _: { pair in
      let answer = try await pair.http.execute(
        Self.request("GET", pair.standby + "/v1/clusters/events"), timeout: .seconds(30))
      #expect(answer.headers.first(name: "Content-Type") == "text/event-stream")
      var chunks = answer.body.makeAsyncIterator()
      // Each is sent only after the one before has arrived: a proxy that collects would wait for ever.
      for number in 1...5 {
        tick.yield(number)
        var text = ""
        while !text.hasSuffix("\n\n"), let chunk = try await chunks.next() { text += String(buffer: chunk) }
        #expect(text == "data: \(number)\n\n")
      }
      tick.finish()
      #expect(try await chunks.next() == nil)
    }
  }

  @Test("an upload of 50 MiB arrives whole, and is not read faster than the leader takes it")
  func upload() async throws {
    let (gate, open) = AsyncStream.makeStream(of: Void.self)
    let total = 50 << 20
    try await Self.withPair { router in
      router.put("v1/projects/p/artifacts/big") { request, _ in
        for await _ in gate { break }
        var hash = SHA256()
        var size = 0
        for try await buffer in request.body {
          hash.update(data: Data(buffer.readableBytesView))
          size += buffer.readableBytes
        }
        return "\(size) \(hash.finalize().map { String($0, radix: 16) }.joined())"
      }
    } _: { pair in
      let produced = Mutex(0)
      let chunk = ByteBuffer(bytes: (0..<(64 << 10)).map { UInt8(truncatingIfNeeded: $0 &* 31) })
      let chunks = AsyncStream<ByteBuffer>(unfolding: {
        // The client's own library learns of a full channel a moment late: at memory's speed it would hold everything itself.
        try? await Task.sleep(for: .milliseconds(1))
        return produced.withLock { count in
          guard count < total else { return nil }
          count += chunk.readableBytes
          return chunk
        }
      })
      var request = Self.request("PUT", pair.standby + "/v1/projects/p/artifacts/big")
      request.body = .stream(chunks, length: .known(Int64(total)))
      let upload = request
      async let answer = pair.http.execute(upload, timeout: .seconds(60))
      // Until nothing moves any more: what was produced then is what the path between the two ends holds.
      var last = -1
      try await waitUntil("the upload comes to a halt") {
        try await Task.sleep(for: .milliseconds(300))
        let now = produced.withLock { $0 }
        defer { last = now }
        return now > 0 && now == last
      }
      let held = produced.withLock { $0 }
      print("standby proxy: \(held >> 10) KiB on the way to a leader that does not read")
      #expect(held < total / 2, "\(held) bytes were read ahead")
      open.yield()
      var hash = SHA256()
      for _ in 0..<(total / chunk.readableBytes) { hash.update(data: Data(chunk.readableBytesView)) }
      let text = String(buffer: try await answer.body.collect(upTo: 1000))
      #expect(text == "\(total) \(hash.finalize().map { String($0, radix: 16) }.joined())")
    }
  }

  @Test("nobody leads, or the leader is gone: 503 with Retry-After, and the standby goes on serving")
  func noLeader() async throws {
    try await Self.withPair { router in
      router.post("x") { _, _ in "leader" }
    } _: { pair in
      for leader in [nil, "http://127.0.0.1:1"] {
        pair.commands.set(leader: leader)
        let answer = try await pair.http.execute(Self.request("POST", pair.standby + "/x"), timeout: .seconds(20))
        #expect(answer.status == .serviceUnavailable, "\(leader ?? "nobody")")
        #expect(answer.headers.first(name: "Retry-After") == "1")
      }
      // Leadership moves while the standby runs: the next request finds the next leader.
      pair.commands.set(leader: pair.leader)
      let answer = try await pair.http.execute(Self.request("POST", pair.standby + "/x"), timeout: .seconds(20))
      #expect(String(buffer: try await answer.body.collect(upTo: 100)) == "leader")
      pair.commands.set(leader: nil)
      let read = try await pair.http.execute(Self.request("GET", pair.standby + "/v1/workflows"), timeout: .seconds(20))
      #expect(read.status == .ok)
    }
  }

  @Test("a leader that dies in the middle of an answer cuts it: half an answer never looks whole")
  func cutAnswer() async throws {
    try await Self.withPair { router in
      router.post("half") { _, _ in
        Response(
          status: .ok,
          body: ResponseBody { writer in
            try await writer.write(ByteBuffer(string: "half"))
            throw FederationError(.internal, "the leader ends here")
          })
      }
    } _: { pair in
      let answer = try await pair.http.execute(Self.request("POST", pair.standby + "/half"), timeout: .seconds(20))
      await #expect(throws: (any Error).self) { _ = try await answer.body.collect(upTo: 1000) }
    }
  }

  @Test("two standbys that take each other for the leader do not pass a request round")
  func loop() async throws {
    try await Self.withPair { _ in
    } _: { pair in
      pair.commands.set(leader: pair.standby)
      let answer = try await pair.http.execute(Self.request("POST", pair.standby + "/x"), timeout: .seconds(20))
      #expect(answer.status == .serviceUnavailable && answer.headers.first(name: "Retry-After") != nil)
    }
  }

  @Test("a client that leaves ends the request at the leader")
  func clientLeaves() async throws {
    let ended = Mutex(false)
    try await Self.withPair { router in
      router.get("v1/clusters/endless") { _, _ in
        Response(
          status: .ok,
          body: ResponseBody { writer in
            defer { ended.withLock { $0 = true } }
            while true {
              try await writer.write(ByteBuffer(string: "tick\n"))
              try await Task.sleep(for: .milliseconds(20))
            }
          })
      }
    } _: { pair in
      let client = HTTPClient(eventLoopGroupProvider: .singleton)
      let answer = try await client.execute(
        Self.request("GET", pair.standby + "/v1/clusters/endless"), timeout: .seconds(60))
      var chunks = answer.body.makeAsyncIterator()
      #expect(try await chunks.next() != nil && !ended.withLock { $0 })
      // Cuts the connection in the middle of the answer.
      try await client.shutdown()
      try await waitUntil("the leader's handler ends") { ended.withLock { $0 } }
    }
  }
}
