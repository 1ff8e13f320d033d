internal import CSupervisor
internal import Glibc

/// What a batch system starts for a run: the supervisor of that one run, on a node of the cluster (docs/adr/0009-slurm.md).
///
/// It makes the run's claim or leaves, starts the program once the agent's lease is known to be alive (where the run has a
/// disconnect limit), shows that it lives, and writes the end. It talks to nobody: everything goes through the shared directory.
///
/// As a task of a job array it goes on after its own run, while it is young and all went well, with runs of the array that no
/// other task has claimed yet: each as if a step of its own had been started for it. A task that finds its own run claimed does
/// nothing, so that it may be cancelled at any time.
final class BatchStep: RunLoop {
  /// How often `beat` changes, and the longest time between two looks at the lease.
  static let beatIntervalNs: UInt64 = 10_000_000_000
  /// For so long after its start a step takes up further runs. Slurm's limit of the job allows for it (`TimeLimits.margin`), for
  /// each run still has its whole wall time then.
  static let sharingNs: UInt64 = 10_000_000_000
  /// Of what `sysexits.h` offers: the run was started before, so that there is nothing to do here.
  static let startedBefore: Int32 = 75
  /// The run's inputs did not come in time: nothing was started, and the place is given back.
  static let inputsAreMissing: Int32 = 76
  private static let inputLookSeconds = 0.5

  private let files: BatchFiles
  private let place: String
  private let stepBegin: UInt64
  private var lease: WatchedLease
  /// Runs that may be taken up when the present one has ended.
  private var others: ArraySlice<UInt64>
  /// Whether a signal may be meant for another run than the present one.
  private let isShared: Bool
  /// Whether they were queued before their inputs were there.
  private let isAwaited: Bool
  private var exitCode: Int32 = 0

  // Of the present run.
  private var request: SupervisedRun
  private var claim: Int32
  private var begin: UInt64
  private var lookIntervalNs: UInt64 = 0
  private var isLaunched = false
  private var isOver = false
  private var beats = 0
  private var nextBeat: UInt64 = 0
  private var nextLook: UInt64 = 0

  /// Runs until the run has ended. Returns the program's exit code (128 + n for signal n), or 2 for wrong usage, 66 when there
  /// is no request to be found, 75 when the run was started before, 76 when its inputs did not come in time, 74 when the shared
  /// directory cannot be written. A step that may take up others' runs returns the code of the one that failed, and 0 where its
  /// own was taken.
  static func main(_ arguments: [String], environment: (String) -> String?) -> Int32 {
    let wanted: BatchStepArguments
    do throws(BatchStepArguments.Refusal) { wanted = try BatchStepArguments(arguments, environment: environment) } catch
    {
      return complain(error.text, error.code)
    }
    umask(0o077)
    PrivateFiles.sweep()
    let files = BatchFiles(sharedDirectory: wanted.sharedDirectory, leaseFile: wanted.leaseFile)
    do throws(SystemFailure) {
      let place = place(environment)
      guard awaitInputs(wanted, files) else {
        return complain("the run's inputs are not here yet: nothing was started", inputsAreMissing)
      }
      let now = csupervisor_boottime_ns()
      guard let request = files.request(wanted.runs[0]) else {
        return complain("there is no request for this run any more", 66)
      }
      guard let claim = try files.claim(request.id, place: place) else {
        if wanted.isShared { return 0 }
        return complain("the run was started before, or was given up: nothing to do", startedBefore)
      }
      let step = try BatchStep(request, claim, wanted, files: files, place: place, now: now)
      defer { close(step.claim) }
      step.checkDeadlines()
      step.turnEnded()
      try step.loop()
      return step.exitCode
    } catch {
      return complain("\(error)", 74)
    }
  }

