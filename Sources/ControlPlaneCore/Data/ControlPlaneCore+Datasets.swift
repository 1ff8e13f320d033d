import FederationModel
import WorkflowCore

/// Users' commands on data sets.
extension ControlPlaneCore {
  mutating func perform(
    _ command: DatasetCommand, on reference: DatasetReference, _ principal: Principal
  ) throws -> Reply {
    switch command {
    case .create(let spec): return try create(spec, principal)
    case .update(let spec): return try update(spec, principal)
    case .remove: return try remove(reference, principal)
    case .addVersion(let content): return try addVersion(to: reference, content, principal)
    case .removeVersion(let number): return try removeVersion(number, of: reference, principal)
    case .pin(let number, let cluster, let isPinned):
      return try pin(reference, number, on: cluster, isPinned, principal)
    case .prefetch(let number, let cluster): return try prefetch(reference, number, to: cluster, principal)
    case .store(let number): return try storeVersion(reference, number, principal)
    }
  }

  private mutating func create(_ spec: DatasetSpec, _ principal: Principal) throws -> Reply {
    let reference = DatasetReference(project: spec.project, name: spec.name)
    try open(spec.project)
    try checkHome(of: spec)
    guard ClusterName(spec.name).isDNSLabel else {
      throw FederationError(
        .invalidArgument, "a data set's name is 1 to 63 lower-case letters, digits and hyphens, not \"\(spec.name)\"")
    }
    guard data.datasets[reference] == nil else {
      throw FederationError(.alreadyExists, "data set \(spec.name) exists already in project \(spec.project)")
    }
    var spec = spec
    // Where nothing else is said, a project's data stays where its project's has to.
    if spec.allowedClusters.isEmpty { spec.allowedClusters = projects[spec.project]?.limits.residency ?? [:] }
    var row = DatasetRow(spec: spec, createdAt: now, createdBy: principal.user)
    // An agent that was away may still have versions of one that was called the same.
    row.lastVersion = data.takeNumbers(of: reference)?.lastVersion ?? 0
    data.datasets[reference] = DatasetEntry(row: row)
    output.datasets[reference] = row
    note(principal, "dataset.create", "\(reference)")
    return .dataset(reference, version: nil)
  }

  /// `file://CLUSTER/path` names a cluster that there is.
  private func checkHome(of spec: DatasetSpec) throws {
    guard let home = spec.origin?.onlyOn, clusters[home] == nil else { return }
    throw FederationError(
      .notFound, "there is no cluster \(home), where \(spec.origin!.uri) is; `fubini cluster list` shows all")
  }

  private mutating func update(_ spec: DatasetSpec, _ principal: Principal) throws -> Reply {
    let reference = DatasetReference(project: spec.project, name: spec.name)
    _ = try entry(reference)
    try checkHome(of: spec)
    data.datasets[reference]!.row.spec = spec
    output.datasets[reference] = data.datasets[reference]!.row
    for row in data.datasets[reference]!.versions.values { expect(row) }
    removeForbiddenCopies(of: reference)
    wantsPlacement = true
    note(
      principal, "dataset.update", "\(reference)",
      "allowed on \(spec.allowedClusters.isEmpty ? "all clusters" : spec.allowedClusters.selector)")
    return .dataset(reference, version: nil)
  }

  /// Copies on clusters where its data may not be any more go, pins or not; what a run has mounted stays until the run is over.
  private mutating func removeForbiddenCopies(of reference: DatasetReference) {
    let allowed = data.datasets[reference]!.row.spec.allowedClusters
    for version in data.datasets[reference]!.versions.values.sorted(by: { $0.number < $1.number }) {
      for cache in (data.replicas[version.key] ?? [:]).keys.sorted() {
        let sharers = clusters(sharing: cache)
        if sharers.allSatisfy({ clusters[$0]!.row.spec.has(allowed) }) { continue }
        for cluster in sharers where clusters[cluster]?.inventory.cache?.isWriter == true {
          guard let session = dataSession(of: cluster) else { continue }
          output.order(cluster, session) {
            $0.unpin.append(version.key)
            $0.evict.append(version.key)
          }
        }
        vanished(version.key, from: cache, because: "evicted")
      }
    }
  }

  private mutating func remove(_ reference: DatasetReference, _ principal: Principal) throws -> Reply {
    let entry = try entry(reference)
    for number in entry.versions.keys.sorted() { try refuseInUse(reference, number) }
    for number in entry.versions.keys.sorted() { drop(reference, number) }
    var row = entry.row
    row.removedAt = now
    data.datasets[reference] = nil
    data.keepNumbers(of: row)
    output.datasets[reference] = row
    note(principal, "dataset.remove", "\(reference)")
    return .deleted
  }

