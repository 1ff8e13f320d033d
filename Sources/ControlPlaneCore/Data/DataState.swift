import FederationModel
import HeapModule

/// Data sets, where bytes are, and what moves: the part of the core's state that knows nothing of tasks.
///
/// Durable: data sets, versions, replicas, and that a transfer is wanted. Soft: how far a transfer is, and what links reach.
struct DataState: Sendable {
  var datasets: [DatasetReference: DatasetEntry] = [:]
  /// Data sets that were removed: their numbers go on when one of the same name is made.
  private(set) var removed: [DatasetReference: DatasetRow] = [:]
  /// Of `removed`, the oldest first. Entries are dropped lazily: some were made and removed again.
  private var removals = Heap<Removal>()
  /// The hidden data sets, by what documents call them.
  var foreign: [ForeignName: DatasetReference] = [:]
  /// Versions whose files are to be listed.
  var unlisted: Set<DataKey> = []
  /// When versions may have outlived their use: one that was used since is looked at, and again later.
  private var lifetimes = Heap<VersionDeadline>()
  /// The one entry of each version in `lifetimes` that counts. Others are dropped lazily.
  private var looks: [DataKey: Timestamp] = [:]
  /// Workflows that are not over and read a version.
  var readers: [DataKey: Set<WorkflowID>] = [:]
  /// By key, then by cache.
  private(set) var replicas: [DataKey: [String: ReplicaRow]] = [:]
  /// What each cache holds, and which of it would go first.
  private(set) var books: [String: CacheBook] = [:]
  private(set) var transfers: [TransferID: TransferEntry] = [:]
  private(set) var transfersByCluster: [ClusterName: Set<TransferID>] = [:]
  private(set) var transfersByProject: [ProjectName: Set<TransferID>] = [:]
  /// The one transfer of a key into a cache (invariant I5).
  var inward: [ReplicaName: TransferID] = [:]
  /// Transfers of each key into caches.
  private(set) var underWay: [DataKey: Set<TransferID>] = [:]
  /// Files of one cluster on their way into caches of others, which read them from that cluster's cache.
  private(set) var abroad: [DataKey: AbroadEntry] = [:]
  private var pins: [ReplicaName: Int] = [:]
  /// What users have pinned.
  private(set) var userPins: Set<ReplicaName> = []
  /// The one copy of a key into the repository.
  private(set) var outward: [DataKey: TransferID] = [:]
  /// Outputs that are nowhere but in caches, by content: several tasks may have made the same.
  private(set) var unstored: [DataKey: [ArtifactRow]] = [:]
  /// The same by where they belong.
  private(set) var unstoredNames: [RepositoryName: DataKey] = [:]
  /// Of `unstored`: what no cache has any more.
  var lost: Set<DataKey> = []
  /// Of `lost`: what runs that wait in staging were not looked through for yet.
  var newlyLost: Set<DataKey> = []
  /// How often tasks of live workflows ran again for an output that was lost.
  var remakings: [TaskID: Int] = [:]
  /// What was made anew, by where the old bytes belonged.
  var remade: [RepositoryName: StoredArtifact] = [:]
  var links = LinkTable()
  /// How often versions could not be copied to their archives so far; soft.
  var archiveAttempts: [DataKey: Int] = [:]
  /// Versions that an agent was asked to list, and which.
  private(set) var indexing: [DataKey: ClusterName] = [:]
  /// How many each was asked for.
  private(set) var listings: [ClusterName: Int] = [:]
  /// Caches of which a report has begun and not ended: what it has named so far.
  var reports: [ClusterName: Set<DataKey>] = [:]
  /// Transfers that ended with the phase of the run that needed them, before their agent told how they went.
  private var untold: [ReplicaName: TransferRow] = [:]

  // MARK: Lifetimes

  /// How many moments are noted, those included that do not count any more.
  var lookCount: Int { lifetimes.count }

  /// A version is to be looked at then, at the latest.
  mutating func look(at key: DataKey, by moment: Timestamp) {
    if let known = looks[key], known <= moment { return }
    looks[key] = moment
    lifetimes.insert(VersionDeadline(at: moment, key: key))
  }

  /// Takes the next version whose moment has come.
  ///
  /// - Returns: nil when there is none. One that is not due has been looked at already, or has an earlier moment.
  mutating func popLook(before now: Timestamp) -> (key: DataKey, isDue: Bool)? {
    guard let next = lifetimes.min, next.at < now else { return nil }
    lifetimes.removeMin()
    guard looks[next.key] == next.at else { return (next.key, false) }
    looks[next.key] = nil
    return (next.key, true)
  }

  /// A data set was removed: its numbers are kept.
  mutating func keepNumbers(of row: DatasetRow) {
    removed[row.reference] = row
    if let moment = row.removedAt { removals.insert(Removal(at: moment, reference: row.reference)) }
  }

