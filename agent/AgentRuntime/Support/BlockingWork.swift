internal import Dispatch

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
}

extension Result where Failure == any Error {
  fileprivate init(catching body: () throws -> Success) {
    do { self = .success(try body()) } catch { self = .failure(error) }
  }
}
