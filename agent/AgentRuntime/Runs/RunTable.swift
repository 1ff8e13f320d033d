internal import Execution
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import SwiftProtobuf

/// Every run that this agent knows, and what is to be done about it. Pure: a turn is `apply` of any number of inputs and then
/// `takeTurn()`, whose changes the shell makes durable before it takes any of its actions (journal, then act).
///
/// Restoring from the journal and applying the executor's `reattach` gives the same table that was killed, up to work that is
/// idempotent (staging, submission, collection), which is simply done again.
struct RunTable: Sendable {
  /// A run's state here.
  enum State: Sendable, Equatable {
    /// Journaled, not begun: adopting, or its session must confirm it first. Can transition to `staging`, `ended`.
    case held
    /// Its inputs are on their way; the executor may have a place in its queue for it. Can transition to `staged`, `submitted` (it
    /// lost that place for good), `ended`.
    case staging
    /// Ready; may only be submitted while a session confirms it. Can transition to `submitted`, `ended`.
    case staged
    /// The executor has it or is being given it. Can transition to `collecting`.
    case submitted(RunPhase)
    /// Has ended; its outputs are being read. Can transition to `ended`.
    case collecting(RunObservation)
    /// The end is journaled; the control plane will say when to forget it. Terminal.
    case ended(RunPhase)
  }

  struct Run: Sendable {
    /// Nil until it is assigned (again): a stray, which carries our mark and which the journal does not know, or a run whose
    /// entry in the journal is damaged.
    var request: RunRequest?
    /// How a run without a request ended. Nothing is told before its assignment says what its outputs are.
    var heldEnd: RunObservation?
    var state: State
    var isCancelled = false
    /// It leaves for another, so its hook says how. Forgotten by a restart: the executor has been told then.
    var isPreempted = false
    /// Not in the desired set any more: it is erased as soon as it has ended.
    var isUnwanted = false
    /// Whether a welcome or an assignment of this process's life named it.
    var isConfirmed = false
    var staged = MovedBytes()
    var stagingMilliseconds: Int64 = 0
    var pauseReason: String?
    var runsAs = ""
    var logLength: Int64 = 0
    var logAcknowledged: Int64 = 0
    var isLogComplete = false
    /// Told to forget; waits for its log to be stored (or for the bound on that).
    var isForgetRequested = false
  }

  private(set) var runs: [RunID: Run] = [:]
  /// Daemons that run, and of which nobody has said yet that they are ready. A restart begins with all that run.
  private(set) var awaitedDaemons: Set<RunID> = []
  private(set) var lastSequence: UInt64
  private(set) var acknowledgedSequence: UInt64
  private(set) var term: Int64
  private(set) var commitSequence: Int64
  private(set) var isAdopting = false
  private(set) var isDraining = false
  private(set) var hasSession = false
  /// Whether any welcome came in this process's life: before, nothing that is not running is started or stopped.
  private(set) var wasWelcomed = false
  /// Desired runs whose assignments are still on their way, because one welcome holds only so many.
  private var awaited: Set<RunID> = []
  /// Those of them whose end is wanted.
  private var awaitedCancels: Set<RunID> = []
  /// Runs whose logs are kept although they may be forgotten, oldest first.
  private var keptLogs: [RunID] = []
  private var keptLogBytes: Int64 = 0
  let keptLogBytesMax: Int64
  /// What the control plane asks for is checked against it, because the control plane may be wrong.
  let tenancy: Tenancy
  static let keptLogsMax = 4096

  private var changes: [JournalChange] = []
  private var actions: [RunTableAction] = []
  private var submissions: [RunID] = []
  private var hasNewEvents = false
  private var extensions: [RunID: Duration] = [:]

