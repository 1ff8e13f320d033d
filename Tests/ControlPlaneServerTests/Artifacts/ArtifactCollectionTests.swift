import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationModel
import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import TestSupport
import Testing

@testable import ControlPlaneServer

@Suite("Artifacts that nobody needs any more", .serialized, .timeLimit(.minutes(5)))
struct ArtifactCollectionTests {
  private static let day = Duration.seconds(86_400)

  /// Puts an object into the repository, and names it as an output of a workflow.
  private func make(
    _ key: String, of workflow: String, daysAgo: Double = 0, strategy: ArtifactGCStrategy? = nil,
    _ fixture: APIFixture
  ) async throws {
    let text = Array("bytes of \(key)".utf8)
    let sha256 = SHA256.hash(data: text).hexadecimal
    let upload = try await fixture.server.services.artifacts.put(try ArtifactKey(project: "a", path: key))
    try await upload.write(text)
    _ = try await upload.finish(size: Int64(text.count), sha256: sha256)
    let made = (Timestamp.wallClock + (.zero - Self.day * daysAgo)).milliseconds
    try await fixture.sql(
      """
      INSERT INTO artifacts (workflow_id, ordinal, name, workflow_uid, project, key, size_bytes, sha256, archive, cluster, created_ms,
        is_unstored, is_remade, collection)
      SELECT id, (SELECT count(*) FROM artifacts), 'out', uid, project, '\(key)', \(text.count), '\(sha256)', 'none', 'c', \(made),
        false, false, \(strategy.map { "'\($0.rawValue)'" } ?? "NULL") FROM workflows WHERE name = '\(workflow)'
      """)
  }

  private func isThere(_ key: String, _ fixture: APIFixture) async throws -> Bool {
    try await fixture.server.services.artifacts.stat(try ArtifactKey(project: "a", path: key)) != nil
  }

  private func collection(_ fixture: APIFixture, age: Duration? = nil) -> ArtifactCollection {
    ArtifactCollection(
      store: fixture.store, artifacts: fixture.server.services.artifacts, logs: fixture.server.services.logs,
      age: age, logger: fixture.server.services.logger)
  }

  /// Submits a workflow, and ends it.
  private func workflow(_ name: String, _ fixture: APIFixture, _ client: some TestClientProtocol) async throws {
    let made = try await client.send(
      .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.suspended(name))
    try #require(made.status == .created || made.status == .ok, "\(String(buffer: made.body))")
    _ = try await client.send(
      .post, "/v1/projects/a/workflows/\(name)/terminate", token: fixture.userA, body: "{}")
    try await waitUntil("\(name) is over") {
      let detail = try await client.send(.get, "/v1/projects/a/workflows/\(name)", token: fixture.userA)
      return try detail.json["summary"]?["phase"]?.stringValue.map { $0 == "Failed" || $0 == "Error" } == true
    }
  }

