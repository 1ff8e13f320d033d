internal import CSupervisor
internal import Glibc

/// The one loop that owns live runs: it waits for its clock, its children and their output, and sleeps otherwise.
///
/// `Server` drives it for all runs of a process cluster, `BatchStep` for the one run of a batch job; they differ in where a
/// lease comes from, whom an event is told, and what a signal asks for.
///
/// Each turn looks at the deadlines first. So a loop that was itself stopped for longer than a disconnect limit ends what
/// must be ended before it listens to anybody (I1).
class RunLoop {
  static let hintIntervalNs: UInt64 = 100_000_000
  /// How long output is still awaited after a run's leader has gone while something unsandboxed holds the pipe.
  static let lingerNs: UInt64 = 500_000_000
  /// Between two attempts to write an end to a full disk.
  static let writeAgainNs: UInt64 = 1_000_000_000

  let stateDirectory: String
  let groups: ControlGroups
  /// nil where the kernel allows no PID namespace: then runs die with this process by their parent-death signals only.
  let enclosure: Enclosure?
  let bootID = ProcessTable.bootID()
  var live: [UInt64: LiveRun] = [:]
  /// Earliest moment at which `checkDeadlines` must run again; never later than the truth.
  var nextDeadline = UInt64.max

  private var idByPid: [Int32: UInt64] = [:]
  private var idByPipe: [Int32: UInt64] = [:]
  private let epoll: Int32
  private let timer: Int32
  private let signals: Int32
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
  private var armedDeadline = UInt64.max

  init(stateDirectory: String, groups: ControlGroups, enclosure: Enclosure?) throws(SystemFailure) {
    self.enclosure = enclosure
    self.stateDirectory = stateDirectory
    self.groups = groups
    epoll = csupervisor_poll_create()
    timer = csupervisor_timer_create()
    signals = csupervisor_signals_create()
    for file in [epoll, timer, signals] where file < 0 { throw SystemFailure("event loop", -file) }
    csupervisor_set_subreaper()
    for file in [timer, signals] { try watch(file) }
  }

  // MARK: What differs

  /// Whether nothing is left to be done.
  var isFinished: Bool { preconditionFailure("a kind of loop says so") }
  /// The agent's lease as it is known here.
  func currentLease() -> any LeaseView { preconditionFailure("a kind of loop knows it") }
  /// A run has started, has written, or has ended. The end is on disk by then.
  func announce(_ event: SupervisorReply, _ id: UInt64, _ body: [UInt8]) {}
  /// Any signal but that of a child.
  func received(signal: Int32) {}
  /// A descriptor is ready that `watch` was told of by a kind of loop.
  func ready(_ file: Int32) {}
  /// What a kind of loop must do at its own times; returns when to be called again.
  func checkOwnDeadlines(now: UInt64) -> UInt64 { .max }
  /// The slice of a run seems to be over: where a kind of loop is not told of later ends, it looks for one.
  func lookForExtension(of run: LiveRun) {}
  /// Everything of a turn has been handled.
  func turnEnded() {}

  // MARK: The loop

  final func loop() throws(SystemFailure) {
    var ready = [Int32](repeating: 0, count: 128)
    while !isFinished {
      armTimer()
      let count = csupervisor_poll_wait(epoll, &ready, Int32(ready.count))
      guard count >= 0 else { throw SystemFailure("wait for events", -count) }
      checkDeadlines()
      for file in ready[..<Int(count)] { handle(file) }
      turnEnded()
    }
  }

  private func handle(_ file: Int32) {
    if file == timer {
      var expirations: UInt64 = 0
      _ = read(timer, &expirations, 8)
      armedDeadline = .max
    } else if file == signals {
      readSignals()
    } else if let id = idByPipe[file], let run = live[id] {
      drain(file, of: run)
      finishIfOver(run)
    } else {
      self.ready(file)
    }
  }

  // MARK: Starting and ending

