public import FederationModel
import HeapModule
import WorkflowCore

/// What is where, and what moves.
extension ControlPlaneCore {
  /// Objects of at least this size are followed one by one, and so are all data sets. Below it the order would cost more than the
  /// bytes: such inputs count by where they were made.
  public static let followedSize = ByteCount.mebibytes(1)

  /// The storage place of a cluster; nil where no agent has told of one.
  func cache(of cluster: ClusterName) -> String? { clusters[cluster]?.inventory.cache?.name }

  /// The clusters that share a cache, by name.
  func clusters(sharing cache: String) -> [ClusterName] { (cacheMembers[cache] ?? []).sorted() }

  /// Notes what a cluster's agent is and says, and which cache it has; nil: the cluster is gone.
  mutating func setAgent(_ row: AgentRow?, of name: ClusterName) {
    let before = cache(of: name)
    if let old = before {
      cacheMembers[old]?.remove(name)
      if cacheMembers[old]?.isEmpty == true { cacheMembers[old] = nil }
    }
    clusters[name]?.agent = row
    if clusters[name]?.inventory.quotas == nil {
      clustersWithQuotas.remove(name)
    } else {
      clustersWithQuotas.insert(name)
    }
    let after = cache(of: name)
    if let after { cacheMembers[after, default: []].insert(name) }
    if let before, before != after { changeCache(of: name, from: before, to: after) }
  }

  /// Whose agent writes the cache that `cluster` reads.
  func writer(for cluster: ClusterName) -> ClusterName? {
    guard let own = clusters[cluster]?.inventory.cache else { return nil }
    if own.isWriter { return cluster }
    return clusters(sharing: own.name).first { clusters[$0]?.inventory.cache?.isWriter == true }
  }

  func isThere(_ key: DataKey, on cluster: ClusterName) -> Bool {
    guard let cache = cache(of: cluster) else { return false }
    return data.replicas[key]?[cache] != nil
  }

  /// What a run reads that is followed: its data sets and large artifacts.
  func followedInputs(of spec: TaskSpec) -> [DataKey: ByteCount] {
    var inputs: [DataKey: ByteCount] = [:]
    // Names of files alone are asked for.
    if spec.transformations != nil { return inputs }
    for input in spec.inputs {
      guard case .stored(let artifact) = input.source, artifact.size >= Self.followedSize else { continue }
      inputs[DataKey(sha256: artifact.sha256)] = artifact.size
    }
    for case .foreign(let foreign) in spec.inputs.map(\.source) {
      if let object = foreign.object { inputs[object.key] = object.size }
    }
    for dataset in spec.datasets ?? [] { inputs[dataset.object.key] = dataset.object.size }
    return inputs
  }

  // MARK: Wanting

  /// Wants bytes in a cluster's cache. One transfer for each key and cache, however many ask (invariant I5).
  ///
  /// - Parameters:
  ///   - repositoryKey: where the repository has it, for an artifact.
  ///   - run: waits for it in staging, and fetches it by itself; nil: the agent is given an order.
  /// - Returns: the transfer; nil when the bytes are there, or the cluster keeps no cache.
  @discardableResult
  mutating func want(
    _ key: DataKey, _ size: ByteCount, of project: ProjectName, on cluster: ClusterName, _ cause: TransferCause,
    repositoryKey: String? = nil, for run: RunID? = nil
  ) -> TransferID? {
    guard let cache = cache(of: cluster), data.replicas[key]?[cache] == nil else { return nil }
    // A guess makes nobody else go.
    if cause == .speculation, room(on: cluster) < size { return nil }
    let name = ReplicaName(key: key, cache: cache)
    let id: TransferID
    // What a run began is its agent's own, unless another agent writes the cache; nobody else's wish for it may end with that run.
    var needsOrder = run == nil || writer(for: cluster) != cluster
    if let known = data.inward[name] {
      id = known
      needsOrder = needsOrder && !isOrdered(data.transfers[id]!)
      // A user's wish outlives runs and guesses, also across leaders; what is to be pinned again stays that.
      let old = data.transfers[id]!.row.cause
      if run == nil, old == .run || (old == .speculation && cause != .speculation) {
        data.change(id) { $0.row.cause = cause }
        output.transfers[id] = data.transfers[id]!.row
      }
    } else {
      id = TransferID(incarnation: incarnation, counter: nextTransferCounter())
      let row = TransferRow(
        id: id, key: key, project: project, cluster: writer(for: cluster) ?? cluster, cause: cause, size: size,
        createdAt: now)
      data.add(TransferEntry(row: row, repositoryKey: repositoryKey), into: cache)
      clusters[row.cluster]?.backlogIn += size
      output.transfers[id] = row
      makeRoom(on: row.cluster)
      if !hasSource(key, elsewhereThan: cache) { store(key) }
      bringHome(key)
    }
    if needsOrder { order(id) }
    if let run { data.change(id) { _ = $0.waiters.insert(run) } }
    return id
  }

