internal import FederationModel

/// What nodes have, less what others' pods ask for. Pure.
struct ClusterCapacity: Hashable, Sendable {
  /// One node that takes pods of ours.
  struct Node: Hashable, Sendable {
    var name: String
    var allocatable: Resources
    /// Devices by type; the empty type: one without a name.
    var gpus: [String: Int64]
    /// Of each resource of devices the type that it counts as.
    var gpuTypes: [String: String] = [:]
    /// Of `MachineLabels` alone.
    var labels: [String: String] = [:]
    /// The declared pool whose label it has; nil: none.
    var pool: String?
  }
  /// The partition of nodes that are in no pool with a label.
  static let rest = "nodes"
  /// By name.
  var nodes: [String: Node] = [:]
  /// Nodes that do not count, and why, as words and how many.
  var unusable: [String: Int] = [:]
  /// What pods that are not ours ask for, on the nodes that count, by the nodes' partition.
  private(set) var taken: [String: Resources] = [:]
  /// Devices of them by partition and type.
  private(set) var takenGPUs: [String: [String: Int64]] = [:]

  var total: Resources {
    var sum = Resources.zero
    for node in nodes.values { sum += node.allocatable }
    sum.gpus = gpuTotal
    return sum
  }
  private var gpuTotal: Int64 { nodes.values.reduce(0) { $0 + $1.gpus.values.reduce(0, +) } }

  var free: Resources {
    let total = total
    let taken = taken.values.reduce(Resources.zero, +)
    return Resources(
      cpuMillicores: max(0, total.cpuMillicores - taken.cpuMillicores),
      memory: max(.zero, total.memory - taken.memory),
      gpus: max(0, total.gpus - takenGPUs.values.reduce(0) { $0 + $1.values.reduce(0, +) }))
  }

  /// `MachineLabels` that all of its nodes have alike; of the agent's own machine while no node is known.
  var machineLabels: [String: String] {
    guard let first = nodes.values.first else { return MachineLabels.own }
    return first.labels.filter { label in nodes.values.allSatisfy { $0.labels[label.key] == label.value } }
  }

  var gpuTypes: [String] { Set(nodes.values.flatMap { $0.gpus.keys }).subtracting([""]).sorted() }

  /// Takes a node in.
  ///
  /// - Parameter tolerations: of all pods of runs, as in a PodSpec.
  mutating func add(
    node object: JSONValue, tolerations: [JSONValue], selector: [String: String],
    pools: [KubernetesExecutorConfiguration.Pool] = []
  ) {
    guard let name = object["metadata"]?["name"]?.stringValue else { return }
    let labels = object["metadata"]?["labels"]
    func exclude(_ why: String) { unusable[why, default: 0] += 1 }
    if !selector.allSatisfy({ labels?[$0.key]?.stringValue == $0.value }) {
      return exclude("do not match the configured nodeSelector")
    }
    if object["spec"]?["unschedulable"]?.boolValue == true { return exclude("are cordoned") }
    let ready = object["status"]?["conditions"]?.arrayValue?.first { $0["type"]?.stringValue == "Ready" }
    guard ready?["status"]?.stringValue == "True" else { return exclude("are not ready") }
    for taint in object["spec"]?["taints"]?.arrayValue ?? []
    where taint["effect"]?.stringValue != "PreferNoSchedule"
      && !tolerations.contains(where: { Self.tolerates($0, taint) })
    {
      return exclude("have the taint \(taint["key"]?.stringValue ?? "")")
    }
    let allocatable = object["status"]?["allocatable"]?.objectValue ?? [:]
    var node = Node(
      name: name,
      allocatable: Resources(
        cpuMillicores: Self.amount(allocatable["cpu"], scale: 1000),
        memory: ByteCount(Self.amount(allocatable["memory"]))
      ), gpus: [:])
    for (resource, value) in allocatable where GPUType.isGPU(resource) {
      let count = Self.amount(value)
      guard count > 0 else { continue }
      let type = GPUType.name(of: resource, nodeLabels: labels) ?? ""
      node.gpus[type, default: 0] += count
      node.gpuTypes[resource] = type
    }
    for label in MachineLabels.names { node.labels[label] = labels?[label]?.stringValue }
    node.pool =
      pools.first { pool in
        !pool.nodeLabel.isEmpty && pool.nodeLabel.allSatisfy { labels?[$0.key]?.stringValue == $0.value }
      }?.name
    nodes[name] = node
  }

  /// How many nodes of a pool are there.
  func count(of pool: KubernetesExecutorConfiguration.Pool) -> Int { nodes.values.count { $0.pool == pool.name } }

