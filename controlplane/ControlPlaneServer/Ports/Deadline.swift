import FederationModel

/// Bounds how long something may take that answers to cancellation.
enum Deadline {
  /// - Throws: `.deadlineExceeded`, with `what` as its message, after `limit`; otherwise what `body` throws.
  static func run<Value: Sendable>(
    _ limit: Duration, _ what: String, _ body: @escaping @concurrent @Sendable () async throws -> Value
  ) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        try await Task.sleep(for: limit)
        return nil
      }
      defer { group.cancelAll() }
      guard let value = try await group.next() ?? nil else {
        throw FederationError(.deadlineExceeded, what, retryAfter: .seconds(1))
      }
      return value
    }
  }
}
