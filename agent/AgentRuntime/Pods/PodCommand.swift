internal import CSupervisor
internal import FederationModel
internal import Supervisor
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Runs one command of a container to its end, as its first process: passes signals on to its process group, reaps what it leaves, passes
/// its output on, and ends it at its limits.
final class PodCommand {
  /// Where the output of a container goes whose own nobody reads: each line behind its name.
  struct Relay {
    /// A pipe, which does not block.
    var pipe: Int32
    var name: String
  }
  struct Limits {
    /// From SIGTERM to SIGKILL.
    var graceMs: UInt64
    /// Since the start; nil: none.
    var endAfterMs: UInt64?
    /// A file whose appearance asks for the end.
    var endFile: String?
    /// From where on a slice counts (CLOCK_BOOTTIME, nanoseconds); nil: from the start.
    var began: UInt64?
  }
  /// How a program has asked to be told that it must leave.
  struct Farewell: Equatable {
    var signal: Int32
    /// From it to SIGKILL.
    var graceMs: UInt64
  }
  enum Reason: Equatable { case own, limit, slice, fenced, endFile, signal }
  struct End {
    /// Of the command, 128 + n when signal n ended it.
    var code: Int32
    var reason: Reason
    /// Why it could not be started; nil when it was.
    var failure: String?
    var output: [UInt8]
    /// From its start to its end; nil when it never started.
    var wallMs: UInt64?
  }

  private static let endFileLookMs: UInt64 = 250
  private static let pieceBytes = 64 << 10
  /// A pipe that can take anything takes so much (pipe(7), "PIPE_BUF").
  private static let passBytes = 4096

  private let limits: Limits
  private let lease: PodLease?
  private let variables: [String]
  private let signals: Int32
  private let relay: Relay?
  /// Of a line that is relayed when it is whole.
  private var line: [UInt8] = []
  private var tail: OutputTail?
  /// The command's standard output; -1 when it has ours.
  private var output: Int32 = -1
  /// What it has written and our own standard output has not taken yet.
  private var pending: ArraySlice<UInt8> = []
  private var pid: Int32 = -1
  private var status: Int32?
  private var reason = Reason.own
  private var endAt: UInt64 = .max
  private var killAt: UInt64 = .max
  private var nextLook: UInt64 = .max
  private let askFarewell: (@Sendable () -> Farewell?)?
  private var question: Question?

  /// What the agent is asked once SIGTERM has come.
  private final class Question: Sendable {
    /// Without an answer until then it is SIGTERM.
    let end: UInt64
    private let answer = Mutex<Farewell??>(nil)
    var answered: Farewell?? { answer.withLock { $0 } }

    init(until end: UInt64, _ ask: @escaping @Sendable () -> Farewell?) {
      self.end = end
      _ = BlockingWork.begin { [self] in
        let farewell = ask()
        answer.withLock { $0 = .some(farewell) }
      }
    }
  }
  private static let questionMs: UInt64 = 3000
  private static let questionLookMs: UInt64 = 50

  /// - Parameters:
  ///   - lease: without it the command neither starts nor goes on. Made here, because it has threads: those that are there before signals
  ///     are taken would take them instead.
  ///   - keepsOutput: of the end of its standard output; nil: it writes to ours.
  ///   - farewell: asked when SIGTERM comes; nil: what comes is what is meant.
  ///   - variables: `NAME=VALUE`, in the place of the container's own of these names.
  ///   - relay: of both its outputs; nil: they are ours.
  init(
    _ limits: Limits, lease makeLease: (() -> PodLease)?, keepsOutput: Int?, variables: [String] = [],
    relay: Relay? = nil, farewell: (@Sendable () -> Farewell?)? = nil
  ) throws {
    askFarewell = farewell
    self.limits = limits
    self.variables = variables
    self.relay = relay
    tail = keepsOutput.map(OutputTail.init)
    signals = csupervisor_signals_create()
    guard signals >= 0 else { throw POSIXFile.failure("Cannot take signals", -signals) }
    lease = makeLease?()
    // As the first process of a container it gets what has lost its parent anyway.
    _ = csupervisor_set_subreaper()
  }

