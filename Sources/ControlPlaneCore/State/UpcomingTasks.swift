import DequeModule
import FederationModel
import SchedulerCore
import WorkflowCore

/// Tasks that only wait for others which run, and what they read: a bounded number, the newest. Soft: nothing depends on them but
/// when bytes arrive.
struct UpcomingTasks: Sendable {
  struct Name: Hashable, Sendable {
    var workflow: WorkflowID
    var task: UpcomingTask
  }

  struct Entry: Sendable {
    var name: Name
    var requirement: Requirement
    /// Names its place; later ones have higher numbers.
    fileprivate(set) var number = 0
    /// A pass has looked at it.
    fileprivate(set) var isSeen = false

    init(name: Name, requirement: Requirement) {
      self.name = name
      self.requirement = requirement
    }
  }

  static let limit = 256
  private(set) var entries: Deque<Entry> = []
  private var names: Set<Name> = []
  private var lastNumber = 0
  /// Number of the last one that was looked at.
  private var cursor = 0

  var isEmpty: Bool { entries.isEmpty }
  func contains(_ name: Name) -> Bool { names.contains(name) }

  /// Returns the oldest one when there are too many.
  mutating func add(_ entry: Entry) -> Entry? {
    guard names.insert(entry.name).inserted else { return nil }
    lastNumber += 1
    var entry = entry
    entry.number = lastNumber
    entries.append(entry)
    guard entries.count > Self.limit, let oldest = entries.popFirst() else { return nil }
    names.remove(oldest.name)
    return oldest
  }

  /// Whether there is one that no pass has looked at.
  var hasUnseen: Bool { entries.contains { !$0.isSeen } }

  /// Some of them for a pass; all of them in turn.
  mutating func next(_ limit: Int) -> [Entry] {
    let start = entries.firstIndex { $0.number > cursor } ?? 0
    let places = (0..<min(limit, entries.count)).map { (start + $0) % entries.count }
    for place in places { entries[place].isSeen = true }
    if let last = places.last { cursor = entries[last].number }
    return places.map { entries[$0] }
  }

  /// Returns those that are not upcoming any more, and lets go of them.
  mutating func removeAll(where isGone: (Name) -> Bool) -> [Entry] {
    let gone = Array(entries.filter { isGone($0.name) })
    guard !gone.isEmpty else { return [] }
    for entry in gone { names.remove(entry.name) }
    entries.removeAll { !names.contains($0.name) }
    return gone
  }
}
