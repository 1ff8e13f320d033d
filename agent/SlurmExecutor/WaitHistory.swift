/// How long this agent's jobs waited in each partition, by size. Pure; bounded.
///
/// The bound is distribution-free: with n waits in order, the k-th largest is above the 90 % quantile with 95 % probability when
/// a binomial variable says so. It needs 29 waits; with fewer the longest wait stands in for it.
///
/// - Source: Brevik, Nurmi and Wolski, "Predicting bounds on queuing delay for batch-scheduled parallel machines" (2006).
struct WaitHistory: Hashable, Sendable {
  struct Estimate: Hashable, Sendable {
    /// For runs of at most so many cores.
    var cpus: Int64
    var median: Duration
    var upper: Duration
    /// Own waits that it rests on; 0: Slurm's own forecast.
    var samples: Int
  }

  /// Upper ends of the size classes, in cores.
  static let sizes: [Int64] = [1, 8, 64, 512, .max]
  static let samplesMax = 256
  static let quantile = 0.9
  static let confidence = 0.95
  /// So many waits in a row beyond the bound, and the past says nothing any more: the queue has changed.
  static let surprisesMax = 3

  private struct Key: Hashable {
    var partition: String
    var size: Int
  }
  private struct Waits: Hashable {
    /// Seconds, oldest first.
    var samples: [Int64] = []
    var surprises = 0
    /// Slurm's forecast, in seconds; nil: none.
    var seed: Seed?
  }
  private struct Seed: Hashable {
    var median: Int64
    var upper: Int64
  }
  private var waits: [Key: Waits] = [:]

  static func size(of cpus: Int64) -> Int { sizes.firstIndex { cpus <= $0 } ?? sizes.count - 1 }

  mutating func started(in partition: String, cpus: Int64, after wait: Duration) {
    let key = Key(partition: partition, size: Self.size(of: cpus))
    var entry = waits[key] ?? Waits()
    let seconds = max(0, wait.components.seconds)
    if entry.samples.count >= 29, seconds > Self.upper(entry.samples.sorted()) {
      entry.surprises += 1
    } else {
      entry.surprises = 0
    }
    entry.samples.append(seconds)
    if entry.surprises >= Self.surprisesMax {
      entry.samples.removeFirst(entry.samples.count - Self.surprisesMax)
      entry.surprises = 0
    } else if entry.samples.count > Self.samplesMax {
      entry.samples.removeFirst(entry.samples.count - Self.samplesMax)
    }
    waits[key] = entry
  }

  /// What Slurm itself expects for a job of that size now.
  mutating func forecast(in partition: String, cpus: Int64, wait: Duration) {
    let seconds = max(0, wait.components.seconds)
    waits[Key(partition: partition, size: Self.size(of: cpus)), default: Waits()].seed = Seed(
      median: seconds, upper: seconds)
  }

  /// What Slurm plans for the jobs of everybody that wait in these partitions now: one of ours would wait about as long as they do,
  /// and at the end of the queue as long as the last of them. Earlier forecasts for these partitions are forgotten.
  ///
  /// - Parameter now: by the controller's clock, seconds since 1970.
  /// - Returns: the partitions for which that says something.
  mutating func planned(_ jobs: [SlurmJob], in partitions: Set<String>, now: Int64) -> Set<String> {
    for key in waits.keys where partitions.contains(key.partition) { waits[key]!.seed = nil }
    var found: [Key: [Int64]] = [:]
    for job in jobs {
      guard case .pending = job.state, let start = job.startsAt else { continue }
      // A job may be willing to go to one of several.
      for name in job.partition.split(separator: ",").map(String.init) where partitions.contains(name) {
        found[Key(partition: name, size: Self.size(of: job.cpus)), default: []].append(max(0, start - now))
      }
    }
    for (key, seconds) in found {
      let sorted = seconds.sorted()
      waits[key, default: Waits()].seed = Seed(median: sorted[sorted.count / 2], upper: sorted[sorted.count - 1])
    }
    return Set(found.keys.map(\.partition))
  }

  /// Whether a job of ours has waited there.
  func hasOwnWaits(in partition: String) -> Bool {
    Self.sizes.indices.contains { waits[Key(partition: partition, size: $0)]?.samples.isEmpty == false }
  }

  /// What three jobs out of four wait for at least, or Slurm's forecast; nil when nothing is known.
  func shortWait(in partition: String, cpus: Int64) -> Duration? {
    guard let entry = waits[Key(partition: partition, size: Self.size(of: cpus))] else { return nil }
    if entry.samples.isEmpty { return entry.seed.map { .seconds($0.median) } }
    return .seconds(entry.samples.sorted()[entry.samples.count / 4])
  }

  /// In order of size; sizes of which nothing is known are missing.
  func estimates(of partition: String) -> [Estimate] {
    Self.sizes.indices.compactMap { size in
      guard let entry = waits[Key(partition: partition, size: size)] else { return nil }
      let cpus = Self.sizes[size]
      if entry.samples.isEmpty {
        return entry.seed.map {
          Estimate(cpus: cpus, median: .seconds($0.median), upper: .seconds($0.upper), samples: 0)
        }
      }
      let sorted = entry.samples.sorted()
      return Estimate(
        cpus: cpus, median: .seconds(sorted[sorted.count / 2]), upper: .seconds(Self.upper(sorted)),
        samples: sorted.count)
    }
  }

  /// The smallest order statistic that is above the quantile with the confidence asked for.
  private static func upper(_ sorted: [Int64]) -> Int64 {
    sorted[boundIndex(count: sorted.count)]
  }

  /// The least k with P(Binomial(n, q) < k) >= confidence, minus one; n - 1 when there is none. O(n).
  static func boundIndex(count n: Int) -> Int {
    // P(X = 0) = (1-q)^n, then P(X = i+1) = P(X = i) (n-i)/(i+1) q/(1-q): from the other end, where it does not underflow.
    // With Y = n - X ~ Binomial(n, 1-q): X < k  <=>  Y > n - k.
    let p = 1 - quantile
    var probability = 1.0
    for _ in 0..<n { probability *= 1 - p }
    var atMost = probability
    var best = n - 1
    // Y <= y has probability `atMost`; k = n - y fits as long as 1 - atMost >= confidence.
    for y in 0..<n {
      if 1 - atMost >= confidence { best = n - y - 1 } else { return best }
      probability *= Double(n - y) / Double(y + 1) * p / (1 - p)
      atMost += probability
    }
    return best
  }
}
