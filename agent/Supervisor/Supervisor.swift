internal import CSupervisor
internal import Glibc

/// The process that owns the runs of a `process` cluster and outlives its agent (DESIGN, sections 5 and 6).
///
/// One per state directory. It knows nothing of workflows, networks or sandboxes: it starts command lines once, keeps their
/// output, and ends them at their limits. If it dies, its runs die with it: `daemonise` makes it the first process of a PID
/// namespace of its own wherever the kernel allows that (see `Enclosure`).
public enum Supervisor {
  public static func socketPath(in stateDirectory: String) -> String { stateDirectory + "/supervisor.sock" }

  /// Runs until it is told to leave. Returns an exit code: 0, 2 for wrong usage, 75 when another one has the directory.
  ///
  /// Arguments: `--state-dir DIR [--cgroup auto|none|GROUP] [--daemonise]`. With the last it starts itself as a process that
  /// outlives the caller, and returns.
  public static func main(_ arguments: [String]) -> Int32 {
    let usage = "usage: supervisor --state-dir DIR [--cgroup auto|none|GROUP] [--daemonise]"
    var options: [String: String] = [:]
    let isLaunching = arguments.contains("--daemonise")
    let words = arguments.filter { $0 != "--daemonise" }
    guard words.count % 2 == 0 else { return complain(usage, 2) }
    for index in stride(from: 0, to: words.count, by: 2) {
      guard words[index] == "--state-dir" || words[index] == "--cgroup" else { return complain(usage, 2) }
      options[words[index]] = words[index + 1]
    }
    guard let directory = options["--state-dir"], directory.hasPrefix("/") else {
      return complain("--state-dir must name an absolute directory", 2)
    }
    guard let setting = ControlGroupSetting(options["--cgroup"] ?? "none") else { return complain(usage, 2) }
    return isLaunching ? daemoniseSelf(directory, setting) : serve(directory, setting)
  }

  private static func daemoniseSelf(_ directory: String, _ setting: ControlGroupSetting) -> Int32 {
    guard let executable = realpath("/proc/self/exe", nil) else { return complain("/proc is not mounted", 1) }
    defer { free(executable) }
    do throws(SystemFailure) {
      try daemonise(
        executable: String(cString: executable), arguments: Self.arguments(directory, setting),
        log: logPath(in: directory))
      return 0
    } catch { return complain("\(error)", 1) }
  }

  private static func serve(_ directory: String, _ setting: ControlGroupSetting) -> Int32 {
    do throws(SystemFailure) {
      umask(0o077)
      try Files.makeDirectory(directory)
      try Files.makeDirectory(directory + "/runs")
      let lock = try Files.open(directory + "/supervisor.lock", O_RDWR | O_CREAT)
      guard flock(lock, LOCK_EX | LOCK_NB) == 0 else { return complain("another supervisor has \(directory)", 75) }
      let enclosure = Enclosure()
      try noteHolder(enclosure?.pid ?? getpid(), in: lock)
      raiseDescriptorLimit()
      let server = try Server(
        stateDirectory: directory, groups: ControlGroups(setting, stateDirectory: directory), enclosure: enclosure,
        listener: try listen(at: socketPath(in: directory)))
      try server.run()
      unlink(socketPath(in: directory))
      return 0
    } catch {
      return complain("\(error)", 1)
    }
  }

  /// The supervisor of one run inside a batch job; see `BatchStep.main`.
  public static func batchStep(_ arguments: [String]) -> Int32 {
    BatchStep.main(arguments) { name in getenv(name).map { String(cString: $0) } }
  }

  /// Starts the supervisor of `stateDirectory`, where possible in a scope of systemd's (see `SystemdScope`).
  ///
  /// - Parameter executable: called with `supervisor` and the arguments of `main`.
  public static func launch(
    executable: String, stateDirectory: String, controlGroups: ControlGroupSetting
  ) throws(SystemFailure) {
    let arguments = arguments(stateDirectory, controlGroups)
    if controlGroups == .auto, let scope = SystemdScope.current(),
      scope.run([executable] + arguments + ["--daemonise"], log: logPath(in: stateDirectory))
    {
      return
    }
    try daemonise(executable: executable, arguments: arguments, log: logPath(in: stateDirectory))
  }

  private static func arguments(_ stateDirectory: String, _ setting: ControlGroupSetting) -> [String] {
    ["supervisor", "--state-dir", stateDirectory, "--cgroup", setting.description]
  }

