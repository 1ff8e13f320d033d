import FederationModel

/// How long a run would wait in a cluster's own queue.
enum QueueWait {
  /// Seconds; 0 where it would start at once, or where the cluster has no queue (its room is then asked for instead).
  ///
  /// Behind other people's jobs it is what runs of this size waited there; behind our own it is the time in which the cluster
  /// works off what we have sent beyond what it runs.
  static func seconds(_ cluster: ClusterView, _ requirement: Requirement, expectedRuntime: Double) -> Double {
    guard cluster.inventory.queues else { return 0 }
    let wanted = requirement.resources
    let cores = (wanted.cpuMillicores + 999) / 1000
    var wait = 0.0
    if let partition = PartitionFit.chosen(on: cluster, requirement) {
      // Slurm counts our runs among those that are not idle; of nodes of Kubernetes only others' pods are taken off.
      let ours = cluster.inventory.hasPools ? cluster.partitionsUsed[partition.name]?.cpuMillicores ?? 0 : 0
      if partition.freeCPUs - ours / 1000 < cores { wait = partition.wait(cpus: cores)?.seconds ?? 0 }
    }
    let capacity = cluster.inventory.capacity.cpuMillicores
    let excess = wanted.cpuMillicores - cluster.free.cpuMillicores
    if capacity > 0, excess > 0 { wait = max(wait, Double(excess) / Double(capacity) * expectedRuntime) }
    return wait
  }
}
