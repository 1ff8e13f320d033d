/// The body of `PUT /v1/projects/{project}/budget/webhook`.
public struct AlertHookRequest: Hashable, Sendable, Codable {
  /// `https://...`
  public var url: String
  /// The project's secret whose value `signingKey` is signed with.
  public var secret: String
  public init(url: String, secret: String) {
    self.url = url
    self.secret = secret
  }
}

/// Whom a budget's alerts are told, and what became of the last ones.
public struct AlertHookDocument: Hashable, Sendable, Codable {
  public var url: String
  /// Its name; what it holds is never shown.
  public var secret: String
  public var changedAt: WireTime
  public var changedBy: String
  /// The newest first, at most 20.
  public var deliveries: [AlertDeliveryDocument]
  public init(
    url: String, secret: String, changedAt: WireTime, changedBy: String, deliveries: [AlertDeliveryDocument]
  ) {
    self.url = url
    self.secret = secret
    self.changedAt = changedAt
    self.changedBy = changedBy
    self.deliveries = deliveries
  }
}

public struct AlertDeliveryDocument: Hashable, Sendable, Codable {
  public var id: Int64
  public var createdAt: WireTime
  /// Begun so far.
  public var attempts: Int
  /// When it was taken; nil: it was not.
  public var deliveredAt: WireTime?
  /// When it is tried again; nil: it is over.
  public var nextAt: WireTime?
  /// Why it was not taken the last time; empty before, and when it was.
  public var failure: String
  public init(
    id: Int64, createdAt: WireTime, attempts: Int, deliveredAt: WireTime?, nextAt: WireTime?, failure: String
  ) {
    self.id = id
    self.createdAt = createdAt
    self.attempts = attempts
    self.deliveredAt = deliveredAt
    self.nextAt = nextAt
    self.failure = failure
  }
}
