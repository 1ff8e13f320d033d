/// What transfers that share links get: the max-min fair rates, where none could be faster without making a slower one slower still.
/// A transfer uses the link out of its source and the link into its destination.
///
/// - Source: Bertsekas and Gallager, "Data Networks", 2nd edition, section 6.5.2 (progressive filling).
public struct FairShare: Sendable {
  public let capacityIn: [Double]
  public let capacityOut: [Double]

  /// - Parameter capacityIn: bytes per second into each site; infinite where nothing limits it.
  public init(capacityIn: [Double], capacityOut: [Double]) {
    self.capacityIn = capacityIn
    self.capacityOut = capacityOut
  }

  /// Bytes per second of each transfer, `1e18` where no link limits it.
  ///
  /// - Complexity: O(links that fill x (sites + transfers)).
  public func rates(of transfers: some Collection<(from: Int, to: Int)>) -> [Double] {
    let transfers = Array(transfers)
    var rates = transfers.map { _ in 1e18 }
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
      guard least < .infinity else { return rates }
      open.removeAll { index in
        let transfer = transfers[index]
        guard (isIn ? transfer.to : transfer.from) == link else { return false }
        rates[index] = max(least, 1e-9)
        restIn[transfer.to] -= least
        restOut[transfer.from] -= least
        countIn[transfer.to] -= 1
        countOut[transfer.from] -= 1
        return true
      }
    }
    return rates
  }
}
