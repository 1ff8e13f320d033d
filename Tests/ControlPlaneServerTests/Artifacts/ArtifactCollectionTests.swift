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
  private func make(_ key: String, of workflow: String, daysAgo: Double = 0, _ fixture: APIFixture) async throws {
    let text = Array("bytes of \(key)".utf8)
    let sha256 = SHA256.hash(data: text).hexadecimal
    let upload = try await fixture.server.services.artifacts.put(try ArtifactKey(project: "a", path: key))
    try await upload.write(text)
    _ = try await upload.finish(size: Int64(text.count), sha256: sha256)
    let made = (Timestamp.wallClock + (.zero - Self.day * daysAgo)).milliseconds
    try await fixture.sql(
      """
      INSERT INTO artifacts (workflow_id, ordinal, name, workflow_uid, project, key, size_bytes, sha256, archive, cluster, created_ms,
        is_unstored, is_remade)
      SELECT id, (SELECT count(*) FROM artifacts), 'out', uid, project, '\(key)', \(text.count), '\(sha256)', 'none', 'c', \(made),
        false, false FROM workflows WHERE name = '\(workflow)'
      """)
  }

  private func isThere(_ key: String, _ fixture: APIFixture) async throws -> Bool {
    try await fixture.server.services.artifacts.stat(try ArtifactKey(project: "a", path: key)) != nil
  }

  private func collection(_ fixture: APIFixture, age: Duration? = nil) -> ArtifactCollection {
    ArtifactCollection(
      store: fixture.store, artifacts: fixture.server.services.artifacts, age: age,
      logger: fixture.server.services.logger)
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
        #expect(try await fixture.store.artifactDeletion("old/old/out", of: "a") != nil)
        #expect(try await fixture.store.artifactDeletion("old/old-1/out", of: "a") == nil)
      }
    }
  }
}
