public import FederationModel

/// A data set. Key: (`spec.project`, `spec.name`).
public struct DatasetRow: Hashable, Sendable {
  public var spec: DatasetSpec
  public var createdAt: Timestamp
  public var createdBy: String
  /// The greatest number that any version ever had.
  public var lastVersion: Int32
  /// When it was removed; its row stays for a while, so that its numbers are not given again. nil: it is there.
  public var removedAt: Timestamp?
  public init(
    spec: DatasetSpec, createdAt: Timestamp, createdBy: String, lastVersion: Int32 = 0, removedAt: Timestamp? = nil
  ) {
    self.removedAt = removedAt
    self.spec = spec
    self.createdAt = createdAt
    self.createdBy = createdBy
    self.lastVersion = lastVersion
  }
  public var reference: DatasetReference { DatasetReference(project: spec.project, name: spec.name) }
}

/// States: *indexing* (an agent lists its origin) -> *ready*, or *failed*.
public enum VersionPhase: String, Hashable, Sendable, Codable, CaseIterable {
  case indexing, ready, failed
}

/// One version of a data set. Key: (`dataset`, `number`).
public struct DatasetVersionRow: Hashable, Sendable {
  public var dataset: DatasetReference
  /// From 1.
  public var number: Int32
  public var phase: VersionPhase
  public var files: Int64
  public var size: ByteCount
  /// The list of its files; nil while it is being listed.
  public var manifest: StoredArtifact?
  /// Where its files are when they are not in the repository.
  public var origin: DataOrigin?
  /// The cluster that was asked to list it; nil: any.
  public var indexedVia: ClusterName?
  /// Why it failed.
  public var message: String
  public var createdAt: Timestamp
  public var createdBy: String
  /// When a run last mounted it.
  public var usedAt: Timestamp?
  /// Where its packs are, when they are not in the repository any more.
  public var archive: DataOrigin?
  /// Of a version of an origin: the list of its files with the packs that were made of them, for users to fetch; nil: none were.
  public var stored: StoredArtifact?
  public init(
    dataset: DatasetReference, number: Int32, phase: VersionPhase, files: Int64 = 0, size: ByteCount = .zero,
    manifest: StoredArtifact? = nil, origin: DataOrigin? = nil, indexedVia: ClusterName? = nil, message: String = "",
    createdAt: Timestamp, createdBy: String, usedAt: Timestamp? = nil, archive: DataOrigin? = nil,
    stored: StoredArtifact? = nil
  ) {
    self.archive = archive
    self.stored = stored
    self.dataset = dataset
    self.number = number
    self.phase = phase
    self.files = files
    self.size = size
    self.manifest = manifest
    self.origin = origin
    self.indexedVia = indexedVia
    self.message = message
    self.createdAt = createdAt
    self.createdBy = createdBy
    self.usedAt = usedAt
  }
  public var key: DataKey { DataKey(project: dataset.project, dataset: dataset.name, version: number) }
}

/// Bytes in a cache. Key: (`key`, `cache`).
public struct ReplicaRow: Hashable, Sendable {
  public var key: DataKey
  /// `CacheInventory.name`: the cluster's own name, unless several share one.
  public var cache: String
  public var size: ByteCount
  public var readyAt: Timestamp
  /// A user asked to keep it.
  public var isPinned: Bool
  public init(key: DataKey, cache: String, size: ByteCount, readyAt: Timestamp, isPinned: Bool = false) {
    self.key = key
    self.cache = cache
    self.size = size
    self.readyAt = readyAt
    self.isPinned = isPinned
  }
}

/// Why bytes move.
public enum TransferCause: String, Hashable, Sendable, Codable, CaseIterable {
  /// A bound run reads them.
  case run
  /// A waiting task will probably read them.
  case speculation
  /// A user asked for it, or other clusters fetch it from there.
  case prefetch
  /// A replica that a user pinned was lost.
  case pin
  /// An output, or a version that users want, goes to the repository.
  case stageOut = "stage-out"
  /// A version goes from the repository to its archive.
  case archive
  /// Whether bytes move out of a cluster's cache, or past it, instead of into it.
  public var isOutward: Bool { self == .stageOut || self == .archive }
}

/// States: *waiting* -> *running* -> *done*, *failed* or *cancelled*.
public enum TransferPhase: String, Hashable, Sendable, Codable, CaseIterable {
  case waiting, running, done, failed, cancelled
  public var isTerminal: Bool { self == .done || self == .failed || self == .cancelled }
}

/// A movement of bytes: written when it begins to be wanted and when it ends. Key: `id`.
public struct TransferRow: Hashable, Sendable {
  public var id: TransferID
  public var key: DataKey
  public var project: ProjectName
  /// Whose cache gets it, or, for `stageOut`, gives it.
  public var cluster: ClusterName
  public var cause: TransferCause
  public var phase: TransferPhase
  /// Where the bytes came from, in words: `repository`, `origin`, a cluster's name.
  public var source: String
  public var size: ByteCount
  public var moved: ByteCount
  public var createdAt: Timestamp
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  public var message: String
  public init(
    id: TransferID, key: DataKey, project: ProjectName, cluster: ClusterName, cause: TransferCause,
    phase: TransferPhase = .waiting, source: String = "", size: ByteCount, moved: ByteCount = .zero,
    createdAt: Timestamp, startedAt: Timestamp? = nil, finishedAt: Timestamp? = nil, message: String = ""
  ) {
    self.id = id
    self.key = key
    self.project = project
    self.cluster = cluster
    self.cause = cause
    self.phase = phase
    self.source = source
    self.size = size
    self.moved = moved
    self.createdAt = createdAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.message = message
  }
}

/// A replica that a unit removed.
public struct ReplicaName: Hashable, Comparable, Sendable {
  public var key: DataKey
  public var cache: String
  public init(key: DataKey, cache: String) {
    self.key = key
    self.cache = cache
  }
  public static func < (a: Self, b: Self) -> Bool { (a.key, a.cache) < (b.key, b.cache) }
}
