public import SchedulerCore

/// Transfers over shared links, each at its max-min fair rate.
public struct FairLinks: Sendable {
  public struct Transfer: Sendable {
    public var datum: Int
    public var from: Int
    public var to: Int
    /// Bytes still to come.
    public var rest: Double
    /// Bytes per second.
    public internal(set) var rate = 0.0
    /// In order of starting: equal ends go by it.
    var number: Int
  }

  private let fair: MaxMinRates
  public private(set) var transfers: [Transfer] = []
  private var started = 0
  private var isStale = false

  public init(capacityIn: [Double], capacityOut: [Double], paths: PathLimits = PathLimits()) {
    fair = MaxMinRates(capacityIn: capacityIn, capacityOut: capacityOut, paths: paths)
  }

  public mutating func start(_ datum: Int, from: Int, to: Int, bytes: Double) {
    started += 1
    transfers.append(Transfer(datum: datum, from: from, to: to, rest: bytes, number: started))
    isStale = true
  }

  /// Ends the transfers that a condition holds for, and returns them.
  public mutating func cancel(where isEnded: (Transfer) -> Bool) -> [Transfer] {
    let ended = transfers.filter(isEnded)
    if !ended.isEmpty {
      transfers.removeAll(where: isEnded)
      isStale = true
    }
    return ended
  }

  /// Seconds until the next transfer ends; infinite without one.
  public mutating func untilNextEnd() -> Double {
    if isStale { share() }
    return transfers.reduce(.infinity) { min($0, $1.rest <= 0 ? 0 : $1.rest / $1.rate) }
  }

  /// Lets time pass, and takes out what has ended, in order of starting.
  public mutating func advance(_ seconds: Double) -> [Transfer] {
    if isStale { share() }
    var hasEnded = false
    for index in transfers.indices {
      transfers[index].rest -= transfers[index].rate * seconds
      // Rounding must not leave a transfer that ends in no time, for ever.
      if transfers[index].rest <= max(1e-6, transfers[index].rate * 1e-9) {
        transfers[index].rest = 0
        hasEnded = true
      }
    }
    return hasEnded ? cancel { $0.rest <= 0 } : []
  }

  private mutating func share() {
    isStale = false
    let rates = fair.rates(of: transfers.map { (from: $0.from, to: $0.to) })
    for index in transfers.indices { transfers[index].rate = rates[index] }
  }
}