  /// - Parameter keptLogBytesMax: logs of runs that may be forgotten wait for the control plane to store them, up to so
  ///   many bytes in all; then the oldest go.
  init(restoring contents: JournalContents, tenancy: Tenancy = .shared, keptLogBytesMax: Int64 = 1 << 30) {
    self.keptLogBytesMax = keptLogBytesMax
    self.tenancy = tenancy
    lastSequence = contents.lastSequence
    acknowledgedSequence = contents.acknowledgedSequence
    term = contents.term
    commitSequence = contents.commitSequence
    for journaled in contents.runs {
      let wire = try? Wire.Assignment(serializedBytes: journaled.assignment)
      let state: State =
        if let end = journaled.endPhase { .ended(end) } else { journaled.isSubmitted ? .submitted(.queued) : .held }
      var request = try? wire?.request()
      if let slice = journaled.sliceMilliseconds { _ = request?.extend(to: .milliseconds(slice)) }
      runs[journaled.id] = Run(
        request: request, state: state, isCancelled: journaled.isCancelRequested,
        pauseReason: wire == nil && journaled.endPhase == nil ? Self.damagedReason : nil,
        logLength: journaled.logBytes,
        logAcknowledged: journaled.logAcknowledged, isLogComplete: journaled.isLogComplete)
    }
  }

  private static let damagedReason =
    "this run's entry in the agent's journal is damaged; waiting for the control plane to assign it again"

  /// What this turn made durable and asks for. Empties both.
  mutating func takeTurn() -> (changes: [JournalChange], actions: [RunTableAction]) {
    if !extensions.isEmpty { actions.append(.extend(extensions)) }
    if !submissions.isEmpty { actions.append(.submit(submissions)) }
    if hasNewEvents { actions.append(.eventsJournaled(through: lastSequence)) }
    defer {
      changes = []
      actions = []
      submissions = []
      extensions = [:]
      hasNewEvents = false
    }
    return (changes, actions)
  }

  mutating func apply(_ input: RunTableInput, at now: Timestamp) {
    switch input {
    case .welcomed(let welcome): welcomed(welcome, at: now)
    case .assigned(let assignments): for assignment in assignments { assigned(assignment, at: now) }
    case .extended(let slices): for id in slices.keys.sorted() { extended(id, to: slices[id]!) }
    case .cancelRequested(let ids, let isPreemption):
      for id in ids { cancelRequested(id, isPreemption: isPreemption, at: now) }
    case .forgetRequested(let ids): for id in ids { forgetRequested(id) }
    case .drainChanged(let isDraining): self.isDraining = isDraining
    case .sessionLost: hasSession = false
    case .positionSeen(let term, let commitSequence): positionSeen(term: term, commitSequence: commitSequence)
    case .eventsAcknowledged(let sequence): eventsAcknowledged(sequence)
    case .staged(let id, let bytes, let fromClusters, let milliseconds):
      staged(id, MovedBytes(total: bytes, fromClusters: fromClusters), milliseconds: milliseconds, at: now)
    case .stagingPaused(let id, let reason): paused(id, in: .staging, reason: reason, at: now)
    case .stagingFailed(let id, let phase, let message): stagingFailed(id, phase, message: message, at: now)
    case .submissionAccepted(let ids): submissionAccepted(ids)
    case .submissionPaused(let ids, let reason):
      for id in ids { paused(id, in: .queued, reason: reason, at: now) }
    case .submissionFailed(let id, let message): submissionFailed(id, message: message, at: now)
    case .observed(let observations): for observation in observations { observed(observation, at: now) }
    case .ready(let id, let address): ready(id, address, at: now)
    case .collected(let id, let outputs): collected(id, outputs, at: now)
    case .logAcknowledged(let id, let offset, let isComplete):
      logAcknowledged(id, offset: offset, isComplete: isComplete)
    case .leaseGranted: break  // Changes no run: the driver renews the lease once this turn has been applied.
    }
  }
}

// MARK: - What the control plane wants

