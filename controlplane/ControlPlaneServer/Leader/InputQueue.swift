import ControlPlaneCore
import DequeModule
import FederationModel
import Synchronization

/// What waits to be applied by the core, in two lanes: agents' events and the leader's own inputs go before users' commands, so that
/// a flood of submissions never delays the news of what runs.
///
/// Both lanes are bounded. A full user lane answers at once (429); a full agent lane makes the caller wait, and so the agent's stream.
/// Commands of different projects take turns (`CommandLanes`).
final class InputQueue: Sendable {
  fileprivate struct State {
    var urgent: Deque<Input> = []
    var commands = CommandLanes()
    var isClosed = false
    var consumer: CheckedContinuation<Void, Never>?
    var producers: Deque<CheckedContinuation<Bool, Never>> = []
    var isTickQueued = false
    var isPoked = false
  }
  private let state = Mutex(State())
  private let urgentLimit: Int
  private let commandLimit: Int

  init(urgentLimit: Int = 8192, commandLimit: Int = 4096) {
    self.urgentLimit = urgentLimit
    self.commandLimit = commandLimit
  }

  /// - Throws: `.resourceExhausted` when the lane is full, `.unavailable` when this leader no longer leads.
  func offer(command: Input) throws {
    let consumer = try state.withLock { state in
      if state.isClosed { throw FederationError.notLeading }
      guard state.commands.append(command, limit: commandLimit) else {
        throw FederationError(
          .resourceExhausted, "the control plane has more requests than it can take just now; try again",
          retryAfter: .seconds(1))
      }
      return state.takeConsumer()
    }
    consumer?.resume()
  }

  /// Waits for room.
  /// - Throws: `.unavailable` when this leader no longer leads.
  func offer(event: Input) async throws {
    while true {
      let (isDone, consumer) = try state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
        if state.isClosed { throw FederationError.notLeading }
        guard state.urgent.count < urgentLimit else { return (false, nil) }
        state.urgent.append(event)
        return (true, state.takeConsumer())
      }
      consumer?.resume()
      if isDone { return }
      _ = await withCheckedContinuation { continuation in
        let isFull = state.withLock { state in
          guard state.urgent.count >= urgentLimit, !state.isClosed else { return false }
          state.producers.append(continuation)
          return true
        }
        if !isFull { continuation.resume(returning: true) }
      }
    }
  }

  /// The leader's own inputs (plans, ends of sessions) are few and are never refused.
  func push(own input: Input) {
    let consumer = state.withLock { state in
      guard !state.isClosed else { return nil as CheckedContinuation<Void, Never>? }
      state.urgent.append(input)
      return state.takeConsumer()
    }
    consumer?.resume()
  }

  /// Ticks do not pile up: one that waits stands for all.
  func pushTick(_ silence: [ClusterName: Duration]) {
    let consumer = state.withLock { state in
      guard !state.isClosed, !state.isTickQueued else { return nil as CheckedContinuation<Void, Never>? }
      state.isTickQueued = true
      state.urgent.append(.tick(silence: silence))
      return state.takeConsumer()
    }
    consumer?.resume()
  }

  /// Makes `wait()` return once without an input.
  func poke() {
    let consumer = state.withLock { state in
      state.isPoked = true
      return state.takeConsumer()
    }
    consumer?.resume()
  }

  /// Waits until something is there, the queue is poked or closed.
  func wait() async {
    await withCheckedContinuation { continuation in
      let isReady = state.withLock { state in
        if state.isClosed || state.isPoked || !state.urgent.isEmpty || !state.commands.isEmpty {
          state.isPoked = false
          return true
        }
        precondition(state.consumer == nil, "the queue has one consumer")
        state.consumer = continuation
        return false
      }
      if isReady { continuation.resume() }
    }
  }

  /// Takes the next input, urgent ones first; nil when both lanes are empty.
  func next() -> Input? {
    let (input, producer) = state.withLock { state -> (Input?, CheckedContinuation<Bool, Never>?) in
      guard let input = state.urgent.popFirst() ?? state.commands.popFirst() else { return (nil, nil) }
      if case .tick = input { state.isTickQueued = false }
      return (input, state.urgent.count < urgentLimit ? state.producers.popFirst() : nil)
    }
    producer?.resume(returning: true)
    return input
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }
  var depth: Int { state.withLock { $0.urgent.count + $0.commands.count } }

  /// Nothing more is taken; returns the inputs that were never applied.
  func close() -> [Input] {
    let (rest, consumer, producers) = state.withLock { state in
      state.isClosed = true
      let rest = Array(state.urgent) + state.commands.removeAll()
      state.urgent = []
      let producers = state.producers
      state.producers = []
      return (rest, state.takeConsumer(), producers)
    }
    consumer?.resume()
    for producer in producers { producer.resume(returning: false) }
    return rest
  }
}

extension InputQueue.State {
  fileprivate mutating func takeConsumer() -> CheckedContinuation<Void, Never>? {
    defer { consumer = nil }
    return consumer
  }
}

extension FederationError {
  static var notLeading: FederationError {
    FederationError(.unavailable, "this control plane does not lead just now; try again", retryAfter: .seconds(1))
  }
}
