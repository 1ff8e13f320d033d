public import FederationModel
import SchedulerCore

/// What projects may use at once, and where (ADR 0017).
extension ControlPlaneCore {
  mutating func setLimits(_ limits: ProjectLimits, of name: ProjectName, _ principal: Principal) throws {
    if let problem = limits.problem { throw FederationError(.invalidArgument, problem) }
    projects[name]!.limits = limits
    noteReserves(of: name)
    noteGuarantee(of: name)
    output.projects.insert(name)
    wantsPlacement = true
    note(principal, "quota.set", name.text, limits.summary)
  }

  /// nil: neither the project nor any cluster limits what it may use.
  ///
  /// - Parameter run: one that does not count, because it is asked where else it could be.
  func quotaView(of project: ProjectName, without run: RunID? = nil) -> QuotaView? {
    let limits = projects[project]?.limits ?? ProjectLimits()
    guard limits != ProjectLimits() || !clustersWithQuotas.isEmpty else { return nil }
    var view = uses[project] ?? QuotaView(limits: limits)
    view.limits = limits
    if let row = run.flatMap({ runs[$0]?.row }) {
      view.use -= ResourceUse(row.resources)
      view.useByCluster[row.cluster]? -= ResourceUse(row.resources)
    }
    return view
  }

  /// A run is placed, or read back.
  mutating func countIn(_ row: RunRow, of project: ProjectName) {
    uses[project, default: QuotaView(limits: ProjectLimits())].use += ResourceUse(row.resources)
    uses[project]!.useByCluster[row.cluster, default: ResourceUse()] += ResourceUse(row.resources)
  }

  /// A run is over.
  mutating func countOut(_ row: RunRow) {
    guard let project = workflows[row.task.workflow]?.row.project, var view = uses[project] else { return }
    view.use -= ResourceUse(row.resources)
    view.useByCluster[row.cluster]? -= ResourceUse(row.resources)
    if view.useByCluster[row.cluster]?.runs == 0 { view.useByCluster[row.cluster] = nil }
    uses[project] = view.use.runs == 0 ? nil : view
  }

  /// What a project's runs have now, by cluster and all together.
  public func resourceUse(of project: ProjectName) -> (overall: ResourceUse, clusters: [ClusterName: ResourceUse]) {
    uses[project].map { ($0.use, $0.useByCluster) } ?? (ResourceUse(), [:])
  }

  /// Whether a project's data sets may grow.
  ///
  /// - Throws: `.resourceExhausted` with what there is and who can allow more.
  func admitStorage(_ size: ByteCount, to project: ProjectName) throws {
    guard let limit = projects[project]?.limits.storageBytes else { return }
    let used = data.storage(of: project)
    guard used + size.bytes > limit else { return }
    throw FederationError(
      .resourceExhausted,
      "project \(project) may keep \(ByteCount(limit)) in data sets and has \(ByteCount(used)); \(size) more do not fit: remove "
        + "versions, or let an administrator allow more: fubini project quota set \(project) --storage SIZE")
  }

  /// - Throws: `.permissionDenied` when a project may not have data on a cluster.
  func admitData(of project: ProjectName, on cluster: ClusterName) throws {
    guard let limits = projects[project]?.limits, let spec = clusters[cluster]?.row.spec,
      !limits.admits(cluster, labels: spec.labels)
    else { return }
    throw FederationError(
      .permissionDenied,
      "project \(project) may not use cluster \(cluster); an administrator can allow it: fubini project quota set \(project) "
        + "--allow-cluster \(cluster)")
  }
}

extension ProjectLimits {
  /// For the audit log.
  fileprivate var summary: String {
    var parts: [String] = []
    func add(_ name: String, _ value: Int64?) { if let value { parts.append("\(name) \(value)") } }
    let places =
      [("", overall ?? ResourceQuota())] + (clusters ?? [:]).sorted { $0.key < $1.key }.map { ("\($0.key) ", $0.value) }
    for (place, quota) in places {
      add("\(place)cpuMillicores", quota.cpuMillicores)
      add("\(place)gpus", quota.gpus)
      add("\(place)memoryBytes", quota.memoryBytes)
      add("\(place)runs", quota.runs)
    }
    add("storageBytes", storageBytes)
    for (what, quota) in [("guarantee", guarantee), ("borrowLimit", borrowLimit)] {
      add("\(what) cpuMillicores", quota?.cpuMillicores)
      add("\(what) gpus", quota?.gpus)
      add("\(what) memoryBytes", quota?.memoryBytes)
      add("\(what) runs", quota?.runs)
    }
    if let reserves, !reserves.isEmpty {
      parts.append(
        "reserves \(reserves.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ","))")
    }
    add("pendingTasks", pendingTasks)
    add("submissionsPerMinute", submissionsPerMinute)
    if let allowedClusters { parts.append("clusters \(allowedClusters.map(\.text).sorted().joined(separator: ","))") }
    if let allowedClasses { parts.append("classes \(allowedClasses.sorted().map(\.rawValue).joined(separator: ","))") }
    if let residency, !residency.isEmpty {
      parts.append(
        "residency \(residency.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ","))")
    }
    return parts.isEmpty ? "none" : parts.joined(separator: "; ")
  }
}
