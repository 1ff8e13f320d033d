/// A partition of a Slurm cluster as its agent sees it now. Soft, as all inventory.
///
/// - Source: sinfo(1), scontrol(1) `show partition`.
public struct Partition: Hashable, Sendable, Codable {
  /// Of the partition itself; only `up` takes jobs and starts them.
  public enum State: String, Hashable, Sendable, Codable, CaseIterable { case up, down, drain, inactive }

  public var name: String
  public var isDefault: Bool
  public var state: State
  /// nil: none.
  public var timeLimit: Duration?
  /// What a job gets that asks for no time; nil: `timeLimit`.
  public var defaultTime: Duration?
  public var nodes: Int
  /// Neither down, drained, failed, nor in maintenance.
  public var usableNodes: Int
  /// Cores of the usable nodes, and how many of them are idle.
  public var cpus: Int64
  public var freeCPUs: Int64
  /// Of the largest usable node.
  public var cpusPerNode: Int64
  public var memoryPerNode: ByteCount
  /// Devices on usable nodes by type, less what others have of them where that is known; the empty type is one that Slurm gives no name.
  public var gpus: [String: Int64]
  public var gpusPerNode: Int64
  /// By ascending size; empty while nothing is known.
  public var waits: [PartitionWait]

  public init(
    name: String, isDefault: Bool = false, state: State = .up, timeLimit: Duration? = nil, defaultTime: Duration? = nil,
    nodes: Int = 0, usableNodes: Int = 0, cpus: Int64 = 0, freeCPUs: Int64 = 0, cpusPerNode: Int64 = 0,
    memoryPerNode: ByteCount = .zero, gpus: [String: Int64] = [:], gpusPerNode: Int64 = 0, waits: [PartitionWait] = []
  ) {
    self.name = name
    self.isDefault = isDefault
    self.state = state
    self.timeLimit = timeLimit
    self.defaultTime = defaultTime
    self.nodes = nodes
    self.usableNodes = usableNodes
    self.cpus = cpus
    self.freeCPUs = freeCPUs
    self.cpusPerNode = cpusPerNode
    self.memoryPerNode = memoryPerNode
    self.gpus = gpus
    self.gpusPerNode = gpusPerNode
    self.waits = waits
  }

  /// The expected wait of a run that takes so many cores in all; nil while nothing is known.
  public func wait(cpus: Int64) -> Duration? { (waits.first { cpus <= $0.cpus } ?? waits.last)?.median }
}

/// How long runs of a size wait in a partition's queue.
public struct PartitionWait: Hashable, Sendable, Codable {
  /// Runs of at most so many cores in all.
  public var cpus: Int64
  public var median: Duration
  /// What nine of ten runs do not exceed, with 95 % confidence; Slurm's own forecast where there is no history.
  public var upper: Duration
  /// Own starts that this rests on; 0: Slurm's forecast alone.
  public var samples: Int

  public init(cpus: Int64, median: Duration, upper: Duration, samples: Int) {
    self.cpus = cpus
    self.median = median
    self.upper = upper
    self.samples = samples
  }
}
