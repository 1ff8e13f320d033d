/// What transfers that share links get: the max-min fair rates, where none could be faster without making a slower one slower still.
/// A transfer uses the link out of its source, the link into its destination, and the path between the two where that has a limit.
///
/// - Source: Bertsekas and Gallager, "Data Networks", 2nd edition, section 6.5.2 (progressive filling).
public struct MaxMinRates: Sendable {
  public let capacityIn: [Double]
  public let capacityOut: [Double]
  public let paths: PathLimits

  /// - Parameter capacityIn: bytes per second into each site; infinite where nothing limits it.
  public init(capacityIn: [Double], capacityOut: [Double], paths: PathLimits = PathLimits()) {
    self.paths = paths
    self.capacityIn = capacityIn
    self.capacityOut = capacityOut
  }

  /// What a transfer that is alone gets.
  public func alone(from: Int, to: Int) -> Double {
    min(capacityOut[from], capacityIn[to], paths.limit(from: from, to: to))
  }

  /// Bytes per second of each transfer, `1e18` where no link limits it.
  ///
  /// - Complexity: O(links and paths that fill x (sites + paths + transfers)).
  public func rates(of transfers: some Collection<(from: Int, to: Int)>) -> [Double] {
    let transfers = Array(transfers)
    var rates = transfers.map { _ in 1e18 }
    var (restIn, restOut) = (capacityIn, capacityOut)
    var (countIn, countOut) = (capacityIn.map { _ in 0 }, capacityOut.map { _ in 0 })
    for transfer in transfers {
      countIn[transfer.to] += 1
      countOut[transfer.from] += 1
    }
    var onPath: [PathLimits.Path: (rest: Double, count: Int)] = [:]
    if !paths.isEmpty {
      for transfer in transfers {
        let path = PathLimits.Path(from: transfer.from, to: transfer.to)
        guard let limit = paths.bytesPerSecond[path] else { continue }
        onPath[path, default: (limit, 0)].count += 1
      }
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
      let thinnest = Self.thinnest(onPath, below: least)
      if let thinnest { least = onPath[thinnest]!.rest / Double(onPath[thinnest]!.count) }
      guard least < .infinity else { return rates }
      open.removeAll { index in
        let transfer = transfers[index]
        let path = PathLimits.Path(from: transfer.from, to: transfer.to)
        guard thinnest.map({ $0 == path }) ?? ((isIn ? transfer.to : transfer.from) == link) else {
          return false
        }
        rates[index] = max(least, 1e-9)
        restIn[transfer.to] -= least
        restOut[transfer.from] -= least
        countIn[transfer.to] -= 1
        countOut[transfer.from] -= 1
        onPath[path]?.rest -= least
        onPath[path]?.count -= 1
        return true
      }
    }
    return rates
  }

  /// The path that gives its transfers least, if less than `least`; by number where two are equal, so that nothing depends on the
  /// order of a dictionary.
  private static func thinnest(
    _ onPath: [PathLimits.Path: (rest: Double, count: Int)], below least: Double
  ) -> PathLimits.Path? {
    let open = onPath.filter {
      $0.value.count > 0 && $0.value.rest / Double($0.value.count) < least
    }
    return open.min {
      let (left, right) = (
        $0.value.rest / Double($0.value.count), $1.value.rest / Double($1.value.count)
      )
      return left < right || left == right && ($0.key.from, $0.key.to) < ($1.key.from, $1.key.to)
    }?.key
  }
}
