import DequeModule
import FederationModel
import SchedulerCore

/// The tasks that wait for a placement, grouped by requirement.
///
/// A task leaves a group lazily: the queue may hold tasks that no longer wait, and whoever reads it asks `isWaiting`.
struct PendingTasks: Sendable {
  struct Group: Sendable {
    var requirement: Requirement
    /// Of the group's creation: older groups of a class go first.
    var order: Int64
    var queue: Deque<TaskID> = []
    /// Tasks that really wait.
    var count = 0
  }

  private static let leastOfGroup = 8
  private(set) var groups: [Int64: Group] = [:]
  private var keys: [Requirement: Int64] = [:]
  private var lastKey: Int64 = 0

  var isEmpty: Bool { groups.isEmpty }
  /// Tasks that really wait, in all groups.
  private(set) var count = 0

  func count(of key: Int64) -> Int { groups[key]?.count ?? 0 }
  func requirement(of key: Int64) -> Requirement? { groups[key]?.requirement }

  /// Returns the group that `task` now waits in. `first` puts it before the others: it has waited before.
  mutating func add(_ task: TaskID, requirement: Requirement, first: Bool = false) -> Int64 {
    let key: Int64
    if let known = keys[requirement] {
      key = known
    } else {
      lastKey += 1
      key = lastKey
      keys[requirement] = key
      groups[key] = Group(requirement: requirement, order: key)
    }
    if first { groups[key]!.queue.prepend(task) } else { groups[key]!.queue.append(task) }
    groups[key]!.count += 1
    count += 1
    return key
  }

  /// One task of the group no longer waits.
  mutating func leave(_ key: Int64) {
    guard let waiting = groups[key]?.count else { return }
    count -= 1
    if waiting > 1 {
      groups[key]!.count = waiting - 1
    } else if let group = groups.removeValue(forKey: key) {
      keys[group.requirement] = nil
    }
  }

  /// The first waiting tasks of each group, groups in order of precedence; drops what no longer waits from the queues' fronts.
  ///
  /// At most `limit` tasks altogether, but a few of each group however much waits before it: what is before it may fit nowhere.
  /// `waiting` counts all of a group.
  mutating func next(limit: Int, isWaiting: (TaskID, Int64) -> Bool) -> [(
    requirement: Requirement, tasks: [TaskID], waiting: Int
  )] {
    // Keys alone: a copy of the groups would share their queues, and every removal below would copy one.
    let order = groups.map { (key: $0.key, rank: ($0.value.requirement.hints.priorityClass, $0.value.order)) }.sorted {
      $0.rank < $1.rank
    }
    var left = limit
    return order.map { key, _ in
      while let front = groups[key]!.queue.first, !isWaiting(front, key) { groups[key]!.queue.removeFirst() }
      var tasks: [TaskID] = []
      let share = max(left, min(limit, Self.leastOfGroup))
      for task in groups[key]!.queue where isWaiting(task, key) {
        tasks.append(task)
        if tasks.count == share { break }
      }
      left -= tasks.count
      return (groups[key]!.requirement, tasks, groups[key]!.count)
    }
  }
}
