internal import DequeModule
internal import Synchronization

/// A bounded queue from many senders to one receiver that takes all there is at once: group commit falls out of it.
///
/// A sender waits while the queue is full, so whoever produces faster than the journal can write is slowed down to it. Waiting
/// on either side ends when the waiting task is cancelled: a connection that ended must not leave anybody behind.
final class Mailbox<Element: Sendable>: Sendable {
  private struct State {
    var elements: Deque<Element> = []
    var receiver: (token: UInt64, continuation: CheckedContinuation<Void, Never>)?
    var senders: Deque<(token: UInt64, continuation: CheckedContinuation<Void, Never>)> = []
    var lastToken: UInt64 = 0
    var isClosed = false

    mutating func takeReceiver() -> CheckedContinuation<Void, Never>? {
      defer { receiver = nil }
      return receiver?.continuation
    }
  }

  private let state = Mutex(State())
  private let capacity: Int

  init(capacity: Int) {
    precondition(capacity > 0)
    self.capacity = capacity
  }

  var count: Int { state.withLock { $0.elements.count } }

  /// Adds one element, waiting for room. It is dropped after `close`, and when the task is cancelled while it waits.
  func send(_ element: Element) async {
    while true {
      let (wasFull, receiver) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
        if state.isClosed { return (false, nil) }
        if state.elements.count >= capacity { return (true, nil) }
        state.elements.append(element)
        return (false, state.takeReceiver())
      }
      receiver?.resume()
      guard wasFull, !Task.isCancelled else { return }
      await waitForRoom()
    }
  }

  /// Adds one element even to a full queue: for answers to what the receiver itself began, which are bounded by that.
  func sendAtOnce(_ element: Element) {
    let receiver = state.withLock { state -> CheckedContinuation<Void, Never>? in
      if state.isClosed { return nil }
      state.elements.append(element)
      return state.takeReceiver()
    }
    receiver?.resume()
  }

  /// Waits until there is something, then takes at most `limit` elements, oldest first; nil once closed and empty, and when
  /// the task is cancelled while there is nothing.
  func receive(limit: Int) async -> [Element]? {
    while true {
      let (taken, senders, isClosed) = state.withLock { state in
        let count = min(limit, state.elements.count)
        let taken = Array(state.elements.prefix(count))
        state.elements.removeFirst(count)
        var senders: [CheckedContinuation<Void, Never>] = []
        if count > 0 {
          senders = state.senders.map(\.continuation)
          state.senders = []
        }
        return (taken, senders, state.isClosed)
      }
      for sender in senders { sender.resume() }
      if !taken.isEmpty { return taken }
      if isClosed || Task.isCancelled { return nil }
      await waitForElement()
    }
  }

  /// No more is taken in; what is there can still be received.
  func close() {
    let (receiver, senders) = state.withLock { state in
      state.isClosed = true
      defer { state.senders = [] }
      return (state.takeReceiver(), state.senders.map(\.continuation))
    }
    receiver?.resume()
    for sender in senders { sender.resume() }
  }

  private func drawToken() -> UInt64 {
    state.withLock { state in
      state.lastToken += 1
      return state.lastToken
    }
  }

  private func waitForRoom() async {
    let token = drawToken()
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let mayGoOn = state.withLock { state in
          if state.isClosed || state.elements.count < capacity || Task.isCancelled { return true }
          state.senders.append((token, continuation))
          return false
        }
        if mayGoOn { continuation.resume() }
      }
    } onCancel: {
      let waiting = state.withLock { state -> CheckedContinuation<Void, Never>? in
        guard let index = state.senders.firstIndex(where: { $0.token == token }) else { return nil }
        return state.senders.remove(at: index).continuation
      }
      waiting?.resume()
    }
  }

  private func waitForElement() async {
    let token = drawToken()
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let mayGoOn = state.withLock { state in
          if !state.elements.isEmpty || state.isClosed || Task.isCancelled { return true }
          precondition(state.receiver == nil, "a mailbox has one receiver")
          state.receiver = (token, continuation)
          return false
        }
        if mayGoOn { continuation.resume() }
      }
    } onCancel: {
      let waiting = state.withLock { state -> CheckedContinuation<Void, Never>? in
        state.receiver?.token == token ? state.takeReceiver() : nil
      }
      waiting?.resume()
    }
  }
}
