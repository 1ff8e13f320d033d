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

  private(set) var groups: [Int64: Group] = [:]
  private var keys: [Requirement: Int64] = [:]
  private var lastKey: Int64 = 0

  var isEmpty: Bool { groups.isEmpty }
  var count: Int { groups.values.reduce(0) { $0 + $1.count } }

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
    return key
  }

  /// One task of the group no longer waits.
  mutating func leave(_ key: Int64) {
    guard let count = groups[key]?.count else { return }
    if count > 1 {
      groups[key]!.count = count - 1
    } else if let group = groups.removeValue(forKey: key) {
      keys[group.requirement] = nil
    }
  }

  /// The first `limit` waiting tasks of each group, groups in order of precedence; drops what no longer waits from the queues' fronts.
  mutating func next(limit: Int, isWaiting: (TaskID, Int64) -> Bool) -> [(requirement: Requirement, tasks: [TaskID])] {
    // Keys alone: a copy of the groups would share their queues, and every removal below would copy one.
    let order = groups.map { (key: $0.key, rank: ($0.value.requirement.hints.priorityClass, $0.value.order)) }.sorted {
      $0.rank < $1.rank
    }
    return order.map { key, _ in
      while let front = groups[key]!.queue.first, !isWaiting(front, key) { groups[key]!.queue.removeFirst() }
      var tasks: [TaskID] = []
      for task in groups[key]!.queue where isWaiting(task, key) {
        tasks.append(task)
        if tasks.count == limit { break }
      }
      return (groups[key]!.requirement, tasks)
    }
  }
}
