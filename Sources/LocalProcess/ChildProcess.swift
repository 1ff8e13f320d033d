internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#endif

/// Starts processes that outlive this one: own session, no inherited descriptor, output appended to a file.
public enum ChildProcess {
  /// - Throws: `internal` with the path that could not be started.
  public static func spawn(_ arguments: [String], environment: [String: String], log: String) throws -> ProcessIdentity
  {
    guard let identity = ProcessIdentity(pid: try launch(arguments, environment: environment, log: log)) else {
      throw FederationError(.internal, "\(arguments[0]) ended at once:\n\(tail(log))")
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

  /// `log` gets the output, and what is written to the other stream too where `errors` is nil.
  private static func launch(
    _ arguments: [String], environment: [String: String], log: String, errors: String? = nil,
    input: String = "/dev/null"
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    if let errors {
      posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    } else {
      posix_spawn_file_actions_adddup2(&actions, 1, 2)
    }
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
      throw FederationError(.internal, "Cannot start \(arguments[0]): \(String(cString: strerror(code)))")
    }
    return pid
  }

  /// Runs to the end.
  ///
  /// - Throws: `internal` with the end of the log when it failed, `deadlineExceeded` when it was ended at the timeout.
  public static func run(_ arguments: [String], environment: [String: String], log: String, timeout: Duration)
    async throws
  {
    let pid = try launch(arguments, environment: environment, log: log)
    let name = arguments.prefix(2).joined(separator: " ")
    guard let status = try await wait(pid, timeout: timeout, pause: .milliseconds(20)) else {
      throw FederationError(.deadlineExceeded, "\(name) took longer than \(timeout):\n\(tail(log))")
    }
    guard status == 0 else { throw FederationError(.internal, "\(name) failed:\n\(tail(log))") }
  }

  /// What a command wrote before it ended.
  public struct Output: Sendable {
    /// The exit code, or 128 + the signal that ended it.
    public var exitCode: Int32
    public var text: String
    public var errors: String
  }

  /// Runs to the end and returns what was written, at most 16 MiB of each stream. `scratch` is a directory for files that
  /// are gone afterwards: through them the streams go, so that a full pipe can block nobody.
  ///
  /// - Throws: `deadlineExceeded` when it was ended at the timeout; a failure of the command itself is no error here.
  public static func output(
    _ arguments: [String], environment: [String: String], input: String = "", scratch: String, timeout: Duration
  ) async throws -> Output {
    let base = "\(scratch)/command-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    let files = (input: base + ".in", text: base + ".out", errors: base + ".err")
    defer { for file in [files.input, files.text, files.errors] { unlink(file) } }
    if !input.isEmpty { try PrivateFile.write(input, to: files.input) }
    let pid = try launch(
      arguments, environment: environment, log: files.text, errors: files.errors,
      input: input.isEmpty ? "/dev/null" : files.input)
    guard let status = try await wait(pid, timeout: timeout, pause: .milliseconds(5)) else {
      throw FederationError(
        .deadlineExceeded,
        "\(arguments.prefix(2).joined(separator: " ")) took longer than \(timeout):\n\(tail(files.errors))")
    }
    func read(_ file: String) -> String {
      String(decoding: InputFile.read(file, limit: 16 << 20) ?? [], as: UTF8.self)
    }
    return Output(
      exitCode: status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f), text: read(files.text),
      errors: read(files.errors))
  }

  /// The wait status; nil when it was ended at the timeout. A caller that is cancelled leaves no child behind either.
  private static func wait(_ pid: pid_t, timeout: Duration, pause: Duration) async throws -> Int32? {
    let deadline = ContinuousClock.now + timeout
    var status: Int32 = 0
    func end() {
      // Not yet reaped, so the id is still this child's.
      kill(-pid, SIGKILL)
      waitpid(pid, &status, 0)
    }
    while true {
      let result = waitpid(pid, &status, WNOHANG)
      if result == pid { return status }
      if result < 0, errno != EINTR {
        throw FederationError(.internal, "Process \(pid) cannot be waited for: \(String(cString: strerror(errno)))")
      }
      guard ContinuousClock.now < deadline else {
        end()
        return nil
      }
      do { try await Task.sleep(for: pause) } catch {
        end()
        throw error
      }
    }
  }

  /// The last lines of a log; what would steer a terminal is shown as `?`.
  public static func tail(_ path: String, lines: Int = 15) -> String {
    guard let bytes = InputFile.read(path, limit: 16_384, fromEnd: true) else { return "  (no log at \(path))" }
    let text = String(decoding: bytes, as: UTF8.self)
    let shown = text.split(separator: "\n").suffix(lines).map { "  \(printable($0))" }
    return shown.joined(separator: "\n") + "\n  (\(path))"
  }

  private static func printable(_ text: Substring) -> String {
    var shown = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      shown.append(scalar.value < 0x20 && scalar != "\t" || (0x7f...0x9f).contains(scalar.value) ? "?" : scalar)
    }
    return String(shown)
  }

  /// Collects what has ended, so that no zombie looks like a living child.
  public static func reap(_ identity: ProcessIdentity) {
    var status: Int32 = 0
    waitpid(identity.pid, &status, WNOHANG)
  }
}
