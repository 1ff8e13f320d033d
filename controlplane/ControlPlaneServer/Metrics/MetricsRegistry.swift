import Synchronization

/// Every metric of the process, in the order of registration, and their Prometheus text.
///
/// Metrics are registered once, at start; what may be recorded afterwards is bounded by then: label names are fixed, buckets are fixed,
/// and a family takes a limited number of label values.
final class MetricsRegistry: Sendable {
  private let families = Mutex<[any MetricFamily]>([])

  func counter(_ name: String, _ help: String, labels: [String] = []) -> Counter {
    register(Counter(MetricName(name, help, labels)))
  }

  func gauge(_ name: String, _ help: String) -> Gauge {
    register(Gauge(MetricName(name, help, [])))
  }

  /// - Parameter read: Asked at each scrape; must be quick. nil leaves the sample out.
  func sampled(_ name: String, _ help: String, kind: MetricKind = .gauge, _ read: @escaping @Sendable () -> Double?) {
    _ = register(SampledMetric(name: MetricName(name, help, []), kind: kind, read: read))
  }

  /// - Parameter buckets: Upper bounds, ascending; the bucket of everything is added.
  func histogram(_ name: String, _ help: String, labels: [String] = [], buckets: [Double]) -> Histogram {
    register(Histogram(MetricName(name, help, labels), buckets: buckets))
  }

  private func register<Family: MetricFamily>(_ family: Family) -> Family {
    families.withLock { families in
      precondition(
        !families.contains { $0.name.text == family.name.text }, "metric \(family.name.text) is registered twice")
      families.append(family)
    }
    return family
  }

  /// - Source: Prometheus text exposition format 0.0.4.
  func prometheusText() -> String {
    var text = ""
    for family in families.withLock({ $0 }) {
      text += "# HELP \(family.name.text) \(family.name.help.escapedHelp)\n"
      text += "# TYPE \(family.name.text) \(family.kind.rawValue)\n"
      family.write(to: &text)
    }
    return text
  }
}

enum MetricKind: String, Sendable {
  case counter, gauge, histogram
}

/// All samples of one name.
protocol MetricFamily: Sendable {
  var name: MetricName { get }
  var kind: MetricKind { get }
  func write(to text: inout String)
}

/// What a family is called, and which labels its samples carry.
struct MetricName: Sendable {
  let text: String
  let help: String
  let labels: [String]

  init(_ text: String, _ help: String, _ labels: [String]) {
    precondition(Self.isValid(text) && labels.allSatisfy(Self.isValid), "\(text) is no name of a metric")
    self.text = text
    self.help = help
    self.labels = labels
  }

  /// `{a="x",b="y"}` with one more label at the end where it is given; empty without labels.
  func braces(_ values: [String], _ extra: (label: String, value: String)? = nil) -> String {
    var pairs = zip(labels, values).map { "\($0)=\"\($1.escapedLabel)\"" }
    if let extra { pairs.append("\(extra.label)=\"\(extra.value)\"") }
    return pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}"
  }

  private static func isValid(_ name: String) -> Bool {
    guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
    return name.utf8.allSatisfy {
      (0x61...0x7a).contains($0) || (0x41...0x5a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f
    }
  }
}

extension String {
  fileprivate var escapedHelp: String { escaped(quotes: false) }
  fileprivate var escapedLabel: String { escaped(quotes: true) }

  private func escaped(quotes: Bool) -> String {
    var text = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\"" where quotes: text += "\\\""
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}

extension Double {
  /// As the exposition format writes numbers: whole ones without a fraction.
  var prometheusText: String {
    if isNaN { return "NaN" }
    if isInfinite { return self < 0 ? "-Inf" : "+Inf" }
    return self == rounded() && abs(self) < 1e15 ? String(Int64(self)) : String(self)
  }
}
