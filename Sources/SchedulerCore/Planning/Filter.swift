import FederationModel

/// The hard conditions: whether a cluster may take a requirement at all, in the order in which a reader wants to hear of them.
enum Filter {
  /// nil when every condition holds. What depends on the moment alone (room) is asked last and is temporary.
  ///
  /// - Parameters:
  ///   - missing: bytes that would have to be moved there.
  ///   - egress: minor units that their sources charge for them.
  ///   - confined: those of its inputs that may not be everywhere.
  ///   - budget: what the project's budget allows; nil: it has none.
  ///   - quota: what the project may use; nil: it is not limited.
  static func rejection(
    of cluster: ClusterView, for requirement: Requirement, missing: ByteCount, egress: Double,
    confined: [Confinement], expectedRuntime: Duration, budget: BudgetView?, quota: QuotaView? = nil
  ) -> Rejection? {
    if let never = permission(cluster, requirement) ?? residency(cluster, confined) ?? offer(cluster, requirement)
      ?? fitness(cluster, requirement)
    {
      return never
    }
    // A quota that is full for now must not hide a price that is never paid.
    let over = quota?.rejection(
      of: cluster.spec, within: cluster.inventory.quota(of: requirement.project), for: requirement)
    if let over, !over.isTemporary { return over }
    let money = money(cluster, requirement, egress, expectedRuntime, budget)
    if let money, !money.isTemporary { return money }
    return over ?? money
      ?? moment(cluster, requirement, missing: missing, expectedRuntime: expectedRuntime)
  }

  /// An input that only clusters with these labels may hold.
  struct Confinement {
    var data: DataKey
    var labels: [String: String]
  }

  static func confinements(_ inputs: RoundInputs, _ pass: PlacementPass) -> [Confinement] {
    inputs.named.compactMap { datum in
      let (key, view) = pass.view(of: datum)
      return view.allowedClusters.isEmpty ? nil : Confinement(data: key, labels: view.allowedClusters)
    }
  }

  private static func residency(_ cluster: ClusterView, _ confined: [Confinement]) -> Rejection? {
    for confinement in confined {
      for key in confinement.labels.keys.sorted() where cluster.spec.labels[key] != confinement.labels[key] {
        return Rejection(
          "Residency", "\(confinement.data) may only be on clusters with \(key)=\(confinement.labels[key]!)")
      }
    }
    return nil
  }

  /// Why a task cannot go where this input is not.
  static func noReplica(_ data: DataKey) -> Rejection {
    Rejection("NoReplica", "\(data) is not there, and nobody who can be reached now has it", isTemporary: true)
  }

  /// Why a task cannot go where this input cannot be brought.
  static func confined(_ data: DataKey) -> Rejection {
    Rejection(
      "NoReplica", "\(data) lies on a cluster that does not show its cache to others (`export`), and on no cluster else"
    )
  }

  private static func permission(_ cluster: ClusterView, _ requirement: Requirement) -> Rejection? {
    let spec = cluster.spec
    let hints = requirement.hints
    if let owner = spec.project, owner != requirement.project {
      // Whose it is concerns nobody else.
      return Rejection("TenancySingle", "the cluster serves another project alone")
    }
    if let owners = cluster.reservedTo, !owners.contains(requirement.project) {
      return Rejection("Reserved", "the cluster is reserved to other projects")
    }
    if let refusal = cluster.inventory.tenancy?.refusal(of: requirement.project) {
      return Rejection(refusal.code, refusal.message)
    }
    if hints.exclude.contains(spec.name) { return Rejection("Excluded", "the workflow excludes this cluster") }
    if !hints.kinds.isEmpty, !hints.kinds.contains(spec.kind) {
      let wanted = hints.kinds.map(\.rawValue).joined(separator: ", ")
      return Rejection("KindNotAllowed", "the workflow asks for kind \(wanted), this is \(spec.kind.rawValue)")
    }
    if let beside = requirement.beside, beside.cluster != spec.name { return elsewhere(beside) }
    guard !requirement.nodeSelector.isEmpty || !hints.labels.isEmpty else { return nil }
    let selectors = requirement.nodeSelector.merging(hints.labels) { $1 }
    func label(_ key: String) -> String? {
      cluster.label(key) ?? MachineLabels.currentName[key].flatMap { cluster.label($0) }
    }
    let isKnown = cluster.inventory != ClusterInventory()
    for key in selectors.keys.sorted() where label(key) != selectors[key] {
      // What an agent tells of its machines is not known before it has connected; `moment` names that reason.
      if !isKnown, MachineLabels.names.contains(MachineLabels.currentName[key] ?? key), spec.labels[key] == nil {
        continue
      }
      let has = label(key).map { "it has \(key)=\($0)" } ?? "it has no label \(key)"
      return Rejection("LabelMismatch", "\(key)=\(selectors[key]!) is asked for, \(has)")
    }
    return nil
  }

