/// How much of something a project may have in use at once. nil: not limited.
public struct ResourceQuota: Hashable, Sendable, Codable {
  public var cpuMillicores: Int64?
  public var gpus: Int64?
  public var memoryBytes: Int64?
  /// Runs that are placed and not over.
  public var runs: Int64?
  public init(cpuMillicores: Int64? = nil, gpus: Int64? = nil, memoryBytes: Int64? = nil, runs: Int64? = nil) {
    self.cpuMillicores = cpuMillicores
    self.gpus = gpus
    self.memoryBytes = memoryBytes
    self.runs = runs
  }

  public var isEmpty: Bool { self == ResourceQuota() }
}

/// What a project's runs that are not over have, all together or on one cluster.
public struct ResourceUse: Hashable, Sendable, Codable {
  public var cpuMillicores: Int64 = 0
  public var gpus: Int64 = 0
  public var memoryBytes: Int64 = 0
  public var runs: Int64 = 0
  public init() {}

  /// One run's.
  public init(_ resources: Resources) {
    (cpuMillicores, gpus) = (resources.cpuMillicores, Int64(resources.gpus))
    (memoryBytes, runs) = (resources.memory.bytes, 1)
  }

  public static func += (a: inout Self, b: Self) {
    a.cpuMillicores += b.cpuMillicores
    a.gpus += b.gpus
    a.memoryBytes += b.memoryBytes
    a.runs += b.runs
  }

  public static func -= (a: inout Self, b: Self) {
    a.cpuMillicores -= b.cpuMillicores
    a.gpus -= b.gpus
    a.memoryBytes -= b.memoryBytes
    a.runs -= b.runs
  }
}

/// What a project may use, and where. What is nil is not limited.
public struct ProjectLimits: Hashable, Sendable, Codable {
  /// On all clusters together.
  public var overall: ResourceQuota?
  /// By cluster.
  public var clusters: [String: ResourceQuota]?
  /// Of what is kept here for it: uploaded versions of its data sets, and outputs in the repository.
  public var storageBytes: Int64?
  /// The clusters that it may use.
  public var allowedClusters: [ClusterName]?
  public var allowedClasses: [PriorityClass]?
  /// Labels that a cluster must have for the project's work and data to be there. Data sets that say nothing else get them.
  public var residency: [String: String]?
  /// What it may take back from others that borrow, whatever their classes but realtime, and what nobody takes from it.
  public var guarantee: ResourceQuota?
  /// What it may use beyond its guarantee while nobody needs it.
  public var borrowLimit: ResourceQuota?
  /// Labels of the clusters that serve no other projects than those that reserve them. nil: none.
  public var reserves: [String: String]?
  /// While so many of its tasks wait, nothing more is submitted.
  public var pendingTasks: Int64?
  /// Workflows that it may submit in any minute.
  public var submissionsPerMinute: Int64?

  public init(
    overall: ResourceQuota? = nil, clusters: [String: ResourceQuota]? = nil, storageBytes: Int64? = nil,
    allowedClusters: [ClusterName]? = nil, allowedClasses: [PriorityClass]? = nil, residency: [String: String]? = nil,
    guarantee: ResourceQuota? = nil, borrowLimit: ResourceQuota? = nil, reserves: [String: String]? = nil,
    pendingTasks: Int64? = nil, submissionsPerMinute: Int64? = nil
  ) {
    self.guarantee = guarantee
    self.borrowLimit = borrowLimit
    self.reserves = reserves
    self.pendingTasks = pendingTasks
    self.submissionsPerMinute = submissionsPerMinute
    self.overall = overall
    self.clusters = clusters
    self.storageBytes = storageBytes
    self.allowedClusters = allowedClusters
    self.allowedClasses = allowedClasses
    self.residency = residency
  }

  /// Whether the project may use a cluster at all, full quotas or not.
  public func admits(_ cluster: ClusterName, labels: [String: String]) -> Bool {
    (allowedClusters?.contains(cluster) ?? true) && (residency ?? [:]).allSatisfy { labels[$0.key] == $0.value }
  }

  /// Each is remembered for a minute.
  private static let submissionsMax: Int64 = 100_000

  /// More than any federation has, and small enough that sums are numbers still: 64 PiB.
  private static let amountMax: Int64 = 1 << 56

  /// What makes no sense; nil: nothing.
  public var problem: String? {
    let quotas = [overall, guarantee, borrowLimit].compactMap { $0 } + (clusters ?? [:]).values
    let numbers = quotas.flatMap { [$0.cpuMillicores, $0.gpus, $0.memoryBytes, $0.runs] } + [storageBytes]
    guard numbers.allSatisfy({ (0...Self.amountMax).contains($0 ?? 0) }) else {
      return "a quota is a number from 0 to \(Self.amountMax); leave out what is not to be limited"
    }
    guard pendingTasks ?? 0 >= 0, (0...Self.submissionsMax).contains(submissionsPerMinute ?? 0) else {
      return "tasks that may wait are a number from 0, submissions in a minute one from 0 to \(Self.submissionsMax)"
    }
    let names = (clusters ?? [:]).keys.map { $0 } + (allowedClusters ?? []).map(\.text)
    guard names.count <= 1000, names.allSatisfy({ ClusterName($0).isDNSLabel }) else {
      return "limits name at most 1000 clusters, by their names"
    }
    for (what, labels) in [("residency", residency ?? [:]), ("reserves", reserves ?? [:])] {
      guard labels.count <= 64,
        labels.allSatisfy({ (1...253).contains($0.key.utf8.count) && $0.value.utf8.count <= 253 })
      else { return "\(what): at most 64 labels of at most 253 bytes" }
    }
    return nil
  }
}
