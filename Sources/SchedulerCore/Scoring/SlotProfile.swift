/// How many slots of one cluster are taken, from now to the end of time: a step function.
///
/// Slots are alike, so a run fits wherever the function stays below their number for as long as it takes; which slot it is does not
/// matter. A run may be booked for later, and one that is short enough still fits before it (conservative backfill).
///
/// - Source: Mu'alem and Feitelson, "Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM SP2
///   with backfilling", IEEE TPDS 12 (6), 2001.
struct SlotProfile: Sendable {
  private struct Step {
    var at: Double
    /// Slots taken from `at` to the next step.
    var used: Int
  }

  let slots: Int
  /// By time; the first one begins before all time.
  private var steps = [Step(at: -.infinity, used: 0)]
  /// Whether something is booked behind a gap, so that a short run may start before a long one.
  private(set) var hasGaps = false

  init(slots: Int) { self.slots = slots }

  /// Nothing is booked any more.
  mutating func clear() {
    steps.removeSubrange(1...)
    steps[0].used = 0
    hasGaps = false
  }

  /// The first start from `earliest` on with a slot free for `length` seconds; infinite when there never is one.
  ///
  /// - Complexity: O(runs that are booked).
  func start(from earliest: Double, length: Double) -> Double {
    guard slots > 0, earliest < .infinity else { return .infinity }
    var start = earliest
    var index = segment(earliest)
    while index < steps.count {
      if steps[index].used >= slots {
        index += 1
        start = index < steps.count ? steps[index].at : .infinity
      } else if index + 1 == steps.count || start + length <= steps[index + 1].at {
        return start
      } else {
        index += 1
      }
    }
    return .infinity
  }

  /// Takes a slot.
  mutating func book(from start: Double, until end: Double, at now: Double) {
    guard end > start else { return }
    if start > now { hasGaps = true }
    let first = split(start)
    let last = split(end)
    for index in first..<last { steps[index].used += 1 }
  }

  /// The step that holds at a time.
  private func segment(_ time: Double) -> Int {
    var (low, high) = (0, steps.count)
    while high - low > 1 {
      let middle = (low + high) / 2
      if steps[middle].at <= time { low = middle } else { high = middle }
    }
    return low
  }

  /// Makes a step begin at a time, and returns which.
  private mutating func split(_ time: Double) -> Int {
    let index = segment(time)
    if steps[index].at == time { return index }
    steps.insert(Step(at: time, used: steps[index].used), at: index + 1)
    return index + 1
  }
}
