internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Who gets room in the cache, and what makes way.
extension DataCache {
  // MARK: Reserving

  /// Sets room aside for a whole input set and pins what of it is here; waits, first come first served, until there is room.
  ///
  /// - Parameter waiting: told why it waits, each time that this changes.
  /// - Throws: `CancellationError`. It holds until `release(_:)`.
  func reserve(
    _ wanted: [WantedReplica], for holder: ReplicaHolder, waiting: @escaping @Sendable (String) -> Void = { _ in }
  ) async throws {
    guard reader == nil else { return }
    try Task.checkCancellation()
    let sizes = Dictionary(wanted.map { ($0.key, room($0.key, $0.size)) }, uniquingKeysWith: max)
    // Whoever tries again has it still, and must not wait behind those who wait for that.
    note(wanted)
    if sizes.keys.allSatisfy({ holders[$0]?.contains(holder) == true && (entries[$0] != nil || reserved[$0] != nil) }) {
      return
    }
    if mayTry(holder), admit(sizes, holder) == nil { return }
    lastNumber += 1
    let number = lastNumber
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let ticket = Ticket(
          number: number, holder: holder, sizes: sizes, waiting: waiting, continuation: continuation)
        queue.append(ticket)
        if Task.isCancelled { withdraw(number) } else { admitWaiting() }
      }
    } onCancel: {
      Task { await self.withdraw(number) }
    }
  }

  func note(_ wanted: [WantedReplica]) { for one in wanted { wantedByKey[one.key] = one } }

  func withdraw(_ number: UInt64) {
    guard let index = queue.firstIndex(where: { $0.number == number }) else { return }
    queue.remove(at: index).continuation.resume(throwing: CancellationError())
    admitWaiting()
  }

  /// Runs go before orders; among themselves nobody passes anybody, so that a large set is not starved by small ones.
  func mayTry(_ holder: ReplicaHolder) -> Bool {
    holder.run == nil ? queue.isEmpty : !queue.contains { $0.holder.run != nil }
  }

  func admitWaiting() {
    while let index = queue.firstIndex(where: { $0.holder.run != nil }) ?? queue.indices.first {
      if let shortage = admit(queue[index].sizes, queue[index].holder) {
        if queue[index].reason != shortage {
          queue[index].reason = shortage
          queue[index].waiting(shortage)
        }
        break
      }
      queue.remove(at: index).continuation.resume()
    }
    guard !queue.isEmpty, !isRetrying else { return }
    isRetrying = true
    Task {
      // Room on the disk comes from elsewhere as well.
      try? await Task.sleep(for: .seconds(2))
      self.retry()
    }
  }

  func retry() {
    isRetrying = false
    if !queue.isEmpty { admitWaiting() }
  }

  /// - Returns: nil when it was admitted, else why not.
  func admit(_ sizes: [DataKey: Int64], _ holder: ReplicaHolder) -> String? {
    let missing = sizes.filter { entries[$0.key] == nil && reserved[$0.key] == nil }
    let needed = missing.values.reduce(0, +)
    let excess = bytes + reservedBytes + needed - capacity
    let read = needed == 0 ? [] : readElsewhere()
    let evictable =
      needed == 0 ? [:] : entries.filter { sizes[$0.key] == nil && !isElsewhere($0.key) && !isPinned($0.key, read) }
    let evictableBytes = evictable.values.reduce(0) { $0 + $1.size }
    // What is larger than the whole cache is taken when nothing else is left.
    let isAlone = bytes - evictableBytes + reservedBytes == 0
    guard excess <= evictableBytes || isAlone else {
      let used = bytes + reservedBytes
      return
        "waiting for room in the cache: \(ByteCount(needed)) are needed, \(ByteCount(used)) of \(ByteCount(capacity)) are in use"
    }
    var tooMuch = max(excess, needed > 0 ? needed - (layout.freeBytes ?? .max) : 0)
    guard needed == 0 || tooMuch <= evictableBytes || excess > evictableBytes && tooMuch == excess else {
      return "waiting for room: the disk of the cache is full (\(ByteCount(layout.freeBytes ?? 0)) free, "
        + "\(ByteCount(needed)) needed); free some space there, and work goes on by itself"
    }
    for (key, entry) in Self.leastFirst(evictable) {
      guard tooMuch > 0 else { break }
      if evictByRank(key) { tooMuch -= entry.size }
    }
    for (key, size) in missing {
      reserved[key] = size
      reservedBytes += size
    }
    for key in sizes.keys { hold(key, holder) }
    return nil
  }

  func hold(_ key: DataKey, _ holder: ReplicaHolder) {
    holders[key, default: []].insert(holder)
    held[holder, default: []].insert(key)
    if entries[key] != nil { use(key) }
  }

  func use(_ key: DataKey) {
    useCounter += 1
    if var entry = entries[key] {
      entry.lastUse = useCounter
      entry.lastUseAt = SystemClock.now
      entry.rank = age + entry.value
      entries[key] = entry
    }
    let path = key.sha256.map(layout.object) ?? layout.tree(key) + "/key"
    if reader == nil { utimensat(AT_FDCWD, path, nil, 0) }
  }

  /// The least valuable first; of what is worth the same, the longest unused.
  static func leastFirst(_ entries: [DataKey: Entry]) -> [(key: DataKey, value: Entry)] {
    entries.sorted { ($0.value.rank, $0.value.lastUse) < ($1.value.rank, $1.value.lastUse) }
  }

  func evictByRank(_ key: DataKey) -> Bool {
    guard let rank = entries[key]?.rank, discard(key, because: "evicted") else { return false }
    age = max(age, rank)
    return true
  }

  /// What replicas are worth from now on.
  ///
  /// - Parameter replacing: what is not named is worth nothing.
  func value(_ values: [DataKey: Double], replacing: Bool) {
    if replacing {
      for (key, entry) in entries where entry.value != 0 && values[key] == nil { revalue(key, 0) }
    }
    for (key, value) in values where value >= 0 && value.isFinite { revalue(key, value) }
  }

  func revalue(_ key: DataKey, _ value: Double) {
    guard let entry = entries[key] else { return }
    entries[key]!.value = value
    entries[key]!.rank = entry.rank - entry.value + value
  }

  /// - Parameter read: as `readElsewhere()` found it.
  func isPinned(_ key: DataKey, _ read: Set<String>?) -> Bool {
    holders[key] != nil || pinnedByOrder.contains(key) || flights[key] != nil
      || key.sha256.map(unstored.contains) == true || read?.contains(CacheLayout.entryName(key)) ?? true
  }

  /// What runs of clusters that share this cache have now, as pins name it; nil when that cannot be found out, and then all of it
  /// may be read. One look at each reader's directory, however many replicas there are; `discard` looks again at the one that goes.
  func readElsewhere() -> Set<String>? {
    guard let readers = try? POSIXFile.entries(ofPath: layout.pins) else { return nil }
    var names: Set<String> = []
    for reader in readers {
      do { names.formUnion(try POSIXFile.entries(ofPath: layout.pins + "/" + reader)) } catch {
        // It makes its directory anew when it starts.
        guard POSIXFile.isMissing(layout.pins + "/" + reader) else { return nil }
      }
    }
    return names
  }

  /// The clusters that share this cache and do not write it.
  func readers() -> [String] { (try? POSIXFile.entries(ofPath: layout.pins)) ?? [] }

  /// Whether a run of another cluster that shares this cache has it.
  func isRead(_ key: DataKey, by readers: [String]) -> Bool {
    readers.contains { access("\(layout.pins)/\($0)/\(CacheLayout.entryName(key))", F_OK) == 0 }
  }

  /// A run has ended, or an order is over: what it alone held may be evicted from now on.
  func release(_ holder: ReplicaHolder) {
    for key in held.removeValue(forKey: holder) ?? [] {
      holders[key]?.remove(holder)
      guard holders[key]?.isEmpty == true else { continue }
      holders[key] = nil
      wantedByKey[key] = nil
      if flights[key] == nil { unreserve(key) }
      if let reader { unlink(pin(of: key, for: reader)) }
    }
    for key in setAside.keys { setAside[key]!.holders.remove(holder) }
    sweepAside()
    if !queue.isEmpty { admitWaiting() }
  }

  /// Deletes what was set aside and nobody reads any more. Runs elsewhere tell nobody when they end.
  func sweepAside() {
    for (key, aside) in setAside where aside.holders.isEmpty && !isRead(key, by: readers()) {
      setAside[key] = nil
      Self.removeLater(aside.path)
    }
  }

  func unpin(_ run: RunID) { release(.run(run)) }

  func unreserve(_ key: DataKey) {
    guard let size = reserved.removeValue(forKey: key) else { return }
    reservedBytes -= size
  }

  /// Runs of an earlier agent process that have not ended hold what they read.
  func restore(_ run: RunID, holding wanted: [WantedReplica]) {
    note(wanted)
    for one in wanted where isHere(one.key) { hold(one.key, .run(run)) }
  }
}
