public import FederationModel

/// What realtime work will probably want of a cluster: a quantile of what it has wanted lately. Soft, and learnt.
///
/// The one place that answers `headroom(at:)`: what knows the hour of the day or the season belongs here.
///
/// - Source: `Sample quantiles`, definition 1 (inverse of the empirical distribution) of R. J. Hyndman, Y. Fan, 1996: it errs upwards.
public struct DemandForecast: Sendable {
  private struct Sample {
    var at: Timestamp
    var resources: Resources
    var slots: Int
  }

  /// What counts as lately.
  public var window: Duration
  /// The part of the samples that the headroom covers.
  public var quantile: Double
  /// So much more than the quantile: demand that grows is not in its past.
  public var margin: Double
  /// Of the window's samples, how many must have wanted something: what comes once is no reason to keep others out for minutes.
  public var recurring: Int
  private var samples: [Sample] = []
  private var next = 0
  /// Samples that are kept: the oldest makes place for the newest.
  private static let samplesMax = 512
  private var known: (at: Timestamp, headroom: Headroom?)?
  /// How long an answer holds.
  private static let holds = Duration.seconds(2)

  public init(window: Duration = .seconds(240), quantile: Double = 0.995, margin: Double = 1.25, recurring: Int = 24) {
    self.margin = margin
    self.recurring = recurring
    self.window = window
    self.quantile = quantile
  }

  /// What realtime work has now, and waits for.
  ///
  /// - Complexity: O(1).
  public mutating func observe(_ resources: Resources, slots: Int, at now: Timestamp) {
    // Where nobody ever came nothing is kept.
    guard slots > 0 || !samples.isEmpty else { return }
    let sample = Sample(at: now, resources: resources, slots: slots)
    if samples.count < Self.samplesMax {
      samples.append(sample)
    } else {
      samples[next] = sample
      next = (next + 1) % Self.samplesMax
    }
  }

  /// Room that should be had for it all together; nil: none.
  ///
  /// - Complexity: O(samples x log(samples)) every other second, else O(1).
  public mutating func headroom(at now: Timestamp) -> Headroom? {
    if let known, now - known.at < Self.holds { return known.headroom }
    let recent = samples.filter { now - $0.at <= window }
    if recent.isEmpty { samples = [] }
    guard recent.count(where: { $0.slots > 0 }) >= recurring else {
      known = (now, nil)
      return nil
    }
    func most(_ values: [Int64]) -> Int64 {
      guard !values.isEmpty else { return 0 }
      let sorted = values.sorted()
      let value = sorted[min(sorted.count - 1, Int((Double(sorted.count) * quantile).rounded(.up)) - 1)]
      return Int64((Double(value) * margin).rounded(.up))
    }
    let slots = Int(most(recent.map { Int64($0.slots) }))
    let headroom =
      slots == 0
      ? nil
      : Headroom(
        resources: Resources(
          cpuMillicores: most(recent.map(\.resources.cpuMillicores)),
          memory: ByteCount(most(recent.map(\.resources.memory.bytes))), gpus: most(recent.map(\.resources.gpus))),
        slots: slots)
    known = (now, headroom)
    return headroom
  }
}
