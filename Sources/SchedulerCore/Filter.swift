import FederationModel

/// The hard conditions: whether a cluster may take a requirement at all, in the order in which a reader wants to hear of them.
enum Filter {
  /// nil when every condition holds. What depends on the moment alone (room) is asked last and is temporary.
  static func rejection(of cluster: ClusterView, for requirement: Requirement, expectedRuntime: Duration) -> Rejection?
  {
    permission(cluster, requirement) ?? fitness(cluster, requirement) ?? price(cluster, requirement, expectedRuntime)
      ?? moment(cluster, requirement, expectedRuntime: expectedRuntime)
  }

  private static func permission(_ cluster: ClusterView, _ requirement: Requirement) -> Rejection? {
    let spec = cluster.spec
    let hints = requirement.hints
    if let owner = spec.project, owner != requirement.project {
      return Rejection("TenancySingle", "the cluster serves project \(owner) alone")
    }
    if let refusal = cluster.inventory.tenancy?.refusal(of: requirement.project) {
      return Rejection(refusal.code, refusal.message)
    }
    if hints.exclude.contains(spec.name) { return Rejection("Excluded", "the workflow excludes this cluster") }
    if !hints.kinds.isEmpty, !hints.kinds.contains(spec.kind) {
      let wanted = hints.kinds.map(\.rawValue).joined(separator: ", ")
      return Rejection("KindNotAllowed", "the workflow asks for kind \(wanted), this is \(spec.kind.rawValue)")
    }
    let selectors = requirement.nodeSelector.merging(hints.labels) { $1 }
    for key in selectors.keys.sorted() where spec.labels[key] != selectors[key] {
      let has = spec.labels[key].map { "it has \(key)=\($0)" } ?? "it has no label \(key)"
      return Rejection("LabelMismatch", "\(key)=\(selectors[key]!) is asked for, \(has)")
    }
    return nil
  }

  private static func fitness(_ cluster: ClusterView, _ requirement: Requirement) -> Rejection? {
    let inventory = cluster.inventory
    let wanted = requirement.resources
    // An agent that was never seen has told nothing that could be compared; `moment` names that reason.
    guard inventory != ClusterInventory() else { return nil }
    if !requirement.image.isEmpty, !inventory.images.contains(where: { $0.matches(requirement.image) }) {
      return Rejection("ImageNotAvailable", "its operator maps no root file system to image \(requirement.image)")
    }
    if requirement.hints.onDisconnect == .replace, !inventory.canFence {
      return Rejection("CannotFence", "onDisconnect: replace needs an executor that can prove that a run has ended")
    }
    if wanted.gpus > 0, let type = wanted.gpuType, !inventory.gpuTypes.contains(type) {
      return Rejection("NoSuchGPU", "it has no GPU of type \(type)")
    }
    if !wanted.fits(in: inventory.capacity) {
      return Rejection("TooLarge", "\(describe(wanted)) asked for, \(describe(inventory.capacity)) in all")
    }
    if requirement.hints.gangSize > 1, !inventory.startsGangs {
      return Rejection("NoGangs", "\(requirement.hints.gangSize) copies must start together, and it starts no gangs")
    }
    return PartitionFit.rejection(of: inventory.partitions, for: requirement)
  }

  private static func price(_ cluster: ClusterView, _ requirement: Requirement, _ expectedRuntime: Duration)
    -> Rejection?
  {
    guard let limit = requirement.hints.maxPrice else { return nil }
    guard let sheet = cluster.spec.prices else {
      return Rejection("NoPrice", "maxPrice is \(limit) and the cluster has no price")
    }
    guard sheet.currency == limit.currency else {
      return Rejection("OtherCurrency", "maxPrice is in \(limit.currency), the cluster's price in \(sheet.currency)")
    }
    // The bound is what may be charged at most, so it is the walltime that counts where one is given.
    let bound = requirement.hints.walltime ?? expectedRuntime
    let cost = sheet.cost(of: requirement.priced, for: bound, moving: requirement.missing(on: cluster.spec.name))
      .rounded(.up)
    guard cost <= Double(limit.minorUnits) else {
      let price = Money(minorUnits: Int64(min(cost, 9e18)), currency: sheet.currency)
      return Rejection("TooExpensive", "it would cost \(price), maxPrice is \(limit)")
    }
    return nil
  }

  /// What depends on the moment alone: whether the cluster is open and has room.
  static func moment(
    _ cluster: ClusterView, _ requirement: Requirement, expectedRuntime: Duration
  ) -> Rejection? {
    if let reason = cluster.closedBecause { return Rejection("Closed", reason, isTemporary: true) }
    if let disk = cluster.inventory.disk, disk.isFull {
      return Rejection(
        "DiskFull", "its disk is full: \(disk.free) free, needs at least \(disk.reserve)", isTemporary: true)
    }
    guard !cluster.hasRoom(for: requirement.resources, lasting: expectedRuntime) else { return nil }
    if let slots = cluster.freeSlots, slots <= 0 {
      return Rejection("Full", "all \(cluster.inventory.slots ?? 0) slots are taken", isTemporary: true)
    }
    return Rejection(
      "Full", "\(describe(requirement.resources)) asked for, \(describe(cluster.free)) free now", isTemporary: true)
  }

  private static func describe(_ resources: Resources) -> String {
    var parts = ["\(Double(resources.cpuMillicores) / 1000) cores", "\(resources.memory)"]
    if resources.gpus > 0 { parts.append("\(resources.gpus) GPUs") }
    return parts.joined(separator: " and ")
  }
}
