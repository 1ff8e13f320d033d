internal import CSupervisor
internal import Glibc
internal import Testing

@testable internal import Supervisor

/// A supervisor process of a test's own, with a state directory that goes when the test ends.
final class SupervisorFixture {
  /// How the supervisor comes into being.
  enum Mode: String {
    /// As the first process of a PID namespace, by the user of the tests.
    case enclosed
    /// The same without privilege, in a user namespace.
    case unprivileged
    /// As a plain process, as where namespaces are forbidden.
    case plain
  }

  let directory: String
  let mode: Mode
  let controlGroups: String
  private(set) var pid: Int32 = 0
  private var startTicks: UInt64 = 0

  init(_ mode: Mode = .enclosed, controlGroups: String = "none") throws {
    self.mode = mode
    self.controlGroups = controlGroups
    var template = Array("/tmp/fubini-supervisor-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    if mode == .unprivileged { chown(directory, Self.nobody, Self.nobody) }
    try launch()
  }

  static let nobody: UInt32 = 65534
  static var canActAsNobody: Bool {
    geteuid() == 0 && run(asNobody + ["test", "-x", executable]) == 0
  }
  private static let asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

  static let executable: String = {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes {
      readlink("/proc/self/exe", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
    }
    let path = String(decoding: buffer[..<max(0, count)], as: UTF8.self)
    return path[..<(path.lastIndex(of: "/") ?? path.startIndex)] + "/supervisor-fixture"
  }()

  /// Starts a supervisor and waits until it answers.
  func launch() throws {
    try launchWithoutWaiting()
    try waitUntil("a supervisor answers") {
      // One that is being killed may still have a socket.
      guard let client = try? SupervisorClient(directory) else { return false }
      return client.supervisorPID == pid
    }
  }

  /// Starts a supervisor and waits until it has the directory's lock.
  func launchWithoutWaiting() throws {
    let previous = pid
    switch mode {
    case .enclosed:
      try Supervisor.daemonise(
        executable: Self.executable, arguments: ["supervisor", "--state-dir", directory, "--cgroup", controlGroups],
        log: directory + "/supervisor.log")
    case .unprivileged:
      #expect(Self.run(Self.asNobody + [Self.executable, "daemonise", directory]) == 0)
    case .plain: _ = Self.spawn([Self.executable, "supervisor", "--state-dir", directory, "--cgroup", controlGroups])
    }
    try waitUntil("a supervisor has the lock") {
      guard let holder = Int32(text(directory + "/supervisor.lock").dropLast()), holder != previous,
        let entry = ProcessTable.own.entry(holder)
      else { return false }
      (pid, startTicks) = (holder, entry.startTicks)
      return true
    }
  }

  private static func spawn(_ arguments: [String]) -> Int32 {
    var pid: pid_t = 0
    var owned = arguments.map { strdup($0) }
    owned.append(nil)
    defer { for pointer in owned { free(pointer) } }
    return posix_spawnp(&pid, arguments[0], nil, nil, owned, environ) == 0 ? pid : -1
  }

  private static func run(_ arguments: [String]) -> Int32 {
    let pid = spawn(arguments)
    guard pid > 0 else { return -1 }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status
  }

  func send(_ signal: Int32) { kill(pid, signal) }

  /// kill -9, and waits until it is gone.
  func crash() throws {
    send(SIGKILL)
    try waitUntil("the supervisor is gone") { !ProcessTable.own.isAlive(pid, startTicks: startTicks) }
    if mode == .plain { while waitpid(pid, nil, 0) < 0, errno == EINTR {} }
  }

  func client() throws -> SupervisorClient { try SupervisorClient(directory) }

  func path(_ id: UInt64, _ name: String) -> String {
    RunDirectory(stateDirectory: directory, id: id).path + "/" + name
  }

  func text(_ path: String) -> String { String(decoding: Files.read(path, limit: 4 << 20) ?? [], as: UTF8.self) }

  deinit {
    // A stopped process obeys this too. Only when everything of it is gone does nobody write in the directory any more.
    try? crash()
    Self.remove(directory)
  }

  static func remove(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      unlink(path)
      return
    }
    for name in Files.names(in: path) { remove(path + "/" + name) }
    rmdir(path)
  }
}

/// A blocking client.
final class SupervisorClient {
  private let socket: Int32
  private var buffer: [UInt8] = []
  let supervisorPID: Int32

