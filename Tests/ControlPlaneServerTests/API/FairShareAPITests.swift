import ControlPlaneCore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import Synchronization
import Testing

@testable import ControlPlaneServer

@Suite(.serialized, .timeLimit(.minutes(5))) struct FairShareAPITests {
  @Test("Weights are set by the organisation alone; members see their own share, and of others not even the name")
  func shares() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let weight = "/v1/projects/a/weight"
        #expect(try await client.send(.put, weight, token: fixture.userA, body: #"{"weight":9}"#).status == .forbidden)
        #expect(
          try await client.send(.put, "/v1/projects/a", token: fixture.userA, body: #"{"weight":9}"#).status
            == .badRequest)
        #expect(try await client.send(.put, weight, token: fixture.admin, body: #"{"weight":0}"#).status == .badRequest)
        #expect(try await client.send(.put, weight, token: fixture.admin, body: #"{"weight":3}"#).status == .ok)
        let made = try await client.send(
          .post, "/v1/projects", token: fixture.admin, body: #"{"name":"heavy","weight":12.5}"#)
        #expect(made.status == .created)
        #expect(
          try await client.send(.get, "/v1/projects/heavy", token: fixture.admin).json["weight"] == .number(12.5))

        for (token, project) in [(fixture.userA, "a"), (fixture.userB, "b")] {
          let submitted = try await client.send(
            .post, "/v1/projects/\(project)/workflows", token: token, body: Documents.task("t"))
          #expect(submitted.status == .created)
        }
        let all = try await client.send(.get, "/v1/fairshare", token: fixture.admin).json
        let names = all["items"]?.arrayValue?.compactMap { $0["project"]?.stringValue } ?? []
        #expect(Set(names).isSuperset(of: ["a", "b", "heavy", "default"]), "\(names)")
        let a = try #require(all["items"]?.arrayValue?.first { $0["project"] == "a" })
        #expect(a["weight"] == 3 && a["waiting"] == 1 && a["factor"] == 1 && all["waitingProjects"] == 2)
        let own = try await client.send(.get, "/v1/fairshare", token: fixture.userB)
        let text = String(buffer: own.body)
        #expect(try own.json["items"]?.arrayValue?.count == 1 && own.json["waitingProjects"] == 2)
        #expect(!text.contains("heavy") && !text.contains("\"a\"") && text.contains("is next"), "\(text)")
        #expect(try await client.send(.get, "/v1/projects/a/fairshare", token: fixture.userB).status == .notFound)
        #expect(try await client.send(.get, "/v1/projects/none/fairshare", token: fixture.admin).status == .notFound)
        let one = try await client.send(.get, "/v1/projects/b/fairshare", token: fixture.userB).json
        #expect(one["items"]?.arrayValue?.map { $0["project"] } == ["b"])
        for role in [Role.operator, .auditor] {
          let token = try await fixture.token(role, in: nil)
          let seen = try await client.send(.get, "/v1/fairshare", token: token).json
          #expect(seen["items"]?.arrayValue?.count == names.count, "\(role)")
        }

        let why = try await client.send(.get, "/v1/projects/a/workflows/t/explain?node=t", token: fixture.userA).json
        let priority = try #require(why["priority"])
        #expect(priority["priorityClass"] == "interruptible" && priority["shareProjects"] == 2)
        #expect(priority["slackSeconds"] == nil && priority["ageSeconds"] != nil && priority["shareFactor"] == 1)
        let audit = String(buffer: try await client.send(.get, "/v1/audit", token: fixture.admin).body)
        #expect(audit.contains("project.weight"))
      }
    }
  }

  @Test("Limits of submissions are answered with 429, the reason, and when to come again")
  func limits() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        func submit(_ name: String, _ project: String, _ token: String) async throws -> TestResponse {
          try await client.send(
            .post, "/v1/projects/\(project)/workflows", token: token, body: Documents.task(name))
        }
        let quota = "/v1/projects/a/quota"
        let set = try await client.send(.put, quota, token: fixture.admin, body: #"{"submissionsPerMinute":2}"#)
        #expect(set.status == .ok)
        for name in ["one", "two"] { #expect(try await submit(name, "a", fixture.userA).status == .created) }
        let refused = try await submit("three", "a", fixture.userA)
        #expect(refused.status == .tooManyRequests)
        let wait = try #require(refused.headers[.retryAfter].flatMap { Int($0) })
        #expect((50...60).contains(wait), "\(wait)")
        #expect(String(buffer: refused.body).contains("may submit 2"))
        #expect(try await submit("three", "b", fixture.userB).status == .created)
        _ = try await client.send(.put, quota, token: fixture.admin, body: #"{"pendingTasks":2}"#)
        let full = try await submit("three", "a", fixture.userA)
        #expect(full.status == .tooManyRequests && full.headers[.retryAfter] != nil)
        #expect(String(buffer: full.body).contains("2 tasks of project a wait"))
        _ = try await client.send(.put, quota, token: fixture.admin, body: "{}")
        #expect(try await submit("three", "a", fixture.userA).status == .created)
      }
    }
  }

  /// Each floods over a connection of its own, and keeps to the Retry-After that it is told, as our clients do. Both share the cores of
  /// one machine with the control plane; what it is without that, `fubini-bench flood` measures.
  @Test(
    "A flood from one project hardly slows another's submissions, with a limit and without, through HTTP and Postgres",
    arguments: [true, false])
  func flood(isLimited: Bool) async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.live) { client in
        if isLimited {
          let set = try await client.send(
            .put, "/v1/projects/a/quota", token: fixture.admin, body: #"{"submissionsPerMinute":60}"#)
          #expect(set.status == .ok)
        }
        let port = try #require(client.port)
        var (quiet, flooded): ([[Double]], [[Double]]) = ([], [])
        let (taken, refused) = (FloodCount(), FloodCount())
        // In turns, so that what else the machine does falls on both.
        for phase in 0..<8 {
          if phase % 2 == 0 {
            quiet.append(try await Self.submissions(client, fixture.userB, "q\(phase)", 60))
            continue
          }
          let flood = Task {
            await withTaskGroup(of: Void.self) { group in
              for worker in 0..<16 {
                group.addTask {
                  await Self.flood(port, fixture.userA, "f\(phase)-\(worker)", taken, refused)
                }
              }
            }
          }
          try await Task.sleep(for: .milliseconds(200))
          flooded.append(try await Self.submissions(client, fixture.userB, "q\(phase)", 60))
          flood.cancel()
          await flood.value
        }
        // Of the phases that follow each other, the middle one: a phase in which the machine did something else counts once.
        let pairs = zip(quiet, flooded).map { (Self.quantile($0, 0.99), Self.quantile($1, 0.99)) }
        let (calm, under) = pairs.sorted { $0.1 / $0.0 < $1.1 / $1.0 }[(pairs.count - 1) / 2]
        print(
          "submission p99\(isLimited ? ", limited" : ""): quiet \(calm) ms, with a flood of \(taken.count) others "
            + "\(under) ms, \(under / calm) times; medians "
            + "\(Self.quantile(Array(quiet.joined()), 0.5)) and \(Self.quantile(Array(flooded.joined()), 0.5)) ms")
        #expect(
          !isLimited || (60...120).contains(taken.count) && refused.count >= 16, "\(taken.count), \(refused.count)")
        #expect(isLimited || taken.count > 60, "that was no flood: \(taken.count)")
        // Twice, and what a busy machine adds to one of hundred.
        #expect(under <= 2 * calm + 20, "\(under) ms with a flood, \(calm) ms without")
      }
    }
  }

  private static func flood(
    _ port: Int, _ token: String, _ name: String, _ taken: FloodCount, _ refused: FloodCount
  ) async {
    let client = TestClient(host: "localhost", port: port)
    client.connect()
    var number = 0
    while !Task.isCancelled {
      number += 1
      let request = TestClient.Request(
        "/v1/projects/a/workflows", method: .post, authority: "localhost",
        headers: [.authorization: "Bearer \(token)", .connection: "keep-alive"],
        body: ByteBuffer(string: Documents.suspended("\(name)-\(number)")))
      guard let answer = try? await client.execute(request) else { continue }
      if answer.status == .created { taken.add() }
      guard answer.status == .tooManyRequests else { continue }
      refused.add()
      try? await Task.sleep(for: .seconds(answer.headers[.retryAfter].flatMap { Int($0) } ?? 1))
    }
    try? await client.shutdown()
  }

  private final class FloodCount: Sendable {
    private let number = Mutex(0)
    func add() { number.withLock { $0 += 1 } }
    var count: Int { number.withLock { $0 } }
  }

  /// Milliseconds of each.
  private static func submissions(
    _ client: some TestClientProtocol, _ token: String, _ name: String, _ count: Int
  ) async throws -> [Double] {
    var times: [Double] = []
    for index in 0..<count {
      let start = ContinuousClock.now
      let answer = try await client.send(
        .post, "/v1/projects/b/workflows", token: token, body: Documents.suspended("\(name)-\(index)"))
      times.append((ContinuousClock.now - start).seconds * 1000)
      #expect(answer.status == .created)
    }
    return times
  }

  private static func quantile(_ values: [Double], _ part: Double) -> Double {
    let sorted = values.sorted()
    return sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))]
  }
}