  @Test("What a cache of memoized outputs names stays as long as it is taken, whatever becomes of its workflow")
  func memoized() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        try await workflow("w", fixture, client)
        for node in ["w-1", "w-2"] { try await make("w/\(node)/out", of: "w", fixture) }
        let now = Timestamp.wallClock
        try await fixture.sql(
          """
          INSERT INTO memos (project, cache, key, outputs, node, workflow, created_ms, hit_ms) VALUES ('a', 'c', 'k',
            '{"parameters":{},"artifacts":{"out":{"key":"w/w-1/out","size":9,"sha256":"ab","archive":"none"}}}', 'w-1', 'w', 0,
            \(now.milliseconds))
          """)
        _ = try await client.send(.delete, "/v1/projects/a/workflows/w", token: fixture.userA)
        try await waitUntil("w is gone") { try await fixture.store.workflowHead(.init(project: "a", name: "w")) == nil }
        let later = now + .seconds(3600)
        #expect(try await collection(fixture).collect(at: later) == 1)
        #expect(try await isThere("w/w-1/out", fixture))
        #expect(try await !isThere("w/w-2/out", fixture))
        #expect(try await collection(fixture, age: Self.day).collect(at: later) == 0)
        #expect(try await collection(fixture, age: Self.day).collect(at: now + Self.day * 2) == 1)
        #expect(try await !isThere("w/w-1/out", fixture))
      }
    }
  }

  @Test("What a deleted workflow made goes from the repository; what its author named, and what others made, stays")
  func byOwner() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        try await workflow("first", fixture, client)
        try await workflow("other", fixture, client)
        let owned = ["first/first/out.tgz", "first/first-123456/out"]
        let kept = ["first/results/out", "results/out", "other/other/out"]
        for key in owned + kept { try await make(key, of: key.hasPrefix("other") ? "other" : "first", fixture) }
        let collection = collection(fixture)
        let later = Timestamp.wallClock + ArtifactCollection.grace + .seconds(60)
        #expect(try await collection.collect(at: later) == 0)
        let gone = try await client.send(.delete, "/v1/projects/a/workflows/first", token: fixture.userA)
        try #require(gone.status == .ok, "\(String(buffer: gone.body))")
        #expect(try await collection.collect(at: .wallClock) == 0, "a copy may be under way")
        // One of the same name would have the same keys.
        try await workflow("first", fixture, client)
        #expect(try await collection.collect(at: later) == 0)
        try #require(
          try await client.send(.delete, "/v1/projects/a/workflows/first", token: fixture.userA).status == .ok)
        #expect(try await collection.collect(at: later) == 2)
        for key in owned { #expect(try await !isThere(key, fixture), "\(key)") }
        for key in kept { #expect(try await isThere(key, fixture), "\(key)") }
        #expect(try await collection.collect(at: later) == 0)
      }
    }
  }

  @Test("Artifacts go when they are older than the operator keeps them, and only those of workflows that are over")
  func byAge() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        try await workflow("old", fixture, client)
        _ = try await client.send(
          .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.suspended("running"))
        try await make("old/old/out", of: "old", daysAgo: 40, fixture)
        try await make("old/old-1/out", of: "old", daysAgo: 20, fixture)
        try await make("running/running/out", of: "running", daysAgo: 40, fixture)
        let collection = collection(fixture, age: Self.day * 30)
        #expect(try await collection.collect(at: .wallClock) == 0)
        #expect(try await collection.collect(at: .wallClock + ArtifactCollection.grace + .seconds(60)) == 1)
        #expect(try await !isThere("old/old/out", fixture))
        for key in ["old/old-1/out", "running/running/out"] { #expect(try await isThere(key, fixture), "\(key)") }
        #expect(try await fixture.store.artifactDeletion("old/old/out", of: "a")?.isByDocument == false)
        #expect(try await fixture.store.artifactDeletion("old/old-1/out", of: "a") == nil)
      }
    }
  }

  @Test("artifactGC decides over every key: what its author named goes when asked to, and what is asked to stay stays")
  func byStrategy() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        try await workflow("w", fixture, client)
        try await workflow("reader", fixture, client)
        let gone: [(String, ArtifactGCStrategy)] = [
          ("results/out", .onWorkflowDeletion), ("w/w/out", .onWorkflowCompletion), ("w/other", .onWorkflowDeletion),
          // The first part of an author's key may be anybody's name.
          ("reader/mine", .onWorkflowDeletion),
        ]
        let kept: [(String, ArtifactGCStrategy)] = [("results/keep", .never), ("w/w-1/keep", .never)]
        for (key, strategy) in gone + kept + [("results/shared", .onWorkflowDeletion)] {
          try await make(key, of: "w", strategy: strategy, fixture)
        }
        // Somebody else has written there since.
        try await make("results/shared", of: "reader", fixture)
        let collection = collection(fixture)
        try #require(try await client.send(.delete, "/v1/projects/a/workflows/w", token: fixture.userA).status == .ok)
        #expect(try await collection.collect(at: .wallClock) == 0, "a copy may be under way")
        let later = Timestamp.wallClock + ArtifactCollection.grace + .seconds(60)
        #expect(try await collection.collect(at: later) == gone.count)
        for (key, _) in gone { #expect(try await !isThere(key, fixture), "\(key)") }
        for (key, _) in kept { #expect(try await isThere(key, fixture), "\(key)") }
        #expect(try await isThere("results/shared", fixture))
      }
    }
  }

  @Test("Logs of a deleted workflow go, those of others stay; what an agent sends late goes with them")
  func logs() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let logs = fixture.server.services.logs
        for (name, run) in [("first", 101), ("other", 102)] as [(String, Int64)] {
          try await workflow(name, fixture, client)
          try await fixture.sql(
            """
            INSERT INTO runs (run_id, workflow_id, ordinal, epoch, cluster, phase, bound_ms, message, is_unaccounted, explanation,
              cpu_millicores, memory_bytes, gpus, bytes_in, bytes_out, staging_ms, wall_ms, runs_as)
            SELECT \(run), id, 99, 1, 'c', 7, 0, '', false, 0, 0, 0, 0, 0, 0, 0, 0, '' FROM workflows WHERE name = '\(name)'
            """)
          _ = try await logs.append(RunID(run), offset: 0, bytes: Array("words\n".utf8), last: false)
        }
        let collection = collection(fixture)
        let later = Timestamp.wallClock + ArtifactCollection.grace + .seconds(60)
        #expect(try await collection.collectLogs(at: later) == 0)
        try #require(
          try await client.send(.delete, "/v1/projects/a/workflows/first", token: fixture.userA).status == .ok)
        #expect(try await collection.collectLogs(at: .wallClock) == 0, "its end may be under way")
        _ = try await logs.append(RunID(101), offset: 6, bytes: Array("the last\n".utf8), last: true)
        try await fixture.store.recordLog(
          LogRecord(run: RunID(101), workflowUID: "gone", location: "l", size: ByteCount(15), isComplete: true))
        #expect(try await collection.collectLogs(at: later) == 1)
        #expect(try await logs.position(RunID(101)) == nil)
        #expect(try await fixture.store.log(of: RunID(101)) == nil)
        #expect(try await logs.position(RunID(102))?.offset == 6)
        #expect(try await collection.collectLogs(at: later) == 0)
      }
    }
  }
}