  /// Of a run that was queued before its inputs were there: waits for the executor's word that they are. The request is written
  /// before that word, so it is not looked for earlier. Signals end this process meanwhile, which has claimed nothing.
  ///
  /// - Returns: false when they did not come in time. What was claimed by somebody else meanwhile is not waited for.
  private static func awaitInputs(_ wanted: BatchStepArguments, _ files: BatchFiles) -> Bool {
    guard let seconds = wanted.inputWaitSeconds else { return true }
    let begin = csupervisor_boottime_ns()
    while !files.areInputsHere(wanted.runs[0]), !files.isClaimed(wanted.runs[0]) {
      guard csupervisor_boottime_ns() - begin < seconds * 1_000_000_000 else { return false }
      usleep(UInt32(inputLookSeconds * 1_000_000))
    }
    return true
  }

  /// Claims the first run that is there and nobody's yet; the runs before it are dropped with it.
  private static func take(
    from runs: inout ArraySlice<UInt64>, awaited: Bool, files: BatchFiles, place: String
  ) throws(SystemFailure) -> (request: SupervisedRun, claim: Int32)? {
    while let id = runs.popFirst() {
      // Looked at first, because that is cheaper than a claim that fails. Nobody waits here for another task's inputs (I4).
      guard !files.isClaimed(id), !awaited || files.areInputsHere(id), let request = files.request(id) else { continue }
      if let claim = try files.claim(id, place: place) { return (request, claim) }
    }
    return nil
  }

  private static func complain(_ text: String, _ code: Int32) -> Int32 {
    try? Files.writeAll(2, Array("fubini batch step: \(text)\n".utf8))
    return code
  }

