import FederationAPI
import FederationModel
import Foundation
import Synchronization
import Testing

@testable import fubini

/// `watch`, `wait` and `logs -f` against a server that tells its story piece by piece.
@Suite(.timeLimit(.minutes(2))) struct FollowingTests {
  /// A control plane whose workflow is what `detail` says, with streams as they are given.
  private struct Story: Sendable {
    var detail: @Sendable (_ read: Int) -> WorkflowDetail
    var events: @Sendable (_ read: Int) -> FakeServer.Answer
    var logs: @Sendable (_ request: FakeServer.Request, _ read: Int) -> FakeServer.Answer = { _, _ in
      .events(Documents.end())
    }
  }

  private func play<Result>(_ story: Story, _ body: (FakeServer, APIClient) async throws -> Result) async throws
    -> Result
  {
    let reads = Mutex<[String: Int]>([:])
    return try await FakeServer.with({ request, _ in
      // The workflow has two names, `wf` and its UID: the story is one.
      let isStream = request.path.hasSuffix("/events") || request.path.hasSuffix("/logs")
      let key = (isStream ? request.path : "detail") + (request.query("run") ?? "")
      let read = reads.withLock { counts in
        defer { counts[key, default: 0] += 1 }
        return counts[key] ?? 0
      }
      if request.path.hasSuffix("/events") { return story.events(read) }
      if request.path.hasSuffix("/logs") { return story.logs(request, read) }
      return .json(Documents.json(story.detail(read)))
    }) { server, url in try await withClient(url) { try await body(server, $0) } }
  }

  private func reader(_ client: APIClient, _ output: Output, notes: Output = Output()) -> LogReader {
    var reader = LogReader(client: client, workflow: "u-1")
    reader.write = { output.append(String(decoding: $0, as: UTF8.self)) }
    reader.note = { notes.append($0 + "\n") }
    reader.pauseMax = .milliseconds(5)
    return reader
  }

  @Test("waiting does not end because a stream ended (argo#1328)", arguments: [FakeServer.Answer.Ending.whole, .cut])
  func waitsOn(ending: FakeServer.Answer.Ending) async throws {
    let story = Story(
      detail: { $0 < 3 ? Documents.detail(.running, []) : Documents.detail(.succeeded, []) },
      events: { _ in .events(ending == .whole ? Documents.end() : ": hello\n\n", ending) })
    try await play(story) { server, client in
      let tree = try await WorkflowFollower(client: client, name: "wf").run { _, _ in true }
      #expect(tree.summary.phase == .succeeded)
      #expect(server.requests.count { $0.path.hasSuffix("/events") } == 3)
    }
  }

  @Test("waiting outlasts a control plane that is away for longer than a single command waits")
  func outlastsAnOutage() async throws {
    let reads = Mutex(0)
    try await FakeServer.with({ request, _ in
      if request.path.hasSuffix("/events") { return .events(": hello\n\n", .cut) }
      let read = reads.withLock { reads in
        reads += 1
        return reads
      }
      // More refusals than `RetryPolicy` allows a command that does not wait.
      if (2...11).contains(read) { return .json("{}", status: 503, headers: [("Retry-After", "0")]) }
      return .json(Documents.json(Documents.detail(read == 1 ? .running : .succeeded, [])))
    }) { _, url in
      try await withClient(url) { client in
        let tree = try await WorkflowFollower(client: client, name: "wf").run { _, _ in true }
        #expect(tree.summary.phase == .succeeded)
      }
    }
  }

  /// A control plane whose one workflow waits for a task that `explain` speaks of.
  private func standstill<Result>(
    _ explanation: ExplanationDocument, _ body: (APIClient) async throws -> Result
  ) async throws -> Result {
    try await FakeServer.with({ request, _ in
      if request.path.hasSuffix("/events") { return .events(": hello\n\n", .held) }
      if request.path.hasSuffix("/explain") { return .json(Documents.json(explanation)) }
      return .json(Documents.json(Documents.detail(.running, [])))
    }) { _, url in try await withClient(url, body) }
  }

  /// What is shown meanwhile.
  enum Shown: CaseIterable { case status, tree, logs }

  @Test(
    "I10: waiting says why nothing runs, and ends with 3 when no cluster would take it for a while, whatever is shown",
    arguments: Shown.allCases)
  func waitsWithReasons(shown: Shown) async throws {
    let explanation = ExplanationDocument(
      message: "a: 64 cores asked for, it has 2", candidates: [], node: "big", unplaceable: true)
    try await standstill(explanation) { client in
      let notes = Output()
      let progress = WaitProgress(
        terminal: Terminal(isTerminal: false, usesColour: false, usesUnicode: false), isQuiet: false,
        drawsStatus: shown == .status, unplaceablePatience: .milliseconds(100), pauseMin: .milliseconds(10)
      ) { notes.append($0 + "\n") }
      do {
        switch shown {
        case .status: _ = try await progress.wait(client, "wf")
        case .tree:
          _ = try await progress.wait(client, "wf") { note in
            try await Watching.run(client, "wf", onChange: note)
          }
        case .logs:
          _ = try await progress.wait(client, "wf") { note in
            try await LogReader(client: client, workflow: "wf").follow(
              prefixes: true, endsWithNodes: false, selects: { _, _ in true }, onChange: { tree, _ in note(tree) })
          }
        }
        Issue.record("it does not wait for ever")
      } catch let failure as CommandFailure {
        #expect(failure.code == .unplaceable && failure.message.contains("big: a: 64 cores asked for, it has 2"))
      }
      #expect(notes.lines == ["big waits: a: 64 cores asked for, it has 2"])
    }
  }

  @Test("watching ends with the workflow although the stream stays open (argo#987)")
  func watchEnds() async throws {
    let story = Story(
      detail: { $0 == 0 ? Documents.detail(.running, []) : Documents.detail(.failed, []) },
      events: { _ in .events(Documents.update(.failed, []), .held) })
    try await play(story) { _, client in
      let tree = try await WorkflowFollower(client: client, name: "wf").run { _, _ in true }
      #expect(tree.summary.phase == .failed)
      #expect(throws: CommandFailure(.workflowFailed, "Look closer with `fubini get wf` and `fubini logs wf`.")) {
        try Watching.conclude(tree, quietly: true)
      }
    }
  }

  @Test("a stream that is taken up again says what it has seen, and names the workflow by its UID")
  func resumesStreams() async throws {
    let story = Story(
      detail: { $0 < 2 ? Documents.detail(.running, []) : Documents.detail(.succeeded, []) },
      events: { read in .events(Documents.update(.running, [], id: 40 + read), .cut) })
    try await play(story) { server, client in
      _ = try await WorkflowFollower(client: client, name: "@latest").run { _, _ in true }
      let streams = server.requests.filter { $0.path.hasSuffix("/events") }
      #expect(streams.allSatisfy { $0.path.contains("/u-1/") } && streams.count == 2)
      // What it has seen of the workflow itself is no place in a stream; what a stream said is.
      #expect(streams[0].headers["last-event-id"] == nil)
      #expect(streams[1].headers["last-event-id"] == "40")
    }
  }

  @Test("following logs waits for a task that is pending (argo#989)")
  func waitsForPending() async throws {
    let pending = Documents.node(1, "a", .pending, message: "no cluster is connected")
    let running = Documents.node(1, "a", .running, run: "r1")
    let done = Documents.node(1, "a", .succeeded, run: "r1")
    let story = Story(
      detail: { $0 < 3 ? Documents.detail(.running, [pending]) : Documents.detail(.succeeded, [done]) },
      events: { read in
        .events(
          read == 1 ? Documents.update(.running, [running]) + Documents.end("shutdown") : Documents.end("shutdown"))
      },
      logs: { _, _ in .events(Documents.log("hello\n", offset: 0) + Documents.end()) })
    try await play(story) { _, client in
      let output = Output()
      let tree = try await reader(client, output).follow(
        prefixes: false, endsWithNodes: false, selects: { _, _ in true })
      #expect(output.text == "hello\n" && tree.summary.phase == .succeeded)
    }
  }

  @Test("a run that began and ended between two reads is shown whole")
  func nothingLost() async throws {
    let done = Documents.node(1, "a", .succeeded, run: "r1")
    let story = Story(
      detail: { $0 == 0 ? Documents.detail(.running, []) : Documents.detail(.succeeded, [done]) },
      events: { _ in .events("", .cut) },
      logs: { _, _ in .events(Documents.log("one\ntwo", offset: 0) + Documents.end()) })
    try await play(story) { _, client in
      let output = Output()
      try await reader(client, output).follow(prefixes: true, endsWithNodes: false, selects: { _, _ in true })
      #expect(output.text == "a: one\na: two\n")
    }
  }

  @Test("a log stream that is cut is taken up at the byte where it broke", arguments: ["cut", "shutdown", "slow"])
  func resumesLogs(how: String) async throws {
    let done = Documents.node(1, "a", .succeeded, run: "r1")
    let story = Story(
      detail: { _ in Documents.detail(.succeeded, [done]) }, events: { _ in .events(Documents.end()) },
      logs: { request, _ in
        switch request.query("offset") {
        case "0":
          how == "cut"
            ? .events(Documents.log("on", offset: 0), .cut)
            : .events(Documents.log("on", offset: 0) + Documents.end(how))
        case "2": .events(Documents.log("e\ntwo\n", offset: 2) + Documents.end())
        default: .json("{}", status: 400)
        }
      })
    try await play(story) { _, client in
      let output = Output()
      try await reader(client, output).follow(prefixes: true, endsWithNodes: false, selects: { _, _ in true })
      #expect(output.text == "a: one\na: two\n")
    }
  }

  @Test(
    "lines of many logs never mix, and each run of a retried task is shown, with few streams at once",
    arguments: [1, 3, 32])
  func manyLogs(streams: Int) async throws {
    let nodes = (1...20).map { Documents.node(Int32($0), "n\($0)", .succeeded, run: "r\($0)") }
    let story = Story(
      detail: { $0 == 0 ? Documents.detail(.running, []) : Documents.detail(.succeeded, nodes) },
      events: { _ in .events(Documents.end("shutdown")) },
      logs: { request, _ in
        let run = request.query("run") ?? ""
        let pieces = ["\(run) fi", "rst\n\(run) sec", "ond\n"]
        var offset: Int64 = 0
        var body = ""
        for piece in pieces {
          body += Documents.log(piece, offset: offset)
          offset += Int64(piece.utf8.count)
        }
        return .events(body + Documents.end())
      })
    try await play(story) { _, client in
      let output = Output()
      var reader = reader(client, output)
      reader.streamsMax = streams
      try await reader.follow(prefixes: true, endsWithNodes: false, selects: { _, _ in true })
      let expected = (1...20).flatMap { ["n\($0): r\($0) first", "n\($0): r\($0) second"] }
      #expect(output.lines.sorted() == expected.sorted())
    }
  }

  @Test("a log that its cluster never finishes does not hold the command for ever")
  func incompleteLog() async throws {
    let done = Documents.node(1, "a", .succeeded, run: "r1")
    let story = Story(
      detail: { _ in Documents.detail(.succeeded, [done]) }, events: { _ in .events(Documents.end()) },
      logs: { _, _ in .events(Documents.log("one\npart", offset: 0), .held) })
    try await play(story) { _, client in
      let (output, notes) = (Output(), Output())
      var reader = reader(client, output, notes: notes)
      reader.drainTimeout = .milliseconds(300)
      try await reader.follow(prefixes: true, endsWithNodes: false, selects: { _, _ in true })
      // What came is shown, its last piece of a line included.
      #expect(output.text == "a: one\na: part\n" && notes.text.contains("not complete yet"))
    }
  }

  @Test("following one node ends with it, and takes in its attempts")
  func oneNode() async throws {
    let retry = Documents.node(1, "flaky", type: "Retry", .succeeded)
    let first = Documents.node(2, "flaky(0)", .failed, parent: 1, run: "r1")
    let second = Documents.node(3, "flaky(1)", .succeeded, parent: 1, run: "r2")
    let other = Documents.node(4, "other", .running, run: "r3")
    let story = Story(
      detail: { _ in Documents.detail(.running, [retry, first, second, other]) },
      events: { _ in .events("", .held) },
      logs: { request, _ in
        .events(Documents.log("\(request.query("run") ?? "")\n", offset: 0) + Documents.end())
      })
    try await play(story) { _, client in
      let output = Output()
      let tree = try await reader(client, output).follow(
        prefixes: true, endsWithNodes: true, selects: { $1.isPart($0, of: "flaky") })
      #expect(tree.summary.phase == .running)
      #expect(output.lines.sorted() == ["flaky(0): r1", "flaky(1): r2"])
    }
  }

  @Test("an answer that cannot be read ends the command instead of being read again for ever")
  func garbledStream() async throws {
    let done = Documents.node(1, "a", .succeeded, run: "r1")
    let story = Story(
      detail: { _ in Documents.detail(.succeeded, [done]) }, events: { _ in .events(Documents.end()) },
      logs: { _, _ in .events("event: log\ndata: {]\n\n") })
    _ = try await play(story) { _, client in
      await #expect(throws: CommandFailure.self) {
        _ = try await reader(client, Output()).follow(prefixes: true, endsWithNodes: false, selects: { _, _ in true })
      }
    }
  }
}