extension RunTable {
  private mutating func welcomed(_ welcome: Wire.Welcome, at now: Timestamp) {
    hasSession = true
    isAdopting = welcome.adopting
    isDraining = welcome.draining
    eventsAcknowledged(welcome.ackedSequence)
    // A database that was restored may know fewer events than we have numbered, never more; should it, go on after it.
    lastSequence = max(lastSequence, welcome.ackedSequence)
    guard !isAdopting else { return }
    wasWelcomed = true
    positionSeen(term: welcome.position.term, commitSequence: welcome.position.commitSeq)
    // The assignments of the welcome are only the first of the desired set; `desiredRuns` is the whole of it.
    let desired = Set(welcome.desiredRuns.map { RunID($0) }).union(welcome.assignments.map { RunID($0.runID) })
    awaited = desired.subtracting(runs.keys)
    awaitedCancels = []
    for id in runs.keys.sorted() {
      if desired.contains(id) { confirm(id, at: now) } else { abandon(id) }
    }
    let preempted = Set(welcome.preempted)
    for id in welcome.cancels { cancelRequested(RunID(id), isPreemption: preempted.contains(id), at: now) }
    for assignment in welcome.assignments { assigned(assignment, at: now) }
    for id in runs.keys.sorted() { proceed(id, at: now) }
  }

  private mutating func confirm(_ id: RunID, at now: Timestamp) {
    runs[id]!.isConfirmed = true
    runs[id]!.isUnwanted = false
    if runs[id]!.request == nil, let reason = runs[id]!.pauseReason {
      append(event: Self.phase(of: runs[id]!), of: id, message: reason, at: now)
    }
  }

  private mutating func assigned(_ assignment: Wire.Assignment, at now: Timestamp) {
    let id = RunID(assignment.runID)
    guard !isAdopting else { return }
    awaited.remove(id)
    if let run = runs[id] {
      runs[id]!.isConfirmed = true
      runs[id]!.isUnwanted = false
      if run.request == nil { assignedAgain(id, run, assignment, at: now) }
      if assignment.sliceMs > 0 { extended(id, to: .milliseconds(assignment.sliceMs)) }
      return
    }
    // Serializing a message that was just parsed does not fail.
    guard let bytes = try? assignment.serializedBytes() as Data else { return }
    changes.append(.assigned(id, assignment: bytes))
    append(event: .dispatched, of: id, at: now)
    let isCancelled = awaitedCancels.remove(id) != nil
    do {
      runs[id] = Run(
        request: try assignment.request(), state: .held, isCancelled: isCancelled, isConfirmed: true)
      proceed(id, at: now)
    } catch {
      runs[id] = Run(request: nil, state: .held, isConfirmed: true)
      end(id, .error, message: (error as? FederationError)?.publicMessage ?? "\(error)", at: now)
    }
  }

  /// More is held for a run. What it was told before stays where that is longer.
  private mutating func extended(_ id: RunID, to slice: Duration) {
    guard !isAdopting, let run = runs[id], var request = run.request, request.extend(to: slice) else { return }
    if case .ended = run.state { return }
    runs[id]!.request = request
    changes.append(.extended(id, milliseconds: slice.milliseconds))
    if case .submitted = run.state { extensions[id] = slice }
  }

  /// A stray, or a run whose journal entry is damaged, is whole again; if it has ended meanwhile, its end is told now.
  private mutating func assignedAgain(_ id: RunID, _ run: Run, _ assignment: Wire.Assignment, at now: Timestamp) {
    if case .ended = run.state { return }
    guard let bytes = try? assignment.serializedBytes() as Data, let request = try? assignment.request() else { return }
    runs[id]!.request = request
    runs[id]!.pauseReason = nil
    changes.append(.assigned(id, assignment: bytes))
    if case .submitted = run.state { changes.append(.submitted(id)) }
    if run.isCancelled { changes.append(.cancelRequested(id)) }
    if let end = run.heldEnd {
      runs[id]!.heldEnd = nil
      observed(end, at: now)
    } else {
      proceed(id, at: now)
    }
  }

