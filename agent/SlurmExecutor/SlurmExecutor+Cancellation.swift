public import Execution
public import FederationModel
internal import ProcessExecutor
internal import Supervisor

/// Ends of runs that are asked for, and the end of what they left.
extension SlurmExecutor {
  private static var commandTimeout: Duration { .seconds(30) }
  /// A step that was told has the run's grace; Slurm ends the job so long after it.
  private static var killMargin: Duration { .seconds(10) }
  private static var signalAgain: Duration { .seconds(20) }
  /// Of an answer by which tasks of arrays that wait are cancelled.
  private static var answerAgeMax: Duration { .seconds(3) }
  /// Jobs in one `scancel`.
  private static var batchMax: Int { 200 }

  /// A run that waits is ended by making its claim, which is proof at once; one that runs, by its step.
  public func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws {
    guard let run = runs[id], !run.isOver else { return }
    let now = clock.now
    let killAt = now + max(grace, .zero) + Self.killMargin
    runs[id]!.killAt = min(run.killAt ?? killAt, killAt)
    runs[id]!.hasFarewell = runs[id]!.hasFarewell || signal != nil
    if let signal { files.askToEnd(UInt64(id), (signal.number, UInt64(max(0, grace.milliseconds)))) }
    wantEnd(of: id)
    if runs[id]!.signalAt == nil { runs[id]!.signalAt = now }
    consider(id, looksAtFiles: true)
    await sendCancellations()
  }

  public func canExtend() async -> Bool { true }

  /// Its batch step looks for it where its slice ends. A run whose files are gone has been forgotten.
  public func extend(_ slices: [RunID: Duration]) async throws {
    for (id, slice) in slices where HostFiles.exists(records.directory(id)) {
      do throws(SystemFailure) {
        try files.raiseSlice(toMs: UInt64(max(0, slice.milliseconds)), of: UInt64(id))
      } catch {
        throw HostFiles.failure("write the slice of a run", error.code)
      }
    }
  }

  private func wantEnd(of id: RunID) {
    guard runs[id] != nil else { return }
    runs[id]!.isCancelRequested = true
    cancelling.insert(id)
  }

  /// One `scancel` for all that must be told the same. Ids are accompanied by names and the user, which Slurm compares: an id
  /// alone may be somebody else's by now (I7).
  func sendCancellations() async {
    let now = clock.now
    for id in cancelling {
      guard let run = runs[id], !run.isOver else {
        cancelling.remove(id)
        continue
      }
      guard run.claimed, run.end == nil else { continue }
      let isShared = run.attempt?.isShared == true
      if let killAt = run.killAt, now >= killAt {
        // Its task may have gone on with another run, which must not be hit.
        if isShared { consider(id, looksAtFiles: true) }
        guard runs[id]?.isOver == false, runs[id]?.end == nil else { continue }
        pendingKills.insert(id)
        runs[id]!.killAt = now + Self.signalAgain
      } else if let signalAt = run.signalAt, now >= signalAt {
        if isShared, !run.hasFarewell { files.askToEnd(UInt64(id)) }
        pendingSignals.insert(id)
        runs[id]!.signalAt = now + Self.signalAgain
      }
    }
    let signals = targets(of: pendingSignals)
    let isFresh = leftoversAskedAt.map { now - $0 < Self.answerAgeMax } ?? false
    let waiting = isFresh ? leftovers.keys.filter { $0.contains("_") }.sorted() : []
    let kills = targets(of: pendingKills).merging(leftovers.filter { !$0.key.contains("_") }) { first, _ in first }
    pendingSignals = []
    pendingKills = []
    leftovers = [:]
    guard !signals.isEmpty || !kills.isEmpty || !waiting.isEmpty else { return }
    Task {
      await scancel(signals, ["--batch", "--signal=USR1"])
      await scancel(kills, [])
      await cancelWaitingTasks(waiting)
    }
  }

  private func targets(of ids: Set<RunID>) -> [String: String] {
    var found: [String: String] = [:]
    for id in ids {
      if let run = runs[id], let target = run.target, let name = run.attempt?.name {
        found[target] = run.job?.target == target ? run.job!.name : name.text
      }
    }
    return found
  }

