internal import Execution
internal import FederationModel
internal import Supervisor

/// What the executor remembers of a run, from its submission to its being forgotten.
struct TrackedRun: Sendable {
  let id: RunID
  /// The step's own limits.
  var walltime: Duration?
  var disconnectLimit: Duration?
  var grace: Duration
  var runsAs: String?
  /// The submission that carries it; nil only while it is being prepared.
  var attempt: RunFiles.Attempt?
  /// The task that runs it, which need not be its own where tasks share; nil until a step has claimed it, and outside of arrays.
  private(set) var host: ArrayTask?
  /// `sbatch` failed in a way that leaves open whether there is a job: the next submission looks before it tries again.
  var isUncertain = false
  /// It has a place in the queue, and may not start before its inputs are here.
  var awaitsInputs = false
  /// Answers of Slurm that were asked for before this moment say nothing about the run as it is now.
  var factsSince: ContinuousClock.Instant

  private(set) var claim = RunFacts.Claim.none
  private(set) var claimSeenAt: ContinuousClock.Instant?
  private(set) var end: RunEnd?
  private(set) var endSeenAt: ContinuousClock.Instant?
  private(set) var scheduler = RunFacts.Scheduler.silent
  private(set) var schedulerSince: ContinuousClock.Instant
  /// Slurm's last line about it.
  private(set) var job: SlurmJob?
  /// What accounting said of it; the controller has forgotten it since, or knows no more.
  private var account: SlurmJob?
  private var exit: JobExit?
  private(set) var accountDue: ContinuousClock.Instant
  private(set) var fruitlessQuestions = 0
  /// What Slurm's own log of its job says.
  private(set) var isOverMemory = false
  private var beat: String?
  private var beatChangedAt: ContinuousClock.Instant?
  var wasWaitNoted = false

  /// Its step has been told how its end begins.
  var hasFarewell = false
  var isCancelRequested = false
  /// When the step is asked (again) to end it, and when Slurm is told to end the job.
  var signalAt: ContinuousClock.Instant?
  var killAt: ContinuousClock.Instant?

  /// What was told last; terminal: the run is over.
  var told: RunObservation
  var isOver: Bool { told.phase.isTerminal }

  init(id: RunID, request: SupervisedRun?, runsAs: String?, now: ContinuousClock.Instant) {
    self.id = id
    grace = .zero
    factsSince = now
    schedulerSince = now
    accountDue = now
    told = RunObservation(id: id, phase: .bound)
    learned(request: request, runsAs: runsAs)
  }

  /// Its own limits, as its step has them.
  mutating func learned(request: SupervisedRun?, runsAs: String?) {
    func duration(_ ms: UInt64?) -> Duration? { ms.flatMap { $0 == 0 ? nil : .milliseconds(Int64(clamping: $0)) } }
    self.runsAs = runsAs
    walltime = duration(request?.walltimeMs)
    disconnectLimit = duration(request?.disconnectLimitMs)
    grace = duration(request?.graceMs) ?? .zero
  }

  /// - Parameter host: the task that claimed it, in a shared array.
  mutating func saw(claim: RunFacts.Claim, by host: ArrayTask? = nil, at now: ContinuousClock.Instant) {
    guard self.claim != claim else { return }
    self.claim = claim
    self.host = host
    claimSeenAt = now
    // What Slurm said before its step started is not what it says of the job now: "pending" would mean "requeued".
    if claim == .step { forgetSchedulersWord(now) }
  }

  mutating func saw(end: RunEnd, at now: ContinuousClock.Instant) {
    guard self.end == nil else { return }
    self.end = end
    endSeenAt = now
    forgetSchedulersWord(now)
  }

  mutating func saw(beat: String?, at now: ContinuousClock.Instant) {
    guard beat != self.beat else { return }
    self.beat = beat
    beatChangedAt = now
  }

  private mutating func forgetSchedulersWord(_ now: ContinuousClock.Instant) {
    factsSince = now
    scheduler = .silent
    (account, exit) = (nil, nil)
    schedulerSince = now
  }

  /// An answer of Slurm that was asked for at `askedAt`; nil: it knows no such job.
  mutating func answered(_ job: SlurmJob?, askedAt: ContinuousClock.Instant, now: ContinuousClock.Instant) {
    guard askedAt > factsSince else { return }
    if let job {
      self.job = job
      attempt?.jobID = job.index == nil ? job.id : job.arrayID
      isUncertain = false
    }
    let before = scheduler
    switch job?.state {
    case nil where account != nil, .ended where account != nil: return
    case nil:
      if case .absent(let polls) = before {
        scheduler = .absent(polls: polls + 1)
      } else {
        scheduler = .absent(polls: 1)
      }
    case .pending: scheduler = .pending(reason: job!.reason)
    case .live(let word): scheduler = .live(state: word)
    case .ended(let state): scheduler = .ended(state, reason: job!.reason)
    }
    // It lives, or waits again: what was known of its end was an earlier one's.
    if job != nil { (account, exit) = (nil, nil) }
    if !before.isAlike(scheduler) { schedulerSince = now }
  }