  /// Starts the program of a run that the caller has claimed; one that cannot be started has ended with the reason.
  ///
  /// - Returns: with `takesBack`, why nothing was spawned and nothing has ended: the disk is full, and the caller takes its
  ///   claim back.
  @discardableResult
  final func launch(
    _ run: SupervisedRun, in directory: RunDirectory, lock: Int32, place: String = "", now: UInt64,
    takesBack: Bool = false
  ) -> Launch.Failure? {
    do throws(Launch.Failure) {
      let launch = Launch(
        run: run, directory: directory, bootID: bootID, place: place, groups: groups, enclosure: enclosure)
      let child = try launch.start(lock: lock, now: now)
      live[run.id] = child
      idByPid[child.pid] = run.id
      for pipe in child.pipes {
        idByPipe[pipe] = run.id
        try? watch(pipe)
      }
      nextDeadline = min(nextDeadline, child.nextDeadline(lease: currentLease(), now: now))
      announce(.started, run.id, Self.body(run.id, 0))
    } catch {
      release(run.id)
      if takesBack, error.isPassing { return error }
      record(RunEnd(reason: .notStarted, message: error.message), of: run.id)
    }
    return nil
  }

  /// - Parameter signal: what the grace begins with; nil, and for any but those that a program may ask for: SIGTERM.
  func cancel(_ id: UInt64, graceMs: UInt64, reason: RunEnd.Reason = .cancelled, signal: Int32? = nil) {
    guard let run = live[id], run.overAt == nil else { return }
    let now = csupervisor_boottime_ns()
    let (ns, overflow) = graceMs.multipliedReportingOverflow(by: 1_000_000)
    let killAt = overflow || now &+ ns < now ? UInt64.max : now + ns
    if let ending = run.ending {
      guard killAt < ending.killAt else { return }
      run.ending?.killAt = killAt
    } else {
      run.ending = (reason, killAt, false)
      if graceMs > 0 { run.terminate(by: LiveRun.farewells.contains(signal ?? 0) ? signal! : SIGTERM) }
    }
    nextDeadline = min(nextDeadline, killAt)
    if graceMs == 0 { checkDeadlines() }
  }

  /// Ends what must be ended now. Cheap when nothing is due.
  func checkDeadlines() {
    let now = csupervisor_boottime_ns()
    guard now >= nextDeadline else { return }
    var next = checkOwnDeadlines(now: now)
    let lease = currentLease()
    for run in Array(live.values) {
      enforce(run, lease: lease, now: now)
      if live[run.run.id] != nil { next = min(next, run.nextDeadline(lease: lease, now: now)) }
    }
    if let pause = groups.sweep() { next = min(next, now + pause) }
    // Never in the past, or the loop would spin: what was due has been done above, and its effect comes as an event.
    nextDeadline = next == .max ? .max : max(next, now + 5_000_000)
  }

  private func enforce(_ run: LiveRun, lease: any LeaseView, now: UInt64) {
    if let moment = run.writeAgainAt {
      if now >= moment { finishIfOver(run) }
      return
    }
    if run.ending == nil, run.isSliceOver(now: now) { lookForExtension(of: run) }
    let limit = run.run.disconnectLimitMs
    if limit > 0, now >= lease.expiry(limitMs: limit, now: now), run.waitStatus == nil, run.ending?.reason != .fenced {
      run.ending = (.fenced, now, false)
    } else if let reason = run.passedLimit(now: now) {
      let (ns, overflow) = run.run.graceMs.multipliedReportingOverflow(by: 1_000_000)
      run.ending = (reason, overflow || now &+ ns < now ? .max : now + ns, false)
      run.terminate()
    }
    if let ending = run.ending, !ending.killed, now >= ending.killAt {
      kill(run)
      run.ending?.killed = true
    }
    if run.logBytes > run.hintedBytes, now >= run.hintedAt + Self.hintIntervalNs { hint(run, now: now) }
    if run.waitStatus != nil, now >= run.reapedAt + Self.lingerNs {
      kill(run)
      for pipe in run.pipes { closePipe(pipe, of: run) }
      finishIfOver(run)
    }
  }

  private func kill(_ run: LiveRun) {
    run.killAll()
    // Also what left the session and dropped the mark.
    groups.kill(run.run.id)
  }

  private func release(_ id: UInt64) {
    groups.release(id)
    if !groups.leaving.isEmpty { nextDeadline = 0 }
  }

  private func readSignals() {
    while true {
      let signal = csupervisor_signals_next(signals)
      if signal == 0 { break }
      if signal != SIGCHLD { received(signal: signal) }
    }
    var status: Int32 = 0
    while true {
      let pid = waitpid(-1, &status, WNOHANG)
      guard pid > 0 else { return }
      guard let id = idByPid.removeValue(forKey: pid), let run = live[id] else { continue }
      run.waitStatus = status
      run.reapedAt = csupervisor_boottime_ns()
      // Its session may hold processes that outlived it; in a sandbox the kernel has seen to them.
      if !run.run.isSandboxed {
        LiveRun.killMembers(session: pid, mark: run.directory.environmentMark)
        groups.kill(id)
      }
      for pipe in run.pipes { drain(pipe, of: run) }
      nextDeadline = min(nextDeadline, run.reapedAt + Self.lingerNs)
      finishIfOver(run)
    }
  }

