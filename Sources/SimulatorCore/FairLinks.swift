/// Transfers over shared links, each at its max-min fair rate: what no other transfer could give it without itself being slower than
/// it. A transfer uses the link out of its source and the link into its destination.
///
/// - Source: Bertsekas and Gallager, "Data Networks", 2nd edition, section 6.5.2 (progressive filling).
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

  let capacityIn: [Double]
  let capacityOut: [Double]
  public private(set) var transfers: [Transfer] = []
  private var started = 0
  private var isStale = false

  public init(capacityIn: [Double], capacityOut: [Double]) {
    self.capacityIn = capacityIn
    self.capacityOut = capacityOut
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
    var (restIn, restOut) = (capacityIn, capacityOut)
    var (countIn, countOut) = (capacityIn.map { _ in 0 }, capacityOut.map { _ in 0 })
    for transfer in transfers {
      countIn[transfer.to] += 1
      countOut[transfer.from] += 1
    }
    var open = Array(transfers.indices)
    while !open.isEmpty {
      var (least, isIn, link) = (Double.infinity, true, 0)
      for site in capacityIn.indices {
        if countIn[site] > 0, restIn[site] / Double(countIn[site]) < least {
          (least, isIn, link) = (restIn[site] / Double(countIn[site]), true, site)
        }
        if countOut[site] > 0, restOut[site] / Double(countOut[site]) < least {
          (least, isIn, link) = (restOut[site] / Double(countOut[site]), false, site)
        }
      }
      // Links without a limit.
      guard least < .infinity else {
        for index in open { transfers[index].rate = 1e18 }
        return
      }
      open.removeAll { index in
        let transfer = transfers[index]
        guard (isIn ? transfer.to : transfer.from) == link else { return false }
        transfers[index].rate = max(least, 1e-9)
        restIn[transfer.to] -= least
        restOut[transfer.from] -= least
        countIn[transfer.to] -= 1
        countOut[transfer.from] -= 1
        return true
      }
    }
  }
}
