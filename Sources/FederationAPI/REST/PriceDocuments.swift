public import FederationModel

/// The body of `PUT /v1/clusters/{cluster}/prices`.
public struct PriceRequest: Hashable, Sendable, Codable {
  public var prices: PriceSheet
  /// nil: from the beginning.
  public var from: WireTime?
  /// The first moment at which they do not hold any more; nil: without end.
  public var until: WireTime?
  /// Of the cluster's spot capacity: its three hourly prices, in the currency of the cluster. nil: false.
  public var spot: Bool?
  public init(prices: PriceSheet, from: WireTime? = nil, until: WireTime? = nil, spot: Bool? = nil) {
    self.spot = spot
    self.prices = prices
    self.from = from
    self.until = until
  }
}

/// Prices of a cluster: of a time, or what holds when no time says otherwise.
public struct PriceDocument: Hashable, Sendable, Codable {
  public var cluster: String
  public var prices: PriceSheet
  public var from: WireTime?
  public var until: WireTime?
  /// Whether a run that is placed now is quoted these.
  public var isInForce: Bool
  /// Of the cluster's spot capacity; nil: of the rest.
  public var spot: Bool?
  public init(
    cluster: String, prices: PriceSheet, from: WireTime?, until: WireTime?, isInForce: Bool, spot: Bool? = nil
  ) {
    self.spot = spot
    self.cluster = cluster
    self.prices = prices
    self.from = from
    self.until = until
    self.isInForce = isInForce
  }
}

public struct PriceList: Hashable, Sendable, Codable {
  /// By cluster; what always holds first, then periods in the order in which they were set. A cluster without prices is not there.
  public var items: [PriceDocument]
  public init(items: [PriceDocument]) { self.items = items }
}
