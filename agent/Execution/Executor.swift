public import FederationModel

/// What runs the work of one cluster: supervised processes, Slurm, Kubernetes, or nothing at all (`NullExecutor`).
///
/// The life of a run, as the agent drives it. Everything is idempotent, because the agent may die between any two steps and
/// take them again:
///
/// 1. `prepare(_:)` makes the run's files. The agent then writes its input artifacts into the `RunWorkspace`.
/// 2. `submit(_:)` hands runs over. A run that was submitted before, even to an earlier process, is not started again (I1).
/// 3. `observe()` tells phases until a terminal one. Phases never go backwards; one may be told twice, also the terminal one.
/// 4. The agent reads logs, result and outputs from the workspace, and journals the end.
/// 5. `forget(_:)` deletes every trace, once the control plane holds the end.
///
/// After a restart the agent calls `reattach(known:)` before anything else.
public protocol Executor: Sendable {
  /// Makes the run's private directories, or finds those that are there.
  ///
  /// - Throws: `.resourceExhausted` (no space), `.invalidArgument` (a path that is not absolute), `.internal`.
  func prepare(_ run: RunRequest) async throws -> RunWorkspace

  /// Where a run's files are, whether or not they exist. Pure.
  func workspace(for id: RunID) -> RunWorkspace

  /// Accepts runs, in order. Returning means that the executor has them and that `observe()` will tell every one's end.
  ///
  /// A run that can never start (unknown image, no such working directory) is accepted too, and ends in `.error` with the
  /// reason. A batch is cheaper than its runs one by one.
  /// - Throws: `.unavailable` when nothing can be taken at present; whatever part was taken is then taken once, so the same
  ///   batch may simply be submitted again.
  func submit(_ runs: [RunRequest]) async throws

  /// Lets runs wait in the cluster's own queue while their inputs are still on their way, where that is worth it: so that a run
  /// waits for the longer of the two, and not for their sum. A place in a queue is all they get: no program starts before
  /// `submit` has named its run, and nothing that such a place costs is held for longer than the executor's short patience.
  /// Undone by `cancel` and `forget`, and of no consequence when it is lost.
  ///
  /// - Returns: the runs that need not be offered again.
  func queueAhead(_ runs: [AwaitedRun]) async -> [RunID]

  /// Asks for a run's end: a signal, then SIGKILL after `grace`. The end is observed; a run that has ended, or is unknown, is
  /// left alone. A second call with a shorter grace shortens it.
  ///
  /// - Parameter signal: what the program has asked to be told by, should it have to leave; nil: SIGTERM, as at every other end.
  func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws

  /// More is held for these runs: each may go on until so long after its start. An end only moves later, so that a repetition, and one
  /// that comes after a longer one, change nothing; a run that has ended, or is unknown, is left alone.
  ///
  /// - Throws: when it may not have arrived: it is then said again.
  func extend(_ slices: [RunID: Duration]) async throws

  /// Whether it can do that for every run that it takes: then runs may have slices that are shorter than their bounds.
  func canExtend() async -> Bool

  /// Whether a daemon that runs can be used: see `RunFeature.daemons`.
  func isReady(_ id: RunID) async -> Bool

  /// Where runs of this cluster reach a daemon that is ready; nil: where the inventory says (`runAddress`), or by loopback.
  func address(of id: RunID) async -> String?

  /// Everything that happens to runs from now on. One stream at a time: a new one ends the one before.
  ///
  /// Never drops a phase. Holds at most a few entries per run that is not forgotten, which bounds it by the cluster's slots.
  func observe() -> AsyncStream<RunObservation>

  /// The truth about each of `known`, and about every other run that carries this agent's mark (the agent decides whether
  /// to cancel those). A known run of which there is no trace is `.lost` when it was started and provably lives no more, and
  /// `.bound` when it was never started, so that submitting it is safe.
  func reattach(known: [RunID]) async throws -> [RunObservation]

  /// Takes the root of an ended run away, for good or for the next run; its logs and records stay.
  ///
  /// The executor's work because nobody else knows whether a root is in use again: it must never be emptied by its path.
  func discardRoot(of run: RunID) async

