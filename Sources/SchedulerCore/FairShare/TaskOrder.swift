import FederationModel

/// The order of one project's groups: class, slack, upward rank, age. The order between projects is `PassOrder`'s.
public enum TaskOrder {
  /// Groups in order of precedence.
  ///
  /// - Parameter groups: the oldest first, each with one task at least.
  public static func sorted(_ groups: [PendingGroup]) -> [PendingGroup] {
    let places = groups.map(Place.init)
    let order = groups.indices.sorted { (places[$0], $0) < (places[$1], $1) }
    return exactlyRanked(order.map { groups[$0] })
  }

  /// Seconds that may still be lost before the workflow is late; infinite without a deadline.
  public static func slack(_ group: PendingGroup) -> Double {
    group.deadline.map { $0 - group.expectedRuntime.seconds - group.tail } ?? .infinity
  }

  private struct Place: Comparable {
    var band: PriorityClass
    var slack: Double
    var rank: Double

    init(_ group: PendingGroup) {
      band = group.requirement.hints.priorityClass
      slack = TaskOrder.slack(group)
      rank = TaskOrder.rank(group)
    }

    static func < (a: Self, b: Self) -> Bool { (a.band, a.slack, -a.rank) < (b.band, b.slack, -b.rank) }
  }

  /// The upward rank, rounded down to a power of two: estimates are not better than that, and who was there first is not to be passed
  /// by every task that is expected to take a second more.
  public static func rank(_ group: PendingGroup) -> Double { group.rank > 0 ? group.rank.binade : 0 }

  /// Inside a workflow small differences are those of one estimate, and count: of its groups in a class the one with the longest way
  /// behind it takes the first of their places.
  private static func exactlyRanked(_ groups: [PendingGroup]) -> [PendingGroup] {
    struct Peers: Hashable {
      var workflow: WorkflowID
      var priority: PriorityClass
    }
    let peers = Dictionary(grouping: groups.indices.filter { !groups[$0].tasks.isEmpty }) {
      Peers(workflow: groups[$0].tasks[0].workflow, priority: groups[$0].requirement.hints.priorityClass)
    }
    var ordered = groups
    for places in peers.values where places.count > 1 {
      let ranked = places.sorted {
        (slack(groups[$0]), -groups[$0].rank, $0) < (slack(groups[$1]), -groups[$1].rank, $1)
      }
      for (place, group) in zip(places, ranked) { ordered[place] = groups[group] }
    }
    return ordered
  }
}
