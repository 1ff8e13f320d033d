internal import Execution
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import Logging
internal import Synchronization

/// The shell around `RunTable`: one loop that takes everything that has happened, makes its consequences durable in one
/// transaction, and only then acts on them.
final class RunDriver: Sendable {
  static let batchMax = 2048
  static let stagingMax = 8
  static let collectionMax = 8

  /// A view for people, renewed after every turn.
  struct Overview: Sendable {
    var runs: [(id: RunID, phase: RunPhase, note: String)] = []
    var runCount = 0
    var isAdopting = false
    var isDraining = false
    var lastSequence: UInt64 = 0
    var acknowledgedSequence: UInt64 = 0
    var term: Int64 = 0
    var commitSequence: Int64 = 0
  }

  private let journal: Journal
  private let executor: any Executor
  private let staging: InputStaging
  private let collection: OutputCollection
  private let cache: DataCache
  private let objects: RunObjects?
  private let logger: Logger
  private let table: Mutex<RunTable>
  private let mailbox = Mailbox<RunTableInput>(capacity: 8192)
  private let stagings = Mutex<[RunID: Task<Void, Never>]>([:])
  /// What a `Submission` takes next: it works beside the loop, which never waits for an executor.
  private let submissions = Mailbox<Submission.Offer>(capacity: 1)
  private let attachProblem = Mutex<String?>(nil)
  private let journalProblem = Mutex<String?>(nil)
  private let stagingLimiter = Limiter(limit: RunDriver.stagingMax)
  private let collectionLimiter = Limiter(limit: RunDriver.collectionMax)
  private let eventsJournaled = Mutex<(@Sendable (UInt64) -> Void)?>(nil)
  private let shipper = Mutex<LogShipper?>(nil)

  /// - Parameter files: of the executor's runs; nil: they are the agent's own to touch.
  init(
    journal: Journal, contents: JournalContents, executor: any Executor, files: (any RunFileAccess)? = nil,
    cache: DataCache, repository: any ArtifactRepository, keepsUnstored: @escaping @Sendable () -> Bool = { false },
    grant: @escaping @Sendable (String, ProjectName) async throws -> Void = { _, _ in },
    objects: RunObjects? = nil, delivery: OutputDelivery? = nil, tenancy: Tenancy = .shared, logger: Logger
  ) {
    self.journal = journal
    self.executor = executor
    self.cache = cache
    self.objects = objects
    self.logger = logger
    let files = files ?? LocalRunFiles(executor: executor)
    staging = InputStaging(executor: executor, files: files, cache: cache, grant: grant)
    collection = OutputCollection(
      files: files, cache: cache, repository: repository, delivery: delivery, keepsUnstored: keepsUnstored)
    table = Mutex(RunTable(restoring: contents, tenancy: tenancy))
  }

  /// Called with the last sequence after events have become durable.
  func onEventsJournaled(_ body: @escaping @Sendable (UInt64) -> Void) { eventsJournaled.withLock { $0 = body } }
  func use(_ shipper: LogShipper) { self.shipper.withLock { $0 = shipper } }

  /// Waits for room in the mailbox: the journal's pace is everybody's pace.
  func tell(_ input: RunTableInput) async { await mailbox.send(input) }
  /// For the few inputs that come without waiting: one for each heartbeat.
  func tellAtOnce(_ input: RunTableInput) { mailbox.sendAtOnce(input) }
  var queueDepth: Int { mailbox.count }

  /// What a hello tells: taken between two turns.
  func snapshot() -> (reports: [(id: RunID, phase: RunPhase)], lastSequence: UInt64, term: Int64, commitSequence: Int64)
  {
    table.withLock { ($0.reports, $0.lastSequence, $0.term, $0.commitSequence) }
  }

  /// Workflows whose volumes are in use here, or may be; nil while nothing may be deleted at all.
  var workflowsInUse: Set<String>? {
    table.withLock { table in
      guard table.wasWelcomed, !table.isAdopting else { return nil }
      var uids: Set<String> = []
      for run in table.runs.values {
        if case .ended = run.state { continue }
        guard let request = run.request else { return nil }
        for claim in request.spec.claims ?? [] { if let owner = claim.workflow { uids.insert(owner.uid) } }
        if let uid = request.spec.resource?.workflow { uids.insert(uid) }
      }
      return uids
    }
  }

  func overview(limit: Int = 1000) -> Overview {
    table.withLock { table in
      Overview(
        runs: table.runs.keys.sorted().prefix(limit).map { id in
          let run = table.runs[id]!
          return (id, RunTable.phase(of: run), run.pauseReason ?? (run.isCancelled ? "its end is wanted" : ""))
        },
        runCount: table.runs.count, isAdopting: table.isAdopting, isDraining: table.isDraining,
        lastSequence: table.lastSequence, acknowledgedSequence: table.acknowledgedSequence, term: table.term,
        commitSequence: table.commitSequence)
    }
  }

