/// `cache`: where replicas are kept, how many, and by whom.
public struct CacheConfiguration: Sendable, Equatable {
  /// `cache.directory`: absolute; nil: in the state directory, or for Slurm in the shared one, which nodes see.
  public var directory: String?
  /// `cache.capacity` (or `artifactCacheSize`), bytes.
  public var capacityBytes: Int64 = 20 << 30
  /// `cache.name`: clusters of one name share one cache; nil: as the cluster is called.
  public var name: String?
  /// `cache.writer`: exactly one agent of those that share a cache writes it.
  public var isWriter = true
  /// `cache.scrubInterval`: between two looks at every byte; nil: never.
  public var scrubInterval: Duration? = .seconds(7 * 24 * 3600)
  /// `cache.scrubRate`: bytes a second.
  public var scrubBytesPerSecond: Int64 = 20_000_000
  /// `cache.origins`: directories below which `file://CLUSTER/path` may be read. Empty: nowhere.
  public var origins: [String] = []
  /// `cache.rclone`: the program.
  public var rclone = "rclone"

  public init() {}

  /// `export`: how other clusters may read the cache.
  public struct Export: Sendable, Equatable {
    /// `export.listen`: `ADDRESS:PORT`.
    public var listen = ""
    /// `export.url`: `https://HOST:PORT` as other clusters reach it.
    public var url = ""
    public init() {}
  }
}
