internal import CSupervisor
internal import Glibc

/// What a batch system starts for a run: the supervisor of that one run, on a node of the cluster (docs/adr/0009-slurm.md).
///
/// It makes the run's claim or leaves, starts the program once the agent's lease is known to be alive (where the run has a
/// disconnect limit), shows that it lives, and writes the end. It talks to nobody: everything goes through the shared directory.
final class BatchStep: RunLoop {
  /// How often `beat` changes, and the longest time between two looks at the lease.
  static let beatIntervalNs: UInt64 = 10_000_000_000
  /// Of what `sysexits.h` offers: the run was started before, so that there is nothing to do here.
  static let startedBefore: Int32 = 75

  private let request: SupervisedRun
  private let directory: RunDirectory
  private let files: BatchFiles
  private let lookIntervalNs: UInt64
  private let claim: Int32
  private let place: String
  private let begin: UInt64
  private var lease: WatchedLease
  private var isLaunched = false
  private var isOver = false
  private var exitCode: Int32 = 0
  private var beats = 0
  private var nextBeat: UInt64
  private var nextLook: UInt64 = 0

  /// Runs until the run has ended. Returns the program's exit code (128 + n for signal n), or 2 for wrong usage, 66 when there
  /// is no request to be found, 75 when the run was started before, 74 when the shared directory cannot be written.
  ///
  /// Arguments: `--state-dir SHARED` and either `--run ID` or `--map FILE`, whose line `SLURM_ARRAY_TASK_ID` (from 0) is the ID;
  /// then `--lease FILE` where the lease is not in SHARED.
  static func main(_ arguments: [String], environment: (String) -> String?) -> Int32 {
    let usage = "usage: batch-step --state-dir DIR (--run ID | --map FILE) [--lease FILE]"
    guard arguments.count == 4 || arguments.count == 6 && arguments[4] == "--lease", arguments[0] == "--state-dir",
      arguments[1].hasPrefix("/")
    else { return complain(usage, 2) }
    umask(0o077)
    let text: String
    switch arguments[2] {
    case "--run": text = arguments[3]
    case "--map":
      let map = Files.read(arguments[3], limit: 4 << 20) ?? []
      let lines = String(decoding: map, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
      guard let index = environment("SLURM_ARRAY_TASK_ID").flatMap({ Int($0) }), lines.indices.contains(index) else {
        return complain("\(arguments[3]) names no run for this task of the array", 66)
      }
      text = String(lines[index])
    default: return complain(usage, 2)
    }
    guard let id = RunDirectory.id(fromHexadecimal: text) else { return complain("\(text) is no run", 2) }
    let files = BatchFiles(sharedDirectory: arguments[1], leaseFile: arguments.count > 4 ? arguments[5] : nil)
    return run(id, files: files, place: place(environment))
  }

  private static func run(_ id: UInt64, files: BatchFiles, place: String) -> Int32 {
    guard let request = files.request(id) else { return complain("there is no request for this run any more", 66) }
    do throws(SystemFailure) {
      let now = csupervisor_boottime_ns()
      guard let claim = try files.claim(id, place: place) else {
        return complain("the run was started before, or was given up: nothing to do", startedBefore)
      }
      defer { close(claim) }
      let step = try BatchStep(request, files: files, claim: claim, place: place, now: now)
      step.checkDeadlines()
      try step.loop()
      return step.exitCode
    } catch {
      return complain("\(error)", 74)
    }
  }

  private static func complain(_ text: String, _ code: Int32) -> Int32 {
    try? Files.writeAll(2, Array("fubini batch step: \(text)\n".utf8))
    return code
  }

  /// Where this step runs, for people who read the claim.
  private static func place(_ environment: (String) -> String?) -> String {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, 255)
    let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let job = environment("SLURM_JOB_ID") else { return host }
    return "\(environment("SLURMD_NODENAME") ?? host) job \(job)"
  }

  private init(
    _ request: SupervisedRun, files: BatchFiles, claim: Int32, place: String, now: UInt64
  ) throws(SystemFailure) {
    self.place = place
    self.request = request
    self.files = files
    self.claim = claim
    directory = files.directory(request.id)
    begin = now
    // The claim shows that the step lives to begin with; most runs are over before the first beat.
    nextBeat = now + Self.beatIntervalNs
    lease = WatchedLease(value: files.leaseValue(), now: now)
    // Ten looks in each limit, and never busier than ten a second.
    let limit = request.disconnectLimitMs > UInt64.max / 100_000 ? UInt64.max : request.disconnectLimitMs * 100_000
    lookIntervalNs = min(max(limit, 100_000_000), Self.beatIntervalNs)
    try super.init(
      stateDirectory: files.sharedDirectory, groups: ControlGroups(.none, stateDirectory: files.sharedDirectory),
      enclosure: Enclosure())
    nextDeadline = 0
  }

  override var isFinished: Bool { isOver }
  override func currentLease() -> any LeaseView { lease }

  override func announce(_ event: SupervisorReply, _ id: UInt64, _ body: [UInt8]) {
    if event == .started { files.tell(.started, id) }
  }

  override func ended(_ end: RunEnd, _ id: UInt64) {
    isOver = true
    switch end.reason {
    case .notStarted: exitCode = 127
    case .fenced: exitCode = 128 + SIGKILL
    default:
      let status = end.waitStatus
      exitCode = csupervisor_exited(status) != 0 ? csupervisor_exit_code(status) : 128 + csupervisor_signal(status)
    }
    files.tell(.ended, id)
  }

  /// The executor asks by SIGUSR1; SIGTERM and SIGINT are the batch system's own (a limit, a preemption, an administrator).
  override func received(signal: Int32) {
    guard signal == SIGUSR1 || signal == SIGTERM || signal == SIGINT else { return }
    let reason: RunEnd.Reason = signal == SIGUSR1 ? .cancelled : .terminated
    if isLaunched {
      cancel(request.id, graceMs: request.graceMs, reason: reason)
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
    run.environment += files.takeSecrets(run.id)
    PlainEnvironment.merge(Self.placement, into: &run.environment)
    launch(run, in: directory, lock: claim, place: place, now: now)
  }

  private func giveUp(_ end: RunEnd) {
    isLaunched = true
    _ = files.takeSecrets(request.id)
    record(end, of: request.id)
  }
}
