import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import HTTPTypes
import HummingbirdTesting
import NIOCore
import Synchronization
import TestSupport
import Testing
import WorkflowCore

@testable import ControlPlaneServer

@Suite struct LogFollowTests {
  @Test("Following a log that begins while the task is Pending lasts to the end of the task (argo#989)")
  func fromPending() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let accepted = try await client.send(
          .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.task("w"))
        #expect(accepted.status == .created)
        try await withThrowingTaskGroup(of: String.self) { group in
          group.addTask {
            let answer = try await client.send(
              .get, "/api/v1/workflows/a/w/log?podName=w&logOptions.follow=True", token: fixture.userA)
            return String(buffer: answer.body)
          }
          // The follower is there before anything can run.
          try await Self.run(fixture, output: ["one\ntw", "o\nthree"])
          let text = try await group.next()
          #expect(
            text?.split(separator: "\n") == [
              #"{"result":{"content":"one","podName":"w"}}"#, #"{"result":{"content":"two","podName":"w"}}"#,
              #"{"result":{"content":"three","podName":"w"}}"#,
            ])
        }
        let tail = try await client.send(
          .get, "/api/v1/workflows/a/w/log?logOptions.tailLines=1", token: fixture.userA,
          headers: [.accept: "text/event-stream"])
        #expect(String(buffer: tail.body) == #"data: {"result":{"content":"three","podName":"w"}}"# + "\n\n")
        // By the labels of pods; of the run before the newest one there is nothing; of each pod only so many bytes.
        for (query, lines) in [
          ("selector=workflows.argoproj.io/completed%3Dtrue", 3), ("selector=workflows.argoproj.io/workflow!%3Dw", 0),
          ("selector=team", 0), ("logOptions.previous=true", 0), ("logOptions.limitBytes=4", 1), ("grep=e%24", 2),
          ("logOptions.container=main&podName=w", 3), ("logOptions.sinceSeconds=3600", 3),
          ("logOptions.sinceTime=2100-01-01T00:00:00Z", 0),
          ("logOptions.sinceTime.seconds=4102444800&logOptions.sinceTime.nanos=5", 0),
          ("logOptions.sinceTime.seconds=0&logOptions.tailLines=2", 2),
        ] {
          let answer = try await client.send(.get, "/api/v1/workflows/a/w/log?\(query)", token: fixture.userA)
          #expect(String(buffer: answer.body).split(separator: "\n").count == lines, "\(query)")
        }
        // When lines came, over the path of Kubernetes' API, too.
        for (path, line) in [
          (
            "workflows/a/w/log?logOptions.timestamps=true&", #"^\{"result":\{"content":"20..-..-..T..:..:..\....Z one""#
          ),
          ("namespaces/a/pods/w/log?timestamps=true&", #"^20..-..-..T..:..:..\....Z one$"#),
        ] {
          let answer = try await client.send(.get, "/api/v1/\(path)", token: fixture.userA)
          let first = String(buffer: answer.body).split(separator: "\n").first.map(String.init) ?? ""
          #expect(first.firstMatch(of: try Regex(line)) != nil, "\(path): \(first)")
        }
        let none = try await client.send(
          .get, "/api/v1/namespaces/a/pods/w/log?sinceTime=2100-01-01T00:00:00Z", token: fixture.userA)
        #expect(none.status == .ok && none.body.readableBytes == 0)
        for wrong in [
          "logOptions.sinceSeconds=0", "logOptions.sinceTime=yesterday", "logOptions.timestamps=maybe",
          "logOptions.sinceSeconds=5&logOptions.sinceTime=2026-01-01T00:00:00Z", "logOptions.sinceTime.seconds=-1",
          "logOptions.container=wait", "logOptions.follow=maybe", "logOptions.stream=Stderr",
        ] {
          let answer = try await client.send(.get, "/api/v1/workflows/a/w/log?\(wrong)", token: fixture.userA)
          #expect(answer.status == .badRequest, "\(wrong)")
        }
      }
    }
  }

  @Test(
    "Who asks without following gets the line that a running task is at, and of one that has ended all that is still on its way"
  )
  func arriving() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        _ = try await client.send(.post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.task("w"))
        func content() async throws -> [String] {
          let answer = try await client.send(.get, "/api/v1/workflows/a/w/log", token: fixture.userA)
          return String(buffer: answer.body).split(separator: "\n").map(String.init)
        }
        let going = try await Self.run(fixture, output: ["one\n", "two"], isWhole: false)
        #expect(
          try await content() == [
            #"{"result":{"content":"one","podName":"w"}}"#, #"{"result":{"content":"two","podName":"w"}}"#,
          ])
        try await going.end()
        try await waitUntil("the task is over") {
          try await fixture.store.workflowHead(WorkflowReference(project: "a", name: "w"))?.status.phase == .succeeded
        }
        async let sealed = Self.sealLater(fixture.logs, going.id, at: 7)
        #expect(try await content().last == #"{"result":{"content":"two!","podName":"w"}}"#)
        #expect(try await sealed.isComplete)
      }
    }
  }

  @Test("The native log of a node without a run is waited for when it is followed, and goes on after Last-Event-ID")
  func nativeFromPending() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let accepted = try await client.send(
          .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.task("w"))
        #expect(accepted.status == .created)
        let logs = "/v1/projects/a/workflows/w/logs?node=w"
        let refused = try await client.send(.get, logs, token: fixture.userA)
        #expect(refused.status == .conflict && refused.headers[.retryAfter] != nil)
        try await withThrowingTaskGroup(of: String.self) { group in
          for headers: HTTPFields in [[:], [.accept: "text/event-stream"]] {
            group.addTask {
              let answer = try await client.send(.get, logs + "&follow=true", token: fixture.userA, headers: headers)
              return String(buffer: answer.body)
            }
          }
          try await Self.run(fixture, output: ["one\n", "two\n"])
          for try await text in group {
            if text.contains("event:") {
              #expect(text.contains("id: 4") || text.contains("id: 8"), "\(text)")
              #expect(text.hasSuffix("event: end\ndata: {\"reason\":\"finished\"}\n\n"), "\(text)")
            } else {
              #expect(text == "one\ntwo\n")
            }
          }
        }
        let rest = try await client.send(
          .get, logs + "&follow=true", token: fixture.userA,
          headers: [.accept: "text/event-stream", .lastEventID: "4"])
        let text = String(buffer: rest.body)
        #expect(text.contains("two") && !text.contains("one"), "\(text)")
      }
    }
  }

  @Test("Following a node that ends without ever running ends too")
  func neverRuns() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        _ = try await client.send(.post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.task("w"))
        try await withThrowingTaskGroup(of: String.self) { group in
          group.addTask {
            let answer = try await client.send(
              .get, "/v1/projects/a/workflows/w/logs?node=w&follow=true", token: fixture.userA,
              headers: [.accept: "text/event-stream"])
            return String(buffer: answer.body)
          }
          let stopped = try await client.send(.post, "/v1/projects/a/workflows/w/terminate", token: fixture.userA)
          #expect(stopped.status == .ok)
          #expect(try await group.next()?.contains("finished") == true)
        }
      }
    }
  }

  @Test("A workflow's stream goes on after the event that Last-Event-ID names, and tells all again when it cannot")
  func resumesEvents() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        _ = try await client.send(
          .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.suspended("w"))
        _ = try await client.send(.post, "/v1/projects/a/workflows/w/resume", token: fixture.userA)
        func events(_ id: String?) async throws -> String {
          var headers: HTTPFields = [.accept: "text/event-stream"]
          if let id { headers[.lastEventID] = id }
          let answer = try await client.send(
            .get, "/v1/projects/a/workflows/w/events", token: fixture.userA, headers: headers)
          return String(buffer: answer.body)
        }
        let all = try await events(nil)
        let id = try #require(all.split(separator: "\n").first { $0.hasPrefix("id: ") }?.dropFirst(4))
        #expect(all.contains("\"nodes\":[{") && !all.contains("resync"))
        let rest = try await events(String(id))
        #expect(!rest.contains("\"nodes\":[{") && !rest.contains("resync") && rest.contains("event: end"), "\(rest)")
        let unknown = try await events("12345")
        #expect(unknown.hasPrefix("event: resync\n") && unknown.contains("\"nodes\":[{"), "\(unknown)")
      }
    }
  }

  /// The agent sends the rest of a log a moment after the end of its run.
  private static func sealLater(_ logs: DirectoryLogStore, _ run: RunID, at offset: Int64) async throws -> LogPosition {
    try await Task.sleep(for: .milliseconds(700))
    return try await logs.append(run, offset: offset, bytes: Array("!\n".utf8), last: true)
  }

  /// Joins a cluster, waits for one run, and lets it write `output` and succeed.
  ///
  /// - Parameter isWhole: false: its log is not sealed, and it succeeds when `end` is called.
  @discardableResult
  private static func run(
    _ fixture: APIFixture, output: [String], isWhole: Bool = true
  ) async throws -> (id: RunID, end: () async throws -> Void) {
    let controlPlane = fixture.controlPlane
    _ = try await controlPlane.perform(
      .createCluster(ClusterSpec(name: "edge", kind: .process)), as: Principal(user: "root"), idempotency: nil)
    let outbox = Outbox()
    let hello = AgentHello(
      journal: "j", lastSequence: 0, highestSeen: CommitPosition(term: 0, sequence: 0), runs: [:],
      inventory: ClusterInventory(
        capacity: Resources(cpuMillicores: 64_000, memory: .gibibytes(64)), slots: 4,
        images: [ImageRule(pattern: "*", runsAs: "host")], canFence: true), protocolVersion: 1)
    let session = try await controlPlane.connect("edge", hello, version: "test", outbox: outbox)
    try await waitUntil("a run is assigned") { outbox.run != nil }
    let run = outbox.run!
    func report(_ sequence: Int64, _ phase: RunPhase, _ outcome: TaskOutcome? = nil) async throws {
      let event = AgentEvent(sequence: sequence, run: run, phase: phase, at: .wallClock, outcome: outcome)
      try await controlPlane.receive("edge", session, [event])
    }
    try await report(1, .running)
    var offset: Int64 = 0
    for (index, text) in output.enumerated() {
      let bytes = Array(text.utf8)
      let isLast = isWhole && index == output.count - 1
      _ = try await fixture.logs.append(run, offset: offset, bytes: bytes, last: isLast)
      offset += Int64(bytes.count)
    }
    func end() async throws { try await report(2, .succeeded, TaskOutcome(phase: .succeeded, exitCode: 0)) }
    if isWhole { try await end() }
    return (run, end)
  }

  /// Remembers the first run that was assigned.
  private final class Outbox: AgentOutbox {
    private let first = Mutex<RunID?>(nil)
    var run: RunID? { first.withLock { $0 } }

    func send(_ command: AgentCommand, position: CommitPosition) {
      guard case .assign(let assignments) = command else { return }
      first.withLock { $0 = $0 ?? assignments.first?.run }
    }
    func close(_ error: FederationError) {}
  }
}
