internal import Execution
internal import FederationModel
internal import ProcessExecutor
internal import Supervisor

/// What becomes of runs: marks of starts and ends twice a second, Slurm's word each interval, logs in between.
extension SlurmExecutor {
  /// Sizes of logs that are asked for in one tick.
  private static var logLooksMax: Int { 128 }

  /// Never waits for Slurm: a poll that is due goes its own way.
  ///
  /// - Returns: whether anything has happened since the last one.
  func tick() async -> Bool {
    let events = files.takeEvents()
    for (number, _) in events { consider(RunID(Int64(bitPattern: number)), looksAtFiles: true) }
    let now = clock.now
    if lastLogLookAt.map({ now - $0 >= Self.tickInterval }) ?? true {
      lastLogLookAt = now
      lookAtLogs()
    }
    await sendCancellations()
    if runningPoll == nil, isPollDue { runningPoll = Task { try await performPoll() } }
    return !events.isEmpty
  }

  private var isPollDue: Bool {
    guard let lastPollAt else { return true }
    let sinceLast = clock.now - lastPollAt
    if isPollWanted, backoff.failures == 0, sinceLast >= min(.seconds(1), configuration.pollInterval) { return true }
    guard runs.values.contains(where: { !$0.isOver }) || !leftovers.isEmpty else { return sinceLast >= .seconds(60) }
    return sinceLast >= nextPause
  }

  private var nextPause: Duration { backoff.pause(jitter: backoff.failures > 0 ? jitter : 1) }
  /// Fixed between two polls, so that the pause does not shrink to the smallest draw by being looked at.
  var jitter: Double {
    let hash =
      UInt64(bitPattern: Int64(backoff.failures)) &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(UInt32(mark, radix: 16) ?? 0)
    return 0.5 + Double(hash % 1000) / 2000
  }

  /// Asks Slurm now, after an answer that was asked for earlier has come.
  ///
  /// - Throws: `.unavailable` when it does not answer.
  func poll() async throws {
    if let runningPoll { _ = try? await runningPoll.value }
    let poll = runningPoll ?? Task { try await performPoll() }
    runningPoll = poll
    try await poll.value
  }

  private func performPoll() async throws {
    defer { runningPoll = nil }
    let askedAt = clock.now
    lastPollAt = askedAt
    isPollWanted = false
    do {
      let jobs = try await askForJobs()
      backoff.succeeded(in: clock.now - askedAt)
      health.answered()
      apply(jobs, askedAt: askedAt)
      await consultAccounting()
    } catch {
      backoff.failed()
      health.failed((error as? FederationError)?.publicMessage ?? "\(error)", askedAt: askedAt, now: clock.now)
      throw error
    }
  }

  /// Gives every run its line, and considers it.
  private func apply(_ jobs: [SlurmJob], askedAt: ContinuousClock.Instant) {
    let now = clock.now
    var best: [RunID: SlurmJob] = [:]
    var seen: Set<String> = []
    let ours = ours(of: jobs)
    let hosts = hosts(in: ours)
    for (job, name) in ours {
      guard let id = run(of: job, name) else { continue }
      // Slurm lists what has ended for minutes; of what was forgotten here nothing follows from it.
      if runs[id] == nil, case .ended = job.state { continue }
      let isElsewhere = runs[id]?.isElsewhere(than: ArrayTask(job)) ?? false
      if isElsewhere || runs[id]?.isOver ?? !HostFiles.exists(records.directory(id)) {
        // It can do nothing any more (its step finds the claim, or nothing): its place in the queue is given back. Where tasks share,
        // every run that is left has a task of its own still.
        if case .pending = job.state {
          seen.insert(job.target)
          leftovers[job.target] = job.name
        }
        continue
      }
      if let other = best[id], (other.state.precedence, other.id) >= (job.state.precedence, job.id) { continue }
      best[id] = job
    }
    leftovers = leftovers.filter { seen.contains($0.key) }
    leftoversAskedAt = askedAt
    let waiting = waitingArrays(ours)
    for id in runs.keys.sorted() where !runs[id]!.isOver {
      let before = runs[id]!.scheduler
      let job = runs[id]!.host.map { hosts[$0] } ?? best[id] ?? unlisted(id, in: waiting)
      runs[id]!.answered(job, askedAt: askedAt, now: now)
      // Most of thousands wait or run as they did: about them there is nothing new to say.
      if runs[id]!.isSteady(since: before) { continue }
      noteWait(id)
      consider(id, looksAtFiles: runs[id]!.needsLook)
    }
  }

