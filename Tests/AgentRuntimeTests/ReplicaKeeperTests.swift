import Execution
import FederationAPI
import FederationModel
import FoundationEssentials
import Synchronization
import Testing

@testable import AgentRuntime

/// Replicas that somebody else keeps for the cache.
@Suite struct ReplicaKeeperTests {
  private final class Keeper: ReplicaKeeper {
    let places = Mutex<[DataKey: String]>([:])
    let said = Mutex<[String]>([])
    init(_ places: [DataKey: String]) { self.places.withLock { $0 = places } }
    func place(of key: DataKey) -> ReplicaPlace? {
      places.withLock { $0[key] }.map {
        ReplicaPlace(text: $0, claim: .init(name: $0, namespace: "runs", subPath: "p"))
      }
    }
    func kept(_ key: DataKey, size: Int64) { said.withLock { $0.append("kept \(key) \(size)") } }
    func dropped(_ key: DataKey) { said.withLock { $0.append("dropped \(key)") } }
    func take() -> [String] {
      said.withLock { said in
        defer { said = [] }
        return said
      }
    }
  }

  private struct Fetching: ReplicaFetching {
    let keeper: Keeper
    func fetch(_ wanted: WantedReplica, for run: RunID?, into layout: CacheLayout, _ gauge: TransferGauge) async throws
    {
      if let place = keeper.place(of: wanted.key) {
        return try KeptReplica.publish(wanted, at: place.text, in: layout)
      }
      let tree = layout.tree(wanted.key)
      try POSIXFile.makeDirectories(tree + "/data")
      let record = TreeRecord(key: wanted.key, size: wanted.size).text
      try Data(record.utf8).write(to: URL(fileURLWithPath: tree + "/key"))
    }
  }

  private static let elsewhere = DataKey(project: "p", dataset: "far", version: 1)
  private static let here = DataKey(project: "p", dataset: "near", version: 1)

  private static func wanted(_ key: DataKey, _ size: Int64) -> WantedReplica {
    WantedReplica(DataObject(key: key, project: "p", size: ByteCount(size)))
  }

