/// What an organisation may give its projects: their budgets are in its currency, hard, and their limits are together no more.
public struct OrganisationGrant: Hashable, Sendable, Codable {
  /// Above zero.
  public var amount: Amount
  /// ISO 4217, upper case.
  public var currency: String
  public init(amount: Amount, currency: String) {
    self.amount = amount
    self.currency = currency
  }

  /// What is wrong with it, for whoever wrote it; nil when nothing is.
  public var problem: String? {
    guard amount > .zero, amount <= .max else { return "a grant is an amount above 0, at most \(Amount.max)" }
    return Money.problem(ofCurrency: currency)
  }
}
