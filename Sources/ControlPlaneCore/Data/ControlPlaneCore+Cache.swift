import FederationModel

/// What agents tell of their caches, and the complete set of what is wanted of them.
extension ControlPlaneCore {
  /// After a welcome: everything that the cluster's cache is to do. What it does besides is not wanted any more.
  mutating func sendOrders(to cluster: ClusterName, _ session: SessionID) {
    guard dataSession(of: cluster) == session else { return }
    assignIndexing()
    findTransfers(of: cluster)
    var orders = DataOrders()
    orders.isComplete = true
    for id in (data.transfersByCluster[cluster] ?? []).sorted() {
      let entry = data.transfers[id]!
      if entry.row.cause == .stageOut {
        if let store = storeOrder(entry.row.key) { orders.store.append(store) }
      } else if entry.row.cause == .archive {
        if let archive = archiveOrder(entry.row.key) { orders.archive.append(archive) }
      } else if isOrdered(entry), absentHome(of: entry.row.key, for: cluster) == nil {
        if let object = object(entry.row.key, entry.row.project, for: cluster) {
          orders.stage.append(object)
        } else {
          close(id, .cancelled, message: "nobody knows any more where it can be had")
        }
      }
    }
    orders.index = data.indexing.filter { $0.value == cluster }.keys.sorted().compactMap { indexOrder($0) }
    if let cache = cache(of: cluster) {
      orders.pin = data.keys(in: cache).filter { data.replicas[$0]?[cache]?.isPinned == true }
      orders.values =
        data.inBook(cache) { book in
          book.forgetLeaving()
          return book.tellAll()
        }?.map { DataOrders.Value(key: $0.key, value: $0.value) }.sorted { $0.key < $1.key } ?? []
    }
    output.order(cluster, session) { $0 = orders }
    orderFiles(of: cluster)
  }

  /// What a cluster has is in a cache of another name from now on: what moves there moves into that one, and what its runs read is
  /// kept there.
  mutating func changeCache(of cluster: ClusterName, from old: String, to new: String?) {
    let runs = runs
    for id in (data.transfersByCluster[cluster] ?? []).sorted() {
      data.undirect(id, from: old)
      // Runs of those that shared the old one read that one still.
      data.change(id) { $0.waiters = $0.waiters.filter { runs[$0]?.row.cluster == cluster } }
      guard data.transfers[id]!.row.cause == .run, data.transfers[id]!.waiters.isEmpty else { continue }
      close(id, .cancelled, message: "its cluster has another cache now")
    }
    for run in (clusters[cluster]?.runs ?? []).sorted() {
      for key in (runs[run]?.inputs ?? [:]).keys.sorted() {
        data.pin(ReplicaName(key: key, cache: old), false)
        if let new { data.pin(ReplicaName(key: key, cache: new), true) }
        if let id = data.inward[ReplicaName(key: key, cache: old)] { data.change(id) { _ = $0.waiters.remove(run) } }
      }
    }
    findTransfers(of: cluster)
  }

  /// Transfers of which it was not known yet into which cache they go.
  private mutating func findTransfers(of cluster: ClusterName) {
    guard let cache = cache(of: cluster) else { return }
    for id in (data.transfersByCluster[cluster] ?? []).sorted() {
      let row = data.transfers[id]!.row
      guard !row.cause.isOutward else { continue }
      let name = ReplicaName(key: row.key, cache: cache)
      if data.inward[name] == nil {
        data.direct(id, into: cache)
      } else if data.inward[name] != id {
        close(id, .cancelled, message: "another transfer brings it")
      }
    }
  }

