import Crypto
import FederationAPI
import FederationModel
import FoundationEssentials
import Synchronization
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct DataCacheTests {
  /// Publishes whatever is asked for, for whoever is allowed, once the gate is open.
  private final class Fetching: ReplicaFetching {
    struct State {
      var requests: [RunID?] = []
      var keys: [DataKey] = []
      var isOpen = false
      var refused: Set<RunID> = []
    }
    let state: Mutex<State>
    init(isOpen: Bool = false) { state = Mutex(State(isOpen: isOpen)) }

    func fetch(_ wanted: WantedReplica, for run: RunID?, into layout: CacheLayout, _ gauge: TransferGauge) async throws
    {
      state.withLock {
        $0.requests.append(run)
        $0.keys.append(wanted.key)
      }
      while !(state.withLock { $0.isOpen }) { try await Task.sleep(for: .milliseconds(2)) }
      if let run, state.withLock({ $0.refused.contains(run) }) {
        throw FederationError(.permissionDenied, "not yours")
      }
      let file = try POSIXFile.open(layout.replica(wanted.key), O_WRONLY | O_CREAT)
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, [UInt8](repeating: 7, count: Int(wanted.size)), "a replica")
      gauge.moved(Int(wanted.size))
    }
    func hasBeenAsked(times: Int) -> Bool { state.withLock { $0.requests.count == times } }
    func open() { state.withLock { $0.isOpen = true } }
  }

  private func wanted(_ name: Int, _ size: Int64 = 9) -> WantedReplica {
    let sha256 = ArtifactPacking.hexadecimal(SHA256.hash(data: Data("\(name)".utf8)))
    return WantedReplica(
      StoredArtifact(key: "k\(name)", size: ByteCount(size), sha256: sha256, archive: .none), of: "p")
  }

  private func cache(_ directory: TemporaryDirectory, _ fetching: Fetching, capacity: Int64 = 1000) throws -> DataCache
  {
    try DataCache(layout: CacheLayout(directory: directory.path + "/cache"), capacity: capacity, fetching: fetching)
  }

  @Test("I5: a transfer that two runs wait for outlives the run that began it, and moves the bytes once")
  func beginnerCancelled() async throws {
    let directory = try TemporaryDirectory()
    let fetching = Fetching()
    let cache = try cache(directory, fetching)
    let one = wanted(1)
    let first = Task { try await cache.obtain(one, for: .run(RunID(1))) }
    try await waitUntil { fetching.hasBeenAsked(times: 1) }
    let second = Task { try await cache.obtain(one, for: .run(RunID(2))) }
    try await waitUntil { await cache.waiterCount(of: one.key) == 2 }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    fetching.open()
    #expect(try await second.value.total == one.size)
    #expect(fetching.hasBeenAsked(times: 1))
  }

  @Test("I5: ten runs and an order for one data set cause one transfer")
  func onceForAll() async throws {
    let directory = try TemporaryDirectory()
    let fetching = Fetching()
    let cache = try cache(directory, fetching)
    let one = wanted(1)
    let holders = (1...10).map { ReplicaHolder.run(RunID(Int64($0))) } + [.order(one.key)]
    let tasks = holders.map { holder in Task { try await cache.obtain(one, for: holder) } }
    try await waitUntil { await cache.waiterCount(of: one.key) == 11 }
    fetching.open()
    var moved: Int64 = 0
    for task in tasks { moved += try await task.value.total }
    #expect(moved == one.size)
    #expect(fetching.hasBeenAsked(times: 1))
  }

  @Test("a run that may not have an artifact does not keep it from the others that wait for the same")
  func refusedAlone() async throws {
    let directory = try TemporaryDirectory()
    let fetching = Fetching()
    let cache = try cache(directory, fetching)
    let one = wanted(1)
    fetching.state.withLock { $0.refused = [RunID(1)] }
    let first = Task { try await cache.obtain(one, for: .run(RunID(1))) }
    try await waitUntil { fetching.hasBeenAsked(times: 1) }
    let second = Task { try await cache.obtain(one, for: .run(RunID(2))) }
    try await waitUntil { await cache.waiterCount(of: one.key) == 2 }
    fetching.open()
    await #expect(throws: FederationError.self) { try await first.value }
    #expect(try await second.value.total == one.size)
    #expect(try await cache.obtain(one, for: .run(RunID(3))).total == 0)
  }

  @Test("when the last waiter leaves, the transfer ends, and the next one begins a new one")
  func everyoneLeaves() async throws {
    let directory = try TemporaryDirectory()
    let fetching = Fetching()
    let cache = try cache(directory, fetching)
    let one = wanted(1)
    let first = Task { try await cache.obtain(one, for: .run(RunID(1))) }
    try await waitUntil { fetching.hasBeenAsked(times: 1) }
    first.cancel()
    await #expect(throws: CancellationError.self) { try await first.value }
    fetching.open()
    #expect(try await cache.obtain(one, for: .run(RunID(2))).total == one.size)
  }

  @Test("I4: an input set is reserved whole, in order of arrival: no two runs each hold half, and none is passed")
  func wholeSets() async throws {
    let directory = try TemporaryDirectory()
    let cache = try cache(directory, Fetching(isOpen: true), capacity: 100)
    let reasons = Recorder<String>()
    let admitted = Recorder<Int>()
    try await cache.reserve([wanted(1, 40), wanted(2, 20)], for: .run(RunID(1)))
    // Needs 70 beside the 60 that are promised; a smaller one that would fit comes later, and waits behind it.
    let second = Task {
      try await cache.reserve([wanted(3, 50), wanted(4, 20)], for: .run(RunID(2))) { reason in
        reasons.add(reason)
      }
      admitted.add(2)
    }
    try await waitUntil { !reasons.all.isEmpty }
    let third = Task {
      try await cache.reserve([wanted(5, 10)], for: .run(RunID(3)))
      admitted.add(3)
    }
    #expect(reasons.all.first?.contains("waiting for room in the cache") == true)
    // Whoever holds its set and tries again is not behind those who wait for it.
    try await cache.reserve([wanted(1, 40), wanted(2, 20)], for: .run(RunID(1)))
    #expect(admitted.all.isEmpty)
    await cache.release(.run(RunID(1)))
    try await second.value
    try await third.value
    #expect(Set(admitted.all) == [2, 3])
    #expect(await cache.usedBytes == 80)
  }

  @Test(
    "I4: what a run or the control plane has pinned is never evicted; the longest unused goes first", arguments: [0, 1])
  func eviction(seed: Int) async throws {
    let directory = try TemporaryDirectory()
    let cache = try cache(directory, Fetching(isOpen: true), capacity: 100)
    for name in 1...4 {
      let holder = ReplicaHolder.run(RunID(Int64(name)))
      try await cache.reserve([wanted(name, 25)], for: holder)
      _ = try await cache.obtain(wanted(name, 25), for: holder)
    }
    for name in 2...4 { await cache.release(.run(RunID(Int64(name)))) }
    await cache.pin([wanted(2).key], replacing: true)
    try await cache.reserve([wanted(5, 30)], for: .run(RunID(5)))
    let there = await [1, 2, 3, 4].asyncFilter { await cache.contains(wanted($0).key) }
    #expect(there == [1, 2])
    // An order to evict leaves what a run has, and takes the rest.
    await cache.evict(wanted(1).key)
    await cache.evict(wanted(2).key)
    #expect(await cache.contains(wanted(1).key))
    #expect(await !cache.contains(wanted(2).key))
  }

  @Test(
    "what the control plane values least goes first, however late it was used; what is dear and unused goes some day, too"
  )
  func values() async throws {
    let directory = try TemporaryDirectory()
    let cache = try cache(directory, Fetching(isOpen: true), capacity: 100)
    func bring(_ name: Int) async throws {
      let holder = ReplicaHolder.run(RunID(Int64(name)))
      try await cache.reserve([wanted(name, 25)], for: holder)
      _ = try await cache.obtain(wanted(name, 25), for: holder)
      await cache.release(holder)
    }
    for name in 1...4 { try await bring(name) }
    await cache.value([wanted(1).key: 5, wanted(3).key: 1], replacing: true)
    try await bring(5)
    try await bring(6)
    #expect(await (1...6).asyncFilter { await cache.contains(wanted($0).key) } == [1, 3, 5, 6])
    // An order that is all there is takes values back.
    await cache.value([wanted(1).key: 5], replacing: true)
    try await bring(7)
    #expect(await (1...7).asyncFilter { await cache.contains(wanted($0).key) } == [1, 5, 6, 7])
    // What is worth something and used again and again outlives what was worth more once.
    for name in 8...20 {
      await cache.value([wanted(name).key: 2], replacing: false)
      try await bring(name)
      await cache.value([wanted(name).key: 2], replacing: false)
    }
    #expect(await !cache.contains(wanted(1).key))
  }

  @Test("an order to evict what a run has is answered: it stays")
  func refuses() async throws {
    let directory = try TemporaryDirectory()
    let events = DataEventOutbox()
    let cache = try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 1 << 30, fetching: Fetching(isOpen: true),
      events: events)
    let large = wanted(1, 2 << 20)
    _ = try await cache.obtain(large, for: .run(RunID(1)))
    _ = events.take()
    await cache.evict(large.key)
    #expect(events.take().map(\.ready.size) == [2 << 20])
    await cache.release(.run(RunID(1)))
    await cache.evict(large.key)
    #expect(events.take().map(\.gone.reason) == ["evicted"])
  }

  /// What the next eviction moves a replica to cannot be had.
  private func blockEviction(in cache: DataCache) throws {
    for number in 1...100 { try POSIXFile.makeDirectories("\(cache.workDirectory)/gone-\(number)/full") }
  }

  @Test("I2: an output that cannot be evicted stays, is told so, and is still the only copy that nobody may take")
  func failedEviction() async throws {
    let directory = try TemporaryDirectory()
    let events = DataEventOutbox()
    let cache = try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 3 << 20, fetching: Fetching(isOpen: true),
      events: events)
    let bytes = [UInt8](repeating: 1, count: 2 << 20)
    let sha256 = ArtifactPacking.hexadecimal(SHA256.hash(data: Data(bytes)))
    let key = DataKey(sha256: sha256)
    try Data(bytes).write(to: URL(fileURLWithPath: cache.workDirectory + "/packed"))
    _ = try await cache.admit(
      PackedFile(path: cache.workDirectory + "/packed", size: 2 << 20, sha256: sha256), for: RunID(1),
      staysUnstored: true)
    await cache.release(.run(RunID(1)))
    await cache.pin([key], replacing: false)
    _ = events.take()
    try blockEviction(in: cache)
    await cache.evict(key)
    #expect(events.take().map(\.ready.size) == [2 << 20])
    #expect(await cache.contains(key) && access(cache.layout.unstoredMark(sha256), F_OK) == 0)
    // Neither the pin nor the mark has gone: each alone keeps it from making way.
    for number in 1...100 { POSIXFile.removeTree("\(cache.workDirectory)/gone-\(number)") }
    await cache.unpin([key])
    let reasons = Recorder<String>()
    let other = Task { try await cache.reserve([wanted(2, 2 << 20)], for: .run(RunID(2))) { reasons.add($0) } }
    try await waitUntil { !reasons.all.isEmpty }
    #expect(await cache.contains(key))
    await cache.evict(key)
    try await other.value
    #expect(events.take().contains { $0.key == key.text && $0.gone.reason == "evicted" })
    #expect(access(cache.layout.unstoredMark(sha256), F_OK) != 0)
  }

  @Test("how a replica came is told once, whatever is asked about it before that was sent")
  func arrivalsStay() {
    let events = DataEventOutbox()
    let key = wanted(1, 2 << 20).key
    events.ready(key, size: 2 << 20, moved: 2 << 20, milliseconds: 70, source: .repository(key: "k"))
    // An order to stage it, one to evict what is needed, a new session.
    events.ready(key, size: 2 << 20, moved: 0, milliseconds: 0, source: nil)
    events.dropReplicas()
    let told = events.take()
    #expect(told.map(\.ready.bytesMoved) == [2 << 20] && told.first?.ready.hasSource == true)
    // A later arrival, and an end, take its place.
    events.ready(key, size: 2 << 20, moved: 2 << 20, milliseconds: 70, source: .repository(key: "k"))
    events.gone(key, because: "evicted")
    #expect(events.take().map(\.gone.reason) == ["evicted"])
    events.ready(key, size: 2 << 20, moved: 0, milliseconds: 0, source: nil)
    events.dropReplicas()
    #expect(events.take().isEmpty)
  }

  @Test("replicas, and marks of outputs that are nowhere else, survive a restart of the agent")
  func restart() async throws {
    let directory = try TemporaryDirectory()
    let first = try cache(directory, Fetching(isOpen: true))
    _ = try await first.obtain(wanted(1), for: .run(RunID(1)))
    let path = first.workDirectory + "/packed"
    let sha256 = ArtifactPacking.hexadecimal(SHA256.hash(data: Data("made".utf8)))
    let file = try POSIXFile.open(path, O_WRONLY | O_CREAT)
    try POSIXFile.write(file, Data("made".utf8), "a file")
    POSIXFile.close(file)
    _ = try await first.admit(PackedFile(path: path, size: 4, sha256: sha256), for: RunID(1), staysUnstored: true)

    let second = try cache(directory, Fetching(isOpen: true), capacity: 13)
    #expect(await second.contains(wanted(1).key))
    // Room for something new is made of what is elsewhere too.
    try await second.reserve([wanted(2, 9)], for: .run(RunID(2)))
    #expect(await !second.contains(wanted(1).key))
    #expect(await second.contains(DataKey(sha256: sha256)))
    await second.stored(sha256)
    await second.evict(DataKey(sha256: sha256))
    #expect(await !second.contains(DataKey(sha256: sha256)))
  }

  @Test("a corrupt replica is found, removed and told, and a run that still needs it gets it again")
  func scrub() async throws {
    let directory = try TemporaryDirectory()
    let events = DataEventOutbox()
    let fetching = Fetching(isOpen: true)
    let cache = try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 1 << 30, fetching: fetching, events: events)
    // What this fetching publishes never has the checksum of its name.
    let large = wanted(1, 2 << 20)
    try await cache.reserve([large], for: .run(RunID(1)))
    _ = try await cache.obtain(large, for: .run(RunID(1)))
    let scrub = CacheScrub(cache: cache, interval: nil, bytesPerSecond: 1 << 30, logger: silentLogger())
    let found = await scrub.round()
    #expect(found.corrupt == 1 && found.replicas == 1)
    #expect(events.take().contains { $0.key == large.key.text && $0.gone.reason == "corrupt" })
    // The run that has it did not ask again.
    try await waitUntil { fetching.hasBeenAsked(times: 2) }
    try await waitUntil { await cache.contains(large.key) }
  }

  @Test(
    "I2: a replica that cannot be read now is not corrupt: it stays, with its mark, is told to people and looked at again"
  )
  func unreadable() async throws {
    let directory = try TemporaryDirectory()
    let events = DataEventOutbox()
    let cache = try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 1 << 30, fetching: Fetching(isOpen: true),
      events: events)
    let bytes = [UInt8](repeating: 1, count: 2 << 20)
    let sha256 = ArtifactPacking.hexadecimal(SHA256.hash(data: Data(bytes)))
    try Data(bytes).write(to: URL(fileURLWithPath: cache.workDirectory + "/packed"))
    _ = try await cache.admit(
      PackedFile(path: cache.workDirectory + "/packed", size: 2 << 20, sha256: sha256), for: RunID(1),
      staysUnstored: true)
    _ = events.take()
    let failures = Mutex(3)
    let scrub = CacheScrub(
      cache: cache, interval: nil, bytesPerSecond: 1 << 30,
      examine: { key, layout, meter in
        let isFailing = failures.withLock { left in
          left -= 1
          return left >= 0
        }
        if isFailing {
          throw POSIXFile.failure("Cannot open \(layout.replica(key))", [EMFILE, EIO, ESTALE].randomElement()!)
        }
        return try CacheScrub.examine(key, layout, meter)
      }, logger: silentLogger())
    let first = await scrub.round()
    #expect(first.unexamined == 1 && first.corrupt == 0 && first.replicas == 1)
    #expect(scrub.summary.contains("1 that could not be read"))
    #expect(await cache.contains(DataKey(sha256: sha256)))
    #expect(access(cache.layout.object(sha256), F_OK) == 0 && access(cache.layout.unstoredMark(sha256), F_OK) == 0)
    #expect(events.take().isEmpty)
    // One failure is left: the second look of the round finds it sound.
    let second = await scrub.round()
    #expect(second.unexamined == 0 && second.corrupt == 0 && second.replicas == 1)
  }

  @Test("what a run of another cluster reads of a shared cache stays for it, though it is corrupt, and goes after it")
  func corruptElsewhere() async throws {
    let directory = try TemporaryDirectory()
    let writer = try cache(directory, Fetching(isOpen: true))
    let reader = try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 1000, reader: "other",
      workDirectory: directory.path + "/own", fetching: Fetching(isOpen: true))
    let one = wanted(1)
    _ = try await writer.obtain(one, for: .order(one.key))
    await writer.release(.order(one.key))
    #expect(try await reader.obtain(one, for: .run(RunID(7))).total == 0)
    let scrub = CacheScrub(cache: writer, interval: nil, bytesPerSecond: 1 << 30, logger: silentLogger())
    #expect(await scrub.round().corrupt == 1)
    #expect(await !writer.contains(one.key))
    func aside() -> [String] {
      ((try? POSIXFile.entries(ofPath: writer.workDirectory)) ?? []).filter { $0.hasPrefix("corrupt-") }
    }
    await writer.sweepAside()
    #expect(aside().count == 1)
    await reader.release(.run(RunID(7)))
    await writer.sweepAside()
    try await waitUntil { aside().isEmpty }
  }

  @Test(
    "a full disk pauses staging with a reason, and it goes on by itself when there is room", .timeLimit(.minutes(1)))
  func fullDisk() async throws {
    guard geteuid() == 0 else { return print("skipped: only root can make a small file system") }
    let directory = try TemporaryDirectory()
    let path = directory.path + "/cache"
    try POSIXFile.makeDirectories(path)
    #expect(try StepRunner.execute(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path]).status == 0)
    defer { _ = try? StepRunner.execute(["umount", "-l", path]) }
    let cache = try cache(directory, Fetching(isOpen: true), capacity: 1 << 30)
    try directory.write([UInt8](repeating: 1, count: 6 << 20), to: "cache/filler")
    let reasons = Recorder<String>()
    let waiting = Task {
      try await cache.reserve([wanted(1, 4 << 20)], for: .run(RunID(1))) { reason in
        reasons.add(reason)
      }
      return try await cache.obtain(wanted(1, 4 << 20), for: .run(RunID(1)))
    }
    try await waitUntil { reasons.all.contains { $0.contains("the disk of the cache is full") } }
    unlink(path + "/filler")
    #expect(try await waiting.value.total == 4 << 20)
  }

  @Test("of two agents that share a cache one writes; the other sees what it publishes, and its pins are honoured")
  func shared() async throws {
    let directory = try TemporaryDirectory()
    let fetching = Fetching(isOpen: true)
    let writer = try cache(directory, fetching, capacity: 20)
    let reader = try DataCache(
      layout: CacheLayout(directory: directory.path + "/cache"), capacity: 20, reader: "other",
      workDirectory: directory.path + "/own",
      fetching: Fetching(isOpen: true))
    let one = wanted(1)
    let waiting = Task { try await reader.obtain(one, for: .run(RunID(7))) }
    try await waitUntil { await reader.waiterCount(of: one.key) == 1 }
    _ = try await writer.obtain(one, for: .order(one.key))
    #expect(try await waiting.value.total == 0)
    await writer.release(.order(one.key))
    await writer.evict(one.key)
    #expect(await writer.contains(one.key))
    await reader.release(.run(RunID(7)))
    await writer.evict(one.key)
    #expect(await !writer.contains(one.key))
  }

  @Test("a reader of a shared cache that gives up leaves no mark behind")
  func noMarks() async throws {
    let directory = try TemporaryDirectory()
    let layout = CacheLayout(directory: directory.path + "/cache")
    let reader = try DataCache(
      layout: layout, capacity: 20, reader: "other", workDirectory: directory.path + "/own",
      fetching: Fetching(isOpen: true))
    let one = wanted(1)
    let waiting = Task { try await reader.obtain(one, for: .run(RunID(7))) }
    try await waitUntil { await reader.waiterCount(of: one.key) == 1 }
    waiting.cancel()
    await #expect(throws: CancellationError.self) { try await waiting.value }
    try await waitUntil { (try? POSIXFile.entries(ofPath: layout.pins + "/other")) == [] }
  }
}

extension Sequence {
  fileprivate func asyncFilter(_ isIncluded: (Element) async -> Bool) async -> [Element] {
    var result: [Element] = []
    for element in self where await isIncluded(element) { result.append(element) }
    return result
  }
}