  /// A data set that is made anew goes on with the numbers of the one that was removed.
  mutating func takeNumbers(of reference: DatasetReference) -> DatasetRow? { removed.removeValue(forKey: reference) }

  /// Forgets one that was removed before a moment.
  ///
  /// - Returns: nil when there is none; an empty answer when it was made, or removed, again since.
  mutating func popRemoved(before moment: Timestamp) -> [DatasetReference]? {
    guard let next = removals.min, next.at < moment else { return nil }
    removals.removeMin()
    guard removed[next.reference]?.removedAt == next.at else { return [] }
    removed[next.reference] = nil
    return [next.reference]
  }

  // MARK: Transfers

  /// - Parameter cache: that it goes into; nil while nobody knows it.
  mutating func add(_ entry: TransferEntry, into cache: String?) {
    let id = entry.row.id
    transfers[id] = entry
    transfersByCluster[entry.row.cluster, default: []].insert(id)
    transfersByProject[entry.row.project, default: []].insert(id)
    if entry.row.cause.isOutward {
      outward[entry.row.key] = id
    } else {
      underWay[entry.row.key, default: []].insert(id)
      if let home = version(entry.row.key)?.origin?.onlyOn, home != entry.row.cluster {
        abroad[entry.row.key, default: AbroadEntry()].transfers.insert(id)
      }
      if let cache { direct(id, into: cache) }
    }
  }

  /// Which cache a transfer goes into. There is none of this key into it yet.
  mutating func direct(_ id: TransferID, into cache: String) {
    let row = transfers[id]!.row
    inward[ReplicaName(key: row.key, cache: cache)] = id
    books[cache, default: CacheBook()].expected += row.size
  }

  /// A transfer goes into that cache no longer.
  mutating func undirect(_ id: TransferID, from cache: String) {
    let row = transfers[id]!.row
    let name = ReplicaName(key: row.key, cache: cache)
    guard inward[name] == id else { return }
    inward[name] = nil
    books[cache]?.expected -= row.size
  }

  mutating func change(_ id: TransferID, _ body: (inout TransferEntry) -> Void) { body(&transfers[id]!) }

  /// - Parameter cache: that it went into.
  mutating func removeTransfer(_ id: TransferID, into cache: String?) -> TransferEntry? {
    guard let entry = transfers.removeValue(forKey: id) else { return nil }
    Self.remove(id, from: &transfersByCluster, at: entry.row.cluster)
    Self.remove(id, from: &transfersByProject, at: entry.row.project)
    if entry.row.cause.isOutward {
      outward[entry.row.key] = nil
      return entry
    }
    Self.remove(id, from: &underWay, at: entry.row.key)
    if abroad[entry.row.key]?.transfers.remove(id) != nil, abroad[entry.row.key]!.transfers.isEmpty,
      let kept = abroad.removeValue(forKey: entry.row.key)!.kept
    {
      pin(kept, false)
    }
    let names = cache.map { [ReplicaName(key: entry.row.key, cache: $0)] } ?? []
    let name = names.first { inward[$0] == id } ?? inward.first { $0.value == id }?.key
    if let name {
      inward[name] = nil
      books[name.cache]?.expected -= entry.row.size
    }
    return entry
  }

  private static func remove<Key: Hashable>(_ id: TransferID, from index: inout [Key: Set<TransferID>], at key: Key) {
    index[key]?.remove(id)
    if index[key]?.isEmpty == true { index[key] = nil }
  }

  /// How many ended transfers may wait for their agent's word.
  private static let untoldMax = 1000

  mutating func noteUntold(_ name: ReplicaName, _ row: TransferRow) {
    if untold.count >= Self.untoldMax { untold.removeAll(keepingCapacity: true) }
    untold[name] = row
  }

  mutating func takeUntold(_ name: ReplicaName) -> TransferRow? { untold.removeValue(forKey: name) }

  /// What others fetch stays where they fetch it from, until the last of them has it.
  mutating func keepAtHome(_ name: ReplicaName, checkedAt: Timestamp) {
    guard let before = abroad[name.key] else { return }
    abroad[name.key]!.checkedAt = checkedAt
    guard before.kept != name else { return }
    if let old = before.kept { pin(old, false) }
    abroad[name.key]!.kept = name
    pin(name, true)
  }

  /// Whether what others fetch is at home is looked at with the next tick.
  mutating func checkHome(of key: DataKey) { abroad[key]?.checkedAt = .epoch }

  /// - Parameter cluster: whose agent lists a version from now on; nil: nobody does.
  mutating func list(_ key: DataKey, on cluster: ClusterName?) {
    if let before = indexing[key] { listings[before, default: 1] -= 1 }
    if let cluster { listings[cluster, default: 0] += 1 }
    indexing[key] = cluster
  }

