import ControlPlaneCore
import FederationModel

/// How often what happens in a schedule of random steps: crashes of the leader, lost sessions, and everything that goes well.
struct Weather {
  enum Step { case crash, disconnect, connect, plan, deliver, work, report, tick, proceed, send, answer }

  private let weights: [(step: Step, weight: Int)]
  private let total: Int

  init(_ weights: KeyValuePairs<Step, Int>) {
    self.weights = weights.map { ($0.key, $0.value) }
    total = weights.reduce(0) { $0 + $1.value }
  }

  fileprivate func next(upTo draw: (Int) -> Int) -> Step {
    var rest = draw(total)
    for (step, weight) in weights {
      if rest < weight { return step }
      rest -= weight
    }
    return .answer
  }
}

extension Federation {
  /// One random step; those that concern an agent are that cluster's.
  ///
  /// - Parameter lull: how long the leader's clock waits before its tick.
  mutating func blow(_ weather: Weather, at name: ClusterName, lull: Duration = .zero) {
    switch weather.next(upTo: { random.next(upTo: $0) }) {
    case .crash: crash()
    case .disconnect: disconnect(name)
    case .connect: if agents[name]!.session == nil { connect(name) }
    case .plan: plan()
    case .deliver: deliver(name)
    case .work: work(name)
    case .report: report(name)
    case .tick:
      clock = clock + lull
      apply(.tick(silence: [:]))
    case .proceed: apply(.proceed)
    case .send: send()
    case .answer: answer()
    }
  }
}