  private static func cache(
    _ directory: TemporaryDirectory, _ keeper: Keeper, _ events: DataEventOutbox = DataEventOutbox()
  ) throws -> DataCache {
    try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 1000, fetching: Fetching(keeper: keeper),
      keeper: keeper, events: events)
  }

  @Test("It takes no room here, evicts nobody, and is reported with its size")
  func room() async throws {
    let directory = try TemporaryDirectory()
    let keeper = Keeper([Self.elsewhere: "a"])
    let cache = try Self.cache(directory, keeper)
    let (far, near) = (Self.wanted(Self.elsewhere, 1 << 40), Self.wanted(Self.here, 900))
    try await cache.reserve([near, far], for: .run(RunID(1)))
    for one in [near, far] { _ = try await cache.obtain(one, for: .run(RunID(1))) }
    await cache.release(.run(RunID(1)))
    #expect(await cache.usedBytes == 900)
    #expect(await cache.replicas().map(\.size).sorted() == [900, 1 << 40])
    #expect(keeper.take() == ["kept \(Self.elsewhere) \(1 << 40)"])
    // Room is made by what is here alone.
    let next = Self.wanted(DataKey(project: "p", dataset: "next", version: 1), 500)
    try await cache.reserve([next], for: .run(RunID(2)))
    #expect(await cache.contains(Self.elsewhere))
    #expect(await !cache.contains(Self.here))
  }

  @Test("A run is shown the volume instead of a path of the agent's")
  func mounts() async throws {
    let directory = try TemporaryDirectory()
    let cache = try Self.cache(directory, Keeper([Self.elsewhere: "a"]))
    var request = RunRequest(id: RunID(1), epoch: 1, project: "p", spec: TaskSpec(image: "x"))
    request.spec.datasets = [Self.elsewhere, Self.here].map {
      MountedDataset(object: DataObject(key: $0, project: "p", size: .zero), mountPath: "/\($0 == Self.here)")
    }
    let inputs = request.mounting(from: cache).inputs
    #expect(inputs.map(\.claim) == [.init(name: "a", namespace: "runs", subPath: "p"), nil])
  }

  @Test("What its keeper lost is told, and is fetched again by the next who wants it; who reads it goes on")
  func losses() async throws {
    let directory = try TemporaryDirectory()
    let keeper = Keeper([Self.elsewhere: "a"])
    let events = DataEventOutbox()
    let cache = try Self.cache(directory, keeper, events)
    _ = try await cache.obtain(Self.wanted(Self.elsewhere, 5), for: .run(RunID(1)))
    _ = events.take()
    await cache.lost(Self.elsewhere)
    #expect(events.take().map(\.gone.reason) == ["evicted"])
    #expect(await !cache.contains(Self.elsewhere))
    // The keeper has said so itself: it is not told to delete what is left.
    #expect(!keeper.take().contains { $0.hasPrefix("dropped") })
    await cache.release(.run(RunID(1)))
    _ = try await cache.obtain(Self.wanted(Self.elsewhere, 5), for: .run(RunID(2)))
    #expect(events.take().contains { $0.ready.size == 5 })
    // What is here its own agent alone loses.
    _ = try await cache.obtain(Self.wanted(Self.here, 7), for: .run(RunID(2)))
    await cache.lost(Self.here)
    #expect(await cache.contains(Self.here))
  }

  @Test("A scrub leaves it alone: there are no files here to look at")
  func scrub() async throws {
    let directory = try TemporaryDirectory()
    let cache = try Self.cache(directory, Keeper([Self.elsewhere: "a"]))
    _ = try await cache.obtain(Self.wanted(Self.elsewhere, 5), for: .run(RunID(1)))
    await cache.release(.run(RunID(1)))
    let found = await CacheScrub(cache: cache, interval: nil, bytesPerSecond: 1 << 30, logger: silentLogger()).round()
    #expect(found.corrupt == 0 && found.replicas == 1)
    #expect(await cache.contains(Self.elsewhere))
  }

  @Test("An order to evict is its keeper's, too")
  func eviction() async throws {
    let directory = try TemporaryDirectory()
    let keeper = Keeper([Self.elsewhere: "a"])
    let cache = try Self.cache(directory, keeper)
    _ = try await cache.obtain(Self.wanted(Self.elsewhere, 5), for: .run(RunID(1)))
    await cache.evict(Self.elsewhere)
    #expect(await cache.contains(Self.elsewhere), "a run has it")
    await cache.release(.run(RunID(1)))
    _ = keeper.take()
    await cache.evict(Self.elsewhere)
    #expect(keeper.take() == ["dropped \(Self.elsewhere)"])
    #expect(await cache.usedBytes == 0)
  }

  @Test("An agent that starts anew counts what is where it was, and forgets what is declared otherwise since")
  func restart() async throws {
    let directory = try TemporaryDirectory()
    let keeper = Keeper([Self.elsewhere: "a"])
    do {
      let cache = try Self.cache(directory, keeper)
      for (key, size) in [(Self.elsewhere, Int64(5)), (Self.here, 7)] {
        _ = try await cache.obtain(Self.wanted(key, size), for: .run(RunID(1)))
      }
    }
    _ = keeper.take()
    let same = try Self.cache(directory, keeper)
    #expect(await same.usedBytes == 7)
    #expect(await same.contains(Self.elsewhere))
    #expect(keeper.take() == ["kept \(Self.elsewhere) 5"])
    // The empty directory must not be mounted as the data set, nor the files here be taken for what is elsewhere.
    for places in [[:], [Self.elsewhere: "b"], [Self.here: "a"]] as [[DataKey: String]] {
      let other = try Self.cache(directory, Keeper(places))
      #expect(await !other.contains(Self.elsewhere))
      #expect(await other.contains(Self.here) == (places[Self.here] == nil))
    }
  }
}
