/// What the links in and out of each site have been promised: when each has worked it off, and what of it has not come.
///
/// Bytes, seconds since the start of time.
struct LinkBook: Sendable {
  private(set) var bandwidthIn: [Double]
  private(set) var bandwidthOut: [Double]
  let paths: PathLimits
  private(set) var freeIn: [Double]
  private(set) var freeOut: [Double]
  /// Promised and not there.
  private var promisedIn: [Double]
  private var promisedOut: [Double]

  init(bandwidthIn: [Double], bandwidthOut: [Double], paths: PathLimits = PathLimits()) {
    self.paths = paths
    self.bandwidthIn = bandwidthIn
    self.bandwidthOut = bandwidthOut
    freeIn = bandwidthIn.map { _ in 0 }
    freeOut = freeIn
    promisedIn = freeIn
    promisedOut = freeIn
  }

  /// What was promised before the book was opened.
  mutating func open(_ site: Int, backlogIn: Double, backlogOut: Double, at now: Double) {
    promisedIn[site] = backlogIn
    promisedOut[site] = backlogOut
    freeIn[site] = now + backlogIn / bandwidthIn[site]
    // Whoever sends nothing has promised nothing.
    freeOut[site] = now + (bandwidthOut[site] > 0 ? backlogOut / bandwidthOut[site] : 0)
  }

  /// Adds bytes to both links, and returns when they are expected.
  mutating func promise(_ size: Double, from source: Int, to site: Int, at now: Double) -> Double {
    freeOut[source] = max(now, freeOut[source]) + size / bandwidthOut[source]
    freeIn[site] = max(now, freeIn[site]) + size / bandwidthIn[site]
    promisedIn[site] += size
    promisedOut[source] += size
    return max(freeIn[site], freeOut[source], now + size / paths.limit(from: source, to: site))
  }

  /// What was promised has arrived or never will: a link is never busier than what is left of its promises.
  mutating func settle(_ size: Double, from source: Int, to site: Int, at now: Double) {
    promisedIn[site] = max(0, promisedIn[site] - size)
    promisedOut[source] = max(0, promisedOut[source] - size)
    freeIn[site] = min(freeIn[site], now + promisedIn[site] / bandwidthIn[site])
    freeOut[source] = min(freeOut[source], now + promisedOut[source] / bandwidthOut[source])
  }

  /// What two links were promised before a promise that is to be taken back.
  struct Mark: Sendable {
    fileprivate var source: Int
    fileprivate var site: Int
    fileprivate var freeIn: Double
    fileprivate var freeOut: Double
    fileprivate var promisedIn: Double
    fileprivate var promisedOut: Double
  }

  func mark(from source: Int, to site: Int) -> Mark {
    Mark(
      source: source, site: site, freeIn: freeIn[site], freeOut: freeOut[source], promisedIn: promisedIn[site],
      promisedOut: promisedOut[source])
  }

  /// Takes back what was promised since a mark; of several the last one goes first.
  mutating func restore(_ mark: Mark) {
    freeIn[mark.site] = mark.freeIn
    freeOut[mark.source] = mark.freeOut
    promisedIn[mark.site] = mark.promisedIn
    promisedOut[mark.source] = mark.promisedOut
  }

  func backlogIn(_ site: Int, at now: Double) -> Double { max(0, freeIn[site] - now) }
  func backlogOut(_ site: Int, at now: Double) -> Double { max(0, freeOut[site] - now) }
  func isIdleIn(_ site: Int, at now: Double) -> Bool { freeIn[site] <= now }
  func isIdleOut(_ site: Int, at now: Double) -> Bool { freeOut[site] <= now }
}
