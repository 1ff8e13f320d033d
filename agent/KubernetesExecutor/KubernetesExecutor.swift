internal import DequeModule
public import Execution
public import FederationModel
internal import Glibc
public import KubernetesAPI
public import Logging
internal import ProcessExecutor

/// Runs work as Jobs of a Kubernetes cluster (docs/adr/0033-kubernetes.md).
///
/// The truth about a run is in its Job and its pod, as watches tell them; what the agent remembers is rebuilt from a list. Nothing is
/// asked for each run while it lives: its whole life takes six requests (Secret, Job, log; finalizer, Job, Secret).
public actor KubernetesExecutor: Executor {
  nonisolated let configuration: KubernetesExecutorConfiguration
  nonisolated let client: KubernetesClient
  nonisolated let files: any PodFiles
  nonisolated let mark: String
  nonisolated let observers = Observers()
  nonisolated let trash: Trash
  nonisolated let logger: Logger
  nonisolated let writes = Limiter(limit: 16)
  /// Thousands of runs may end in one moment: their logs are read a few at a time.
  nonisolated let reads = Limiter(limit: 16)
  let clock = ContinuousClock()

  var runs: [RunID: TrackedRun] = [:]
  /// Their objects are being deleted: a late word of a watch does not bring them back.
  var leaving: [RunID: Leaving] = [:]
  /// Seconds that pods were given when they were deleted.
  var toldGrace: [RunID: Int64] = [:]
  /// Streams of logs that are open.
  var logs: [LogKey: LogCopy] = [:]
  /// Those that have asked for a stream while all were in use.
  var logsWaiting: Set<LogKey> = []
  /// Of gangs, whose members write into one log.
  var gangLogs: [RunID: GangLog] = [:]
  /// Volume claims of workflows, by UID.
  var claims: [String: ClaimFacts] = [:]
  /// When the last ones of a workflow went.
  var claimsRemovedAt: [String: ContinuousClock.Instant] = [:]
  /// Which collections have told a complete list, as `NAMESPACE/RESOURCE`.
  var synchronized: Set<String> = []
  /// Which of them do not answer, and why.
  var silent: [String: String] = [:]
  var version: KubernetesVersion?
  var versionProblem: String?
  var capacity = ClusterCapacity()
  /// What quotas of namespaces leave; by namespace, of those that have any.
  var quotas: [String: ResourceQuota] = [:]
  /// Why something may not be asked; by what.
  var refusals: [String: String] = [:]
  /// Those of the last while: what a watch still tells of them is old.
  var forgotten: Set<RunID> = []
  var forgottenInOrder: Deque<RunID> = []
  static let forgottenMax = 20_000
  private var loops: [Task<Void, Never>] = []
  private var inventoryLoop: Task<Void, Never>?

  /// What is left to be done for a run that is forgotten.
  struct Leaving: Sendable {
    var namespace: String
    /// Of its Job and of its Secret; nil: it is looked for, and deleted if it is ours.
    var uid: String?
    var secretUID: String?
    /// Pods that no Job owns any more: their Job was deleted so that they stay.
    var orphans: [PodFacts] = []
    var due: ContinuousClock.Instant
    var failures = 0
  }

  static let tickInterval = Duration.seconds(1)
  private static let inventoryInterval = Duration.seconds(30)
  private static let startPatience = Duration.seconds(10)

  /// Makes the agent's own directories and begins to watch. An API server that is down is no reason to fail: what runs there goes on.
  ///
  /// - Throws: `.resourceExhausted`, `.internal` when a directory cannot be made.
  public init(
    configuration: KubernetesExecutorConfiguration, client: KubernetesClient, files: any PodFiles, logger: Logger
  ) throws(FederationError) {
    self.configuration = configuration
    self.client = client
    self.files = files
    self.logger = logger
    mark = configuration.mark
    let directory = configuration.stateDirectory
    for path in [directory, directory + "/runs"] { try HostFiles.makeDirectory(path) }
    trash = try Trash(directory: directory + "/trash")
  }

  /// Begins to observe; called once, before anything else.
  public func start() {
    guard loops.isEmpty else { return }
    loops = [
      Task { [weak self] in
        while !Task.isCancelled {
          guard let self else { return }
          await tick()
          try? await Task.sleep(for: Self.tickInterval)
        }
      }
    ]
    inventoryLoop = Task { [weak self] in
      while !Task.isCancelled {
        guard let self else { return }
        let isKnown = await refreshInventory()
        try? await Task.sleep(for: isKnown ? Self.inventoryInterval : .seconds(2))
      }
    }
    for namespace in configuration.allNamespaces {
      loops += watches(of: namespace)
      if configuration.workflowClaims != nil { loops.append(claimWatch(of: namespace)) }
    }
  }

  public nonisolated func workspace(for id: RunID) -> RunWorkspace {
    Self.workspace(for: id, in: configuration.stateDirectory)
  }

  /// - Parameter directory: `KubernetesExecutorConfiguration.stateDirectory`.
  public static func workspace(for id: RunID, in directory: String) -> RunWorkspace {
    let directory = "\(directory)/runs/\(id.hexadecimal)"
    return RunWorkspace(directory: directory, root: directory + "/root")
  }

  public nonisolated func observe() -> AsyncStream<RunObservation> { observers.open() }

  public func prepare(_ run: RunRequest) async throws -> RunWorkspace {
    let workspace = workspace(for: run.id)
    if let shortage = diskShortage {
      throw FederationError(.resourceExhausted, "nothing is started here: \(shortage)", retryAfter: .seconds(5))
    }
    let layout = try RunLayout(run)
    try HostFiles.makeDirectory(workspace.directory)
    try HostFiles.makeDirectory(workspace.root, mode: 0o755)
    for directory in layout.directories { try HostFiles.makeDirectories(directory, below: workspace.root) }
    return workspace
  }

  public func renewLease(boottimeNanoseconds: UInt64) async throws {
    files.renewLease(boottimeNanoseconds: boottimeNanoseconds)
  }

  /// Kubernetes asks the probes of its containers, and says so of the pod.
  public func isReady(_ id: RunID) async -> Bool {
    guard let run = runs[id], !run.isOver, let pod = run.logPod(nil) else { return false }
    return !pod.isGone && !pod.isDeleting && pod.isMainRunning && pod.conditions["Ready"]?.isTrue == true
      && pod.address != nil
  }

  public func address(of id: RunID) async -> String? { runs[id]?.logPod(nil)?.address }

  /// The room for the files of runs, which all come through here.
  var disk: DiskRoom? {
    guard let room = HostFiles.room(at: configuration.stateDirectory) else { return nil }
    return DiskRoom(free: ByteCount(room.free), reserve: min(ByteCount.gibibytes(1), ByteCount(room.size / 20)))
  }

  var diskShortage: String? {
    guard let disk, disk.isFull else { return nil }
    return "the agent's disk is full (\(disk.free) free in its state directory, \(disk.reserve) needed)"
  }

  /// Once a second: what was put off, and what only time decides.
  func tick() async {
    let now = clock.now
    for id in runs.keys.sorted() {
      guard let run = runs[id], !run.isOver else { continue }
      if let due = run.deletionDue, now >= due { await deleteLiving(id) }
      consider(id)
    }
    for (id, leaving) in leaving.sorted(by: { $0.key < $1.key }) where now >= leaving.due { await remove(id) }
    for key in logsWaiting.sorted() where logs.count < Self.streamsMax {
      logsWaiting.remove(key)
      if let run = runs[key.run], !run.isOver, let pod = run.logPod(key.rank) { followLog(key, pod) }
    }
  }

  /// Lets go of everything; Jobs go on. Nothing else may be called afterwards.
  public func close() async {
    for loop in loops { loop.cancel() }
    for copy in logs.values { copy.task.cancel() }
    loops = []
    pauseInventory()
    observers.finish()
  }

  /// What the cluster has is not asked for any more: for those who count requests.
  func pauseInventory() { inventoryLoop?.cancel() }
}
