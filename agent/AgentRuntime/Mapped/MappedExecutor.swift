internal import Execution
internal import FederationModel
internal import Logging
internal import ProcessExecutor
internal import SlurmExecutor
internal import Supervisor
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A Slurm cluster whose agent is one Unix user and whose runs are others': each run goes to the broker of its project's user
/// (docs/adr/0013-mapped-slurm.md).
///
/// Whose a run is, is written down before anything is made for it and never changes, whatever the configuration says later: the
/// word of one user's broker counts for that user's runs alone.
final class MappedExecutor: Executor, RunFileAccess {
  struct Settings: Sendable {
    /// Of a user's executor, but for its directory and its lease.
    var slurm: SlurmExecutorConfiguration
    /// The agent's own directory.
    var stateDirectory: String
    /// What every node sees; holds the lease, and one directory for each user.
    var sharedDirectory: String
    /// Unix users by project.
    var users: [ProjectName: String]
    /// The program of the broker.
    var agentBinary: String
    /// An output that is larger is refused.
    var outputBytesMax: Int64
  }

  /// `sudo`, and the command that the rule of `install --print-sudoers` allows.
  static func command(user: String, agentBinary: String) -> [String] {
    ["sudo", "-n", "-u", user, "--", agentBinary, "broker"]
  }

  private static let usersAtOnce = 16
  private let settings: Settings
  private let owners: RunOwners
  private let directories: UserDirectories
  private let lease: BatchFiles
  /// What the cluster has, asked for by the agent's own user.
  private let cluster: SlurmExecutor
  private let observers = Observers()
  private let clients = Mutex<[String: BrokerClient]>([:])
  private let logger: Logger

  /// - Throws: `.failedPrecondition` for a user that cannot be mapped to; what `SlurmExecutor.init` throws.
  init(_ settings: Settings, logger: Logger) async throws {
    self.settings = settings
    self.logger = logger
    let shared = settings.sharedDirectory
    try POSIXFile.makeDirectories(shared)
    // Users pass through it to their own; nobody else can list it.
    guard chmod(shared, 0o711) == 0 else { throw POSIXFile.failure("Cannot set the mode of \(shared)") }
    directories = try UserDirectories(path: shared + "/users")
    owners = try RunOwners(path: settings.stateDirectory + "/owners")
    lease = BatchFiles(sharedDirectory: shared)
    var own = settings.slurm
    own.sharedDirectory = shared + "/agent"
    own.leaseFile = nil
    cluster = try await SlurmExecutor(configuration: own)
    for user in Set(settings.users.values) { _ = try client(user) }
  }

  // MARK: Users

  /// - Throws: `.failedPrecondition` for a user that is not there, or is the agent's own.
  private func client(_ user: String) throws -> BrokerClient {
    if let client = clients.withLock({ $0[user] }) { return client }
    let number = try UnixUser.numbers(of: user).user
    guard number != geteuid() else {
      throw FederationError(
        .failedPrecondition,
        "no project can be mapped to \(user), who is the agent's own user: its runs could read the agent's key")
    }
    let client = BrokerClient(
      user: .init(name: user, number: number),
      command: Self.command(user: user, agentBinary: settings.agentBinary), observers: observers, logger: logger,
      configuration: { [settings, directories] in
        var configuration = settings.slurm
        configuration.sharedDirectory = try directories.open(for: user) + "/" + UserDirectories.filesName
        configuration.leaseFile = settings.sharedDirectory + "/lease"
        // Every user's executor asks Slurm: together no more often than one would.
        let share = max(1, (Set(settings.users.values).count + 3) / 4)
        configuration.pollInterval = min(.seconds(600), configuration.pollInterval * share)
        return configuration
      },
      begun: { [directories] in try directories.seal(for: user, number: number) },
      onForgotten: { [owners] in owners.forget($0) })
    return clients.withLock { clients in
      if let other = clients[user] { return other }
      clients[user] = client
      return client
    }
  }

  private func client(of run: RunID) throws -> BrokerClient {
    guard let user = owners.user(of: run) else {
      throw FederationError(.notFound, "no Unix user has the run \(run.hexadecimal)")
    }
    return try client(user)
  }

  // MARK: Executor

  func prepare(_ run: RunRequest) async throws -> RunWorkspace {
    guard let user = owners.user(of: run.id) ?? settings.users[run.project] else {
      throw FederationError(.permissionDenied, "project \(run.project) has no Unix user on this cluster")
    }
    try owners.note(run.id, user)
    try await client(user).prepare(run)
    return workspace(for: run.id)
  }

  func workspace(for id: RunID) -> RunWorkspace {
    // Nobody but its owner can look there; the path is for people.
    let user = owners.user(of: id) ?? "nobody"
    let directory = "\(settings.sharedDirectory)/users/\(user)/\(id.hexadecimal)"
    return RunWorkspace(directory: directory, root: directory + "/root")
  }

  func submit(_ runs: [RunRequest]) async throws {
    var parts: [String: [RunRequest]] = [:]
    for run in runs {
      guard let user = owners.user(of: run.id) else {
        throw FederationError(.permissionDenied, "project \(run.project) has no Unix user on this cluster")
      }
      parts[user, default: []].append(run)
    }
    // One user's trouble must not keep the others' runs waiting.
    let failures = await withTaskGroup(of: (any Error)?.self) { group in
      for (user, part) in parts {
        group.addTask { [self] in
          do {
            try await client(user).submit(part)
            return nil
          } catch { return error }
        }
      }
      return await group.reduce(into: [any Error]()) { if let failure = $1 { $0.append(failure) } }
    }
    if let failure = failures.first(where: { ($0 as? FederationError)?.isRetryable != true }) ?? failures.first {
      throw failure
    }
  }

