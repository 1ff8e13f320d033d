internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor

/// All that is known of a run when its fate is considered.
struct RunFacts: Hashable, Sendable {
  enum Claim: Hashable, Sendable {
    case none
    /// The step has started, and so may the program.
    case step
    /// The executor made it: the run can never start.
    case executor
  }
  /// What Slurm says of the jobs that carry the run's mark.
  enum Scheduler: Hashable, Sendable {
    /// It has not answered since the run was taken up.
    case silent
    /// It answered so often, one after the other, without knowing one.
    case absent(polls: Int)
    case pending(reason: String)
    case live(state: String)
    case ended(JobState.End, reason: String)
  }
  var claim: Claim
  var end: RunEnd?
  var scheduler: Scheduler
  /// For how long `scheduler` has said so (not counting words that change within a case).
  var schedulerAge: Duration = .zero
  /// Since the end was first seen by this executor.
  var endAge: Duration = .zero
  /// Since the claim was first seen by this executor.
  var claimAge: Duration = .zero
  /// Since the step's beat last changed, or the claim was first seen.
  var beatSilence: Duration = .zero
  /// The step's own limits; nil: none.
  var walltime: Duration?
  var disconnectLimit: Duration?
  var grace: Duration = .seconds(30)
  var isCancelRequested = false
  /// Slurm's own limit of time is near or past.
  var isAtTimeLimit = false
  /// Slurm's own log of the job says that it used more memory than it asked for.
  var isOverMemory = false
  /// The nodes that Slurm gave to the job; empty when it never had any.
  var nodes = ""
  /// How the step itself ended, where accounting says.
  var exit: JobExit?
  /// Its job was submitted before its inputs were here, and may have given its nodes back for that.
  var wasQueuedAhead = false
  /// They are not here yet.
  var awaitsInputs = false
}

/// What is to be told or done about a run (docs/adr/0009-slurm.md has the table). Pure.
enum Verdict: Hashable, Sendable {
  /// Nothing new can be said: look again.
  case wait
  case queued(String)
  /// With what is worth telling, or nothing.
  case running(String)
  /// Make the claim, so that the run never starts; then consider it again.
  case forbid
  /// Its job began before its inputs were here, and has ended without starting it: it is submitted again.
  case putBack
  /// As the step wrote it.
  case end(RunEnd)
  /// As the step wrote it, but for this phase and this message.
  case endBecause(RunEnd, RunPhase, String)
  /// The step wrote none, and nothing of the run lives.
  case ended(RunPhase, String)
  /// The step wrote none, but accounting has its exit code, which is the program's.
  case exited(Int32)

  /// After Slurm's word that a job has ended, until a file that its step wrote must have appeared here.
  static let fileGrace = Duration.seconds(15)
  /// After a step's word that Slurm asked it to end, for Slurm to say why.
  static let explanationGrace = Duration.seconds(60)
  /// Answers without the job before it counts as lost: one may have been given before the job was known.
  static let absentPolls = 2
  /// A step shows every ten seconds that it lives.
  static let beatSilenceMax = Duration.seconds(90)
  /// Added to a step's own limits before they count as a proof.
  static let proofMargin = Duration.seconds(180)

  init(_ facts: RunFacts) {
    if let end = facts.end {
      self = Self.withEnd(end, facts)
      return
    }
    switch facts.claim {
    case .executor: self = Self.neverStarted(facts)
    case .none: self = Self.unclaimed(facts)
    case .step: self = Self.claimed(facts)
    }
  }

