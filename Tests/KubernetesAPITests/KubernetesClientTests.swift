import FederationModel
import Foundation
import Logging
import Synchronization
import Testing

@testable import KubernetesAPI

/// Requests against a server whose answers are the test's own.
@Suite(.timeLimit(.minutes(2))) struct KubernetesClientTests {
  typealias Answer = FakeAPIServer.Answer

  /// Pauses are short, and chance is the only thing that is not the test's.
  static var settings: KubernetesClient.Settings {
    var settings = KubernetesClient.Settings()
    settings.backOff = BackOff(first: .milliseconds(5), most: .milliseconds(20))
    settings.deadline = .seconds(5)
    settings.attemptTimeout = .seconds(5)
    return settings
  }

  static func with<Result>(
    _ credential: KubernetesConnection.Credential = .none, _ settings: KubernetesClient.Settings = settings,
    answer: @escaping @Sendable (FakeAPIServer.Request, Int) async -> Answer,
    _ body: (KubernetesClient, FakeAPIServer) async throws -> Result
  ) async throws -> Result {
    try await FakeAPIServer.with(answer) { server, url in
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      let client = try KubernetesClient(
        KubernetesConnection(server: url, credential: credential), settings: settings, logger: logger)
      do {
        let result = try await body(client, server)
        await client.close()
        return result
      } catch {
        await client.close()
        throw error
      }
    }
  }

  static func status(_ code: Int, _ reason: String = "", _ headers: [(String, String)] = []) -> Answer {
    Answer(
      #"{"kind":"Status","code":\#(code),"reason":"\#(reason)","message":"no \#(code)"}"#, status: code,
      headers: headers)
  }

  private static let named: JSONValue = ["metadata": ["name": "a"]]
  private static let unnamed: JSONValue = ["metadata": ["generateName": "a-"]]

  // MARK: One request

  @Test func `Requests are as the API wants them`() async throws {
    try await Self.with(.token("secret"), answer: { _, _ in Answer(#"{"a":1}"#) }) { client, server in
      let answer = try await client.get("/api/v1/pods", query: [("labelSelector", "a=b")])
      #expect(answer == ["a": 1])
      _ = try await client.create("/api/v1/pods", Self.named)
      _ = try await client.patch("/api/v1/pods/a", ["x": 1], type: .strategic)
      _ = try await client.replace("/api/v1/pods/a", Self.named)
      try await client.delete("/api/v1/pods/a", options: ["propagationPolicy": "Background"])
      let requests = server.requests
      #expect(requests.map(\.method) == ["GET", "POST", "PATCH", "PUT", "DELETE"])
      #expect(requests.allSatisfy { $0.headers["authorization"] == "Bearer secret" })
      #expect(requests[0].query["labelSelector"] == "a%3Db")
      #expect(requests[1].body == Self.named.description)
      #expect(requests[2].headers["content-type"] == "application/strategic-merge-patch+json")
      #expect(requests[4].body == #"{"propagationPolicy":"Background"}"#)
      #expect(client.requestCount == 5)
    }
  }

  @Test func `A version is read, also with what providers add`() async throws {
    try await Self.with(answer: { _, place in
      Answer(place == 0 ? #"{"major":"1","minor":"27+","gitVersion":"v1.27.3-gke"}"# : #"{"hello":1}"#)
    }) { client, _ in
      let version = try await client.version()
      #expect(version == KubernetesVersion(major: 1, minor: 27, gitVersion: "v1.27.3-gke"))
      await #expect(throws: FederationError.self) { try await client.version() }
    }
  }

  @Test func `A token's file is read anew for each request`() async throws {
    let path = NSTemporaryDirectory() + "token-\(UInt32.random(in: 0 ... .max))"
    try Data("one\n".utf8).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    try await Self.with(.tokenFile(path), answer: { _, _ in Answer() }) { client, server in
      _ = try await client.get("/a")
      try Data("two\n".utf8).write(to: URL(fileURLWithPath: path))
      _ = try await client.get("/a")
      #expect(server.requests.map { $0.headers["authorization"] } == ["Bearer one", "Bearer two"])
    }
  }

  /// The kubelet renews the file just as the server stops to take what was in it.
  @Test func `A token that was renewed after it was read is tried; one that was not is not`() async throws {
    let path = NSTemporaryDirectory() + "token-\(UInt32.random(in: 0 ... .max))"
    try Data("one".utf8).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    try await Self.with(
      .tokenFile(path),
      answer: { request, _ in
        guard request.headers["authorization"] == "Bearer one" else { return Answer() }
        try? Data("two".utf8).write(to: URL(fileURLWithPath: path))
        return Self.status(401, "Unauthorized")
      }
    ) { client, server in
      _ = try await client.get("/a")
      #expect(server.requests.count == 2)
    }
    try await Self.with(.tokenFile(path), answer: { _, _ in Self.status(401, "Unauthorized") }) { client, server in
      let error = await #expect(throws: FederationError.self) { try await client.get("/a") }
      #expect(error?.code == .unauthenticated)
      #expect(server.requests.count == 1)
    }
  }

  // MARK: What is repeated

  @Test(arguments: [429, 500, 502, 503, 504])
  func `A read is repeated after what may pass`(code: Int) async throws {
    try await Self.with(answer: { _, place in place < 2 ? Self.status(code) : Answer(#"{"a":1}"#) }) { client, server in
      let answer = try await client.get("/a")
      #expect(answer == ["a": 1])
      #expect(server.requests.count == 3)
      #expect(client.requestCount == 3)
    }
  }

  @Test(arguments: [400, 403, 404, 409, 410, 422])
  func `A refusal for good is told at once`(code: Int) async throws {
    try await Self.with(answer: { _, _ in Self.status(code, "Why") }) { client, server in
      let error = await #expect(throws: FederationError.self) { try await client.get("/a") }
      #expect(error?.kubernetesStatus?.code == code)
      #expect(error?.publicMessage == "no \(code)")
      #expect(server.requests.count == 1)
    }
  }

  @Test func `The server's pause is kept to`() async throws {
    try await Self.with(answer: { _, place in
      place == 0 ? Self.status(429, "TooManyRequests", [("Retry-After", "1")]) : Answer()
    }) { client, server in
      let begun = ContinuousClock.now
      // Refused before it began: also what must not be done twice is repeated.
      _ = try await client.create("/a", Self.unnamed)
      #expect(.now - begun >= .seconds(1))
      #expect(server.requests.count == 2)
    }
  }

  @Test func `A pause beyond the deadline is not waited for, and told`() async throws {
    try await Self.with(answer: { _, _ in Self.status(429, "", [("Retry-After", "60")]) }) { client, server in
      let error = await #expect(throws: FederationError.self) { try await client.get("/a") }
      #expect(error?.code == .resourceExhausted && error?.retryAfter == .seconds(60))
      #expect(server.requests.count == 1)
    }
  }

  @Test func `A broken connection: a create with a name is repeated, one whose name the server makes is not`()
    async throws
  {
    try await Self.with(answer: { _, place in place == 0 ? Answer("{", .cut) : Self.status(409, "AlreadyExists") }) {
      client, server in
      let error = await #expect(throws: FederationError.self) { try await client.create("/a", Self.named) }
      #expect(error?.code == .alreadyExists)
      #expect(server.requests.count == 2)
    }
    try await Self.with(answer: { _, _ in Answer("{", .cut) }) { client, server in
      let error = await #expect(throws: FederationError.self) { try await client.create("/a", Self.unnamed) }
      #expect(error?.code == .unavailable)
      #expect(server.requests.count == 1)
    }
  }

  @Test func `A patch of operations is sent once`() async throws {
    try await Self.with(answer: { _, _ in Self.status(500) }) { client, server in
      await #expect(throws: FederationError.self) { try await client.patch("/a", [], type: .json) }
      #expect(server.requests.count == 1)
    }
  }

  @Test func `Nobody answers at the port: unavailable, with the server's address`() async throws {
    var settings = Self.settings
    settings.deadline = .milliseconds(100)
    let client = try KubernetesClient(
      KubernetesConnection(server: "http://127.0.0.1:1"), settings: settings, logger: Logger(label: "test"))
    let error = await #expect(throws: FederationError.self) { try await client.get("/a") }
    #expect(error?.code == .unavailable)
    #expect(error?.publicMessage.contains("127.0.0.1:1") == true)
    #expect(error?.kubernetesStatus == nil)
    await client.close()
  }

  // MARK: Bounds

  @Test func `A server that never answers, or stops in the middle, is given up`() async throws {
    var settings = Self.settings
    settings.attemptTimeout = .milliseconds(200)
    settings.deadline = .milliseconds(100)
    for answer in [Answer("{}", after: .seconds(20)), Answer("{", .held)] {
      try await Self.with(.none, settings, answer: { _, _ in answer }) { client, _ in
        let begun = ContinuousClock.now
        let error = await #expect(throws: FederationError.self) { try await client.get("/a") }
        #expect(error?.code == .deadlineExceeded)
        #expect(.now - begun < .seconds(5))
      }
    }
  }

  @Test func `An answer that is too large is not read, and not asked for again`() async throws {
    var settings = Self.settings
    settings.bodyMax = 1000
    try await Self.with(.none, settings, answer: { _, _ in Answer(String(repeating: "x", count: 5000)) }) {
      client, server in
      let error = await #expect(throws: FederationError.self) { try await client.get("/a") }
      #expect(error?.code == .resourceExhausted)
      #expect(server.requests.count == 1)
    }
  }

  @Test func `No more requests at once than are allowed`() async throws {
    var settings = Self.settings
    settings.concurrency = 3
    let (now, most) = (Counter(), Counter())
    try await Self.with(
      .none, settings,
      answer: { _, _ in
        most.raise(to: now.add(1))
        try? await Task.sleep(for: .milliseconds(20))
        _ = now.add(-1)
        return Answer()
      }
    ) { client, _ in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<20 { group.addTask { _ = try await client.get("/a") } }
        try await group.waitForAll()
      }
      #expect((1...3).contains(most.value))
    }
  }

  private final class Counter: Sendable {
    private let state = Mutex(0)
    var value: Int { state.withLock { $0 } }
    func add(_ count: Int) -> Int {
      state.withLock { state in
        state += count
        return state
      }
    }
    func raise(to value: Int) { state.withLock { $0 = max($0, value) } }
  }

  @Test func `Who no longer waits has his request ended`() async throws {
    try await Self.with(answer: { _, _ in Answer("{}", after: .seconds(30)) }) { client, _ in
      let task = Task { try await client.get("/a") }
      try await Task.sleep(for: .milliseconds(100))
      let begun = ContinuousClock.now
      task.cancel()
      let result = await task.result
      #expect(.now - begun < .seconds(5))
      guard case .failure(let error as FederationError) = result else {
        Issue.record("it did not end with an error of ours")
        return
      }
      #expect(error.code == .cancelled)
    }
  }

  // MARK: Lists

  private static func page(_ names: [String], next: String = "") -> Answer {
    let items = names.map { #"{"metadata":{"name":"\#($0)"}}"# }.joined(separator: ",")
    return Answer(#"{"metadata":{"resourceVersion":"7","continue":"\#(next)"},"items":[\#(items)]}"#)
  }

  @Test func `A list goes through all of its pages`() async throws {
    try await Self.with(answer: { request, _ in
      switch request.query["continue"] {
      case nil: Self.page(["a", "b"], next: "n/1")
      case "n%2F1": Self.page(["c"], next: "n2")
      default: Self.page(["d"])
      }
    }) { client, server in
      var names: [String] = []
      let version = try await client.list("/api/v1/pods", query: [("labelSelector", "x")], page: 2) {
        names.append($0["metadata"]?["name"]?.stringValue ?? "")
      }
      #expect(names == ["a", "b", "c", "d"])
      #expect(version == "7")
      #expect(server.requests.allSatisfy { $0.query["limit"] == "2" && $0.query["labelSelector"] == "x" })
      // From the API server's cache a list may be older than what was just created.
      #expect(server.requests.allSatisfy { $0.query["resourceVersion"] == nil })
    }
  }

  @Test func `Pages too large to be read become smaller`() async throws {
    var settings = Self.settings
    settings.bodyMax = 2000
    try await Self.with(
      .none, settings,
      answer: { request, _ in
        let limit = Int(request.query["limit"] ?? "") ?? 0
        let start = Int(request.query["continue"] ?? "") ?? 0
        let names = (start..<min(start + limit, 40)).map { "\($0)-" + String(repeating: "x", count: 60) }
        return Self.page(names, next: start + limit < 40 ? String(start + limit) : "")
      }
    ) { client, _ in
      var count = 0
      _ = try await client.list("/api/v1/pods", page: 40) { _ in count += 1 }
      #expect(count == 40)
    }
  }

  @Test func `A list whose moment was forgotten between two pages is no list`() async throws {
    try await Self.with(answer: { request, _ in
      request.query["continue"] == nil ? Self.page(["a"], next: "n") : Self.status(410, "Expired")
    }) { client, _ in
      let error = await #expect(throws: FederationError.self) { try await client.list("/a") { _ in } }
      #expect(error?.kubernetesStatus?.isExpired == true)
    }
  }

  // MARK: Texts

  @Test func `A log is passed on as it comes, up to its bound`() async throws {
    try await Self.with(answer: { _, _ in Answer(lines: ["one", "two", "three"], every: .milliseconds(10)) }) {
      client, _ in
      for (limit, expected) in [(Int.max, "one\ntwo\nthree\n"), (5, "one\nt"), (4, "one\n")] {
        let text = Locked("")
        try await client.text("/log", limit: limit) { bytes in
          text.withLock { $0 += String(decoding: bytes, as: UTF8.self) }
        }
        #expect(text.withLock { $0 } == expected)
      }
    }
  }

  @Test func `A log that says nothing for too long is given up; one that is slow is not`() async throws {
    try await Self.with(answer: { _, place in
      place == 0
        ? Answer(lines: ["a", "b", "c", "d"], every: .milliseconds(150)) : Answer(lines: ["a"], .held)
    }) { client, _ in
      try await client.text("/log", silence: .milliseconds(500)) { _ in }
      let error = await #expect(throws: FederationError.self) {
        try await client.text("/log", silence: .milliseconds(500)) { _ in }
      }
      #expect(error?.code == .deadlineExceeded)
    }
  }

  /// An API server sends not even the head before the first byte of a log.
  @Test func `A log that is followed may be silent for longer than an answer may take`() async throws {
    var settings = Self.settings
    settings.attemptTimeout = .milliseconds(100)
    try await Self.with(.none, settings, answer: { _, _ in Answer("late", after: .milliseconds(600)) }) {
      client, server in
      let text = Locked("")
      try await client.text("/log") { bytes in text.withLock { $0 += String(decoding: bytes, as: UTF8.self) } }
      #expect(text.withLock { $0 } == "late")
      #expect(server.requests.count == 1)
    }
  }

  /// What was passed on already would be passed on twice.
  @Test func `A log that breaks in the middle is not begun again`() async throws {
    try await Self.with(answer: { _, place in place == 0 ? Self.status(503) : Answer(lines: ["a"], .cut) }) {
      client, server in
      await #expect(throws: FederationError.self) { try await client.text("/log") { _ in } }
      #expect(server.requests.count == 2)
    }
  }
}