  /// What fails is tried again: what lives is signalled again after a while, what waits is found again by the next poll.
  private func scancel(_ targets: [String: String], _ options: [String]) async {
    guard !targets.isEmpty else { return }
    var rest = targets.sorted { $0.key < $1.key }[...]
    while !rest.isEmpty {
      let part = rest.prefix(Self.batchMax)
      rest = rest.dropFirst(Self.batchMax)
      let names = Set(part.map(\.value)).sorted().joined(separator: ",")
      let arguments = options + ["--quiet", "--user=\(userID)", "--name=\(names)"] + part.map(\.key)
      _ = try? await commands.run(configuration.programs.scancel, arguments, timeout: Self.commandTimeout)
    }
    isPollWanted = true
  }

  /// With a name or a user beside them `scancel` takes tasks of an array that wait for the whole array, as was seen in 22.05, and
  /// the others would never run. So these go by their ids alone, and only when Slurm has just said that they are ours (I7): an id
  /// is given to somebody else after a crash of the controller at the soonest. What is not cancelled finds the claim and leaves.
  private func cancelWaitingTasks(_ targets: [String]) async {
    var rest = targets[...]
    while !rest.isEmpty {
      let arguments = ["--quiet"] + rest.prefix(Self.batchMax)
      rest = rest.dropFirst(Self.batchMax)
      _ = try? await commands.run(configuration.programs.scancel, arguments, timeout: Self.commandTimeout)
    }
  }

  public func reattach(known: [RunID]) async throws -> [RunObservation] {
    for id in records.allRuns() where runs[id] == nil { adopt(id) }
    // Without an answer the files alone say what is known, and that is told. One that hangs is not waited for again.
    var hasAnswered = false
    if hasLooked { hasAnswered = (try? await poll()) != nil }
    for id in runs.keys.sorted() {
      consider(id, looksAtFiles: true)
      // Tried, never answered, not to be found, and nothing has started: it may be submitted.
      if hasAnswered, let run = runs[id], run.isUncertain, run.claim == .none, !run.isOver { runs[id] = nil }
    }
    let isKnown = Set(known)
    var found = runs.mapValues { run in
      var told = run.told
      // It has its place in the queue, and nothing more before it is submitted; or nobody knows whether it has one, and its
      // submission asks before it tries again.
      let isOpen = run.awaitsInputs || run.isUncertain && run.claim == .none
      if isOpen, !run.isOver, isKnown.contains(run.id) {
        (told.phase, told.message) = (.bound, "")
        return told
      }
      // Its answer is on disk, so it waits at least.
      if told.phase == .bound { (told.phase, told.message) = (.queued, "in Slurm, which has not said more yet") }
      return told
    }
    for id in known where found[id] == nil { found[id] = RunObservation(id: id, phase: .bound) }
    return found.values.sorted { $0.id < $1.id }
  }

  /// Takes up a run that an earlier process of this agent submitted.
  func adopt(_ id: RunID) {
    guard let attempt = records.attempt(id) else { return }
    var run = TrackedRun(id: id, request: files.request(UInt64(id)), runsAs: records.runsAs(id), now: clock.now)
    run.attempt = attempt
    run.isUncertain = attempt.jobID == nil
    run.awaitsInputs = attempt.isAhead && !files.areInputsHere(UInt64(id))
    runs[id] = run
    consider(id, looksAtFiles: true)
  }

  public func discardRoot(of run: RunID) async {
    let root = workspace(for: run).root
    // A tree on a shared file system takes its time.
    await Task.detached(priority: .utility) { HostFiles.remove(root) }.value
  }

  /// A run that waits is kept from starting first; one that runs is left alone.
  public func forget(_ ids: [RunID]) async throws {
    // One that is just being given a place in the queue has it first.
    for id in ids { await queueing[id]?.value }
    for id in ids {
      if let run = runs[id], !run.isOver {
        wantEnd(of: id)
        consider(id, looksAtFiles: true)
      } else if runs[id] == nil, records.attempt(id) != nil {
        adopt(id)
        wantEnd(of: id)
        consider(id, looksAtFiles: true)
      }
      if let run = runs[id], !run.isOver { continue }
      let name = runs[id]?.attempt?.name ?? records.attempt(id)?.name
      runs[id] = nil
      records.remove(id)
      if let name { releaseSubmission(name) }
    }
  }

  /// The last run of a submission takes the submission's files with it.
  ///
  /// - Parameter leaver: it goes, but its directory stays.
  func releaseSubmission(_ name: JobName, without leaver: RunID? = nil) {
    let left =
      remaining[name].map { $0 - 1 }
      ?? (arrays[name] ?? records.runs(name)).count { $0 != leaver && records.isPart($0, of: name) }
    remaining[name] = left > 0 ? left : nil
    guard left <= 0 else { return }
    arrays[name] = nil
    records.remove(name)
  }
}