  /// Deletes a run's files. A run that is still alive is not touched.
  func forget(_ ids: [RunID]) async throws

  /// What the cluster has and can do. Cheap: may be called every few seconds.
  func inventory() async -> ClusterInventory

  /// The agent's session with the control plane was alive at `boottimeNanoseconds` (CLOCK_BOOTTIME, when the heartbeat that
  /// was answered had been sent). Fences runs that have a disconnect limit; see `RunRequest.disconnectLimit`.
  func renewLease(boottimeNanoseconds: UInt64) async throws
}

/// A run whose inputs are on their way.
public struct AwaitedRun: Hashable, Sendable, Codable {
  public var request: RunRequest
  /// Until they are expected to be there.
  public var inputsIn: Duration
  public init(request: RunRequest, inputsIn: Duration) {
    self.request = request
    self.inputsIn = inputsIn
  }
}

extension Executor {
  public func isReady(_ id: RunID) async -> Bool { false }
  public func address(of id: RunID) async -> String? { nil }
  /// A cluster without a queue of its own has no place to give.
  public func queueAhead(_ runs: [AwaitedRun]) async -> [RunID] { runs.map(\.request.id) }
  public func extend(_ slices: [RunID: Duration]) async throws {}
  public func canExtend() async -> Bool { false }
  public func cancel(_ id: RunID, grace: Duration) async throws { try await cancel(id, grace: grace, signal: nil) }
  public func submit(_ run: RunRequest) async throws { try await submit([run]) }
  public func forget(_ id: RunID) async throws { try await forget([id]) }
}

/// One run, ready to be executed.
public struct RunRequest: Hashable, Sendable, Codable {
  public var id: RunID
  /// The attempt's number. Informative here: the run id alone is the key.
  public var epoch: Int32
  public var project: ProjectName
  public var spec: TaskSpec
  /// Artifacts that are bound read-only instead of being written into the workspace. At most 256.
  public var inputs: [StagedInput]
  /// Without a renewed lease for so long, the fence beside the run ends it. nil: never (`onDisconnect: wait`).
  public var disconnectLimit: Duration?
  /// Upper bound of the program's wall time. nil: none.
  public var walltime: Duration?
  /// How much of its wall time is held for it: it is ended there unless `Executor.extend` says that it may go on. nil: as long as its
  /// bounds allow.
  public var slice: Duration?
  /// Values that must reach the program and appear in no file that outlives it, in no argument and in no log (I9).
  /// They are added to the environment.
  public var secrets: [EnvironmentVariable]
  /// The files of `spec.fileVolumes`, each below the number of its volume. Like `secrets` they are in no file that outlives the run.
  public var privateFiles: [RunFile] = []
  /// Of `privateFiles` together, bytes.
  public static let privateBytesMax = 3 << 20

  private enum CodingKeys: String, CodingKey { case id, epoch, project, spec, inputs, disconnectLimit, walltime, slice }

  public init(
    id: RunID, epoch: Int32, project: ProjectName, spec: TaskSpec, inputs: [StagedInput] = [],
    disconnectLimit: Duration? = nil, walltime: Duration? = nil, slice: Duration? = nil,
    secrets: [EnvironmentVariable] = []
  ) {
    self.slice = slice
    self.id = id
    self.epoch = epoch
    self.project = project
    self.spec = spec
    self.inputs = inputs
    self.disconnectLimit = disconnectLimit
    self.walltime = walltime
    self.secrets = secrets
  }

  /// Secrets are never encoded, so a decoded request has none.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    id = try values.decode(RunID.self, forKey: .id)
    epoch = try values.decode(Int32.self, forKey: .epoch)
    project = try values.decode(ProjectName.self, forKey: .project)
    spec = try values.decode(TaskSpec.self, forKey: .spec)
    inputs = try values.decode([StagedInput].self, forKey: .inputs)
    disconnectLimit = try values.decodeIfPresent(Duration.self, forKey: .disconnectLimit)
    walltime = try values.decodeIfPresent(Duration.self, forKey: .walltime)
    slice = try values.decodeIfPresent(Duration.self, forKey: .slice)
    secrets = []
  }
}

