public import FederationModel

/// What a project may use at the moment of a snapshot, and what it uses. Decided on is in the core, where all runs are known.
public struct QuotaView: Hashable, Sendable {
  public var limits: ProjectLimits
  /// On all clusters together.
  public var use: ResourceUse
  public var useByCluster: [ClusterName: ResourceUse]

  public init(limits: ProjectLimits, use: ResourceUse = ResourceUse(), useByCluster: [ClusterName: ResourceUse] = [:]) {
    self.limits = limits
    self.use = use
    self.useByCluster = useByCluster
  }

  /// Why a run of a project may not be placed on a cluster; nil: it may. In words for the project's people (invariant I10).
  ///
  /// - Parameter own: what quotas of the cluster itself leave to the project's runs there; nil: it has none.
  public func rejection(
    of cluster: ClusterSpec, within own: ResourceQuota? = nil, for requirement: Requirement
  ) -> Rejection? {
    permission(cluster, requirement) ?? own.flatMap { clusterQuota($0, cluster.name, requirement) }
      ?? quota(cluster.name, requirement)
  }

  private func clusterQuota(_ quota: ResourceQuota, _ cluster: ClusterName, _ requirement: Requirement) -> Rejection? {
    let use = useByCluster[cluster] ?? ResourceUse()
    guard let over = Excess(of: quota, by: ResourceUse(requirement.resources), over: use) else { return nil }
    return Rejection(
      "NamespaceQuota",
      over.isTemporary
        ? "the quota of its namespace leaves project \(requirement.project) \(over.limit) \(over.name), of which its runs have "
          + "\(over.use), and this asks for \(over.asked): it waits for runs to end"
        : "it asks for \(over.asked) \(over.name), and the quota of its namespace leaves project \(requirement.project) \(over.limit)",
      isTemporary: over.isTemporary)
  }

  private func permission(_ cluster: ClusterSpec, _ requirement: Requirement) -> Rejection? {
    let project = requirement.project
    if let allowed = limits.allowedClusters, !allowed.contains(cluster.name) {
      return Rejection(
        "ClusterNotAllowed",
        "project \(project) may not use this cluster; an administrator can allow it: fubini project quota set \(project) "
          + "--allow-cluster \(cluster.name)")
    }
    let asked = requirement.hints.priorityClass
    if let allowed = limits.allowedClasses, !allowed.contains(asked) {
      let names = allowed.sorted().map(\.rawValue).joined(separator: ", ")
      return Rejection(
        "ClassNotAllowed",
        "project \(project) may not use priority class \(asked.rawValue), but \(names.isEmpty ? "none" : names)")
    }
    let residency = limits.residency ?? [:]
    for key in residency.keys.sorted() where cluster.labels[key] != residency[key] {
      return Rejection(
        "Residency", "the data of project \(project) may only be on clusters with \(key)=\(residency[key]!)")
    }
    return nil
  }

  private func quota(_ cluster: ClusterName, _ requirement: Requirement) -> Rejection? {
    let asked = ResourceUse(requirement.resources)
    if let quota = limits.overall,
      let rejection = Self.exceeded(quota, use, asked, requirement.project, "", "")
    {
      return rejection
    }
    if let ceiling = limits.borrowCeiling,
      let rejection = Self.exceeded(ceiling, use, asked, requirement.project, "", "")
    {
      return Rejection(
        "OverBorrowLimit",
        "project \(requirement.project) has all that is guaranteed to it and all that it may borrow"
          + (rejection.isTemporary ? ": it waits for runs to end" : ", and this asks for more")
          + "; an administrator can allow more: fubini project quota set \(requirement.project) --borrow-limit runs=NUMBER",
        isTemporary: rejection.isTemporary)
    }
    guard let quota = limits.clusters?[cluster.text] else { return nil }
    return Self.exceeded(
      quota, useByCluster[cluster] ?? ResourceUse(), asked, requirement.project, " on \(cluster)",
      " --cluster \(cluster)")
  }

  /// The first quota that would be exceeded.
  private static func exceeded(
    _ quota: ResourceQuota, _ use: ResourceUse, _ asked: ResourceUse, _ project: ProjectName, _ place: String,
    _ option: String
  ) -> Rejection? {
    guard let over = Excess(of: quota, by: asked, over: use) else { return nil }
    let message =
      over.isTemporary
      ? "project \(project) uses \(over.use) of its \(over.limit) \(over.name)\(place), and this asks for "
        + "\(over.asked): it waits for runs to end"
      : "it asks for \(over.asked) \(over.name), and project \(project) may use \(over.limit)\(place)"
    return Rejection(
      Rejection.overQuota,
      message
        + "; an administrator can allow more: fubini project quota set \(project)\(option) \(over.option) NUMBER",
      isTemporary: over.isTemporary)
  }
}

/// The first kind of which a quota has not enough left, in words.
private struct Excess {
  var limit: String
  var use: String
  var asked: String
  /// Of what there is too little, and the option of `quota set` that gives more.
  var name: String
  var option: String
  /// What runs comes back; what is more than all of it never fits.
  var isTemporary: Bool

  init?(of quota: ResourceQuota, by asked: ResourceUse, over use: ResourceUse) {
    func cores(_ millicores: Int64) -> String {
      millicores % 1000 == 0 ? "\(millicores / 1000)" : "\(Double(millicores) / 1000)"
    }
    let kinds: [(limit: Int64?, use: Int64, asked: Int64, name: String, option: String, text: (Int64) -> String)] = [
      (quota.runs, use.runs, asked.runs, "runs", "--runs", { "\($0)" }),
      (quota.cpuMillicores, use.cpuMillicores, asked.cpuMillicores, "cores", "--cpus", cores),
      (quota.gpus, use.gpus, asked.gpus, "GPUs", "--gpus", { "\($0)" }),
      (quota.memoryBytes, use.memoryBytes, asked.memoryBytes, "memory", "--memory", { "\(ByteCount($0))" }),
    ]
    guard
      let kind = kinds.first(where: { kind in
        kind.asked > 0 && kind.limit.map { kind.use + kind.asked > $0 } ?? false
      }), let most = kind.limit
    else { return nil }
    (limit, self.use, self.asked) = (kind.text(most), kind.text(kind.use), kind.text(kind.asked))
    (name, option, isTemporary) = (kind.name, kind.option, kind.asked <= most)
  }
}