  /// Moves a run on as far as it may go without anything happening first.
  private mutating func proceed(_ id: RunID, at now: Timestamp) {
    guard !isAdopting, let run = runs[id], run.isConfirmed, let request = run.request else { return }
    switch run.state {
    case .held where run.isCancelled:
      end(id, .cancelled, message: "cancelled before it began", at: now)
    case .held where tenancy.refusal(of: request.project) != nil:
      let reason = tenancy.refusal(of: request.project)!.message
      end(id, .error, message: "the agent refused this run of project \(request.project): \(reason)", at: now)
    case .held:
      if request.isStaged {
        runs[id]!.state = .staging
        append(event: .staging, of: id, at: now)
        actions.append(.stage(id))
      } else {
        runs[id]!.state = .staged
        proceed(id, at: now)
      }
    case .staged:
      // With a disconnect limit, the task may run elsewhere once we are cut off; only a live session may start it (I1).
      guard request.disconnectLimit == nil || hasSession else { return }
      runs[id]!.state = .submitted(.dispatched)
      changes.append(.submitted(id))
      submissions.append(id)
    default: break
    }
  }

  private mutating func cancelRequested(_ id: RunID, isPreemption: Bool, at now: Timestamp) {
    guard !isAdopting else { return }
    if awaited.contains(id) { awaitedCancels.insert(id) }
    guard let run = runs[id], !run.isCancelled || run.state == .held else { return }
    runs[id]!.isCancelled = true
    runs[id]!.isPreempted = isPreemption
    changes.append(.cancelRequested(id))
    switch run.state {
    case .held, .staging, .staged:
      if run.state == .staging { actions.append(.stopStaging(id)) }
      end(id, .cancelled, message: "cancelled before it began", at: now)
    case .submitted: actions.append(farewell(id))
    case .collecting, .ended: break
    }
  }

  /// How a run's end begins.
  private func farewell(_ id: RunID) -> RunTableAction {
    let spec = runs[id]?.request?.spec
    if runs[id]?.isPreempted == true, let hook = spec?.federation.onPreempt {
      return .cancel(id, grace: hook.grace, signal: hook.signal)
    }
    return .cancel(id, grace: spec?.terminationGrace ?? .seconds(30))
  }

  /// A run that carries our mark and is not wanted: it is stopped, and erased when it has ended (I1, I7).
  private mutating func abandon(_ id: RunID) {
    guard let run = runs[id] else { return }
    runs[id]!.isUnwanted = true
    switch run.state {
    case .held, .staged: erase(id)
    case .staging:
      actions.append(.stopStaging(id))
      erase(id)
    case .submitted where run.heldEnd != nil: erase(id)
    case .submitted: actions.append(.cancel(id, grace: run.request?.spec.terminationGrace ?? .seconds(30)))
    case .collecting: erase(id)
    // A leader that took over does not name what had ended for the one before it, and may not have its log yet.
    case .ended: forgetRequested(id)
    }
  }

  private mutating func forgetRequested(_ id: RunID) {
    guard let run = runs[id] else { return }
    guard case .ended = run.state else { return abandon(id) }
    // The log is deleted only when the control plane holds it, too; what else the run left is of no use any more.
    if run.isLogComplete || run.logLength == 0 { return erase(id) }
    guard !run.isForgetRequested else { return }
    runs[id]!.isForgetRequested = true
    actions.append(.discardFiles(id))
    keptLogs.append(id)
    keptLogBytes += run.logLength
    while keptLogBytes > keptLogBytesMax || keptLogs.count > Self.keptLogsMax, let oldest = keptLogs.first {
      actions.append(.warn("the log of run \(oldest.hexadecimal) is dropped unsent: too much waits to be stored"))
      erase(oldest)
    }
  }

