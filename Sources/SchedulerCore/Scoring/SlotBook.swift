import HeapModule

/// When the slots of one cluster become free, as far as is known.
public struct SlotBook: Sendable {
  private var free: Int
  private var ends = Heap<Double>()

  public init(slots: Int) { free = slots }

  /// A cluster whose slots are all taken, and when each of those becomes free that are worth knowing.
  init(ends: [Double]) {
    free = 0
    self.ends = Heap(ends)
  }

  /// When one more run would get a slot, in seconds since the start of time; infinite when none is known to end.
  public func next(_ now: Double) -> Double { free > 0 ? now : max(now, ends.min ?? .infinity) }

  /// Takes the slot that is free first.
  public mutating func book(until end: Double) {
    if free > 0 {
      free -= 1
      ends.insert(end)
    } else if !ends.isEmpty {
      ends.replaceMin(with: end)
    }
  }

  /// A slot that was not counted is taken until then.
  mutating func add(until end: Double) { ends.insert(end) }
}