  /// Whether its agent fetches it by an order, and not because a run of its own needs it.
  func isOrdered(_ transfer: TransferEntry) -> Bool {
    transfer.row.cause != .run || transfer.waiters.contains { runs[$0]?.row.cluster != transfer.row.cluster }
  }

  mutating func nextTransferCounter() -> UInt32 {
    transferCounter += 1
    return transferCounter
  }

  /// Tells the agent to fetch what no run of its own asks for.
  mutating func order(_ id: TransferID) {
    let row = data.transfers[id]!.row
    guard absentHome(of: row.key, for: row.cluster) == nil, let session = dataSession(of: row.cluster),
      let object = object(row.key, row.project, for: row.cluster)
    else {
      return
    }
    output.order(row.cluster, session) { $0.stage.append(object) }
  }

  /// The session of an agent that takes orders for its cache.
  func dataSession(of cluster: ClusterName) -> SessionID? {
    guard let entry = clusters[cluster], entry.takesOrders, !entry.row.isAdopting else { return nil }
    return entry.session
  }

  // MARK: What became of it

  /// The bytes are in a cluster's cache.
  mutating func arrived(
    _ key: DataKey, _ size: ByteCount, on cluster: ClusterName, moved: ByteCount? = nil, milliseconds: Int64 = 0,
    from source: DataSource? = nil
  ) {
    guard let cache = cache(of: cluster) else { return }
    let name = ReplicaName(key: key, cache: cache)
    var isPinned = false
    if let id = data.inward[name] {
      let row = data.transfers[id]!.row
      isPinned = row.cause == .pin
      // Told by an agent, so not believed beyond what was to be moved.
      if let source, let moved { measured(min(moved, row.size), milliseconds, from: source, to: cluster) }
      if let source { data.change(id) { $0.row.source = source.linkName } }
      close(id, .done, moved: moved)
      // The run's own phase may come before its agent tells how its input came.
      if source == nil { data.noteUntold(name, output.transfers[id]!) }
    } else if let source, let moved, var row = data.takeUntold(name), row.cluster == cluster {
      row.moved = min(moved, row.size)
      row.source = source.linkName
      output.transfers[row.id] = row
      measured(row.moved, milliseconds, from: source, to: cluster)
    }
    // What was told to go and could not is here still.
    if let row = data.replicas[key]?[cache] { return data.insert(row) }
    let row = ReplicaRow(key: key, cache: cache, size: size, readyAt: now, isPinned: isPinned)
    data.insert(row)
    staleValues.insert(key)
    output.replicas[name] = row
    reconsiderStore(of: key)
    if isPinned, let session = dataSession(of: cluster) { output.order(cluster, session) { $0.pin.append(key) } }
    wantsPlacement = true
  }