  private static func elsewhere(_ beside: Companion) -> Rejection {
    switch beside.reason {
    case .daemon:
      Rejection(
        "DaemonElsewhere",
        "it is to reach a daemon on \(beside.cluster), whose address no other cluster reaches (`runAddress` in the "
          + "configuration of its agent declares one)")
    case .volumes: Rejection("VolumesElsewhere", "the volumes of its workflow are on \(beside.cluster)")
    }
  }

  /// Whether the part of the cluster is there that the task takes.
  private static func offer(_ cluster: ClusterView, _ requirement: Requirement) -> Rejection? {
    guard let spot = cluster.spot else {
      guard requirement.hints.spot == .require else { return nil }
      return Rejection("NoSpot", "the workflow asks for spot capacity, and it has none")
    }
    guard cluster.isSpot else {
      guard spot.offer.percent == 100 else { return nil }
      return Rejection("SpotOnly", "all of it is spot capacity, which the workflow does not take (`federation.spot`)")
    }
    if spot.offer.percent == 0 {
      let why = spot.offer.reason.map { ": \($0)" } ?? ""
      return Rejection("SpotReclaimed", "its operator has taken its spot capacity back\(why)", isTemporary: true)
    }
    guard spot.prices == nil else { return nil }
    return Rejection("NoSpotPrice", "its spot capacity has no price yet", isTemporary: true)
  }

  private static func fitness(_ cluster: ClusterView, _ requirement: Requirement) -> Rejection? {
    let inventory = cluster.inventory
    let wanted = requirement.resources
    // An agent that was never seen has told nothing that could be compared; `moment` names that reason.
    guard inventory != ClusterInventory() else { return nil }
    if !requirement.image.isEmpty, !inventory.images.contains(where: { $0.matches(requirement.image) }) {
      return Rejection("ImageNotAvailable", "its operator maps no root file system to image \(requirement.image)")
    }
    for image in requirement.companionImages {
      func root(_ image: String) -> String? { inventory.images.first { $0.matches(image) }?.runsAs }
      guard let other = root(image) else {
        return Rejection("ImageNotAvailable", "its operator maps no root file system to image \(image)")
      }
      guard other == root(requirement.image) else {
        return Rejection(
          "SeveralRoots",
          "the containers of one run share a root file system, and there \(requirement.image) and \(image) have two")
      }
    }
    if !requirement.features.isEmpty, let lack = requirement.features.subtracting(inventory.features ?? []).min() {
      return Rejection("CannotRun", lack.lack)
    }
    if let claim = requirement.claims.first(where: { inventory.claims?.contains($0) != true }) {
      return Rejection(
        "NoSuchClaim", "its operator declares no volume claim \(claim) (`claims` in its agent's configuration)")
    }
    if let account = requirement.serviceAccount, !inventory.takes(serviceAccount: account) {
      return Rejection(
        "NoSuchServiceAccount",
        "its operator lets no task name the service account \(account) (`kubernetes.serviceAccounts` in its agent's "
          + "configuration)")
    }
    if requirement.hints.onDisconnect == .replace, !inventory.canFence {
      return Rejection("CannotFence", "onDisconnect: replace needs an executor that can prove that a run has ended")
    }
    if wanted.gpus > 0, let type = wanted.gpuType, !inventory.gpuTypes.contains(type) {
      return Rejection("NoSuchGPU", "it has no GPU of type \(type)")
    }
    if !wanted.fits(in: inventory.capacity) {
      let short = shortages(of: wanted, in: inventory.capacity)
      let part = cluster.spot == nil ? "" : cluster.isSpot ? " of spot capacity" : " besides its spot capacity"
      return Rejection(
        "TooLarge", short.map { "\($0.asked) asked for, it has \($0.there)\(part)" }.joined(separator: "; "))
    }
    if requirement.hints.gangSize > 1, !inventory.startsGangs {
      let remedy =
        switch inventory.executor {
        case "slurm": ": its agent is root's, and must run as an ordinary user for that"
        case "kubernetes": ": that takes Kueue, which its operator declares (`kubernetes.kueue`), and Kubernetes 1.24"
        default: ""
        }
      return Rejection(
        "NoGangs", "\(requirement.hints.gangSize) copies must start together, and it starts no gangs\(remedy)")
    }
    return PartitionFit.rejection(of: inventory.partitions, for: requirement)
  }

