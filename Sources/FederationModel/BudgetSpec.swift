/// What an administrator declares about a project's budget.
public struct BudgetSpec: Hashable, Sendable, Codable {
  /// Granted anew for each period.
  public var limit: Amount
  /// ISO 4217, upper case. A budget has one: clusters without a price in it take nothing of the project.
  public var currency: String
  public var period: BudgetPeriod
  /// A hard budget holds reserved + spent <= granted at every commit (invariant I3). A soft one warns and goes on.
  public var isHard: Bool
  /// Percentages of what is granted; an event tells when spending has reached one. Ascending.
  public var alerts: [Int]
  public var onExhausted: ExhaustionPolicy
  /// What a period leaves is added to the next one.
  public var carriesOver: Bool
  /// The bound of runs whose author gives neither `walltime` nor `activeDeadlineSeconds`; enforced beside the run.
  public var defaultWalltime: Duration
  /// How much of a run's time is held at once, and each time that it is renewed. A run whose bound is no longer is held whole; so are
  /// all runs with a slice that no bound exceeds.
  public var slice: Duration

  public init(
    limit: Amount, currency: String, period: BudgetPeriod = .monthly, isHard: Bool = true, alerts: [Int] = [],
    onExhausted: ExhaustionPolicy = .deny, carriesOver: Bool = false, defaultWalltime: Duration = .seconds(86_400),
    slice: Duration = .seconds(3600)
  ) {
    self.slice = slice
    self.limit = limit
    self.currency = currency
    self.period = period
    self.isHard = isHard
    self.alerts = alerts
    self.onExhausted = onExhausted
    self.carriesOver = carriesOver
    self.defaultWalltime = defaultWalltime
  }

  /// What is wrong with it, for whoever wrote it; nil when nothing is.
  public var problem: String? {
    if let problem = Money.problem(ofCurrency: currency) { return problem }
    guard limit >= .zero, limit <= .max else { return "a budget is an amount from 0 to \(Amount.max)" }
    guard alerts.count <= 10, alerts.allSatisfy({ (1...1000).contains($0) }), alerts == alerts.sorted(),
      Set(alerts).count == alerts.count
    else { return "alerts are at most 10 ascending percentages from 1 to 1000, like 50,80,100" }
    guard defaultWalltime >= .seconds(60), defaultWalltime <= .seconds(366 * 86_400) else {
      return "the default walltime is from a minute to 366 days"
    }
    guard slice >= .seconds(10), slice <= .seconds(366 * 86_400) else {
      return "the slice is from 10 seconds to 366 days"
    }
    return nil
  }
}

/// What `budget set` says: a limit, and of the rest what is to be another than before.
public struct BudgetChange: Hashable, Sendable, Codable {
  public var limit: Amount
  public var currency: String
  public var period: BudgetPeriod?
  public var isHard: Bool?
  public var alerts: [Int]?
  public var onExhausted: ExhaustionPolicy?
  public var carriesOver: Bool?
  public var defaultWalltime: Duration?
  public var slice: Duration?

  public init(
    limit: Amount, currency: String, period: BudgetPeriod? = nil, isHard: Bool? = nil, alerts: [Int]? = nil,
    onExhausted: ExhaustionPolicy? = nil, carriesOver: Bool? = nil, defaultWalltime: Duration? = nil,
    slice: Duration? = nil
  ) {
    self.slice = slice
    self.limit = limit
    self.currency = currency
    self.period = period
    self.isHard = isHard
    self.alerts = alerts
    self.onExhausted = onExhausted
    self.carriesOver = carriesOver
    self.defaultWalltime = defaultWalltime
  }

  /// - Parameter before: nil: the project has none yet.
  public func applied(to before: BudgetSpec?) -> BudgetSpec {
    var spec = before ?? BudgetSpec(limit: limit, currency: currency)
    spec.limit = limit
    spec.currency = currency
    if let period { spec.period = period }
    if let isHard { spec.isHard = isHard }
    if let alerts { spec.alerts = alerts }
    if let onExhausted { spec.onExhausted = onExhausted }
    if let carriesOver { spec.carriesOver = carriesOver }
    if let defaultWalltime { spec.defaultWalltime = defaultWalltime }
    if let slice { spec.slice = slice }
    return spec
  }
}

/// How often a budget is granted anew.
public enum BudgetPeriod: String, Hashable, Sendable, Codable, CaseIterable {
  case monthly, quarterly, once

  /// The calendar month or quarter, in UTC, that a moment lies in.
  ///
  /// - Returns: its beginning, and the first moment after it; nil: it has no end.
  public func bounds(containing moment: Timestamp) -> (start: Timestamp, end: Timestamp?) {
    let time = CivilTime(moment)
    let months: Int64
    switch self {
    case .monthly: months = 1
    case .quarterly: months = 3
    case .once: return (moment, nil)
    }
    let first = (time.month - 1) / months * months + 1
    func beginning(_ month: Int64) -> Timestamp {
      let (year, month) = month > 12 ? (time.year + 1, month - 12) : (time.year, month)
      return Timestamp(milliseconds: CivilTime.days(year: year, month: month, day: 1) * 86_400_000)
    }
    return (beginning(first), beginning(first + months))
  }
}

/// What happens when a hard budget has nothing left. What runs is reserved already, so that nothing overspends in any case.
public enum ExhaustionPolicy: String, Hashable, Sendable, Codable, CaseIterable {
  /// New workflows are refused.
  case deny
  /// New workflows are taken, and wait.
  case drain
  /// New workflows are refused, and those are stopped of which a task may cost more than all that is left, even if everything came
  /// back that is reserved: they would wait for a new period or for an administrator.
  case stop
}
