import FederationModel
import FoundationEssentials
import Synchronization

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// What a fetcher needs of the world around it, for tests of single parts.
enum StoreFixture {
  /// Secrets by name.
  struct Secrets: SecretAsking {
    var known: [String: [String: String]] = [:]
    func values(of secret: String, for key: DataKey) async throws -> [String: String] {
      guard let values = known[secret] else { throw FederationError(.permissionDenied, "no such secret") }
      return values
    }
    func export(of cluster: ClusterName, for key: DataKey?) async throws -> [String: String] {
      try await values(of: "export:" + cluster.text, for: key ?? "source:")
    }
  }

  static func sources(
    _ directory: TemporaryDirectory, secrets: [String: [String: String]] = [:], rclone: String = "rclone"
  ) throws -> SourceAccess {
    SourceAccess(
      cluster: "edge-1", secrets: Secrets(known: secrets),
      mover: try RcloneMover(program: rclone, directory: directory.path + "/rclone", logger: silentLogger()),
      allowedOrigins: [directory.path], exports: nil)
  }

  static func fetcher(
    _ repository: any ArtifactRepository, _ directory: TemporaryDirectory, sources: SourceAccess? = nil,
    bytesPerSecond: Int64? = nil, meters: LinkMeters? = nil
  ) throws -> ReplicaFetcher {
    ReplicaFetcher(
      repository: repository, sources: try sources ?? Self.sources(directory),
      meters: meters ?? LinkMeters(TransferMeter(bytesPerSecond: bytesPerSecond)))
  }
}

/// What happened, in order, told from several tasks.
final class Recorder<Element: Sendable>: Sendable {
  private let state = Mutex<[Element]>([])
  var all: [Element] { state.withLock { $0 } }
  func add(_ element: Element) { state.withLock { $0.append(element) } }
}

/// A repository in memory that can cut its answers.
final class MemoryRepository: ArtifactRepository {
  struct State {
    var objects: [String: Data] = [:]
    var requests: [(key: String, offset: Int64, asker: RepositoryAsker)] = []
    /// An answer ends after so many bytes.
    var cutAfter = Int.max
  }
  let state = Mutex(State())

  func get(
    _ key: String, for asker: RepositoryAsker, from offset: Int64, _ receive: (Data) async throws -> Void
  ) async throws {
    let (data, cut) = state.withLock { state in
      state.requests.append((key, offset, asker))
      return (state.objects[key], state.cutAfter)
    }
    guard let data else { throw FederationError(.notFound, "nothing is stored at \(key)") }
    let rest = data.dropFirst(Int(offset))
    if !rest.isEmpty { try await receive(Data(rest.prefix(cut))) }
    if rest.count > cut { throw FederationError(.unavailable, "cut by the test", retryAfter: .zero) }
  }

  func put(_ file: PackedFile, as key: String, for asker: RepositoryAsker) async throws {
    let descriptor = try POSIXFile.open(file.path, O_RDONLY)
    defer { POSIXFile.close(descriptor) }
    let bytes = try POSIXFile.readAll(descriptor, limit: 1 << 30)
    state.withLock { $0.objects[key] = Data(bytes) }
  }
}

/// A server of a test's own, in the foreground; ended with the value.
final class ServerProcess {
  private let processID: pid_t

  init(_ command: [String]) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    let code = posix_spawnp(&child, command[0], &actions, nil, &words, environ)
    guard code == 0 else { throw POSIXFile.failure("Cannot start \(command[0])", code) }
    processID = child
  }

  func end() {
    kill(processID, SIGTERM)
    var status: Int32 = 0
    while waitpid(processID, &status, 0) < 0, errno == EINTR {}
  }
}
