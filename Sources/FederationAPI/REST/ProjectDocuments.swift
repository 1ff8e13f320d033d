public import FederationModel

/// The body of `POST /v1/projects` and, without a name, of `PUT /v1/projects/{project}`.
public struct ProjectRequest: Hashable, Sendable, Codable {
  public var name: String?
  public var description: String?
  /// Of `POST` alone: its part of what is shared, compared with the other projects'; nil: 1.
  public var weight: Double?
  /// Of `POST` alone: whose it is; nil: the only organisation in which the caller may make one, else the federation's own.
  public var organisation: String?
  public init(
    name: String? = nil, description: String? = nil, weight: Double? = nil, organisation: String? = nil
  ) {
    self.organisation = organisation
    self.weight = weight
    self.name = name
    self.description = description
  }
}

public struct ProjectDocument: Hashable, Sendable, Codable {
  public var name: String
  public var description: String
  public var createdAt: WireTime
  /// Since then it takes nothing new; nil: it is in use.
  public var archivedAt: WireTime?
  /// nil: what it may spend is not limited, and nothing is held for its runs.
  public var budget: BudgetDocument?
  /// Its part of what is shared, compared with the other projects'; nil from an older control plane.
  public var weight: Double?
  /// Whose it is; nil from an older control plane.
  public var organisation: String?
  public init(
    name: String, description: String, createdAt: WireTime, archivedAt: WireTime?, budget: BudgetDocument?,
    weight: Double? = nil, organisation: String? = nil
  ) {
    self.organisation = organisation
    self.weight = weight
    self.name = name
    self.description = description
    self.createdAt = createdAt
    self.archivedAt = archivedAt
    self.budget = budget
  }
}

public struct ProjectList: Hashable, Sendable, Codable {
  /// By name.
  public var items: [ProjectDocument]
  public init(items: [ProjectDocument]) { self.items = items }
}

/// The body of `PUT /v1/projects/{project}/budget`. What is left out stays as it was; of a new budget: monthly, hard, no alerts, deny,
/// no carry-over, a day.
public struct BudgetRequest: Hashable, Sendable, Codable {
  /// With at most six decimals: `5000`, `0.5`.
  public var amount: String
  public var currency: String
  public var period: BudgetPeriod?
  public var hard: Bool?
  /// Ascending percentages.
  public var alerts: [Int]?
  public var onExhausted: ExhaustionPolicy?
  public var carryOver: Bool?
  /// Bounds runs whose authors give no limit.
  public var defaultWalltimeSeconds: Int64?
  /// How much of a run's time is held at once, and each time that it is renewed.
  public var sliceSeconds: Int64?
  public init(
    amount: String, currency: String, period: BudgetPeriod? = nil, hard: Bool? = nil, alerts: [Int]? = nil,
    onExhausted: ExhaustionPolicy? = nil, carryOver: Bool? = nil, defaultWalltimeSeconds: Int64? = nil,
    sliceSeconds: Int64? = nil
  ) {
    self.sliceSeconds = sliceSeconds
    self.amount = amount
    self.currency = currency
    self.period = period
    self.hard = hard
    self.alerts = alerts
    self.onExhausted = onExhausted
    self.carryOver = carryOver
    self.defaultWalltimeSeconds = defaultWalltimeSeconds
  }
}

/// A project's budget in its current period.
public struct BudgetDocument: Hashable, Sendable, Codable {
  public var project: String
  /// What each period is granted.
  public var limit: MoneyDocument
  public var period: BudgetPeriod
  public var hard: Bool
  public var alerts: [Int]
  public var onExhausted: ExhaustionPolicy
  public var carryOver: Bool
  public var defaultWalltimeSeconds: Int64
  /// How much of a run's time is held at once, and each time that it is renewed; absent from earlier releases.
  public var sliceSeconds: Int64?
  public var periodStart: WireTime
  /// The first moment of the next period; nil: there is none.
  public var periodEnd: WireTime?
  /// In this period: the limit, what was carried over, and what was transferred.
  public var granted: MoneyDocument
  /// Held for runs that are not over.
  public var reserved: MoneyDocument
  /// Charged for runs that are over.
  public var spent: MoneyDocument
  /// What may still be promised; below 0 only for a soft budget.
  public var available: MoneyDocument
  /// The greatest of the alerts that spending has reached; 0: none.
  public var alerted: Int
  /// When it ends at the rate at which this period's money was spent so far; nil: not within the period.
  public var exhaustedAt: WireTime?
  public init(
    project: String, limit: MoneyDocument, period: BudgetPeriod, hard: Bool, alerts: [Int],
    onExhausted: ExhaustionPolicy, carryOver: Bool, defaultWalltimeSeconds: Int64, periodStart: WireTime,
    periodEnd: WireTime?, granted: MoneyDocument, reserved: MoneyDocument, spent: MoneyDocument,
    available: MoneyDocument, alerted: Int, exhaustedAt: WireTime?, sliceSeconds: Int64? = nil
  ) {
    self.sliceSeconds = sliceSeconds
    self.project = project
    self.limit = limit
    self.period = period
    self.hard = hard
    self.alerts = alerts
    self.onExhausted = onExhausted
    self.carryOver = carryOver
    self.defaultWalltimeSeconds = defaultWalltimeSeconds
    self.periodStart = periodStart
    self.periodEnd = periodEnd
    self.granted = granted
    self.reserved = reserved
    self.spent = spent
    self.available = available
    self.alerted = alerted
    self.exhaustedAt = exhaustedAt
  }
}

public struct BudgetList: Hashable, Sendable, Codable {
  /// By project; those without a budget are not there.
  public var items: [BudgetDocument]
  public init(items: [BudgetDocument]) { self.items = items }
}