  private mutating func erase(_ id: RunID) {
    guard let run = runs.removeValue(forKey: id) else { return }
    awaitedDaemons.remove(id)
    if run.isForgetRequested, let index = keptLogs.firstIndex(of: id) {
      keptLogs.remove(at: index)
      keptLogBytes -= run.logLength
    }
    changes.append(.forgotten(id))
    actions.append(.stopShippingLog(id))
    actions.append(.erase([id]))
  }

  private mutating func positionSeen(term: Int64, commitSequence: Int64) {
    guard commitSequence > self.commitSequence else { return }
    self.term = term
    self.commitSequence = commitSequence
    changes.append(.positionSeen(term: term, commitSequence: commitSequence))
  }

  private mutating func eventsAcknowledged(_ sequence: UInt64) {
    guard sequence > acknowledgedSequence else { return }
    acknowledgedSequence = sequence
    changes.append(.acknowledged(throughSequence: sequence))
  }
}

// MARK: - What happened here

extension RunTable {
  private mutating func staged(_ id: RunID, _ moved: MovedBytes, milliseconds: Int64, at now: Timestamp) {
    guard runs[id]?.state == .staging else { return }
    runs[id]!.state = .staged
    runs[id]!.staged = moved
    runs[id]!.stagingMilliseconds = milliseconds
    runs[id]!.pauseReason = nil
    proceed(id, at: now)
  }

  private mutating func paused(_ id: RunID, in phase: RunPhase, reason: String, at now: Timestamp) {
    // Told once per reason, not once per attempt.
    guard let run = runs[id], Self.phase(of: run) == phase, run.pauseReason != reason else { return }
    runs[id]!.pauseReason = reason
    append(event: phase, of: id, message: reason, at: now)
  }

  /// The executor refused the run for good. Should it hold a part of it all the same, that part is ended.
  private mutating func submissionFailed(_ id: RunID, message: String, at now: Timestamp) {
    guard let run = runs[id], case .submitted = run.state else { return }
    actions.append(.cancel(id, grace: .zero))
    if run.isUnwanted { return erase(id) }
    end(id, run.isCancelled ? .cancelled : .error, message: message, at: now)
  }

  private mutating func stagingFailed(_ id: RunID, _ phase: RunPhase, message: String, at now: Timestamp) {
    guard runs[id]?.state == .staging else { return }
    end(id, phase, message: message, at: now)
  }

  private mutating func submissionAccepted(_ ids: [RunID]) {
    // A cancel that came while the submission was under way may have found nothing to cancel: say it again.
    for id in ids {
      guard let run = runs[id], case .submitted = run.state else { continue }
      if run.pauseReason != nil { runs[id]!.pauseReason = nil }
      guard run.isCancelled || run.isUnwanted else { continue }
      actions.append(farewell(id))
    }
  }

