import ControlPlaneCore
import FederationModel
import HTTPTypes
import HummingbirdTesting
import NIOCore
import Synchronization
import TestSupport
import Testing

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
              .get, "/api/v1/workflows/a/w/log?podName=w&logOptions.follow=true", token: fixture.userA)
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
      }
    }
  }

  /// Joins a cluster, waits for one run, and lets it write `output` and succeed.
  private static func run(_ fixture: APIFixture, output: [String]) async throws {
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
      _ = try await fixture.logs.append(run, offset: offset, bytes: bytes, last: index == output.count - 1)
      offset += Int64(bytes.count)
    }
    try await report(2, .succeeded, TaskOutcome(phase: .succeeded, exitCode: 0))
  }

  /// Remembers the first run that was assigned.
  private final class Outbox: AgentOutbox {
    private let first = Mutex<RunID?>(nil)
    var run: RunID? { first.withLock { $0 } }

    func send(_ command: AgentCommand, position: CommitPosition) {
      let assignments: [RunAssignment] =
        switch command {
        case .assign(let assignments): assignments
        case .welcome(let welcome): welcome.assignments
        default: []
        }
      first.withLock { $0 = $0 ?? assignments.first?.run }
    }
    func close(_ error: FederationError) {}
  }
}