  /// Takes up what an earlier agent process left, then runs until the task is cancelled.
  ///
  /// An executor that cannot say what became of the runs is asked again, and a journal that cannot be written is tried again:
  /// the agent then stands still, which is safe, and says why.
  func run() async throws {
    let observations = executor.observe()
    // Before anything may be evicted: what these runs read.
    let live = table.withLock { table in
      table.runs.values.filter { if case .ended = $0.state { false } else { true } }.compactMap(\.request)
    }
    for request in live { await cache.restore(request.id, holding: request.wantedReplicas) }
    mailbox.sendAtOnce(.observed(try await attach()))
    table.withLock { $0.resume() }
    await withTaskCancellationHandler {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { [self] in await forward(observations) }
        group.addTask { [self] in await submission.run(submissions) }
        group.addTask { [self] in await queueingAhead.run() }
        group.addTask { [self] in await watchDaemons() }
        while let inputs = await mailbox.receive(limit: Self.batchMax) { await turn(inputs) }
        group.cancelAll()
      }
    } onCancel: {
      mailbox.close()
    }
    for task in stagings.withLock({ Array($0.values) }) { task.cancel() }
  }

  /// Why the agent does not begin its work, or stands still; nil while all is well.
  var problem: String? { attachProblem.withLock { $0 } ?? journalProblem.withLock { $0 } }

  private func attach() async throws -> [RunObservation] {
    let known = table.withLock { $0.submitted }
    var attempt = 0
    while true {
      do {
        defer { attachProblem.withLock { $0 = nil } }
        return try await executor.reattach(known: known)
      } catch {
        try Task.checkCancellation()
        attempt += 1
        let reason = (error as? FederationError)?.publicMessage ?? "\(error)"
        attachProblem.withLock { $0 = "no run is started or told: the executor cannot be reached (\(reason))" }
        logger.error(
          "the executor cannot say what became of the runs; asking again", metadata: ["error": "\(reason)"])
        try await Task.sleep(for: Self.pause(attempt))
      }
    }
  }

  private func forward(_ observations: AsyncStream<RunObservation>) async {
    for await observation in observations { await mailbox.send(.observed([observation])) }
  }

  /// Asks of the daemons that run whether they can be used, until they can.
  private func watchDaemons() async {
    while !Task.isCancelled {
      for id in table.withLock({ $0.awaitedDaemons }) where await executor.isReady(id) {
        await tell(.ready(id, address: await executor.address(of: id)))
      }
      guard (try? await Task.sleep(for: Self.readinessPeriod)) != nil else { return }
    }
  }

  private static let readinessPeriod = Duration.milliseconds(200)

  private func renew(_ lease: UInt64) {
    Task { [executor, logger] in
      do {
        try await executor.renewLease(boottimeNanoseconds: lease)
      } catch {
        logger.warning("the lease beside the runs could not be renewed", metadata: ["error": "\(error)"])
      }
    }
  }

  private func turn(_ inputs: [RunTableInput]) async {
    let now = SystemClock.now
    let (changes, actions) = table.withLock { table in
      for input in inputs { table.apply(input, at: now) }
      return table.takeTurn()
    }
    var pause = Duration.milliseconds(100)
    while true {
      do {
        try await journal.write(changes)
        journalProblem.withLock { $0 = nil }
        break
      } catch {
        if Task.isCancelled { return }
        let reason = (error as? FederationError)?.publicMessage ?? "\(error)"
        journalProblem.withLock { $0 = "the agent stands still: \(reason)" }
        logger.error("the journal cannot be written; nothing goes on until it can", metadata: ["error": "\(error)"])
        try? await Task.sleep(for: pause)
        pause = min(pause * 2, .seconds(5))
      }
    }
    for action in actions { await perform(action) }
    if let lease = inputs.compactMap(\.lease).max() { renew(lease) }
  }

  private func perform(_ action: RunTableAction) async {
    switch action {
    case .stage(let id): stage(id)
    case .stopStaging(let id): stagings.withLock { $0.removeValue(forKey: id) }?.cancel()
    case .submit(let ids): submissions.sendAtOnce(Submission.Offer(ids: ids))
    case .cancel(let id, let grace, let signal):
      Task { [executor, logger] in
        do {
          try await executor.cancel(id, grace: grace, signal: signal)
        } catch {
          logger.warning(
            "a run could not be asked to end", metadata: ["run": "\(id.hexadecimal)", "error": "\(error)"])
        }
      }
    case .extend(let slices): extend(slices)
    case .collect(let id, let observation): collect(id, observation)
    case .shipLog(let id, let length, let isFinal):
      let acknowledged = table.withLock { $0.runs[id]?.logAcknowledged ?? 0 }
      shipper.withLock { $0 }?.grew(id, to: length, isFinal: isFinal, acknowledged: acknowledged)
    case .discardFiles(let id):
      Task { [executor] in await executor.discardRoot(of: id) }
    case .warn(let text): logger.warning("\(text)")
    case .stopShippingLog(let id): shipper.withLock { $0 }?.forgotten(id)
    case .erase(let ids): await erase(ids)
    case .eventsJournaled(let sequence): eventsJournaled.withLock { $0 }?(sequence)
    }
  }

  private func request(_ id: RunID) -> RunRequest? {
    table.withLock { $0.runs[id]?.request }?.mounting(from: cache)
  }

  private func stage(_ id: RunID) {
    guard let request = request(id) else { return }
    let task = Task { [self] in
      let start = SystemClock.boottimeNanoseconds
      var attempt = 0
      var moved = MovedBytes()
      while !Task.isCancelled {
        do {
          try await staging.reserve(request) { [self] reason in
            tellAtOnce(.stagingPaused(id, reason: reason))
          }
          moved += try await stagingLimiter.run {
            try Task.checkCancellation()
            return try await staging.stage(request)
          }
          let milliseconds = Int64(SystemClock.boottimeNanoseconds - start) / 1_000_000
          await tell(
            .staged(id, bytesIn: moved.total, fromClusters: moved.fromClusters, milliseconds: milliseconds))
          break
        } catch {
          guard !Task.isCancelled else {
            await cache.unpin(id)
            break
          }
          let failure = error as? FederationError ?? FederationError(.internal, "\(error)")
          guard failure.isRetryable else {
            await cache.unpin(id)
            await tell(.stagingFailed(id, .error, message: failure.publicMessage))
            break
          }
          await tell(.stagingPaused(id, reason: failure.publicMessage))
          attempt += 1
          try? await Task.sleep(for: Self.pause(attempt))
        }
      }
      _ = stagings.withLock { $0.removeValue(forKey: id) }
    }
    stagings.withLock { $0[id] = task }
  }

  private var submission: Submission {
    Submission(
      executor: executor, request: { [self] in request($0) }, tell: { [self] in mailbox.sendAtOnce($0) },
      logger: logger,
      isWanted: { [self] id in table.withLock { $0.runs[id].map { !$0.isUnwanted && !$0.isCancelled } ?? false } },
      fill: { [objects] in try await objects?.fill($0) ?? $0 })
  }

  private var queueingAhead: QueueingAhead {
    QueueingAhead(
      executor: executor, cache: cache,
      staging: { [self] in stagings.withLock { $0.keys.sorted() }.compactMap { request($0) } })
  }

  /// A run whose executor is not told ends too early: it is asked until it answers.
  private func extend(_ slices: [RunID: Duration]) {
    Task { [self] in
      var rest = slices
      var attempt = 0
      while !Task.isCancelled, !rest.isEmpty {
        do {
          return try await executor.extend(rest)
        } catch {
          attempt += 1
          logger.warning(
            "runs could not be told that they may go on; trying again",
            metadata: ["runs": "\(rest.count)", "error": "\(error)"])
          try? await Task.sleep(for: min(.seconds(2), Self.pause(attempt)))
        }
        rest = table.withLock { table in rest.filter { table.isExtended($0.key, to: $0.value) } }
      }
    }
  }

  private func collect(_ id: RunID, _ observation: RunObservation) {
    guard let request = request(id) else { return }
    Task { [self] in
      var attempt = 0
      while !Task.isCancelled {
        do {
          let collected = try await collectionLimiter.run { try await collection.collect(request, observation) }
          return await tell(.collected(id, collected))
        } catch {
          let failure = error as? FederationError ?? FederationError(.internal, "\(error)")
          guard failure.isRetryable else {
            let lost = CollectedOutputs(
              phase: observation.phase == .succeeded ? .error : observation.phase,
              message: "its outputs cannot be read: \(failure.publicMessage)", outputs: TaskOutputs(), bytesOut: 0)
            return await tell(.collected(id, lost))
          }
          attempt += 1
          logger.warning(
            "outputs are not stored yet", metadata: ["run": "\(id.hexadecimal)", "error": "\(error)"])
          guard self.request(id) != nil else { return }
          try? await Task.sleep(for: Self.pause(attempt))
        }
      }
    }
  }

  private func erase(_ ids: [RunID]) async {
    for id in ids { await cache.unpin(id) }
    do {
      try await executor.forget(ids)
    } catch {
      logger.warning("files of forgotten runs are left", metadata: ["error": "\(error)"])
    }
  }

  /// 0.25 s, doubled to at most 30 s, of which up to half is taken away at random.
  static func pause(_ attempt: Int) -> Duration {
    min(.seconds(30), .milliseconds(250) * (1 << min(attempt, 10))) * Double.random(in: 0.5...1)
  }
}
