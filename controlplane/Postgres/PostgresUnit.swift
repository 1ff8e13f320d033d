import Synchronization

/// A unit that was handed to a connection: its answer, now or later.
///
/// Dropping it does not withdraw the unit. Cancelling the task that waits for the answer asks the server to cancel it.
public final class PostgresUnit: Sendable {
  private enum State: Sendable {
    case waiting([CheckedContinuation<[PostgresResult], any Error>])
    case answered(Result<[PostgresResult], any Error>)
  }

  private let state = Mutex(State.waiting([]))
  private let cancel: Mutex<(@Sendable () -> Void)?> = Mutex(nil)

  init() {}

  func onCancel(_ body: @escaping @Sendable () -> Void) { cancel.withLock { $0 = body } }

  /// The results of its statements, in order, once the unit has committed.
  ///
  /// - Throws: `PostgresError`. With `isConnectionLoss` it is not known whether the unit has committed; with any other error it has not.
  public func answer() async throws -> [PostgresResult] {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let result: Result<[PostgresResult], any Error>? = state.withLock { state in
          switch state {
          case .answered(let result): return result
          case .waiting(var waiters):
            waiters.append(continuation)
            state = .waiting(waiters)
            return nil
          }
        }
        if let result { continuation.resume(with: result) }
      }
    } onCancel: {
      cancel.withLock { $0 }?()
    }
  }

  func resolve(_ result: Result<[PostgresResult], any Error>) {
    let waiters = state.withLock { state -> [CheckedContinuation<[PostgresResult], any Error>] in
      guard case .waiting(let waiters) = state else { return [] }
      state = .answered(result)
      return waiters
    }
    cancel.withLock { $0 = nil }
    for waiter in waiters { waiter.resume(with: result) }
  }
}
