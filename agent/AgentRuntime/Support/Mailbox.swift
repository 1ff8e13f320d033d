internal import DequeModule
internal import Synchronization

/// A bounded queue from many senders to one receiver that takes all there is at once: group commit falls out of it.
///
/// A sender waits while the queue is full, so whoever produces faster than the journal can write is slowed down to it.
final class Mailbox<Element: Sendable>: Sendable {
  private struct State {
    var elements: Deque<Element> = []
    var receiver: CheckedContinuation<Void, Never>?
    var senders: Deque<CheckedContinuation<Void, Never>> = []
    var isClosed = false
  }

  private let state = Mutex(State())
  private let capacity: Int

  init(capacity: Int) {
    precondition(capacity > 0)
    self.capacity = capacity
  }

  var count: Int { state.withLock { $0.elements.count } }

  /// Adds one element, waiting for room. After `close` it is dropped.
  func send(_ element: Element) async {
    while true {
      let (wasFull, receiver) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
        if state.isClosed { return (false, nil) }
        if state.elements.count >= capacity { return (true, nil) }
        state.elements.append(element)
        let receiver = state.receiver
        state.receiver = nil
        return (false, receiver)
      }
      receiver?.resume()
      guard wasFull else { return }
      await withCheckedContinuation { continuation in
        let mayGoOn = state.withLock { state in
          if state.isClosed || state.elements.count < capacity { return true }
          state.senders.append(continuation)
          return false
        }
        if mayGoOn { continuation.resume() }
      }
    }
  }

  /// Adds one element even to a full queue: for answers to what the receiver itself began, which are bounded by that.
  func sendAtOnce(_ element: Element) {
    let receiver = state.withLock { state -> CheckedContinuation<Void, Never>? in
      if state.isClosed { return nil }
      state.elements.append(element)
      let receiver = state.receiver
      state.receiver = nil
      return receiver
    }
    receiver?.resume()
  }

  /// Waits until there is something, then takes at most `limit` elements, oldest first; nil once closed and empty.
  func receive(limit: Int) async -> [Element]? {
    while true {
      let (taken, senders, isClosed) = state.withLock { state in
        let count = min(limit, state.elements.count)
        let taken = Array(state.elements.prefix(count))
        state.elements.removeFirst(count)
        var senders: [CheckedContinuation<Void, Never>] = []
        if count > 0 {
          senders = Array(state.senders)
          state.senders = []
        }
        return (taken, senders, state.isClosed)
      }
      for sender in senders { sender.resume() }
      if !taken.isEmpty { return taken }
      if isClosed { return nil }
      await withCheckedContinuation { continuation in
        let mayGoOn = state.withLock { state in
          if !state.elements.isEmpty || state.isClosed { return true }
          state.receiver = continuation
          return false
        }
        if mayGoOn { continuation.resume() }
      }
    }
  }

  /// No more is taken in; what is there can still be received.
  func close() {
    let (receiver, senders) = state.withLock { state in
      state.isClosed = true
      let receiver = state.receiver
      let senders = state.senders
      state.receiver = nil
      state.senders = []
      return (receiver, senders)
    }
    receiver?.resume()
    for sender in senders { sender.resume() }
  }
}
