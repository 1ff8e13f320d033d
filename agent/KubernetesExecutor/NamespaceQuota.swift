internal import FederationModel

/// What the ResourceQuotas of a namespace leave to runs of the federation. Pure.
///
/// What its own runs have already is counted by the control plane, who knows of them first: it is left out here.
///
/// - Source: Kubernetes documentation, "Resource Quotas".
struct NamespaceQuota: Hashable, Sendable {
  private(set) var room = ResourceQuota()
  /// What pods of ours ask for that are not over.
  private var own = ResourceUse()

  /// Takes a pod of the namespace in; before its quotas.
  mutating func add(pod object: JSONValue, mark: String) {
    guard object["metadata"]?["labels"]?[ObjectName.markLabel]?.stringValue == mark,
      !["Succeeded", "Failed"].contains(object["status"]?["phase"]?.stringValue ?? "")
    else { return }
    own.runs += 1
    for container in object["spec"]?["containers"]?.arrayValue ?? [] {
      let requests = container["resources"]?["requests"]?.objectValue ?? [:]
      own.cpuMillicores += ClusterCapacity.amount(requests["cpu"], scale: 1000)
      own.memoryBytes += ClusterCapacity.amount(requests["memory"])
      own.gpus += ClusterCapacity.amount(requests[GPUType.plain])
    }
  }

  /// Takes a ResourceQuota in: of several the tightest counts. One with a scope is for some pods alone, and says nothing beforehand.
  ///
  /// - Parameter jobs: Jobs of ours in the namespace, those that are over included.
  mutating func add(quota object: JSONValue, jobs: Int64) {
    let spec = object["spec"]
    guard spec?["scopes"]?.arrayValue?.isEmpty ?? true, spec?["scopeSelector"] == nil,
      let hard = object["status"]?["hard"]?.objectValue
    else { return }
    let used = object["status"]?["used"]?.objectValue ?? [:]
    func limit(_ known: inout Int64?, _ names: [String], own: Int64, scale: Double = 1) {
      for name in names {
        guard let value = hard[name] else { continue }
        let others = max(0, ClusterCapacity.amount(used[name], scale: scale) - own)
        let left = max(0, ClusterCapacity.amount(value, scale: scale) - others)
        known = min(known ?? left, left)
      }
    }
    limit(&room.cpuMillicores, ["cpu", "requests.cpu"], own: own.cpuMillicores, scale: 1000)
    limit(&room.memoryBytes, ["memory", "requests.memory"], own: own.memoryBytes)
    limit(&room.gpus, ["requests.\(GPUType.plain)"], own: own.gpus)
    limit(&room.runs, ["pods", "count/pods"], own: own.runs)
    limit(&room.runs, ["count/jobs.batch"], own: jobs)
  }
}
