internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#endif

/// A process by its id and start time: ids are used again, the pair is not.
struct ProcessIdentity: Codable, Hashable, Sendable {
  var pid: Int32
  /// Clock ticks since boot. - Source: proc(5), field 22 of /proc/PID/stat.
  var startTicks: UInt64
  /// Ticks count from this boot alone.
  var bootID: String

  static var currentBoot: String {
    (FileManager.default.contents(atPath: "/proc/sys/kernel/random/boot_id")).map {
      String(decoding: $0, as: UTF8.self).trimmingLast()
    } ?? ""
  }

  /// nil when no such process lives.
  init?(pid: Int32) {
    guard pid > 1, let ticks = Self.startTicks(pid: pid) else { return nil }
    self.pid = pid
    startTicks = ticks
    bootID = Self.currentBoot
  }

  /// nil for a dead process, and for a zombie, which is dead but for its exit code.
  static func startTicks(pid: Int32) -> UInt64? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
    return parse(stat: String(decoding: data, as: UTF8.self))
  }

  /// The name in parentheses may itself hold spaces and parentheses.
  static func parse(stat: String) -> UInt64? {
    guard let close = stat.lastIndex(of: ")") else { return nil }
    let fields = stat[stat.index(after: close)...].split(separator: " ")
    guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
    return UInt64(fields[19])
  }

  var isAlive: Bool { bootID == Self.currentBoot && Self.startTicks(pid: pid) == startTicks }

  /// Signals exactly this process; never one that took its id. - Returns: whether it was there.
  @discardableResult
  func signal(_ number: Int32) -> Bool { isAlive && kill(pid, number) == 0 }

  /// Asks it to end, and ends it when it has not after `grace`.
  func end(_ number: Int32 = SIGTERM, grace: Duration) async {
    guard signal(number) else { return }
    let deadline = ContinuousClock.now + grace
    while isAlive, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(20)) }
    if signal(SIGKILL) {
      let last = ContinuousClock.now + .seconds(5)
      while isAlive, ContinuousClock.now < last { try? await Task.sleep(for: .milliseconds(20)) }
    }
  }

  func save(to path: String) throws {
    try PrivateFile.write(String(decoding: JSONEncoder().encode(self), as: UTF8.self), to: path)
  }

  static func load(from path: String) -> ProcessIdentity? {
    FileManager.default.contents(atPath: path).flatMap { try? JSONDecoder().decode(ProcessIdentity.self, from: $0) }
  }
}

extension String {
  func trimmingLast() -> String {
    var text = self[...]
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }
}

/// Starts processes that outlive this one: own session, no inherited descriptor, output appended to a file.
enum ChildProcess {
  /// - Throws: `.error` with the path that could not be started.
  static func spawn(_ arguments: [String], environment: [String: String], log: String) throws -> ProcessIdentity {
    guard let identity = ProcessIdentity(pid: try launch(arguments, environment: environment, log: log)) else {
      throw CommandFailure(.error, "\(arguments[0]) ended at once:\n\(tail(log))")
    }
    return identity
  }

  /// glibc's POSIX_SPAWN_SETSID, which is not imported. - Source: glibc, posix/spawn.h.
  private static let newSession: Int16 = 0x80

  /// Whoever started us may have left descriptors open; a process that outlives us must not keep their pipes and sockets.
  private static func closeOnExec() {
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? [] {
      if let descriptor = Int32(entry), descriptor > 2 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    }
  }

  private static func launch(_ arguments: [String], environment: [String: String], log: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    closeOnExec()
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Ignored and blocked signals are inherited: the child begins with none.
    var defaults = sigset_t(), none = sigset_t()
    sigfillset(&defaults)
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGDEF) | Int16(POSIX_SPAWN_SETSIGMASK) | newSession)
    let words = arguments.map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { (words + variables).forEach { free($0) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, arguments[0], &actions, &attributes, words, variables)
    guard code == 0 else {
      throw CommandFailure(.error, "Cannot start \(arguments[0]): \(String(cString: strerror(code)))")
    }
    return pid
  }

  /// Runs to the end.
  static func run(_ arguments: [String], environment: [String: String], log: String, timeout: Duration) async throws {
    let pid = try launch(arguments, environment: environment, log: log)
    let deadline = ContinuousClock.now + timeout
    while true {
      var status: Int32 = 0
      let result = waitpid(pid, &status, WNOHANG)
      if result == pid {
        guard status == 0 else {
          throw CommandFailure(.error, "\(arguments.prefix(2).joined(separator: " ")) failed:\n\(tail(log))")
        }
        return
      }
      if result < 0, errno != EINTR {
        throw CommandFailure(.error, "\(arguments[0]): \(String(cString: strerror(errno)))")
      }
      guard ContinuousClock.now < deadline else {
        // Not yet reaped, so the id is still this child's.
        kill(-pid, SIGKILL)
        waitpid(pid, &status, 0)
        throw CommandFailure(
          .unreachable, "\(arguments.prefix(2).joined(separator: " ")) took longer than \(timeout):\n\(tail(log))")
      }
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  /// The last lines of a log.
  static func tail(_ path: String, lines: Int = 15) -> String {
    guard let bytes = InputFile.read(path, limit: 16_384, fromEnd: true) else { return "  (no log at \(path))" }
    let text = String(decoding: bytes, as: UTF8.self)
    let shown = text.split(separator: "\n").suffix(lines).map { "  \(Terminal.printable(String($0)))" }
    return shown.joined(separator: "\n") + "\n  (\(path))"
  }

  /// Collects what has ended, so that no zombie looks like a living child.
  static func reap(_ identity: ProcessIdentity) {
    var status: Int32 = 0
    waitpid(identity.pid, &status, WNOHANG)
  }
}
