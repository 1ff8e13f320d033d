import Crypto
import FederationModel
import FoundationEssentials
import Synchronization
import Testing

@testable import AgentRuntime

@Suite struct ArtifactCacheTests {
  /// Gives the same bytes to whoever is allowed, once the gate is open.
  private final class Repository: ArtifactRepository {
    struct State {
      var requests: [RunID] = []
      var isOpen = false
      var refused: Set<RunID> = []
    }
    let state = Mutex(State())
    let data = Data("the bytes".utf8)

    func get(_ key: String, for run: RunID, from offset: Int64, _ receive: (Data) async throws -> Void) async throws {
      state.withLock { $0.requests.append(run) }
      while !(state.withLock { $0.isOpen }) { try await Task.sleep(for: .milliseconds(2)) }
      if state.withLock({ $0.refused.contains(run) }) { throw FederationError(.permissionDenied, "not yours") }
      try await receive(data.dropFirst(Int(offset)))
    }
    func put(_ file: PackedFile, as key: String, for run: RunID) async throws {}

    var artifact: StoredArtifact {
      StoredArtifact(
        key: "k", size: ByteCount(Int64(data.count)),
        sha256: ArtifactPacking.hexadecimal(SHA256.hash(data: data)), archive: .none, producedOn: nil)
    }
    func hasBeenAsked(times: Int) -> Bool { state.withLock { $0.requests.count == times } }
    func open() { state.withLock { $0.isOpen = true } }
  }

  @Test("I5: a transfer that two runs wait for outlives the run that began it, and moves the bytes once")
  func beginnerCancelled() async throws {
    let directory = try TemporaryDirectory()
    let cache = try ArtifactCache(directory: directory.path, bytesMax: 1000)
    let repository = Repository()
    let artifact = repository.artifact
    let first = Task { try await cache.obtain(artifact, for: RunID(1), from: repository) }
    try await waitUntil { repository.hasBeenAsked(times: 1) }
    let second = Task { try await cache.obtain(artifact, for: RunID(2), from: repository) }
    try await waitUntil { await cache.waiterCount(of: artifact.sha256) == 2 }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    repository.open()
    #expect(try await second.value == artifact.size.bytes)
    #expect(repository.hasBeenAsked(times: 1))
  }

  @Test("a run that may not have an artifact does not keep it from the others that wait for the same")
  func refusedAlone() async throws {
    let directory = try TemporaryDirectory()
    let cache = try ArtifactCache(directory: directory.path, bytesMax: 1000)
    let repository = Repository()
    let artifact = repository.artifact
    repository.state.withLock { $0.refused = [RunID(1)] }
    let first = Task { try await cache.obtain(artifact, for: RunID(1), from: repository) }
    try await waitUntil { repository.hasBeenAsked(times: 1) }
    let second = Task { try await cache.obtain(artifact, for: RunID(2), from: repository) }
    try await waitUntil { await cache.waiterCount(of: artifact.sha256) == 2 }
    repository.open()
    await #expect(throws: FederationError.self) { try await first.value }
    #expect(try await second.value == artifact.size.bytes)
    #expect(try await cache.obtain(artifact, for: RunID(3), from: repository) == 0)
  }

  @Test("when the last waiter leaves, the transfer ends, and the next one begins a new one")
  func everyoneLeaves() async throws {
    let directory = try TemporaryDirectory()
    let cache = try ArtifactCache(directory: directory.path, bytesMax: 1000)
    let repository = Repository()
    let artifact = repository.artifact
    let first = Task { try await cache.obtain(artifact, for: RunID(1), from: repository) }
    try await waitUntil { repository.hasBeenAsked(times: 1) }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    repository.open()
    #expect(try await cache.obtain(artifact, for: RunID(2), from: repository) == artifact.size.bytes)
  }
}
