public import FederationModel

/// Room that was made for a task by preemption, or is being made: it is kept until the task is placed or gone, because otherwise the
/// next small task would take it, and the runs that left would have left for nothing.
public struct RoomClaim: Hashable, Sendable {
  /// Tasks with this requirement may take it, and nobody else.
  public var requirement: Requirement
  /// Of the cluster's spot capacity.
  public var isSpot: Bool
  public init(requirement: Requirement, isSpot: Bool = false) {
    self.requirement = requirement
    self.isSpot = isSpot
  }
}

/// What a task may not count on though it is free.
public struct Withheld: Hashable, Sendable {
  public var resources = Resources.zero
  public var slots = 0
  /// Of it, what is held for realtime work to come.
  public var isHeadroom = false
  public init() {}
  public var isNothing: Bool { slots == 0 && resources == .zero }

  /// Why a task does not go where there seems to be room.
  var rejection: Rejection {
    isHeadroom
      ? Rejection(
        Rejection.headroom, "what is free now is held for realtime work, and lent to idle work until it comes",
        isTemporary: true)
      : Rejection(
        Rejection.kept, "what is free now is kept for a task of a higher class that room was made for",
        isTemporary: true)
  }
}

extension ClusterView {
  /// What of a cluster's free room is kept from tasks of a requirement: what is claimed for others, and of the classes that leave
  /// slowly what realtime work will probably want.
  ///
  /// - Complexity: O(claims), of which there are a few.
  public func withheld(from requirement: Requirement) -> Withheld {
    var withheld = Withheld()
    for claim in claims where claim.requirement != requirement && claim.isSpot == isSpot {
      withheld.resources += claim.requirement.resources
      withheld.slots += 1
    }
    // Whoever made its own room takes nobody's. What may be taken back is held for nobody.
    guard let headroom, !isSpot, requirement.hints.priorityClass.leavesHeadroom,
      !claims.contains(where: { $0.requirement == requirement })
    else { return withheld }
    withheld.resources += headroom.resources
    withheld.slots += headroom.slots
    withheld.isHeadroom = true
    return withheld
  }

  /// The cluster as tasks of a requirement may count on it.
  public func open(to requirement: Requirement) -> ClusterView {
    let withheld = withheld(from: requirement)
    guard !withheld.isNothing else { return self }
    var view = self
    view.withhold(withheld)
    return view
  }

  mutating func withhold(_ withheld: Withheld) {
    free -= withheld.resources
    freeSlots = freeSlots.map { $0 - withheld.slots }
  }

  mutating func giveBack(_ withheld: Withheld) {
    free += withheld.resources
    freeSlots = freeSlots.map { $0 + withheld.slots }
  }
}

extension PriorityClass {
  /// Whether runs of the class are kept out of what realtime work will probably want: they would have to be preempted for it. Idle
  /// work is lent that room meanwhile.
  var leavesHeadroom: Bool { self == .interruptible || self == .offline }

  /// Whether tasks of the class may take the room of others.
  public var preempts: Bool { self == .realtime || self == .interruptible }
}
