internal import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Synchronization
internal import Testing

/// A process cluster of a test's own: its executor, its supervisor, and everything that was observed.
final class ExecutorFixture: Sendable {
  let directory: String
  let executor: ProcessExecutor
  private let observed = Mutex<[RunID: [RunObservation]]>([:])
  private let watcher = Mutex<Task<Void, Never>?>(nil)

  init(configure: (inout ProcessExecutorConfiguration) -> Void = { _ in }) async throws {
    var template = Array("/tmp/fubini-executor-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    var configuration = ProcessExecutorConfiguration(stateDirectory: directory, supervisorExecutable: Self.supervisor)
    configure(&configuration)
    executor = try await ProcessExecutor(configuration: configuration)
    watch(executor)
  }

  static let supervisor: String = {
    let path = String(cString: realpath("/proc/self/exe", nil))
    return path[..<(path.lastIndex(of: "/") ?? path.startIndex)] + "/supervisor-fixture"
  }()

  func watch(_ executor: ProcessExecutor) {
    let stream = executor.observe()
    watcher.withLock {
      $0 = Task {
        for await observation in stream {
          self.observed.withLock { $0[observation.id, default: []].append(observation) }
        }
      }
    }
  }

  /// Runs a script to its end.
  func run(_ id: Int64, _ spec: TaskSpec, change: (inout RunRequest) -> Void = { _ in }) async throws -> RunObservation
  {
    var request = RunRequest(id: RunID(id), epoch: 1, project: "p", spec: spec)
    change(&request)
    try await executor.submit(request)
    return try await end(of: id)
  }

  func observations(of id: Int64) -> [RunObservation] { observed.withLock { $0[RunID(id)] ?? [] } }

  func end(of id: Int64, seconds: Double = 60) async throws -> RunObservation {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
      if let end = observations(of: id).last(where: { $0.phase.isTerminal }) { return end }
      try await Task.sleep(for: .milliseconds(3))
    }
    throw FederationError(.deadlineExceeded, "run \(id) did not end within \(seconds) s: \(observations(of: id))")
  }

  func log(_ id: Int64) -> String { text(executor.workspace(for: RunID(id)).log) }

  /// Polls until the condition holds.
  func waitUntil(_ what: String, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while try await !condition() {
      guard ContinuousClock.now < deadline else {
        throw FederationError(.deadlineExceeded, "not within 60 s: \(what)")
      }
      try await Task.sleep(for: .milliseconds(3))
    }
  }

  func text(_ path: String) -> String {
    let file = open(path, O_RDONLY)
    guard file >= 0 else { return "" }
    defer { close(file) }
    return Self.text(of: file)
  }

  static func text(of file: Int32) -> String {
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let got = read(file, &bytes, bytes.count)
    return String(decoding: bytes[..<max(0, got)], as: UTF8.self)
  }

  /// Ends the supervisor and deletes everything.
  func tearDown() async {
    await executor.close()
    let task = watcher.withLock { $0 }
    task?.cancel()
    // Not asked to leave: a test that failed may have left a run alive. Whoever comes meanwhile is ended too.
    let lock = open(directory + "/supervisor.lock", O_RDWR)
    defer { close(lock) }
    while lock >= 0, flock(lock, LOCK_EX | LOCK_NB) != 0 {
      if let pid = supervisorPID { kill(pid, SIGKILL) }
      usleep(2000)
    }
    // The lock is free a moment before the kernel has killed the runs, which may still write here.
    for _ in 0..<100 where SpawnedCommand(["/bin/rm", "-rf", directory]).wait() != 0 { usleep(10_000) }
  }

  /// The holder of the supervisor's lock, now or last.
  var supervisorPID: pid_t? { pid_t(text(directory + "/supervisor.lock").dropLast()) }
}

/// A command that a test runs beside the product.
struct SpawnedCommand {
  private(set) var pid: pid_t = 0
  init(_ arguments: [String]) {
    var owned = arguments.map { strdup($0) }
    owned.append(nil)
    posix_spawnp(&pid, arguments[0], nil, nil, owned, environ)
    for pointer in owned { free(pointer) }
  }
  func wait() -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status
  }
}

extension TaskSpec {
  static func shell(_ script: String) -> TaskSpec { TaskSpec(image: "any", command: ["sh"], script: script) }
}
