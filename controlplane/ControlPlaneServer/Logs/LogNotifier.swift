import FederationModel
import Synchronization

/// Wakes those who follow a run's log in this process.
///
/// A wake-up carries nothing: whoever is woken reads the store again, so a lost or doubled one does no harm.
final class LogNotifier: Sendable {
  /// Can transition from registered to woken, or to parked and then away.
  private enum Waiter {
    case registered
    case woken
    case parked(CheckedContinuation<Void, Never>)
  }
  private struct State {
    var next: UInt64 = 0
    var waiters: [RunID: [UInt64: Waiter]] = [:]
  }
  private let state = Mutex(State())

  func notify(_ run: RunID) {
    let parked = state.withLock { state in
      var parked: [CheckedContinuation<Void, Never>] = []
      for (id, waiter) in state.waiters[run] ?? [:] {
        if case .parked(let continuation) = waiter { parked.append(continuation) }
        state.waiters[run]![id] = .woken
      }
      return parked
    }
    parked.forEach { $0.resume() }
  }

  /// Returns after a `notify` that came later than the call began, after `timeout`, or at cancellation.
  ///
  /// - Parameter isStale: Asked once the waiter is registered, so that a change before the call is not slept through; true returns.
  func wait(for run: RunID, timeout: Duration, unless isStale: () async throws -> Bool) async throws {
    let id = state.withLock { state in
      state.next += 1
      state.waiters[run, default: [:]][state.next] = .registered
      return state.next
    }
    defer {
      state.withLock { state in
        state.waiters[run]?[id] = nil
        if state.waiters[run]?.isEmpty == true { state.waiters[run] = nil }
      }
    }
    if try await isStale() { return }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await self.park(run, id) }
      group.addTask { try await Task.sleep(for: timeout) }
      _ = try await group.next()
      group.cancelAll()
    }
  }

  private func park(_ run: RunID, _ id: UInt64) async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let mustWait = state.withLock { state in
          guard case .registered? = state.waiters[run]?[id] else { return false }
          state.waiters[run]![id] = .parked(continuation)
          return true
        }
        if !mustWait { continuation.resume() }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        let waiter = state.waiters[run]?[id]
        if waiter != nil { state.waiters[run]![id] = .woken }
        return waiter
      }
      if case .parked(let continuation)? = waiter { continuation.resume() }
    }
  }
}