  private static func logPath(in stateDirectory: String) -> String { stateDirectory + "/supervisor.log" }

  /// What of the limits would not be enforced for a supervisor that is started from here, for people who check a machine
  /// before they rely on it. Changes nothing.
  public static func limitNotices(_ setting: ControlGroupSetting) -> [String] {
    if setting == .auto, SystemdScope.current() != nil { return [] }
    return ControlGroupSite.find(setting, in: .current(), isTrial: true).notices
  }

  /// Asks the supervisor of a state directory, if there is one, to leave as soon as nothing runs. Returns whether one was
  /// there.
  public static func dismiss(stateDirectory: String) -> Bool {
    guard let socket = try? UnixSocket.connect(to: socketPath(in: stateDirectory)) else { return false }
    defer { close(socket) }
    var timeout = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var range = WireWriter()
    range.put(SupervisorProtocol.version)
    range.put(SupervisorProtocol.version)
    let request =
      SupervisorProtocol.frame(SupervisorCommand.hello.rawValue, tag: 1, range.bytes)
      + SupervisorProtocol.frame(SupervisorCommand.shutdownWhenIdle.rawValue, tag: 2)
    guard send(socket, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return false }
    var answers: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 512)
    while answers.count < 4096 {
      let got = recv(socket, &chunk, chunk.count, 0)
      guard got > 0 else { return false }
      answers += chunk[..<got]
      while let frame = try? SupervisorProtocol.takeFrame(from: &answers) {
        if frame.tag == 2 { return frame.kind == SupervisorReply.done.rawValue }
      }
    }
    return false
  }

  /// Starts `executable arguments...` in a session of its own that outlives the caller, as the first process of a PID
  /// namespace where that is possible and wanted, and with no descriptor of the caller's.
  ///
  /// A log that has become long makes room for a new one first (`PATH.1`).
  ///
  /// - Parameter isEnclosed: false for what must not take others with it when it dies, and is known by its pid: an agent.
  public static func daemonise(
    executable: String, arguments: [String], log: String, isEnclosed: Bool = true
  ) throws(SystemFailure) {
    BoundedLog.turn(log)
    let path = getenv("PATH").map { "PATH=" + String(cString: $0) } ?? "PATH=/usr/local/bin:/usr/bin:/bin"
    let result = withCStrings([executable] + arguments) { arguments in
      withCStrings([path]) { csupervisor_daemonise(arguments, $0, log, isEnclosed ? 1 : 0) }
    }
    if result != 0 { throw SystemFailure("start \(executable)", -result) }
  }

  /// The lock's content is its holder's pid as it is known outside, for people and for scripts.
  private static func noteHolder(_ pid: Int32, in lock: Int32) throws(SystemFailure) {
    guard ftruncate(lock, 0) == 0 else { throw SystemFailure("truncate supervisor.lock") }
    try Files.writeAll(lock, Array("\(pid)\n".utf8))
  }

  private static func complain(_ text: String, _ code: Int32) -> Int32 {
    try? Files.writeAll(2, Array("fubini supervisor: \(text)\n".utf8))
    return code
  }

  /// Each run takes up to four descriptors.
  private static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  private static func listen(at path: String) throws(SystemFailure) -> Int32 {
    // Whoever holds the lock owns the socket: a file that is there was left by a supervisor that is gone.
    unlink(path)
    let file = try UnixSocket.make()
    guard UnixSocket.withAddress(path, { bind(file, $0, $1) }) == 0 else { throw SystemFailure("bind \(path)") }
    guard chmod(path, 0o600) == 0, Glibc.listen(file, 64) == 0 else { throw SystemFailure("listen \(path)") }
    csupervisor_set_nonblocking(file)
    return file
  }
}

/// Unix stream sockets.
public enum UnixSocket {
  static func make() throws(SystemFailure) -> Int32 {
    let file = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard file >= 0 else { throw SystemFailure("socket") }
    return file
  }

  /// -1 with ENAMETOOLONG when the path does not fit (107 bytes).
  static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
      errno = ENAMETOOLONG
      return -1
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
  }

  public static func connect(to path: String) throws(SystemFailure) -> Int32 {
    let file = try make()
    guard withAddress(path, { Glibc.connect(file, $0, $1) }) == 0 else {
      let code = errno
      close(file)
      throw SystemFailure("connect \(path)", code)
    }
    return file
  }
}
