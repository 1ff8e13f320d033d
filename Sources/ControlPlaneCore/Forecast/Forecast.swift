public import FederationModel

/// What is expected of a workflow that nobody has submitted: where its tasks would go, when, for how much, and what would change that.
/// Seconds count from `at`.
public struct Forecast: Sendable {
  public enum Ending: Hashable, Sendable {
    case complete
    /// It would end Failed or Error, as far as can be seen.
    case bad(String)
    /// Some tasks would wait without end; their groups' tables say why.
    case stuck
    /// Too large: what is told is its beginning.
    case cut
  }

  public var at: Timestamp
  public var ending: Ending
  public var tasks: [ForecastTask]
  public var groups: [ForecastGroup]
  public var transfers: [ForecastTransfer]
  /// Seconds until its last node has ended.
  public var makespan: ForecastQuantity
  /// Minor units by currency, bytes included.
  public var money: [String: ForecastQuantity]
  /// Indices of `tasks`, the first first: each waited for the one before it.
  public var criticalPath: [Int]
  /// What would make it cheaper or faster, the best first.
  public var changes: [ForecastImprovement]
  /// What is not known, and what was taken for it.
  public var unknowns: [String]
}

/// Something that is expected with an uncertainty.
public struct ForecastQuantity: Hashable, Sendable {
  /// When everything takes what is expected of it.
  public var expected: Double
  /// Of the samples; nil without any.
  public var median: Double?
  /// What nine of ten samples do not exceed.
  public var upper: Double?
  public init(expected: Double, median: Double? = nil, upper: Double? = nil) {
    self.expected = expected
    self.median = median
    self.upper = upper
  }

  init(expected: Double, samples: [Double]) {
    var window = SampleWindow()
    for sample in samples { window.add(sample) }
    self.init(
      expected: expected, median: samples.isEmpty ? nil : window.quantile(0.5),
      upper: samples.isEmpty ? nil : window.quantile(0.9))
  }
}

/// What the workflow would be like if one thing were otherwise, planned anew with it.
public struct ForecastImprovement: Hashable, Sendable {
  /// Completes "if ...": `memory <= 64 GiB in template mesh`.
  public var condition: String
  /// The cluster that it is about.
  public var cluster: ClusterName
  public var makespan: Double
  public var money: [String: Double]
  /// The whole sentence.
  public var message: String
}
