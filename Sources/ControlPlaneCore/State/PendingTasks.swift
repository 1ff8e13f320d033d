import DequeModule
import FederationModel
import SchedulerCore

/// The tasks that wait for a placement, grouped by requirement.
///
/// A task leaves a group lazily: the queue may hold tasks that no longer wait, and whoever reads it asks `isWaiting`.
struct PendingTasks: Sendable {
  struct Group: Sendable {
    var requirement: Requirement
    var queue: Deque<TaskID> = []
    /// Tasks that really wait.
    var count = 0
  }

  /// What is known of an input that is read by name.
  struct Artifact: Sendable {
    var size: ByteCount
    var producedOn: ClusterName?
    var project: ProjectName
    /// Where the repository has it, or will have it.
    var repositoryKey = ""
    /// Groups, and tasks that are looked ahead to, that read it.
    var groups = 0
  }

  private static let leastOfGroup = 8
  private static let gangsMax = 16
  /// Groups that one pass sees at most.
  static let selectionLimit = 256
  /// By key: older groups have lower ones, and those of a class go first in that order.
  private(set) var groups: [Int64: Group] = [:]
  private(set) var artifacts: [DataKey: Artifact] = [:]
  private var lines: [PriorityClass: Line] = [:]
  /// The last group that was seen in turn.
  private var cursor: (line: PriorityClass, key: Int64) = (.realtime, 0)
  private var keys: [Requirement: Int64] = [:]
  /// Those of `groups` whose copies start together.
  private var gangs: [PriorityClass: Line] = [:]
  private var lastKey: Int64 = 0
  /// How many waiting tasks read a key.
  private var readers: [DataKey: Int] = [:]
  /// Keys of which that changed, and nobody has looked since.
  var reread = KeyQueue()

  var isEmpty: Bool { groups.isEmpty }
  /// Tasks that really wait, in all groups.
  private(set) var count = 0

  /// The project of a group that reads a key; nil when none waits any more.
  func project(reading key: DataKey) -> ProjectName? { artifacts[key]?.project }

  func readers(of key: DataKey) -> Int { readers[key] ?? 0 }

  private mutating func note(_ names: [DataKey], _ change: Int) {
    for name in names {
      let count = (readers[name] ?? 0) + change
      readers[name] = count > 0 ? count : nil
      reread.insert(name)
    }
  }

  func requirement(of key: Int64) -> Requirement? { groups[key]?.requirement }

  /// Returns the group that `task` now waits in. `first` puts it before the others: it has waited before.
  ///
  /// - Parameter artifacts: what the requirement reads by name.
  mutating func add(
    _ task: TaskID, requirement: Requirement, artifacts: [DataKey: Artifact] = [:], first: Bool = false
  ) -> Int64 {
    let key: Int64
    if let known = keys[requirement] {
      key = known
    } else {
      lastKey += 1
      key = lastKey
      keys[requirement] = key
      groups[key] = Group(requirement: requirement)
      if requirement.hints.gangSize > 1 { gangs[requirement.hints.priorityClass, default: Line()].append(key) }
      lines[requirement.hints.priorityClass, default: Line()].append(key)
      hold(requirement.data, artifacts)
    }
    if first { groups[key]!.queue.prepend(task) } else { groups[key]!.queue.append(task) }
    groups[key]!.count += 1
    count += 1
    note(requirement.data, 1)
    return key
  }

  /// One task of the group no longer waits.
  mutating func leave(_ key: Int64) {
    guard let waiting = groups[key]?.count else { return }
    count -= 1
    note(groups[key]!.requirement.data, -1)
    if waiting > 1 {
      groups[key]!.count = waiting - 1
    } else if let group = groups.removeValue(forKey: key) {
      keys[group.requirement] = nil
      let groups = groups
      lines[group.requirement.hints.priorityClass]!.left { groups[$0] != nil }
      if group.requirement.hints.gangSize > 1 {
        gangs[group.requirement.hints.priorityClass]!.left { groups[$0] != nil }
      }
      release(group.requirement.data)
    }
  }

  /// One more reads these: what is known of them is kept until as many have let go.
  mutating func hold(_ names: [DataKey], _ artifacts: [DataKey: Artifact]) {
    for name in names {
      guard let artifact = self.artifacts[name] ?? artifacts[name] else { continue }
      self.artifacts[name] = artifact
      self.artifacts[name]!.groups += 1
    }
  }

  mutating func release(_ names: [DataKey]) {
    for name in names {
      guard let count = artifacts[name]?.groups else { continue }
      if count > 1 { artifacts[name]!.groups = count - 1 } else { artifacts[name] = nil }
    }
  }

