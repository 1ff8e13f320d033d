internal import Glibc

/// A run that lives.
final class LiveRun {
  let run: SupervisedRun
  /// Of `run` at first.
  private(set) var sliceMs: UInt64
  let directory: RunDirectory
  let pid: Int32
  let startedAt: UInt64
  let log: Int32
  /// Read ends of the output pipes that are still open. The first is standard output when that is captured.
  var pipes: [Int32] = []
  let capturedPipe: Int32
  /// Where a child that could not become its program says why; nil when that is known already.
  private let report: Int32?
  /// Its files in memory; nil when it has none.
  var privateFiles: PrivateFiles?
  /// Set once the leader has been reaped.
  var waitStatus: Int32?
  var reapedAt: UInt64 = 0
  var logBytes: UInt64 = 0
  var discardedBytes: UInt64 = 0
  var hintedBytes: UInt64 = 0
  var hintedAt: UInt64 = 0
  /// Why it is being ended, and when SIGKILL is due (CLOCK_BOOTTIME).
  var ending: (reason: RunEnd.Reason, killAt: UInt64, killed: Bool)?
  /// When everything of it was gone, and when its end, which the full disk did not take, is written again (CLOCK_BOOTTIME).
  var overAt: UInt64?
  var writeAgainAt: UInt64?
  private var isMarked = false
  private var tail: [UInt8] = []

  /// A result, and the newline that does not count.
  static let tailBytesMax = (256 << 10) + 1

  init(
    run: SupervisedRun, directory: RunDirectory, pid: Int32, startedAt: UInt64, log: Int32, pipes: [Int32],
    report: Int32? = nil
  ) {
    self.report = report
    self.run = run
    sliceMs = run.sliceMs
    self.directory = directory
    self.pid = pid
    self.startedAt = startedAt
    self.log = log
    self.pipes = pipes
    capturedPipe = run.capturesStandardOutput ? pipes[0] : -1
  }

  /// Why its program was never executed; nil when it was. Known once its leader has gone.
  private(set) lazy var failure: String? = {
    guard let report else { return nil }
    var words: [Int32] = [0, 0]
    guard read(report, &words, 8) == 8 else { return nil }
    return "\(SystemFailure(Launch.explain(words[0], run, directory), words[1]))"
  }()

  /// Everything of it is gone, and its end is written.
  func closeFiles() {
    close(log)
    if let report { close(report) }
    privateFiles?.remove()
    privateFiles = nil
  }

  /// Whether its leader is gone and nobody holds its output any more: then everything of it is gone.
  var isOver: Bool { waitStatus != nil && pipes.isEmpty }

  /// The next moment at which something must be done about it without being asked.
  func nextDeadline(lease: any LeaseView, now: UInt64) -> UInt64 {
    if let writeAgainAt { return writeAgainAt }
    var next = UInt64.max
    if run.disconnectLimitMs > 0 { next = min(next, lease.expiry(limitMs: run.disconnectLimitMs, now: now)) }
    if let ending {
      if !ending.killed { next = min(next, ending.killAt) }
    } else {
      for limit in [run.walltimeMs, run.activeDeadlineMs, sliceMs] where limit > 0 { next = min(next, after(limit)) }
    }
    if logBytes > hintedBytes { next = min(next, hintedAt + RunLoop.hintIntervalNs) }
    if waitStatus != nil { next = min(next, reapedAt + RunLoop.lingerNs) }
    return next
  }

  private func after(_ ms: UInt64) -> UInt64 {
    let (ns, overflow) = ms.multipliedReportingOverflow(by: 1_000_000)
    return overflow ? .max : startedAt &+ ns < startedAt ? .max : startedAt + ns
  }

  /// The limit that has passed, if any.
  func passedLimit(now: UInt64) -> RunEnd.Reason? {
    guard ending == nil, waitStatus == nil else { return nil }
    if run.activeDeadlineMs > 0, now >= after(run.activeDeadlineMs) { return .activeDeadline }
    if run.walltimeMs > 0, now >= after(run.walltimeMs) { return .walltime }
    if isSliceOver(now: now) { return .slice }
    return nil
  }

