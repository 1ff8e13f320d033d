public import SchedulerCore

/// Ours: the very state machine of `SchedulerCore`.
public struct CoSchedulingPolicy: SchedulingPolicy {
  public internal(set) var scheduler: CoScheduler
  private var pace = DecisionPace()

  public init(_ platform: Platform, _ options: CoSchedulingOptions = CoSchedulingOptions()) {
    scheduler = CoScheduler(
      sites: platform.sites.map(\.compute), paths: platform.paths, options: options)
  }

  init(_ scheduler: CoScheduler) { self.scheduler = scheduler }

  public mutating func react(to events: [SimulationEvent], at now: Double) -> [SchedulingAction] {
    for event in events { scheduler.happened(event, at: now) }
    guard pace.isNews(events, at: now) else { return [] }
    return scheduler.decide(at: now)
  }
}

/// Whether a pass of decisions would find anything new.
struct DecisionPace {
  private var lastAt = -Double.infinity

  /// That runs have begun which were bound a moment ago is what the pass that bound them expected: no reason for another one at the
  /// same moment.
  mutating func isNews(_ events: [SimulationEvent], at now: Double) -> Bool {
    if now == lastAt, !events.isEmpty, events.allSatisfy(\.isStart) { return false }
    lastAt = now
    return true
  }
}

extension SimulationEvent {
  fileprivate var isStart: Bool {
    if case .started = self { true } else { false }
  }
}

extension CoScheduler {
  /// Takes one event in.
  public mutating func happened(_ event: SimulationEvent, at now: Double) {
    switch event {
    case .submitted(let graph): submitted(graph)
    case .ready(let task), .lost(let task): ready(task)
    case .started(let task): started(task, at: now)
    case .finished(let task): finished(task, at: now)
    case .transferFinished(let datum, let site): transferFinished(datum, to: site, at: now)
    case .transferFailed(let datum, let site): transferFailed(datum, to: site, at: now)
    case .reachabilityChanged(let site, let isDown): reachabilityChanged(site, isDown: isDown)
    case .priceChanged(let site, let perSecond, let egressPerByte):
      priceChanged(site, perSecond: perSecond, egressPerByte: egressPerByte)
    }
  }
}
