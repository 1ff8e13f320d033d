import HeapModule

/// When the slots of one cluster become free, as far as is known.
public struct SlotBook: Sendable {
  private var free: Int
  private var ends = Heap<Double>()

  public init(slots: Int) { free = slots }

  /// When one more run would get a slot, in seconds since the start of time.
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
}
