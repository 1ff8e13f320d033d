internal import FederationAPI
internal import FederationModel
internal import Logging
internal import SwiftProtobuf
internal import Synchronization

/// All that the agent does with data: its cache, the orders for it, what is told of it, and the scrub that looks after it.
final class DataPlane: Sendable {
  static let reportMax = 2000
  /// Partial files that nobody went on with for so long are deleted.
  static let partialAgeMax = Duration.seconds(7 * 24 * 3600)

  let cache: DataCache
  let orders: ReplicaOrders
  let events: DataEventOutbox
  let mover: RcloneMover
  private let export: CacheExport?
  private let fluid: FluidReplicas?
  private let name: String
  private let scrub: CacheScrub
  /// Bytes of transfers under way a second ago.
  private let rates = Mutex<[DataKey: (bytes: Int64, nanoseconds: UInt64)]>([:])

  init(
    name: String, cache: DataCache, orders: ReplicaOrders, events: DataEventOutbox, mover: RcloneMover,
    scrub: CacheScrub, export: CacheExport?, fluid: FluidReplicas? = nil
  ) {
    self.name = name
    self.cache = cache
    self.orders = orders
    self.events = events
    self.mover = mover
    self.scrub = scrub
    self.export = export
    self.fluid = fluid
  }

  /// Until the task is cancelled.
  func run() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { [self] in await mover.run() }
      group.addTask { [self] in await tellProgress() }
      group.addTask { [self] in await scrub.run() }
      group.addTask { [self] in await sweep() }
      if let export { group.addTask { await export.run() } }
      if let fluid { group.addTask { [cache] in await fluid.run(cache) } }
      await group.waitForAll()
    }
    await orders.stopAll()
  }

  private func sweep() async {
    repeat {
      await cache.sweepPartials(olderThan: Self.partialAgeMax)
      await cache.sweepAside()
    } while (try? await Task.sleep(for: .seconds(3600))) != nil
  }

  private func tellProgress() async {
    while (try? await Task.sleep(for: .seconds(1))) != nil {
      let now = SystemClock.boottimeNanoseconds
      let transfers = await cache.transfers()
      let before = rates.withLock { rates in
        defer {
          rates = Dictionary(
            transfers.map { ($0.wanted.key, ($0.reading.bytesMoved, now)) }, uniquingKeysWith: { first, _ in first })
        }
        return rates
      }
      for transfer in transfers {
        let (key, reading) = (transfer.wanted.key, transfer.reading)
        let (bytes, since) = before[key] ?? (0, transfer.startedNanoseconds)
        let seconds = Double(now > since ? now - since : 1) * 1e-9
        events.progress(
          key, done: reading.bytesDone, of: transfer.wanted.size,
          rate: Int64(Double(max(0, reading.bytesMoved - bytes)) / seconds), waiting: reading.waiting,
          source: reading.source)
      }
    }
  }

  /// Everything that the cache holds, in parts. At least one: an empty cache is news as well.
  func report() async -> [Wire.CacheReport] {
    events.dropReplicas()
    let replicas = await cache.replicas().filter { DataEventOutbox.isFollowed($0.key, $0.size) }
    var parts: [Wire.CacheReport] = []
    var rest = replicas[...]
    repeat {
      let some = rest.prefix(Self.reportMax)
      rest = rest.dropFirst(some.count)
      parts.append(
        .with {
          $0.replicas = some.map { replica in
            .with {
              $0.key = replica.key.text
              $0.size = replica.size
              $0.lastUseMs = replica.lastUse.milliseconds
            }
          }
          $0.first = parts.isEmpty
          $0.last = rest.isEmpty
        })
    } while !rest.isEmpty
    return parts
  }

  /// What the inventory says of the cache. Coarse, so that not every object is news.
  func inventory() async -> CacheInventory {
    let used = await cache.usedBytes
    // Coarse, so that not every file is news, and never more than there is: the control plane would make room for it.
    let step = min(64 << 20, max(64 << 10, cache.capacity / 64))
    let told = max(used, min(cache.capacity, (used + step - 1) / step * step))
    let elsewhere = await fluid?.room() ?? (.zero, .zero)
    return CacheInventory(
      name: name, capacity: ByteCount(cache.capacity) + elsewhere.capacity,
      used: ByteCount(told) + min(elsewhere.used, elsewhere.capacity), isWriter: cache.reader == nil,
      exportURL: export?.url)
  }

  /// Why what is kept elsewhere is not known.
  var notices: [String] { get async { await fluid?.notices ?? [] } }

  /// Why other clusters cannot fetch from here, where they should; nil otherwise.
  var exportProblem: String? { export?.problem }

  /// For people: what moves, and from where.
  func status() async -> StatusReport.Cache {
    let transfers = await cache.transfers().map { transfer in
      StatusReport.Cache.Transfer(
        key: transfer.wanted.key.text, bytesDone: transfer.reading.bytesDone, bytesTotal: transfer.wanted.size,
        source: transfer.reading.source.map(Self.name) ?? "", waiting: transfer.reading.waiting)
    }
    return StatusReport.Cache(
      name: name, directory: cache.layout.directory, capacityBytes: cache.capacity, usedBytes: await cache.usedBytes,
      replicas: await cache.count, orders: await orders.count, isWriter: cache.reader == nil,
      transfers: transfers.sorted { $0.key < $1.key }, scrub: scrub.summary)
  }

  private static func name(_ source: DataSource) -> String {
    switch source {
    case .repository: "repository"
    case .archive(let origin): "archive \(origin.uri.prefix { $0 != "?" })"
    case .origin(let origin): "origin \(origin.uri.prefix { $0 != "?" })"
    case .export(let cluster, _): "cluster \(cluster)"
    }
  }
}