  func run(_ arguments: [String]) throws -> End {
    if let end = awaitLease() { return end }
    var ends: [Int32] = [-1, -1]
    if tail != nil || relay != nil {
      guard csupervisor_pipe(&ends) == 0 else { throw POSIXFile.failure("Cannot make a pipe") }
      csupervisor_set_nonblocking(ends[0])
    }
    output = ends[0]
    let (child, step) = ProcessSpawn.start(
      // Whether privileges may grow is what the pod says.
      SupervisedRun(id: 0, arguments: arguments, environment: environment, isSandboxed: true),
      input: 0, output: ends[1] >= 0 ? ends[1] : 1, error: relay == nil ? 2 : ends[1], kept: -1)
    if ends[1] >= 0 { close(ends[1]) }
    guard child > 0 else {
      let what = step == Int32(CSUPERVISOR_EXEC.rawValue) ? "execute \(arguments[0])" : "start a process"
      return End(
        code: -child == ENOENT ? 127 : 126, reason: .own,
        failure: "cannot \(what): \(String(cString: strerror(-child)))", output: [])
    }
    pid = child
    let now = SystemClock.boottimeNanoseconds
    lease?.began(at: limits.began ?? now)
    endAt = limits.endAfterMs.map { Self.moment(now, $0) } ?? .max
    nextLook = limits.endFile == nil ? .max : now
    while status == nil {
      wait()
      passTime()
    }
    let wallMs = (SystemClock.boottimeNanoseconds - now) / 1_000_000
    finishOutput()
    let code = csupervisor_exited(status!) != 0 ? csupervisor_exit_code(status!) : 128 + csupervisor_signal(status!)
    return End(code: code, reason: reason, failure: nil, output: tail?.bytes ?? [], wallMs: wallMs)
  }

  /// The container's, without what is for this program alone.
  private var environment: [String] {
    var found = variables
    let names = Set(variables.map { $0.prefix { $0 != "=" } })
    var next = environ
    while let variable = next.pointee {
      let text = String(cString: variable)
      if !text.hasPrefix("FUBINI_POD_"), !names.contains(text.prefix { $0 != "=" }) { found.append(text) }
      next += 1
    }
    return found
  }

