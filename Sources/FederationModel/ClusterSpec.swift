/// What an operator declares about a cluster. Durable; changed only by commands.
public struct ClusterSpec: Hashable, Sendable, Codable {
  public var name: ClusterName
  public var kind: ClusterKind
  public var labels: [String: String]
  /// What always holds, under what `pricePeriods` says; nil: nothing is charged.
  public var prices: PriceSheet?
  /// Prices that hold for a time, in the order in which they were set; nil: none.
  public var pricePeriods: [PricePeriod]?
  /// The part that may be taken back; nil: none.
  public var spot: SpotOffer?
  /// The one project that may use it; nil: whatever its agent's `Tenancy` allows.
  public var project: ProjectName?

  public init(
    name: ClusterName, kind: ClusterKind, labels: [String: String] = [:], prices: PriceSheet? = nil,
    pricePeriods: [PricePeriod]? = nil, spot: SpotOffer? = nil, project: ProjectName? = nil
  ) {
    self.spot = spot
    self.name = name
    self.kind = kind
    self.labels = labels
    self.prices = prices
    self.pricePeriods = pricePeriods
    self.project = project
  }
}

/// What an agent says about its cluster. Soft: rebuilt from the agent's hello and updates, and no invariant depends on it.
public struct ClusterInventory: Hashable, Sendable, Codable {
  public var capacity: Resources
  /// Runs that the cluster takes at once; nil means as many as the resources allow.
  public var slots: Int?
  /// Patterns of the images that the cluster can honour (`*` matches any run of characters), with what really runs.
  public var images: [ImageRule]
  public var gpuTypes: [String]
  /// Whether the executor can prove that a run has ended (invariant I1), and so may offer `onDisconnect: replace`.
  public var canFence: Bool
  /// Bytes per second that the agent allows itself for transfers; nil when it sets no limit.
  public var linkBytesPerSecond: Int64?
  /// Whether the cluster has a queue of its own, so that more may be sent than runs at once.
  public var queues: Bool
  /// Whether a gang can start whole there (I6).
  public var startsGangs: Bool
  /// Of a Slurm cluster; those that the agent may use.
  public var partitions: [Partition]
  /// Whose work its agent takes; nil: the agent is too old to say.
  public var tenancy: Tenancy?
  /// Of the disk that runs need; nil when the agent does not tell (one of an earlier release).
  public var disk: DiskRoom?
  /// Where it keeps replicas; nil when it keeps none.
  public var cache: CacheInventory?
  /// Why nothing new should be placed there now; nil: nothing stands in the way.
  public var closed: String?
  /// The kind of cluster that its agent serves; nil when it does not say (one of an earlier release, one that runs nothing).
  public var executor: String?
  /// Conditions to be shown with the cluster: "memory limits are not enforced here".
  public var notices: [String]
  /// What its agent can do beyond running a program; nil: nothing (one of an earlier release).
  public var features: Set<RunFeature>?
  /// Under which other clusters reach the ports of its runs; nil: its runs reach each other by loopback, and nobody else does.
  public var runAddress: String?
  /// Names of the volume claims that its operator has declared; nil: none.
  public var claims: Set<String>?
  /// Service accounts of Kubernetes that tasks may name there, `*` for any; nil: it does not say, and on clusters of other kinds a name
  /// means nothing.
  public var serviceAccounts: Set<String>?
  /// What its machines are, as labels beside those of its operator (which count before them): `MachineLabels`; nil when it does not say.
  public var labels: [String: String]?
  /// What quotas of its own leave to a project's runs, those that the federation has there included; the empty name: to those of every
  /// project. nil: it has none.
  public var quotas: [ProjectName: ResourceQuota]?

  /// What quotas of its own leave to a project's runs; nil: they leave it all.
  public func quota(of project: ProjectName) -> ResourceQuota? { quotas?[project] ?? quotas?[""] }

  public init(
    capacity: Resources = .zero, slots: Int? = nil, images: [ImageRule] = [], gpuTypes: [String] = [],
    canFence: Bool = false,
    linkBytesPerSecond: Int64? = nil, queues: Bool = false, startsGangs: Bool = false, partitions: [Partition] = [],
    tenancy: Tenancy? = nil, disk: DiskRoom? = nil, cache: CacheInventory? = nil, closed: String? = nil,
    executor: String? = nil, notices: [String] = []
  ) {
    self.capacity = capacity
    self.slots = slots
    self.images = images
    self.gpuTypes = gpuTypes
    self.canFence = canFence
    self.linkBytesPerSecond = linkBytesPerSecond
    self.queues = queues
    self.startsGangs = startsGangs
    self.partitions = partitions
    self.tenancy = tenancy
    self.disk = disk
    self.cache = cache
    self.closed = closed
    self.executor = executor
    self.notices = notices
  }
}

extension ClusterInventory {
  /// In `serviceAccounts`: any that is not named beside it.
  public static let anyServiceAccount = "*"

  /// Whether a task may name this service account there.
  public func takes(serviceAccount name: String) -> Bool {
    guard let serviceAccounts else { return true }
    return serviceAccounts.contains(name) || serviceAccounts.contains(Self.anyServiceAccount)
  }
}

/// How much room a cluster's agent has for what is new.
public struct DiskRoom: Hashable, Sendable, Codable {
  public var free: ByteCount
  /// What must be free for anything new to start.
  public var reserve: ByteCount

  public init(free: ByteCount, reserve: ByteCount) {
    self.free = free
    self.reserve = reserve
  }

  public var isFull: Bool { free < reserve }

  /// As it is told: coarse where there is plenty, so that not every written byte is news.
  public var rounded: DiskRoom {
    let step: Int64 = free.bytes < 4 &* reserve.bytes ? 1 << 20 : 1 << 30
    // Rounding must neither make a disk full nor take that from it.
    guard !isFull, free.bytes / step * step >= reserve.bytes else { return self }
    return DiskRoom(free: ByteCount(free.bytes / step * step), reserve: reserve)
  }
}

/// One line of an operator's image list.
public struct ImageRule: Hashable, Sendable, Codable {
  /// Matches the whole image reference; `*` stands for any run of characters.
  public var pattern: String
  /// What runs instead: `host`, or a root file system's name.
  public var runsAs: String
  /// What the image runs when a template gives no command, as its entry point would be; nil: templates have to.
  public var command: [String]?
  public init(pattern: String, runsAs: String, command: [String]? = nil) {
    self.pattern = pattern
    self.runsAs = runsAs
    self.command = command
  }

  /// Whether `image` matches `pattern`. Linear in the product of the lengths, without recursion.
  public func matches(_ image: String) -> Bool {
    let text = Array(image.utf8)
    let glob = Array(pattern.utf8)
    var position = 0
    var place = 0
    var star: (glob: Int, text: Int)?
    while position < text.count {
      if place < glob.count, glob[place] == 0x2a {
        star = (place, position)
        place += 1
      } else if place < glob.count, glob[place] == text[position] {
        place += 1
        position += 1
      } else if let last = star {
        star = (last.glob, last.text + 1)
        place = last.glob + 1
        position = last.text + 1
      } else {
        return false
      }
    }
    return glob[place...].allSatisfy { $0 == 0x2a }
  }
}
