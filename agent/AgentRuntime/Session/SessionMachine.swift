internal import FederationModel

/// The agent's session with the control plane as a value: inputs in the past tense, actions out. No I/O, no clock, no randomness.
///
/// The shell holds one machine, feeds it what happened with the moment (CLOCK_BOOTTIME) and a random number where a choice is
/// to be made, and carries out the actions in order.
struct SessionMachine: Sendable {
  enum State: Sendable, Equatable {
    /// Waiting to dial. Can transition to `dialling`, `stopped`.
    case idle
    /// A connection is being made. Can transition to `greeting`, `idle`, `stopped`.
    case dialling(sinceNanoseconds: UInt64)
    /// The hello was sent, the welcome has not come. Can transition to `established`, `idle`, `stopped`.
    case greeting(sinceNanoseconds: UInt64)
    /// Messages flow. Can transition to `idle`, `stopped`.
    case established(Established)
    /// The agent ends, or may not go on. Terminal.
    case stopped
  }

  struct Established: Sendable, Equatable {
    var address: ControlPlaneAddress
    var heartbeatInterval: Duration
    var lastHeardNanoseconds: UInt64
    var sentSequence: UInt64
    var acknowledgedSequence: UInt64
    /// Whether a read of events from the journal is under way: at most one is.
    var isSending: Bool
  }

  enum Input: Sendable, Equatable {
    case started
    /// The time to wait, given with `Action.dial`, has passed and the shell began to dial.
    case dialBegan
    case streamOpened
    case welcomeReceived(heartbeatInterval: Duration, acknowledgedSequence: UInt64)
    case messageReceived
    case heartbeatAnswered(sentNanoseconds: UInt64)
    case acknowledged(sequence: UInt64)
    case eventsJournaled(through: UInt64)
    /// The events that `Action.sendEvents` asked for are on the wire.
    case eventsSent(through: UInt64)
    /// Comes about once per heartbeat interval.
    case heartbeatDue
    case refused(code: String, message: String, leaderAddress: String)
    /// The stream or the attempt at it ended, for whatever reason. `jitter` is drawn from 0..<1.
    case streamEnded(reason: String, jitter: Double)
    case stopRequested
  }

  enum Action: Sendable, Equatable {
    case dial(ControlPlaneAddress, after: Duration)
    case sendHello
    /// Read at most `limit` events after this sequence from the journal and send them; answered by `eventsSent`.
    case sendEvents(after: UInt64, limit: Int)
    case sendHeartbeat
    /// The session was alive when the heartbeat was sent: never when its answer came (a slow answer must not lengthen a lease).
    case renewLease(sentNanoseconds: UInt64)
    /// Close the connection; `streamEnded` follows.
    case hangUp(reason: String)
    case tellSessionLost
    case log(LogLevel, String)
  }

  enum LogLevel: Sendable, Equatable { case info, warning, error }

  /// At most so many events are on the wire unacknowledged.
  static let eventWindow: UInt64 = 8192
  static let eventsPerMessage = 256
  /// A connection that says nothing for so long is taken for half open.
  static let silenceMax = Duration.seconds(15)
  static let welcomeTimeout = Duration.seconds(20)
  static let dialTimeout = Duration.seconds(10)
  /// After a refusal that only an operator can change.
  static let backoffRefused = Duration.seconds(300)

  private(set) var state: State = .idle
  private(set) var journaledSequence: UInt64
  /// Why there is no session now, for people; nil while there is one.
  private(set) var lastProblem: String?
  private var cycle: AddressCycle
  private var failures = 0
  /// Refused for a reason that only an operator can change.
  private var isRefused = false
  /// The next address is the leader's own, told by a standby: it is dialled at once.
  private var isHinted = false

  init(cycle: AddressCycle, journaledSequence: UInt64) {
    self.cycle = cycle
    self.journaledSequence = journaledSequence
  }

  mutating func apply(_ input: Input, atNanoseconds now: UInt64) -> [Action] {
    if case .stopped = state { return [] }
    switch input {
    case .started:
      guard state == .idle, failures == 0 else { return [] }
      return [.dial(cycle.current, after: .zero)]
    case .dialBegan:
      guard state == .idle else { return [] }
      state = .dialling(sinceNanoseconds: now)
      return []
    case .streamOpened:
      guard case .dialling = state else { return [] }
      state = .greeting(sinceNanoseconds: now)
      return [.sendHello]
    case .welcomeReceived(let interval, let acknowledged):
      return welcomed(heartbeatInterval: interval, acknowledged: acknowledged, now: now)
    case .messageReceived:
      heard(now)
      return []
    case .heartbeatAnswered(let sent):
      guard case .established = state, sent <= now else { return [] }
      heard(now)
      return [.renewLease(sentNanoseconds: sent)]
    case .acknowledged(let sequence):
      return acknowledged(sequence, now: now)
    case .eventsJournaled(let sequence):
      journaledSequence = max(journaledSequence, sequence)
      return sendMore()
    case .eventsSent(let sequence):
      guard case .established(var established) = state else { return [] }
      established.isSending = false
      established.sentSequence = max(established.sentSequence, sequence)
      state = .established(established)
      return sendMore()
    case .heartbeatDue:
      return heartbeatDue(now)
    case .refused(let code, let message, let leaderAddress):
      return refused(code: code, message: message, leaderAddress: leaderAddress)
    case .streamEnded(let reason, let jitter):
      return streamEnded(reason: reason, jitter: jitter)
    case .stopRequested:
      let wasOpen = state != .idle
      state = .stopped
      return wasOpen ? [.hangUp(reason: "the agent stops")] : []
    }
  }