  /// A part of the list of all that a cache holds. With the last part, what was not named is gone.
  mutating func reported(_ report: CacheReport, of cluster: ClusterName, _ session: SessionID) {
    guard clusters[cluster]?.session == session, let cache = cache(of: cluster) else { return }
    if report.isFirst { data.reports[cluster] = [] }
    guard data.reports[cluster] != nil else { return }
    for replica in report.replicas {
      guard isKnown(replica.key, replica.size) else {
        disown(replica.key, on: cluster)
        continue
      }
      data.reports[cluster]!.insert(replica.key)
      arrived(replica.key, replica.size, on: cluster)
    }
    guard report.isLast, let named = data.reports.removeValue(forKey: cluster) else { return }
    for key in data.keys(in: cache) where !named.contains(key) {
      vanished(key, from: cache, because: "lost")
    }
    forgetCachesOfNobody()
  }

  /// A cache whose name no cluster uses any more is nowhere: what was said to be in it is either told under another name, or lost.
  /// Not before its cluster has told what it has now: else outputs would be made again that are still there.
  private mutating func forgetCachesOfNobody() {
    for name in data.cacheNames.sorted() where cacheMembers[name] == nil {
      for key in data.keys(in: name) { vanished(key, from: name, because: "no cluster has that cache any more") }
    }
  }

  mutating func received(_ events: [DataEvent], from cluster: ClusterName, _ session: SessionID) {
    guard clusters[cluster]?.session == session else { return }
    for event in events { apply(event, on: cluster) }
  }

  private mutating func apply(_ event: DataEvent, on cluster: ClusterName) {
    let transfer = cache(of: cluster).flatMap { data.inward[ReplicaName(key: event.key, cache: $0)] }
    switch event.change {
    case .ready(let size, let moved, let milliseconds, let source):
      guard isKnown(event.key, size) else { return disown(event.key, on: cluster) }
      data.reports[cluster]?.insert(event.key)
      arrived(event.key, size, on: cluster, moved: moved, milliseconds: milliseconds, from: source)
    case .gone(let reason):
      guard let cache = cache(of: cluster) else { return }
      data.reports[cluster]?.remove(event.key)
      vanished(event.key, from: cache, because: reason)
    case .progress(let done, let rate, let waiting, let source):
      guard let transfer else { return }
      progressed(transfer, done, rate, waiting, source)
    case .failed(let message):
      guard let transfer, data.transfers[transfer]!.waiters.isEmpty else { return }
      close(transfer, .failed, message: message)
    case .stored(let failure, let moved, let milliseconds, let manifest):
      stored(
        event.key, on: cluster, failure: failure, moved: moved, milliseconds: milliseconds, manifest: manifest)
    case .archived(let failure, let moved): archived(event.key, on: cluster, failure: failure, moved: moved)
    case .indexed(let failure, let manifest, let files, let size, let isValidated):
      indexed(event.key, on: cluster, failure: failure, manifest, files, size, isValidated: isValidated)
    }
  }

  private mutating func progressed(
    _ id: TransferID, _ done: ByteCount, _ rate: Int64, _ waiting: String, _ source: DataSource?
  ) {
    var entry = data.transfers[id]!
    let before = entry.remaining
    // Told by an agent, so not believed beyond what is to be moved.
    entry.row.moved = min(max(done, entry.row.moved), entry.row.size)
    entry.rate = max(0, rate)
    entry.waiting = waiting
    if let source { entry.row.source = source.linkName }
    clusters[entry.row.cluster]?.backlogIn -= before - entry.remaining
    if entry.row.phase == .waiting {
      entry.row.phase = .running
      entry.row.startedAt = now
      output.transfers[id] = entry.row
    }
    data.change(id) { $0 = entry }
  }

  /// A version that was deleted while its agent was away is of no use to anybody there.
  private mutating func disown(_ key: DataKey, on cluster: ClusterName) {
    guard DatasetReference.parse(key) != nil, let writer = writer(for: cluster), let session = dataSession(of: writer)
    else { return }
    output.order(writer, session) { $0.evict.append(key) }
  }

  /// Whether a replica is followed: a version that is not deleted, or an artifact that is large enough.
  private func isKnown(_ key: DataKey, _ size: ByteCount) -> Bool {
    if let version = data.version(key) { return version.phase == .ready && version.size == size }
    return key.sha256 != nil && size >= Self.followedSize
  }
}
