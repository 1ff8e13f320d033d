extension RandomAccessCollection where Self: Sendable, Element: Sendable, Index: Sendable {
  /// The results in order, of at most `limit` bodies at a time. The first failure cancels the others and is thrown.
  public func concurrentMap<Value: Sendable>(
    limit: Int, _ body: @escaping @concurrent @Sendable (Element) async throws -> Value
  ) async throws -> [Value] {
    try await withThrowingTaskGroup(of: (Int, Value).self) { group in
      var values = [Value?](repeating: nil, count: count)
      var next = startIndex
      var number = 0
      func begin(_ group: inout ThrowingTaskGroup<(Int, Value), any Error>) {
        guard next < endIndex else { return }
        let (element, place) = (self[next], number)
        group.addTask { (place, try await body(element)) }
        next = index(after: next)
        number += 1
      }
      for _ in 0..<Swift.max(1, limit) { begin(&group) }
      while let (place, value) = try await group.next() {
        values[place] = value
        begin(&group)
      }
      return values.map { $0! }
    }
  }
}
