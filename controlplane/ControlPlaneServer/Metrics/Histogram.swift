/// How observations are distributed over fixed buckets, for each combination of label values.
final class Histogram: MetricFamily {
  private struct Distribution: Sendable {
    /// `counts[i]`: observations in bucket i alone; the last bucket has no upper bound. They are summed up when they are written.
    var counts: [UInt64]
    var sum = 0.0
  }

  let name: MetricName
  let kind = MetricKind.histogram
  private let bounds: [Double]
  private let series: SeriesTable<Distribution>

  init(_ name: MetricName, buckets: [Double]) {
    precondition(!buckets.isEmpty && zip(buckets, buckets.dropFirst()).allSatisfy { $0 < $1 }, "buckets ascend")
    self.name = name
    bounds = buckets
    series = SeriesTable(labelCount: name.labels.count)
    if name.labels.isEmpty { series.update([], startingAt: empty) { _ in } }
  }

  private var empty: Distribution { Distribution(counts: Array(repeating: 0, count: bounds.count + 1)) }

  /// O(log buckets). What is not a number is dropped: it would spoil the sum for ever.
  func observe(_ value: Double, labels: [String] = []) {
    guard !value.isNaN else { return }
    var (low, high) = (0, bounds.count)
    while low < high {
      let middle = (low + high) / 2
      if value <= bounds[middle] { high = middle } else { low = middle + 1 }
    }
    series.update(labels, startingAt: empty) {
      $0.counts[low] &+= 1
      $0.sum += value
    }
  }

  func write(to text: inout String) {
    for (labels, distribution) in series.sorted {
      var total: UInt64 = 0
      for (index, count) in distribution.counts.enumerated() {
        total &+= count
        let bound = index < bounds.count ? bounds[index].prometheusText : "+Inf"
        text += "\(name.text)_bucket\(name.braces(labels, ("le", bound))) \(total)\n"
      }
      text += "\(name.text)_sum\(name.braces(labels)) \(distribution.sum.prometheusText)\n"
      text += "\(name.text)_count\(name.braces(labels)) \(total)\n"
    }
  }
}
