/// What a private Slurm cluster on this machine looks like to those who use it. Its nodes share the machine, and pose as
/// large as they are told to.
extension LocalSlurmCluster {
  public struct Configuration: Sendable, Equatable {
    /// Absolute; everything of the cluster is below here. At most 60 bytes, because unix sockets lie in it.
    public var directory: String
    /// Slurm's ClusterName, and the beginning of its nodes' names: `NAME-1`, `NAME-2`, ... Lower-case letters, digits and
    /// dashes, at most 20.
    public var name: String
    /// 1 to 64.
    public var nodes: Int
    /// 1 to 1024.
    public var cpusPerNode: Int
    public var memoryMiBPerNode: Int
    /// None by default. The devices are fake: they are counted and bound, and compute nothing.
    public var gpusPerNode: Int
    public var gpuType: String
    public var partitions: [Partition]
    /// How long a node may be silent before its jobs fail with NODE_FAIL: Slurm's SlurmdTimeout.
    public var nodeTimeoutSeconds: Int
    /// How long the controller tells of a job that has ended: Slurm's MinJobAge.
    public var jobMemorySeconds: Int
    /// Between the polite signal and the other one: Slurm's KillWait.
    public var killWaitSeconds: Int
    /// How long a job that was put back waits at least before it starts again, and a step may take to begin: the lifetime of
    /// Slurm's credentials, 120 s by default.
    public var requeueDelaySeconds: Int
    /// Whether jobs are kept in a database: slurmdbd and a MariaDB of the cluster's own, on a unix socket. `sacct` then tells of
    /// jobs that the controller has forgotten.
    public var keepsAccounts: Bool
    /// Qualities of service beside Slurm's `normal`; they need accounting.
    public var qos: [QOS]
    /// Licences of the whole cluster, and how many there are.
    public var licences: [String: Int]
    /// Whether a job that uses more memory than it asked for is killed: each second is looked. Without it Slurm only counts.
    public var killsOverMemory: Bool

    public init(
      directory: String, name: String, nodes: Int = 1, cpusPerNode: Int = 64, memoryMiBPerNode: Int = 64_000,
      gpusPerNode: Int = 0, gpuType: String = "a100", partitions: [Partition] = [Partition("main")],
      nodeTimeoutSeconds: Int = 60, jobMemorySeconds: Int = 300, killWaitSeconds: Int = 5,
      requeueDelaySeconds: Int = 120, keepsAccounts: Bool = false, qos: [QOS] = [],
      licences: [String: Int] = [:], killsOverMemory: Bool = false
    ) {
      self.directory = directory
      self.name = name
      self.nodes = nodes
      self.cpusPerNode = cpusPerNode
      self.memoryMiBPerNode = memoryMiBPerNode
      self.gpusPerNode = gpusPerNode
      self.gpuType = gpuType
      self.partitions = partitions
      self.nodeTimeoutSeconds = nodeTimeoutSeconds
      self.jobMemorySeconds = jobMemorySeconds
      self.killWaitSeconds = killWaitSeconds
      self.requeueDelaySeconds = requeueDelaySeconds
      self.keepsAccounts = keepsAccounts
      self.qos = qos
      self.licences = licences
      self.killsOverMemory = killsOverMemory
    }

    public var nodeNames: [String] { (1...max(1, nodes)).map { "\(name)-\($0)" } }
  }

  /// A quality of service, which the user of the daemons may ask for with `--qos`.
  public struct QOS: Sendable, Equatable {
    public var name: String
    /// Whether its jobs end those of `normal` when they need their places.
    public var preemptsNormal: Bool

    public init(_ name: String, preemptsNormal: Bool = false) {
      self.name = name
      self.preemptsNormal = preemptsNormal
    }
  }

  /// The first one is the default.
  public struct Partition: Sendable, Equatable {
    public var name: String
    /// Counted from 1; nil: all.
    public var nodes: ClosedRange<Int>?
    /// nil: none. Slurm counts whole minutes.
    public var maxTimeMinutes: Int?
    /// Of a job that names none; nil: Slurm takes the longest allowed.
    public var defaultTimeMinutes: Int?
    public var maxNodesPerJob: Int?
    /// Jobs of a partition with a higher tier start first, and end those of a lower one that is preemptible.
    public var priorityTier: Int
    /// What happens to its jobs when a higher one needs their places; nil: nothing.
    public var preemption: Preemption?

