import Dispatch
import FederationModel
import FoundationEssentials
import Synchronization
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct ReplicaFetcherTests {
  /// Answers at once with twice what a pipe holds.
  private final class Flood: ArtifactRepository {
    static let bytes = 128 << 10
    let asked = Mutex(0)
    func get(
      _ key: String, for asker: RepositoryAsker, from offset: Int64, _ receive: (Data) async throws -> Void
    ) async throws {
      asked.withLock { $0 += 1 }
      try await receive(Data(count: Self.bytes))
    }
    func put(_ file: PackedFile, as key: String, for asker: RepositoryAsker) async throws {}
  }

  @Test("a disk that takes no bytes keeps nothing else of the agent's waiting", .timeLimit(.minutes(2)))
  func hangingDisk() async throws {
    let directory = try TemporaryDirectory()
    let repository = Flood()
    let fetcher = try StoreFixture.fetcher(repository, directory)
    // More than there are threads for tasks. A pipe that nobody reads hangs its writer, as a file server that went away does.
    let count = min(48, sysconf(Int32(_SC_NPROCESSORS_ONLN)) + 2)
    let pipes = (0..<count).map { "\(directory.path)/pipe-\($0)" }
    for pipe in pipes { #expect(mkfifo(pipe, 0o600) == 0) }
    let wentOn = DispatchSemaphore(value: 0)
    let wasStuck = Mutex(false)
    DispatchQueue(label: "the file server comes back").async {
      let isLate = wentOn.wait(timeout: .now() + .seconds(30)) == .timedOut
      wasStuck.withLock { $0 = isLate }
      for pipe in pipes {
        guard let file = try? POSIXFile.open(pipe, O_RDONLY) else { continue }
        _ = try? POSIXFile.readAll(file, limit: Flood.bytes)
        POSIXFile.close(file)
      }
    }
    let downloads = pipes.map { pipe in
      Task {
        // A pipe has no position, which counts as -1.
        try await fetcher.download(
          "k", size: Int64(Flood.bytes) - 1, RepositoryAsker(run: nil, project: "p"), to: pipe, TransferGauge())
      }
    }
    try await waitUntil(timeout: .seconds(60)) { repository.asked.withLock { $0 } == count }
    wentOn.signal()
    for download in downloads { try await download.value }
    #expect(!wasStuck.withLock { $0 })
  }
}
