import DequeModule
import FederationModel

/// In what order a project's tasks came to wait. Entries whose task no longer waits are dropped later, a bounded number at a time.
struct Arrivals: Sendable {
  struct Entry: Hashable, Sendable {
    var task: TaskID
    var group: Int64
  }

  /// Entries that are dropped or moved at once.
  private static let slice = 1024
  /// Looked through already; all of them before `fresh`.
  private var kept: Deque<Entry> = []
  private var fresh: Deque<Entry> = []

  var count: Int { kept.count + fresh.count }

  /// - Parameter first: it has waited before, and goes before the others.
  mutating func add(_ entry: Entry, first: Bool) {
    switch (first, kept.isEmpty) {
    case (false, _): fresh.append(entry)
    case (true, true): fresh.prepend(entry)
    case (true, false): kept.prepend(entry)
    }
  }

  /// The one that waits longest; nil when none does, or when too many have to be dropped before it is found: then another time.
  ///
  /// - Parameter waiting: how many really wait.
  mutating func eldest(of waiting: Int, isWaiting: (Entry) -> Bool) -> Entry? {
    if count > 2 * waiting + Self.slice { compact(isWaiting) }
    for _ in 0..<Self.slice {
      guard let entry = kept.first ?? fresh.first else { return nil }
      if isWaiting(entry) { return entry }
      if kept.popFirst() == nil { fresh.removeFirst() }
    }
    return nil
  }

  /// One that waits for long keeps those behind it from the front: without this they would be kept for as long.
  private mutating func compact(_ isWaiting: (Entry) -> Bool) {
    if fresh.isEmpty { swap(&kept, &fresh) }
    for _ in 0..<Self.slice {
      guard let entry = fresh.popFirst() else { return }
      if isWaiting(entry) { kept.append(entry) }
    }
  }
}