  private mutating func addVersion(
    to reference: DatasetReference, _ content: VersionContent, _ principal: Principal
  ) throws -> Reply {
    let entry = try entry(reference)
    let number = entry.row.lastVersion + 1
    var row = DatasetVersionRow(
      dataset: reference, number: number, phase: .ready, createdAt: now, createdBy: principal.user)
    switch content {
    case .uploaded(let manifest, let files, let size):
      try admitStorage(size, to: reference.project)
      (row.manifest, row.files, row.size) = (manifest, files, size)
    case .origin(let path, let via):
      guard var origin = entry.row.spec.origin else {
        throw FederationError(
          .failedPrecondition, "data set \(reference.name) has no origin; upload a version with `fubini dataset put`")
      }
      if let via, clusters[via] == nil { throw FederationError(.notFound, "there is no cluster \(via)") }
      if !path.isEmpty { origin.uri = origin.appending(path) }
      row.phase = .indexing
      row.origin = origin
      row.indexedVia = via
    }
    data.datasets[reference]!.row.lastVersion = number
    output.datasets[reference] = data.datasets[reference]!.row
    keep(row)
    note(principal, "dataset.version", "\(reference)@\(number)")
    expect(row)
    if row.phase == .indexing {
      data.unlisted.insert(row.key)
      assignIndexing()
    } else {
      wantsPlacement = true
    }
    return .dataset(reference, version: number)
  }

  private mutating func removeVersion(
    _ number: Int32, of reference: DatasetReference, _ principal: Principal
  ) throws -> Reply {
    _ = try version(number, of: reference)
    try refuseInUse(reference, number)
    drop(reference, number)
    note(principal, "dataset.version.remove", "\(reference)@\(number)")
    return .deleted
  }

  private mutating func pin(
    _ reference: DatasetReference, _ number: Int32?, on cluster: ClusterName, _ isPinned: Bool, _ principal: Principal
  ) throws -> Reply {
    let version = try readable(number, of: reference)
    let cache = try cacheForUser(cluster)
    let name = ReplicaName(key: version.key, cache: cache)
    guard var row = data.replicas[version.key]?[cache] else {
      throw FederationError(
        .failedPrecondition,
        "\(reference.name) version \(version.number) is not on \(cluster); bring it there with `fubini prefetch` first")
    }
    if isPinned { try holdPin(row, for: principal.user) } else { releasePin(name) }
    row.isPinned = isPinned
    data.insert(row)
    output.replicas[name] = row
    // There is room now for what had none.
    if !isPinned { wantsPlacement = true }
    if let writer = writer(for: cluster), let session = dataSession(of: writer) {
      output.order(writer, session) {
        if isPinned { $0.pin.append(version.key) } else { $0.unpin.append(version.key) }
      }
    }
    note(principal, isPinned ? "dataset.pin" : "dataset.unpin", "\(reference)@\(version.number)", cluster.text)
    return .dataset(reference, version: version.number)
  }

  private mutating func prefetch(
    _ reference: DatasetReference, _ number: Int32?, to cluster: ClusterName, _ principal: Principal
  ) throws -> Reply {
    let version = try readable(number, of: reference)
    let spec = data.datasets[reference]!.row.spec
    _ = try cacheForUser(cluster)
    try admitData(of: reference.project, on: cluster)
    guard clusters[cluster]!.row.spec.has(spec.allowedClusters) else {
      throw FederationError(
        .permissionDenied,
        "\(reference.name) may only be on clusters with \(spec.allowedClusters.selector); \(cluster) is none")
    }
    guard let id = want(version.key, version.size, of: reference.project, on: cluster, .prefetch) else {
      return .alreadyThere
    }
    note(principal, "dataset.prefetch", "\(reference)@\(version.number)", cluster.text)
    return .transfer(id)
  }

  // MARK: Listing origins

  /// Asks an agent for each origin that is to be listed and that none lists yet.
  mutating func assignIndexing() {
    for key in data.unlisted.sorted() { assignIndexing(of: key) }
  }

  mutating func assignIndexing(of key: DataKey) {
    guard let row = data.version(key) else { return }
    if let chosen = data.indexing[key], clusters[chosen]?.session != nil { return }
    guard let cluster = indexer(for: row), let session = dataSession(of: cluster) else {
      tell(row, lacksLister(row))
      return data.list(key, on: nil)
    }
    tell(row, "")
    data.list(key, on: cluster)
    if let order = indexOrder(key) { output.order(cluster, session) { $0.index.append(order) } }
  }

