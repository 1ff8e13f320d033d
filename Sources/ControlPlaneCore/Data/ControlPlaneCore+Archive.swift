import FederationModel
import HeapModule

/// Where the bytes of a version are besides caches: in the repository, at its origin, or in an archive.
///
/// Versions of uploads that nobody used for their data set's `archive.after` are moved to a store outside the federation: an agent
/// copies the packs, and only then the repository lets go of them. Caches fetch from the archive as they do from the repository. Who
/// wants the files himself gets them into the repository first: an agent brings the packs back, or, of a version of an origin, packs
/// what is in its cache.
extension ControlPlaneCore {
  /// When a copy that failed, or that no cluster could make, is tried again: after 15 s, then ever later, up to half an hour.
  private static var archivePause: (first: Duration, longest: Duration) { (.seconds(15), .seconds(1800)) }
  /// Whoever could make it may come at any moment, right after a leader's start above all.
  private static var archiveIdlePause: Duration { .seconds(60) }

  /// Has a version moved to its data set's archive. It stays where it is until that is done.
  mutating func archive(_ row: DatasetVersionRow) {
    guard let policy = data.datasets[row.dataset]?.row.spec.archive, row.mayBeArchived, data.outward[row.key] == nil
    else {
      return
    }
    let able = clusters.keys.sorted().filter { dataSession(of: $0) != nil && policy.target.onlyOn == nil }
    guard let cluster = able.min(by: { outwardLoad($0) < outwardLoad($1) }) else {
      return archiveLater(row.key, longest: Self.archiveIdlePause)
    }
    begin(.archive, row, on: cluster)
    guard let session = dataSession(of: cluster), let order = archiveOrder(row.key) else { return }
    output.order(cluster, session) { $0.archive.append(order) }
  }

