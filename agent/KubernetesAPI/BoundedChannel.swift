internal import DequeModule
internal import Synchronization

/// Hands values from one task to another, in order; who sends waits while `limit` of them have not been taken.
final class BoundedChannel<Value: Sendable>: Sendable {
  private struct State {
    var values: Deque<Value> = []
    var isClosed = false
    var receiver: CheckedContinuation<Value?, Never>?
    var sender: CheckedContinuation<Void, Never>?
  }

  private enum Answer {
    /// With the sender that may go on.
    case value(Value, CheckedContinuation<Void, Never>?)
    case closed
    case wait
  }

  private let limit: Int
  private let state = Mutex(State())

  init(limit: Int) {
    precondition(limit > 0)
    self.limit = limit
  }

  /// One sender at a time. Returns at once, and without having sent, when the channel is closed.
  func send(_ value: Value) async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let (receiver, mayGoOn) = state.withLock { state -> (CheckedContinuation<Value?, Never>?, Bool) in
        guard !state.isClosed else { return (nil, true) }
        if let receiver = state.receiver {
          state.receiver = nil
          return (receiver, true)
        }
        state.values.append(value)
        guard state.values.count >= limit else { return (nil, true) }
        state.sender = continuation
        return (nil, false)
      }
      receiver?.resume(returning: value)
      if mayGoOn { continuation.resume() }
    }
  }

  /// One receiver at a time. - Returns: nil when the channel is closed.
  func next() async -> Value? {
    await withCheckedContinuation { continuation in
      let answer = state.withLock { state -> Answer in
        if state.isClosed { return .closed }
        guard let value = state.values.popFirst() else {
          state.receiver = continuation
          return .wait
        }
        let sender = state.sender
        state.sender = nil
        return .value(value, sender)
      }
      switch answer {
      case .value(let value, let sender):
        sender?.resume()
        continuation.resume(returning: value)
      case .closed: continuation.resume(returning: nil)
      case .wait: break
      }
    }
  }

  /// Lets go of whoever waits. What has not been taken is lost.
  func close() {
    let (receiver, sender) = state.withLock { state in
      defer { (state.receiver, state.sender, state.values, state.isClosed) = (nil, nil, [], true) }
      return (state.receiver, state.sender)
    }
    receiver?.resume(returning: nil)
    sender?.resume()
  }
}
