/// Prices that hold for a time, over those that always hold.
public struct PricePeriod: Hashable, Sendable, Codable {
  public var prices: PriceSheet
  /// nil: from the beginning.
  public var from: Timestamp?
  /// The first moment at which they do not hold any more; nil: without end.
  public var until: Timestamp?

  public init(prices: PriceSheet, from: Timestamp? = nil, until: Timestamp? = nil) {
    self.prices = prices
    self.from = from
    self.until = until
  }

  public func holds(at moment: Timestamp) -> Bool {
    (from.map { $0 <= moment } ?? true) && (until.map { moment < $0 } ?? true)
  }
}

extension ClusterSpec {
  /// So many periods that are not over one cluster may have.
  public static let pricePeriodsMax = 64

  /// What holds at a moment: of several periods the one that was set last.
  public func prices(at moment: Timestamp) -> PriceSheet? {
    pricePeriods?.last { $0.holds(at: moment) }?.prices ?? prices
  }

  /// The same cluster with the prices of one moment as its only ones.
  public func quoted(at moment: Timestamp) -> ClusterSpec {
    guard pricePeriods != nil else { return self }
    var spec = self
    spec.prices = prices(at: moment)
    spec.pricePeriods = nil
    return spec
  }
}
