import DequeModule
import FederationModel
import SchedulerCore

/// The tasks that wait for a placement, grouped by requirement.
///
/// A task leaves a group lazily: the queue may hold tasks that no longer wait, and whoever reads it asks `isWaiting`.
struct PendingTasks: Sendable {
  /// A project's part of what waits.
  struct Lane: Sendable {
    fileprivate var lines: [PriorityClass: Line] = [:]
    /// Tasks that really wait.
    fileprivate(set) var count = 0
    /// Of these: those whose class has a share.
    fileprivate(set) var shared = 0
    fileprivate var arrivals = Arrivals()
    fileprivate var isInRotation = false
  }

  /// What one pass sees.
  struct Selection: Hashable, Sendable {
    var keys: [Int64] = []
    /// Of those the ones whose first task waits longest in its project, in the order of the projects' turns by age.
    var aged: [Int64] = []
  }

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
  /// Projects whose turn by age is near, of which a pass sees what waits longest.
  private static let agedMax = 32
  /// Projects that are looked at for that.
  private static let agedLooks = 128
  /// By key: older groups have lower ones, and those of a class go first in that order.
  private(set) var groups: [Int64: Group] = [:]
  private(set) var artifacts: [DataKey: Artifact] = [:]
  private var lines: [PriorityClass: Line] = [:]
  /// What waits of each project.
  private(set) var lanes: [ProjectName: Lane] = [:]
  /// The projects in the order of their turns by age: who had one last is last.
  private(set) var rotation: Deque<ProjectName> = []
  /// The last group that was seen in turn.
  private var cursor: (line: PriorityClass, key: Int64) = (.realtime, 0)
  private var keys: [Requirement: Int64] = [:]
  /// Those of `groups` whose copies start together.
  private var gangs: [PriorityClass: Line] = [:]
  private var lastKey: Int64 = 0
  /// Groups of which the last pass that looked at them found that something other than room keeps them waiting.
  private var obstructed: Set<Int64> = []
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
      lanes[requirement.project, default: Lane()].lines[requirement.hints.priorityClass, default: Line()].append(key)
      hold(requirement.data, artifacts)
    }
    arrive(task, in: key, requirement, first: first)
    if first { groups[key]!.queue.prepend(task) } else { groups[key]!.queue.append(task) }
    groups[key]!.count += 1
    count += 1
    note(requirement.data, 1)
    return key
  }

  private mutating func arrive(_ task: TaskID, in key: Int64, _ requirement: Requirement, first: Bool) {
    lanes[requirement.project, default: Lane()].count += 1
    guard requirement.hints.priorityClass != .idle else { return }
    lanes[requirement.project]!.arrivals.add(Arrivals.Entry(task: task, group: key), first: first)
    lanes[requirement.project]!.shared += 1
    guard !lanes[requirement.project]!.isInRotation else { return }
    lanes[requirement.project]!.isInRotation = true
    rotation.append(requirement.project)
  }

  /// The project had its turn by age: it is last now.
  mutating func rotate(_ project: ProjectName) {
    guard let place = rotation.firstIndex(of: project) else { return }
    rotation.append(rotation.remove(at: place))
  }

  /// What a pass found of the groups that it looked at: whether something other than room keeps them waiting.
  mutating func note(_ obstructions: [Int64: Bool]) {
    for (key, isObstructed) in obstructions.sorted(by: { $0.key > $1.key }) {
      guard let project = groups[key]?.requirement.project else { continue }
      if isObstructed {
        obstructed.insert(key)
      } else if obstructed.remove(key) != nil {
        lanes[project]!.arrivals.restore(key)
      }
    }
  }

  private mutating func leaveLane(_ requirement: Requirement, isLast: Bool) {
    let (project, priority) = (requirement.project, requirement.hints.priorityClass)
    lanes[project]!.count -= 1
    if priority != .idle { lanes[project]!.shared -= 1 }
    if isLast {
      let groups = groups
      lanes[project]!.lines[priority]!.left { groups[$0] != nil }
    }
    if lanes[project]!.shared == 0 { lanes[project]!.arrivals = Arrivals() }
    // While it is in the rotation it keeps its lane, so that it is not there twice.
    if lanes[project]!.count == 0, !lanes[project]!.isInRotation { lanes[project] = nil }
  }

  /// One task of the group no longer waits.
  mutating func leave(_ key: Int64) {
    guard let waiting = groups[key]?.count else { return }
    count -= 1
    note(groups[key]!.requirement.data, -1)
    if waiting > 1 {
      groups[key]!.count = waiting - 1
      leaveLane(groups[key]!.requirement, isLast: false)
    } else if let group = groups.removeValue(forKey: key) {
      keys[group.requirement] = nil
      obstructed.remove(key)
      lanes[group.requirement.project]!.arrivals.forget(key)
      leaveLane(group.requirement, isLast: true)
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

  /// Groups for one pass: the first ones of the projects, which take turns; of the projects whose turn by age is near the one whose
  /// task waits longest; the first gangs, because room is kept for them only in a pass that sees them; and of the others as many in
  /// turn, because all these may fit nowhere. All of them when they are not more than `selectionLimit`.
  ///
  /// - Parameters:
  ///   - order: the projects that have something waiting, the one that goes first first.
  ///   - isWaiting: whether a task still waits in a group.
  /// - Complexity: O(projects + selectionLimit), however many groups there are.
  mutating func select(in order: [ProjectName], isWaiting: (TaskID, Int64) -> Bool) -> Selection {
    let half = Self.selectionLimit / 2
    let head = head(order, limit: half)
    let aged = eldest(isWaiting)
    guard groups.count > head.count else { return Selection(keys: head, aged: aged) }
    var chosen = Set(head)
    var rest: [(line: PriorityClass, key: Int64)] = []
    for key in aged where chosen.insert(key).inserted {
      rest.append((groups[key]!.requirement.hints.priorityClass, key))
    }
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
    return Selection(
      keys: head + rest.sorted { ($0.line, $0.key) < ($1.line, $1.key) }.map(\.key), aged: aged)
  }

  /// The first groups, band by band, of the projects in turn; those of a project are together, by class and age.
  private func head(_ order: [ProjectName], limit: Int) -> [Int64] {
    var head: [Int64] = []
    for band in TurnBand.allCases where head.count < limit {
      var places = order.compactMap { lanes[$0].map { LanePlace($0, band) } }
      var left = limit - head.count
      var open = Array(places.indices)
      while left > 0, !open.isEmpty {
        let count = max(1, left / open.count)
        open = open.filter { index in
          guard left > 0 else { return false }
          let taken = places[index].take(min(count, left)) { groups[$0] != nil }
          left -= taken
          return taken > 0
        }
      }
      for place in places { head += place.keys }
    }
    return head
  }

  /// The group of the task that waits longest for room, of each of the first projects in the rotation. Who has none that could use room
  /// goes to the end; who has none at all leaves the rotation.
  private mutating func eldest(_ isWaiting: (TaskID, Int64) -> Bool) -> [Int64] {
    var eldest: [Int64] = []
    var place = 0
    for _ in 0..<min(rotation.count, Self.agedLooks) where place < Self.agedMax {
      let project = rotation[place]
      guard lanes[project]!.shared > 0 else {
        rotation.remove(at: place)
        lanes[project]!.isInRotation = false
        if lanes[project]!.count == 0 { lanes[project] = nil }
        continue
      }
      let entry = lanes[project]!.arrivals.eldest(
        of: lanes[project]!.shared, isWaiting: { groups[$0.group] != nil && isWaiting($0.task, $0.group) },
        isObstructed: obstructed.contains)
      if let entry {
        eldest.append(entry.group)
        place += 1
      } else {
        rotation.append(rotation.remove(at: place))
      }
    }
    return eldest
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

  var hasGangs: Bool { !firstGangs().isEmpty }

  /// Those of the first gangs that precede a group: what a pass keeps room for before it comes to that.
  ///
  /// - Parameter order: as that of `select`.
  func gangs(before key: Int64, in order: [ProjectName]) -> [Int64] {
    guard let own = groups[key]?.requirement else { return [] }
    let places = Dictionary(order.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    func precedence(_ requirement: Requirement, _ key: Int64) -> (Int, Int, PriorityClass, Int64) {
      let priority = requirement.hints.priorityClass
      return (TurnBand(priority).rawValue, places[requirement.project] ?? .max, priority, key)
    }
    return firstGangs().map(\.key).filter {
      precedence(groups[$0]!.requirement, $0) < precedence(own, key)
    }
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
  /// Of the project that goes first at most `limit` tasks altogether, of others as many as a pass may come to choose of them, and a few
  /// of each group however much waits before it: what is before it may fit nowhere.
  mutating func tasks(of selection: [Int64], limit: Int, isWaiting: (TaskID, Int64) -> Bool) -> [(
    key: Int64, tasks: [TaskID]
  )] {
    let projects = selection.map { groups[$0]!.requirement.project }
    let part = min(limit, max(Self.leastOfGroup, 4 * limit / max(1, Set(projects).count)))
    var left = Dictionary(projects.map { ($0, part) }, uniquingKeysWith: { first, _ in first })
    if let first = projects.first { left[first] = limit }
    return zip(selection, projects).map { key, project in
      while let front = groups[key]!.queue.first, !isWaiting(front, key) { groups[key]!.queue.removeFirst() }
      var tasks: [TaskID] = []
      let share = max(left[project]!, min(limit, Self.leastOfGroup))
      for task in groups[key]!.queue where isWaiting(task, key) {
        tasks.append(task)
        if tasks.count == share { break }
      }
      left[project]! -= tasks.count
      return (key, tasks)
    }
  }
}

/// How far the first groups of a project's lane in one band are taken.
private struct LanePlace {
  private let lane: PendingTasks.Lane
  private let classes: [PriorityClass]
  private var line = 0
  private var last: Int64 = 0
  private(set) var keys: [Int64] = []

  init(_ lane: PendingTasks.Lane, _ band: TurnBand) {
    self.lane = lane
    classes = band.classes
  }

  /// Takes the next ones; returns how many there were.
  mutating func take(_ count: Int, isThere: (Int64) -> Bool) -> Int {
    var taken = 0
    while taken < count, line < classes.count {
      lane.lines[classes[line]]?.forEach(after: last) { key in
        last = key
        if isThere(key) {
          keys.append(key)
          taken += 1
        }
        return taken < count
      }
      if taken < count { (line, last) = (line + 1, 0) }
    }
    return taken
  }
}

/// The groups of one priority class by age, with gaps where some have gone.
struct Line: Sendable {
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