  /// Groups for one pass, in order of precedence: the first ones, and of the others as many in turn, because the first ones may fit
  /// nowhere; and always the first gangs, because room is kept for them only in a pass that sees them. All of them when they are not
  /// more than `selectionLimit`.
  ///
  /// - Complexity: O(selectionLimit), however many there are.
  mutating func select() -> [Int64] {
    let half = Self.selectionLimit / 2
    var head: [Int64] = []
    for line in PriorityClass.allCases {
      guard head.count < half else { break }
      lines[line]?.forEach(after: 0) { key in
        if groups[key] != nil { head.append(key) }
        return head.count < half
      }
    }
    guard groups.count > head.count else { return head }
    var chosen = Set(head)
    var rest: [(line: PriorityClass, key: Int64)] = []
    for (line, key) in firstGangs() where chosen.insert(key).inserted { rest.append((line, key)) }
    let limit = half + rest.count
    let classes = PriorityClass.allCases
    let start = classes.firstIndex(of: cursor.line)!
    // Around once: the rest of the cursor's line, the other lines, and that line's beginning.
    for turn in 0...classes.count where rest.count < limit {
      let line = classes[(start + turn) % classes.count]
      lines[line]?.forEach(after: turn == 0 ? cursor.key : 0) { key in
        if groups[key] != nil {
          cursor = (line, key)
          if chosen.insert(key).inserted { rest.append((line, key)) }
        }
        return rest.count < limit
      }
    }
    return head + rest.sorted { ($0.line, $0.key) < ($1.line, $1.key) }.map(\.key)
  }

  /// The first gangs in order of precedence, as many as room is kept for.
  private func firstGangs() -> [(line: PriorityClass, key: Int64)] {
    var first: [(line: PriorityClass, key: Int64)] = []
    for line in PriorityClass.allCases {
      guard first.count < Self.gangsMax else { break }
      gangs[line]?.forEach(after: 0) { key in
        if groups[key] != nil { first.append((line, key)) }
        return first.count < Self.gangsMax
      }
    }
    return first
  }

  /// Those of the first gangs that precede a group: what a pass keeps room for before it comes to that.
  func gangs(before key: Int64) -> [Int64] {
    guard let own = groups[key]?.requirement.hints.priorityClass else { return [] }
    return firstGangs().filter { ($0.line, $0.key) < (own, key) }.map(\.key)
  }

  /// The next groups by age, whatever their class, after one of them. O(limit) for each class.
  func keys(after key: Int64, limit: Int) -> [Int64] {
    var next: [Int64] = []
    for line in lines.values {
      var left = limit
      line.forEach(after: key) { key in
        if groups[key] != nil {
          next.append(key)
          left -= 1
        }
        return left > 0
      }
    }
    return Array(next.sorted().prefix(limit))
  }

  /// The first waiting tasks of some groups; drops what no longer waits from the queues' fronts.
  ///
  /// At most `limit` tasks altogether, but a few of each group however much waits before it: what is before it may fit nowhere.
  mutating func tasks(of selection: [Int64], limit: Int, isWaiting: (TaskID, Int64) -> Bool) -> [(
    key: Int64, tasks: [TaskID]
  )] {
    var left = limit
    return selection.map { key in
      while let front = groups[key]!.queue.first, !isWaiting(front, key) { groups[key]!.queue.removeFirst() }
      var tasks: [TaskID] = []
      let share = max(left, min(limit, Self.leastOfGroup))
      for task in groups[key]!.queue where isWaiting(task, key) {
        tasks.append(task)
        if tasks.count == share { break }
      }
      left -= tasks.count
      return (key, tasks)
    }
  }
}

/// The groups of one priority class by age, with gaps where some have gone.
private struct Line: Sendable {
  private var keys: Deque<Int64> = []
  private var gaps = 0

  mutating func append(_ key: Int64) { keys.append(key) }

  /// One has gone. Closes the gaps when there are more of them than groups, so that each costs O(1) on average.
  mutating func left(_ isThere: (Int64) -> Bool) {
    gaps += 1
    while let front = keys.first, !isThere(front) {
      keys.removeFirst()
      gaps -= 1
    }
    guard gaps > 32, gaps * 2 > keys.count else { return }
    keys.removeAll { !isThere($0) }
    gaps = 0
  }

  /// The keys above one, ascending, until `body` says no. Some may have gone.
  func forEach(after key: Int64, _ body: (Int64) -> Bool) {
    var (low, high) = (0, keys.count)
    while low < high {
      let middle = (low + high) / 2
      if keys[middle] > key { high = middle } else { low = middle + 1 }
    }
    while low < keys.count, body(keys[low]) { low += 1 }
  }
}