/// The body of `POST /v1/projects/{project}/budget/transfer`.
public struct BudgetTransferRequest: Hashable, Sendable, Codable {
  /// In the budgets' currency.
  public var amount: String
  /// The project that gets it.
  public var to: String
  public init(amount: String, to: String) {
    self.amount = amount
    self.to = to
  }
}

/// One movement of money.
public struct LedgerEntryDocument: Hashable, Sendable, Codable {
  public var sequence: Int64
  public var at: WireTime
  /// grant, reserve, extend, refund, charge, transfer, close, overrun.
  public var kind: String
  /// `kind/owner/currency`.
  public var from: String
  public var to: String
  public var amount: MoneyDocument
  /// 16 hexadecimal digits; nil where no run is concerned.
  public var run: String?
  /// The pinned data that it was for; nil: none.
  public var subject: String?
  /// Empty for what follows by itself.
  public var actor: String
  public init(
    sequence: Int64, at: WireTime, kind: String, from: String, to: String, amount: MoneyDocument, run: String?,
    subject: String? = nil, actor: String
  ) {
    self.subject = subject
    self.sequence = sequence
    self.at = at
    self.kind = kind
    self.from = from
    self.to = to
    self.amount = amount
    self.run = run
    self.actor = actor
  }
}

public struct LedgerHistory: Hashable, Sendable, Codable {
  /// The newest first.
  public var items: [LedgerEntryDocument]
  /// Pass as `continue` for the next page; nil: there is none.
  public var next: String?
  public init(items: [LedgerEntryDocument], next: String?) {
    self.items = items
    self.next = next
  }
}

/// What one run of a workflow cost.
public struct RunCostDocument: Hashable, Sendable, Codable {
  public var node: String
  /// 16 hexadecimal digits.
  public var run: String
  /// The attempt's number, from 1.
  public var epoch: Int32
  public var cluster: String
  public var phase: String
  public var wallSeconds: Double
  public var bytesIn: Int64
  /// The prices that it was quoted when it was placed; nil: its cluster had none.
  public var quote: PriceSheet?
  /// What clusters charge for what they send for it; nil: nothing.
  public var egress: [EgressCostDocument]?
  /// Settled when it ended; nil before.
  public var charge: MoneyDocument?
  /// On spot capacity, at the spot price of its placement; nil: it was not.
  public var spot: Bool?
  public init(
    node: String, run: String, epoch: Int32, cluster: String, phase: String, wallSeconds: Double, bytesIn: Int64,
    quote: PriceSheet?, egress: [EgressCostDocument]? = nil, charge: MoneyDocument?, spot: Bool? = nil
  ) {
    self.spot = spot
    self.egress = egress
    self.node = node
    self.run = run
    self.epoch = epoch
    self.cluster = cluster
    self.phase = phase
    self.wallSeconds = wallSeconds
    self.bytesIn = bytesIn
    self.quote = quote
    self.charge = charge
  }
}

/// What one cluster charges for the bytes that it sends for a run. Together they cost at most what was planned.
public struct EgressCostDocument: Hashable, Sendable, Codable {
  /// The cluster that the bytes leave.
  public var source: String
  /// Minor units for a GiB, in the currency of the run's quote.
  public var gibibyte: Double
  /// As the placement meant; 0 for a source that it did not plan.
  public var plannedBytes: Int64
  /// What came; nil until the run is over.
  public var movedBytes: Int64?
  public init(source: String, gibibyte: Double, plannedBytes: Int64, movedBytes: Int64?) {
    self.source = source
    self.gibibyte = gibibyte
    self.plannedBytes = plannedBytes
    self.movedBytes = movedBytes
  }
}

public struct CostDocument: Hashable, Sendable, Codable {
  /// By node and attempt.
  public var items: [RunCostDocument]
  /// Of all runs, by currency.
  public var total: [MoneyDocument]
  /// Pass as `continue` for the next page; nil: there is none.
  public var next: String?
  public init(items: [RunCostDocument], total: [MoneyDocument], next: String?) {
    self.items = items
    self.total = total
    self.next = next
  }
}

/// What `fubini ledger verify` found.
public struct LedgerVerification: Hashable, Sendable, Codable {
  public var entries: Int64
  public var budgets: Int
  public var reservations: Int
  /// What does not agree, for people; empty when everything does.
  public var differences: [String]
  public init(entries: Int64, budgets: Int, reservations: Int, differences: [String]) {
    self.entries = entries
    self.budgets = budgets
    self.reservations = reservations
    self.differences = differences
  }
}

/// What the runs of one group have used that ended in a time.
public struct UsageDocument: Hashable, Sendable, Codable {
  /// The project, user, cluster, template, or value of a label.
  public var name: String
  public var runs: Int64
  public var coreSeconds: Double
  public var gpuSeconds: Double
  public var bytesIn: Int64
  /// nil: nothing had a price.
  public var charge: MoneyDocument?
  public init(
    name: String, runs: Int64, coreSeconds: Double, gpuSeconds: Double, bytesIn: Int64, charge: MoneyDocument?
  ) {
    self.name = name
    self.runs = runs
    self.coreSeconds = coreSeconds
    self.gpuSeconds = gpuSeconds
    self.bytesIn = bytesIn
    self.charge = charge
  }
}

public struct UsageList: Hashable, Sendable, Codable {
  /// By name; a name with several currencies has a line for each. At most 1,000 lines.
  public var items: [UsageDocument]
  /// There are more lines than these.
  public var isTruncated: Bool
  public init(items: [UsageDocument], isTruncated: Bool) {
    self.items = items
    self.isTruncated = isTruncated
  }
}
