import FederationModel

/// Whether a Slurm cluster has a partition that may ever start a requirement, whatever is free now.
enum PartitionFit {
  /// nil when one does, or when the cluster has none to compare with.
  static func rejection(of partitions: [Partition], for requirement: Requirement) -> Rejection? {
    guard !partitions.isEmpty else { return nil }
    if let name = requirement.hints.slurm?.partition, !partitions.contains(where: { $0.name == name }) {
      return Rejection("NoSuchPartition", "it has no partition \(name) that may be used")
    }
    var reasons: [String] = []
    for partition in candidates(partitions, requirement) {
      guard let reason = misfit(partition, requirement) else { return nil }
      reasons.append("\(partition.name): \(reason)")
    }
    return Rejection("PartitionLimits", reasons.prefix(5).joined(separator: "; "))
  }

  /// The partition whose queue is waited in: the one that is asked for, else the first that fits, the default before others.
  ///
  /// Where prices depend on it, of a Kubernetes cluster's node pools the cheapest one that has room, after the nodes that are in none; those
  /// with GPUs last for whoever wants none.
  static func chosen(on cluster: ClusterView, _ requirement: Requirement) -> Partition? {
    let partitions = cluster.inventory.partitions
    if let name = cluster.partition { return partitions.first { $0.name == name } }
    guard cluster.inventory.hasPools, let sheet = cluster.spec.prices, sheet.partitions != nil else {
      return candidates(partitions, requirement).first { misfit($0, requirement) == nil }
    }
    func cost(_ pool: Partition) -> Double {
      sheet.quoted(on: pool.name).cost(of: requirement.priced, for: .seconds(3600))
    }
    // What has GPUs is kept for those who ask for some.
    func isWaste(_ pool: Partition) -> Bool { requirement.copy.gpus == 0 && pool.gpusPerNode > 0 }
    func wait(_ pool: Partition) -> Double { pool.waits.first?.median.seconds ?? 0 }
    let ranked = fitting(partitions, requirement).sorted { a, b in
      if a.isDefault != b.isDefault { return a.isDefault }
      if isWaste(a) != isWaste(b) { return isWaste(b) }
      return (cost(a), wait(a), a.name) < (cost(b), wait(b), b.name)
    }
    return ranked.first { hasRoom($0, cluster, requirement.resources) } ?? ranked.first
  }

  /// Those that may ever start it.
  static func fitting(_ partitions: [Partition], _ requirement: Requirement) -> [Partition] {
    candidates(partitions, requirement).filter { misfit($0, requirement) == nil }
  }

  /// Whether a run fits beside ours: on nodes that are there, or that a pool may still make.
  private static func hasRoom(_ partition: Partition, _ cluster: ClusterView, _ wanted: Resources) -> Bool {
    let used = cluster.partitionsUsed[partition.name] ?? .zero
    let cores = partition.isDefault ? partition.freeCPUs : partition.cpus
    return wanted.cpuMillicores + used.cpuMillicores <= cores * 1000
      && wanted.gpus + used.gpus <= partition.gpus.values.reduce(0, +)
  }

  private static func candidates(_ partitions: [Partition], _ requirement: Requirement) -> [Partition] {
    if let name = requirement.hints.slurm?.partition { return partitions.filter { $0.name == name } }
    return partitions.filter(\.isDefault) + partitions.filter { !$0.isDefault }
  }

  private static func text(_ duration: Duration) -> String {
    let seconds = duration.components.seconds
    return seconds % 3600 == 0 ? "\(seconds / 3600) h" : seconds % 60 == 0 ? "\(seconds / 60) min" : "\(seconds) s"
  }

  private static func misfit(_ partition: Partition, _ requirement: Requirement) -> String? {
    let copy = requirement.copy
    let cores = (copy.cpuMillicores + 999) / 1000
    if partition.state != .up { return "it is \(partition.state.rawValue)" }
    if cores > partition.cpusPerNode { return "\(cores) cores on one node, it has \(partition.cpusPerNode)" }
    if copy.memory > partition.memoryPerNode { return "\(copy.memory) on one node, it has \(partition.memoryPerNode)" }
    if copy.gpus > partition.gpusPerNode { return "\(copy.gpus) GPUs on one node, it has \(partition.gpusPerNode)" }
    if copy.gpus > 0, let type = copy.gpuType, partition.gpus[type] == nil { return "no GPU of type \(type)" }
    let copies = Int64(requirement.hints.gangSize)
    if cores * copies > partition.cpus { return "\(cores * copies) cores in all, it has \(partition.cpus)" }
    if let nodes = requirement.hints.slurm?.nodes, nodes > partition.usableNodes {
      return "\(nodes) nodes, \(partition.usableNodes) can be used"
    }
    if let limit = partition.timeLimit, let walltime = requirement.hints.walltime, walltime > limit {
      return "a walltime of \(text(walltime)), its limit is \(text(limit))"
    }
    return nil
  }
}