    public enum Preemption: String, Sendable, CaseIterable {
      case cancel = "CANCEL"
      /// Put back, if the job may be; else ended as with `cancel`.
      case requeue = "REQUEUE"
    }

    public init(
      _ name: String, nodes: ClosedRange<Int>? = nil, maxTimeMinutes: Int? = 1440, defaultTimeMinutes: Int? = 60,
      maxNodesPerJob: Int? = nil, priorityTier: Int = 1, preemption: Preemption? = nil
    ) {
      self.name = name
      self.nodes = nodes
      self.maxTimeMinutes = maxTimeMinutes
      self.defaultTimeMinutes = defaultTimeMinutes
      self.maxNodesPerJob = maxNodesPerJob
      self.priorityTier = priorityTier
      self.preemption = preemption
    }
  }
}

extension LocalSlurmCluster.Configuration {
  /// The first thing that is wrong with it; nil when it can be started. Whatever passes can be written into Slurm's
  /// configuration as it is, without quoting.
  var problem: String? {
    func isName(_ text: String, _ limit: Int) -> Bool {
      (1...limit).contains(text.utf8.count)
        && text.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d }
    }
    guard isName(name, 20) else { return "a cluster's name is lower-case letters, digits and dashes, at most 20" }
    guard directory.hasPrefix("/"), directory.utf8.count <= 60 else {
      return "\(directory) is not absolute, or longer than the 60 bytes that leave room for unix sockets below it"
    }
    // Slurm reads `#`, blanks, commas, `%` and quotes in a path as its own syntax.
    let plain = "/-_.+@".utf8
    guard
      directory.utf8.allSatisfy({
        (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || plain.contains($0)
      })
    else { return "\(directory) has characters that Slurm's configuration cannot hold" }
    guard (1...64).contains(nodes), (1...1024).contains(cpusPerNode), (1...1 << 24).contains(memoryMiBPerNode) else {
      return "nodes are 1 to 64, their cores 1 to 1024, their memory 1 to 16,777,216 MiB"
    }
    guard (0...64).contains(gpusPerNode), isName(gpuType, 20) else { return "GPUs are 0 to 64 for each node" }
    guard
      [nodeTimeoutSeconds, jobMemorySeconds, killWaitSeconds, requeueDelaySeconds].allSatisfy({
        (1...65_000).contains($0)
      })
    else {
      return "times are 1 to 65,000 s"
    }
    guard licences.allSatisfy({ isName($0.key, 20) && (1...65_000).contains($0.value) }) else {
      return "a licence has a name, and there are 1 to 65,000 of it"
    }
    guard qos.isEmpty || keepsAccounts else { return "qualities of service need accounting" }
    guard qos.allSatisfy({ isName($0.name, 20) && $0.name != "normal" }), Set(qos.map(\.name)).count == qos.count else {
      return "a quality of service has a name of its own, and not normal's"
    }
    guard !qos.contains(where: \.preemptsNormal) || partitions.allSatisfy({ $0.preemption == nil }) else {
      return "preemption is either by partition or by quality of service"
    }
    guard !partitions.isEmpty, Set(partitions.map(\.name)).count == partitions.count else {
      return "a cluster has partitions, each with a name of its own"
    }
    for partition in partitions {
      let numbers = [
        partition.maxTimeMinutes, partition.defaultTimeMinutes, partition.maxNodesPerJob, partition.priorityTier,
      ]
      guard isName(partition.name, 20), numbers.allSatisfy({ $0.map { (1...65_000).contains($0) } ?? true }),
        partition.nodes.map({ $0.lowerBound >= 1 && $0.upperBound <= nodes }) ?? true
      else { return "partition \(partition.name): its name, a number, or its nodes (1 to \(nodes)) are out of range" }
    }
    return nil
  }
}