  private func indexer(for row: DatasetVersionRow) -> ClusterName? {
    let spec = data.datasets[row.dataset]!.row.spec
    let able = clusters.keys.sorted().filter { name in
      dataSession(of: name) != nil && (row.indexedVia ?? name) == name
        && row.origin?.isReachable(from: name) == true && clusters[name]!.row.spec.has(spec.allowedClusters)
    }
    // Who has the least to list. Those that failed at a foreign object are not known here: another address may be open to them.
    return able.min { (data.listings[$0] ?? 0, $0) < (data.listings[$1] ?? 0, $1) }
  }

  /// Why nobody lists a version's origin now: for whoever waits for it.
  private func lacksLister(_ row: DatasetVersionRow) -> String {
    let spec = data.datasets[row.dataset]!.row.spec
    let named = row.indexedVia ?? clusters.keys.only { row.origin?.isReachable(from: $0) == true }
    if let named { return "it waits for cluster \(named), which is to list its files, to be connected" }
    let labels = spec.allowedClusters.isEmpty ? "" : " with \(spec.allowedClusters.selector)"
    return "it waits for a cluster\(labels) that reaches its origin to be connected and list its files"
  }

  private mutating func tell(_ row: DatasetVersionRow, _ message: String) {
    guard row.message != message, !row.dataset.isForeign else { return }
    var row = row
    row.message = message
    keep(row)
  }

  func indexOrder(_ key: DataKey) -> DataOrders.Index? {
    guard let row = data.version(key), let origin = row.origin else { return nil }
    return DataOrders.Index(
      key: key, project: row.dataset.project, origin: origin,
      repositoryKey: "datasets/\(row.dataset.name)/\(row.number)/manifest")
  }

  mutating func indexed(
    _ key: DataKey, on cluster: ClusterName, failure: String, _ manifest: StoredArtifact?, _ files: Int64,
    _ size: ByteCount, isValidated: Bool
  ) {
    guard data.indexing[key] == cluster, var row = data.version(key), row.phase == .indexing else { return }
    let list = manifest.flatMap { isList($0, of: key) && files >= 0 && size >= .zero ? $0 : nil }
    data.list(key, on: nil)
    data.unlisted.remove(key)
    if row.dataset.isForeign {
      return foundForeign(row, failure: failure, list, files, size, isValidated: isValidated)
    }
    if failure.isEmpty, let list {
      (row.phase, row.manifest, row.files, row.size, row.message) = (.ready, list, files, size, "")
      wantsPlacement = true
    } else {
      (row.phase, row.message) = (.failed, failure.isEmpty ? "\(cluster) sent no list of its files" : failure)
    }
    keep(row)
  }

  /// Whether an agent may have put the list of a version there.
  private func isList(_ manifest: StoredArtifact, of key: DataKey) -> Bool {
    manifest.key == indexOrder(key)?.repositoryKey && manifest.size >= .zero && manifest.isUnstored != true
  }

  // MARK: What workflows mount

  /// The versions that a workflow reads from its submission on: those that it names, and the newest of the others.
  ///
  /// - Throws: `.notFound` for a data set or version that is not there or cannot be read.
  func datasetVersions(for mounts: [DatasetMount], in project: ProjectName) throws -> [String: Int32] {
    var versions: [String: Int32] = [:]
    for mount in mounts {
      let reference = DatasetReference(project: project, name: mount.name)
      let version = try readable(mount.version, of: reference)
      if mount.version == nil { versions[mount.name] = version.number }
    }
    return versions
  }

  /// A task's data sets, found.
  ///
  /// - Throws: `.failedPrecondition` when a version was deleted meanwhile.
  func mounted(_ mounts: [DatasetMount], by id: WorkflowID, for cluster: ClusterName?) throws -> [MountedDataset] {
    let workflow = workflows[id]!.row
    return try mounts.map { mount in
      let reference = DatasetReference(project: workflow.project, name: mount.name)
      let row = try readable(mount.version ?? workflow.datasetVersions?[mount.name], of: reference)
      return MountedDataset(
        object: DataObject(
          key: row.key, project: reference.project, size: row.size, files: row.files, manifest: row.manifest,
          sources: cluster.map { sources(of: row.key, for: $0) } ?? []), mountPath: mount.mountPath)
    }
  }

  /// A run reads it: its life begins anew.
  mutating func used(_ key: DataKey) {
    guard var row = data.version(key) else { return }
    // Once a minute is enough for lifetimes of days.
    if let last = row.usedAt, now < last + .seconds(60) { return }
    row.usedAt = now
    keep(row)
  }

  // MARK: Parts

  func entry(_ reference: DatasetReference) throws -> DatasetEntry {
    guard let entry = data.datasets[reference] else {
      throw FederationError(
        .notFound,
        "there is no data set \(reference.name) in project \(reference.project); `fubini dataset create` makes one")
    }
    return entry
  }

