public import FederationModel

/// A project's budget in its current period. A value of the durable state; its key is `project`.
public struct Budget: Hashable, Sendable {
  public var project: ProjectName
  public var spec: BudgetSpec
  public var periodStart: Timestamp
  /// The first moment of the next period; nil: there is none.
  public var periodEnd: Timestamp?
  /// The limit, what was carried over, and what was transferred here less what was transferred away.
  public var granted: Amount
  /// Held for runs that are not over.
  public var reserved: Amount
  /// Charged in this period.
  public var spent: Amount
  /// The greatest of the alerts that spending has reached in this period; 0: none.
  public var alerted: Int

  public init(
    project: ProjectName, spec: BudgetSpec, periodStart: Timestamp, periodEnd: Timestamp?, granted: Amount,
    reserved: Amount = .zero, spent: Amount = .zero, alerted: Int = 0
  ) {
    self.project = project
    self.spec = spec
    self.periodStart = periodStart
    self.periodEnd = periodEnd
    self.granted = granted
    self.reserved = reserved
    self.spent = spent
    self.alerted = alerted
  }

  /// What may still be promised; negative only for a soft budget.
  public var available: Amount { granted - reserved - spent }

  /// What could be promised at most if all that is reserved came back.
  public var unspent: Amount { granted - spent }
}

/// What one member of a project has used of its budget in the current period, and may at most. Kept of everybody whose runs the budget
/// pays for, so that a limit counts what was used before it was set.
public struct Allowance: Hashable, Sendable {
  public struct Name: Hashable, Comparable, Sendable {
    public var project: ProjectName
    /// A user's name.
    public var member: String
    public init(_ project: ProjectName, _ member: String) {
      self.project = project
      self.member = member
    }
    public static func < (a: Self, b: Self) -> Bool { (a.project, a.member) < (b.project, b.member) }
  }
  public var name: Name
  /// For each period, whether the budget is hard or soft; nil: the budget alone bounds the member.
  public var limit: Amount?
  public var reserved: Amount
  public var spent: Amount

  public init(name: Name, limit: Amount? = nil, reserved: Amount = .zero, spent: Amount = .zero) {
    self.name = name
    self.limit = limit
    self.reserved = reserved
    self.spent = spent
  }

  /// What may still be promised; nil: as much as the budget has.
  public var available: Amount? { limit.map { $0 - reserved - spent } }
}

/// Money held for one run until it is over: for what may be charged once, and for a slice of its running time, which is renewed as
/// long as it runs and its bound allows. Its key is `run`.
public struct Reservation: Hashable, Sendable {
  public var run: RunID
  public var project: ProjectName
  /// Whose run it is; empty: of a release that did not ask.
  public var member: String
  public var currency: String
  public var amount: Amount
  /// How long the run may take at most, since its start.
  public var bound: Duration
  /// How much of that is held: enforced beside the run, so that it cannot outspend `amount` while nobody hears of it. At most `bound`.
  public var slice: Duration
  /// The earliest moment at which it may have begun to run; nil before, and where the first slice is all.
  public var since: Timestamp?

  public init(
    run: RunID, project: ProjectName, member: String, currency: String, amount: Amount, bound: Duration,
    slice: Duration? = nil, since: Timestamp? = nil
  ) {
    self.slice = slice.map { min($0, bound) } ?? bound
    self.since = since
    self.run = run
    self.project = project
    self.member = member
    self.currency = currency
    self.amount = amount
    self.bound = bound
  }

  /// Whether it may run longer than what is held for it.
  public var isRenewable: Bool { slice < bound }

  /// The earliest moment at which its slice may be over; nil before it runs.
  public var sliceEnd: Timestamp? { since.map { $0 + slice } }
}

/// Money held for a replica that a user has pinned: for a while ahead, after which it is charged, and held anew. Its key is `name`.
public struct StorageHold: Hashable, Sendable {
  /// What is kept and where, as the ledger's entries show it.
  public var name: String
  public var project: ProjectName
  /// Whose pin it is; empty: of nobody who is known.
  public var member: String
  public var currency: String
  /// For all of `from..<until`.
  public var amount: Amount
  public var from: Timestamp
  public var until: Timestamp

  public init(
    name: String, project: ProjectName, member: String, currency: String, amount: Amount, from: Timestamp,
    until: Timestamp
  ) {
    self.name = name
    self.project = project
    self.member = member
    self.currency = currency
    self.amount = amount
    self.from = from
    self.until = until
  }

  /// What has been used of it by `now`: as much of the amount as has passed of its time, rounded down.
  public func used(at now: Timestamp) -> Amount {
    let (whole, passed) = ((until - from).seconds, (now - from).seconds)
    guard whole > 0, passed < whole else { return amount }
    return Amount(micros: min(amount.micros, max(0, Int64(Double(amount.micros) * passed / whole))))
  }
}

/// One movement of money: from one account to another, so that the sum of all balances is always 0. Never changed.
public struct LedgerEntry: Hashable, Sendable {
  public enum Kind: String, Hashable, Sendable, Codable, CaseIterable {
    /// A period's money comes, or what is left of it goes.
    case grant
    case reserve, extend, refund, charge, transfer
    /// A period's charges are put away at its end.
    case close
    /// What a run used beyond its reservation: its cluster's operator bears it.
    case overrun
  }

  public var at: Timestamp
  public var kind: Kind
  /// The money leaves this account,
  public var from: LedgerAccount
  /// and comes to this one.
  public var to: LedgerAccount
  /// More than 0.
  public var amount: Amount
  /// nil where no run is concerned.
  public var run: RunID?
  /// What is kept, where that is concerned; empty elsewhere.
  public var subject: String
  /// The user who asked for it; empty for what follows by itself.
  public var actor: String

  public init(
    at: Timestamp, kind: Kind, from: LedgerAccount, to: LedgerAccount, amount: Amount, run: RunID? = nil,
    subject: String = "", actor: String = ""
  ) {
    self.subject = subject
    self.at = at
    self.kind = kind
    self.from = from
    self.to = to
    self.amount = amount
    self.run = run
    self.actor = actor
  }
}

/// One side of a ledger entry.
public struct LedgerAccount: Hashable, Sendable {
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    /// Where a project's money comes from; its balance is what was ever granted, below 0.
    case grant
    /// What a project may promise.
    case available
    /// What is held for a project's runs.
    case reserved
    /// What a project has spent in its current period, and
    case spent
    /// in those that are over.
    case closed
    /// What runs used on a cluster beyond their reservations, and
    case overrun
    /// who bears it.
    case bearer
  }
  public var kind: Kind
  /// A project; of `overrun` and `bearer` a cluster.
  public var owner: String
  public var currency: String
  public init(_ kind: Kind, _ owner: String, _ currency: String) {
    self.kind = kind
    self.owner = owner
    self.currency = currency
  }
}
