import FederationModel
import HeapModule
import WorkflowCore

/// Outputs stay where they were made until somebody needs them in the repository (`federation.stageOut`).
extension ControlPlaneCore {
  /// How outputs of a task leave its cluster.
  func mayStayUnstored(_ spec: TaskSpec, on cluster: ClusterName) -> Bool {
    guard let entry = clusters[cluster], entry.takesOrders else { return false }
    // What vanishes with the machine that it was made on is copied at once.
    return (spec.federation.stageOut ?? .lazy) != .eager && entry.row.spec.labels["elastic"] != "true"
  }

  /// An output exists in a cache alone.
  mutating func keepUnstored(_ artifact: ArtifactRow) {
    let key = DataKey(sha256: artifact.stored.sha256)
    let others = (data.unstored[key] ?? []).filter { $0.task != artifact.task || $0.name != artifact.name }
    data.setUnstored(key, others + [artifact])
    if let moment = artifact.storeBy { storeDeadlines.insert(StoreDeadline(at: moment, key: key)) }
  }

  /// Copies an output into the repository as soon as a cluster that has it answers. Does nothing when it is there; when nobody has it,
  /// that it is wanted is kept until somebody has it again.
  mutating func store(_ key: DataKey) {
    guard let artifact = data.unstored[key]?.first, data.outward[key] == nil else { return }
    guard let cluster = holder(of: key) ?? untoldHolder(of: artifact) else {
      if artifact.storeBy.map({ $0 > now }) ?? true { remember(toStore: key, by: now) }
      return
    }
    let id = TransferID(incarnation: incarnation, counter: nextTransferCounter())
    let row = TransferRow(
      id: id, key: key, project: artifact.project, cluster: cluster, cause: .stageOut, size: artifact.stored.size,
      createdAt: now)
    data.add(TransferEntry(row: row), into: nil)
    output.transfers[id] = row
    if let session = dataSession(of: cluster), let order = storeOrder(key) {
      output.order(cluster, session) { $0.store.append(order) }
    }
  }

  /// A cluster that has a key and answers, else one that has it.
  private func holder(of key: DataKey) -> ClusterName? {
    let holders = (data.replicas[key] ?? [:]).keys.sorted().compactMap { clusters(sharing: $0).first }
    return holders.first { dataSession(of: $0) != nil } ?? holders.first
  }

  /// Where something was made that is too small for agents to tell that they have it.
  private func untoldHolder(of artifact: ArtifactRow) -> ClusterName? {
    guard artifact.stored.size < Self.followedSize, let maker = artifact.stored.producedOn, clusters[maker] != nil
    else {
      return nil
    }
    return maker
  }

  /// That an output is wanted in the repository outlives the transfer that did not bring it there, and this leader.
  mutating func remember(toStore key: DataKey, by moment: Timestamp) {
    guard var rows = data.unstored[key], !rows.isEmpty else { return }
    rows[0].storeBy = moment
    data.setUnstored(key, rows)
    output.artifacts.append(rows[0])
  }

  /// Somebody has an output that is in caches alone: what kept it from being copied may be over.
  mutating func reconsiderStore(of key: DataKey) {
    guard let artifact = data.unstored[key]?.first else { return }
    if let id = data.outward[key] {
      guard dataSession(of: data.transfers[id]!.row.cluster) == nil,
        holder(of: key).map({ dataSession(of: $0) != nil }) == true
      else { return }
      close(id, .cancelled, message: "its cluster does not answer, and another one has the bytes")
      store(key)
    } else if artifact.storeBy.map({ $0 <= now }) == true || isStranded(key) {
      store(key)
    }
  }

  /// Whether it is on its way to somebody who can have it from nowhere but the repository.
  private func isStranded(_ key: DataKey) -> Bool {
    (data.underWay[key] ?? []).contains { id in
      cache(of: data.transfers[id]!.row.cluster).map { !hasSource(key, elsewhereThan: $0) } ?? false
    }
  }