  /// Where this step runs: for people, and for the executor, which ends a run by its job.
  private static func place(_ environment: (String) -> String?) -> String {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, 255)
    let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let job = environment("SLURM_JOB_ID") else { return host }
    let node = environment("SLURMD_NODENAME") ?? host
    if let array = environment("SLURM_ARRAY_JOB_ID"), let task = environment("SLURM_ARRAY_TASK_ID") {
      return "\(node) job \(array)_\(task)"
    }
    return "\(node) job \(job)"
  }

  private init(
    _ request: SupervisedRun, _ claim: Int32, _ wanted: BatchStepArguments, files: BatchFiles, place: String,
    now: UInt64
  ) throws(SystemFailure) {
    self.place = place
    self.files = files
    others = wanted.runs.dropFirst()
    isShared = wanted.isShared
    isAwaited = wanted.inputWaitSeconds != nil
    self.request = request
    self.claim = claim
    stepBegin = now
    begin = now
    lease = WatchedLease(value: files.leaseValue(), now: now)
    try super.init(
      stateDirectory: files.sharedDirectory, groups: ControlGroups(.none, stateDirectory: files.sharedDirectory),
      enclosure: Enclosure())
    prepare()
  }

  /// What is the present run's own.
  private func prepare() {
    (isLaunched, isOver) = (false, false)
    // The claim shows that the step lives to begin with; most runs are over before the first beat.
    (beats, nextBeat, nextLook) = (0, begin + Self.beatIntervalNs, 0)
    // Ten looks in each limit, and never busier than ten a second.
    let limit = request.disconnectLimitMs > UInt64.max / 100_000 ? UInt64.max : request.disconnectLimitMs * 100_000
    lookIntervalNs = min(max(limit, 100_000_000), Self.beatIntervalNs)
    nextDeadline = 0
  }

  /// Goes on with another run when the present one has ended. A full disk, or one that fails, ends that.
  override func turnEnded() {
    while isOver, !others.isEmpty {
      let now = csupervisor_boottime_ns()
      guard now - stepBegin < Self.sharingNs,
        let next = try? Self.take(from: &others, awaited: isAwaited, files: files, place: place)
      else { return others = [] }
      close(claim)
      (request, claim) = next
      begin = now
      prepare()
      checkDeadlines()
    }
  }

  override var isFinished: Bool { isOver }
  override func currentLease() -> any LeaseView { lease }

  override func announce(_ event: SupervisorReply, _ id: UInt64, _ body: [UInt8]) {
    if event == .started { files.tell(.started, id) }
  }

  override func ended(_ end: RunEnd, _ id: UInt64) {
    isOver = true
    let status = end.waitStatus
    let code =
      switch end.reason {
      case .notStarted: 127 as Int32
      case .fenced: 128 + SIGKILL
      default: csupervisor_exited(status) != 0 ? csupervisor_exit_code(status) : 128 + csupervisor_signal(status)
      }
    if exitCode == 0 { exitCode = code }
    // A node on which things go wrong must not draw more runs to itself; and where Slurm may have ended the program, what it says
    // of the job is about this run.
    if end.reason != .exited || code != 0 { others = [] }
    files.tell(.ended, id)
  }

  /// The executor asks by SIGUSR1; SIGTERM and SIGINT are the batch system's own (a limit, a preemption, an administrator).
  override func received(signal: Int32) {
    guard signal == SIGUSR1 || signal == SIGTERM || signal == SIGINT else { return }
    // It may have been meant for a run that has ended meanwhile.
    if isShared, signal == SIGUSR1, !files.isEndWanted(request.id) { return }
    others = []
    guard !isOver else { return }
    let reason: RunEnd.Reason = signal == SIGUSR1 ? .cancelled : .terminated
    if isLaunched {
      let farewell = reason == .cancelled ? files.farewell(request.id) : nil
      cancel(
        request.id, graceMs: farewell?.graceMs ?? request.graceMs, reason: reason, signal: farewell?.signal)
    } else {
      giveUp(RunEnd(reason: reason, message: "it was asked to end before its program started"))
    }
  }

  override func checkOwnDeadlines(now: UInt64) -> UInt64 {
    guard !isOver else { return .max }
    if now >= nextBeat {
      beats += 1
      files.beat(request.id, beats)
      nextBeat = now + Self.beatIntervalNs
    }
    guard request.disconnectLimitMs > 0 else {
      launchOnce(now)
      return nextBeat
    }
    if now >= nextLook {
      lease.look(files.leaseValue(), now: now)
      nextLook = now + lookIntervalNs
    }
    if !isLaunched {
      if now < lease.expiry(limitMs: request.disconnectLimitMs, now: now) {
        launchOnce(now)
      } else if now - begin > max(request.disconnectLimitMs, 60_000) * 1_000_000 {
        giveUp(RunEnd(reason: .fenced, message: "the agent's lease did not change while the program waited for it"))
      }
    }
    return min(nextBeat, nextLook)
  }

  /// Looked at only where the slice that is known here is over: what was said later than that is there long before, and a file that was
  /// not looked at is in no cache.
  override func lookForExtension(of run: LiveRun) {
    if let milliseconds = files.slice(of: run.run.id) { _ = run.extend(toMs: milliseconds) }
  }

  /// What the batch system says about the place that the run got: programs look there for their devices, nodes and cores, and
  /// `srun` for its job. And what the operator's batch script names in `FUBINI_EXPORT`: what modules have set. Nothing else of
  /// this environment is the program's.
  private static var placement: [String] {
    let exported = getenv("FUBINI_EXPORT").map { String(cString: $0) } ?? ""
    let names = Set(devices + exported.split(whereSeparator: { " ,:\n\t".contains($0) }).map(String.init))
    var found: [String] = []
    var next = environ
    while let variable = next.pointee {
      let text = String(cString: variable)
      if text.hasPrefix("SLURM_") || names.contains(String(text.prefix { $0 != "=" })) { found.append(text) }
      next += 1
    }
    return found
  }

  /// - Source: gres.html of Slurm's documentation, "Running jobs".
  private static let devices = [
    "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
  ]

  private func launchOnce(_ now: UInt64) {
    guard !isLaunched else { return }
    isLaunched = true
    var run = request
    let secrets = files.takeSecrets(run.id)
    run.environment += secrets.environment
    run.privateFiles = secrets.files
    PlainEnvironment.merge(Self.placement, into: &run.environment)
    launch(run, in: files.directory(run.id), lock: claim, place: place, now: now)
  }

  private func giveUp(_ end: RunEnd) {
    isLaunched = true
    _ = files.takeSecrets(request.id)
    record(end, of: request.id)
  }
}