/// A small file that is made for a run in the memory of the machine that runs it.
public struct RunFile: Hashable, Sendable, Codable {
  /// Relative. With a slash at its end: a directory.
  public var path: String
  public var mode: UInt32
  public var bytes: [UInt8]
  public init(path: String, mode: UInt32 = 0o644, bytes: [UInt8] = []) {
    self.path = path
    self.mode = mode
    self.bytes = bytes
  }
}

/// A file or directory of the host that a run sees, read-only, at a path of its own.
public struct StagedInput: Hashable, Sendable, Codable {
  /// Absolute, on the agent's host.
  public var hostPath: String
  /// Absolute, as the run sees it.
  public var path: String
  /// Of a Kubernetes cluster: where it is instead of at `hostPath`.
  public var claim: Claim?

  /// A directory of a volume claim.
  public struct Claim: Hashable, Sendable, Codable {
    public var name: String
    public var namespace: String
    /// Empty: its root.
    public var subPath: String
    public init(name: String, namespace: String, subPath: String = "") {
      self.name = name
      self.namespace = namespace
      self.subPath = subPath
    }
  }

  public init(hostPath: String, path: String, claim: Claim? = nil) {
    self.hostPath = hostPath
    self.path = path
    self.claim = claim
  }
}

/// The files of one run on the agent's host.
///
/// Programs write below `root` whatever they like, symbolic links included: read outputs through `OutputFile` only.
public struct RunWorkspace: Hashable, Sendable {
  /// The run's directory; belongs to the agent.
  public var directory: String
  /// The run's private root. The path `/mnt/out` of the run is `root + "/mnt/out"` here. What the agent writes
  /// there before `submit` the program finds; its user may write all of it.
  public var root: String
  /// Standard output and error in the order of arrival. Grows while the run lives.
  public var log: String { directory + "/output.log" }
  /// The last 256 KiB of standard output; there once the run has ended, if the task captures its result.
  public var standardOutput: String { directory + "/stdout" }
  /// Milliseconds of the program's wall time that are held for it, where whoever ends it asks for them: the digits alone.
  public var slice: String { directory + "/slice" }
  /// How the program has asked to be told that it must leave, where whoever tells it asks for that: the number of a signal, a space, and
  /// milliseconds from it to SIGKILL. There once it must.
  public var farewell: String { directory + "/farewell" }

  public init(directory: String, root: String) {
    self.directory = directory
    self.root = root
  }
}

/// What is known about a run at one moment.
public struct RunObservation: Hashable, Sendable, Codable {
  public var id: RunID
  /// `.bound` (never started), `.queued`, `.running`, or terminal. `.running` comes again when `logBytes` has grown.
  public var phase: RunPhase
  /// Of the program, 128 + n when signal n ended it; nil when it never ran.
  public var exitCode: Int32?
  /// Why, for people. Empty on success.
  public var message: String
  /// What really ran: `host`, or a root file system's name. Set from `.running` on.
  public var runsAs: String?
  /// Bytes in the run's log. At a terminal phase it is final.
  public var logBytes: Int64
  /// The program's wall time; set at a terminal phase if it ran.
  public var wallTime: Duration?
  /// At a terminal phase: it was ended because what was held for it was used up.
  public var isUnpaid: Bool {
    get { unpaid ?? false }
    set { unpaid = newValue ? true : nil }
  }
  /// Left out of what is encoded where it says nothing.
  private var unpaid: Bool?
  /// At a terminal phase, where it did not end by itself.
  public var cause: RunEndCause?

  public init(
    id: RunID, phase: RunPhase, exitCode: Int32? = nil, message: String = "", runsAs: String? = nil,
    logBytes: Int64 = 0, wallTime: Duration? = nil, isUnpaid: Bool = false, cause: RunEndCause? = nil
  ) {
    self.cause = cause
    unpaid = isUnpaid ? true : nil
    self.id = id
    self.phase = phase
    self.exitCode = exitCode
    self.message = message
    self.runsAs = runsAs
    self.logBytes = logBytes
    self.wallTime = wallTime
  }
}
