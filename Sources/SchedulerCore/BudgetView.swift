public import FederationModel

/// What a project's budget allows at the moment of a snapshot. Decided on is only in the core, where all reservations are known.
public struct BudgetView: Hashable, Sendable {
  /// ISO 4217, upper case.
  public var currency: String
  /// What a hard budget, or a member's limit in it, has left to promise; nil: nothing is refused for want of money.
  public var available: Amount?
  /// What would be left if all that is reserved came back.
  public var unspent: Amount
  /// Whose limit in the budget it is that has so little left; nil: the budget itself.
  public var member: String?
  /// Bounds the runs whose authors give no limit.
  public var defaultWalltime: Duration
  /// How much of a run's time is held at first, on a cluster whose agent can be told to let it go on; nil: all of it.
  public var slice: Duration?

  public init(
    currency: String, available: Amount?, unspent: Amount, defaultWalltime: Duration, slice: Duration? = nil
  ) {
    self.slice = slice
    self.currency = currency
    self.available = available
    self.unspent = unspent
    self.defaultWalltime = defaultWalltime
  }

  /// How long a run may take on a cluster: its author's limit, else the project's, within what the cluster's partition gives.
  public func bound(of requirement: Requirement, on cluster: ClusterView) -> Duration {
    if let bound = requirement.bound { return bound }
    let limit = PartitionFit.chosen(on: cluster, requirement)?.timeLimit
    return limit.map { min($0, defaultWalltime) } ?? defaultWalltime
  }

  /// How much of a run's bound is held when it is placed on a cluster.
  public func slice(of requirement: Requirement, on cluster: ClusterView) -> Duration {
    let bound = bound(of: requirement, on: cluster)
    guard cluster.renewsSlices, !requirement.isHeldWhole, let slice else { return bound }
    return min(slice, bound)
  }

  /// The most that a run can cost on a cluster before its reservation is renewed, which is what is reserved for it; nil when the
  /// cluster has no price in the budget's currency.
  ///
  /// - Parameter egress: minor units that the sources of its inputs charge.
  public func reservation(for requirement: Requirement, on cluster: ClusterView, egress: Double) -> Amount? {
    amount(for: requirement, on: cluster, lasting: slice(of: requirement, on: cluster), egress: egress)
  }

  /// The most that a run of so long can cost on a cluster; nil when the cluster has no price in the budget's currency.
  public func amount(
    for requirement: Requirement, on cluster: ClusterView, lasting time: Duration, egress: Double
  ) -> Amount? {
    guard let sheet = cluster.spec.prices?.quoted(to: requirement.hints.priorityClass), sheet.currency == currency
    else {
      return nil
    }
    return Amount(reserving: sheet.cost(of: requirement.priced, for: time) + egress)
  }
}
