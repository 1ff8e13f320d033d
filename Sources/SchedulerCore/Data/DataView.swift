public import FederationModel

/// A datum as a placement pass sees it: where its bytes are, and where they may be.
public struct DataView: Hashable, Sendable {
  public var size: ByteCount
  /// At most one for each cluster; those on their way among them.
  public var copies: [DataCopy]
  /// Bytes per second at which it can be had from outside the clusters (the artifact repository, S3, HTTP); nil when only its copies
  /// have it.
  public var origin: Double?
  /// Labels that a cluster must have to hold the bytes (residency); empty: any may.
  public var allowedClusters: [String: String]
  /// Whether nobody but those who have a copy can get at it: files of a cluster that does not show its cache to others.
  public var isConfined = false
  public init(
    size: ByteCount, copies: [DataCopy] = [], origin: Double? = nil, allowedClusters: [String: String] = [:]
  ) {
    self.size = size
    self.copies = copies
    self.origin = origin
    self.allowedClusters = allowedClusters
  }
}

/// A replica, or a transfer that will make one.
public struct DataCopy: Hashable, Sendable {
  public var cluster: ClusterName
  /// Seconds from now until it is complete; 0 for one that is there.
  public var eta: Double
  /// Only what is there can be copied on.
  public var isThere: Bool
  public init(cluster: ClusterName, eta: Double = 0, isThere: Bool = true) {
    self.cluster = cluster
    self.eta = eta
    self.isThere = isThere
  }
}

/// The data cache of a cluster.
public struct CacheView: Hashable, Sendable {
  /// Clusters with the same one share one file system, and so replicas and room.
  public var id: String
  public var capacity: ByteCount
  /// Taken, by what is on its way too.
  public var used: ByteCount
  /// Of `used`: what may go, because nothing pins it and it is no last replica.
  public var evictable: ByteCount
  public init(id: String, capacity: ByteCount, used: ByteCount = .zero, evictable: ByteCount = .zero) {
    self.id = id
    self.capacity = capacity
    self.used = used
    self.evictable = evictable
  }

  /// Bytes that fit in without evicting anything.
  public var free: ByteCount { ByteCount(max(0, capacity.bytes - used.bytes)) }
  /// Bytes that fit in when all goes that may.
  public var available: ByteCount { ByteCount(max(0, capacity.bytes - used.bytes + evictable.bytes)) }
}

/// A copy that a pass wants made.
public struct Staging: Hashable, Sendable {
  public var data: DataKey
  /// Where it is wanted.
  public var cluster: ClusterName
  /// The cluster that would send it first; nil: from outside (`DataView.origin`). A wish: by the time it is begun another may be sooner.
  public var source: ClusterName?
  /// Nothing that was placed needs it: it may be dropped whenever something else wants the link or the room.
  public var isSpeculative: Bool
  public init(data: DataKey, cluster: ClusterName, source: ClusterName? = nil, isSpeculative: Bool) {
    self.data = data
    self.cluster = cluster
    self.source = source
    self.isSpeculative = isSpeculative
  }
}