  /// Versions that became due together do not come again together: each has a share of the pause of its own.
  mutating func archiveLater(_ key: DataKey, longest: Duration = Self.archivePause.longest) {
    guard data.version(key) != nil else { return }
    let attempt = data.archiveAttempts[key, default: 0]
    data.archiveAttempts[key] = attempt + 1
    let pause = min(Self.archivePause.first * (1 << min(attempt, 16)), longest)
    let mark = key.text.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 } &+ UInt32(attempt)
    let share = 0.75 + Double(mark % 256) / 512
    data.look(at: key, by: now + pause * share)
  }

  private func outwardLoad(_ cluster: ClusterName) -> Int { data.transfersByCluster[cluster]?.count ?? 0 }

  private mutating func begin(_ cause: TransferCause, _ version: DatasetVersionRow, on cluster: ClusterName) {
    let id = TransferID(incarnation: incarnation, counter: nextTransferCounter())
    let row = TransferRow(
      id: id, key: version.key, project: version.dataset.project, cluster: cluster, cause: cause, size: version.size,
      createdAt: now)
    data.add(TransferEntry(row: row), into: nil)
    output.transfers[id] = row
  }

  func archiveOrder(_ key: DataKey) -> DataOrders.Archive? {
    guard let row = data.version(key), let manifest = row.manifest, let target = archiveTarget(row) else { return nil }
    return DataOrders.Archive(key: key, project: row.dataset.project, manifest: manifest, target: target)
  }

  /// A place of the version's own, so that whoever owns the store can tell what belongs to what.
  func archiveTarget(_ row: DatasetVersionRow) -> DataOrigin? {
    guard var target = data.datasets[row.dataset]?.row.spec.archive?.target else { return nil }
    target.uri = target.appending("\(row.dataset.project)/\(row.dataset.name)/\(row.number)")
    return target
  }

  mutating func archived(
    _ key: DataKey, on cluster: ClusterName, failure: String, moved: ByteCount
  ) {
    guard let id = data.outward[key], let entry = data.transfers[id], entry.row.cause == .archive,
      entry.row.cluster == cluster, var row = data.version(key)
    else { return }
    // The declaration may have changed meanwhile: what was ordered is where it is.
    guard failure.isEmpty, let target = archiveTarget(row) else {
      return close(id, .failed, message: failure.isEmpty ? "its data set has no archive any more" : failure)
    }
    close(id, .done, moved: moved)
    data.archiveAttempts[key] = nil
    row.archive = target
    keep(row)
    staleValues.insert(key)
    output.events.append(
      EventRow(at: now, cluster: cluster, reason: "DatasetArchived", message: "\(key) is in its archive, \(target.uri)")
    )
  }

  // MARK: Into the repository

  /// Brings a version into the repository, for users to fetch.
  ///
  /// - Returns: what moves first: into a cache, when it is in none that could send it on; then this is to be asked again.
  mutating func storeVersion(
    _ reference: DatasetReference, _ number: Int32?, _ principal: Principal
  ) throws -> Reply {
    let row = try readable(number, of: reference)
    guard !row.isInRepository else { return .alreadyThere }
    if let id = data.outward[row.key] { return .transfer(id) }
    note(principal, "dataset.store", row.key.text)
    if row.archive != nil {
      let able = clusters.keys.sorted().filter { dataSession(of: $0) != nil }
      guard let cluster = able.min(by: { outwardLoad($0) < outwardLoad($1) }) else {
        throw FederationError(
          .unavailable, "no cluster answers that could bring it back from its archive; try again",
          retryAfter: .seconds(10))
      }
      return .transfer(order(row, on: cluster))
    }
    if let holder = answeringHolder(of: row.key) { return .transfer(order(row, on: holder)) }
    let spec = data.datasets[reference]!.row.spec
    let able = clusters.keys.sorted().filter { name in
      dataSession(of: name) != nil && cache(of: name) != nil && clusters[name]!.row.spec.has(spec.allowedClusters)
        && row.origin?.isReachable(from: name) == true
    }
    guard let cluster = able.max(by: { room(on: $0) < room(on: $1) }),
      let id = want(row.key, row.size, of: reference.project, on: cluster, .prefetch)
    else {
      throw FederationError(
        .unavailable, "no cluster answers that could fetch it from \(row.origin?.uri ?? "its origin"); try again",
        retryAfter: .seconds(10))
    }
    return .transfer(id)
  }

  /// A cluster that has a key, writes its cache, and answers.
  private func answeringHolder(of key: DataKey) -> ClusterName? {
    (data.replicas[key] ?? [:]).keys.sorted().lazy.flatMap { clusters(sharing: $0) }.first {
      dataSession(of: $0) != nil && clusters[$0]?.inventory.cache?.isWriter == true
    }
  }

  private mutating func order(_ row: DatasetVersionRow, on cluster: ClusterName) -> TransferID {
    begin(.stageOut, row, on: cluster)
    if let session = dataSession(of: cluster), let order = storeOrder(row.key) {
      output.order(cluster, session) { $0.store.append(order) }
    }
    return data.outward[row.key]!
  }

  /// A version is in the repository as packs.
  func versionStoreOrder(_ key: DataKey) -> DataOrders.Store? {
    guard let row = data.version(key), !row.isInRepository else { return nil }
    return DataOrders.Store(
      key: key, repositoryKey: "", project: row.dataset.project, manifest: row.archive == nil ? nil : row.manifest,
      archive: row.archive)
  }

  mutating func storedVersion(
    _ key: DataKey, _ id: TransferID, failure: String, moved: ByteCount, manifest: StoredArtifact?
  ) {
    guard var row = data.version(key) else { return close(id, .cancelled, message: "the version was deleted") }
    guard failure.isEmpty, let manifest, manifest.key == DatasetManifest.path(of: manifest.sha256) else {
      return close(id, .failed, message: failure.isEmpty ? "no list of its packs came" : failure)
    }
    close(id, .done, moved: moved)
    if row.archive != nil {
      // The same packs under the same names, each verified as it came: nothing else is believed.
      row.archive = nil
      row.usedAt = now
      staleValues.insert(key)
    } else {
      row.stored = manifest
    }
    keep(row)
    expect(row)
  }
}

extension DatasetVersionRow {
  /// Whether users can fetch its files from the repository.
  public var isInRepository: Bool { archive == nil && (origin == nil ? manifest != nil : stored != nil) }

  /// An upload whose packs nobody has moved yet.
  var mayBeArchived: Bool { phase == .ready && origin == nil && archive == nil && manifest != nil }
}
