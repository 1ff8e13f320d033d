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

  private let fair: FairShare
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
  init(_ fair: FairShare, _ flows: [Flow]) {
    self.fair = fair
    urgent = Rest(into: fair.capacityIn, out: fair.capacityOut)
    all = urgent
    guard !flows.isEmpty else { return }
    let rates = fair.rates(of: flows.map { (from: $0.from, to: $0.to) })
    for (flow, rate) in zip(flows, rates) {
      all.take(rate, from: flow.from, to: flow.to)
      if !flow.isWarming { urgent.take(rate, from: flow.from, to: flow.to) }
    }
  }

  func has(from: Int, to: Int, isWarming: Bool) -> Bool {
    let full = min(fair.capacityOut[from], fair.capacityIn[to])
    let rest = isWarming ? all : urgent
    return full == .infinity || min(rest.out[from], rest.into[to]) >= Self.least * full
  }

  mutating func take(from: Int, to: Int, isWarming: Bool) {
    guard min(fair.capacityOut[from], fair.capacityIn[to]) < .infinity else { return }
    all.take(max(0, min(all.out[from], all.into[to])), from: from, to: to)
    if !isWarming { urgent.take(max(0, min(urgent.out[from], urgent.into[to])), from: from, to: to) }
  }
}