  init(_ directory: String) throws {
    socket = try UnixSocket.connect(to: Supervisor.socketPath(in: directory))
    var timeout = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var range = WireWriter()
    range.put(UInt16(1))
    range.put(UInt16(1))
    Self.write(socket, SupervisorProtocol.frame(SupervisorCommand.hello.rawValue, tag: 1, range.bytes))
    guard let reply = Self.read(socket, &buffer) else {
      close(socket)
      throw WireReader.Malformed()
    }
    var reader = WireReader(reply.body[...])
    _ = try reader.number(UInt16.self)
    supervisorPID = Int32(bitPattern: try reader.number(UInt32.self))
  }

  deinit { close(socket) }

  func sendRaw(_ bytes: [UInt8]) { Self.write(socket, bytes) }

  func send(_ command: SupervisorCommand, _ body: [UInt8] = []) {
    Self.write(socket, SupervisorProtocol.frame(command.rawValue, tag: 7, body))
  }

  /// The next frame; nil when the connection ends.
  func next() -> (kind: UInt8, body: [UInt8])? { Self.read(socket, &buffer) }

  func start(_ run: SupervisedRun) throws -> (kind: SupervisorReply?, body: [UInt8]) {
    var writer = WireWriter()
    run.encode(into: &writer)
    send(.start, writer.bytes)
    let reply = try #require(next())
    return (SupervisorReply(rawValue: reply.kind), reply.body)
  }

  func cancel(_ id: UInt64, graceMs: UInt64) throws {
    var writer = WireWriter()
    writer.put(id)
    writer.put(graceMs)
    send(.cancel, writer.bytes)
    #expect(try #require(next()).kind == SupervisorReply.done.rawValue)
  }

  func extend(_ id: UInt64, toMs milliseconds: UInt64) throws {
    var writer = WireWriter()
    writer.put(id)
    writer.put(milliseconds)
    send(.extend, writer.bytes)
    #expect(try #require(next()).kind == SupervisorReply.done.rawValue)
  }

  /// Whether the supervisor says that the kernel kills its runs with it.
  func isEnclosed() throws -> Bool {
    send(.status)
    var reader = WireReader(try #require(next()).body[...])
    _ = try (reader.number(UInt32.self), reader.number(UInt32.self), reader.texts())
    return try reader.flag()
  }

  /// Ended runs and living ones.
  func list() throws -> (ended: [UInt64: RunEnd], live: Set<UInt64>) {
    send(.list)
    var ended: [UInt64: RunEnd] = [:]
    var live: Set<UInt64> = []
    while let frame = next(), let reply = SupervisorReply(rawValue: frame.kind), reply != .done {
      var reader = WireReader(frame.body[...])
      let id = try reader.number(UInt64.self)
      if reply == .ended { ended[id] = try RunEnd(from: &reader) } else { live.insert(id) }
    }
    return (ended, live)
  }

  func waitForEnd(_ id: UInt64, within seconds: Double = 60) throws -> RunEnd {
    var end: RunEnd?
    try waitUntil("run \(id) has ended", seconds: seconds) {
      end = try list().ended[id]
      return end != nil
    }
    return try #require(end)
  }

  private static func write(_ socket: Int32, _ bytes: [UInt8]) {
    _ = Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  private static func read(_ socket: Int32, _ buffer: inout [UInt8]) -> (kind: UInt8, body: [UInt8])? {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      if let frame = try? SupervisorProtocol.takeFrame(from: &buffer) { return (frame.kind, Array(frame.body)) }
      let got = recv(socket, &chunk, chunk.count, 0)
      guard got > 0 else { return nil }
      buffer += chunk[..<got]
    }
  }
}

/// Polls a condition; a test that waits for a moment instead of a condition is slow or wrong.
func waitUntil(_ what: String, seconds: Double = 60, _ condition: () throws -> Bool) throws {
  let end = csupervisor_boottime_ns() + UInt64(seconds * 1e9)
  while try !condition() {
    guard csupervisor_boottime_ns() < end else {
      Issue.record("not within \(seconds) s: \(what)")
      throw WireReader.Malformed()
    }
    usleep(2000)
  }
}