  private mutating func observed(_ observation: RunObservation, at now: Timestamp) {
    let id = observation.id
    guard let run = runs[id] else {
      // Carries our mark and is not in the journal: the next welcome decides about it.
      runs[id] = Run(
        request: nil, heldEnd: observation.phase.isTerminal ? observation : nil, state: .submitted(observation.phase),
        runsAs: observation.runsAs ?? "")
      if wasWelcomed, !awaited.contains(id) { abandon(id) }
      return
    }
    if run.state == .staging { queuedAhead(observation, at: now) }
    guard case .submitted(let earlier) = runs[id]!.state else { return }
    runs[id]!.logLength = max(run.logLength, observation.logBytes)
    if let runsAs = observation.runsAs { runs[id]!.runsAs = runsAs }
    if observation.phase == .bound {
      // The journal says submitted, the executor never saw it: killed in between. Beginning again is safe.
      runs[id]!.state = .held
      proceed(id, at: now)
      return
    }
    guard observation.phase.isTerminal else {
      if observation.phase == .queued, earlier == .queued, !observation.message.isEmpty {
        return paused(id, in: .queued, reason: observation.message, at: now)
      }
      guard observation.phase.rawValue > earlier.rawValue || observation.phase == .running else { return }
      runs[id]!.state = .submitted(observation.phase)
      if observation.phase == .running { runs[id]!.pauseReason = nil }
      if observation.phase != earlier {
        let reason = observation.phase == .queued ? observation.message : ""
        if !reason.isEmpty { runs[id]!.pauseReason = reason }
        append(event: observation.phase, of: id, message: reason, at: now)
        if observation.phase == .running, run.request?.spec.containers?.isDaemon == true { awaitedDaemons.insert(id) }
      }
      if observation.logBytes > 0 { actions.append(.shipLog(id, length: observation.logBytes, isFinal: false)) }
      return
    }
    if run.isUnwanted { return erase(id) }
    guard run.request != nil else {
      runs[id]!.heldEnd = observation
      return
    }
    if earlier.rawValue < RunPhase.running.rawValue, observation.exitCode != nil {
      append(event: .running, of: id, at: now)
    }
    runs[id]!.state = .collecting(observation)
    let request = run.request
    let hasEnded = observation.phase == .succeeded || observation.phase == .failed
    if let spec = request?.spec,
      hasEnded
        && (spec.hasMembers || spec.capturesResult || !spec.outputArtifacts.isEmpty || !spec.outputParameters.isEmpty)
        || observation.phase == .cancelled && spec.federation.onPreempt?.checkpoint != nil
    {
      actions.append(.collect(id, observation))
    } else {
      let nothing = CollectedOutputs(
        phase: observation.phase, message: observation.message, outputs: TaskOutputs(), bytesOut: 0)
      collected(id, nothing, at: now)
    }
  }

  private mutating func ready(_ id: RunID, _ address: String?, at now: Timestamp) {
    guard awaitedDaemons.remove(id) != nil, let run = runs[id], run.state == .submitted(.running) else { return }
    append(event: .running, of: id, isReady: true, address: address, at: now)
  }

  /// The run has a place in the executor's queue already. An end there is the run's end: nobody can start it any more.
  private mutating func queuedAhead(_ observation: RunObservation, at now: Timestamp) {
    let id = observation.id
    if observation.phase.isTerminal {
      actions.append(.stopStaging(id))
      runs[id]!.state = .submitted(.dispatched)
    } else if !observation.message.isEmpty {
      paused(id, in: .staging, reason: "while its inputs are on their way: \(observation.message)", at: now)
    }
  }

  private mutating func collected(_ id: RunID, _ collected: CollectedOutputs, at now: Timestamp) {
    guard let run = runs[id], case .collecting(let observation) = run.state else { return }
    var outcome = Wire.Outcome()
    if let exitCode = observation.exitCode { outcome.exitCode = exitCode }
    if let result = collected.outputs.result { outcome.result = result }
    outcome.parameters = collected.outputs.parameters
    outcome.exitCodes = collected.outputs.exitCodes ?? [:]
    outcome.artifacts = collected.outputs.artifacts.mapValues { Wire.StoredArtifact($0) }
    outcome.bytesIn = run.staged.total
    outcome.bytesFrom = MovedBytes.told(run.staged.total, run.staged.fromClusters)
    outcome.bytesOut = collected.bytesOut
    outcome.wallMs = observation.wallTime?.milliseconds ?? 0
    outcome.stagingMs = run.stagingMilliseconds
    outcome.unpaid = observation.isUnpaid
    outcome.cause = observation.cause?.rawValue ?? ""
    end(id, collected.phase, message: collected.message, outcome: outcome, logBytes: observation.logBytes, at: now)
  }

  private mutating func logAcknowledged(_ id: RunID, offset: Int64, isComplete: Bool) {
    guard let run = runs[id], offset > run.logAcknowledged || (isComplete && !run.isLogComplete) else { return }
    runs[id]!.logAcknowledged = max(run.logAcknowledged, offset)
    runs[id]!.isLogComplete = run.isLogComplete || isComplete
    changes.append(.logAcknowledged(id, offset: offset, isComplete: isComplete))
    if isComplete, run.isForgetRequested { erase(id) }
  }

