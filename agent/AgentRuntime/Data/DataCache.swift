internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// How a replica gets here.
protocol ReplicaFetching: Sendable {
  /// Brings the bytes of `wanted`, verified, to `layout.replica(key)`, in one rename. Goes on where an earlier attempt was cut.
  ///
  /// - Parameter run: in whose name the repository is asked; nil: by order.
  /// - Throws: retryable errors, or others for good.
  func fetch(_ wanted: WantedReplica, for run: RunID?, into layout: CacheLayout, _ gauge: TransferGauge) async throws
}

/// Replicas on this cluster: what was made or fetched here once moves no byte again.
///
/// Bounded by `capacity`. A run's whole input set is reserved at once, first come first served, so that no two runs each hold half
/// (I4); what a run, or the control plane, has pinned is never evicted, and of the rest the least valuable goes first. One transfer for each key at a time, however many runs and
/// orders wait for it (I5). Of the agents that share a cache one writes; the others wait for what it publishes.
actor DataCache {
  struct Entry {
    var size: Int64
    /// Counts up.
    var lastUse: UInt64
    var lastUseAt: Timestamp
    /// What the control plane says that it is worth; 0 without a word of it.
    var value = 0.0
    /// Its value on top of what was worth evicting when it was used last: the least goes first.
    var rank = 0.0
  }

  /// One transfer under way and everybody who waits for it. It belongs to none of them: it goes on while anybody waits.
  struct Flight {
    var wanted: WantedReplica
    var task: Task<Void, Never>
    /// In whose name the control plane is asked.
    var beginner: ReplicaHolder
    var gauge: TransferGauge
    var startedNanoseconds: UInt64
    var waiters: [UInt64: (holder: ReplicaHolder, continuation: CheckedContinuation<Arrival, any Error>)] = [:]
  }

  enum Arrival {
    case here(MovedBytes)
    /// The one that asked may not have it; that says nothing about the others, who ask in their own name.
    case askAgain
  }

  struct Ticket {
    var number: UInt64
    var holder: ReplicaHolder
    var sizes: [DataKey: Int64]
    var waiting: @Sendable (String) -> Void
    var reason = ""
    var continuation: CheckedContinuation<Void, any Error>
  }

  nonisolated let layout: CacheLayout
  nonisolated let capacity: Int64
  /// Where packers write; emptied at start. On the cache's file system, but for an agent that does not write it.
  nonisolated let workDirectory: String
  /// nil: this agent writes the cache; else its own name in `pins`.
  nonisolated let reader: ClusterName?
  /// Of replicas that are not in this directory; nil: all are.
  nonisolated let keeper: (any ReplicaKeeper)?
  let fetching: any ReplicaFetching
  let events: DataEventOutbox
  var entries: [DataKey: Entry] = [:]
  var holders: [DataKey: Set<ReplicaHolder>] = [:]
  var held: [ReplicaHolder: Set<DataKey>] = [:]
  /// Of what is held: where it can be had again.
  var wantedByKey: [DataKey: WantedReplica] = [:]
  /// Promised to what is not here yet.
  var reserved: [DataKey: Int64] = [:]
  var reservedBytes: Int64 = 0
  var pinnedByOrder: Set<DataKey> = []
  var unstored: Set<String> = []
  var flights: [DataKey: Flight] = [:]
  /// Corrupt replicas that runs had when they were found, here or on a cluster that shares this cache: deleted when the last of
  /// these has ended.
  var setAside: [DataKey: (path: String, holders: Set<ReplicaHolder>)] = [:]
  var queue: [Ticket] = []
  var isRetrying = false
  var useCounter: UInt64 = 0
  /// The rank of what was evicted last: what nobody uses falls behind it some day, however dear it is (GreedyDual-Size).
  var age = 0.0
  var lastNumber: UInt64 = 0
  var bytes: Int64 = 0

  /// Opens the cache. Leftovers of a killed agent are removed; whole replicas are kept, by age of their last use.
  init(
    layout: CacheLayout, capacity: Int64, reader: ClusterName? = nil, workDirectory: String? = nil,
    fetching: any ReplicaFetching, keeper: (any ReplicaKeeper)? = nil, events: DataEventOutbox = DataEventOutbox()
  ) throws {
    self.layout = layout
    self.workDirectory = workDirectory ?? layout.work
    self.capacity = capacity
    self.reader = reader
    self.fetching = fetching
    self.keeper = keeper
    self.events = events
    try layout.make()
    if let reader {
      POSIXFile.removeTree(self.workDirectory)
      try POSIXFile.makeDirectories(self.workDirectory)
      POSIXFile.removeTree(layout.pins + "/" + reader.text)
      try POSIXFile.makeDirectories(layout.pins + "/" + reader.text)
      return
    }
    for name in try POSIXFile.entries(ofPath: layout.work) { POSIXFile.removeTree(layout.work + "/" + name) }
    var found = try Self.objects(in: layout) + Self.trees(in: layout)
    found.sort { $0.seconds < $1.seconds }
    for one in found {
      if one.key.sha256 == nil, KeptReplica.place(layout.tree(one.key)) != keeper?.place(of: one.key)?.text {
        // Of what an operator has declared since: it is to be had from where it is now.
        POSIXFile.removeTree(layout.tree(one.key))
        continue
      }
      useCounter += 1
      entries[one.key] = Entry(
        size: one.size, lastUse: useCounter, lastUseAt: Timestamp(milliseconds: Int64(one.seconds) * 1000))
      bytes += Self.room(one.key, one.size, keeper)
      if keeper?.place(of: one.key) != nil { keeper?.kept(one.key, size: one.size) }
    }
    for name in try POSIXFile.entries(ofPath: layout.unstored) {
      if entries[DataKey(sha256: name)] != nil { unstored.insert(name) } else { unlink(layout.unstoredMark(name)) }
    }
  }

  private typealias Found = (key: DataKey, size: Int64, seconds: Int)

  private static func objects(in layout: CacheLayout) throws -> [Found] {
    let directory = try POSIXFile.open(layout.objects, O_RDONLY | O_DIRECTORY)
    defer { POSIXFile.close(directory) }
    return try POSIXFile.entries(of: directory).compactMap { name in
      var status = stat()
      guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0, name.utf8.count == 64 else { return nil }
      return (DataKey(sha256: name), Int64(status.st_size), status.st_mtim.tv_sec)
    }
  }

  private static func trees(in layout: CacheLayout) throws -> [Found] {
    try POSIXFile.entries(ofPath: layout.trees).compactMap { name in
      let path = layout.trees + "/" + name
      var status = stat()
      guard let record = TreeRecord.read(path), stat(path + "/key", &status) == 0 else { return nil }
      return (record.key, record.size, status.st_mtim.tv_sec)
    }
  }

  // MARK: Obtaining

  /// Makes a replica be here, verified, and pins it for `holder`.
  ///
  /// - Returns: the bytes that moved over the link for it: none when it was here.
  func obtain(_ wanted: WantedReplica, for holder: ReplicaHolder) async throws -> MovedBytes {
    while true {
      try Task.checkCancellation()
      if isHere(wanted.key) {
        hold(wanted.key, holder)
        return MovedBytes()
      }
      if flights[wanted.key] == nil { begin(wanted, for: holder) }
      if case .here(let moved) = try await wait(for: wanted.key, holder) { return moved }
    }
  }

  /// What another agent published is found on the disk.
  func isHere(_ key: DataKey) -> Bool {
    if let reader {
      let pin = pin(of: key, for: reader)
      // The pin first: a writer that looks later leaves it.
      POSIXFile.close((try? POSIXFile.open(pin, O_WRONLY | O_CREAT)) ?? -1)
      guard access(layout.replica(key), F_OK) == 0 else {
        if holders[key] == nil { unlink(pin) }
        return false
      }
      if entries[key] == nil { insert(key, size: 0) }
      return true
    }
    return entries[key] != nil
  }

  func pin(of key: DataKey, for reader: ClusterName) -> String {
    "\(layout.pins)/\(reader.text)/\(CacheLayout.entryName(key))"
  }

  private func begin(_ wanted: WantedReplica, for holder: ReplicaHolder) {
    let gauge = TransferGauge()
    let task = Task {
      let result: Result<Void, any Error>
      do {
        if reader == nil {
          try await fetching.fetch(wanted, for: holder.run, into: layout, gauge)
        } else {
          gauge.wait(for: "waiting for the agent that writes this cache")
          while !isHere(wanted.key) { try await Task.sleep(for: .milliseconds(500)) }
        }
        result = .success(())
      } catch { result = .failure(error) }
      arrived(wanted.key, result)
    }
    flights[wanted.key] = Flight(
      wanted: wanted, task: task, beginner: holder, gauge: gauge, startedNanoseconds: SystemClock.boottimeNanoseconds)
  }

  private func wait(for key: DataKey, _ holder: ReplicaHolder) async throws -> Arrival {
    lastNumber += 1
    let waiter = lastNumber
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        flights[key]!.waiters[waiter] = (holder, continuation)
        // Cancelled before it was registered: then nobody else takes it out.
        if Task.isCancelled { leave(key, waiter) }
      }
    } onCancel: {
      Task { await self.leave(key, waiter) }
    }
  }

  /// A cancelled waiter goes at once; the last one takes the transfer with it.
  private func leave(_ key: DataKey, _ waiter: UInt64) {
    guard let left = flights[key]?.waiters.removeValue(forKey: waiter) else { return }
    if flights[key]!.waiters.isEmpty { flights[key]!.task.cancel() }
    left.continuation.resume(throwing: CancellationError())
  }

  private func arrived(_ key: DataKey, _ result: Result<Void, any Error>) {
    guard let flight = flights.removeValue(forKey: key) else { return }
    let reading = flight.gauge.reading
    if case .success = result, reader == nil {
      insert(key, size: flight.wanted.size)
      let took = (SystemClock.boottimeNanoseconds - flight.startedNanoseconds) / 1_000_000
      events.ready(
        key, size: flight.wanted.size, moved: reading.bytesMoved, milliseconds: Int64(took), source: reading.source)
    } else if holders[key] == nil {
      unreserve(key)
    }
    for (index, (_, waiter)) in flight.waiters.sorted(by: { $0.key < $1.key }).enumerated() {
      switch result {
      case .success:
        hold(key, waiter.holder)
        let moved = MovedBytes(total: reading.bytesMoved, fromClusters: reading.bytesFromClusters)
        waiter.continuation.resume(returning: .here(index == 0 ? moved : MovedBytes()))
      case .failure(let error):
        let mayFareBetter =
          error is CancellationError
          || (waiter.holder != flight.beginner && (error as? FederationError)?.isRetryable == false)
        if mayFareBetter {
          waiter.continuation.resume(returning: .askAgain)
        } else {
          waiter.continuation.resume(throwing: error)
        }
      }
    }
    // Everybody who waited for it has left.
    if let reader, holders[key] == nil { unlink(pin(of: key, for: reader)) }
    if !queue.isEmpty { admitWaiting() }
  }

  private func insert(_ key: DataKey, size: Int64) {
    unreserve(key)
    guard entries[key] == nil else { return }
    useCounter += 1
    entries[key] = Entry(size: size, lastUse: useCounter, lastUseAt: SystemClock.now, rank: age)
    bytes += room(key, size)
    if isElsewhere(key) { keeper?.kept(key, size: size) }
  }

  /// Whether somebody else keeps it.
  func isElsewhere(_ key: DataKey) -> Bool { keeper?.place(of: key) != nil }

  /// What it takes of this cache.
  func room(_ key: DataKey, _ size: Int64) -> Int64 { Self.room(key, size, keeper) }
  private static func room(_ key: DataKey, _ size: Int64, _ keeper: (any ReplicaKeeper)?) -> Int64 {
    keeper?.place(of: key) == nil ? size : 0
  }

  /// Whoever keeps it elsewhere does not have all of it any more. Runs that read it go on.
  func lost(_ key: DataKey) {
    guard isElsewhere(key), flights[key] == nil, let entry = entries.removeValue(forKey: key) else { return }
    lastNumber += 1
    let aside = "\(layout.work)/gone-\(lastNumber)"
    if rename(layout.replica(key), aside) == 0 { Self.removeLater(aside) }
    pinnedByOrder.remove(key)
    events.gone(key, because: "evicted", size: entry.size)
  }

  // MARK: What is made here

  /// Takes over a file that was packed here, and pins it for `run`. Returns where it is now.
  ///
  /// - Parameter staysUnstored: it is nowhere else, and is kept until it has been stored or is to be evicted.
  func admit(_ file: PackedFile, for run: RunID, staysUnstored: Bool = false) throws -> PackedFile {
    let key = DataKey(sha256: file.sha256)
    // One agent writes a shared cache: a reader's file stays where it was packed, until it has been stored.
    guard reader == nil else { return file }
    if entries[key] == nil {
      makeRoom(for: file.size)
      guard rename(file.path, layout.object(file.sha256)) == 0 else {
        throw POSIXFile.failure("Cannot keep an artifact")
      }
      insert(key, size: file.size)
    } else {
      unlink(file.path)
    }
    hold(key, .run(run))
    if staysUnstored {
      POSIXFile.close(try POSIXFile.open(layout.unstoredMark(file.sha256), O_WRONLY | O_CREAT))
      unstored.insert(file.sha256)
      events.ready(key, size: file.size, moved: 0, milliseconds: 0, source: nil)
    }
    return PackedFile(path: layout.object(file.sha256), size: file.size, sha256: file.sha256)
  }

  private func makeRoom(for size: Int64) {
    var excess = bytes + reservedBytes + size - capacity
    guard excess > 0 else { return }
    let read = readElsewhere()
    for (key, entry) in Self.leastFirst(entries) {
      guard excess > 0 else { break }
      if !isElsewhere(key), !isPinned(key, read), evictByRank(key) { excess -= entry.size }
    }
  }

  /// It is in the repository now.
  func stored(_ sha256: String) {
    guard unstored.remove(sha256) != nil else { return }
    unlink(layout.unstoredMark(sha256))
    if !queue.isEmpty { admitWaiting() }
  }

  // MARK: Orders

  func pin(_ keys: [DataKey], replacing: Bool) {
    if replacing { pinnedByOrder = [] }
    pinnedByOrder.formUnion(keys)
  }

  func unpin(_ keys: [DataKey]) {
    pinnedByOrder.subtract(keys)
    if !queue.isEmpty { admitWaiting() }
  }

  /// Deletes a replica, unless somebody here needs it or it cannot be deleted: then it keeps its marks, and whoever ordered it learns
  /// that it stays. An output that is nowhere else goes as well: that was the control plane's to know.
  func evict(_ key: DataKey) {
    guard reader == nil, let entry = entries[key] else { return events.gone(key, because: "lost") }
    guard holders[key] == nil, flights[key] == nil, !isRead(key, by: readers()), discard(key, because: "evicted") else {
      return events.ready(key, size: entry.size, moved: 0, milliseconds: 0, source: nil)
    }
    if let sha256 = key.sha256, unstored.remove(sha256) != nil { unlink(layout.unstoredMark(sha256)) }
    pinnedByOrder.remove(key)
    if !queue.isEmpty { admitWaiting() }
  }

  /// Pins what is here.
  func holdExisting(_ key: DataKey, _ holder: ReplicaHolder) { if entries[key] != nil { hold(key, holder) } }

  /// Deletes what has come of a transfer that nobody wants any more.
  func dropPartial(_ key: DataKey) {
    guard reader == nil, flights[key] == nil, holders[key] == nil else { return }
    if let sha256 = key.sha256 {
      unlink(layout.partial + "/" + sha256)
    } else {
      lastNumber += 1
      let aside = "\(layout.work)/partial-\(lastNumber)"
      if rename(layout.partialTree(key), aside) == 0 { Self.removeLater(aside) }
    }
  }

  /// Deletes what has come of transfers that nobody went on with for `age`.
  func sweepPartials(olderThan age: Duration) {
    guard reader == nil, let names = try? POSIXFile.entries(ofPath: layout.partial) else { return }
    let limit = SystemClock.now.milliseconds / 1000 - age.components.seconds
    for name in names {
      let path = layout.partial + "/" + name
      var status = stat()
      let isIdle = !flights.keys.contains { name == ($0.sha256 ?? "tree-" + CacheLayout.treeName($0)) }
      guard isIdle, lstat(path, &status) == 0, Int64(status.st_mtim.tv_sec) < limit else { continue }
      // Aside first: a transfer that begins now must not find files that are about to go.
      lastNumber += 1
      let aside = "\(layout.work)/partial-\(lastNumber)"
      if rename(path, aside) == 0 { Self.removeLater(aside) }
    }
  }

  /// Takes a replica away in one rename; its files are deleted beside. False when it could not be.
  func discard(_ key: DataKey, because reason: String) -> Bool {
    guard let entry = entries[key] else { return false }
    lastNumber += 1
    let aside = "\(layout.work)/gone-\(lastNumber)"
    guard rename(layout.replica(key), aside) == 0 || errno == ENOENT else { return false }
    if isRead(key, by: readers()), rename(aside, layout.replica(key)) == 0 { return false }
    entries[key] = nil
    bytes -= room(key, entry.size)
    if isElsewhere(key) { keeper?.dropped(key) }
    events.gone(key, because: reason, size: entry.size)
    Self.removeLater(aside)
    return true
  }

  static func removeLater(_ path: String) {
    Task { try? await BlockingWork.run { POSIXFile.removeTree(path) } }
  }

  // MARK: Scrubbing

  /// What is here, the longest unused first.
  func replicas() -> [(key: DataKey, size: Int64, lastUse: Timestamp)] {
    entries.sorted { $0.value.lastUse < $1.value.lastUse }.map { ($0.key, $0.value.size, $0.value.lastUseAt) }
  }

  /// A replica does not have the bytes that it should: it is nobody's any more. Runs that read it now keep what they see; what others
  /// wait for is fetched again.
  ///
  /// - Returns: what a run still needs, and who: it is to be obtained again.
  @discardableResult
  func corrupt(_ key: DataKey) -> (wanted: WantedReplica, holder: ReplicaHolder)? {
    guard !isElsewhere(key), let entry = entries.removeValue(forKey: key) else { return nil }
    bytes -= entry.size
    lastNumber += 1
    let aside = "\(layout.work)/corrupt-\(lastNumber)"
    if rename(layout.replica(key), aside) == 0 {
      let holders = holders[key] ?? []
      if setAside[key] == nil, !holders.isEmpty || isRead(key, by: readers()) {
        setAside[key] = (aside, holders)
      } else {
        Self.removeLater(aside)
      }
    }
    if let sha256 = key.sha256, unstored.remove(sha256) != nil { unlink(layout.unstoredMark(sha256)) }
    events.gone(key, because: "corrupt", size: entry.size)
    if holders[key] != nil {
      reserved[key] = entry.size
      reservedBytes += entry.size
    }
    guard let wanted = wantedByKey[key], let holder = holders[key]?.first(where: { $0.run != nil }) else { return nil }
    return (wanted, holder)
  }

  // MARK: Telling

  /// How many wait for the transfer of a key; 0 when none is under way.
  func waiterCount(of key: DataKey) -> Int { flights[key]?.waiters.count ?? 0 }

  func contains(_ key: DataKey) -> Bool {
    reader == nil ? entries[key] != nil : access(layout.replica(key), F_OK) == 0
  }

  func size(of key: DataKey) -> Int64? { entries[key]?.size }

  /// What moves now.
  func transfers() -> [(wanted: WantedReplica, reading: TransferGauge.Reading, startedNanoseconds: UInt64)] {
    flights.values.map { ($0.wanted, $0.gauge.reading, $0.startedNanoseconds) }
  }

  var usedBytes: Int64 { bytes + reservedBytes }
  var count: Int { entries.count }
}
