/// Where a data set's bytes are outside the federation.
public struct OriginDocument: Hashable, Sendable, Codable {
  /// `s3://bucket/prefix`, `https://host/path/`, `sftp://host/path`, `webdav://host/path`, `file://CLUSTER/path`. Without credentials.
  public var uri: String
  /// The name of the project's secret that opens it; nil: it is open to all.
  public var secret: String?
  public init(uri: String, secret: String? = nil) {
    self.uri = uri
    self.secret = secret
  }
}

/// A store outside the federation for versions that nobody uses.
public struct ArchiveDocument: Hashable, Sendable, Codable {
  /// `s3://bucket/prefix`, `sftp://host/path`, `webdavs://host/path`, `rclone:path`; each version has a directory of its own below it.
  public var uri: String
  /// The name of the project's secret that opens it.
  public var secret: String?
  /// Without a use for so long a version is moved there; at least 60.
  public var afterSeconds: Int64
  public init(uri: String, secret: String? = nil, afterSeconds: Int64) {
    self.uri = uri
    self.secret = secret
    self.afterSeconds = afterSeconds
  }
}

/// The body of `POST` and `PUT` of a data set.
public struct DatasetRequest: Hashable, Sendable, Codable {
  /// Of a creation; taken from the path in an update.
  public var name: String?
  public var origin: OriginDocument?
  /// Labels that a cluster must have to hold its bytes.
  public var allowedClusters: [String: String]?
  /// Versions that no workflow has used for so long are deleted; at least 60. nil keeps them.
  public var expiresAfterSeconds: Int64?
  /// Where uploads go that nobody uses; nil keeps them in the repository.
  public var archive: ArchiveDocument?
  public init(
    name: String? = nil, origin: OriginDocument? = nil, allowedClusters: [String: String]? = nil,
    expiresAfterSeconds: Int64? = nil, archive: ArchiveDocument? = nil
  ) {
    self.archive = archive
    self.name = name
    self.origin = origin
    self.allowedClusters = allowedClusters
    self.expiresAfterSeconds = expiresAfterSeconds
  }
}

public struct DatasetDocument: Hashable, Sendable, Codable {
  public var project: String
  public var name: String
  public var origin: OriginDocument?
  public var allowedClusters: [String: String]
  public var expiresAfterSeconds: Int64?
  public var archive: ArchiveDocument?
  public var createdAt: WireTime
  public var createdBy: String
  /// The newest version that can be used; nil: there is none yet.
  public var latest: Int32?
  public var versions: Int
  /// Of the newest version that can be used.
  public var files: Int64
  public var bytes: Int64
  public init(
    project: String, name: String, origin: OriginDocument?, allowedClusters: [String: String],
    expiresAfterSeconds: Int64?, archive: ArchiveDocument? = nil, createdAt: WireTime,
    createdBy: String, latest: Int32?, versions: Int, files: Int64, bytes: Int64
  ) {
    self.project = project
    self.name = name
    self.origin = origin
    self.allowedClusters = allowedClusters
    self.expiresAfterSeconds = expiresAfterSeconds
    self.archive = archive
    self.createdAt = createdAt
    self.createdBy = createdBy
    self.latest = latest
    self.versions = versions
    self.files = files
    self.bytes = bytes
  }
}

public struct DatasetList: Hashable, Sendable, Codable {
  /// By name.
  public var items: [DatasetDocument]
  /// Pass as `continue` for the next page; nil on the last one.
  public var next: String?
  public init(items: [DatasetDocument], next: String? = nil) {
    self.items = items
    self.next = next
  }
}

/// An object of the project's repository, by its content.
public struct ObjectDocument: Hashable, Sendable, Codable {
  /// 64 lower-case hexadecimal digits.
  public var sha256: String
  public var size: Int64
  public init(sha256: String, size: Int64) {
    self.sha256 = sha256
    self.size = size
  }
}

/// The body of `POST .../dataset-objects`: which of these are there. At most 1,000.
public struct ObjectsRequest: Hashable, Sendable, Codable {
  public var objects: [ObjectDocument]
  public init(objects: [ObjectDocument]) { self.objects = objects }
}

public struct ObjectsDocument: Hashable, Sendable, Codable {
  /// One for each object that was asked for, in that order: how many of its bytes, from the beginning, are there. An upload goes on
  /// behind them; at the object's size nothing is left to do.
  public var offsets: [Int64]
  public init(offsets: [Int64]) { self.offsets = offsets }
}

/// The body of `POST .../versions`: one of the three.
///
/// The answer comes when every pack that the version needs was looked at, or copied, which may take minutes.
public struct DatasetVersionRequest: Hashable, Sendable, Codable {
  /// The longest that the server takes for it; who asks waits a little longer than that.
  public static let answerLimit = Duration.seconds(240)
  /// An upload: the manifest; it and all packs that it names have been uploaded.
  public var manifest: ObjectDocument?
  /// What is at the data set's origin now.
  public var origin: OriginPart?
  /// The files of another version.
  public var copyOf: VersionName?
  public init(manifest: ObjectDocument? = nil, origin: OriginPart? = nil, copyOf: VersionName? = nil) {
    self.manifest = manifest
    self.origin = origin
    self.copyOf = copyOf
  }