  /// Whether only accounting can say how it ended, or who ended it.
  var wantsAccount: Bool {
    guard !isOver, end == nil, account == nil, target != nil, claim != .executor else { return false }
    switch scheduler {
    case .absent, .ended(.completed, _), .ended(.failed, _), .ended(.cancelled(uid: nil), _): return true
    default: return false
    }
  }

  /// An end that accounting tells. `exit`: of the step.
  mutating func accounted(_ job: SlurmJob, exit: JobExit?, now: ContinuousClock.Instant) {
    guard case .ended(let state) = job.state else { return }
    (account, self.exit) = (job, exit)
    if self.job == nil { self.job = job }
    let before = scheduler
    scheduler = .ended(state, reason: job.reason)
    // The controller's word of the same end counts from when it came.
    if case .ended = before { return }
    schedulerSince = now
  }

  mutating func isNotInAccounts(askAgainAt due: ContinuousClock.Instant) {
    fruitlessQuestions += 1
    accountDue = due
  }

  func facts(now: ContinuousClock.Instant) -> RunFacts {
    RunFacts(
      claim: claim, end: end, scheduler: scheduler, schedulerAge: now - schedulerSince,
      endAge: endSeenAt.map { now - $0 } ?? .zero, claimAge: claimSeenAt.map { now - $0 } ?? .zero,
      beatSilence: (beatChangedAt ?? claimSeenAt).map { now - $0 } ?? .zero, walltime: walltime,
      disconnectLimit: disconnectLimit, grace: grace, isCancelRequested: isCancelRequested,
      isAtTimeLimit: job?.isAtTimeLimit ?? false, isOverMemory: isOverMemory, nodes: job?.nodeList ?? "", exit: exit,
      wasQueuedAhead: attempt?.isAhead ?? false, awaitsInputs: awaitsInputs)
  }

  /// Whether Slurm's last answer says what `before` said, of a run for which that settles everything but its files: then the
  /// verdict is the one before.
  func isSteady(since before: RunFacts.Scheduler) -> Bool {
    guard scheduler == before, !isUncertain, !isCancelRequested, end == nil else { return false }
    switch (claim, scheduler) {
    case (.none, .pending): return told.phase == .queued
    case (.step, .live): return told.phase == .running
    default: return false
    }
  }

  /// Whether its files may hold something that no event has told: then they are worth a look at each poll.
  var needsLook: Bool {
    switch (claim, scheduler) {
    case (.none, .pending), (.none, .silent), (.step, .live), (.executor, _): end == nil && isCancelRequested
    default: true
    }
  }

  /// Whether Slurm's own log of its job may say why it was killed: Slurm has ended it, and has no word for that.
  var wantsComplaint: Bool {
    guard claim == .step, !isOverMemory else { return false }
    if let end { return end.mayBeSlurms }
    switch scheduler {
    case .ended(.failed, _), .ended(.cancelled, _), .ended(.completed, _): return true
    default: return false
    }
  }

  /// - Source: slurmstepd, `JobAcctGatherParams=OverMemoryKill`: "Exceeded job memory limit".
  mutating func saw(complaint: String) {
    let text = complaint.lowercased()
    isOverMemory = isOverMemory || text.contains("exceeded") && text.contains("memory limit")
  }

  /// Whether the step's beat matters now.
  var needsBeat: Bool {
    guard claim == .step, end == nil else { return false }
    switch scheduler {
    case .absent, .ended(.nodeFailure, _): return true
    default: return false
    }
  }

  /// Whether Slurm has seen the end of its job, or has not known it any more, for so long that files must have appeared. A node
  /// that Slurm gave up may live on.
  func isOverForSlurm(now: ContinuousClock.Instant) -> Bool {
    switch scheduler {
    case .ended(.nodeFailure, _), .silent, .pending, .live: false
    case .absent(let polls) where polls < Verdict.absentPolls: false
    case .ended, .absent: now - schedulerSince >= Verdict.explanationGrace
    }
  }

  /// Whether a step of another task than this one runs it, or has run it.
  func isElsewhere(than task: ArrayTask?) -> Bool { host.map { $0 != task } ?? false }

  /// Of the task whose log may explain it.
  var logIndex: Int? { host?.index ?? attempt?.index }

  /// How `scancel` calls its job; nil when it is known by its name alone.
  var target: String? {
    if let host { return host.target }
    if let job { return job.target }
    guard let attempt, let id = attempt.jobID else { return nil }
    return attempt.index.map { "\(id)_\($0)" } ?? "\(id)"
  }
}

extension RunFacts.Scheduler {
  /// Whether both say the same but for words and counts.
  func isAlike(_ other: Self) -> Bool {
    switch (self, other) {
    case (.silent, .silent), (.absent, .absent), (.pending, .pending), (.live, .live): true
    case (.ended(let a, _), .ended(let b, _)): a == b
    default: false
    }
  }
}
