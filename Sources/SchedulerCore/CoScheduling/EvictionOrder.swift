/// Which replica of one cache goes first: the least valuable one, in O(log n).
///
/// A replica's value is what fetching it again would cost, by the uses that are known to come, for each byte that it occupies.
/// A replica that nobody uses for long must go some day however dear it was: each value is told on top of an age that rises to
/// the value of whatever was evicted last, so what is not touched falls behind (GreedyDual-Size).
///
/// - Source: Cao and Irani, "Cost-aware WWW proxy caching algorithms", USITS 1997, for the ageing term; DESIGN section 8 for the
///   value.
public struct EvictionOrder: Sendable {
  private struct Entry {
    var value: Double
    var replica: Int
  }
  /// A binary heap, the least value first; equal values go by number, so that every run evicts the same.
  private var heap: [Entry] = []
  private var positions: [Int: Int] = [:]
  /// Value of the last replica that was evicted: what new values are told on top of.
  public private(set) var age = 0.0

  public init() {}

  public var count: Int { heap.count }
  /// In no particular order.
  public var members: some Sequence<Int> { heap.lazy.map(\.replica) }
  public func contains(_ replica: Int) -> Bool { positions[replica] != nil }
  /// What would be evicted; nil when every replica is pinned.
  public var least: Int? { heap.first?.replica }

  /// The value of a replica.
  ///
  /// - Parameters:
  ///   - usesExpected: sum over its known future uses of the probability that they come here, each weighed down by the time to it.
  ///   - refetchSeconds: what it takes to bring it here again.
  ///   - size: bytes, above zero.
  public static func value(usesExpected: Double, refetchSeconds: Double, size: Double) -> Double {
    usesExpected * refetchSeconds / max(1, size)
  }

  /// Adds a replica, or tells its value anew: on each use, and when the uses to come change. A pinned replica is not in the order.
  public mutating func update(_ replica: Int, value: Double) {
    let entry = Entry(value: age + value, replica: replica)
    if let position = positions[replica] {
      heap[position] = entry
      siftUp(position)
      siftDown(positions[replica]!)
    } else {
      positions[replica] = heap.count
      heap.append(entry)
      siftUp(heap.count - 1)
    }
  }

  /// Changes the value of a replica that nobody has touched: it stays as old as it was. One that is not there is no error.
  public mutating func shift(_ replica: Int, by change: Double) {
    guard let position = positions[replica] else { return }
    heap[position].value += change
    siftUp(position)
    siftDown(positions[replica]!)
  }

  /// Takes out a replica that was pinned or is gone; one that is not there is no error.
  public mutating func remove(_ replica: Int) {
    guard let position = positions.removeValue(forKey: replica) else { return }
    let last = heap.removeLast()
    guard position < heap.count else { return }
    heap[position] = last
    positions[last.replica] = position
    siftUp(position)
    siftDown(positions[last.replica]!)
  }

  /// Takes out the least valuable replica; nil when every replica is pinned.
  public mutating func evict() -> Int? {
    guard let first = heap.first else { return nil }
    age = max(age, first.value)
    remove(first.replica)
    return first.replica
  }

  private func precedes(_ left: Entry, _ right: Entry) -> Bool {
    left.value < right.value || left.value == right.value && left.replica < right.replica
  }

  private mutating func siftUp(_ start: Int) {
    var position = start
    while position > 0, precedes(heap[position], heap[(position - 1) / 2]) {
      exchange(position, (position - 1) / 2)
      position = (position - 1) / 2
    }
  }

  private mutating func siftDown(_ start: Int) {
    var position = start
    while true {
      var least = position
      for child in [2 * position + 1, 2 * position + 2] where child < heap.count {
        if precedes(heap[child], heap[least]) { least = child }
      }
      guard least != position else { return }
      exchange(position, least)
      position = least
    }
  }

  private mutating func exchange(_ left: Int, _ right: Int) {
    heap.swapAt(left, right)
    positions[heap[left].replica] = left
    positions[heap[right].replica] = right
  }
}