  /// Takes in what a pod asks for, unless it is ours.
  mutating func add(pod object: JSONValue, mark: String) {
    guard object["metadata"]?["labels"]?[ObjectName.markLabel]?.stringValue != mark,
      let node = object["spec"]?["nodeName"]?.stringValue.flatMap({ nodes[$0] }),
      !["Succeeded", "Failed"].contains(object["status"]?["phase"]?.stringValue ?? "")
    else { return }
    let partition = node.pool ?? Self.rest
    var sum = Resources.zero
    for container in object["spec"]?["containers"]?.arrayValue ?? [] {
      let requests = container["resources"]?["requests"]?.objectValue ?? [:]
      sum.cpuMillicores += Self.amount(requests["cpu"], scale: 1000)
      sum.memory += ByteCount(Self.amount(requests["memory"]))
      for (resource, value) in requests where GPUType.isGPU(resource) {
        takenGPUs[partition, default: [:]][node.gpuTypes[resource] ?? "", default: 0] += Self.amount(value)
      }
    }
    taken[partition, default: .zero] += sum
  }

  /// What fits on one node, and how long nodes are waited for that are not there yet: empty while nothing is known.
  func partitions(pools: [KubernetesExecutorConfiguration.Pool]) -> [Partition] {
    func cores(_ resources: Resources) -> Int64 { resources.cpuMillicores / 1000 }
    // A pod that finds no room on the nodes that are there gets one of the pool that is made the fastest.
    let waits = pools.min { $0.startupTime < $1.startupTime }.map {
      [PartitionWait(cpus: cores($0.resources), median: $0.startupTime, upper: $0.startupTime * 2, samples: 0)]
    }
    /// Cores of the nodes of a partition that are there, and what others leave of them.
    func there(_ name: String) -> (total: Int64, free: Int64) {
      let total = nodes.values.filter { ($0.pool ?? Self.rest) == name }.reduce(0) { $0 + $1.allocatable.cpuMillicores }
      return (total / 1000, max(0, total - (taken[name] ?? .zero).cpuMillicores) / 1000)
    }
    /// Less what others have of them.
    func left(_ gpus: [String: Int64], _ name: String) -> [String: Int64] {
      gpus.merging(takenGPUs[name]?.filter { gpus[$0.key] != nil } ?? [:]) { max(0, $0 - $1) }
    }
    var found: [Partition] = []
    let all = nodes.values.filter { $0.pool == nil }
    if !all.isEmpty {
      var gpus: [String: Int64] = [:]
      for node in all { gpus.merge(node.gpus, uniquingKeysWith: +) }
      let cpus = there(Self.rest)
      found.append(
        Partition(
          name: Self.rest, isDefault: true, nodes: all.count, usableNodes: all.count, cpus: cpus.total,
          freeCPUs: cpus.free, cpusPerNode: all.map { cores($0.allocatable) }.max() ?? 0,
          memoryPerNode: all.map(\.allocatable.memory).max() ?? .zero, gpus: left(gpus, Self.rest),
          gpusPerNode: all.map { $0.gpus.values.reduce(0, +) }.max() ?? 0, waits: waits ?? []))
    }
    for pool in pools {
      let one = pool.resources
      let cpus = there(pool.name)
      found.append(
        Partition(
          name: pool.name, nodes: pool.nodesMax, usableNodes: pool.nodesMax,
          cpus: max(0, cores(one) * Int64(pool.nodesMax) - (cpus.total - cpus.free)), freeCPUs: cpus.free,
          cpusPerNode: cores(one), memoryPerNode: one.memory,
          gpus: left(one.gpus > 0 ? [one.gpuType ?? "": one.gpus * Int64(pool.nodesMax)] : [:], pool.name),
          gpusPerNode: one.gpus,
          waits: [
            PartitionWait(cpus: cores(one), median: pool.startupTime, upper: pool.startupTime * 2, samples: 0)
          ]))
    }
    return found
  }

  static func amount(_ value: JSONValue?, scale: Double = 1) -> Int64 {
    switch value {
    case .string(let text)?: Quantity.parse(text, scale: scale) ?? 0
    case .integer(let number)?: number &* Int64(scale)
    default: 0
    }
  }

  /// - Source: Kubernetes, `Toleration.ToleratesTaint`.
  static func tolerates(_ toleration: JSONValue, _ taint: JSONValue) -> Bool {
    func text(_ value: JSONValue, _ key: String) -> String { value[key]?.stringValue ?? "" }
    let effect = text(toleration, "effect")
    guard effect.isEmpty || effect == text(taint, "effect") else { return false }
    let key = text(toleration, "key")
    guard key.isEmpty || key == text(taint, "key") else { return false }
    switch text(toleration, "operator") {
    case "Exists": return true
    case "", "Equal": return !key.isEmpty && text(toleration, "value") == text(taint, "value")
    default: return false
    }
  }
}
