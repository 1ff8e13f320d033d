/// The body of `POST /v1/organisations` and `PUT /v1/organisations/{organisation}`.
public struct OrganisationRequest: Hashable, Sendable, Codable {
  /// Of `POST` alone.
  public var name: String?
  public var description: String?
  /// Its part of what is shared, compared with the other organisations'; of `POST`, nil: 1.
  public var weight: Double?
  public init(name: String? = nil, description: String? = nil, weight: Double? = nil) {
    self.name = name
    self.description = description
    self.weight = weight
  }
}

/// The body of `PUT /v1/organisations/{organisation}/grant`.
public struct GrantRequest: Hashable, Sendable, Codable {
  /// With at most six decimals: `50000`, `0.5`.
  public var amount: String
  /// ISO 4217, upper case.
  public var currency: String
  public init(amount: String, currency: String) {
    self.amount = amount
    self.currency = currency
  }
}

/// An organisation, as the caller may see it.
public struct OrganisationDocument: Hashable, Sendable, Codable {
  public var name: String
  public var description: String
  public var createdAt: WireTime
  /// Compared with the other organisations'.
  public var weight: Double
  /// What its projects' budgets may have together; nil: nothing bounds that, or the caller may not see it.
  public var grant: MoneyDocument?
  /// What they have together, in the grant's currency; with a grant alone.
  public var budgeted: MoneyDocument?
  /// Of its projects those that the caller may see, by name.
  public var projects: [String]
  public init(
    name: String, description: String, createdAt: WireTime, weight: Double, grant: MoneyDocument? = nil,
    budgeted: MoneyDocument? = nil, projects: [String]
  ) {
    self.grant = grant
    self.budgeted = budgeted
    self.name = name
    self.description = description
    self.createdAt = createdAt
    self.weight = weight
    self.projects = projects
  }
}

public struct OrganisationList: Hashable, Sendable, Codable {
  /// By name.
  public var items: [OrganisationDocument]
  public init(items: [OrganisationDocument]) { self.items = items }
}