  /// What an author or a project does not pay.
  static func money(
    _ cluster: ClusterView, _ requirement: Requirement, _ egress: Double, _ expectedRuntime: Duration,
    _ budget: BudgetView?
  ) -> Rejection? {
    price(cluster, requirement, egress, expectedRuntime) ?? budget.flatMap { afford(cluster, requirement, egress, $0) }
  }

  static func price(
    _ cluster: ClusterView, _ requirement: Requirement, _ egress: Double, _ expectedRuntime: Duration
  ) -> Rejection? {
    if requirement.hints.priorityClass == .idle, egress > 0 {
      return Rejection(
        "PaidEgress", "bringing its inputs there would have to be paid for, and idle work gets no paid egress",
        isTemporary: true)
    }
    if cluster.isSpot { return spotPrice(cluster, requirement, egress, expectedRuntime) }
    guard let limit = requirement.hints.maxPrice else { return nil }
    guard let sheet = cluster.spec.prices?.quoted(to: requirement.hints.priorityClass) else {
      return Rejection("NoPrice", "maxPrice is \(limit) and the cluster has no price")
    }
    guard sheet.currency == limit.currency else {
      return Rejection("OtherCurrency", "maxPrice is in \(limit.currency), the cluster's price in \(sheet.currency)")
    }
    // The bound is what may be charged at most, so it is the walltime that counts where one is given.
    let bound = requirement.hints.walltime ?? expectedRuntime
    func cost(_ sheet: PriceSheet) -> Double { (sheet.cost(of: requirement.priced, for: bound) + egress).rounded(.up) }
    guard cost(sheet) > Double(limit.minorUnits) else { return nil }
    let price = Money(minorUnits: Int64(min(cost(sheet), 9e18)), currency: sheet.currency)
    // A cheaper pool may have room later.
    let isTemporary = cluster.otherPools(for: requirement).contains {
      cost($0.spec.prices!.quoted(to: requirement.hints.priorityClass)) <= Double(limit.minorUnits)
    }
    return Rejection(
      "TooExpensive", "it would cost \(price), maxPrice is \(limit)" + pool(cluster), isTemporary: isTemporary)
  }

  /// Which of a cluster's pools a price is of.
  private static func pool(_ cluster: ClusterView) -> String { cluster.partition.map { " (\($0))" } ?? "" }

  /// A price that changes is no reason for ever.
  private static func spotPrice(
    _ cluster: ClusterView, _ requirement: Requirement, _ egress: Double, _ expectedRuntime: Duration
  ) -> Rejection? {
    let hints = requirement.hints
    guard let sheet = cluster.spec.prices?.quoted(to: hints.priorityClass) else {
      return Rejection("NoSpotPrice", "its spot capacity has no price yet", isTemporary: true)
    }
    return SpotBid.refusal(
      of: sheet, regular: cluster.regularQuote(for: requirement), bid: hints.maxPrice,
      for: requirement.priced, lasting: hints.walltime ?? expectedRuntime, egress: egress
    ).map { Rejection(Rejection.spotPrice, $0, isTemporary: true) }
  }

