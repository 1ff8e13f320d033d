import FederationModel

/// A partition or node pool of a cluster that a requirement looks at, because prices depend on it.
struct EnteredPartition: Sendable {
  var name: String
  var prices: PriceSheet?
}

extension ClusterView {
  /// The partition or pool that is looked at; nil: prices do not depend on it.
  public var partition: String? { enteredPartition?.name }

  /// Where tasks of a requirement go; nil where prices do not depend on that, or nothing fits them. What is spot has one price.
  public func partition(for requirement: Requirement) -> String? {
    guard !isSpot, let sheet = enteredPartition?.prices ?? spec.prices, sheet.partitions != nil else { return nil }
    var view = self
    view.leavePartition()
    return PartitionFit.chosen(on: view, requirement)?.name
  }

  /// Until `leavePartition` its prices are those of one partition. nil: nothing changes.
  public mutating func enter(partition name: String?) {
    guard let name, enteredPartition == nil, !isSpot, let sheet = spec.prices, sheet.partitions != nil else { return }
    enteredPartition = EnteredPartition(name: name, prices: sheet)
    spec.prices = sheet.quoted(on: name)
  }

  public mutating func leavePartition() {
    guard let entered = enteredPartition else { return }
    spec.prices = entered.prices
    enteredPartition = nil
  }

  /// It as each other pool that a requirement may go to when that has room. Empty for partitions of Slurm, where it goes to one.
  func otherPools(for requirement: Requirement) -> [ClusterView] {
    guard let name = partition, inventory.hasPools else { return [] }
    return PartitionFit.fitting(inventory.partitions, requirement).filter { $0.name != name }.map { pool in
      var view = self
      view.leavePartition()
      view.enter(partition: pool.name)
      return view
    }
  }

  /// What a requirement pays where it takes no spot capacity, whatever part is looked at.
  func regularQuote(for requirement: Requirement) -> PriceSheet? {
    var whole = self
    whole.leavePartition()
    whole.leave()
    return whole.spec.prices?.quoted(on: whole.partition(for: requirement)).quoted(
      to: requirement.hints.priorityClass)
  }

  /// By all of its prices, whatever part is looked at.
  var tier: Tier {
    var spec = spec
    if let entered = enteredPartition { spec.prices = entered.prices }
    return Tier(of: spec)
  }

  /// A task was placed: where the next one of its requirement goes is asked again.
  mutating func takePartition(_ requirement: Requirement) {
    guard let name = partition else { return }
    partitionsUsed[name, default: .zero] += requirement.resources
    leavePartition()
    enter(partition: partition(for: requirement))
  }
}

extension ClusterInventory {
  /// Whether its partitions are pools of nodes that one scheduler sees together.
  var hasPools: Bool { executor == ClusterKind.kubernetes.rawValue }
}
