internal import Execution
internal import FederationModel
internal import FoundationEssentials
internal import KubernetesExecutor
internal import Logging

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Where a replica is that the cache's directory does not hold.
struct ReplicaPlace: Sendable, Hashable {
  /// Another one is another place: what was published for it there counts no more.
  var text: String
  var claim: StagedInput.Claim
}

/// Keeps replicas outside of the cache's directory. What the cache publishes of them only says that they are whole there, and takes no
/// room.
protocol ReplicaKeeper: Sendable {
  /// nil: the cache keeps it itself. Always the same for a key, as long as the agent lives.
  func place(of key: DataKey) -> ReplicaPlace?
  /// It counts as here.
  func kept(_ key: DataKey, size: Int64)
  /// It does not count as here any more.
  func dropped(_ key: DataKey)
}

/// Replicas that Fluid keeps in a Kubernetes cluster.
final class FluidReplicas: ReplicaKeeper {
  private enum Word: Sendable {
    case kept(DataKey, size: Int64)
    case dropped(DataKey)
  }

  private let fluid: FluidDatasets
  private let words: AsyncStream<Word>
  private let speaker: AsyncStream<Word>.Continuation

  init(_ fluid: FluidDatasets) {
    self.fluid = fluid
    // One after the other, as they were said.
    (words, speaker) = AsyncStream.makeStream(bufferingPolicy: .unbounded)
  }

  func place(of key: DataKey) -> ReplicaPlace? {
    fluid.place(of: key).map {
      ReplicaPlace(
        text: $0.text, claim: StagedInput.Claim(name: $0.dataset, namespace: $0.namespace, subPath: $0.path))
    }
  }

  func kept(_ key: DataKey, size: Int64) { speaker.yield(.kept(key, size: size)) }
  func dropped(_ key: DataKey) { speaker.yield(.dropped(key)) }

  /// Until the task is cancelled: passes on what the cache says, and tells it what Fluid has lost.
  func run(_ cache: DataCache) async {
    await fluid.start()
    await withTaskGroup(of: Void.self) { group in
      group.addTask { [fluid, words] in
        for await word in words {
          switch word {
          case .kept(let key, let size): await fluid.keep(key, size: ByteCount(size))
          case .dropped(let key): await fluid.drop(key)
          }
        }
      }
      group.addTask { [fluid] in for await key in fluid.losses { await cache.lost(key) } }
      await group.waitForAll()
    }
    await fluid.close()
  }

  /// - Returns: what Fluid's caches hold in sum, and of that what counts as here.
  func room() async -> (capacity: ByteCount, used: ByteCount) { (fluid.capacity, await fluid.keptBytes) }

  var notices: [String] { get async { await fluid.notices } }

  /// Has Fluid bring all of it, and publishes that it is there.
  func fetch(_ wanted: WantedReplica, into layout: CacheLayout, _ gauge: TransferGauge) async throws {
    guard let place = fluid.place(of: wanted.key) else {
      throw FederationError(.internal, "\(wanted.key) is not Fluid's")
    }
    var origin: String?
    for case .origin(let known) in wanted.sources {
      gauge.begin(.origin(known))
      if ["s3://", "https://", "http://"].contains(where: known.uri.hasPrefix) {
        origin = String(known.uri.prefix { $0 != "?" })
      }
    }
    try await fluid.obtain(place, size: ByteCount(wanted.size), files: wanted.files, origin: origin) { progress in
      gauge.reached(progress.bytes)
      gauge.wait(for: progress.waiting)
    }
    gauge.wait(for: "")
    gauge.reached(wanted.size)
    try await BlockingWork.run { try KeptReplica.publish(wanted, at: place.text, in: layout) }
  }
}

/// Fetches replicas to where they are kept.
struct KeptFetching: ReplicaFetching {
  let fluid: FluidReplicas
  let others: any ReplicaFetching

  func fetch(_ wanted: WantedReplica, for run: RunID?, into layout: CacheLayout, _ gauge: TransferGauge) async throws {
    if fluid.place(of: wanted.key) != nil { return try await fluid.fetch(wanted, into: layout, gauge) }
    try await others.fetch(wanted, for: run, into: layout, gauge)
  }
}

/// What the cache publishes of a replica that is kept elsewhere: a data set's directory without files, and `elsewhere` with its place.
enum KeptReplica {
  private static let name = "elsewhere"

  /// The place's text; nil for a replica that is here.
  static func place(_ tree: String) -> String? {
    guard let file = try? POSIXFile.open("\(tree)/\(name)", O_RDONLY | O_NOFOLLOW) else { return nil }
    defer { POSIXFile.close(file) }
    return (try? POSIXFile.readAll(file, limit: 1 << 13)).map { String(decoding: $0, as: UTF8.self) }
  }

  static func publish(_ wanted: WantedReplica, at place: String, in layout: CacheLayout) throws {
    let directory = layout.partialTree(wanted.key)
    POSIXFile.removeTree(directory)
    for path in [directory, directory + "/data"] { try POSIXFile.makeDirectories(path) }
    for (name, text) in [("key", TreeRecord(key: wanted.key, size: wanted.size).text), (name, place)] {
      let file = try POSIXFile.open("\(directory)/\(name)", O_WRONLY | O_CREAT | O_TRUNC)
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, Data(text.utf8), "a data set")
      guard fsync(file) == 0 else { throw POSIXFile.failure("Cannot keep a data set") }
    }
    POSIXFile.removeTree(layout.tree(wanted.key))
    guard rename(directory, layout.tree(wanted.key)) == 0 else {
      throw POSIXFile.failure("Cannot publish a data set")
    }
  }
}
