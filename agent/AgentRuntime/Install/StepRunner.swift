internal import FederationModel
internal import FoundationEssentials
internal import Supervisor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Carries out the steps of an `InstallPlan`. Each looks first whether it is done already.
struct StepRunner {
  typealias Execute = (_ words: [String], _ input: String) throws -> (status: Int32, output: String)

  var stateDirectory: String
  /// Put before the paths of files that are written and removed: empty, or the root of another system.
  var root = ""
  var execute: Execute = { try StepRunner.execute($0, input: $1) }
  /// Starts a program that outlives this one: executable, arguments, log.
  var start: (String, [String], String) throws -> Void = { executable, arguments, log in
    try Supervisor.daemonise(executable: executable, arguments: arguments, log: log, isEnclosed: false)
  }
  /// Returns when what was started in the background has become ready. Parameter: its log.
  var awaitReady: (StepRunner, String) throws -> Void = { try $0.awaitBackground(log: $1, timeout: .seconds(30)) }
  private(set) var hasChanged = false

  init(stateDirectory: String) { self.stateDirectory = stateDirectory }

  mutating func perform(_ step: InstallPlan.Step) throws {
    switch step {
    case .write(let path, let text): try write(text, to: root + path)
    case .remove(let path):
      if unlink(root + path) == 0 {
        hasChanged = true
        CommandOutput.say("removed \(root + path)")
      }
    case .run(let words, let consequence): try run(words, ifFailed: consequence)
    case .runAfterChange(let words): if hasChanged { try run(words, ifFailed: nil) }
    case .crontab(let line, let isPresent): try editCrontab(line, isPresent: isPresent)
    case .startBackground(let words, let log):
      if status != nil {
        CommandOutput.say("the agent runs already")
        if !isHeld(Keeper.lockName) {
          CommandOutput.complain(
            "nothing starts it again when it ends, because it was started by hand: end it, then install again")
        }
        return
      }
      try start(words[0], Array(words.dropFirst()), log)
      try awaitReady(self, log)
    case .stopBackground: try stopBackground()
    case .dismissSupervisor:
      if Supervisor.dismiss(stateDirectory: stateDirectory) {
        CommandOutput.say("the supervisor leaves when its last run has ended")
      }
    }
  }

  private var status: StatusReport? { try? StatusSocket.ask(StateDirectory.socketPath(in: stateDirectory)) }

  /// Whether a process holds a lock of the state directory.
  private func isHeld(_ name: String) -> Bool {
    guard let file = try? POSIXFile.open(stateDirectory + "/" + name, O_RDWR) else { return false }
    defer { POSIXFile.close(file) }
    return flock(file, LOCK_EX | LOCK_NB) != 0
  }

  /// - Throws: `.unavailable` with the end of the log, when the keeper has not come to hold its lock, or its agent does not answer
  ///   in time. An agent answers when it has its journal; it need not have reached the control plane yet.
  func awaitBackground(log: String, timeout: Duration) throws {
    let start = ContinuousClock.now
    while true {
      if isHeld(Keeper.lockName), status != nil {
        return CommandOutput.say("started in the background, log \(log)")
      }
      if let held = StateDirectory.holder(of: stateDirectory), held.isElsewhere {
        return CommandOutput.say("another login node's agent acts for this cluster: \(held.holder)")
      }
      guard ContinuousClock.now - start < timeout else { break }
      usleep(50_000)
    }
    let what =
      isHeld(Keeper.lockName)
      ? "The agent was started and does not answer. It is started again and again until `fubini-agent uninstall`"
      : "The agent could not be kept running"
    throw FederationError(.unavailable, "\(what). The log, \(log), ends with:\n\(Self.end(of: log))")
  }

  /// The last lines of a log.
  private static func end(of log: String) -> String {
    guard let file = try? POSIXFile.open(log, O_RDONLY) else { return "(it cannot be read)" }
    defer { POSIXFile.close(file) }
    lseek(file, max(0, lseek(file, 0, SEEK_END) - 2048), SEEK_SET)
    let text = String(decoding: (try? POSIXFile.readAll(file, limit: 2048)) ?? [], as: UTF8.self)
    let lines = text.split(separator: "\n").suffix(6)
    return lines.isEmpty ? "(it is empty)" : lines.joined(separator: "\n")
  }