  /// The jobs that carry this agent's mark, with what their names say. An array's tasks have one name, and follow one another.
  private func ours(of jobs: [SlurmJob]) -> [(job: SlurmJob, name: JobName)] {
    var found: [(job: SlurmJob, name: JobName)] = []
    found.reserveCapacity(jobs.count)
    var last: (text: String, name: JobName?) = ("", nil)
    for job in jobs {
      if job.name != last.text { last = (job.name, JobName(job.name, mark: mark)) }
      if let name = last.name { found.append((job, name)) }
    }
    return found
  }

  /// Slurm's word of the tasks that run what they have taken from a shared array.
  private func hosts(in jobs: [(job: SlurmJob, name: JobName)]) -> [ArrayTask: SlurmJob] {
    let wanted = Set(runs.values.compactMap { $0.isOver ? nil : $0.host })
    guard !wanted.isEmpty else { return [:] }
    var found: [ArrayTask: SlurmJob] = [:]
    for (job, _) in jobs {
      guard let task = ArrayTask(job), wanted.contains(task) else { continue }
      if let other = found[task], other.state.precedence >= job.state.precedence { continue }
      found[task] = job
    }
    return found
  }

  /// The records that stand for the tasks of arrays which wait.
  private func waitingArrays(_ jobs: [(job: SlurmJob, name: JobName)]) -> [JobName: SlurmJob] {
    var found: [JobName: SlurmJob] = [:]
    for (job, name) in jobs where job.id == job.arrayID && job.index != nil {
      if case .pending = job.state { found[name] = job }
    }
    return found
  }

  /// Slurm keeps one record for all tasks of an array that wait, and its answers do not always name each: `squeue --array` of
  /// 22.05 leaves out the last one where others between were cancelled, slurmrestd cuts a long list. So a run that no step has
  /// claimed waits as long as its array does, unless it has a record of its own.
  private func unlisted(_ id: RunID, in waiting: [JobName: SlurmJob]) -> SlurmJob? {
    guard let run = runs[id], run.claim == .none, let attempt = run.attempt, let index = attempt.index,
      var job = waiting[attempt.name], attempt.jobID ?? job.arrayID == job.arrayID
    else { return nil }
    job.index = index
    return job
  }

  func run(of job: SlurmJob, _ name: JobName) -> RunID? {
    switch name.subject {
    case .run(let id): return id
    case .array:
      guard let index = job.index else { return nil }
      if arrays[name] == nil { arrays[name] = records.runs(name) }
      let members = arrays[name]!
      return members.indices.contains(index) ? members[index] : nil
    }
  }

  private func noteWait(_ id: RunID) {
    guard let job = runs[id]?.job, !runs[id]!.wasWaitNoted, let submitted = job.submittedAt, let start = job.startsAt
    else { return }
    if case .pending = job.state { return }
    runs[id]!.wasWaitNoted = true
    // What another task took has not waited for Slurm.
    if let host = runs[id]!.host, host.index != runs[id]!.attempt?.index { return }
    history.started(in: job.partition, cpus: job.cpus, after: .seconds(max(0, start - submitted)))
  }

  /// Looks at a run's files if that is worth it, comes to a verdict, and acts on it.
  func consider(_ id: RunID, looksAtFiles: Bool) {
    guard var run = runs[id], !run.isOver, run.attempt != nil || run.claimed else { return }
    let now = clock.now
    let number = UInt64(id)
    if looksAtFiles {
      if run.claim == .none, let claim = files.readClaim(number) {
        switch claim {
        case .executor: run.saw(claim: .executor, at: now)
        case .step(let place):
          run.saw(claim: .step, by: run.attempt?.isShared == true ? ArrayTask(place: place) : nil, at: now)
        }
      }
      if run.claim == .step, let end = files.readEnd(number) { run.saw(end: end, at: now) }
    }
    if run.wantsComplaint, let text = complaint(of: run) { run.saw(complaint: text) }
    if run.needsBeat { run.saw(beat: files.readBeat(number), at: now) }
    runs[id] = run
    // What is not known to be in Slurm is not lost there: the next submission tries it again.
    if run.isUncertain, run.claim == .none, !run.isCancelRequested { return }
    let facts = run.facts(now: now)
    act(Verdict(facts), Verdict.cause(facts), on: id)
  }

  /// - Parameter cause: of an end that Slurm and not the step tells.
  private func act(_ verdict: Verdict, _ cause: RunEndCause?, on id: RunID) {
    switch verdict {
    case .wait: isPollWanted = isPollWanted || runs[id]!.end != nil
    case .queued(let reason):
      let run = runs[id]!
      let isPending = if case .pending = run.scheduler { true } else { false }
      tell(id, .queued, isPending ? PendingReason.sentence(reason, partition: run.job?.partition ?? "") : reason)
    case .running(let message): tell(id, .running, message)
    case .forbid: forbid(id)
    case .putBack: putBack(id)
    case .end(let end): finish(id, observation(id, end))
    case .endBecause(let end, let phase, let message):
      var told = observation(id, end)
      (told.phase, told.message, told.cause) = (phase, message, phase.isBadEnd ? cause : nil)
      finish(id, told)
    case .ended(let phase, let message):
      var told = unexplained(id, phase, message)
      if phase.isBadEnd { told.cause = cause }
      finish(id, told)
    case .exited(let code): finish(id, accounted(id, code))
    }
  }

