import Synchronization

/// A number that goes up and down.
final class Gauge: MetricFamily {
  let name: MetricName
  let kind = MetricKind.gauge
  private let bits = Atomic<UInt64>(0)

  init(_ name: MetricName) { self.name = name }

  var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

  func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
  func set(_ value: Int) { set(Double(value)) }

  func write(to text: inout String) { text += "\(name.text) \(value.prometheusText)\n" }
}

/// A number that is read from somewhere at each scrape.
struct SampledMetric: MetricFamily {
  let name: MetricName
  let kind: MetricKind
  let read: @Sendable () -> Double?

  func write(to text: inout String) {
    if let value = read() { text += "\(name.text) \(value.prometheusText)\n" }
  }
}