  /// A replica is no longer there.
  mutating func vanished(_ key: DataKey, from cache: String, because reason: String) {
    guard let row = data.remove(key, from: cache) else { return }
    if row.isPinned { releasePin(ReplicaName(key: key, cache: cache)) }
    staleValues.insert(key)
    data.checkHome(of: key)
    if isLost(key) {
      data.lost.insert(key)
      data.newlyLost.insert(key)
    }
    output.replicas[ReplicaName(key: key, cache: cache)] = nil
    output.deletedReplicas.insert(ReplicaName(key: key, cache: cache))
    wantsPlacement = true
    let pinned = row.isPinned ? data.version(key) : nil
    guard reason != "evicted" || pinned != nil else { return }
    output.events.append(
      EventRow(
        at: now, cluster: clusters(sharing: cache).first, reason: "ReplicaLost",
        message: "\(key) is no longer in the cache \(cache): \(reason)"))
    // A copy that went because its data may not be there any more is not brought back.
    if let pinned, let cluster = clusters(sharing: cache).first,
      clusters(sharing: cache).allSatisfy({
        clusters[$0]!.row.spec.has(data.datasets[pinned.dataset]?.row.spec.allowedClusters ?? [:])
      })
    {
      want(key, pinned.size, of: pinned.dataset.project, on: cluster, .pin)
    }
  }

  /// A transfer is over: its link owes nothing for it any more.
  mutating func close(_ id: TransferID, _ phase: TransferPhase, moved: ByteCount? = nil, message: String = "") {
    guard let cluster = data.transfers[id]?.row.cluster,
      var entry = data.removeTransfer(id, into: cache(of: cluster))
    else { return }
    if entry.row.cause.isOutward {
      if phase != .done, data.unstored[entry.row.key] != nil {
        let moment = now + configuration.stageOutRetry
        storeDeadlines.insert(StoreDeadline(at: moment, key: entry.row.key))
        remember(toStore: entry.row.key, by: moment)
      }
      if phase != .done, entry.row.cause == .archive { archiveLater(entry.row.key) }
    } else {
      clusters[cluster]?.backlogIn -= entry.remaining
    }
    entry.row.phase = phase
    entry.row.finishedAt = now
    entry.row.message = message
    if let moved { entry.row.moved = moved } else if phase == .done { entry.row.moved = entry.row.size }
    output.transfers[id] = entry.row
  }

  /// A run does not wait for data any more: all that it reads is there (invariant I4), or it has ended.
  ///
  /// - Parameter isReady: it has left staging towards its start.
  mutating func leaveStaging(_ run: RunEntry, isReady: Bool) {
    for (key, size) in run.inputs.sorted(by: { $0.key < $1.key }) {
      if !isReady, let cache = cache(of: run.row.cluster) {
        data.pin(ReplicaName(key: key, cache: cache), false)
      }
      if isReady {
        arrived(key, size, on: run.row.cluster)
      } else if let cache = cache(of: run.row.cluster), let id = data.inward[ReplicaName(key: key, cache: cache)] {
        data.change(id) { _ = $0.waiters.remove(run.row.id) }
        // The agent ends what it fetched for nobody else by itself.
        if data.transfers[id]!.waiters.isEmpty, data.transfers[id]!.row.cause == .run {
          close(id, .cancelled, message: "the runs that needed it have ended")
        }
      }
    }
  }

  mutating func cancel(_ id: TransferID, _ principal: Principal) throws -> Reply {
    guard let entry = data.transfers[id] else {
      throw FederationError(.notFound, "no transfer \(id.hexadecimal) is under way")
    }
    guard entry.waiters.isEmpty else {
      throw FederationError(
        .failedPrecondition, "\(entry.waiters.count) runs wait for this transfer; stop their workflows first")
    }
    if let session = dataSession(of: entry.row.cluster) {
      output.order(entry.row.cluster, session) { $0.cancel.append(entry.row.key) }
    }
    close(id, .cancelled, message: "cancelled by \(principal.user)")
    note(principal, "transfer.cancel", id.hexadecimal, entry.row.key.text)
    return .transfer(id)
  }

  // MARK: Links

  private mutating func measured(
    _ bytes: ByteCount, _ milliseconds: Int64, from source: DataSource, to cluster: ClusterName
  ) {
    // Small transfers measure latency, not bandwidth.
    guard bytes.bytes >= 64 << 10, milliseconds > 0 else { return }
    let sample = Double(bytes.bytes) * 1000 / Double(milliseconds)
    if case .export(let neighbour, _) = source, clusters[neighbour] == nil { return }
    data.links.measured(sample, over: Link(source: source.linkName, cluster: cluster), at: now)
    weighLinks(of: cluster)
    if case .export(let neighbour, _) = source { weighLinks(of: neighbour) }
  }

