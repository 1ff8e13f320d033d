internal import Foundation
internal import Glibc

/// A process that the harness started, by its id and its start time: ids are used again, the pair is not.
public struct OwnedProcess: Hashable, Sendable {
  public var pid: Int32
  /// Clock ticks since boot. - Source: proc(5), field 22 of /proc/PID/stat.
  public var startTicks: UInt64

  /// nil when no such process lives.
  public init?(pid: Int32) {
    guard pid > 1, let ticks = Self.startTicks(of: pid) else { return nil }
    self.pid = pid
    startTicks = ticks
  }

  /// nil for a dead process, and for a zombie, which is dead but for its exit code.
  static func startTicks(of pid: Int32) -> UInt64? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
    let text = String(decoding: data, as: UTF8.self)
    // The name in parentheses may itself hold spaces and parentheses.
    guard let close = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: close)...].split(separator: " ")
    guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
    return UInt64(fields[19])
  }

  public var isAlive: Bool {
    // A dead child of ours stays a zombie until it is collected.
    var status: Int32 = 0
    waitpid(pid, &status, WNOHANG)
    return Self.startTicks(of: pid) == startTicks
  }

  /// Signals exactly this process, never one that took its id. Returns whether it was there.
  @discardableResult
  public func signal(_ number: Int32) -> Bool { isAlive && Glibc.kill(pid, number) == 0 }

  /// SIGKILL, and waits until it is gone.
  public func kill() async throws {
    signal(SIGKILL)
    // A stopped process dies of SIGKILL as well.
    try await poll("process \(pid) dies", timeout: .seconds(10)) { !isAlive }
  }

  /// Asks it to end, and ends it when it has not after `grace`. Returns whether it ended by itself.
  @discardableResult
  public func end(grace: Duration = .seconds(15)) async -> Bool {
    guard signal(SIGTERM) else { return true }
    do {
      try await poll("process \(pid) ends", timeout: grace) { !isAlive }
      return true
    } catch {
      try? await kill()
      return false
    }
  }

  /// Resident memory in bytes; nil when it is gone. - Source: proc(5), VmRSS and VmHWM of /proc/PID/status.
  public func memory() -> (resident: Int64, peak: Int64)? {
    sizes(["VmRSS", "VmHWM"], in: "status").map { ($0[0], $0[1]) }
  }

  /// Bytes of resident memory that no file backs. nil when it is gone. Cheap.
  public func anonymousMemory() -> Int64? { sizes(["RssAnon"], in: "status").map { $0[0] } }

  /// Bytes of resident memory: its share of what several processes map, and what no file backs. nil when it is gone.
  ///
  /// - Source: proc(5), Pss and Anonymous of /proc/PID/smaps_rollup.
  public func shares() -> (proportional: Int64, anonymous: Int64)? {
    sizes(["Pss", "Anonymous"], in: "smaps_rollup").map { ($0[0], $0[1]) }
  }

  /// Lines of the form `Key: N kB` of a file of /proc/PID, in bytes; 0 for a key that is not there.
  private func sizes(_ keys: [String], in file: String) -> [Int64]? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/\(file)") else { return nil }
    let lines = String(decoding: data, as: UTF8.self).split(separator: "\n")
    return keys.map { key in
      let line = lines.first { $0.hasPrefix(key + ":") }
      return (line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int64($0) } ?? 0) * 1024
    }
  }

  /// User and system time, seconds. - Source: proc(5), fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms.
  public func cpuSeconds() -> Double? { seconds(11) }

  /// The same of its children that have ended and were collected. - Source: proc(5), fields 16 and 17.
  public func childrenCPUSeconds() -> Double? { seconds(13) }

  /// The processes whose parent this is.
  public func children() -> [OwnedProcess] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { entry in
      guard let child = Int32(entry).flatMap({ OwnedProcess(pid: $0) }), let fields = child.statistics,
        fields.count > 1, Int32(fields[1]) == pid
      else { return nil }
      return child
    }
  }

  /// The sum of two neighbouring times of `statistics`.
  private func seconds(_ index: Int) -> Double? {
    guard let fields = statistics, fields.count > index + 1, let user = Double(fields[index]),
      let system = Double(fields[index + 1])
    else { return nil }
    return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// The fields of /proc/PID/stat from the state on, which is the first after the name.
  private var statistics: [Substring]? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
    let text = String(decoding: data, as: UTF8.self)
    guard let close = text.lastIndex(of: ")") else { return nil }
    return text[text.index(after: close)...].split(separator: " ")
  }

  /// Starts a program in a session of its own, with the given environment alone; its output is appended to `log`.
  public static func spawn(_ arguments: [String], environment: [String: String] = [:], log: String) throws
    -> OwnedProcess
  {
    let pid = try launch(arguments, environment: environment, log: log)
    guard let process = OwnedProcess(pid: pid) else {
      throw HarnessError("\(arguments[0]) ended at once:\n\(LogTail.of(log))")
    }
    return process
  }

  /// Runs a program to its end. Returns the exit code, or 128 + the signal that ended it.
  public static func run(
    _ arguments: [String], environment: [String: String] = [:], log: String, timeout: Duration = .seconds(60)
  ) async throws -> Int32 {
    let pid = try launch(arguments, environment: environment, log: log)
    let end = ContinuousClock.now + timeout
    while true {
      var status: Int32 = 0
      let result = waitpid(pid, &status, WNOHANG)
      if result == pid { return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f) }
      guard ContinuousClock.now < end else {
        // Not yet collected, so the id is still this child's; the session is its own.
        Glibc.kill(-pid, SIGKILL)
        waitpid(pid, &status, 0)
        throw HarnessError(
          "\(arguments.prefix(3).joined(separator: " ")) took longer than \(timeout):\n\(LogTail.of(log))")
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// A server must not hold pipes or sockets of the test process open.
  private static func keepDescriptors() {
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
    keepDescriptors()
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var defaults = sigset_t(), none = sigset_t()
    sigfillset(&defaults)
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setsigmask(&attributes, &none)
    // 0x80: glibc's POSIX_SPAWN_SETSID, which is not imported. - Source: glibc, posix/spawn.h.
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF) | Int16(POSIX_SPAWN_SETSIGMASK) | 0x80)
    var variables = ["PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"]
    variables.merge(environment) { $1 }
    let words = arguments.map { strdup($0) } + [nil]
    let values = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in words + values { free(text) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, arguments[0], &actions, &attributes, words, values)
    guard code == 0 else { throw HarnessError("cannot start \(arguments[0]): \(String(cString: strerror(code)))") }
    return pid
  }

  /// Every process whose command line holds `text`: how children of children are found, by a path that only they can have.
  public static func all(withCommandLineContaining text: String) -> [(process: OwnedProcess, words: [String])] {
    let needle = Array(text.utf8)
    return ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { entry in
      guard let pid = Int32(entry), pid != getpid(), let process = OwnedProcess(pid: pid),
        let data = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline"), data.firstRange(of: needle) != nil
      else { return nil }
      return (process, data.split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
    }
  }
}