  // MARK: Replicas

  /// Caches that have had something.
  var cacheNames: some Collection<String> { books.keys }

  func keys(in cache: String) -> [DataKey] { books[cache].map { $0.keys.sorted() } ?? [] }

  /// One more reason to keep a key in a cache, or one less.
  mutating func pin(_ name: ReplicaName, _ isPinned: Bool) {
    let count = (pins[name] ?? 0) + (isPinned ? 1 : -1)
    pins[name] = count > 0 ? count : nil
    settle(name)
  }

  mutating func insert(_ row: ReplicaRow) {
    let name = ReplicaName(key: row.key, cache: row.cache)
    let wasPinned = replicas[row.key]?[row.cache]?.isPinned ?? false
    replicas[row.key, default: [:]][row.cache] = row
    books[row.cache, default: CacheBook()].insert(row.key, row.size)
    if row.isPinned { userPins.insert(name) } else { userPins.remove(name) }
    if row.isPinned != wasPinned { pin(name, row.isPinned) } else { settle(name) }
  }

  mutating func remove(_ key: DataKey, from cache: String) -> ReplicaRow? {
    books[cache]?.remove(key)
    guard let row = replicas[key]?.removeValue(forKey: cache) else { return nil }
    if replicas[key]!.isEmpty { replicas[key] = nil }
    userPins.remove(ReplicaName(key: key, cache: cache))
    if row.isPinned { pin(ReplicaName(key: key, cache: cache), false) }
    return row
  }

  /// Whether a replica may go is told to its book.
  private mutating func settle(_ name: ReplicaName) {
    let isKept = pins[name] != nil || unstored[name.key] != nil
    books[name.cache]?.keep(name.key, isKept)
  }

  mutating func inBook<Result>(_ cache: String, _ body: (inout CacheBook) -> Result) -> Result? {
    books[cache] == nil ? nil : body(&books[cache]!)
  }

  // MARK: Outputs in caches alone

  mutating func setUnstored(_ key: DataKey, _ rows: [ArtifactRow]) {
    for row in unstored[key] ?? [] {
      let name = RepositoryName(project: row.project, key: row.stored.key)
      // What was made anew has taken its name already.
      if unstoredNames[name] == key { unstoredNames[name] = nil }
    }
    for row in rows { unstoredNames[RepositoryName(project: row.project, key: row.stored.key)] = key }
    unstored[key] = rows.isEmpty ? nil : rows
    for cache in (replicas[key] ?? [:]).keys { settle(ReplicaName(key: key, cache: cache)) }
  }

  /// Bytes of all versions of a project's data sets that are kept here, not at an origin. As much work as there are data sets.
  func storage(of project: ProjectName) -> Int64 {
    datasets.reduce(0) { sum, entry in
      guard entry.key.project == project else { return sum }
      return entry.value.versions.values.reduce(sum) { $0 + ($1.origin == nil ? $1.size.bytes : 0) }
    }
  }

  func version(_ key: DataKey) -> DatasetVersionRow? {
    guard let (reference, number) = DatasetReference.parse(key) else { return nil }
    return datasets[reference]?.versions[number]
  }
}

/// When a version may have outlived its use.
struct VersionDeadline: Comparable, Sendable {
  var at: Timestamp
  var key: DataKey
  static func < (a: Self, b: Self) -> Bool { (a.at, a.key) < (b.at, b.key) }
}

/// When a data set was removed.
struct Removal: Comparable, Sendable {
  var at: Timestamp
  var reference: DatasetReference
  static func < (a: Self, b: Self) -> Bool { (a.at, a.reference) < (b.at, b.reference) }
}

struct DatasetEntry: Sendable {
  var row: DatasetRow
  var versions: [Int32: DatasetVersionRow] = [:]
  /// Of a hidden one, soft: when its newest version was last seen to be what is there, or why that could not be seen, and who asks.
  var checkedAt: Timestamp?
  var failure: (message: String, at: Timestamp)?
  var askers: Set<TaskID> = []
  /// Somebody wrote there while it was being looked at: who has asked since then waits for another look.
  var isOutdated = false
  var lateAskers: Set<TaskID> = []

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

/// Files of one cluster that others fetch from its cache.
struct AbroadEntry: Sendable {
  /// Into caches of others.
  var transfers: Set<TransferID> = []
  /// The replica that they read, pinned; nil while it is not known where it is to be.
  var kept: ReplicaName?
  /// When it was last looked at whether it is there, or on its way.
  var checkedAt = Timestamp.epoch
}

/// An object of a project's repository.
struct RepositoryName: Hashable, Sendable {
  var project: ProjectName
  var key: String
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
    case .archive: "archive"
    case .export(let cluster, _): cluster.text
    }
  }
}
