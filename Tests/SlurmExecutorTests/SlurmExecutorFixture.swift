internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import SlurmExecutor
internal import Supervisor
internal import Synchronization
internal import TestSupport
internal import Testing

/// An executor on a real Slurm cluster of a test's own, and everything that was observed.
final class SlurmExecutorFixture: Sendable {
  let cluster: LocalSlurmCluster
  let shared: String
  let files: BatchFiles
  private let configure: @Sendable (inout SlurmExecutorConfiguration) -> Void
  private let current = Mutex<SlurmExecutor?>(nil)
  private let observed = Mutex<[RunID: [RunObservation]]>([:])
  private let watcher = Mutex<Task<Void, Never>?>(nil)

  static func with(
    cluster configureCluster: (inout LocalSlurmCluster.Configuration) -> Void = { _ in },
    configure: @escaping @Sendable (inout SlurmExecutorConfiguration) -> Void = { _ in },
    _ body: (SlurmExecutorFixture) async throws -> Void
  ) async throws {
    try await SlurmFixture.with("hpc", configure: configureCluster) { slurm in
      let fixture = SlurmExecutorFixture(cluster: slurm.clusters[0], shared: slurm.shared + "/fubini", configure)
      try await fixture.start()
      do { try await body(fixture) } catch {
        await fixture.executor.close()
        throw error
      }
      await fixture.executor.close()
    }
  }

  private init(
    cluster: LocalSlurmCluster, shared: String,
    _ configure: @escaping @Sendable (inout SlurmExecutorConfiguration) -> Void
  ) {
    self.cluster = cluster
    self.shared = shared
    self.configure = configure
    files = BatchFiles(sharedDirectory: shared)
  }

  var executor: SlurmExecutor { current.withLock { $0! } }

  /// The program that has a batch step, as the agent has.
  static let agent: String = {
    let path = String(cString: realpath("/proc/self/exe", nil))
    return path[..<(path.lastIndex(of: "/") ?? path.startIndex)] + "/supervisor-fixture"
  }()

  /// The agent's start.
  func start() async throws {
    var configuration = SlurmExecutorConfiguration(
      sharedDirectory: shared, agentBinary: Self.agent, federationID: "fed", cluster: "hpc",
      slurmConfiguration: cluster.configurationFile, pollInterval: .milliseconds(500))
    configure(&configuration)
    let executor = try await SlurmExecutor(configuration: configuration)
    current.withLock { $0 = executor }
    let stream = executor.observe()
    watcher.withLock {
      $0 = Task {
        for await observation in stream {
          self.observed.withLock { $0[observation.id, default: []].append(observation) }
        }
      }
    }
  }

  /// The agent's death and its next start.
  func restart(known: [Int64]) async throws -> [RunObservation] {
    await executor.close()
    try await start()
    return try await executor.reattach(known: known.map { RunID($0) })
  }

  static func request(
    _ id: Int64, _ script: String, _ change: (inout RunRequest) -> Void = { _ in }
  ) -> RunRequest {
    var spec = TaskSpec(command: ["/bin/sh", "-c"], arguments: [script])
    spec.terminationGrace = .seconds(2)
    var request = RunRequest(id: RunID(id), epoch: 1, project: "p", spec: spec, walltime: .seconds(600))
    change(&request)
    return request
  }

  func submit(_ requests: [RunRequest]) async throws {
    for request in requests { _ = try await executor.prepare(request) }
    try await executor.submit(requests)
  }

  func submit(_ id: Int64, _ script: String, _ change: (inout RunRequest) -> Void = { _ in }) async throws {
    try await submit([Self.request(id, script, change)])
  }

  func observations(of id: Int64) -> [RunObservation] { observed.withLock { $0[RunID(id)] ?? [] } }

  func end(of id: Int64, seconds: Double = 240) async throws -> RunObservation {
    try await observation(of: id, "end", seconds: seconds) { $0.phase.isTerminal }
  }

  func observation(
    of id: Int64, _ what: String, seconds: Double = 240, _ condition: (RunObservation) -> Bool
  ) async throws -> RunObservation {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
      if let found = observations(of: id).last(where: condition) { return found }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw FederationError(
      .deadlineExceeded, "run \(id) has no \(what) within \(seconds) s: \(observations(of: id).suffix(5))")
  }

  func running(_ id: Int64) async throws { _ = try await observation(of: id, "running") { $0.phase == .running } }

  func eventually(_ what: String, seconds: Double = 180, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
      if try await condition() { return }
      try await Task.sleep(for: .milliseconds(20))
    }
    throw FederationError(.deadlineExceeded, "not within \(seconds) s: \(what)")
  }

  /// Every job that Slurm knows, one line each: id, state, name.
  func jobs() async throws -> [Substring] {
    try await cluster.command("squeue", ["--noheader", "--array", "--states=all", "--format=%i %T %j"])
      .split(separator: "\n")
  }

  func job(of id: Int64, seconds: Double = 120) async throws -> String {
    var found: String?
    try await eventually("a job of run \(id)", seconds: seconds) {
      found = try await jobs().first { $0.contains(RunID(id).hexadecimal) }?.split(separator: " ").first.map(
        String.init)
      return found != nil
    }
    return found!
  }

  /// For runs that wait for it with `wait`: their sandbox hides the shared directory, but not their own.
  static func wait(_ then: String) -> String { "while [ ! -e go ]; do sleep 0.1; done; \(then)" }
  func go(_ id: Int64) throws {
    let file = creat(executor.workspace(for: RunID(id)).root + "/workspace/go", 0o644)
    try #require(file >= 0)
    close(file)
  }

  /// What is in a directory; nothing when there is none.
  func list(_ path: String) -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  func log(of id: Int64) -> String { read(executor.workspace(for: RunID(id)).log) ?? "" }

  func read(_ path: String) -> String? {
    let file = open(path, O_RDONLY)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = Glibc.read(file, &chunk, chunk.count)
      if count <= 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += chunk[..<count]
    }
  }
}