  /// Slurm asked the step to end: Slurm also says why, a little later.
  private static func withEnd(_ end: RunEnd, _ facts: RunFacts) -> Verdict {
    guard end.mayBeSlurms else { return .end(end) }
    if facts.isCancelRequested { return .endBecause(end, .cancelled, "cancelled") }
    if facts.isOverMemory { return .endBecause(end, .failed, overMemory) }
    switch facts.scheduler {
    case .ended(let state, let reason) where state != .completed && state != .failed:
      let (phase, message) = meaning(state, reason: reason)
      return .endBecause(end, phase, message)
    case .pending: return .endBecause(end, .lost, requeued)
    case .live, .silent:
      return facts.endAge < explanationGrace ? .wait : .end(end)
    // A program that ends when it is warned leaves Slurm no TIMEOUT to tell.
    case .ended where facts.isAtTimeLimit: return .endBecause(end, .failed, timeLimit)
    case .ended, .absent: return .end(end)
    }
  }

  private static func unclaimed(_ facts: RunFacts) -> Verdict {
    if facts.isCancelRequested { return .forbid }
    switch facts.scheduler {
    case .silent: return .wait
    case .pending(let reason): return .queued(reason)
    case .live where facts.awaitsInputs: return .queued("its job has its nodes and waits for the run's inputs")
    case .live(let state):
      return .queued(state == "COMPLETING" ? "its job ends" : "its job starts (Slurm: \(state))")
    // The operator's script may hide the step's exit code.
    case .ended(.failed, _) where facts.wasQueuedAhead, .ended(.completed, _) where facts.wasQueuedAhead:
      return facts.awaitsInputs || facts.schedulerAge >= fileGrace ? .putBack : .wait
    case .ended: return facts.schedulerAge >= fileGrace ? .forbid : .wait
    case .absent(let polls): return polls >= absentPolls ? .forbid : .wait
    }
  }

  private static func neverStarted(_ facts: RunFacts) -> Verdict {
    if facts.isCancelRequested { return .ended(.cancelled, "cancelled before it started") }
    guard case .ended(let state, let reason) = facts.scheduler else {
      return .ended(
        .lost, "Slurm lost the job before it started (its controller may have crashed); it will never start")
    }
    switch state {
    // Nobody but Slurm itself does that to a job that has its nodes and whose step is not there yet: its node could not launch
    // it (a full spool directory, a prologue that failed), and it may not be queued again.
    case .cancelled(uid: nil) where !facts.nodes.isEmpty, .cancelled(uid: 0) where !facts.nodes.isEmpty:
      return .ended(.lost, "its node \(facts.nodes) could not start it, and Slurm cancelled the job")
    case .cancelled(let uid):
      return .ended(.cancelled, "cancelled in Slurm before it started" + by(uid))
    case .completed, .failed, .timeout, .outOfMemory:
      return .ended(.error, "Slurm could not start the batch step (\(state.word)\(said(reason)))")
    case .nodeFailure, .bootFailure, .preempted, .revoked, .deadline:
      let (phase, message) = meaning(state, reason: reason)
      return .ended(phase, message + ", before it started")
    }
  }

  private static func claimed(_ facts: RunFacts) -> Verdict {
    switch facts.scheduler {
    case .silent, .live: return .running("")
    case .pending:
      // Slurm puts a job back only after it has ended its processes; a second start finds the claim and leaves.
      return facts.schedulerAge >= fileGrace ? .ended(.lost, requeued) : .running("")
    case .ended(.nodeFailure, let reason):
      // The controller lost sight of the node, which may live on: the step's own signs decide.
      if facts.beatSilence < beatSilenceMax { return .running("Slurm gave its node up, but it still runs") }
      if let limit = facts.disconnectLimit, facts.beatSilence < limit + proofMargin {
        return .running("its node is gone; waiting until its disconnect limit has passed")
      }
      let (phase, message) = meaning(.nodeFailure, reason: reason)
      return .ended(phase, message)
    case .ended(let state, let reason):
      guard facts.schedulerAge >= fileGrace else { return .running("") }
      if facts.isOverMemory, !facts.isCancelRequested { return .ended(.failed, overMemory) }
      if !facts.isCancelRequested, let code = exitCode(facts.exit, state) { return .exited(code) }
      let (phase, message) = meaning(state, reason: reason)
      return facts.isCancelRequested ? .ended(.cancelled, "cancelled") : .ended(phase, message)
    case .absent(let polls):
      guard polls >= absentPolls, facts.beatSilence >= beatSilenceMax else { return .running("") }
      // The step may have waited for the lease before it started the program.
      let limit = facts.walltime.map {
        $0 + max(facts.disconnectLimit ?? .zero, .seconds(60)) + facts.grace + proofMargin
      }
      if let limit, facts.claimAge >= limit {
        return .ended(.lost, "Slurm lost the job while it ran, and its walltime has passed without a word of it")
      }
      return .running("Slurm no longer knows the job and its node is silent: it may live until its walltime has passed")
    }
  }