  /// Whether a project's budget can hold what a run may cost there at most.
  private static func afford(
    _ cluster: ClusterView, _ requirement: Requirement, _ egress: Double, _ budget: BudgetView
  ) -> Rejection? {
    let project = requirement.project
    guard let amount = budget.reservation(for: requirement, on: cluster, egress: egress) else {
      guard let other = cluster.spec.prices?.currency else {
        return Rejection(
          "NoPrice",
          "the budget of project \(project) is in \(budget.currency) and the cluster has no price: an administrator sets "
            + "one, 0 for a free cluster")
      }
      return Rejection(
        "OtherCurrency", "the budget of project \(project) is in \(budget.currency), the cluster's price in \(other)")
    }
    guard let available = budget.available, amount > available else { return nil }
    // What is reserved for runs that are not over may come back, and a cheaper pool may have room later.
    let mayComeBack = amount <= budget.unspent
    let isTemporary =
      mayComeBack
      || cluster.otherPools(for: requirement).contains {
        budget.reservation(for: requirement, on: $0, egress: egress).map { $0 <= budget.unspent } ?? false
      }
    let owner = budget.member.map { "\($0) in project \(project)" } ?? "project \(project)"
    return Rejection(
      Rejection.overBudget,
      "it may cost \(amount) \(budget.currency), and \(owner) has \(max(.zero, available)) \(budget.currency) left"
        + (mayComeBack ? " until runs end that hold the rest" : "")
        + "; an administrator can grant more: fubini budget "
        + (budget.member.map { "member set \(project) \($0) AMOUNT" } ?? "set \(project) AMOUNT \(budget.currency)"),
      isTemporary: isTemporary)
  }

  /// What depends on the moment alone: whether the cluster is open and has room.
  static func moment(
    _ cluster: ClusterView, _ requirement: Requirement, missing: ByteCount, expectedRuntime: Duration
  ) -> Rejection? {
    if let reason = cluster.closedBecause { return Rejection("Closed", reason, isTemporary: true) }
    if let disk = cluster.inventory.disk, disk.isFull {
      return Rejection(
        "DiskFull", "its disk is full: \(disk.free) free, needs at least \(disk.reserve)", isTemporary: true)
    }
    if let cache = cluster.cache, missing > cache.available {
      // The whole input set is reserved at once (I4), or none of it.
      guard missing <= cache.capacity else {
        return Rejection("CacheTooSmall", "its inputs take \(missing), the cache holds \(cache.capacity)")
      }
      return Rejection(
        "CacheFull", "\(missing) of inputs to be brought, \(cache.available) of its cache can be made free now",
        isTemporary: true)
    }
    guard !cluster.hasRoom(for: requirement.resources, lasting: expectedRuntime) else { return nil }
    let part = cluster.isSpot ? " of its spot capacity" : ""
    let note = cluster.spotNote.map { "; \($0)" } ?? ""
    if let slots = cluster.freeSlots, slots <= 0 {
      return Rejection(
        Rejection.full, "all \(cluster.inventory.slots ?? 0) slots\(part) are taken\(note)", isTemporary: true)
    }
    let short = shortages(of: requirement.resources, in: cluster.free)
    // What is free now can be promised to others for later.
    let message =
      short.isEmpty
      ? "what is free now is needed by runs before this one"
      : short.map { "\($0.asked) asked for, \($0.there)\(part) free now" }.joined(separator: "; ")
    return Rejection(Rejection.full, message + note, isTemporary: true)
  }

  /// Only what does not fit: whoever reads it wants to know what to ask less of.
  private static func shortages(of wanted: Resources, in there: Resources) -> [(asked: String, there: String)] {
    func cores(_ millicores: Int64) -> String {
      let whole = millicores % 1000 == 0
      return whole ? "\(millicores / 1000)" : "\(Double(millicores) / 1000)"
    }
    var short: [(asked: String, there: String)] = []
    if wanted.cpuMillicores > there.cpuMillicores {
      short.append((cores(wanted.cpuMillicores) + " cores", cores(max(0, there.cpuMillicores))))
    }
    if wanted.memory > there.memory { short.append(("\(wanted.memory)", "\(there.memory)")) }
    if wanted.gpus > there.gpus {
      short.append(("\(wanted.gpus) GPU\(wanted.gpus == 1 ? "" : "s")", there.gpus > 0 ? "\(there.gpus)" : "none"))
    }
    return short
  }
}