  private static func moment(_ now: UInt64, _ milliseconds: UInt64) -> UInt64 {
    let (ns, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    return overflow || now.addingReportingOverflow(ns).overflow ? .max : now + ns
  }

  // MARK: The lease

  /// - Returns: the end of a command that must not start.
  private func awaitLease() -> End? {
    guard let lease, let limitMs = lease.limitMs else { return nil }
    let begin = SystemClock.boottimeNanoseconds
    while true {
      let now = SystemClock.boottimeNanoseconds
      if now < lease.expiry { return nil }
      if now - begin > max(limitMs, 60_000) * 1_000_000 {
        return End(code: 128 + SIGKILL, reason: .fenced, failure: nil, output: [])
      }
      var file = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
      poll(&file, 1, 100)
      let signal = csupervisor_signals_next(signals)
      if signal == SIGTERM || signal == SIGINT {
        return End(code: 128 + signal, reason: .signal, failure: nil, output: [])
      }
    }
  }

  // MARK: Events

  private func wait() {
    var files = [pollfd(fd: signals, events: Int16(POLLIN), revents: 0)]
    // What is not taken from us is not taken from the command: it waits then, as if it wrote there itself.
    if output >= 0, pending.isEmpty { files.append(pollfd(fd: output, events: Int16(POLLIN), revents: 0)) }
    if !pending.isEmpty { files.append(pollfd(fd: sink, events: Int16(POLLOUT), revents: 0)) }
    let now = SystemClock.boottimeNanoseconds
    let look = question != nil && killAt == .max ? Self.moment(now, Self.questionLookMs) : nextLook
    let next = min(endAt, killAt, look, lease?.expiry ?? .max, reason == .own ? lease?.sliceEnd ?? .max : .max)
    let milliseconds = next == .max ? -1 : Int32(clamping: next > now ? (next - now) / 1_000_000 + 1 : 0)
    guard poll(&files, nfds_t(files.count), milliseconds) > 0 else { return }
    for file in files where file.revents != 0 {
      if file.fd == signals { takeSignals() } else if file.fd == sink { passOn() } else { takeOutput() }
    }
  }

  private func takeSignals() {
    while true {
      let signal = csupervisor_signals_next(signals)
      if signal == 0 { break }
      if signal == SIGCHLD { continue }
      if signal == SIGTERM, let askFarewell, question == nil, reason == .own {
        reason = .signal
        question = Question(until: Self.moment(SystemClock.boottimeNanoseconds, Self.questionMs), askFarewell)
        continue
      }
      kill(-pid, signal)
      if signal == SIGTERM || signal == SIGINT { beginEnd(.signal, with: nil) }
    }
    var ended: Int32 = 0
    while true {
      let child = waitpid(-1, &ended, WNOHANG)
      guard child > 0 else { return }
      if child == pid {
        status = ended
        // What it has started must not write into outputs while they are packed.
        kill(-pid, SIGKILL)
      }
    }
  }

  private func beginEnd(_ reason: Reason, with signal: Int32?) {
    if self.reason == .own { self.reason = reason }
    if let signal { kill(-pid, signal) }
    killAt = min(killAt, Self.moment(SystemClock.boottimeNanoseconds, limits.graceMs))
    endAt = .max
    nextLook = .max
  }

  private func passTime() {
    guard status == nil else { return }
    let now = SystemClock.boottimeNanoseconds
    if let question, killAt == .max, question.answered != nil || now >= question.end {
      let farewell = (question.answered ?? nil) ?? Farewell(signal: SIGTERM, graceMs: limits.graceMs)
      kill(-pid, farewell.signal)
      killAt = Self.moment(now, farewell.graceMs)
      (endAt, nextLook) = (.max, .max)
    }
    if let lease, now >= lease.expiry {
      reason = .fenced
      kill(-pid, SIGKILL)
      // Once is enough: the kernel is about to end it.
      killAt = Self.moment(now, 1000)
      usleep(1000)
      return
    }
    if now >= killAt {
      kill(-pid, SIGKILL)
      killAt = Self.moment(now, 1000)
    }
    if now >= endAt { beginEnd(.limit, with: SIGTERM) }
    if reason == .own, let lease, now >= lease.sliceEnd { beginEnd(.slice, with: SIGTERM) }
    if now >= nextLook, let file = limits.endFile {
      nextLook = Self.moment(now, Self.endFileLookMs)
      if access(file, F_OK) == 0 { beginEnd(.endFile, with: SIGTERM) }
    }
  }

  // MARK: Output

  private var sink: Int32 { relay?.pipe ?? 1 }

  /// What is to be passed on of what was read: for a relay whole lines, which go through a pipe in one piece.
  ///
  /// - Parameter isLast: what is left of a line is one.
  private func told(_ bytes: ArraySlice<UInt8>, isLast: Bool = false) -> [UInt8] {
    guard let relay else { return Array(bytes) }
    let head = Array("\(relay.name): ".utf8)
    let most = Self.passBytes - head.count - 1
    var text: [UInt8] = []
    // A NUL would be the end of all output.
    line += bytes.map { $0 == 0 ? 0x20 : $0 }
    while let end = line.firstIndex(of: 0x0a).map({ min($0, most) }) ?? (line.count >= most ? most : nil) {
      let isWhole = end < line.count && line[end] == 0x0a
      text += head + line[..<end] + [0x0a]
      line.removeFirst(isWhole ? end + 1 : end)
    }
    if isLast, !line.isEmpty {
      text += head + line + [0x0a]
      line = []
    }
    return text
  }

  /// - Returns: whether there may be more at once.
  @discardableResult
  private func takeOutput() -> Bool {
    guard output >= 0 else { return false }
    var buffer = [UInt8](repeating: 0, count: Self.pieceBytes)
    let got = read(output, &buffer, buffer.count)
    if got > 0 {
      tail?.add(buffer[..<got])
      pending = told(buffer[..<got])[...]
      return true
    }
    if got < 0, errno == EINTR || errno == EAGAIN { return errno == EINTR }
    close(output)
    output = -1
    pending = told([], isLast: true)[...]
    return !pending.isEmpty
  }

  private func passOn() {
    var piece = Array(pending.prefix(Self.passBytes))
    // Lines of several containers come through one pipe.
    if relay != nil, let end = piece.lastIndex(of: 0x0a) { piece.removeSubrange((end + 1)...) }
    let put = write(sink, piece, piece.count)
    if put > 0 {
      pending = pending.dropFirst(put)
    } else if put < 0, errno == EAGAIN {
      var file = pollfd(fd: sink, events: Int16(POLLOUT), revents: 0)
      poll(&file, 1, 100)
    } else if put < 0, errno != EINTR {
      // Nobody reads our output any more: what is kept of it counts.
      pending = []
    }
  }

  /// What is still in the pipe. Nobody who may have it open is waited for.
  private func finishOutput() {
    while true {
      while !pending.isEmpty { passOn() }
      if !takeOutput() { break }
    }
    if output >= 0 { close(output) }
    output = -1
  }
}