  public struct OriginPart: Hashable, Sendable, Codable {
    /// Below the origin; nil: all of it.
    public var path: String?
    /// The cluster whose agent lists it; nil: any that may hold it.
    public var via: String?
    public init(path: String? = nil, via: String? = nil) {
      self.path = path
      self.via = via
    }
  }

  public struct VersionName: Hashable, Sendable, Codable {
    /// nil: the same project.
    public var project: String?
    public var dataset: String
    /// nil: the newest.
    public var version: Int32?
    public init(project: String? = nil, dataset: String, version: Int32? = nil) {
      self.project = project
      self.dataset = dataset
      self.version = version
    }
  }
}

public struct DatasetVersionDocument: Hashable, Sendable, Codable {
  public var dataset: String
  public var version: Int32
  /// `indexing`, `ready`, `failed`.
  public var phase: String
  public var files: Int64
  public var bytes: Int64
  /// The list of its files; nil while it is being listed.
  public var manifest: ObjectDocument?
  /// Where its files come from when they were not uploaded.
  public var origin: OriginDocument?
  /// Where they are besides caches: `repository`, `origin`, `archive`.
  public var location: String?
  /// Where its packs are in the archive.
  public var archive: OriginDocument?
  /// The list of its files with the packs of the repository that they are fetched from; nil: `POST .../store` brings them there.
  public var stored: ObjectDocument?
  public var indexedVia: String?
  /// Why it failed; empty otherwise.
  public var message: String
  public var createdAt: WireTime
  public var createdBy: String
  /// When a run last mounted it.
  public var usedAt: WireTime?
  public init(
    dataset: String, version: Int32, phase: String, files: Int64, bytes: Int64, manifest: ObjectDocument?,
    origin: OriginDocument?, location: String? = nil, archive: OriginDocument? = nil, stored: ObjectDocument? = nil,
    indexedVia: String?, message: String, createdAt: WireTime, createdBy: String,
    usedAt: WireTime?
  ) {
    self.dataset = dataset
    self.version = version
    self.phase = phase
    self.files = files
    self.bytes = bytes
    self.manifest = manifest
    self.origin = origin
    self.location = location
    self.archive = archive
    self.stored = stored
    self.indexedVia = indexedVia
    self.message = message
    self.createdAt = createdAt
    self.createdBy = createdBy
    self.usedAt = usedAt
  }
}

public struct DatasetVersionList: Hashable, Sendable, Codable {
  /// Newest first.
  public var items: [DatasetVersionDocument]
  public init(items: [DatasetVersionDocument]) { self.items = items }
}

/// A version's bytes in a cache.
public struct ReplicaDocument: Hashable, Sendable, Codable {
  public var dataset: String
  public var version: Int32
  public var cache: String
  public var bytes: Int64
  public var readyAt: WireTime
  /// A user asked to keep it.
  public var isPinned: Bool
  public init(dataset: String, version: Int32, cache: String, bytes: Int64, readyAt: WireTime, isPinned: Bool) {
    self.dataset = dataset
    self.version = version
    self.cache = cache
    self.bytes = bytes
    self.readyAt = readyAt
    self.isPinned = isPinned
  }
}

/// Where a data set is and what it takes there.
public struct DatasetUsage: Hashable, Sendable, Codable {
  public var dataset: String
  public var versions: [DatasetVersionDocument]
  /// By version, newest first, then by cache.
  public var replicas: [ReplicaDocument]
  /// Of all its versions in the project's repository; bytes that several of them share count once.
  public var repositoryBytes: Int64
  public var lastUsedAt: WireTime?
  public init(
    dataset: String, versions: [DatasetVersionDocument], replicas: [ReplicaDocument], repositoryBytes: Int64,
    lastUsedAt: WireTime?
  ) {
    self.dataset = dataset
    self.versions = versions
    self.replicas = replicas
    self.repositoryBytes = repositoryBytes
    self.lastUsedAt = lastUsedAt
  }
}

/// The body of pin, unpin and prefetch.
public struct PlacementRequest: Hashable, Sendable, Codable {
  public var cluster: String
  /// nil: the newest.
  public var version: Int32?
  public init(cluster: String, version: Int32? = nil) {
    self.cluster = cluster
    self.version = version
  }
}

/// The answer to commands on data sets and artifacts that may make bytes move.
public struct MovementDocument: Hashable, Sendable, Codable {
  public var dataset: String?
  /// Where the command named or made one.
  public var version: Int32?
  /// What moves, or is about to; nil: nothing has to.
  public var transfer: String?
  public init(dataset: String? = nil, version: Int32? = nil, transfer: String? = nil) {
    self.dataset = dataset
    self.version = version
    self.transfer = transfer
  }
}