  private func run(_ words: [String], ifFailed consequence: String?) throws {
    let result = try execute(words, "")
    guard result.status != 0 else { return }
    let what = "\(words.joined(separator: " ")) failed (\(result.status)): \(result.output.prefix(500))"
    guard let consequence else { throw FederationError(.internal, what) }
    CommandOutput.complain("\(what): \(consequence)")
  }

  private mutating func write(_ text: String, to path: String) throws {
    if let file = try? POSIXFile.open(path, O_RDONLY) {
      defer { POSIXFile.close(file) }
      if try POSIXFile.readAll(file, limit: 1 << 20) == Array(text.utf8) {
        return CommandOutput.say("\(path) is up to date")
      }
    }
    try POSIXFile.makeDirectories(String(path[..<path.lastIndex(of: "/")!]), mode: 0o755)
    let temporary = path + ".new"
    let file = try POSIXFile.open(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    defer { POSIXFile.close(file) }
    try POSIXFile.write(file, Array(text.utf8), path)
    guard rename(temporary, path) == 0 else { throw POSIXFile.failure("Cannot write \(path)") }
    hasChanged = true
    CommandOutput.say("wrote \(path)")
  }

  private mutating func editCrontab(_ line: String, isPresent: Bool) throws {
    let current = try execute(["crontab", "-l"], "")
    // Without a crontab the command fails and there is nothing to keep.
    var lines = current.status == 0 ? current.output.split(separator: "\n").map(String.init) : []
    guard lines.contains(line) != isPresent else { return }
    hasChanged = true
    if isPresent { lines.append(line) } else { lines.removeAll { $0 == line } }
    let text = lines.isEmpty ? "" : lines.joined(separator: "\n") + "\n"
    let result = try execute(["crontab", "-"], text)
    guard result.status == 0 else {
      throw FederationError(.internal, "crontab refused the new table: \(result.output.prefix(300))")
    }
  }

  /// The keeper ends with its agent; an agent that was started by hand has none.
  private func stopBackground() throws {
    if try stopHolder(of: Keeper.lockName, "keeper") { return }
    _ = try stopHolder(of: "agent.lock", "agent")
  }

  /// Asks the process that holds a lock to end, and waits for that. Returns whether there was one.
  ///
  /// The number is read from the file that the lock is on; without a holder it means nothing.
  private func stopHolder(of name: String, _ what: String) throws -> Bool {
    guard let file = try? POSIXFile.open(stateDirectory + "/" + name, O_RDWR) else { return false }
    defer { POSIXFile.close(file) }
    guard flock(file, LOCK_EX | LOCK_NB) != 0 else { return false }
    let text = String(decoding: try POSIXFile.readAll(file, limit: 512), as: UTF8.self)
    let words = text.split(whereSeparator: \.isWhitespace)
    guard words.count >= 2, words[0] == "process", let number = pid_t(words[1]), number > 1 else { return false }
    guard kill(number, SIGTERM) == 0 else { throw POSIXFile.failure("Cannot end the \(what) \(number)") }
    for _ in 0..<800 {
      if flock(file, LOCK_EX | LOCK_NB) == 0 {
        CommandOutput.say("ended the \(what) \(number); its runs go on")
        return true
      }
      usleep(50_000)
    }
    throw FederationError(.internal, "the \(what) \(number) was asked to end and has not in 40 s; see its log")
  }

  /// Runs a program found in PATH, without a shell.
  static func execute(_ words: [String], input: String = "") throws -> (status: Int32, output: String) {
    let inlet = try makePipe()
    let outlet = try makePipe()
    defer { POSIXFile.close(outlet.read) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, inlet.read, 0)
    posix_spawn_file_actions_adddup2(&actions, outlet.write, 1)
    posix_spawn_file_actions_adddup2(&actions, outlet.write, 2)
    var vector: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for pointer in vector { free(pointer) } }
    var processID: pid_t = 0
    let code = posix_spawnp(&processID, words[0], &actions, nil, &vector, environ)
    POSIXFile.close(inlet.read)
    POSIXFile.close(outlet.write)
    guard code == 0 else {
      POSIXFile.close(inlet.write)
      return (127, String(cString: strerror(code)))
    }
    try? POSIXFile.write(inlet.write, Array(input.utf8), "input")
    POSIXFile.close(inlet.write)
    let output = try POSIXFile.readAll(outlet.read, limit: 1 << 20)
    var status: Int32 = 0
    while waitpid(processID, &status, 0) < 0, errno == EINTR {}
    return (status >> 8 & 0xff, String(decoding: output, as: UTF8.self))
  }
}
