internal import CSupervisor
internal import Glibc

/// Keeps an agent running where no service manager does: starts it again whenever it ends otherwise than by its own decision.
///
/// Beside that it bounds the agent's log (`BoundedLog`), which nobody else does there. It does nothing else, so that nothing else
/// can end it. Runs are no concern of its: they belong to the supervisor.
public enum Keeper {
  /// Held while a keeper acts for the state directory; names it as `process N on HOST`.
  public static let lockName = "keeper.lock"
  /// Where keeper and agent say what they do, in the state directory. Bounded only when it is their standard error.
  public static let logName = "agent.log"
  /// Between two starts of an agent that does not last.
  static let pauseMin: Int64 = 1, pauseMax: Int64 = 60
  /// After so many seconds an agent counts as one that lasts.
  static let lasting: UInt64 = 60
  /// What an agent gets for its orderly end, in seconds.
  static let grace: UInt64 = 30
  /// Between two looks at the log's size, in seconds.
  static let logPause: Int64 = 10

  /// Runs `fubini-agent run` with `arguments`, which must name the state directory, until that ends with 0 or until SIGTERM or
  /// SIGINT, which it passes on. Returns an exit code: 0, 1, or 2 for wrong usage.
  public static func main(_ arguments: [String]) -> Int32 {
    guard let flag = arguments.firstIndex(of: "--state-dir"), flag + 1 < arguments.count,
      arguments[flag + 1].hasPrefix("/")
    else {
      return complain("--state-dir must name an absolute directory", 2)
    }
    guard let executable = realpath("/proc/self/exe", nil) else { return complain("/proc is not mounted", 1) }
    defer { free(executable) }
    do throws(SystemFailure) {
      umask(0o077)
      try Files.makeDirectory(arguments[flag + 1])
      let lock = try Files.open(arguments[flag + 1] + "/" + lockName, O_RDWR | O_CREAT)
      // Whoever has it does what this process would do.
      guard flock(lock, LOCK_EX | LOCK_NB) == 0 else { return 0 }
      guard ftruncate(lock, 0) == 0 else { throw SystemFailure("truncate \(lockName)") }
      try Files.writeAll(lock, Array("process \(getpid())\n".utf8))
      return try keep(
        [String(cString: executable), "run"] + arguments, log: arguments[flag + 1] + "/" + logName)
    } catch {
      return complain("\(error)", 1)
    }
  }

  private static func keep(_ words: [String], log: String) throws(SystemFailure) -> Int32 {
    // The end of a login must not end what it started.
    signal(SIGHUP, SIG_IGN)
    var awaited = sigset_t()
    sigemptyset(&awaited)
    for number in [SIGCHLD, SIGTERM, SIGINT] { sigaddset(&awaited, number) }
    sigprocmask(SIG_BLOCK, &awaited, nil)
    var pause = pauseMin
    while true {
      BoundedLog.empty(2, at: log)
      let start = csupervisor_boottime_ns()
      let child = try spawn(words)
      let (status, isAsked) = wait(for: child, awaited, log: log)
      if isAsked || (csupervisor_exited(status) != 0 && csupervisor_exit_code(status) == 0) { return 0 }
      if csupervisor_boottime_ns() - start > lasting * 1_000_000_000 { pause = pauseMin }
      complain("the agent ended (\(describe(status))); it is started again in \(pause) s", 0)
      if isToldToEnd(within: pause, awaited) { return 0 }
      pause = min(pause * 2, pauseMax)
    }
  }

  private static func describe(_ status: Int32) -> String {
    let number = csupervisor_signal(status)
    return number != 0 ? "signal \(number)" : "exit code \(csupervisor_exit_code(status))"
  }

  private static func spawn(_ words: [String]) throws(SystemFailure) -> pid_t {
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var vector = words.map { strdup($0) } + [nil]
    defer { for pointer in vector { free(pointer) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, vector[0]!, nil, &attributes, &vector, environ)
    guard code == 0 else { throw SystemFailure("start \(words[0])", code) }
    return child
  }

  /// Until `child` has ended. A wish that it end is passed on, and in the end enforced.
  /// - Returns: its status, and whether there was such a wish.
  private static func wait(for child: pid_t, _ awaited: sigset_t, log: String) -> (status: Int32, isAsked: Bool) {
    var status: Int32 = 0
    var deadline: UInt64?
    while waitpid(child, &status, WNOHANG) == 0 {
      let isAsked = isToldToEnd(within: deadline == nil ? logPause : 1, awaited, orChild: true)
      BoundedLog.empty(2, at: log)
      if isAsked, deadline == nil {
        kill(child, SIGTERM)
        deadline = csupervisor_boottime_ns() + grace * 1_000_000_000
      }
      if let deadline, csupervisor_boottime_ns() > deadline { kill(child, SIGKILL) }
    }
    return (status, deadline != nil)
  }

  /// Whether SIGTERM or SIGINT came in so many seconds.
  /// - Parameter orChild: return at a child's end as well.
  private static func isToldToEnd(within seconds: Int64, _ awaited: sigset_t, orChild: Bool = false) -> Bool {
    let end = csupervisor_boottime_ns() + UInt64(seconds) * 1_000_000_000
    var awaited = awaited
    while true {
      let now = csupervisor_boottime_ns()
      guard now < end else { return false }
      let left = end - now
      var timeout = timespec(tv_sec: Int(left / 1_000_000_000), tv_nsec: Int(left % 1_000_000_000))
      let number = sigtimedwait(&awaited, nil, &timeout)
      if number == SIGTERM || number == SIGINT { return true }
      if number == SIGCHLD, orChild { return false }
    }
  }

  @discardableResult private static func complain(_ text: String, _ code: Int32) -> Int32 {
    try? Files.writeAll(2, Array("fubini-agent keep: \(text)\n".utf8))
    return code
  }
}