  func isSliceOver(now: UInt64) -> Bool { sliceMs > 0 && now >= after(sliceMs) }

  /// More is paid for. Returns whether its slice ends later than before.
  func extend(toMs milliseconds: UInt64) -> Bool {
    guard sliceMs > 0, milliseconds > sliceMs else { return false }
    sliceMs = milliseconds
    return true
  }

  /// Takes what the program wrote. Beyond the limit, or when the disk is full, it is counted and dropped: the program
  /// must never wait for us.
  func take(_ bytes: UnsafeRawBufferPointer, from pipe: Int32) {
    if pipe == capturedPipe { keepTail(bytes) }
    let room = Int(clamping: run.logBytesMax - min(run.logBytesMax, logBytes))
    let wanted = min(room, bytes.count)
    var done = 0
    while done < wanted {
      let put = Glibc.write(log, bytes.baseAddress! + done, wanted - done)
      if put < 0, errno == EINTR { continue }
      if put <= 0 { break }
      done += put
    }
    logBytes += UInt64(done)
    discardedBytes += UInt64(bytes.count - done)
  }

  private func keepTail(_ bytes: UnsafeRawBufferPointer) {
    tail.append(contentsOf: bytes)
    // Cut only now and then, so that each byte is moved a bounded number of times.
    if tail.count > 2 * Self.tailBytesMax { tail.removeFirst(tail.count - Self.tailBytesMax) }
  }

  func writeTail() throws(SystemFailure) {
    guard run.capturesStandardOutput else { return }
    try Files.replace(directory.standardOutput, with: Array(tail.suffix(Self.tailBytesMax)))
  }

  /// Says at the log's end, once, how much output was dropped.
  ///
  /// - Throws: when the disk is full: then nothing of the line is there.
  func markDiscarded() throws(SystemFailure) {
    guard discardedBytes > 0, !isMarked else { return }
    let reason = logBytes >= run.logBytesMax ? "beyond the limit" : "that found the agent's disk full"
    let line = "\n[fubini: \(discardedBytes) bytes of output \(reason) were dropped]\n"
    do throws(SystemFailure) {
      try Files.writeAll(log, Array(line.utf8))
      logBytes += UInt64(line.utf8.count)
    } catch {
      _ = ftruncate(log, off_t(logBytes))
      if error.isFullDisk { throw error }
    }
    isMarked = true
  }

  /// The signals that a program may ask to be told by.
  static let farewells: Set<Int32> = [SIGTERM, SIGINT, SIGUSR1, SIGUSR2]

  /// A signal to the program and its group. The sandbox's own processes are spared: with them the program would die at once.
  func terminate(by signal: Int32 = SIGTERM) {
    let children = run.isSandboxed ? ProcessTable.own.children(of: pid) : []
    if children.isEmpty {
      kill(-pid, signal)
    } else {
      for child in children { kill(-child, signal) }
    }
  }

  /// SIGKILL to everything. In a PID namespace the kernel ends the rest when its init dies.
  func killAll() {
    if run.isSandboxed {
      for child in ProcessTable.own.children(of: pid) {
        kill(-child, SIGKILL)
        kill(child, SIGKILL)
      }
    } else {
      Self.killMembers(session: pid, mark: directory.environmentMark)
    }
    // Once reaped, the number may belong to somebody else.
    if waitStatus == nil { kill(-pid, SIGKILL) }
  }

  static func killMembers(session: Int32, mark: String) {
    // Repeated, because a process may fork while the table is read.
    for _ in 0..<64 {
      let members = ProcessTable.own.members(session: session, mark: mark)
      if members.isEmpty { return }
      for member in members { kill(member, SIGKILL) }
    }
  }
}
