public import Execution
public import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor

/// Runs work as jobs of a Slurm cluster, from a login node and without root (docs/adr/0009-slurm.md).
///
/// The truth about a run is in its own files on the shared file system, which its batch step writes; Slurm's commands start and
/// stop jobs and explain them. One `squeue` for all jobs each interval, one directory read twice a second for starts and ends.
public actor SlurmExecutor: Executor {
  nonisolated let configuration: SlurmExecutorConfiguration
  nonisolated let files: BatchFiles
  nonisolated let records: RunFiles
  nonisolated let commands: SlurmCommands
  nonisolated let preparation: RunPreparation
  nonisolated let observers = Observers()
  nonisolated let userID = geteuid()
  nonisolated let mark: String
  nonisolated let gangProgram: String
  private let fixedNotices: [String]
  let clock = ContinuousClock()

  var runs: [RunID: TrackedRun] = [:]
  /// Those whose end is wanted and has not come, and those that were told to run: what is looked at twice a second must not be
  /// looked for among thousands that wait.
  var cancelling: Set<RunID> = []
  var running: Set<RunID> = []
  /// The runs of job arrays, by index, as far as they have been needed.
  var arrays: [JobName: [RunID]] = [:]
  /// Runs that are being given a place in the queue, before their inputs are here: their submission waits for that.
  var queueing: [RunID: Task<Void, Never>] = [:]
  /// How often a job began before its run's inputs were here, and gave its nodes back.
  var putBackCount = 0
  /// How many runs of a submission have files still, once one of them was forgotten.
  var remaining: [JobName: Int] = [:]
  var backoff: Backoff
  var health = ControllerHealth()
  private var firstLook: Result<Void, any Error>?
  /// Whether the first questions were answered, or refused.
  var hasLooked: Bool { firstLook != nil }
  /// Of slurmrestd, where its socket is configured: the version of its answers once that is found, when it may be asked again
  /// after it has failed, and why it failed; nil while it answers.
  var restVersion: String?
  var restBackoff: Backoff
  var restDue: ContinuousClock.Instant
  var restProblem: String?
  /// Whether Slurm keeps accounts and they are to be used; false until the controller has said so.
  var hasAccounting = false
  var accountingBackoff: Backoff
  var accountingDue: ContinuousClock.Instant
  /// Why accounting does not answer; nil while it does.
  var accountingProblem: String?
  var lastPollAt: ContinuousClock.Instant?
  var isPollWanted = false
  var runningPoll: Task<Void, any Error>?
  var logCursor = 0
  var lastLogLookAt: ContinuousClock.Instant?
  var pendingSignals: Set<RunID> = []
  var pendingKills: Set<RunID> = []
  /// Jobs with our mark whose runs are over: their targets and names.
  var leftovers: [String: String] = [:]
  /// When Slurm was asked for the answer that named them.
  var leftoversAskedAt: ContinuousClock.Instant?
  var partitions: [PartitionState] = []
  var capacity = Resources.zero
  var history = WaitHistory()
  var arraySizeMax: Int
  /// Whether the controller has told its limits.
  var areLimitsKnown = false
  private var loops: [Task<Void, Never>] = []

  /// Between two looks at the events: short while things happen, so that what follows an end follows soon.
  static let tickInterval = Duration.milliseconds(500)
  static let busyTickInterval = Duration.milliseconds(100)
  /// How long the agent's start waits for Slurm.
  private static let startPatience = Duration.seconds(5)

  /// Makes the shared directories, looks at the cluster once, and begins to observe. A controller that is down or hangs is no
  /// reason to fail or to wait: runs that are there go on, and need their leases.
  ///
  /// - Throws: `.invalidArgument` for a configuration that cannot be, `.failedPrecondition` when Slurm's commands or a sandbox
  ///   that is asked for are missing.
  public init(configuration: SlurmExecutorConfiguration) async throws {
    let configuration = try configuration.validated()
    self.configuration = configuration
    mark = OwnershipMark.text(federationID: configuration.federationID, cluster: configuration.cluster)
    let shared = configuration.sharedDirectory
    files = BatchFiles(sharedDirectory: shared, leaseFile: configuration.leaseFile)
    commands = SlurmCommands(configuration: configuration.slurmConfiguration)
    gangProgram = Gang.program(
      configuration.programs, path: getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin")
    backoff = Backoff(interval: configuration.pollInterval)
    restBackoff = backoff
    restDue = clock.now
    accountingBackoff = Backoff(interval: configuration.pollInterval)
    accountingDue = clock.now
    arraySizeMax = configuration.arraySize
    do throws(SystemFailure) { try files.makeDirectories() } catch {
      throw FederationError(.failedPrecondition, "the shared directory cannot be made: \(error)", cause: error)
    }
    for name in ["jobs", "sandbox"] { try HostFiles.makeDirectory("\(shared)/\(name)") }
    records = RunFiles(sharedDirectory: shared, mark: mark, trash: try Trash(directory: shared + "/trash"))
    (preparation, fixedNotices) = try Self.preparation(configuration)
    startLoops()
    let began = clock.now
    while firstLook == nil, clock.now - began < Self.startPatience { try await Task.sleep(for: .milliseconds(10)) }
    if case .failure(let error) = firstLook {
      close()
      throw error
    }
  }

  /// - Returns: after how long to look again; nil when Slurm's commands are missing.
  private func lookFirst() async -> Duration? {
    do {
      try await learnLimits()
      return await refreshInventory()
    } catch {
      firstLook = .failure(error)
      return nil
    }
  }

  /// The first questions that everything else needs have been answered, or have failed.
  func hasLookedNow() { if firstLook == nil { firstLook = .success(()) } }

  private func startLoops() {
    loops = [
      Task { [weak self] in
        while !Task.isCancelled {
          guard let isBusy = await self?.tick() else { return }
          try? await Task.sleep(for: isBusy ? Self.busyTickInterval : Self.tickInterval)
        }
      },
      Task { [weak self] in
        var pause = await self?.lookFirst()
        while !Task.isCancelled, let wait = pause {
          try? await Task.sleep(for: wait)
          pause = await self?.refreshInventory()
        }
      },
    ]
  }

  /// What makes requests of runs, and what people should know about it.
  private static func preparation(
    _ configuration: SlurmExecutorConfiguration
  ) throws(FederationError) -> (RunPreparation, [String]) {
    let directory = configuration.sharedDirectory + "/sandbox"
    let identity: RunIdentity? = geteuid() == 0 ? .nobody : nil
    let etc = try PreparedConfiguration.write(
      in: directory, identity: identity ?? .init(user: geteuid(), group: getegid()))
    var notices: [String] = []
    var probe: SandboxProbe?
    if configuration.sandbox != .none {
      do throws(FederationError) {
        probe = try SandboxProbe.run(etc: etc, scratch: directory + "/probe", identity: identity)
      } catch {
        if configuration.sandbox == .bubblewrap { throw error }
        notices.append("runs are not sandboxed here: \(error.publicMessage)")
      }
    } else {
      notices.append("runs are not sandboxed here: they see what their Unix user sees")
    }
    if probe == nil, geteuid() == 0 {
      // They must reach their own directories as another user. Every file beside these is its owner's alone.
      for path in ["", "/runs"] { chmod(configuration.sharedDirectory + path, 0o711) }
    }
    var preparation = RunPreparation(
      directory: configuration.sharedDirectory, images: configuration.images,
      rootFileSystems: configuration.rootFileSystems,
      allowedHostPaths: configuration.allowedHostPaths, probe: probe, sharesNetwork: true,
      account: RunAccount(identity: identity, preparedConfiguration: etc), logLimit: configuration.logLimit,
      apptainer: configuration.apptainer)
    preparation.devices = Self.devices
    preparation.claims = configuration.claims
    if probe != nil { preparation.helper = HelperProgram(path: configuration.agentBinary) }
    return (preparation, notices)
  }

  /// GPUs as drivers name them; which of them a job may use is Slurm's business.
  private static let devices =
    (0..<16).map { "/dev/nvidia\($0)" } + [
      "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/kfd", "/dev/dri",
    ]

  public nonisolated func workspace(for id: RunID) -> RunWorkspace {
    let directory = records.directory(id)
    return RunWorkspace(directory: directory, root: directory + "/root")
  }

  public nonisolated func observe() -> AsyncStream<RunObservation> { observers.open() }

  public func prepare(_ run: RunRequest) async throws -> RunWorkspace {
    let workspace = workspace(for: run.id)
    try preparation.prepare(run, in: workspace)
    return workspace
  }

  public func renewLease(boottimeNanoseconds: UInt64) async throws {
    do throws(SystemFailure) { try files.renewLease(boottimeNanoseconds) } catch {
      throw FederationError(
        .resourceExhausted, "the lease in the shared directory cannot be written", cause: error, retryAfter: .seconds(1)
      )
    }
  }

  public func inventory() async -> ClusterInventory {
    var notices = fixedNotices
    if let shortage = preparation.diskShortage { notices.append(shortage) }
    if let problem = health.problem { notices.append("Slurm does not answer: \(problem)") }
    if let restProblem { notices.append("slurmrestd does not answer, squeue is asked instead: \(restProblem)") }
    if let accountingProblem {
      notices.append(
        "Slurm's accounting does not answer, so that jobs which the controller has forgotten are judged by their files "
          + "alone: \(accountingProblem)")
    }
    let usable = usablePartitions
    if preparation.account.identity != nil { notices.append(Gang.rootNotice) }
    if putBackCount > 0 {
      notices.append(
        "jobs that began before their inputs were here and gave their nodes back after "
          + "\(configuration.inputWait.components.seconds) s, since this agent started: \(putBackCount)")
    }
    var inventory = ClusterInventory(
      capacity: capacity, slots: configuration.maxJobs, images: configuration.images,
      gpuTypes: Set(usable.flatMap(\.gpus.keys)).subtracting([""]).sorted(), canFence: configuration.canFence,
      queues: true, startsGangs: preparation.account.identity == nil,
      partitions: reportedPartitions, disk: preparation.disk?.rounded, closed: closed, executor: "slurm",
      notices: notices)
    inventory.features = preparation.features
    if inventory.startsGangs, preparation.probe != nil { inventory.features?.insert(.steps) }
    inventory.labels = MachineLabels.own
    if !configuration.claims.named.isEmpty { inventory.claims = Set(configuration.claims.named.keys) }
    return inventory
  }

  /// Why nothing new should come; nil while Slurm answers and has a partition that starts jobs.
  var closed: String? {
    let problem = health.problem.map { ": \($0)" } ?? ""
    guard health.hasAnswered else { return "Slurm has not answered since its agent started" + problem }
    if health.isSilent(now: clock.now) { return "Slurm does not answer" + problem }
    return usablePartitions.isEmpty ? "no partition of its Slurm is up and has usable nodes" : nil
  }

  /// Lets go of everything; jobs go on. Nothing else may be called afterwards.
  public func close() {
    for loop in loops { loop.cancel() }
    loops = []
    runningPoll?.cancel()
    observers.finish()
  }
}
