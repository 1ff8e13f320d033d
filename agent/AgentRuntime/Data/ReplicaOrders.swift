internal import Execution
internal import FederationAPI
internal import FederationModel
internal import Logging
internal import SwiftProtobuf

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Does what the control plane wants of the cache: stages, evicts, stores, lists. States, not steps: an order that is repeated, or
/// was done already, is answered again.
actor ReplicaOrders {
  static let transfersMax = 4
  static let storesMax = 4
  static let indexesMax = 8
  static let ordersMax = 100_000
  /// Tries before an order is given up, beyond which the control plane decides anew.
  static let attemptsMax = 8

  private enum Kind: Hashable { case stage, store, index, archive }
  private struct Name: Hashable {
    var kind: Kind
    var key: DataKey
  }

  private let cache: DataCache
  private let repository: any ArtifactRepository
  private let indexer: OriginIndexer
  private let versions: VersionMover
  private let events: DataEventOutbox
  private let logger: Logger
  private var tasks: [Name: (number: UInt64, task: Task<Void, Never>)] = [:]
  private var lastTask: UInt64 = 0
  private let transferLimiter = Limiter(limit: ReplicaOrders.transfersMax)
  private let indexLimiter = Limiter(limit: ReplicaOrders.indexesMax)
  private let storeLimiter = Limiter(limit: ReplicaOrders.storesMax)

  init(
    cache: DataCache, repository: any ArtifactRepository, indexer: OriginIndexer, versions: VersionMover,
    events: DataEventOutbox,
    logger: Logger
  ) {
    self.cache = cache
    self.repository = repository
    self.indexer = indexer
    self.versions = versions
    self.events = events
    self.logger = logger
  }

  /// What is under way; for people.
  var count: Int { tasks.count }

  func apply(_ orders: Wire.DataOrders) async {
    if orders.complete { endOthers(than: orders) }
    await cache.pin(orders.pin.map { DataKey($0) }, replacing: orders.complete)
    await cache.unpin(orders.unpin.map { DataKey($0) })
    await cache.value(
      Dictionary(orders.values.map { (DataKey($0.key), $0.value) }, uniquingKeysWith: { $1 }),
      replacing: orders.complete)
    for text in orders.cancel { await cancel(DataKey(text)) }
    for text in orders.evict { await cache.evict(DataKey(text)) }
    for object in orders.stage {
      guard let object = try? object.model else {
        events.failed(
          DataKey(object.key), message: "the order cannot be understood: upgrade this agent")
        continue
      }
      await stage(WantedReplica(object))
    }
    for order in orders.store { start(.store, DataKey(order.key)) { await $0.store(order) } }
    for order in orders.archive { start(.archive, DataKey(order.key)) { await $0.archive(order) } }
    for order in orders.index { start(.index, DataKey(order.key)) { await $0.index(order) } }
  }

  private func endOthers(than orders: Wire.DataOrders) {
    var named: Set<Name> = []
    for order in orders.stage { named.insert(Name(kind: .stage, key: DataKey(order.key))) }
    for order in orders.store { named.insert(Name(kind: .store, key: DataKey(order.key))) }
    for order in orders.archive { named.insert(Name(kind: .archive, key: DataKey(order.key))) }
    for order in orders.index { named.insert(Name(kind: .index, key: DataKey(order.key))) }
    for (name, entry) in tasks where !named.contains(name) { entry.task.cancel() }
  }

  func stopAll() { for entry in tasks.values { entry.task.cancel() } }

  private func start(_ kind: Kind, _ key: DataKey, _ body: @escaping @Sendable (ReplicaOrders) async -> Void) {
    let name = Name(kind: kind, key: key)
    // One that was cancelled and has not ended yet makes way for the order that follows it.
    let before = tasks[name]?.task
    guard before?.isCancelled ?? true, tasks.count < Self.ordersMax else { return }
    lastTask += 1
    let number = lastTask
    tasks[name] = (
      number,
      Task { [weak self] in
        await before?.value
        guard let self else { return }
        await body(self)
        await self.ended(name, number)
      }
    )
  }

  private func ended(_ name: Name, _ number: UInt64) {
    if tasks[name]?.number == number { tasks[name] = nil }
  }

  private func cancel(_ key: DataKey) async {
    tasks[Name(kind: .stage, key: key)]?.task.cancel()
    await cache.dropPartial(key)
  }

  // MARK: Staging

  private func stage(_ wanted: WantedReplica) async {
    if await cache.contains(wanted.key) {
      return events.ready(wanted.key, size: wanted.size, moved: 0, milliseconds: 0, source: nil)
    }
    start(.stage, wanted.key) { await $0.bring(wanted) }
  }

  private func bring(_ wanted: WantedReplica) async {
    let holder = ReplicaHolder.order(wanted.key)
    let events = events
    @Sendable func waiting(_ reason: String) {
      events.progress(wanted.key, done: 0, of: wanted.size, rate: 0, waiting: reason, source: nil)
    }
    var attempt = 0
    while !Task.isCancelled {
      do {
        try await cache.reserve([wanted], for: holder, waiting: waiting)
        _ = try await transferLimiter.run { try await cache.obtain(wanted, for: holder) }
        break
      } catch {
        if Task.isCancelled || error is CancellationError { break }
        attempt += 1
        let failure = error as? FederationError ?? FederationError(.internal, "\(error)")
        guard failure.isRetryable, attempt < Self.attemptsMax || failure.code == .resourceExhausted else {
          events.failed(wanted.key, message: failure.publicMessage)
          logger.warning(
            "data cannot be brought here", metadata: ["data": "\(wanted.key)", "error": "\(failure.publicMessage)"])
          break
        }
        waiting(failure.publicMessage)
        try? await Task.sleep(for: RunDriver.pause(attempt + 1))
      }
    }
    await cache.release(holder)
    if Task.isCancelled { await cache.dropPartial(wanted.key) }
  }

  // MARK: Storing

  private func store(_ order: Wire.StoreOrder) async {
    let key = DataKey(order.key)
    let start = SystemClock.boottimeNanoseconds
    do {
      let (moved, manifest) = try await storeLimiter.run {
        if key.sha256 == nil { return try await putVersion(key, order) }
        return (try await put(key, as: order.repositoryKey, of: ProjectName(order.project)), nil)
      }
      let took = Int64((SystemClock.boottimeNanoseconds - start) / 1_000_000)
      events.stored(key, failure: "", moved: moved, milliseconds: took, manifest: manifest)
    } catch {
      guard !Task.isCancelled else { return }
      let failure = error as? FederationError ?? FederationError(.internal, "\(error)")
      events.stored(key, failure: failure.publicMessage, moved: 0, milliseconds: 0)
    }
  }

  /// A version goes into the repository: from its archive pack by pack, or from this cache.
  private func putVersion(_ key: DataKey, _ order: Wire.StoreOrder) async throws -> (Int64, StoredArtifact?) {
    let project = ProjectName(order.project)
    if !order.archive.uri.isEmpty {
      let list = try order.manifest.model
      return (
        try await Self.persistently { [versions] in
          try await versions.restore(key, list, of: project, from: order.archive.model)
        }, list
      )
    }
    guard await cache.contains(key) else {
      events.gone(key, because: "lost")
      throw FederationError(.notFound, "\(key) is not in this cluster's cache")
    }
    let holder = ReplicaHolder.order(key)
    await cache.holdExisting(key, holder)
    do {
      let stored = try await Self.persistently { [versions] in try await versions.store(key, of: project) }
      await cache.release(holder)
      return (stored.moved, stored.manifest)
    } catch let damage as CorruptReplica {
      await cache.release(holder)
      _ = await cache.corrupt(key)
      throw FederationError(
        .unavailable,
        "\(damage.path) was damaged in this cluster's cache, which let go of it; ask again to have it fetched anew")
    } catch {
      await cache.release(holder)
      throw error
    }
  }

  private func archive(_ order: Wire.ArchiveOrder) async {
    let key = DataKey(order.key)
    let start = SystemClock.boottimeNanoseconds
    do {
      let list = try order.manifest.model
      let moved = try await storeLimiter.run {
        try await Self.persistently { [versions] in
          try await versions.archive(key, list, of: ProjectName(order.project), to: order.target.model)
        }
      }
      let took = Int64((SystemClock.boottimeNanoseconds - start) / 1_000_000)
      events.archived(key, failure: "", moved: moved, milliseconds: took)
    } catch {
      guard !Task.isCancelled else { return }
      let failure = error as? FederationError ?? FederationError(.internal, "\(error)")
      events.archived(key, failure: failure.publicMessage, moved: 0, milliseconds: 0)
    }
  }

  /// Again and again while it may help.
  private static func persistently<Result: Sendable>(
    _ body: @Sendable () async throws -> Result
  ) async throws -> Result {
    var attempt = 0
    while true {
      do {
        return try await body()
      } catch let error as FederationError where error.isRetryable && attempt < attemptsMax {
        attempt += 1
        try await Task.sleep(for: RunDriver.pause(attempt))
      }
    }
  }

  private func put(_ key: DataKey, as repositoryKey: String, of project: ProjectName) async throws -> Int64 {
    guard let sha256 = key.sha256, let size = await cache.size(of: key) else {
      if await !cache.contains(key) { events.gone(key, because: "lost") }
      throw FederationError(.notFound, "\(key) is not in this cluster's cache")
    }
    let holder = ReplicaHolder.order(key)
    await cache.holdExisting(key, holder)
    let file = PackedFile(path: cache.layout.object(sha256), size: size, sha256: sha256)
    do {
      try await Self.persistently { [repository] in
        try await repository.put(file, as: repositoryKey, for: RepositoryAsker(run: nil, project: project))
      }
    } catch {
      await cache.release(holder)
      throw error
    }
    await cache.stored(sha256)
    await cache.release(holder)
    return size
  }

  // MARK: Listing

  private func index(_ order: Wire.IndexOrder) async {
    let key = DataKey(order.key)
    do {
      let origin = DataOrigin(uri: order.origin.uri, secret: order.origin.secret.isEmpty ? nil : order.origin.secret)
      var attempt = 0
      while true {
        do {
          let listed = try await indexLimiter.run {
            try await indexer.index(
              origin, key: key, as: order.repositoryKey, of: ProjectName(order.project), in: cache.workDirectory)
          }
          events.indexed(
            key,
            .with {
              $0.manifest = .init(listed.manifest)
              $0.files = listed.files
              $0.bytes = listed.bytes
              $0.unvalidated = !listed.isValidated
            })
          return
        } catch let error as FederationError where error.isRetryable && attempt < 4 {
          attempt += 1
          try await Task.sleep(for: RunDriver.pause(attempt + 1))
        }
      }
    } catch {
      guard !Task.isCancelled else { return }
      let failure = error as? FederationError ?? FederationError(.internal, "\(error)")
      events.indexed(key, .with { $0.failure = failure.publicMessage })
    }
  }
}
