import FederationModel

/// Data sets, where bytes are, and what moves: the part of the core's state that knows nothing of tasks.
///
/// Durable: data sets, versions, replicas, and that a transfer is wanted. Soft: how far a transfer is, and what links reach.
struct DataState: Sendable {
  var datasets: [DatasetReference: DatasetEntry] = [:]
  /// By key, then by cache.
  var replicas: [DataKey: [String: ReplicaRow]] = [:]
  /// What each cache holds.
  var caches: [String: Set<DataKey>] = [:]
  var transfers: [TransferID: TransferEntry] = [:]
  /// The one transfer of a key into a cache (invariant I5).
  var inward: [ReplicaName: TransferID] = [:]
  /// Transfers of each key into caches.
  var underWay: [DataKey: Set<TransferID>] = [:]
  /// By cache: what runs and users have pinned there.
  var pinnedBytes: [String: ByteCount] = [:]
  private var pins: [ReplicaName: Int] = [:]
  /// The one copy of a key into the repository.
  var outward: [DataKey: TransferID] = [:]
  /// Outputs that are nowhere but in caches, by content: several tasks may have made the same.
  var unstored: [DataKey: [ArtifactRow]] = [:]
  /// Of `unstored`: what no cache has any more.
  var lost: Set<DataKey> = []
  /// Of `lost`: what runs that wait in staging were not looked through for yet.
  var newlyLost: Set<DataKey> = []
  /// How often tasks of live workflows ran again for an output that was lost.
  var remakings: [TaskID: Int] = [:]
  /// What was made anew, by where the old bytes belonged.
  var remade: [RepositoryName: StoredArtifact] = [:]
  var links: [Link: LinkEntry] = [:]
  /// Versions that an agent was asked to list, and which.
  var indexing: [DataKey: ClusterName] = [:]
  /// Caches of which a report has begun and not ended: what it has named so far.
  var reports: [ClusterName: Set<DataKey>] = [:]

  mutating func add(_ entry: TransferEntry, into cache: String?) {
    transfers[entry.row.id] = entry
    underWay[entry.row.key, default: []].insert(entry.row.id)
    if let cache { inward[ReplicaName(key: entry.row.key, cache: cache)] = entry.row.id }
  }

  /// One more reason to keep a key in a cache, or one less.
  mutating func pin(_ name: ReplicaName, _ size: ByteCount, _ isPinned: Bool) {
    let count = (pins[name] ?? 0) + (isPinned ? 1 : -1)
    if isPinned && count == 1 { pinnedBytes[name.cache, default: .zero] += size }
    if !isPinned && count == 0 { pinnedBytes[name.cache, default: .zero] -= size }
    pins[name] = count > 0 ? count : nil
  }

  mutating func insert(_ row: ReplicaRow) {
    if row.isPinned != (replicas[row.key]?[row.cache]?.isPinned ?? false) {
      pin(ReplicaName(key: row.key, cache: row.cache), row.size, row.isPinned)
    }
    replicas[row.key, default: [:]][row.cache] = row
    caches[row.cache, default: []].insert(row.key)
  }

  mutating func remove(_ key: DataKey, from cache: String) -> ReplicaRow? {
    caches[cache]?.remove(key)
    guard let row = replicas[key]?.removeValue(forKey: cache) else { return nil }
    if replicas[key]!.isEmpty { replicas[key] = nil }
    if row.isPinned { pin(ReplicaName(key: key, cache: cache), row.size, false) }
    return row
  }

  func version(_ key: DataKey) -> DatasetVersionRow? {
    guard let (reference, number) = DatasetReference.parse(key) else { return nil }
    return datasets[reference]?.versions[number]
  }
}

struct DatasetEntry: Sendable {
  var row: DatasetRow
  var versions: [Int32: DatasetVersionRow] = [:]

  /// The newest that can be read.
  var newest: Int32? { versions.values.filter { $0.phase == .ready }.map(\.number).max() }
}

/// A transfer that is not over.
struct TransferEntry: Sendable {
  var row: TransferRow
  /// Runs in staging that wait for it.
  var waiters: Set<RunID> = []
  /// Where the repository has it, for an artifact.
  var repositoryKey: String?
  /// Bytes per second; 0 until something moved.
  var rate: Int64 = 0
  /// Why it stands still, in the agent's words.
  var waiting = ""

  var remaining: ByteCount { max(.zero, row.size - row.moved) }
}

/// An object of a project's repository.
struct RepositoryName: Hashable, Sendable {
  var project: ProjectName
  var key: String
}

/// From where to where bytes move.
struct Link: Hashable, Comparable, Sendable {
  /// `repository`, `origin`, or a cluster's name.
  var source: String
  var cluster: ClusterName
  static func < (a: Self, b: Self) -> Bool { (a.cluster, a.source) < (b.cluster, b.source) }
}

struct LinkEntry: Sendable {
  /// Bytes per second, an exponentially weighted mean.
  var bandwidth: Double
  var samples = 1
  var measuredAt: Timestamp
}

extension DatasetReference {
  /// Reads `dataset:PROJECT/NAME@VERSION`; nil for any other key.
  static func parse(_ key: DataKey) -> (DatasetReference, Int32)? {
    guard key.text.hasPrefix("dataset:"), let at = key.text.lastIndex(of: "@"),
      let slash = key.text.firstIndex(of: "/"), slash < at, let number = Int32(key.text[key.text.index(after: at)...])
    else { return nil }
    return (
      DatasetReference(
        project: ProjectName(String(key.text[key.text.index(key.text.startIndex, offsetBy: 8)..<slash])),
        name: String(key.text[key.text.index(after: slash)..<at])), number
    )
  }
}

extension DataSource {
  /// As transfers and links show it.
  var linkName: String {
    switch self {
    case .repository: "repository"
    case .origin: "origin"
    case .export(let cluster, _): cluster.text
    }
  }
}
