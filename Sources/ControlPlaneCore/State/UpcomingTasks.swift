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
  }

  static let limit = 256
  private(set) var entries: Deque<Entry> = []
  private var names: Set<Name> = []

  var isEmpty: Bool { entries.isEmpty }
  func contains(_ name: Name) -> Bool { names.contains(name) }

  /// Returns the oldest one when there are too many.
  mutating func add(_ entry: Entry) -> Entry? {
    guard names.insert(entry.name).inserted else { return nil }
    entries.append(entry)
    guard entries.count > Self.limit, let oldest = entries.popFirst() else { return nil }
    names.remove(oldest.name)
    return oldest
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