  func queueAhead(_ awaited: [AwaitedRun]) async -> [RunID] {
    var parts: [String: [AwaitedRun]] = [:]
    // Whose a run is, is written down when it is prepared.
    for one in awaited { if let user = owners.user(of: one.request.id) { parts[user, default: []].append(one) } }
    return await withTaskGroup(of: [RunID].self) { group in
      for (user, part) in parts {
        group.addTask { [self] in await (try? client(user))?.queueAhead(part) ?? [] }
      }
      return await group.reduce(into: []) { $0 += $1 }
    }
  }

  func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws {
    guard owners.user(of: id) != nil else { return }
    try await client(of: id).cancel(id, grace: grace, signal: signal)
  }

  func canExtend() async -> Bool { true }

  func extend(_ slices: [RunID: Duration]) async throws {
    var parts: [String: [RunID: Duration]] = [:]
    for (id, slice) in slices { if let user = owners.user(of: id) { parts[user, default: [:]][id] = slice } }
    for (user, part) in parts { try await client(user).extend(part) }
  }

  func observe() -> AsyncStream<RunObservation> { observers.open() }

  /// A user whose broker cannot be had just now keeps the others waiting for a minute at most; that user's runs are told later.
  func reattach(known: [RunID]) async throws -> [RunObservation] {
    var parts: [String: [RunID]] = [:]
    for user in directories.users() { parts[user] = [] }
    var found: [RunObservation] = []
    for id in known {
      // Nothing was made for a run that has no owner.
      if let user = owners.user(of: id) {
        parts[user, default: []].append(id)
      } else {
        found.append(.init(id: id, phase: .bound))
      }
    }
    for id in owners.all() where !known.contains(id) { parts[owners.user(of: id)!, default: []] += [] }
    let everyone = Set(known)
    await withTaskGroup(of: [RunObservation].self) { group in
      let limiter = Limiter(limit: Self.usersAtOnce)
      for (user, ids) in parts {
        group.addTask { [self] in await limiter.run { await reattach(ids, of: user, everyone) } }
      }
      for await part in group { found += part }
    }
    return found
  }

  private func reattach(_ ids: [RunID], of user: String, _ everyone: Set<RunID>) async -> [RunObservation] {
    do {
      let told = try await client(user).reattach(ids) { [owners] id in
        everyone.contains(id) || owners.user(of: id).map { $0 != user } ?? false
      }
      for one in told where owners.user(of: one.id) == nil { try owners.note(one.id, user) }
      return told
    } catch {
      let reason = (error as? FederationError)?.publicMessage ?? "\(error)"
      logger.error("runs cannot be taken up", metadata: ["user": "\(user)", "reason": "\(reason)"])
      return ids.map { RunObservation(id: $0, phase: .queued, message: reason) }
    }
  }

  func discardRoot(of run: RunID) async { try? await client(of: run).send(.discardRoot(run)) }

  func forget(_ ids: [RunID]) async throws {
    var parts: [String: [RunID]] = [:]
    for id in ids { if let user = owners.user(of: id) { parts[user, default: []].append(id) } }
    for (user, part) in parts { try await client(user).forget(part) }
  }

  func inventory() async -> ClusterInventory {
    var inventory = await cluster.inventory()
    for client in clients.withLock({ $0.sorted { $0.key < $1.key }.map(\.value) }) {
      await client.closeIfIdle()
      if let problem = await client.problem { inventory.notices.append(problem) }
      guard let theirs = try? await client.inventory() else { continue }
      // What a user's runs have waited in a queue; of capacity the agent's own question tells.
      inventory.partitions = Self.merge(inventory.partitions, theirs.partitions)
    }
    return inventory
  }

  static func merge(_ own: [Partition], _ theirs: [Partition]) -> [Partition] {
    own.map { partition in
      guard let other = theirs.first(where: { $0.name == partition.name }) else { return partition }
      func samples(_ partition: Partition) -> Int { partition.waits.reduce(0) { $0 + $1.samples } }
      guard samples(other) > samples(partition) else { return partition }
      var merged = partition
      merged.waits = other.waits
      return merged
    }
  }

  func renewLease(boottimeNanoseconds: UInt64) async throws {
    let lease = lease
    try await BlockingWork.run {
      do throws(SystemFailure) { try lease.renewLease(boottimeNanoseconds) } catch {
        throw FederationError(
          .resourceExhausted, "the lease in the shared directory cannot be written", cause: error,
          retryAfter: .seconds(1))
      }
      // Runs of other users watch it; the agent alone writes it.
      chmod(lease.leaseFile, 0o644)
    }
  }

  // MARK: Files

  func place(_ source: OpenedFile, as input: PlacedInput, in run: RunID) async throws {
    try await client(of: run).send(.place(input, run), file: source)
  }

  func openLog(of run: RunID) async throws -> OpenedFile? { try await open(.openLog(run), run) }
  func openResult(of run: RunID) async throws -> OpenedFile? { try await open(.openResult(run), run) }
  func openOutput(_ path: String, of run: RunID) async throws -> OpenedFile? {
    try await open(.openOutput(path, run), run)
  }

  /// nil also for a run that is nobody's any more.
  private func open(_ request: BrokerRequest, _ run: RunID) async throws -> OpenedFile? {
    guard owners.user(of: run) != nil else { return nil }
    return try await client(of: run).open(request)
  }

  func pack(
    _ path: String, archive: ArchiveFormat, level: Int32?, of run: RunID, into directory: String
  ) async throws -> PackedFile? {
    guard let file = try await open(.pack(path, archive, level: level, run), run) else { return nil }
    let limit = settings.outputBytesMax
    return try await BlockingWork.run {
      try ArtifactPacking.keep(file.descriptor, size: file.size, limit: limit, path, into: directory)
    }
  }
}
