public import FederationModel
public import SchedulerCore

/// What runs that ended well say of those to come, by template and program: how long they take, by the size of what they
/// read, and how large their outputs are.
///
/// Soft and bounded: the newest `samplesMax` of each, of at most `templatesMax` templates. A new leader learns it anew from the newest
/// runs of the database; no invariant depends on it.
public struct TemplateHistory: Sendable {
  /// Of each template and size, and of each output.
  public static let samplesMax = 32
  /// Of those that were heard of last; half of them may be gone.
  public static let templatesMax = 10_000
  /// With fewer runs of a size, the template's runs of all sizes count.
  public static let samplesOfSizeMin = 3
  private static let outputsMax = 16

  private struct Entry {
    var all = SampleWindow()
    /// By size class.
    var sizes: [Int: SampleWindow] = [:]
    var outputs: [String: SampleWindow] = [:]
  }

  // Two generations: when the young one is full it becomes the old one, and what was old and was not heard of since is forgotten.
  private var young: [TemplateKey: Entry] = [:]
  private var old: [TemplateKey: Entry] = [:]

  public init() {}

  public init(_ runs: some Sequence<EndedRun>) {
    for run in runs { learn(run) }
  }

  /// A run ended well.
  public mutating func learn(_ run: EndedRun) {
    if young[run.template] == nil {
      if young.count >= Self.templatesMax / 2 {
        old = young
        young = [:]
      }
      young[run.template] = old.removeValue(forKey: run.template) ?? Entry()
    }
    young[run.template]!.all.add(run.seconds)
    if let size = run.inputs {
      young[run.template]!.sizes[Self.sizeClass(size), default: SampleWindow()].add(run.seconds)
    }
    // In the order of their names: which of too many are kept must not depend on the process.
    for (name, size) in run.outputs.sorted(by: { $0.key < $1.key }) {
      guard young[run.template]!.outputs[name] != nil || young[run.template]!.outputs.count < Self.outputsMax else {
        continue
      }
      young[run.template]!.outputs[name, default: SampleWindow()].add(Double(size.bytes))
    }
  }

  /// Whether a run of the template has ended well.
  public func knows(_ template: TemplateKey) -> Bool { young[template] != nil || old[template] != nil }

  /// What a run is expected to take; nil when none of its template has ended well yet. O(1).
  ///
  /// - Parameter inputs: bytes that it reads; nil: of runs of all sizes.
  public func runtime(of template: TemplateKey, reading inputs: ByteCount?) -> RuntimeEstimate? {
    runtimes(of: template, reading: inputs)?.estimate
  }

  /// A run that takes longer than this part of those of its kind; nil when none of its template has ended well yet.
  ///
  /// - Parameter part: 0...1.
  func runtime(of template: TemplateKey, reading inputs: ByteCount?, quantile part: Double) -> Double? {
    runtimes(of: template, reading: inputs)?.quantile(part)
  }

  /// Of runs of that size where there are enough of them, else of all; never empty.
  private func runtimes(of template: TemplateKey, reading inputs: ByteCount?) -> SampleWindow? {
    guard let entry = young[template] ?? old[template] else { return nil }
    if let inputs, let window = entry.sizes[Self.sizeClass(inputs)], window.count >= Self.samplesOfSizeMin {
      return window
    }
    return entry.all.count == 0 ? nil : entry.all
  }

  /// The same of some templates alone.
  func part(of templates: some Sequence<TemplateKey>) -> TemplateHistory {
    var part = TemplateHistory()
    for template in templates { part.young[template] = young[template] ?? old[template] }
    return part
  }

  /// The median size of what runs of a template made under a name; nil when none did yet.
  public func outputSize(of template: TemplateKey, named name: String) -> ByteCount? {
    guard let window = (young[template] ?? old[template])?.outputs[name] else { return nil }
    return ByteCount(estimated: window.quantile(0.5))
  }

  /// 0 below 1 MiB, and one more for each factor of four above.
  static func sizeClass(_ size: ByteCount) -> Int {
    let mebibytes = UInt64(max(0, size.bytes)) >> 20
    return (UInt64.bitWidth - mebibytes.leadingZeroBitCount + 1) / 2
  }
}

/// A run that ended well, as far as others learn from it.
public struct EndedRun: Hashable, Sendable {
  public var template: TemplateKey
  /// Bytes that it read; nil: nobody noted it.
  public var inputs: ByteCount?
  public var seconds: Double
  /// By name.
  public var outputs: [String: ByteCount]
  public init(template: TemplateKey, inputs: ByteCount?, seconds: Double, outputs: [String: ByteCount] = [:]) {
    self.template = template
    self.inputs = inputs
    self.seconds = seconds
    self.outputs = outputs
  }
}

/// Seconds that a run takes, from those of its kind that ended well.
public struct RuntimeEstimate: Hashable, Sendable {
  public var median: Double
  /// What nine of ten do not exceed.
  public var upper: Double
  /// Runs that this rests on.
  public var samples: Int
  public init(median: Double, upper: Double, samples: Int) {
    self.median = median
    self.upper = upper
    self.samples = samples
  }
}

/// The newest samples of one thing, and their order.
struct SampleWindow: Hashable, Sendable {
  /// In order of arrival, from `next` on when full.
  private var ring: [Double] = []
  private var sorted: [Double] = []
  private var next = 0

  var count: Int { ring.count }

  mutating func add(_ value: Double) {
    if ring.count < TemplateHistory.samplesMax {
      ring.append(value)
    } else {
      sorted.remove(at: position(of: ring[next]))
      ring[next] = value
      next = (next + 1) % ring.count
    }
    sorted.insert(value, at: position(of: value))
  }

  /// The first place whose value is not less.
  private func position(of value: Double) -> Int {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle] < value { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Between the two nearest samples, in proportion.
  ///
  /// - Precondition: there is a sample.
  /// - Source: R. J. Hyndman, Y. Fan: Sample quantiles in statistical packages. The American Statistician 50 (4), 1996; definition 7.
  func quantile(_ part: Double) -> Double {
    let place = part * Double(sorted.count - 1)
    let below = Int(place)
    let above = min(below + 1, sorted.count - 1)
    return sorted[below] + (place - Double(below)) * (sorted[above] - sorted[below])
  }

  var estimate: RuntimeEstimate {
    RuntimeEstimate(median: quantile(0.5), upper: quantile(0.9), samples: count)
  }
}