  /// What the links that were measured say of a cluster's own link. A slow transfer has one slow end: between two clusters nobody knows
  /// which, and so one from another cluster says nothing against the link of the one that fetched. The repository and origins are
  /// taken to be well connected.
  private mutating func weighLinks(of cluster: ClusterName) {
    var (near, far, out): (Double?, Double?, Double?) = (nil, nil, clusters[cluster]?.storedBandwidth)
    for entry in data.links.out(of: cluster.text) { out = max(out ?? 0, entry.bandwidth) }
    for (source, entry) in data.links.into(cluster) {
      if LinkTable.outside.contains(source) {
        near = max(near ?? 0, entry.bandwidth)
      } else {
        far = max(far ?? 0, entry.bandwidth)
      }
    }
    if near != nil || far ?? 0 > configuration.defaultBandwidth {
      clusters[cluster]?.measuredBandwidth = max(near ?? 0, far ?? 0)
      clusters[cluster]?.isLinkKnown = true
    }
    clusters[cluster]?.measuredBandwidthOut = out
  }

  /// An output was copied into the repository: that is what is known of the way out of a cluster without an export.
  mutating func measuredStore(_ bytes: ByteCount, _ milliseconds: Int64, from cluster: ClusterName) {
    guard bytes.bytes >= 64 << 10, milliseconds > 0 else { return }
    let sample = Double(bytes.bytes) * 1000 / Double(milliseconds)
    let before = clusters[cluster]?.storedBandwidth
    clusters[cluster]?.storedBandwidth = before.map { $0 * 0.7 + sample * 0.3 } ?? sample
    weighLinks(of: cluster)
  }

  /// Bytes per second at which a cluster gets bytes from a source, as far as its own transfers have shown; the default until then.
  func expectedRate(_ source: DataSource, to cluster: ClusterName) -> Double {
    data.links[Link(source: source.linkName, cluster: cluster)]?.bandwidth ?? configuration.defaultBandwidth
  }

  /// Bytes per second at which anybody has had bytes from the origins of data sets; infinite until somebody had.
  var originRate: Double { data.links.out(of: "origin").map(\.bandwidth).max() ?? .infinity }
}

extension ControlPlaneCore {
  /// A cluster is gone for good: its replicas are, unless others share its cache, and so is what moved there.
  mutating func forgetData(of cluster: ClusterName) {
    for key in data.indexing.keys.sorted() where data.indexing[key] == cluster { data.list(key, on: nil) }
    if let cache = cache(of: cluster), clusters(sharing: cache) == [cluster] {
      for key in data.keys(in: cache) {
        vanished(key, from: cache, because: "its cluster was forgotten")
      }
    }
    // After that: what was pinned there was wanted anew.
    for id in (data.transfersByCluster[cluster] ?? []).sorted() {
      close(id, .cancelled, message: "the cluster was forgotten")
    }
    data.links.forget(cluster)
    setAgent(nil, of: cluster)
  }

  /// Takes a run off its cluster, for its task to be placed anew: it is cancelled first, and its end is awaited (invariant I1).
  mutating func rebind(_ id: RunID, because reason: String) {
    guard var run = runs[id], run.row.cancelReason == nil else { return }
    run.row.cancelReason = reason
    runs[id] = run
    output.runs[id] = run.row
    guard let session = clusters[run.row.cluster]?.session, !clusters[run.row.cluster]!.row.isAdopting else { return }
    output.add(.send(run.row.cluster, session, .cancel([id], reason: reason)))
  }

  /// Whether the end of a run was wanted only to place its task anew: nobody wants the task's own end.
  func isRebinding(_ run: RunRow) -> Bool {
    guard run.cancelReason != nil, let entry = workflows[run.task.workflow], entry.tasks[run.task.node] != nil else {
      return false
    }
    return entry.machine[run.task.node].cancelReason == nil
  }
}
