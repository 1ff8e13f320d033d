import DequeModule
import FederationModel

/// In what order a project's tasks came to wait. Entries whose task no longer waits are dropped later, a bounded number at a time.
///
/// Entries of groups that something other than room keeps waiting are set aside, so that those behind them have the turn.
struct Arrivals: Sendable {
  struct Entry: Hashable, Sendable {
    var task: TaskID
    var group: Int64
    /// Its place: lower ones came before. Set by `add`.
    fileprivate(set) var number: Int64 = 0
    init(task: TaskID, group: Int64) {
      self.task = task
      self.group = group
    }
  }

  /// Entries that are dropped or moved at once.
  private static let slice = 1024
  /// Looked through already; all of them before `fresh`.
  private var kept: Deque<Entry> = []
  private var fresh: Deque<Entry> = []
  /// By group, each in its order.
  private var aside: [Int64: Deque<Entry>] = [:]
  /// The numbers of the first and the last.
  private var first: Int64 = 0
  private var last: Int64 = 0

  private var count: Int { kept.count + fresh.count }

  /// - Parameter first: it has waited before, and goes before the others.
  mutating func add(_ entry: Entry, first: Bool) {
    var entry = entry
    if first { self.first -= 1 } else { last += 1 }
    entry.number = first ? self.first : last
    switch (first, kept.isEmpty) {
    case (false, _): fresh.append(entry)
    case (true, true): fresh.prepend(entry)
    case (true, false): kept.prepend(entry)
    }
  }

  /// The one that waits longest; nil when none does, or when too many have to be dropped before it is found: then another time.
  ///
  /// - Parameters:
  ///   - waiting: how many really wait.
  ///   - isObstructed: whether something other than room keeps the tasks of a group waiting.
  mutating func eldest(of waiting: Int, isWaiting: (Entry) -> Bool, isObstructed: (Int64) -> Bool) -> Entry? {
    if count > 2 * waiting + Self.slice { compact(isWaiting) }
    for _ in 0..<Self.slice {
      guard let entry = kept.first ?? fresh.first else { return nil }
      if isWaiting(entry) {
        guard isObstructed(entry.group) else { return entry }
        setAside(entry, of: waiting, isWaiting)
      }
      if kept.popFirst() == nil { fresh.removeFirst() }
    }
    return nil
  }

  private mutating func setAside(_ entry: Entry, of waiting: Int, _ isWaiting: (Entry) -> Bool) {
    aside[entry.group, default: []].append(entry)
    if aside[entry.group]!.count > 2 * waiting + Self.slice { aside[entry.group]!.removeAll { !isWaiting($0) } }
  }

  /// Nothing but room keeps the tasks of a group waiting now: they have their places before the others again.
  mutating func restore(_ group: Int64) {
    guard let entries = aside.removeValue(forKey: group) else { return }
    // All that is aside stood before what is fresh.
    kept = Deque((kept + entries).sorted { $0.number < $1.number })
  }

  /// Nothing of a group waits any more.
  mutating func forget(_ group: Int64) { aside[group] = nil }

  /// One that waits for long keeps those behind it from the front: without this they would be kept for as long.
  private mutating func compact(_ isWaiting: (Entry) -> Bool) {
    if fresh.isEmpty { swap(&kept, &fresh) }
    for _ in 0..<Self.slice {
      guard let entry = fresh.popFirst() else { return }
      if isWaiting(entry) { kept.append(entry) }
    }
  }
}
