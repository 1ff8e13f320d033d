internal import CSupervisor
public import Execution
public import FederationModel
internal import Glibc
internal import Supervisor
internal import Synchronization

/// Runs work as sandboxed processes of this machine, through the supervisor beside the agent.
///
/// What a run may not reach, and why, is said at `Sandbox`; limits, the fence and the truth about ends are the supervisor's.
/// With `sandbox: none` a run is a plain process of the agent's user, or of the configured one when the agent is root: it sees
/// the host, its absolute paths are the host's, `RunWorkspace.root` is its working directory's parent only, and such a cluster
/// offers no fence.
public actor ProcessExecutor: Executor {
  nonisolated let configuration: ProcessExecutorConfiguration
  nonisolated let probe: SandboxProbe?
  nonisolated let notices: [String]
  nonisolated let identity: RunIdentity?
  /// Every run has a user that is neither the agent's nor root.
  package nonisolated let runsAsOthers: Bool
  nonisolated let observers = Observers()
  var connection: SupervisorConnection?
  /// Counts connections, so that the end of an earlier one is not taken for the end of `connection`.
  var generation = 0
  /// Whether the kernel kills every run with the supervisor.
  var supervisorIsEnclosed = false
  /// Whether the supervisor ends runs where their slices end; one that an earlier release has started does not.
  var supervisorKnowsSlices = false
  /// What the supervisor says of limits that it cannot enforce.
  var supervisorNotices: [String] = []
  /// Whether the supervisor was asked to leave: its going is then no accident.
  var isDismissed = false
  var isClosed = false
  var queue: SlotQueue
  let preparation: RunPreparation
  private let trash: Trash

  /// Probes the machine; starts the supervisor if none runs.
  /// - Throws: `.failedPrecondition` when no sandbox can be made and `sandbox: none` was not chosen.
  public init(configuration: ProcessExecutorConfiguration) async throws {
    self.configuration = configuration
    queue = SlotQueue(slots: configuration.slots)
    let directory = configuration.stateDirectory
    guard AbsolutePath.normalise(directory) == directory, directory.utf8.count <= 80 else {
      throw FederationError(.invalidArgument, "the state directory must be an absolute path of at most 80 bytes")
    }
    for path in [directory, directory + "/runs", directory + "/sandbox"] { try HostFiles.makeDirectory(path) }
    let preparedConfiguration = try PreparedConfiguration.write(
      in: directory + "/sandbox", identity: configuration.identity)
    let isRoot = geteuid() == 0
    identity = isRoot ? configuration.identity : nil
    runsAsOthers =
      isRoot && configuration.identity.user != 0 && configuration.identities.values.allSatisfy { $0.user != 0 }
    var notices: [String] = []
    var shares = configuration.network == .host
    switch configuration.sandbox {
    case .none:
      probe = nil
      shares = true
      notices.append("runs are not sandboxed here: they see the host's files, processes and network")
      // They must reach their own directories as another user. Every file beside these is its owner's alone.
      if isRoot { for path in [directory, directory + "/runs"] { chmod(path, 0o711) } }
    case .bubblewrap:
      let scratch = directory + "/sandbox/probe"
      probe = try SandboxProbe.run(etc: preparedConfiguration, scratch: scratch, identity: identity)
      if configuration.network == .auto {
        if let address = SandboxProbe.reachableMetadataAddress() {
          notices.append(
            "runs have no network here, because a cloud metadata service answers at \(address): block it for uid "
              + "\(configuration.identity.user) by a firewall rule and set `network: host`")
        } else {
          shares = true
        }
      } else if configuration.network == .host {
        notices.append("runs share the host's network here; the operator answers for the cloud metadata address")
      }
    }
    var preparation = RunPreparation(
      directory: directory, images: configuration.images, rootFileSystems: configuration.rootFileSystems,
      allowedHostPaths: configuration.allowedHostPaths, probe: probe, sharesNetwork: shares,
      account: RunAccount(identity: identity, preparedConfiguration: preparedConfiguration),
      logLimit: configuration.logLimit, processLimit: configuration.processLimit)
    preparation.accounts = try Self.accounts(configuration)
    preparation.claims = configuration.claims
    if probe != nil { preparation.helper = HelperProgram(path: configuration.supervisorExecutable) }
    if probe != nil { preparation.roots = try RootPool(directory: directory + "/sandbox/roots") }
    self.preparation = preparation
    trash = try Trash(directory: directory + "/trash")
    self.notices = notices
    // Also learns which slots are taken.
    _ = try await reattach(known: [])
  }

  /// Of a mapped tenancy: each user sees itself in its own `/etc/passwd`.
  private static func accounts(_ configuration: ProcessExecutorConfiguration) throws -> [ProjectName: RunAccount] {
    guard geteuid() == 0 || configuration.identities.isEmpty else {
      throw FederationError(.failedPrecondition, "only an agent that is root can give each project a user of its own")
    }
    var accounts: [ProjectName: RunAccount] = [:]
    for (project, identity) in configuration.identities {
      let directory = configuration.stateDirectory + "/sandbox/\(identity.user)"
      try HostFiles.makeDirectory(directory)
      accounts[project] = RunAccount(
        identity: identity,
        preparedConfiguration: try PreparedConfiguration.write(in: directory, identity: identity))
    }
    return accounts
  }

  public nonisolated func workspace(for id: RunID) -> RunWorkspace {
    let directory = "\(configuration.stateDirectory)/runs/\(id.hexadecimal)"
    return RunWorkspace(directory: directory, root: directory + "/root")
  }

  public nonisolated func observe() -> AsyncStream<RunObservation> { observers.open() }

  public func prepare(_ run: RunRequest) async throws -> RunWorkspace {
    let workspace = workspace(for: run.id)
    try preparation.prepare(run, in: workspace)
    return workspace
  }

  public func submit(_ runs: [RunRequest]) async throws {
    let (ready, queued) = queue.submitted(runs)
    for id in queued { observers.yield(RunObservation(id: id, phase: .queued, message: "waits for a slot")) }
    guard !ready.isEmpty else { return }
    let refused: [RunRequest]
    let reason: String
    do { (refused, reason) = try await start(ready) } catch {
      Task { await self.settle(ready, returning: false) }
      throw error
    }
    queue.abandoned(refused.lazy.map(\.id))
    guard refused.isEmpty else {
      Task { await startWaiting() }
      throw FederationError(.unavailable, "the supervisor refused: \(reason)", retryAfter: .seconds(1))
    }
  }

  public func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws {
    if queue.isWaiting(id) {
      queue.released(id)
      observers.yield(RunObservation(id: id, phase: .cancelled, message: "cancelled before it started"))
      return
    }
    var writer = WireWriter()
    writer.put(UInt64(bitPattern: id.number))
    writer.put(UInt64(max(0, grace.milliseconds)))
    if let signal { writer.put(UInt32(signal.number)) }
    _ = try await connected().send([(.cancel, writer.bytes)])
  }

  public func canExtend() async -> Bool { supervisorKnowsSlices }

  /// The run's first program has put a file down.
  public func isReady(_ id: RunID) async -> Bool { HostFiles.exists(workspace(for: id).root + ContainerPlan.readyPath) }

  public func extend(_ slices: [RunID: Duration]) async throws {
    let commands = slices.sorted { $0.key < $1.key }.map { id, slice in
      var writer = WireWriter()
      writer.put(UInt64(bitPattern: id.number))
      writer.put(UInt64(max(0, slice.milliseconds)))
      return (SupervisorCommand.extend, writer.bytes)
    }
    let answers = try await connected().send(commands)
    guard answers.allSatisfy({ $0.last?.reply == .done }) else {
      throw FederationError(.failedPrecondition, "the supervisor that runs here does not know slices")
    }
  }

  public func reattach(known: [RunID]) async throws -> [RunObservation] {
    let answers = try await connected().send([(.list, [])])[0]
    var found: [RunID: RunObservation] = [:]
    for answer in answers {
      guard let event = try SupervisorConnection.event(answer.reply, answer.body[...]) else { continue }
      if let observation = observation(event) { found[observation.id] = observation }
    }
    queue.resynchronised(live: Set(found.values.lazy.filter { !$0.phase.isTerminal }.map(\.id)))
    for id in known where found[id] == nil {
      found[id] = RunObservation(id: id, phase: queue.isWaiting(id) ? .queued : .bound)
    }
    if configuration.slots != nil { Task { await startWaiting() } }
    return found.values.sorted { $0.id < $1.id }
  }

  public func discardRoot(of run: RunID) async {
    let workspace = workspace(for: run)
    preparation.roots?.keep(run, root: workspace.root, started: workspace.directory + "/started")
    trash.take(workspace.root)
  }

  public func forget(_ ids: [RunID]) async throws {
    for id in ids where queue.isWaiting(id) { queue.released(id) }
    let commands = ids.map { id in
      var writer = WireWriter()
      writer.put(UInt64(bitPattern: id.number))
      return (SupervisorCommand.forget, writer.bytes)
    }
    let answers = try await connected().send(commands)
    for (id, answer) in zip(ids, answers) where answer.last?.reply == .done {
      await discardRoot(of: id)
      trash.take(workspace(for: id).directory)
    }
  }

  public func inventory() async -> ClusterInventory {
    var notices = notices + supervisorNotices
    if let shortage = preparation.diskShortage { notices.append(shortage) }
    if probe != nil, !supervisorIsEnclosed {
      notices.append(
        "this machine gives the supervisor no PID namespace of its own, so nothing proves that runs die with it: this "
          + "cluster offers no `onDisconnect: replace`")
    }
    var inventory = ClusterInventory(
      capacity: configuration.capacity, slots: configuration.slots, images: configuration.images,
      canFence: probe != nil && supervisorIsEnclosed, disk: preparation.disk?.rounded, executor: "process",
      notices: notices)
    inventory.features = preparation.features
    inventory.labels = MachineLabels.own
    inventory.runAddress = configuration.runAddress
    if !configuration.claims.named.isEmpty { inventory.claims = Set(configuration.claims.named.keys) }
    // Elsewhere nobody would reach them.
    if preparation.sharesNetwork, preparation.features.contains(.containers) { inventory.features?.insert(.daemons) }
    return inventory
  }

  public func renewLease(boottimeNanoseconds: UInt64) async throws {
    do throws(SystemFailure) {
      try Lease(startNanoseconds: boottimeNanoseconds).write(in: configuration.stateDirectory)
    } catch {
      throw FederationError(.resourceExhausted, "the lease cannot be written", cause: error, retryAfter: .seconds(1))
    }
  }

  /// Lets go of the supervisor, which goes on; observers end. Nothing else may be called afterwards.
  public func close() {
    isClosed = true
    connection?.close()
    observers.finish()
  }

  /// Asks the supervisor to leave once nothing runs: for uninstalling and for tests. It is started again only when a later
  /// call needs it.
  public func shutdownSupervisorWhenIdle() async throws {
    let connection = try await connected()
    isDismissed = true
    _ = try await connection.send([(.shutdownWhenIdle, [])])
  }
}

/// Who observes. Ends are also on disk, so an observer that comes late asks `reattach`.
package final class Observers: Sendable {
  private let continuation = Mutex<AsyncStream<RunObservation>.Continuation?>(nil)

  package init() {}

  package func open() -> AsyncStream<RunObservation> {
    let (stream, new) = AsyncStream.makeStream(of: RunObservation.self)
    let previous = continuation.withLock { current in
      let previous = current
      current = new
      return previous
    }
    previous?.finish()
    return stream
  }

  package func finish() { continuation.withLock { $0 }?.finish() }

  package func yield(_ observation: RunObservation) { continuation.withLock { _ = $0?.yield(observation) } }
}
