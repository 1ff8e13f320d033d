/// What links have left beside the transfers that are under way.
///
/// A transfer begins when it would get at least half of what its two links can carry. What warms takes part only in what the others
/// leave, and does not keep these from beginning.
struct LinkRoom: Sendable {
  struct Flow: Hashable, Sendable {
    var datum: Int
    var from: Int
    var to: Int
    /// Nobody waits for it yet.
    var isWarming: Bool
  }

  /// The part of what its links carry that a transfer must find free.
  private static let least = 0.5

  private let fair: MaxMinRates
  /// What flows take of paths that have limits.
  private var onPath: [PathLimits.Path: (urgent: Double, all: Double)] = [:]
  /// Beside those that somebody waits for.
  private var urgent: Rest
  /// Beside all.
  private var all: Rest

  private struct Rest: Hashable, Sendable {
    var into: [Double]
    var out: [Double]

    mutating func take(_ rate: Double, from: Int, to: Int) {
      out[from] -= rate
      into[to] -= rate
    }
  }

  /// - Complexity: O(flows x (flows + sites)).
  init(_ fair: MaxMinRates, _ flows: [Flow]) {
    self.fair = fair
    urgent = Rest(into: fair.capacityIn, out: fair.capacityOut)
    all = urgent
    guard !flows.isEmpty else { return }
    let rates = fair.rates(of: flows.map { (from: $0.from, to: $0.to) })
    for (flow, rate) in zip(flows, rates) {
      note(rate, urgent: flow.isWarming ? 0 : rate, from: flow.from, to: flow.to)
      all.take(rate, from: flow.from, to: flow.to)
      if !flow.isWarming { urgent.take(rate, from: flow.from, to: flow.to) }
    }
  }

  func has(from: Int, to: Int, isWarming: Bool) -> Bool {
    let full = fair.alone(from: from, to: to)
    let rest = isWarming ? all : urgent
    guard full < .infinity else { return true }
    return min(rest.out[from], rest.into[to], path(from: from, to: to, isWarming: isWarming)) >= Self.least * full
  }

  /// What is left of the path between two sites.
  private func path(from: Int, to: Int, isWarming: Bool) -> Double {
    let limit = fair.paths.limit(from: from, to: to)
    guard limit < .infinity, let taken = onPath[PathLimits.Path(from: from, to: to)] else { return limit }
    return limit - (isWarming ? taken.all : taken.urgent)
  }

  private mutating func note(_ rate: Double, urgent: Double, from: Int, to: Int) {
    guard fair.paths.limit(from: from, to: to) < .infinity else { return }
    let key = PathLimits.Path(from: from, to: to)
    onPath[key, default: (0, 0)].all += rate
    onPath[key]!.urgent += urgent
  }

  mutating func take(from: Int, to: Int, isWarming: Bool) {
    guard fair.alone(from: from, to: to) < .infinity else { return }
    let beside = max(0, min(all.out[from], all.into[to], path(from: from, to: to, isWarming: true)))
    let before = max(0, min(urgent.out[from], urgent.into[to], path(from: from, to: to, isWarming: false)))
    all.take(beside, from: from, to: to)
    if !isWarming { urgent.take(before, from: from, to: to) }
    note(beside, urgent: isWarming ? 0 : before, from: from, to: to)
  }
}