  /// The one way into `ended`: exactly one terminal event per run (I2).
  private mutating func end(
    _ id: RunID, _ phase: RunPhase, message: String, outcome: Wire.Outcome = Wire.Outcome(), logBytes: Int64 = 0,
    at now: Timestamp
  ) {
    precondition(phase.isTerminal)
    awaitedDaemons.remove(id)
    append(event: phase, of: id, message: message, outcome: outcome, at: now)
    changes.append(.ended(id, phase, logBytes: logBytes))
    var hasRun = false
    if case .collecting? = runs[id]?.state { hasRun = true }
    runs[id]!.state = .ended(phase)
    runs[id]!.logLength = logBytes
    // Of what has run it is told, too, that there is nothing, so that nobody waits for it; but nothing waits here for the answer.
    if hasRun || logBytes > 0 { actions.append(.shipLog(id, length: logBytes, isFinal: true)) }
    if logBytes == 0 { runs[id]!.isLogComplete = true }
  }

  private mutating func append(
    event phase: RunPhase, of id: RunID, message: String = "", outcome: Wire.Outcome? = nil, isReady: Bool = false,
    address: String? = nil, at now: Timestamp
  ) {
    lastSequence += 1
    hasNewEvents = true
    var event = Wire.RunEvent()
    event.sequence = lastSequence
    event.runID = id.number
    event.phase = .init(phase)
    event.atMs = now.milliseconds
    event.message = String(message.prefix(4096))
    if let outcome { event.outcome = outcome }
    event.runsAs = runs[id]?.runsAs ?? ""
    event.ready = isReady
    event.address = address ?? ""
    // Serializing a message of our own making into memory does not fail.
    let payload = (try? event.serializedBytes() as Data) ?? Data()
    changes.append(.event(sequence: lastSequence, id, payload: payload))
  }
}

// MARK: - Questions

extension RunTable {
  /// Every run that is in the journal, with the phase that a hello reports.
  var reports: [(id: RunID, phase: RunPhase)] {
    runs.keys.sorted().map { ($0, Self.phase(of: runs[$0]!)) }
  }

  static func phase(of run: Run) -> RunPhase {
    switch run.state {
    case .held: .dispatched
    case .staging: .staging
    case .staged: .queued
    case .submitted(let phase): phase.rawValue < RunPhase.queued.rawValue ? .queued : phase
    case .collecting: .running
    case .ended(let phase): phase
    }
  }

  /// Runs that the executor has or is being given: what it is asked about after a restart.
  var submitted: [RunID] {
    runs.filter { if case .submitted = $0.value.state { true } else { false } }.keys.sorted()
  }

  /// Whether a run lives that may go on for so long: then its executor is to know it.
  func isExtended(_ id: RunID, to slice: Duration) -> Bool {
    guard let run = runs[id], case .submitted = run.state, !run.isUnwanted else { return false }
    return run.request?.slice == slice
  }

  /// Work that a restart has to take up again: logs of ended runs that are not stored yet, and what is held for those that live, which
  /// the executor may not have been told.
  mutating func resume() {
    for (id, run) in runs { if case .submitted = run.state, let slice = run.request?.slice { extensions[id] = slice } }
    for id in runs.keys.sorted() {
      guard let run = runs[id], case .ended = run.state, run.logLength > 0, !run.isLogComplete else { continue }
      actions.append(.shipLog(id, length: run.logLength, isFinal: true))
    }
  }
}

extension TaskSpec {
  /// Whether each of its containers is told of by itself.
  fileprivate var hasMembers: Bool { containers?.list.contains { $0.role == .member } == true }
}

extension RunRequest {
  /// More is held for it. Returns whether that changes anything: an end only moves later, and one that never was comes never.
  fileprivate mutating func extend(to slice: Duration) -> Bool {
    guard let before = self.slice, slice > before else { return false }
    self.slice = slice
    return true
  }
}
