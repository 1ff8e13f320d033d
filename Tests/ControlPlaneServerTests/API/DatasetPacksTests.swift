import ControlPlaneStore
import Crypto
import FederationModel
import Foundation
import HTTPTypes
import HummingbirdTesting
import Synchronization
import TestSupport
import Testing

@testable import ControlPlaneServer

/// A store that counts what it is asked, and is away after so many questions.
private final class CountingStore: ArtifactStore {
  private let store: any ArtifactStore
  private let state = Mutex((asked: 0, left: Int.max))

  init(_ store: any ArtifactStore) { self.store = store }

  /// - Returns: how often `stat` was asked since the last call.
  func begin(answering count: Int) -> Int {
    state.withLock { state in
      defer { state = (0, count) }
      return state.asked
    }
  }

  func stat(_ key: ArtifactKey) async throws -> ArtifactStat? {
    let isAway = state.withLock { state in
      state.asked += 1
      state.left -= 1
      return state.left < 0
    }
    guard !isAway else { throw FederationError(.unavailable, "the store is away") }
    return try await store.stat(key)
  }

  func put(_ key: ArtifactKey) async throws -> any ArtifactUpload { try await store.put(key) }
  func position(of key: ArtifactKey, content: ArtifactStat) async throws -> Int64 {
    try await store.position(of: key, content: content)
  }
  func put(_ key: ArtifactKey, content: ArtifactStat, from offset: Int64) async throws -> any ArtifactUpload {
    try await store.put(key, content: content, from: offset)
  }
  func get(_ key: ArtifactKey, from offset: Int64) async throws -> any ArtifactDownload {
    try await store.get(key, from: offset)
  }
  func delete(_ key: ArtifactKey) async throws { try await store.delete(key) }
  func copy(_ source: ArtifactKey, to target: ArtifactKey, content: ArtifactStat) async throws {
    try await store.copy(source, to: target, content: content)
  }
}

@Suite("Packs of data sets in the repository", .serialized, .timeLimit(.minutes(5)))
struct DatasetPacksTests {
  /// Puts a manifest of so many packs, and those, into the repository.
  private func upload(_ count: Int, _ artifacts: any ArtifactStore) async throws -> ArtifactStat {
    func put(_ bytes: [UInt8]) async throws -> ArtifactStat {
      let sha256 = SHA256.hash(data: bytes).hexadecimal
      let upload = try await artifacts.put(try DatasetRepository.key(sha256, of: "a"))
      try await upload.write(bytes)
      _ = try await upload.finish(size: Int64(bytes.count), sha256: sha256)
      return ArtifactStat(size: Int64(bytes.count), sha256: sha256)
    }
    var packs: [DatasetManifest.Pack] = []
    for number in 0..<count {
      let stat = try await put(Array("pack \(number)".utf8))
      packs.append(.init(key: DatasetManifest.path(of: stat.sha256), sha256: stat.sha256, size: stat.size))
    }
    let bytes = packs.reduce(0) { $0 + $1.size }
    var (writer, text) = try DatasetManifestWriter.begin(.init(files: Int64(count), bytes: bytes, packs: packs))
    for (number, pack) in packs.enumerated() {
      let name = String(number)
      try writer.append(
        .init(
          path: "f\(String(repeating: "0", count: 6 - name.count))\(name)", size: pack.size, sha256: pack.sha256,
          pack: number, offset: 0),
        to: &text)
    }
    try writer.finish()
    return try await put(text)
  }

  @Test(
    "A version that is asked for again is not looked at from the beginning: what was seen is remembered for a while")
  func repeated() async throws {
    try await APIFixture.use { fixture in
      let store = CountingStore(fixture.server.services.artifacts)
      let repository = DatasetRepository(store: fixture.store, artifacts: store, verified: VerifiedPacks())
      let manifest = try await upload(600, store)
      let now = Timestamp.wallClock
      _ = store.begin(answering: 400)
      await #expect(throws: FederationError.self) { _ = try await repository.check(manifest, of: "a", at: now) }
      _ = store.begin(answering: .max)
      #expect(try await repository.check(manifest, of: "a", at: now + .seconds(1)).packs.count == 600)
      let second = store.begin(answering: .max)
      #expect((1...400).contains(second), "\(second) questions, of 600 packs and a manifest")
      _ = try await repository.check(manifest, of: "a", at: now + .seconds(2))
      #expect(store.begin(answering: .max) == 1, "the manifest alone")
      // Not for ever: nothing keeps packs that no version came to name.
      _ = try await repository.check(manifest, of: "a", at: now + .seconds(2) + VerifiedPacks.life)
      #expect(store.begin(answering: .max) == 601)
    }
  }

  @Test("Packs of a version that came back from its archive are needed again, and no sweep takes them")
  func restored() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let repository = fixture.server.services.datasets
        let manifest = try await upload(3, fixture.server.services.artifacts)
        let token = fixture.userA
        _ = try await client.send(.post, "/v1/projects/a/datasets", token: token, body: #"{"name":"rare"}"#)
        let made = try await client.send(
          .post, "/v1/projects/a/datasets/rare/versions", token: token,
          body: #"{"manifest":{"sha256":"\#(manifest.sha256)","size":\#(manifest.size)}}"#)
        try #require(made.status == .created)
        let later = Timestamp.wallClock + .seconds(1)
        func sweep() async throws -> Int {
          try await repository.sweep("a", packAge: .zero, manifestAge: .zero, at: later)
        }
        #expect(try await sweep() == 0)
        try await fixture.sql(#"UPDATE dataset_versions SET archive = '{"uri":"s3://cold/x"}'"#)
        #expect(try await sweep() == 3, "its packs, not its list")
        // An agent brings them back.
        _ = try await upload(3, fixture.server.services.artifacts)
        try await fixture.sql("UPDATE dataset_versions SET archive = NULL")
        #expect(try await sweep() == 0)
        #expect(try await repository.check(manifest, of: "a", at: later).packs.count == 3)
        #expect(try await sweep() == 0)
      }
    }
  }
}
