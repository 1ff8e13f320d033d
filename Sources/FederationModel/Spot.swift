/// Whether a task takes capacity that its operator may take back (`federation.spot`).
public enum SpotPolicy: String, Hashable, Sendable, Codable, CaseIterable {
  /// As if there were none.
  case never
  /// Where it costs no more than the task bids and has room; else what is not spot.
  case allow
  /// Nothing else.
  case require
}

/// The part of a cluster's capacity that goes for a price of its own, and is taken back after a notice (ADR 0021). Durable; changed
/// only by commands.
public struct SpotOffer: Hashable, Sendable, Codable {
  /// Of the cluster's capacity and slots, 0 to 100. 0: all of it is taken back for now.
  public var percent: Int
  /// What a run has at most, from being told to leave until it is killed.
  public var notice: Duration
  /// What always holds, under what `pricePeriods` says; nil: nothing is placed there before a price is set.
  public var prices: PriceSheet?
  /// Prices that hold for a time, in the order in which they were set; nil: none.
  public var pricePeriods: [PricePeriod]?
  /// When its share was last made smaller: what was placed up to then must fit into what is left. nil: never.
  public var reclaimedAt: Timestamp?
  /// Why it was made smaller, in the operator's words; nil: they said nothing.
  public var reason: String?

  public init(
    percent: Int, notice: Duration, prices: PriceSheet? = nil, pricePeriods: [PricePeriod]? = nil,
    reclaimedAt: Timestamp? = nil, reason: String? = nil
  ) {
    self.percent = percent
    self.notice = notice
    self.prices = prices
    self.pricePeriods = pricePeriods
    self.reclaimedAt = reclaimedAt
    self.reason = reason
  }

  /// Seconds of notice that an operator may give: a run that has no time at all cannot be told.
  public static let noticeRange: ClosedRange<Int64> = 1...600

  /// What of a cluster's capacity it is: whole cores and GPUs, rounded down, so that neither part has a piece that nothing fits into.
  public func part(of capacity: Resources) -> Resources {
    var part = capacity
    part.cpuMillicores = percent == 100 ? capacity.cpuMillicores : share(capacity.cpuMillicores) / 1000 * 1000
    part.memory = ByteCount(share(capacity.memory.bytes))
    part.gpus = share(capacity.gpus)
    return part
  }

  /// What of a cluster's slots it is, rounded down.
  public func part(of slots: Int) -> Int { Int(share(Int64(slots))) }

  private func share(_ whole: Int64) -> Int64 {
    // In two steps, because a byte count times a hundred need not fit.
    whole / 100 * Int64(percent) + whole % 100 * Int64(percent) / 100
  }
}

extension ClusterSpec {
  /// What runs on spot capacity pay at a moment: the hourly prices are its own, what leaves the cluster costs what it always does. nil:
  /// nothing is offered, or no price is set.
  public func spotPrices(at moment: Timestamp) -> PriceSheet? {
    guard let spot else { return nil }
    guard var sheet = spot.pricePeriods?.last(where: { $0.holds(at: moment) })?.prices ?? spot.prices else {
      return nil
    }
    guard let regular = prices(at: moment), regular.currency == sheet.currency else { return sheet }
    sheet.egressGibibyte = regular.egressGibibyte
    sheet.storageGibibyteHour = regular.storageGibibyteHour
    return sheet
  }
}

/// What a run on spot capacity has agreed to. Durable with the run.
public struct SpotTerms: Hashable, Sendable, Codable {
  /// The most that it pays in all; nil: it has named nothing, and stays while it costs no more than what is not spot.
  public var bid: Money?
  /// For how long prices are compared with the bid: what the run may take, or is expected to.
  public var bound: Duration
  /// As it was offered when the run was placed.
  public var notice: Duration
  /// It was told to leave.
  public var isEvicted: Bool
  /// Where it would have gone on what is not spot, if prices depend on that: what it is compared with when it has named no bid.
  public var partition: String?

  public init(bid: Money?, bound: Duration, notice: Duration, isEvicted: Bool = false) {
    self.bid = bid
    self.bound = bound
    self.notice = notice
    self.isEvicted = isEvicted
  }
}

/// What a run would cost at the spot price, compared with what it bids.
public enum SpotBid {
  /// Why a price is too high, for people; nil when it is not.
  ///
  /// - Parameters:
  ///   - sheet: the spot price, as its class is quoted it.
  ///   - regular: what is not spot costs there, as its class is quoted it; nil: nothing is asked.
  ///   - bid: nil: it bids what is not spot costs; where that has no price, anything.
  ///   - egress: minor units that the sources of its inputs charge.
  public static func refusal(
    of sheet: PriceSheet, regular: PriceSheet?, bid: Money?, for resources: Resources, lasting bound: Duration,
    egress: Double
  ) -> String? {
    let cost = (sheet.cost(of: resources, for: bound) + egress).rounded(.up)
    let price = Money(minorUnits: Int64(min(cost, 9e18)), currency: sheet.currency)
    if let bid {
      guard bid.currency == sheet.currency else {
        return "the spot price is in \(sheet.currency), the bid in \(bid.currency)"
      }
      return cost > Double(bid.minorUnits) ? "spot price \(price) above bid \(bid)" : nil
    }
    guard let regular, regular.currency == sheet.currency else { return nil }
    let usual = (regular.cost(of: resources, for: bound) + egress).rounded(.up)
    guard cost > usual else { return nil }
    let limit = Money(minorUnits: Int64(min(usual, 9e18)), currency: regular.currency)
    return "spot price \(price) above the \(limit) that is asked otherwise; a `maxPrice` bids more"
  }
}