  func version(_ number: Int32, of reference: DatasetReference) throws -> DatasetVersionRow {
    guard let row = try entry(reference).versions[number] else {
      throw FederationError(.notFound, "data set \(reference.name) has no version \(number)")
    }
    return row
  }

  func readable(_ number: Int32?, of reference: DatasetReference) throws -> DatasetVersionRow {
    let entry = try entry(reference)
    // When nothing can be read, why the last one cannot.
    guard let number = number ?? entry.newest ?? entry.versions.keys.max() else {
      let next = "fubini dataset put \(reference.name) \(entry.row.spec.origin == nil ? "PATH" : "--from-origin")"
      throw FederationError(.notFound, "data set \(reference.name) has no version yet; its first one: \(next)")
    }
    let row = try version(number, of: reference)
    switch row.phase {
    case .ready: return row
    case .indexing:
      throw FederationError(
        .failedPrecondition, "the files of \(reference.name) version \(number) are still being listed",
        retryAfter: .seconds(5))
    case .failed:
      throw FederationError(
        .failedPrecondition, "version \(number) of \(reference.name) cannot be read: \(row.message)")
    }
  }

  private func cacheForUser(_ cluster: ClusterName) throws -> String {
    guard clusters[cluster] != nil else { throw FederationError(.notFound, "there is no cluster \(cluster)") }
    guard let cache = cache(of: cluster) else {
      throw FederationError(
        .failedPrecondition, "cluster \(cluster) keeps no cache of data: its agent has not joined, or is too old")
    }
    return cache
  }

  func refuseInUse(_ reference: DatasetReference, _ number: Int32) throws {
    let key = DataKey(project: reference.project, dataset: reference.name, version: number)
    guard let user = data.readers[key]?.min(), let workflow = workflows[user] else { return }
    throw FederationError(
      .failedPrecondition,
      "workflow \(workflow.row.name) mounts \(reference.name) version \(number) and is not over")
  }

  /// Notes which versions a workflow mounts, or that it does so no longer.
  mutating func noteReading(by id: WorkflowID, _ reads: Bool) {
    guard let workflow = workflows[id] else { return }
    for mount in workflow.machine.definition.mountedDatasets {
      guard let number = mount.version ?? workflow.row.datasetVersions?[mount.name] else { continue }
      let key = DataKey(project: workflow.row.project, dataset: mount.name, version: number)
      if reads { data.readers[key, default: []].insert(id) } else { data.readers[key]?.remove(id) }
      if data.readers[key]?.isEmpty == true { data.readers[key] = nil }
    }
  }

  mutating func keep(_ row: DatasetVersionRow) {
    data.datasets[row.dataset]!.versions[row.number] = row
    output.datasetVersions[row.key] = row
  }

  /// A version goes, with its replicas and what is under way for it.
  mutating func drop(_ reference: DatasetReference, _ number: Int32) {
    let key = DataKey(project: reference.project, dataset: reference.name, version: number)
    data.datasets[reference]!.versions[number] = nil
    output.datasetVersions[key] = nil
    output.deletedVersions.insert(key)
    data.list(key, on: nil)
    data.unlisted.remove(key)
    data.archiveAttempts[key] = nil
    if let id = data.outward[key] { close(id, .cancelled, message: "the version was deleted") }
    for id in (data.underWay[key] ?? []).sorted() {
      let cluster = data.transfers[id]!.row.cluster
      if let session = dataSession(of: cluster) { output.order(cluster, session) { $0.cancel.append(key) } }
      close(id, .cancelled, message: "the version was deleted")
    }
    for cache in (data.replicas[key] ?? [:]).keys.sorted() {
      for cluster in clusters(sharing: cache) where clusters[cluster]?.inventory.cache?.isWriter == true {
        guard let session = dataSession(of: cluster) else { continue }
        output.order(cluster, session) { $0.evict.append(key) }
      }
      vanished(key, from: cache, because: "evicted")
    }
  }
}

extension ClusterSpec {
  func has(_ selector: [String: String]) -> Bool { selector.allSatisfy { labels[$0.key] == $0.value } }
}

extension [String: String] {
  /// As people write label selectors.
  var selector: String { keys.sorted().map { "\($0)=\(self[$0]!)" }.joined(separator: ",") }
}

extension Collection {
  /// The one element that it is true of; nil when there are several, or none.
  fileprivate func only(where isMeant: (Element) -> Bool) -> Element? {
    var found = lazy.filter(isMeant).makeIterator()
    guard let first = found.next() else { return nil }
    return found.next() == nil ? first : nil
  }
}