  private mutating func welcomed(heartbeatInterval: Duration, acknowledged: UInt64, now: UInt64) -> [Action] {
    guard case .greeting = state else {
      // A second welcome in one session breaks the contract: begin again, which is always safe.
      if case .established = state { return [.hangUp(reason: "a second welcome came")] }
      return []
    }
    failures = 0
    isRefused = false
    lastProblem = nil
    cycle.attemptSucceeded()
    let interval = min(max(heartbeatInterval, .milliseconds(100)), .seconds(5))
    state = .established(
      Established(
        address: cycle.current, heartbeatInterval: interval, lastHeardNanoseconds: now, sentSequence: acknowledged,
        acknowledgedSequence: acknowledged, isSending: false))
    return [.log(.info, "session with \(cycle.current) established"), .sendHeartbeat] + sendMore()
  }

  private mutating func heard(_ now: UInt64) {
    guard case .established(var established) = state else { return }
    established.lastHeardNanoseconds = now
    state = .established(established)
  }

  private mutating func acknowledged(_ sequence: UInt64, now: UInt64) -> [Action] {
    heard(now)
    guard case .established(var established) = state else { return [] }
    established.acknowledgedSequence = max(established.acknowledgedSequence, sequence)
    established.sentSequence = max(established.sentSequence, sequence)
    state = .established(established)
    return sendMore()
  }

  /// A message that would not be full waits for the answer to those before it: what happens to a run meanwhile goes in the same one,
  /// and the control plane writes the run once. An idle agent's event goes at once, a busy one's wait as long as a commit takes.
  private mutating func sendMore() -> [Action] {
    guard case .established(var established) = state, !established.isSending,
      journaledSequence > established.sentSequence
    else { return [] }
    let unanswered = established.sentSequence - established.acknowledgedSequence
    guard unanswered < Self.eventWindow,
      unanswered == 0 || journaledSequence - established.sentSequence >= UInt64(Self.eventsPerMessage)
    else { return [] }
    established.isSending = true
    state = .established(established)
    return [.sendEvents(after: established.sentSequence, limit: Self.eventsPerMessage)]
  }

  private mutating func heartbeatDue(_ now: UInt64) -> [Action] {
    switch state {
    case .dialling(let since) where Self.elapsed(since, now) > Self.dialTimeout:
      return [.hangUp(reason: "\(cycle.current) could not be reached within \(Self.dialTimeout)")]
    case .greeting(let since) where Self.elapsed(since, now) > Self.welcomeTimeout:
      return [.hangUp(reason: "no welcome came within \(Self.welcomeTimeout)")]
    case .established(let established):
      let silence = Self.elapsed(established.lastHeardNanoseconds, now)
      if silence > Self.silenceMax {
        return [.hangUp(reason: "\(established.address) has been silent for \(silence.milliseconds) ms")]
      }
      return [.sendHeartbeat]
    default: return []
    }
  }

  private mutating func refused(code: String, message: String, leaderAddress: String) -> [Action] {
    lastProblem = "refused (\(code)): \(message)"
    if let leader = try? ControlPlaneAddress(leaderAddress), cycle.addresses.contains(leader), leader != cycle.current {
      cycle.prefer(leader)
      isHinted = true
      return [.hangUp(reason: "the leader is \(leader)")]
    }
    // Revoked, forgotten, wrong federation, no common protocol: only an operator changes these. The runs stay as they are.
    let isTemporary = code == ErrorCode.unavailable.rawValue || code == ErrorCode.resourceExhausted.rawValue
    isRefused = !isTemporary
    let advice = isTemporary ? "" : "; trying again every \(Self.backoffRefused.components.seconds) s, runs go on"
    return [
      .log(isTemporary ? .warning : .error, "the control plane refused this agent (\(code)): \(message)\(advice)"),
      // It is what a status shows until there is a session.
      .hangUp(reason: isTemporary ? "refused: \(message)" : "refused"),
    ]
  }

  private mutating func streamEnded(reason: String, jitter: Double) -> [Action] {
    var actions: [Action] = []
    if case .established = state { actions.append(.tellSessionLost) }
    guard state != .idle else { return [] }
    state = .idle
    if !isRefused { lastProblem = reason }
    if isHinted {
      isHinted = false
      return actions + [.dial(cycle.current, after: .zero)]
    }
    failures += 1
    var delay = cycle.attemptFailed(jitter: jitter)
    if isRefused { delay = Self.backoffRefused * (1 - jitter / 2) }
    if failures == 1 || failures % 10 == 0 {
      actions.append(.log(.warning, "no session (\(reason)); attempt \(failures), next in \(delay.milliseconds) ms"))
    }
    actions.append(.dial(cycle.current, after: delay))
    return actions
  }

  private static func elapsed(_ from: UInt64, _ to: UInt64) -> Duration {
    .nanoseconds(Int64(to > from ? to - from : 0))
  }
}