  /// The program's, when the step ended by itself with it: not when the step had to give up, or found the run started.
  ///
  /// - Source: `Supervisor.batchStep`.
  private static func exitCode(_ exit: JobExit?, _ state: JobState.End) -> Int32? {
    guard let exit, exit.signal == 0, ![74, 75, 76].contains(exit.code) else { return nil }
    switch state {
    case .completed: return exit.code == 0 ? 0 : nil
    case .failed: return exit.code == 0 ? nil : exit.code
    default: return nil
    }
  }

  private static let timeLimit = "its time limit in Slurm was reached"
  private static let overMemory = "OOMKilled: it needed more memory than its limit (Slurm ended it)"
  private static let requeued = "Slurm requeued the job, which ended its first execution"

  /// What an end that Slurm alone knows of means: by itself or a limit of its author's (`failed`), by the cluster's fault
  /// (`lost`: it is placed again), or because somebody asked for it (`cancelled`).
  static func meaning(_ state: JobState.End, reason: String) -> (RunPhase, String) {
    switch state {
    case .timeout: (.failed, "the walltime has passed (Slurm ended the job)")
    case .outOfMemory: (.failed, overMemory)
    case .deadline: (.failed, "its deadline in Slurm has passed")
    case .nodeFailure: (.lost, "its node failed\(said(reason, unless: "NodeDown"))")
    case .bootFailure: (.lost, "its node could not be started\(said(reason))")
    case .preempted: (.lost, "preempted in Slurm by a job of higher priority")
    case .revoked: (.lost, "the job was revoked: another cluster of Slurm's federation took it")
    case .cancelled(let uid): (.cancelled, "cancelled in Slurm, not by the federation" + by(uid))
    case .completed, .failed:
      (.lost, "the batch step was killed before it could say how the run ended (Slurm: \(state.word)\(said(reason)))")
    }
  }

  /// The code for an end of which Slurm knows more than the step; nil where the step's own record has it, or nothing does.
  static func cause(_ facts: RunFacts) -> RunEndCause? {
    if facts.isOverMemory { return .outOfMemory }
    guard case .ended(let state, _) = facts.scheduler else { return nil }
    return switch state {
    case .timeout: .timeLimit
    case .outOfMemory: .outOfMemory
    case .deadline: .deadline
    case .nodeFailure, .bootFailure: .nodeFailure
    case .preempted: .preempted
    case .completed, .failed: facts.isAtTimeLimit ? .timeLimit : nil
    case .cancelled, .revoked: nil
    }
  }

  private static func by(_ uid: UInt32?) -> String { uid.map { ", by user id \($0)" } ?? "" }

  private static func said(_ reason: String, unless: String = "None") -> String {
    reason.isEmpty || reason == "None" || reason == unless ? "" : ", \(reason)"
  }
}

extension RunEnd {
  /// Whether the end may be Slurm's doing. Its signals reach the step and, without a sandbox, the program too, which may be
  /// faster: then the step saw it end of SIGTERM or SIGKILL by itself.
  var mayBeSlurms: Bool {
    switch reason {
    case .terminated: true
    case .exited: !ranOutOfMemory && [128 + SIGTERM, 128 + SIGKILL].contains(RunOutcome.exitCode(waitStatus))
    default: false
    }
  }
}