  /// The proof that a run never starts. Where the step was quicker, it is considered as what it is.
  private func forbid(_ id: RunID) {
    guard let isForbidden = try? files.forbid(UInt64(id)) else {
      // Only the run's own program, without a sandbox, can have put something else there, so it was started; what Slurm says of
      // its job is the proof that it has ended.
      guard records.isReplaced(id), runs[id]!.isOverForSlurm(now: clock.now) else { return }
      return finish(id, unexplained(id, .error, "its own program removed or replaced its directory"))
    }
    if isForbidden {
      files.takeSecrets(UInt64(id))
      runs[id]!.saw(claim: .executor, at: clock.now)
    }
    consider(id, looksAtFiles: !isForbidden)
  }

  private func observation(_ id: RunID, _ end: RunEnd) -> RunObservation {
    let mayBeSandbox = end.reason == .exited && RunOutcome.exitCode(end.waitStatus) == 1 && end.logBytes < 1024
    let head = mayBeSandbox ? HostFiles.read(workspace(for: id).log, limit: 1024) : nil
    return RunOutcome.observation(
      id: id, end: end, runsAs: runs[id]?.runsAs, isSandboxed: preparation.probe != nil, logHead: head)
  }

  private func unexplained(_ id: RunID, _ phase: RunPhase, _ message: String) -> RunObservation {
    var told = RunObservation(
      id: id, phase: phase, message: message, runsAs: runs[id]?.runsAs, logBytes: records.logBytes(id))
    // Why a step could not start, Slurm's own log says best.
    if phase == .error, let complaint = runs[id].flatMap({ complaint(of: $0) }) {
      told.message += ": \(complaint)"
    }
    return told
  }

  private func complaint(of run: TrackedRun) -> String? {
    run.attempt.flatMap { records.complaint($0.name, index: run.logIndex) }
  }

  private func accounted(_ id: RunID, _ code: Int32) -> RunObservation {
    var told = unexplained(
      id, code == 0 ? .succeeded : .failed, "exit code \(code), as Slurm's accounting says: its own record is missing")
    told.exitCode = code
    if code == 0 { told.message = "" }
    return told
  }

  /// Tells a phase when it, or what is said about it, is new. Never goes back.
  func tell(_ id: RunID, _ phase: RunPhase, _ message: String) {
    guard var run = runs[id], !run.isOver, phase.rawValue >= run.told.phase.rawValue else { return }
    guard phase != run.told.phase || message != run.told.message else { return }
    (run.told.phase, run.told.message) = (phase, message)
    if phase == .running {
      running.insert(id)
      run.told.runsAs = run.runsAs
      run.told.logBytes = records.logBytes(id)
    }
    runs[id] = run
    observers.yield(run.told)
  }

  func finish(_ id: RunID, _ observation: RunObservation) {
    guard let run = runs[id], !run.isOver else { return }
    runs[id]!.told = observation
    running.remove(id)
    cancelling.remove(id)
    pendingSignals.remove(id)
    pendingKills.remove(id)
    observers.yield(observation)
    // A job that waits still (cancelled, refused, put back by Slurm) gives its place back.
    if run.end == nil, let target = run.target, let attempt = run.attempt {
      // A task of an array that waits is told by its next answer; see `cancelWaitingTasks`.
      if attempt.index == nil { leftovers[target] = attempt.name.text } else { isPollWanted = true }
    }
  }

  /// Tells the growth of a few logs in turn: asking for all at once would burden a network file system.
  private func lookAtLogs() {
    guard !running.isEmpty else { return }
    let ids = Array(running)
    let count = min(Self.logLooksMax, ids.count)
    let start = logCursor % ids.count
    logCursor = start + count
    for offset in 0..<count {
      let id = ids[(start + offset) % ids.count]
      guard let known = runs[id]?.told.logBytes else {
        running.remove(id)
        continue
      }
      let bytes = records.logBytes(id)
      guard bytes > known else { continue }
      runs[id]!.told.logBytes = bytes
      observers.yield(runs[id]!.told)
    }
  }
}

extension RunPhase {
  /// Neither asked for nor a mistake of the submission: what Slurm's word explains.
  fileprivate var isBadEnd: Bool { self == .failed || self == .lost }
}
