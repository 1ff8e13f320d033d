internal import FederationModel
internal import Supervisor
internal import Testing

@testable internal import SlurmExecutor

@Suite struct VerdictTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var what: String
    var facts: RunFacts
    var verdict: Verdict
    var testDescription: String { what }

    init(
      _ what: String, _ claim: RunFacts.Claim, _ scheduler: RunFacts.Scheduler, _ verdict: Verdict,
      change: (inout RunFacts) -> Void = { _ in }
    ) {
      self.what = what
      facts = RunFacts(claim: claim, scheduler: scheduler, walltime: .seconds(600))
      change(&facts)
      self.verdict = verdict
    }
  }

  static let lostBeforeStart = Verdict.ended(
    .lost, "Slurm lost the job before it started (its controller may have crashed); it will never start")
  static let requeued = "Slurm requeued the job, which ended its first execution"
  static let overMemory = "OOMKilled: it needed more memory than its limit (Slurm ended it)"
  static let silentNode =
    "Slurm no longer knows the job and its node is silent: it may live until its walltime has passed"

  static let unclaimed: [Case] = [
    Case("a controller that has not answered says nothing", .none, .silent, .wait),
    Case("pending: queued with Slurm's reason", .none, .pending(reason: "Resources"), .queued("Resources")),
    Case(
      "started, but the step is not there yet", .none, .live(state: "CONFIGURING"),
      .queued("its job starts (Slurm: CONFIGURING)")),
    Case("not known at the first answer: it may be too new", .none, .absent(polls: 1), .wait),
    Case("not known at the second: the claim is made (I1)", .none, .absent(polls: 2), .forbid),
    Case("ended without a claim: the file may be late", .none, .ended(.failed, reason: "BadConstraints"), .wait),
    Case("ended without a claim, after the grace (I1)", .none, .ended(.failed, reason: "BadConstraints"), .forbid) {
      $0.schedulerAge = .seconds(15)
    },
    Case("cancelled while it waits: the claim is made at once", .none, .pending(reason: "Priority"), .forbid) {
      $0.isCancelRequested = true
    },
    Case("cancelled while Slurm is silent: the claim is made at once", .none, .silent, .forbid) {
      $0.isCancelRequested = true
    },
  ]

  static let ahead: [Case] = [
    Case(
      "its job has its nodes, its inputs are not here", .none, .live(state: "RUNNING"),
      .queued("its job has its nodes and waits for the run's inputs")
    ) {
      ($0.wasQueuedAhead, $0.awaitsInputs) = (true, true)
    },
    Case("its step gave its nodes back (I5)", .none, .ended(.failed, reason: "NonZeroExitCode"), .putBack) {
      ($0.wasQueuedAhead, $0.awaitsInputs) = (true, true)
    },
    Case("so it did inside an operator's script", .none, .ended(.completed, reason: "None"), .putBack) {
      ($0.wasQueuedAhead, $0.awaitsInputs) = (true, true)
    },
    Case("its inputs came in that moment: its claim may be late (I1)", .none, .ended(.failed, reason: "None"), .wait) {
      $0.wasQueuedAhead = true
    },
    Case("its inputs came in that moment, after the grace", .none, .ended(.failed, reason: "None"), .putBack) {
      ($0.wasQueuedAhead, $0.schedulerAge) = (true, .seconds(15))
    },
    Case(
      "its node failed, which may live on: the claim is the proof (I1)", .none, .ended(.nodeFailure, reason: "None"),
      .forbid
    ) {
      ($0.wasQueuedAhead, $0.awaitsInputs, $0.schedulerAge) = (true, true, .seconds(15))
    },
    Case("lost by the controller (I1)", .none, .absent(polls: 2), .forbid) {
      ($0.wasQueuedAhead, $0.awaitsInputs) = (true, true)
    },
    Case("cancelled while its job waits for the inputs (I1)", .none, .live(state: "RUNNING"), .forbid) {
      ($0.wasQueuedAhead, $0.awaitsInputs, $0.isCancelRequested) = (true, true, true)
    },
  ]

  static let forbidden: [Case] = [
    Case("lost by the controller, with proof (I1)", .executor, .absent(polls: 2), lostBeforeStart),
    Case("cancelled", .executor, .pending(reason: "Priority"), .ended(.cancelled, "cancelled before it started")) {
      $0.isCancelRequested = true
    },
    Case(
      "cancelled by an administrator before it started", .executor, .ended(.cancelled(uid: 0), reason: "None"),
      .ended(.cancelled, "cancelled in Slurm before it started, by user id 0")),
    Case(
      "cancelled by Slurm on a node that could not launch it", .executor, .ended(.cancelled(uid: nil), reason: "None"),
      .ended(.lost, "its node n1 could not start it, and Slurm cancelled the job")
    ) { $0.nodes = "n1" },
    Case(
      "cancelled by a user as it was about to start", .executor, .ended(.cancelled(uid: 1000), reason: "None"),
      .ended(.cancelled, "cancelled in Slurm before it started, by user id 1000")
    ) { $0.nodes = "n1" },
    Case(
      "a step that could not start", .executor, .ended(.failed, reason: "BadConstraints"),
      .ended(.error, "Slurm could not start the batch step (FAILED, BadConstraints)")),
    Case(
      "a node that failed to boot", .executor, .ended(.bootFailure, reason: "None"),
      .ended(.lost, "its node could not be started, before it started")),
    Case(
      "a deadline of Slurm's", .executor, .ended(.deadline, reason: "DeadLine"),
      .ended(.failed, "its deadline in Slurm has passed, before it started")),
  ]

  static let claimed: [Case] = [
    Case("running", .step, .live(state: "RUNNING"), .running("")),
    Case("suspended holds its place", .step, .live(state: "SUSPENDED"), .running("")),
    Case("completing: its end is on the way", .step, .live(state: "COMPLETING"), .running("")),
    Case("a state that no version here knows is no end", .step, .live(state: "STAGE_OUT"), .running("")),
    Case("a silent controller changes nothing", .step, .silent, .running("")),
    Case("requeued by an administrator, just now", .step, .pending(reason: "BeginTime"), .running("")),
    Case("requeued by an administrator", .step, .pending(reason: "BeginTime"), .ended(.lost, requeued)) {
      $0.schedulerAge = .seconds(15)
    },
    Case("timeout of Slurm's, the file may be late", .step, .ended(.timeout, reason: "TimeLimit"), .running("")),
    Case(
      "timeout of Slurm's", .step, .ended(.timeout, reason: "TimeLimit"),
      .ended(.failed, "the walltime has passed (Slurm ended the job)")
    ) { $0.schedulerAge = .seconds(15) },
    Case(
      "out of memory", .step, .ended(.outOfMemory, reason: "OutOfMemory"),
      .ended(.failed, overMemory)
    ) { $0.schedulerAge = .seconds(15) },
    Case(
      "killed for its memory, in a Slurm that calls this FAILED", .step, .ended(.failed, reason: "JobLaunchFailure"),
      .ended(.failed, overMemory)
    ) {
      $0.schedulerAge = .seconds(15)
      $0.isOverMemory = true
    },
    Case("accounting has its exit code", .step, .ended(.failed, reason: ""), .exited(7)) {
      $0.schedulerAge = .seconds(15)
      $0.exit = JobExit(code: 7)
    },
    Case("accounting says that it succeeded", .step, .ended(.completed, reason: ""), .exited(0)) {
      $0.schedulerAge = .seconds(15)
      $0.exit = JobExit(code: 0)
    },
    Case(
      "an exit code by which the step itself complains is not the program's", .step, .ended(.failed, reason: ""),
      .ended(.lost, "the batch step was killed before it could say how the run ended (Slurm: FAILED)")
    ) {
      $0.schedulerAge = .seconds(15)
      $0.exit = JobExit(code: 74)
    },
    Case(
      "preempted", .step, .ended(.preempted, reason: "None"),
      .ended(.lost, "preempted in Slurm by a job of higher priority")
    ) { $0.schedulerAge = .seconds(15) },
    Case(
      "cancelled behind our back", .step, .ended(.cancelled(uid: 1000), reason: "None"),
      .ended(.cancelled, "cancelled in Slurm, not by the federation, by user id 1000")
    ) {
      $0.schedulerAge = .seconds(15)
    },
    Case("cancelled by us", .step, .ended(.cancelled(uid: nil), reason: "None"), .ended(.cancelled, "cancelled")) {
      $0.schedulerAge = .seconds(15)
      $0.isCancelRequested = true
    },
    Case(
      "a step that was killed", .step, .ended(.failed, reason: "RaisedSignal:9(Killed)"),
      .ended(
        .lost,
        "the batch step was killed before it could say how the run ended (Slurm: FAILED, RaisedSignal:9(Killed))")
    ) {
      $0.schedulerAge = .seconds(15)
    },
    Case(
      "a node that the controller gave up lives on (I1)", .step, .ended(.nodeFailure, reason: "NodeDown"),
      .running("Slurm gave its node up, but it still runs")
    ) {
      $0.schedulerAge = .seconds(300)
      $0.beatSilence = .seconds(20)
    },
    Case(
      "a node that is silent", .step, .ended(.nodeFailure, reason: "NodeDown"), .ended(.lost, "its node failed")
    ) {
      $0.beatSilence = .seconds(90)
    },
    Case(
      "a silent node of a run that may be replaced: its fence first (I1)", .step,
      .ended(.nodeFailure, reason: "NodeDown"),
      .running("its node is gone; waiting until its disconnect limit has passed")
    ) {
      $0.beatSilence = .seconds(479)
      $0.disconnectLimit = .seconds(300)
    },
    Case(
      "a silent node of a run that may be replaced, its limit past", .step, .ended(.nodeFailure, reason: "NodeDown"),
      .ended(.lost, "its node failed")
    ) {
      $0.beatSilence = .seconds(480)
      $0.disconnectLimit = .seconds(300)
    },
    Case("lost by the controller while it runs, and it shows that it lives", .step, .absent(polls: 9), .running("")) {
      $0.beatSilence = .seconds(89)
    },
    Case("lost by the controller, silent", .step, .absent(polls: 9), .running(silentNode)) {
      $0.beatSilence = .seconds(90)
      $0.claimAge = .seconds(869)
    },
    Case(
      "lost by the controller, silent, past every limit of its own", .step, .absent(polls: 9),
      .ended(.lost, "Slurm lost the job while it ran, and its walltime has passed without a word of it")
    ) {
      $0.beatSilence = .seconds(90)
      $0.claimAge = .seconds(870)
    },
    Case(
      "lost by the controller, silent, without a walltime: never (I1)", .step, .absent(polls: 9), .running(silentNode)
    ) {
      $0.beatSilence = .seconds(9000)
      $0.claimAge = .seconds(900_000)
      $0.walltime = nil
    },
  ]

  static let exit = RunEnd(reason: .exited, waitStatus: 0)
  static let terminated = RunEnd(reason: .terminated, waitStatus: 15)

  static let killed = RunEnd(reason: .exited, waitStatus: 15)
  static let outOfMemory: RunEnd = {
    var end = RunEnd(reason: .exited, waitStatus: 9)
    end.ranOutOfMemory = true
    return end
  }()

  static let ends: [Case] = [
    Case("the step's word holds, whatever Slurm says", .step, .ended(.failed, reason: ""), .end(exit)) {
      $0.end = exit
    },
    Case("the step's word holds when Slurm lost the job (I2)", .step, .absent(polls: 99), .end(exit)) { $0.end = exit },
    Case("Slurm asked it to end and has not said why", .step, .silent, .wait) { $0.end = terminated },
    Case("Slurm asked it to end and never says why", .step, .silent, .end(terminated)) {
      $0.end = terminated
      $0.endAge = .seconds(60)
    },
    Case(
      "Slurm preempted it", .step, .ended(.preempted, reason: "None"),
      .endBecause(terminated, .lost, "preempted in Slurm by a job of higher priority")
    ) { $0.end = terminated },
    Case(
      "an administrator cancelled it", .step, .ended(.cancelled(uid: nil), reason: "None"),
      .endBecause(terminated, .cancelled, "cancelled in Slurm, not by the federation")
    ) { $0.end = terminated },
    Case(
      "an administrator cancelled it, and the program was faster than its step", .step,
      .ended(.cancelled(uid: nil), reason: "None"),
      .endBecause(killed, .cancelled, "cancelled in Slurm, not by the federation")
    ) { $0.end = killed },
    Case(
      "a program that SIGTERM ended: Slurm has not said whether it was Slurm's", .step, .live(state: "RUNNING"), .wait
    ) {
      $0.end = killed
    },
    Case(
      "a program that SIGTERM ended, and Slurm knows nothing of it", .step, .ended(.failed, reason: ""), .end(killed)
    ) {
      $0.end = killed
    },
    Case("a program that was out of memory needs no word of Slurm's", .step, .live(state: "RUNNING"), .end(outOfMemory))
    {
      $0.end = outOfMemory
    },
    Case("an administrator requeued it", .step, .pending(reason: "BeginTime"), .endBecause(terminated, .lost, requeued))
    {
      $0.end = terminated
    },
    Case("we cancelled it", .step, .live(state: "COMPLETING"), .endBecause(terminated, .cancelled, "cancelled")) {
      $0.end = terminated
      $0.isCancelRequested = true
    },
    Case(
      "Slurm's time limit was near, and the program ended when it was warned", .step, .ended(.failed, reason: ""),
      .endBecause(terminated, .failed, "its time limit in Slurm was reached")
    ) {
      $0.end = terminated
      $0.isAtTimeLimit = true
    },
    Case(
      "Slurm killed it for its memory, and the step could still say so", .step, .live(state: "COMPLETING"),
      .endBecause(terminated, .failed, overMemory)
    ) {
      $0.end = terminated
      $0.isOverMemory = true
    },
    Case("somebody sent the step a signal by hand", .step, .ended(.failed, reason: ""), .end(terminated)) {
      $0.end = terminated
    },
  ]

  @Test(
    "Claim, end and Slurm's word decide what became of a run (I1, I2)",
    arguments: unclaimed + ahead + forbidden + claimed + ends)
  func verdict(_ test: Case) { #expect(Verdict(test.facts) == test.verdict) }

  @Test("Every end that Slurm may tell becomes a terminal phase with a reason (I2, I10)")
  func meanings() {
    let all: [JobState.End] = [
      .completed, .failed, .timeout, .outOfMemory, .nodeFailure, .bootFailure, .preempted, .deadline, .revoked,
      .cancelled(uid: nil),
    ]
    for state in all {
      let (phase, message) = Verdict.meaning(state, reason: "None")
      #expect(phase.isTerminal && phase != .succeeded && !message.isEmpty)
    }
  }

  @Test("What Slurm knows of an end is told as a code, of which there is none where the step's own word counts")
  func causes() {
    func cause(_ state: JobState.End, _ change: (inout RunFacts) -> Void = { _ in }) -> RunEndCause? {
      var facts = RunFacts(claim: .step, end: nil, scheduler: .ended(state, reason: ""))
      change(&facts)
      return Verdict.cause(facts)
    }
    #expect(cause(.timeout) == .timeLimit && cause(.deadline) == .deadline && cause(.preempted) == .preempted)
    #expect(cause(.nodeFailure) == .nodeFailure && cause(.bootFailure) == .nodeFailure)
    #expect(cause(.outOfMemory) == .outOfMemory && cause(.failed) { $0.isOverMemory = true } == .outOfMemory)
    #expect(cause(.failed) == nil && cause(.completed) { $0.isAtTimeLimit = true } == .timeLimit)
    #expect(cause(.cancelled(uid: 0)) == nil && cause(.failed) { $0.scheduler = .pending(reason: "") } == nil)
  }

  @Test(
    "What Slurm said before a step started or ended is forgotten then, and an answer that was on its way is not taken")
  func staleAnswers() throws {
    let start = ContinuousClock.now
    var run = TrackedRun(id: RunID(7), request: nil, runsAs: nil, now: start)
    let job = try #require(SlurmJob(line: "Job=3|Index=N/A|State=PENDING|Reason=Priority|Name=fubini-x"))
    run.answered(job, askedAt: start + .seconds(1), now: start + .seconds(2))
    #expect(run.facts(now: start + .seconds(2)).scheduler == .pending(reason: "Priority"))
    run.saw(claim: .step, at: start + .seconds(100))
    #expect(run.facts(now: start + .seconds(100)).scheduler == .silent)
    run.answered(job, askedAt: start + .seconds(99), now: start + .seconds(130))
    #expect(Verdict(run.facts(now: start + .seconds(130))) == .running(""))
    run.answered(job, askedAt: start + .seconds(140), now: start + .seconds(140))
    #expect(Verdict(run.facts(now: start + .seconds(140))) == .running(""))
    #expect(Verdict(run.facts(now: start + .seconds(155))) == .ended(.lost, Self.requeued))
  }
}
