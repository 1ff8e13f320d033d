internal import CSupervisor
internal import Execution
internal import FederationModel
internal import Logging
internal import ProcessExecutor
internal import SlurmExecutor
internal import Subprocess
internal import Synchronization
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's side of one Unix user's broker: starts it when it is needed, again after a while when it has ended, and believes of
/// what it says no more than concerns this user's own runs.
actor BrokerClient {
  struct User: Sendable {
    var name: String
    var number: UInt32
  }

  static let startTimeout = Duration.seconds(60)
  /// `sbatch` alone may take a minute, and a batch is several.
  static let commandTimeout = Duration.seconds(300)
  /// Of what moves data.
  static let transferTimeout = Duration.seconds(3600)
  static let idleLimit = Duration.seconds(600)
  static let framesPerSecond = 5000.0
  private static let submissionBytesMax = 8 << 20
  private static let submissionRunsMax = 256

  let user: User
  /// What is executed: `sudo -n -u USER -- AGENT broker`.
  private let command: [String]
  private let configuration: @Sendable () throws -> SlurmExecutorConfiguration
  /// Called once the user's executor has begun. Returns the device of its directory.
  private let begun: @Sendable () throws -> dev_t
  private nonisolated let observers: Observers
  private let logger: Logger

  private enum Link {
    case idle
    case starting(Task<BrokerConnection, any Error>)
    case open(BrokerConnection)
  }
  private var link = Link.idle
  private var failures = 0
  private var retryAt: ContinuousClock.Instant?
  private var restart: Task<Void, Never>?
  private var lastUsedAt = ContinuousClock.now
  private var device: dev_t?
  private var isClosed = false
  /// Why there is no broker; nil while there is one, or none is needed.
  private(set) var problem: String?

  /// Runs that were handed over, or taken up: those that the broker may speak of.
  private nonisolated let attached = Mutex<Set<RunID>>([])
  /// Those whose submission was answered: when a later broker does not know one, it never began.
  private var accepted: Set<RunID> = []
  /// What must be told again to a broker that begins anew.
  private var cancelled: [RunID: (grace: Duration, signal: PreemptionHook.Signal?)] = [:]
  private var forgotten: Set<RunID> = []
  private let onForgotten: @Sendable ([RunID]) -> Void

  init(
    user: User, command: [String], observers: Observers, logger: Logger,
    configuration: @escaping @Sendable () throws -> SlurmExecutorConfiguration,
    begun: @escaping @Sendable () throws -> dev_t, onForgotten: @escaping @Sendable ([RunID]) -> Void
  ) {
    self.user = user
    self.command = command
    self.observers = observers
    self.logger = logger
    self.configuration = configuration
    self.begun = begun
    self.onForgotten = onForgotten
  }

  // MARK: Runs

  func prepare(_ run: RunRequest) async throws { _ = try await ask(.prepare(run)) }

  func submit(_ runs: [RunRequest]) async throws {
    var rest = runs[...]
    while !rest.isEmpty {
      let part = Self.part(of: &rest) { $0.spec.sizeEstimate + $0.privateSizeEstimate }
      // An observation may be quicker than the answer.
      attached.withLock { $0.formUnion(part.map(\.id)) }
      _ = try await ask(.submit(part, secrets: part.map(\.secrets), files: part.map(\.privateFiles)))
      accepted.formUnion(part.map(\.id))
    }
  }

  /// - Returns: the runs that need not be offered again; none when there is no broker at present.
  func queueAhead(_ awaited: [AwaitedRun]) async -> [RunID] {
    var settled: [RunID] = []
    var rest = awaited[...]
    while !rest.isEmpty {
      let part = Self.part(of: &rest) { $0.request.spec.sizeEstimate }
      attached.withLock { $0.formUnion(part.map(\.request.id)) }
      guard case .runs(let ids)? = try? await ask(.queueAhead(part)).reply else { return settled }
      settled += Set(ids).intersection(part.map(\.request.id))
    }
    return settled
  }

  /// As many as one message may hold, at least one.
  private static func part<Element>(of rest: inout ArraySlice<Element>, size: (Element) -> Int) -> [Element] {
    var part: [Element] = []
    var bytes = 0
    while let one = rest.first, part.count < submissionRunsMax {
      bytes += size(one)
      if bytes > submissionBytesMax, !part.isEmpty { break }
      part.append(one)
      rest = rest.dropFirst()
    }
    return part
  }

  /// Remembered, and told to the next broker when there is none at present.
  func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws {
    cancelled[id] = (min(cancelled[id]?.grace ?? grace, grace), signal ?? cancelled[id]?.signal)
    do { _ = try await ask(.cancel(id, graceMilliseconds: grace.milliseconds, signal: signal)) } catch {
      try rethrowUnlessLater(error)
    }
  }

  /// Not remembered: whoever asks does so again until it is done.
  func extend(_ slices: [RunID: Duration]) async throws { _ = try await ask(.extend(slices)) }

  func forget(_ ids: [RunID]) async throws {
    forgotten.formUnion(ids)
    do {
      _ = try await ask(.forget(ids))
      drop(ids)
    } catch { try rethrowUnlessLater(error) }
  }

  private func drop(_ ids: [RunID]) {
    attached.withLock { $0.subtract(ids) }
    accepted.subtract(ids)
    forgotten.subtract(ids)
    for id in ids { cancelled[id] = nil }
    onForgotten(ids)
  }

  private func rethrowUnlessLater(_ error: any Error) throws {
    guard (error as? FederationError)?.isRetryable == true else { throw error }
    scheduleRestart()
  }

  /// What became of `known`, and which other runs of this user there are.
  ///
  /// - Parameter isOthers: whether a run that is not known here belongs to another user, of whom this broker says nothing.
  func reattach(_ known: [RunID], isOthers: @Sendable (RunID) -> Bool) async throws -> [RunObservation] {
    attached.withLock { $0.formUnion(known) }
    accepted.formUnion(known)
    do {
      guard case .observations(let all) = try await ask(.reattach(known)).reply else { throw Self.nonsense(user.name) }
      let wanted = Set(known)
      var found: [RunID: RunObservation] = [:]
      let strays = attached.withLock { attached in
        let strays = all.map(\.id).filter { !attached.contains($0) && !isOthers($0) }.prefix(Self.straysMax)
        attached.formUnion(strays)
        return Set(strays)
      }
      for one in all where wanted.contains(one.id) || strays.contains(one.id) { found[one.id] = Self.plain(one) }
      return known.map { found.removeValue(forKey: $0) ?? RunObservation(id: $0, phase: .bound) } + found.values
    } catch let error as FederationError where error.isRetryable {
      scheduleRestart()
      return known.map { RunObservation(id: $0, phase: .queued, message: error.publicMessage) }
    }
  }
  private static let straysMax = 10_000

  func inventory() async throws -> ClusterInventory? {
    guard case .open(let connection) = link else { return nil }
    guard case .inventory(let inventory) = try await connection.ask(.inventory, timeout: .seconds(5)).reply else {
      throw Self.nonsense(user.name)
    }
    return inventory
  }

  // MARK: Files

  /// - Returns: nil where nothing is.
  func open(_ request: BrokerRequest) async throws -> OpenedFile? {
    guard let file = try await ask(request, timeout: Self.transferTimeout).file else { return nil }
    var status = stat()
    // Nothing else is sent by a broker of ours. A user who is in its place must not hand over what never ends.
    guard fstat(file.descriptor, &status) == 0, status.st_uid == user.number, status.st_dev == device else {
      throw FederationError(
        .failedPrecondition, "what \(user.name) sent is no file of that user on the shared file system")
    }
    return file
  }

  func send(_ request: BrokerRequest, file: OpenedFile? = nil) async throws {
    _ = try await ask(request, file: file, timeout: Self.transferTimeout)
  }

  // MARK: The broker's life

  private func ask(
    _ request: BrokerRequest, file: OpenedFile? = nil, timeout: Duration = BrokerClient.commandTimeout
  ) async throws -> BrokerConnection.Answer {
    let connection = try await connected()
    lastUsedAt = .now
    return try await connection.ask(request, file: file, timeout: timeout)
  }

  private func connected() async throws -> BrokerConnection {
    switch link {
    case .open(let connection): return connection
    case .starting(let task): return try await task.value
    case .idle: break
    }
    if let retryAt, ContinuousClock.now < retryAt, let problem {
      throw FederationError(.unavailable, problem, retryAfter: .seconds(5))
    }
    let task = Task { try await begin() }
    link = .starting(task)
    return try await task.value
  }

  private func begin() async throws -> BrokerConnection {
    do {
      let connection = try BrokerConnection(
        user: user, command: command, rate: Self.framesPerSecond,
        observed: { [weak self] in self?.observed($0) },
        closed: { [weak self] connection, reason in Task { await self?.ended(connection, reason) } })
      do {
        _ = try await connection.ask(.begin(try configuration()), timeout: Self.startTimeout)
        device = try begun()
        try await catchUp(connection)
      } catch {
        let reason = await connection.lastWords()
        connection.close()
        guard let reason, (error as? FederationError)?.code == .unavailable else { throw error }
        throw FederationError(.unavailable, reason, cause: error, retryAfter: .seconds(5))
      }
      link = .open(connection)
      (failures, retryAt, problem) = (0, nil, nil)
      lastUsedAt = .now
      return connection
    } catch {
      link = .idle
      noteFailure((error as? FederationError)?.publicMessage ?? "\(error)")
      throw FederationError(.unavailable, problem!, cause: error, retryAfter: .seconds(5))
    }
  }

  /// Of other users' runs a broker says nothing that counts.
  private nonisolated func observed(_ observation: RunObservation) {
    if attached.withLock({ $0.contains(observation.id) }) { observers.yield(Self.plain(observation)) }
  }

  /// Tells a broker that begins anew what its predecessor knew.
  private func catchUp(_ connection: BrokerConnection) async throws {
    let known = accepted
    if !known.isEmpty {
      guard
        case .observations(let found) = try await connection.ask(
          .reattach(known.sorted()), timeout: Self.commandTimeout
        ).reply
      else { throw Self.nonsense(user.name) }
      for one in found where known.contains(one.id) { observers.yield(Self.plain(one)) }
    }
    for (id, end) in cancelled {
      _ = try await connection.ask(
        .cancel(id, graceMilliseconds: end.grace.milliseconds, signal: end.signal), timeout: Self.commandTimeout)
    }
    if !forgotten.isEmpty {
      let ids = Array(forgotten)
      _ = try await connection.ask(.forget(ids), timeout: Self.commandTimeout)
      drop(ids)
    }
  }

  private func ended(_ connection: BrokerConnection, _ reason: String) {
    guard case .open(let current) = link, current === connection else { return }
    link = .idle
    noteFailure("the broker of \(user.name) has ended: \(reason)")
    if !attached.withLock({ $0.isEmpty }) || !forgotten.isEmpty { scheduleRestart() }
  }

  private func noteFailure(_ text: String) {
    failures += 1
    problem = "work of \(user.name): \(text)"
    retryAt = .now + pause
    logger.warning("no broker", metadata: ["user": "\(user.name)", "reason": "\(text)"])
  }

  private var pause: Duration { min(.seconds(60), .seconds(1) * (1 << min(failures, 6))) * Double.random(in: 0.5...1) }

  /// Runs go on without a broker, but nobody sees them end.
  private func scheduleRestart() {
    guard restart == nil else { return }
    let delay = max(.milliseconds(200), (retryAt ?? .now) - .now)
    restart = Task { [weak self] in
      try? await Task.sleep(for: delay)
      await self?.tryAgain()
    }
  }

  private func tryAgain() async {
    restart = nil
    guard !isClosed else { return }
    if (try? await connected()) == nil { scheduleRestart() }
  }

  /// Ends a broker that nothing is left for. It is started again when it is needed.
  func closeIfIdle() {
    guard case .open(let connection) = link, attached.withLock({ $0.isEmpty }), forgotten.isEmpty,
      ContinuousClock.now - lastUsedAt > Self.idleLimit
    else { return }
    link = .idle
    connection.close()
  }

  /// Nothing else may be called afterwards.
  func close() {
    isClosed = true
    restart?.cancel()
    if case .open(let connection) = link { connection.close() }
    link = .idle
  }

  private static func nonsense(_ user: String) -> FederationError {
    FederationError(.unavailable, "the broker of \(user) answers what was not asked", retryAfter: .seconds(5))
  }

  /// An observation whose numbers and words are bounded.
  private static func plain(_ observation: RunObservation) -> RunObservation {
    var plain = observation
    plain.logBytes = max(0, observation.logBytes)
    plain.message = String(observation.message.prefix(BrokerFailure.messageBytesMax))
    plain.runsAs = observation.runsAs.map { String($0.prefix(256)) }
    return plain
  }
}

extension TaskSpec {
  /// About what it takes in a message, bytes.
  fileprivate var sizeEstimate: Int {
    4096 + (script?.utf8.count ?? 0) + command.reduce(0) { $0 + $1.utf8.count }
      + arguments.reduce(0) { $0 + $1.utf8.count } + environment.reduce(0) { $0 + $1.value.utf8.count }
  }
}

extension RunRequest {
  /// Bytes are numbers in JSON, of up to four characters.
  fileprivate var privateSizeEstimate: Int { privateFiles.reduce(0) { $0 + 4 * $1.bytes.count } }
}
