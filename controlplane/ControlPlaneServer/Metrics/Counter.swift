import Synchronization

/// A count that only grows, for each combination of label values.
final class Counter: MetricFamily {
  let name: MetricName
  let kind = MetricKind.counter
  private let series: SeriesTable<UInt64>

  init(_ name: MetricName) {
    self.name = name
    series = SeriesTable(labelCount: name.labels.count)
    if name.labels.isEmpty { add(0) }
  }

  /// - Parameter labels: One value for each label name, in that order.
  func add(_ amount: UInt64 = 1, labels: [String] = []) {
    series.update(labels, startingAt: 0) { $0 &+= amount }
  }

  func write(to text: inout String) {
    for (labels, count) in series.sorted { text += "\(name.text)\(name.braces(labels)) \(count)\n" }
  }
}

/// The values of a family by label values, at most `limit` of them: a client that invents label values must not grow memory without
/// end. What comes above the limit is counted under `other`.
final class SeriesTable<Value: Sendable>: Sendable {
  private let table = Mutex<[[String]: Value]>([:])
  private let labelCount: Int
  static var limit: Int { 1024 }

  init(labelCount: Int) { self.labelCount = labelCount }

  func update(_ labels: [String], startingAt initial: @autoclosure () -> Value, _ body: (inout Value) -> Void) {
    precondition(
      labels.count == labelCount, "a sample has \(labels.count) label values, its family \(labelCount) labels")
    table.withLock { table in
      let isKnown = table[labels] != nil || table.count < Self.limit
      body(&table[isKnown ? labels : Array(repeating: "other", count: labelCount), default: initial()])
    }
  }

  /// By label values, so that two scrapes of the same state read the same.
  var sorted: [(labels: [String], value: Value)] {
    table.withLock { $0 }.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { ($0.key, $0.value) }
  }
}
