public import FederationModel

/// What one project has used, and what its runs hold now.
///
/// The use of ended runs is durable; that of live ones follows from their rows (`RunRow.startedAt`), so that nothing is written while
/// they run. A run counts as it goes, and besides in full as it is expected until it is over: without that, all slots that become
/// free between two passes would go to the same project, because the use of what it just got is still to come.
public struct ShareAccount: Hashable, Sendable {
  /// Of runs that are over, decayed to `endedAt`.
  public private(set) var ended: ResourceSeconds
  public private(set) var endedAt: Timestamp
  /// Of runs that are not, decayed to `liveAt`.
  private var live = ResourceSeconds.zero
  private var liveAt: Timestamp
  /// What live runs add in each second.
  private var rate = ResourceSeconds.zero
  private var running = 0
  /// What placed runs are expected to use.
  private var expected = ResourceSeconds.zero
  private var placed = 0

  public init(ended: ResourceSeconds = .zero, at moment: Timestamp) {
    self.ended = ended
    endedAt = moment
    liveAt = moment
  }

  /// A run was placed that is expected to take so many seconds.
  public mutating func place(_ resources: Resources, expecting seconds: Double) {
    expected += ResourceSeconds(resources, seconds: seconds)
    placed += 1
  }

  /// It started at a moment, which may be long ago when it is read back.
  public mutating func start(_ resources: Resources, at start: Timestamp, now: Timestamp, _ decay: UsageDecay) {
    advance(to: now, decay)
    let held = ResourceSeconds(resources)
    live += held * decay.held(for: (now - start).seconds)
    rate += held
    running += 1
  }

  /// A run is over.
  ///
  /// - Parameters:
  ///   - start: when it started; nil: it never did, and used nothing.
  ///   - seconds: what it was expected to take when it was placed.
  public mutating func end(
    _ resources: Resources, startedAt start: Timestamp?, expecting seconds: Double, now: Timestamp, _ decay: UsageDecay
  ) {
    expected -= ResourceSeconds(resources, seconds: seconds)
    placed -= 1
    // Sums of floating-point numbers are not exact: nothing is left over of nothing.
    if placed == 0 { expected = .zero }
    guard let start else { return }
    advance(to: now, decay)
    let held = ResourceSeconds(resources)
    let used = held * decay.held(for: (now - start).seconds)
    live -= used
    rate -= held
    running -= 1
    if running == 0 { (live, rate) = (.zero, .zero) }
    ended = ended * decay.factor(after: (now - endedAt).seconds) + used
    endedAt = max(endedAt, now)
  }

  private mutating func advance(to now: Timestamp, _ decay: UsageDecay) {
    guard now > liveAt else { return }
    let seconds = (now - liveAt).seconds
    live = live * decay.factor(after: seconds) + rate * decay.held(for: seconds)
    liveAt = now
  }

  /// What was used until a moment not before the last change, decayed to it.
  public func used(at now: Timestamp, _ decay: UsageDecay) -> ResourceSeconds {
    let seconds = (now - liveAt).seconds
    return ended * decay.factor(after: (now - endedAt).seconds)
      + live * decay.factor(after: seconds) + rate * decay.held(for: seconds)
  }

  /// What precedence goes by: what was used, and what is placed.
  public func charged(at now: Timestamp, _ decay: UsageDecay) -> ResourceSeconds { used(at: now, decay) + expected }

  /// Whether nothing of it would be missed.
  public var isIdle: Bool { placed == 0 && running == 0 }
}