  func storeOrder(_ key: DataKey) -> DataOrders.Store? {
    if key.sha256 == nil { return versionStoreOrder(key) }
    return data.unstored[key]?.first.map {
      DataOrders.Store(key: key, repositoryKey: $0.stored.key, project: $0.project)
    }
  }

  mutating func stored(
    _ key: DataKey, on cluster: ClusterName, failure: String, moved: ByteCount, milliseconds: Int64,
    manifest: StoredArtifact?
  ) {
    guard let id = data.outward[key], let row = data.transfers[id]?.row, row.cluster == cluster, row.cause == .stageOut
    else { return }
    if key.sha256 == nil { return storedVersion(key, id, failure: failure, moved: moved, manifest: manifest) }
    guard failure.isEmpty else {
      return close(id, .failed, message: failure)
    }
    let told = data.transfers[id]!.row.size
    close(id, .done, moved: moved)
    measuredStore(min(moved, told), milliseconds, from: cluster)
    guard var rows = data.unstored[key] else { return }
    var first = rows.removeFirst()
    first.stored.isUnstored = nil
    first.storeBy = nil
    output.artifacts.append(first)
    data.setUnstored(key, rows)
    // The same content under another key is copied as well: whoever reads that key must find it.
    if !rows.isEmpty { store(key) }
  }

  /// Outputs whose time in caches alone is over.
  mutating func storeOverdue() {
    var left = configuration.sliceLimit
    while left > 0, let deadline = storeDeadlines.min, deadline.at <= now {
      left -= 1
      storeDeadlines.removeMin()
      store(deadline.key)
    }
  }

  /// A workflow is over: what it hands to its user goes to the repository, whatever its tasks' policy.
  mutating func storeOutputs(of id: WorkflowID) {
    guard !data.unstored.isEmpty, let machine = workflows[id]?.machine, machine.nodeCount > 0 else { return }
    let wanted = machine[.root].outputs.artifacts.values.filter { $0.isUnstored == true }
    for key in wanted.map({ DataKey(sha256: $0.sha256) }).sorted()
    where data.unstored[key]?.contains(where: { $0.collection != .onWorkflowCompletion }) == true {
      store(key)
    }
  }

  /// Outputs of a workflow are nobody's any more: with its rows all of them go, with its end those that `artifactGC` names.
  mutating func forgetUnstored(of id: WorkflowID, where goes: (ArtifactRow) -> Bool = { _ in true }) {
    guard !data.unstored.isEmpty else { return }
    for key in data.unstored.keys.sorted() {
      let rows = data.unstored[key]!
      let rest = rows.filter { $0.task.workflow != id || !goes($0) }
      guard rest.count < rows.count else { continue }
      data.setUnstored(key, rest)
      guard rest.isEmpty else { continue }
      if let transfer = data.outward[key] {
        close(transfer, .cancelled, message: "its workflow is over, and nobody needs it any more")
      }
      for cache in (data.replicas[key] ?? [:]).keys.sorted() {
        for cluster in clusters(sharing: cache) {
          guard let session = dataSession(of: cluster) else { continue }
          output.order(cluster, session) { $0.evict.append(key) }
        }
      }
    }
  }

  /// - Throws: `.failedPrecondition` when nobody has it any more.
  mutating func storeArtifact(_ repositoryKey: String, in project: ProjectName) throws -> Reply {
    guard let row = unstored(repositoryKey, in: project) else { return .alreadyThere }
    let key = DataKey(sha256: row.stored.sha256)
    store(key)
    guard let id = data.outward[key] else {
      throw FederationError(
        .failedPrecondition,
        "\(row.name) was on \(row.stored.producedOn?.text ?? "one cluster") alone and is lost; run its workflow again")
    }
    return .transfer(id)
  }
}

/// When an output that is nowhere but in caches is to be copied. Entries are dropped lazily.
struct StoreDeadline: Comparable, Sendable {
  var at: Timestamp
  var key: DataKey
  static func < (a: Self, b: Self) -> Bool { (a.at, a.key) < (b.at, b.key) }
}
