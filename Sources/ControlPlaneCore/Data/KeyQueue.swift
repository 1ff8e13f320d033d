import DequeModule
import FederationModel

/// Keys in the order in which they were added, each once. Adding and taking cost O(1).
struct KeyQueue: Sendable {
  private var order: Deque<DataKey> = []
  private var members: Set<DataKey> = []

  var count: Int { order.count }
  func contains(_ key: DataKey) -> Bool { members.contains(key) }

  /// Does nothing when the key is there: it keeps its place.
  mutating func insert(_ key: DataKey) {
    if members.insert(key).inserted { order.append(key) }
  }

  mutating func popFirst() -> DataKey? {
    guard let key = order.popFirst() else { return nil }
    members.remove(key)
    return key
  }
}
