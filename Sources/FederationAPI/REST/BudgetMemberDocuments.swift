/// The body of `PUT /v1/projects/{project}/budget/members/{user}`.
public struct BudgetMemberRequest: Hashable, Sendable, Codable {
  /// For each period, in the budget's currency, with at most six decimals.
  public var amount: String
  public init(amount: String) { self.amount = amount }
}

/// What one member of a project has used of its budget in the current period.
public struct BudgetMemberDocument: Hashable, Sendable, Codable {
  public var user: String
  /// For each period; nil: the budget alone bounds the member.
  public var limit: MoneyDocument?
  /// Held for runs that are not over.
  public var reserved: MoneyDocument
  /// Charged for runs that are over.
  public var spent: MoneyDocument
  /// What may still be promised of the limit; nil: there is none.
  public var available: MoneyDocument?
  public init(
    user: String, limit: MoneyDocument?, reserved: MoneyDocument, spent: MoneyDocument, available: MoneyDocument?
  ) {
    self.user = user
    self.limit = limit
    self.reserved = reserved
    self.spent = spent
    self.available = available
  }
}

public struct BudgetMemberList: Hashable, Sendable, Codable {
  /// By user; those who have a limit, or whose runs the budget has paid for. At most 1,000.
  public var items: [BudgetMemberDocument]
  public init(items: [BudgetMemberDocument]) { self.items = items }
}
