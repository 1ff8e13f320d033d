public import FederationModel

/// A part of the list of everything that a cluster's cache holds.
public struct CacheReport: Hashable, Sendable {
  public struct Replica: Hashable, Sendable {
    public var key: DataKey
    public var size: ByteCount
    public init(key: DataKey, size: ByteCount) {
      self.key = key
      self.size = size
    }
  }
  public var replicas: [Replica]
  public var isFirst: Bool
  public var isLast: Bool
  public init(replicas: [Replica], isFirst: Bool, isLast: Bool) {
    self.replicas = replicas
    self.isFirst = isFirst
    self.isLast = isLast
  }
}

/// The latest word on one key in a cluster's cache.
public struct DataEvent: Hashable, Sendable {
  public enum Change: Hashable, Sendable {
    /// Verified. `moved` is zero for what was made there; `source` is nil then.
    case ready(size: ByteCount, moved: ByteCount, milliseconds: Int64, source: DataSource?)
    /// `evicted`, `corrupt`, `lost`.
    case gone(reason: String)
    /// - Parameters:
    ///   - rate: bytes per second.
    ///   - waiting: why it stands still; empty while it moves.
    case progress(done: ByteCount, rate: Int64, waiting: String, source: DataSource?)
    case failed(message: String)
    /// - Parameter failure: empty when it went well.
    /// - Parameter manifest: of a data set: the list of its files, with the packs that they are in now.
    case stored(failure: String, moved: ByteCount, milliseconds: Int64, manifest: StoredArtifact? = nil)
    /// - Parameter failure: empty when it went well.
    case archived(failure: String, moved: ByteCount)
    /// - Parameter failure: empty when it went well.
    /// - Parameter isValidated: the origin tells a checksum or a time of each file, so that the same list means the same bytes.
    case indexed(
      failure: String, manifest: StoredArtifact?, files: Int64, size: ByteCount, isValidated: Bool = true)
  }
  public var key: DataKey
  public var change: Change
  public init(key: DataKey, change: Change) {
    self.key = key
    self.change = change
  }
}

/// What the control plane wants of a cluster's cache.
public struct DataOrders: Hashable, Sendable {
  public struct Store: Hashable, Sendable {
    public var key: DataKey
    public var repositoryKey: String
    public var project: ProjectName
    /// Of a data set whose packs are in an archive, and are to be brought back from there.
    public var manifest: StoredArtifact?
    public var archive: DataOrigin?
    public init(
      key: DataKey, repositoryKey: String, project: ProjectName, manifest: StoredArtifact? = nil,
      archive: DataOrigin? = nil
    ) {
      self.key = key
      self.repositoryKey = repositoryKey
      self.project = project
      self.manifest = manifest
      self.archive = archive
    }
  }
  /// Packs are to be copied out of the repository.
  public struct Archive: Hashable, Sendable {
    public var key: DataKey
    public var project: ProjectName
    /// Names them.
    public var manifest: StoredArtifact
    public var target: DataOrigin
    public init(key: DataKey, project: ProjectName, manifest: StoredArtifact, target: DataOrigin) {
      self.key = key
      self.project = project
      self.manifest = manifest
      self.target = target
    }
  }
  public struct Index: Hashable, Sendable {
    public var key: DataKey
    public var project: ProjectName
    public var origin: DataOrigin
    /// Under which the manifest goes into the repository.
    public var repositoryKey: String
    public init(key: DataKey, project: ProjectName, origin: DataOrigin, repositoryKey: String) {
      self.key = key
      self.project = project
      self.origin = origin
      self.repositoryKey = repositoryKey
    }
  }
  /// What a replica is worth; an agent that has to make room by itself begins with the least.
  public struct Value: Hashable, Sendable {
    public var key: DataKey
    /// Seconds that it is expected to save, for each byte. What is not told is worth nothing.
    public var value: Double
    public init(key: DataKey, value: Double) {
      self.key = key
      self.value = value
    }
  }
  public var stage: [DataObject] = []
  public var cancel: [DataKey] = []
  public var evict: [DataKey] = []
  public var store: [Store] = []
  public var archive: [Archive] = []
  public var index: [Index] = []
  /// To be kept whatever else needs the room, and no longer.
  public var pin: [DataKey] = []
  public var unpin: [DataKey] = []
  /// Those that changed.
  public var values: [Value] = []
  /// They are all: what the agent still has besides is not wanted any more.
  public var isComplete = false
  public init() {}
  public var isEmpty: Bool {
    stage.isEmpty && cancel.isEmpty && evict.isEmpty && store.isEmpty && archive.isEmpty && index.isEmpty && pin.isEmpty
      && unpin.isEmpty && values.isEmpty && !isComplete
  }
}
