import FederationModel
import Synchronization
import Testing

@testable import KubernetesAPI

/// What a reflector tells of a server that does what servers do.
@Suite(.timeLimit(.minutes(2))) struct ReflectorTests {
  typealias Answer = FakeAPIServer.Answer

  private static func object(_ name: String, _ version: Int) -> String {
    #"{"metadata":{"name":"\#(name)","resourceVersion":"\#(version)"}}"#
  }

  private static func list(_ names: [String], _ version: Int) -> Answer {
    Answer(
      #"{"metadata":{"resourceVersion":"\#(version)"},"items":["#
        + names.map { object($0, version) }.joined(separator: ",") + "]}")
  }

  private static func event(_ type: String, _ name: String, _ version: Int) -> String {
    #"{"type":"\#(type)","object":\#(object(name, version))}"#
  }

  private static let expired = #"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#

  private static var timing: Reflector<String>.Timing {
    var timing = Reflector<String>.Timing()
    timing.backOff = BackOff(first: .milliseconds(5), most: .milliseconds(20))
    timing.silence = .milliseconds(150)
    timing.watch = 1...1
    timing.grace = .milliseconds(500)
    return timing
  }

  /// - Returns: the first changes, each as a word: `=a,b` for a list, `+a`, `-a`, and `?` for silence.
  private static func changes(
    _ count: Int, page: Int = 250, answer: @escaping @Sendable (FakeAPIServer.Request, Int) async -> Answer
  ) async throws -> (changes: [String], requests: [FakeAPIServer.Request]) {
    var settings = KubernetesClientTests.settings
    settings.deadline = .milliseconds(50)
    return try await KubernetesClientTests.with(.none, settings, answer: answer) { client, server in
      let reflector = Reflector(client: client, path: "/api/v1/pods", page: page, timing: timing) {
        $0["metadata"]?["name"]?.stringValue
      }
      var changes: [String] = []
      for await change in reflector.changes() {
        switch change {
        case .synchronized(let names): changes.append("=" + names.joined(separator: ","))
        case .changed(let name): changes.append("+" + name)
        case .deleted(let name): changes.append("-" + name)
        case .silent: changes.append("?")
        }
        if changes.count == count { break }
      }
      return (changes, server.requests)
    }
  }

  private static func isWatch(_ request: FakeAPIServer.Request) -> Bool { request.query["watch"] == "true" }

  @Test func `A list, then what changes; the next watch goes on from the last version`() async throws {
    let (changes, requests) = try await Self.changes(6) { request, place in
      switch place {
      case 0: Self.list(["a"], 5)
      case 1:
        Answer(lines: [
          Self.event("ADDED", "b", 6), Self.event("MODIFIED", "a", 7), Self.event("DELETED", "b", 8),
          #"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"20"}}}"#,
        ])
      case 2: Answer(lines: [Self.event("ADDED", "c", 21), Self.event("ADDED", "d", 22)])
      default: Answer(lines: [], .held)
      }
    }
    #expect(changes == ["=a", "+b", "+a", "-b", "+c", "+d"])
    let watches = requests.filter(Self.isWatch)
    #expect(watches[0].query["resourceVersion"] == "5")
    #expect(watches[1].query["resourceVersion"] == "20")
    #expect(watches.allSatisfy { $0.query["allowWatchBookmarks"] == "true" && $0.query["timeoutSeconds"] == "1" })
  }

  /// kueue PR#12999: a watch that reconnected evicted healthy jobs.
  @Test func `A watch that breaks deletes nothing, and what came before it broke counts`() async throws {
    let (changes, requests) = try await Self.changes(3) { request, place in
      switch place {
      case 0: Self.list(["a", "b"], 5)
      case 1: Answer(Self.event("MODIFIED", "a", 6) + "\n" + #"{"type":"ADDED","obj"#, .cut)
      case 2: KubernetesClientTests.status(503)
      case 3: Answer(lines: [Self.event("MODIFIED", "b", 7)])
      default: Answer(lines: [], .held)
      }
    }
    #expect(changes == ["=a,b", "+a", "+b"])
    #expect(requests.filter { !Self.isWatch($0) }.count == 1)
    #expect(requests.filter(Self.isWatch).map { $0.query["resourceVersion"] }.prefix(3) == ["5", "6", "6"])
  }

  @Test(arguments: [true, false])
  func `A forgotten version, as a status or as an event, is followed by a complete list`(asEvent: Bool) async throws {
    let (changes, requests) = try await Self.changes(3) { request, place in
      switch place {
      case 0: Self.list(["a", "b"], 5)
      case 1: asEvent ? Answer(lines: [Self.expired]) : KubernetesClientTests.status(410, "Expired")
      case 2: Self.list(["a"], 90)
      case 3: Answer(lines: [Self.event("ADDED", "c", 91)])
      default: Answer(lines: [], .held)
      }
    }
    #expect(changes == ["=a,b", "=a", "+c"])
    #expect(requests[3].query["resourceVersion"] == "90")
  }

  @Test func `A list that fails between two pages is told to nobody`() async throws {
    let (changes, _) = try await Self.changes(1, page: 1) { request, place in
      switch place {
      case 0: Answer(#"{"metadata":{"resourceVersion":"5","continue":"n"},"items":[\#(Self.object("a", 5))]}"#)
      case 1: KubernetesClientTests.status(410, "Expired")
      default: Self.list(["a", "b"], 6)
      }
    }
    #expect(changes == ["=a,b"])
  }

  @Test func `A server that answers nothing is told as silence, and then as what it says`() async throws {
    let (changes, requests) = try await Self.changes(2) { request, place in
      request.path == "/api/v1/pods" && place < 40 ? KubernetesClientTests.status(500) : Self.list(["a"], 5)
    }
    #expect(changes.last == "=a" || changes == ["?", "?"])
    #expect(changes.first == "?")
    #expect(requests.count > 1)
  }

  @Test func `A watch on which nothing comes any longer is begun again`() async throws {
    let (changes, requests) = try await Self.changes(2) { request, place in
      switch place {
      case 0: Self.list(["a"], 5)
      case 1: Answer(lines: [], .held)
      default: Answer(lines: [Self.event("ADDED", "b", 6)])
      }
    }
    #expect(changes == ["=a", "+b"])
    #expect(requests[2].query["resourceVersion"] == "5")
  }

  @Test func `An event that cannot be read, or is too large, is made up for by a list`() async throws {
    let large = #"{"type":"ADDED","object":{"x":""# + String(repeating: "x", count: 3 << 20) + #""}}"#
    for line in ["no JSON", large] {
      let (changes, _) = try await Self.changes(2) { request, place in
        switch place {
        case 0: Self.list(["a"], 5)
        case 1: Answer(lines: [line], .held)
        default: Self.list(["a", "b"], 6)
        }
      }
      #expect(changes == ["=a", "=a,b"])
    }
  }

  @Test func `A consumer that is slow holds the watch, and loses nothing`() async throws {
    let (changes, _) = try await Self.changes(2001) { request, place in
      place == 0 ? Self.list([], 1) : Answer(lines: (0..<2000).map { Self.event("ADDED", "p\($0)", $0 + 2) }, .held)
    }
    #expect(changes == ["="] + (0..<2000).map { "+p\($0)" })
  }

  @Test func `Nobody listens: nothing more is asked`() async throws {
    try await KubernetesClientTests.with(answer: { request, place in
      place == 0 ? Self.list([], 1) : Answer(lines: [])
    }) { client, server in
      for await _ in Reflector(client: client, path: "/a", timing: Self.timing, decode: { _ in "" }).changes() { break }
      try await Task.sleep(for: .milliseconds(200))
      let count = server.requests.count
      try await Task.sleep(for: .milliseconds(300))
      #expect(server.requests.count <= count)
    }
  }
}