/// What went wrong in the harness itself.
public struct HarnessError: Error, CustomStringConvertible {
  public var description: String
  public init(_ description: String) { self.description = description }
}

/// The end of a log file.
public enum LogTail {
  public static func of(_ path: String, lines: Int = 25) -> String {
    guard let file = FileHandle(forReadingAtPath: path) else { return "  (no log at \(path))" }
    defer { try? file.close() }
    let size = (try? file.seekToEnd()) ?? 0
    try? file.seek(toOffset: size > 65_536 ? size - 65_536 : 0)
    let text = String(decoding: (try? file.readToEnd()) ?? Data(), as: UTF8.self)
    return text.split(separator: "\n").suffix(lines).map { "  \($0.prefix(400))" }.joined(separator: "\n")
  }
}

/// Polls until `condition` holds.
///
/// - Throws: `HarnessError` with `what` when it does not within `timeout`; what the condition throws.
public func poll(
  _ what: @autoclosure () -> String, timeout: Duration, every pause: Duration = .milliseconds(10),
  _ condition: () async throws -> Bool
) async throws {
  let end = ContinuousClock.now + timeout
  while !(try await condition()) {
    guard ContinuousClock.now < end else { throw HarnessError("waited \(timeout) in vain until \(what())") }
    try await Task.sleep(for: pause)
  }
}
