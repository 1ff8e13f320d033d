internal import Execution
public import FederationModel
internal import KubernetesAPI
internal import ProcessExecutor

/// What the cluster has and can do.
extension KubernetesExecutor {
  /// Asks for the version, the nodes and what others use of them.
  ///
  /// - Returns: whether the API server has answered.
  func refreshInventory() async -> Bool {
    do throws(FederationError) {
      if version == nil { version = try await client.version() }
      versionProblem = nil
    } catch {
      versionProblem = error.publicMessage
      return false
    }
    for namespace in configuration.allNamespaces { await refreshQuotas(of: namespace) }
    var found = ClusterCapacity()
    let (tolerations, selector, mark) = (configuration.tolerations, configuration.nodeSelector, mark)
    let pools = configuration.pools
    do throws(FederationError) {
      _ = try await client.list(KubernetesPath.collection("v1", "nodes")) {
        found.add(node: $0, tolerations: tolerations, selector: selector, pools: pools)
      }
      refusals["list nodes"] = nil
    } catch {
      if error.code == .permissionDenied { refusals["list nodes"] = error.publicMessage }
      return true
    }
    var withPods = found
    do throws(FederationError) {
      _ = try await client.list(
        KubernetesPath.collection("v1", "pods"),
        query: [("fieldSelector", "status.phase!=Succeeded,status.phase!=Failed")]
      ) { withPods.add(pod: $0, mark: mark) }
      found = withPods
      refusals["list pods of all namespaces"] = nil
    } catch {
      if error.code == .permissionDenied { refusals["list pods of all namespaces"] = error.publicMessage }
    }
    capacity = found
    return true
  }

  private func refreshQuotas(of namespace: String) async {
    var objects: [JSONValue] = []
    do throws(FederationError) {
      _ = try await client.list(KubernetesPath.collection("v1", "resourcequotas", namespace: namespace)) {
        objects.append($0)
      }
      refusals["list resourcequotas"] = nil
      var quota = NamespaceQuota()
      if !objects.isEmpty {
        let mark = mark
        _ = try await client.list(
          KubernetesPath.collection("v1", "pods", namespace: namespace),
          query: [("labelSelector", "\(ObjectName.markLabel)=\(mark)")]
        ) { quota.add(pod: $0, mark: mark) }
      }
      let jobs = Int64(runs.values.count { $0.namespace == namespace && $0.job != nil && !$0.isJobGone })
      for object in objects { quota.add(quota: object, jobs: jobs) }
      quotas[namespace] = quota.room.isEmpty ? nil : quota.room
    } catch {
      // What was known stays: quotas change seldom.
      if error.code == .permissionDenied { refusals["list resourcequotas"] = error.publicMessage }
    }
  }

  /// By project; the empty name stands for every project, where there is one namespace for all.
  private var quotasByProject: [ProjectName: ResourceQuota] {
    guard !configuration.namespaces.isEmpty else { return quotas[configuration.namespace].map { ["": $0] } ?? [:] }
    return configuration.namespaces.compactMapValues { quotas[$0] }
  }

  public func inventory() async -> ClusterInventory {
    var capacity = capacity.free
    for pool in configuration.pools {
      capacity += pool.resources * max(0, pool.nodesMax - self.capacity.count(of: pool))
    }
    capacity.gpuType = nil
    var inventory = ClusterInventory(
      capacity: capacity, slots: configuration.jobsMax,
      images: configuration.images.map {
        var rule = $0
        if rule.runsAs == "*" { rule.runsAs = "its own image" }
        return rule
      },
      gpuTypes: Set(self.capacity.gpuTypes + configuration.pools.compactMap(\.resources.gpuType)).sorted(),
      canFence: true,
      // Pods may wait in it for Kueue's leave, or for nodes that are made for them.
      queues: configuration.usesKueue || !configuration.pools.isEmpty,
      startsGangs: startsGangs, partitions: self.capacity.partitions(pools: configuration.pools), disk: disk?.rounded,
      closed: closed, executor: "kubernetes", notices: notices)
    inventory.features = [.artifacts, .objects, .volumes, .containers, .http, .probes, .pods, .resources, .daemons]
    inventory.serviceAccounts = configuration.accountNames
    inventory.labels = self.capacity.machineLabels
    if configuration.isPrivileged { inventory.features!.insert(.privilegedPods) }
    if !quotas.isEmpty { inventory.quotas = quotasByProject }
    if configuration.workflowClaims != nil { inventory.features!.insert(.claims) }
    if !configuration.claims.isEmpty { inventory.claims = configuration.claims }
    return inventory
  }

  /// Kueue lets all pods of a Job start, or none.
  private var startsGangs: Bool {
    guard configuration.usesKueue, refusals["create services"] == nil, let version else { return false }
    return version.major > 1 || version.minor >= JobManifest.gangMinor
  }

  /// Why nothing new should come; nil while the API server answers and is new enough.
  var closed: String? {
    guard let version else {
      return "the Kubernetes API server has not answered since its agent started"
        + (versionProblem.map { ": \($0)" } ?? "")
    }
    if !isSupported(version) {
      return "its Kubernetes is \(version.gitVersion), and 1.\(configuration.minimumMinor) or newer is needed"
    }
    // Without events runs lack reasons, and nothing else; claims are asked for when a run needs one.
    if let problem = silent.filter({ !$0.key.hasSuffix("/events") && !$0.key.hasSuffix("/persistentvolumeclaims") })
      .min(by: { $0.key < $1.key })
    {
      return "the Kubernetes API server does not answer (\(problem.key)): \(problem.value)"
    }
    return nil
  }

  func isSupported(_ version: KubernetesVersion) -> Bool {
    version.major > 1 || version.major == 1 && version.minor >= configuration.minimumMinor
  }

  private var notices: [String] {
    var notices: [String] = []
    if let shortage = diskShortage { notices.append(shortage) }
    for (what, why) in silent.sorted(by: { $0.key < $1.key }) { notices.append("\(what): no answer: \(why)") }
    for (what, why) in refusals.sorted(by: { $0.key < $1.key }) { notices.append("may not \(what): \(why)") }
    if let version, let problem = versionProblem { notices.append("\(version.gitVersion) does not answer: \(problem)") }
    for (why, count) in capacity.unusable.sorted(by: { $0.key < $1.key }) {
      notices.append("\(count) \(count == 1 ? "node does" : "nodes do") not count: they \(why)")
    }
    for pool in configuration.pools {
      notices.append(
        "pool \(pool.name): up to \(pool.nodesMax) nodes, made when they are wanted, in about "
          + "\(pool.startupTime.components.seconds) s"
          + (pool.nodeLabel.isEmpty ? "; without `nodeLabel` no run can be sent to it alone" : ""))
    }
    if !leaving.isEmpty, leaving.values.contains(where: { $0.failures > 2 }) {
      notices.append("objects of \(leaving.count) finished runs could not be deleted yet")
    }
    return notices
  }
}
