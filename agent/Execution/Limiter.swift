internal import DequeModule
internal import Synchronization

/// Lets at most `limit` pieces of work go on at once; the others wait in order.
package final class Limiter: Sendable {
  private struct State {
    var free: Int
    var waiting: Deque<CheckedContinuation<Void, Never>> = []
  }
  private let state: Mutex<State>

  package init(limit: Int) {
    precondition(limit > 0)
    state = Mutex(State(free: limit))
  }

  package func run<Result>(_ body: () async throws -> Result) async rethrows -> Result {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        guard state.free > 0 else {
          state.waiting.append(continuation)
          return false
        }
        state.free -= 1
        return true
      }
      if isFree { continuation.resume() }
    }
    defer {
      let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
        if let next = state.waiting.popFirst() { return next }
        state.free += 1
        return nil
      }
      next?.resume()
    }
    return try await body()
  }
}