  private func finishIfOver(_ run: LiveRun) {
    guard run.isOver, live[run.run.id] != nil else { return }
    let now = csupervisor_boottime_ns()
    let overAt = run.overAt ?? now
    run.overAt = overAt
    var end = RunEnd(
      reason: run.ending?.reason ?? .exited, waitStatus: run.waitStatus ?? 0,
      wallMs: (overAt - run.startedAt) / 1_000_000,
      logBytes: run.logBytes, discardedBytes: run.discardedBytes)
    if run.ending == nil, let failure = run.failure { (end.reason, end.message) = (.notStarted, failure) }
    end.ranOutOfMemory = groups.ranOutOfMemory(run.run.id, wasKilled: RunEnd.wasKilled(end.waitStatus))
    do throws(SystemFailure) {
      try run.markDiscarded()
      end.logBytes = run.logBytes
      try run.writeTail()
      try run.directory.writeEnd(end)
    } catch {
      // An end without its result would be a wrong answer, and one that is not on disk could be lost with us: it waits.
      if error.isFullDisk {
        run.writeAgainAt = now + Self.writeAgainNs
        nextDeadline = min(nextDeadline, now + Self.writeAgainNs)
        return
      }
      end.message = "its end could not be kept: \(error)"
    }
    live[run.run.id] = nil
    run.closeFiles()
    release(run.run.id)
    ended(end, run.run.id)
  }

  /// Writes an end down, then tells it. If it cannot be written it is told all the same: the agent's journal remembers.
  final func record(_ end: RunEnd, of id: UInt64) {
    var end = end
    do throws(SystemFailure) {
      try RunDirectory(stateDirectory: stateDirectory, id: id).writeEnd(end)
    } catch {
      end.message += (end.message.isEmpty ? "" : "; ") + "the end was not written: \(error)"
    }
    ended(end, id)
  }

  /// A run has ended, and that is on disk if the disk took it.
  func ended(_ end: RunEnd, _ id: UInt64) {}

  static func body(_ id: UInt64, _ number: UInt64) -> [UInt8] {
    var writer = WireWriter()
    writer.put(id)
    writer.put(number)
    return writer.bytes
  }

  // MARK: Output

  private func drain(_ pipe: Int32, of run: LiveRun) {
    // Bounded, so that one loud program does not starve the others.
    for _ in 0..<16 {
      let got = read(pipe, buffer.baseAddress!, buffer.count)
      if got > 0 {
        run.take(UnsafeRawBufferPointer(rebasing: buffer[..<got]), from: pipe)
        if got < 4096 { break }
      } else if got < 0, errno == EINTR {
        continue
      } else {
        if got == 0 || errno != EAGAIN { closePipe(pipe, of: run) }
        break
      }
    }
    let now = csupervisor_boottime_ns()
    guard run.logBytes > run.hintedBytes else { return }
    if now >= run.hintedAt + Self.hintIntervalNs {
      hint(run, now: now)
    } else {
      nextDeadline = min(nextDeadline, run.hintedAt + Self.hintIntervalNs)
    }
  }

  private func hint(_ run: LiveRun, now: UInt64) {
    run.hintedBytes = run.logBytes
    run.hintedAt = now
    announce(.logGrew, run.run.id, Self.body(run.run.id, run.logBytes))
  }

  private func closePipe(_ pipe: Int32, of run: LiveRun) {
    guard let index = run.pipes.firstIndex(of: pipe) else { return }
    run.pipes.remove(at: index)
    idByPipe[pipe] = nil
    close(pipe)
  }

  // MARK: Event loop

  func watch(_ file: Int32, writing: Bool = false, again: Bool = false) throws(SystemFailure) {
    let result = csupervisor_poll_watch(epoll, file, writing ? 1 : 0, again ? 1 : 0)
    if result != 0 { throw SystemFailure("watch descriptor", -result) }
  }

  private func armTimer() {
    guard nextDeadline != armedDeadline else { return }
    armedDeadline = nextDeadline
    csupervisor_timer_arm(timer, nextDeadline)
  }
}
