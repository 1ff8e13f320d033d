internal import Dispatch
internal import Synchronization

/// Runs work that blocks in the kernel (files, pipes to `gzip`) on threads of its own, away from the cooperative pool.
///
/// Callers bound how much of it there is at once: stagings and collections have limiters.
enum BlockingWork {
  private static let queue = DispatchQueue(label: "fubini.blocking", attributes: .concurrent)

  static func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: .init(catching: body)) }
    }
  }

  /// Work beside a caller that blocks itself.
  final class Begun: Sendable {
    private let failure = Mutex<(any Error)?>(nil)
    private let end = DispatchSemaphore(value: 0)

    fileprivate init(_ queue: DispatchQueue, _ body: @escaping @Sendable () throws -> Void) {
      queue.async { [self] in
        do { try body() } catch { failure.withLock { $0 = error } }
        end.signal()
      }
    }

    /// Once.
    func wait() throws {
      end.wait()
      if let error = failure.withLock({ $0 }) { throw error }
    }
  }

  static func begin(_ body: @escaping @Sendable () throws -> Void) -> Begun { Begun(queue, body) }
}

extension Result where Failure == any Error {
  fileprivate init(catching body: () throws -> Success) {
    do { self = .success(try body()) } catch { self = .failure(error) }
  }
}
