public import FederationModel

/// The money of all projects as one state machine of values: it reads no clock, and what it changed is collected until
/// `takeChanges()`, to be written in one transaction with what caused it.
///
/// It holds after every operation, refused ones included (invariant I3 and the balance):
/// - of every hard budget reserved + spent <= granted;
/// - no member has reserved and spent more than a limit of its own;
/// - a budget's `reserved` is the sum of its reservations, and so is each member's;
/// - the entries since any moment sum up to how the budgets have changed since then, because each operation moves money by entries
///   alone.
///
/// Of a project without a budget nothing is kept.
public struct Ledger: Hashable, Sendable {
  public private(set) var budgets: [ProjectName: Budget]
  /// Of runs that are not over.
  public private(set) var reservations: [RunID: Reservation]
  /// Of what users have pinned.
  public private(set) var storage: [String: StorageHold]
  /// Of the members of projects with budgets.
  public private(set) var allowances: [Allowance.Name: Allowance]
  private var changes = LedgerChanges()
  private var changedBudgets: Set<ProjectName> = []
  private var changedReservations: Set<RunID> = []
  private var changedAllowances: Set<Allowance.Name> = []
  private var ended: Set<RunID> = []
  private var changedStorage: Set<String> = []
  private var endedStorage: Set<String> = []

  public init(
    budgets: [Budget] = [], reservations: [Reservation] = [], allowances: [Allowance] = [], storage: [StorageHold] = []
  ) {
    self.storage = Dictionary(uniqueKeysWithValues: storage.map { ($0.name, $0) })
    self.allowances = Dictionary(uniqueKeysWithValues: allowances.map { ($0.name, $0) })
    self.budgets = Dictionary(uniqueKeysWithValues: budgets.map { ($0.project, $0) })
    self.reservations = Dictionary(uniqueKeysWithValues: reservations.map { ($0.run, $0) })
  }

  // MARK: Changes

  public var hasChanges: Bool {
    !changedBudgets.isEmpty || !changedReservations.isEmpty || !changedAllowances.isEmpty || !ended.isEmpty
      || !changedStorage.isEmpty || !endedStorage.isEmpty || !changes.entries.isEmpty
  }

  /// What was changed since the last call: whole images by key, and entries in order.
  public mutating func takeChanges() -> LedgerChanges {
    var taken = changes
    taken.budgets = changedBudgets.sorted().compactMap { budgets[$0] }
    taken.reservations = changedReservations.sorted().compactMap { reservations[$0] }
    taken.allowances = changedAllowances.sorted().compactMap { allowances[$0] }
    taken.ended = ended.sorted()
    taken.storage = changedStorage.sorted().compactMap { storage[$0] }
    taken.endedStorage = endedStorage.sorted()
    changes = LedgerChanges()
    changedBudgets = []
    changedReservations = []
    changedAllowances = []
    ended = []
    changedStorage = []
    endedStorage = []
    return taken
  }

  private mutating func move(
    _ kind: LedgerEntry.Kind, _ amount: Amount, from: LedgerAccount, to: LedgerAccount, at now: Timestamp,
    run: RunID? = nil, subject: String = "", actor: String = ""
  ) {
    guard amount != .zero else { return }
    let isBack = amount < .zero
    changes.entries.append(
      LedgerEntry(
        at: now, kind: kind, from: isBack ? to : from, to: isBack ? from : to,
        amount: Amount(micros: Int64(amount.micros.magnitude)), run: run, subject: subject, actor: actor))
  }

  private func account(_ kind: LedgerAccount.Kind, _ budget: Budget) -> LedgerAccount {
    LedgerAccount(kind, budget.project.text, budget.spec.currency)
  }

  /// Gives money to what may be promised, or takes it back.
  private mutating func grant(_ amount: Amount, to project: ProjectName, at now: Timestamp, _ actor: String) {
    let budget = budgets[project]!
    move(.grant, amount, from: account(.grant, budget), to: account(.available, budget), at: now, actor: actor)
    budgets[project]!.granted += amount
    changedBudgets.insert(project)
  }

  // MARK: Budgets

  /// Declares a project's budget, or changes it. A new limit holds at once: this period's grant grows or shrinks by the difference.
  ///
  /// - Throws: `.invalidArgument`; `.failedPrecondition` where a hard budget would be below what is spent and reserved, or where the
  ///   currency would change while something is reserved.
  public mutating func set(_ spec: BudgetSpec, for project: ProjectName, at now: Timestamp, by actor: String) throws {
    if let problem = spec.problem { throw FederationError(.invalidArgument, problem) }
    if var budget = budgets[project], budget.spec.currency == spec.currency {
      let granted = min(budget.granted - budget.spec.limit + spec.limit, .max)
      let used = spec.isHard ? budget.reserved + budget.spent : .zero
      guard granted >= used else {
        throw FederationError(
          .failedPrecondition,
          "\(budget.spent) \(spec.currency) are spent and \(budget.reserved) \(spec.currency) reserved in project "
            + "\(project), and \(budget.granted) \(spec.currency) are granted: what is asked for would leave \(granted) "
            + "\(spec.currency), and must leave at least \(used); wait for runs to end, or say --soft")
      }
      if budget.spec.period != spec.period {
        (budget.periodStart, budget.periodEnd) = spec.period.bounds(containing: now)
      }
      budget.spec = spec
      let change = granted - budget.granted
      budgets[project] = budget
      changedBudgets.insert(project)
      grant(change, to: project, at: now, actor)
      budgets[project]!.alerted = reached(by: budgets[project]!)
      return
    }
    if let old = budgets[project] {
      // Also where nothing is held for them: runs that cost nothing are settled in the currency that they were placed in.
      guard !reservations.values.contains(where: { $0.project == project }) else {
        throw FederationError(
          .failedPrecondition,
          "runs of project \(project) are reserved in \(old.spec.currency): its currency can change when they have ended"
        )
      }
      guard !storage.values.contains(where: { $0.project == project }) else {
        throw FederationError(
          .failedPrecondition,
          "pinned data of project \(project) is paid for in \(old.spec.currency): unpin it before the currency changes")
      }
      guard !allowances.values.contains(where: { $0.name.project == project && $0.limit != nil }) else {
        throw FederationError(
          .failedPrecondition,
          "members of project \(project) have limits in \(old.spec.currency): take them away first, with `fubini budget "
            + "member remove`")
      }
      close(project, at: now, actor)
    }
    let (start, end) = spec.period.bounds(containing: now)
    budgets[project] = Budget(project: project, spec: spec, periodStart: start, periodEnd: end, granted: .zero)
    grant(spec.limit, to: project, at: now, actor)
    changedBudgets.insert(project)
  }

  /// Puts a period's charges away, and gives back what is left.
  private mutating func close(_ project: ProjectName, at now: Timestamp, _ actor: String) {
    let budget = budgets[project]!
    move(.close, budget.spent, from: account(.spent, budget), to: account(.closed, budget), at: now, actor: actor)
    budgets[project]!.granted -= budget.spent
    budgets[project]!.spent = .zero
    for name in allowances.keys where name.project == project && allowances[name]!.spent != .zero {
      allowances[name]!.spent = .zero
      changedAllowances.insert(name)
    }
    grant(.zero - budgets[project]!.available, to: project, at: now, actor)
  }

  /// Begins new periods where they are due.
  ///
  /// What is reserved stays reserved and is charged to the period in which its run ends, so a new period grants at least that.
  ///
  /// - Returns: the projects whose period began.
  public mutating func beginPeriods(at now: Timestamp) -> [ProjectName] {
    var begun: [ProjectName] = []
    for project in budgets.keys.sorted() {
      guard let end = budgets[project]!.periodEnd, end <= now else { continue }
      let old = budgets[project]!
      let carried = old.spec.carriesOver ? max(.zero, old.available) : .zero
      close(project, at: now, "")
      let wanted = max(min(old.spec.limit + carried, .max), old.spec.isHard ? old.reserved : .zero)
      grant(wanted - budgets[project]!.granted, to: project, at: now, "")
      (budgets[project]!.periodStart, budgets[project]!.periodEnd) = old.spec.period.bounds(containing: now)
      budgets[project]!.alerted = 0
      begun.append(project)
    }
    return begun
  }

  /// Moves money that is not promised from one project's period to another's.
  ///
  /// - Throws: `.invalidArgument`, `.failedPrecondition`, and `.budgetDenied` where there is not as much.
  public mutating func transfer(
    _ amount: Amount, from source: ProjectName, to target: ProjectName, at now: Timestamp, by actor: String
  ) throws {
    guard amount > .zero, source != target else {
      throw FederationError(.invalidArgument, "a transfer is of more than 0, from one project to another")
    }
    for project in [source, target] where budgets[project] == nil {
      throw FederationError(
        .failedPrecondition, "project \(project) has no budget; make one: fubini budget set \(project) AMOUNT CURRENCY")
    }
    let (giver, taker) = (budgets[source]!, budgets[target]!)
    guard giver.spec.currency == taker.spec.currency else {
      throw FederationError(
        .failedPrecondition,
        "the budget of \(source) is in \(giver.spec.currency), that of \(target) in \(taker.spec.currency)")
    }
    guard giver.available >= amount else {
      throw FederationError(
        .budgetDenied,
        "project \(source) has \(giver.available) \(giver.spec.currency) that are neither spent nor reserved, and \(amount) "
          + "are to be transferred")
    }
    guard taker.granted + amount <= .max else {
      throw FederationError(.invalidArgument, "a budget is at most \(Amount.max)")
    }
    budgets[source]!.granted -= amount
    budgets[target]!.granted += amount
    changedBudgets.formUnion([source, target])
    move(
      .transfer, amount, from: account(.available, giver), to: account(.available, taker), at: now, actor: actor)
  }

  /// Bounds what one member may use of each period, or no longer.
  ///
  /// - Parameter limit: nil: the budget alone bounds the member.
  /// - Throws: `.failedPrecondition` where the project has no budget, or where the member has used more; `.invalidArgument`.
  public mutating func setLimit(_ limit: Amount?, of name: Allowance.Name) throws {
    guard let budget = budgets[name.project] else {
      throw FederationError(
        .failedPrecondition,
        "project \(name.project) has no budget; make one: fubini budget set \(name.project) AMOUNT CURRENCY")
    }
    guard (1...128).contains(name.member.utf8.count) else {
      throw FederationError(.invalidArgument, "a user's name has 1 to 128 bytes")
    }
    if let limit, limit < .zero || limit > .max {
      throw FederationError(.invalidArgument, "a limit is an amount from 0 to \(Amount.max)")
    }
    var allowance = allowances[name] ?? Allowance(name: name)
    if let limit, limit < allowance.reserved + allowance.spent {
      throw FederationError(
        .failedPrecondition,
        "\(name.member) has spent \(allowance.spent) and reserved \(allowance.reserved) \(budget.spec.currency) in project "
          + "\(name.project) in this period: a limit is at least as much; wait for runs to end, or for the next period")
    }
    guard limit != nil || allowances[name] != nil else { return }
    allowance.limit = limit
    allowances[name] = allowance
    changedAllowances.insert(name)
  }

  // MARK: Runs

  /// Why a project, or one of its members, may not promise so much more; nil when it may, and where it has no budget.
  ///
  /// - Parameter member: empty: nobody's limit is asked for.
  public func refusal(of amount: Amount, for project: ProjectName, by member: String = "") -> FederationError? {
    guard let budget = budgets[project] else { return nil }
    // Far above any real sum; below it nothing overflows.
    guard budget.reserved + budget.spent <= .max else {
      return FederationError(.budgetDenied, "project \(project) has reserved more than the ledger can count")
    }
    if budget.spec.isHard, budget.available < amount { return Self.denial(of: amount, budget) }
    guard let allowance = allowances[Allowance.Name(project, member)], let left = allowance.available, left < amount
    else { return nil }
    return Self.denial(of: amount, allowance, budget)
  }

  /// Says what a member lacks, and who can grant it.
  public static func denial(of amount: Amount, _ allowance: Allowance, _ budget: Budget) -> FederationError {
    let (name, currency) = (allowance.name, budget.spec.currency)
    return FederationError(
      .budgetDenied,
      "\(name.member) has \(max(.zero, allowance.available ?? .zero)) \(currency) left of the \(allowance.limit ?? .zero) "
        + "\(currency) that project \(name.project) grants each period (\(allowance.reserved) reserved, \(allowance.spent) "
        + "spent), and \(amount) \(currency) are needed: an administrator can grant more with `fubini budget member set "
        + "\(name.project) \(name.member) AMOUNT`")
  }

  /// Says what is missing, and who can grant it.
  public static func denial(of amount: Amount, _ budget: Budget) -> FederationError {
    let currency = budget.spec.currency
    let next = budget.periodEnd.map { "; the next period begins \(CivilTime($0).date)" } ?? ""
    return FederationError(
      .budgetDenied,
      "project \(budget.project) has \(max(.zero, budget.available)) \(currency) left of \(budget.granted) \(currency) "
        + "(\(budget.reserved) reserved, \(budget.spent) spent), and \(amount) \(currency) are needed: an administrator can "
        + "grant more with `fubini budget set \(budget.project) AMOUNT \(currency)` or `fubini budget transfer`\(next)")
  }

  /// Holds the most that a run can cost in its first slice. Nothing happens where the project has no budget.
  ///
  /// - Parameters:
  ///   - bound: how long the run may take at most.
  ///   - slice: how much of that `amount` pays for; nil: all of it.
  /// - Throws: `.budgetDenied`; nothing has changed then.
  public mutating func reserve(
    _ amount: Amount, for run: RunID, of project: ProjectName, by member: String = "", bound: Duration,
    slice: Duration? = nil, at now: Timestamp
  ) throws {
    guard let budget = budgets[project] else { return }
    if let refusal = refusal(of: amount, for: project, by: member) { throw refusal }
    precondition(reservations[run] == nil, "a run is reserved for once")
    reservations[run] = Reservation(
      run: run, project: project, member: member, currency: budget.spec.currency, amount: amount, bound: bound,
      slice: slice)
    changedReservations.insert(run)
    hold(amount, .reserve, of: Allowance.Name(project, member), at: now, run: run)
  }

  /// Notes when a run may have begun to run, from which its slice counts. Nothing happens where the first slice is all.
  public mutating func began(_ run: RunID, at moment: Timestamp) {
    guard let reservation = reservations[run], reservation.isRenewable, reservation.since == nil else { return }
    reservations[run]!.since = moment
    changedReservations.insert(run)
  }

  /// A run goes on at a moment at which its slice seemed to be over: it began later than was noted.
  public mutating func goesOn(_ run: RunID, at now: Timestamp) {
    guard let reservation = reservations[run], let since = reservation.since else { return }
    let earliest = now + (.zero - reservation.slice)
    guard earliest > since else { return }
    reservations[run]!.since = earliest
    changedReservations.insert(run)
  }

  /// Holds more for a run that is to go on.
  ///
  /// - Parameter slice: how long the run may take with what is held then; never shorter than before, at most its bound.
  /// - Throws: `.budgetDenied`, `.notFound`; nothing has changed then.
  public mutating func extend(_ run: RunID, by amount: Amount, to slice: Duration, at now: Timestamp) throws {
    guard let reservation = reservations[run] else {
      throw FederationError(.notFound, "nothing is reserved for the run")
    }
    if let refusal = refusal(of: amount, for: reservation.project, by: reservation.member) { throw refusal }
    reservations[run]!.amount += amount
    reservations[run]!.slice = max(reservation.slice, min(slice, reservation.bound))
    changedReservations.insert(run)
    hold(amount, .extend, of: Allowance.Name(reservation.project, reservation.member), at: now, run: run)
  }

  private mutating func hold(
    _ amount: Amount, _ kind: LedgerEntry.Kind, of name: Allowance.Name, at now: Timestamp, run: RunID? = nil,
    subject: String = ""
  ) {
    let budget = budgets[name.project]!
    budgets[name.project]!.reserved += amount
    changedBudgets.insert(name.project)
    if !name.member.isEmpty {
      allowances[name, default: Allowance(name: name)].reserved += amount
      changedAllowances.insert(name)
    }
    move(
      kind, amount, from: account(.available, budget), to: account(.reserved, budget), at: now, run: run,
      subject: subject)
  }

  /// A run is over: what it used is charged, at most what was reserved, and the rest comes back. What it used beyond is borne by
  /// its cluster's operator.
  ///
  /// - Parameter used: zero for a run of which nothing was metered.
  /// - Returns: what is charged; nil when nothing was reserved for the run: its project had no budget when it was placed, or it was
  ///   settled before.
  public mutating func settle(_ run: RunID, used: Amount, on cluster: ClusterName, at now: Timestamp) -> Settlement? {
    guard let reservation = reservations.removeValue(forKey: run), let budget = budgets[reservation.project] else {
      return nil
    }
    changedReservations.remove(run)
    ended.insert(run)
    let charged = max(.zero, min(used, reservation.amount))
    charge(charged, of: reservation.amount, Allowance.Name(budget.project, reservation.member), at: now, run: run)
    move(
      .overrun, max(.zero, used - charged), from: LedgerAccount(.bearer, cluster.text, budget.spec.currency),
      to: LedgerAccount(.overrun, cluster.text, budget.spec.currency), at: now, run: run)
    return Settlement(charged: charged, alert: alert(of: budget.project))
  }

  /// Charges a part of what is held, and gives back the rest.
  private mutating func charge(
    _ charged: Amount, of held: Amount, _ name: Allowance.Name, at now: Timestamp, run: RunID? = nil,
    subject: String = ""
  ) {
    let budget = budgets[name.project]!
    let reserved = account(.reserved, budget)
    move(.charge, charged, from: reserved, to: account(.spent, budget), at: now, run: run, subject: subject)
    move(
      .refund, held - charged, from: reserved, to: account(.available, budget), at: now, run: run, subject: subject)
    budgets[name.project]!.reserved -= held
    budgets[name.project]!.spent += charged
    changedBudgets.insert(name.project)
    guard allowances[name] != nil else { return }
    allowances[name]!.reserved -= held
    allowances[name]!.spent += charged
    changedAllowances.insert(name)
  }

  // MARK: Storage

  /// Holds the money for keeping something for a while. Nothing happens where the project has no budget.
  ///
  /// - Throws: `.budgetDenied`; nothing has changed then.
  public mutating func keep(_ hold: StorageHold, at now: Timestamp) throws {
    guard let budget = budgets[hold.project] else { return }
    if let refusal = refusal(of: hold.amount, for: hold.project, by: hold.member) { throw refusal }
    precondition(storage[hold.name] == nil, "what is kept is held for once")
    precondition(hold.currency == budget.spec.currency, "a budget holds its own currency")
    storage[hold.name] = hold
    changedStorage.insert(hold.name)
    endedStorage.remove(hold.name)
    self.hold(
      hold.amount, .reserve, of: Allowance.Name(hold.project, hold.member), at: now, subject: hold.name)
  }

  /// Something is not kept any more, or its while is over: what was used is charged, and the rest comes back.
  ///
  /// - Returns: what is charged; nil when nothing was held.
  public mutating func release(_ name: String, at now: Timestamp) -> Settlement? {
    guard let hold = storage.removeValue(forKey: name), budgets[hold.project] != nil else { return nil }
    changedStorage.remove(name)
    endedStorage.insert(name)
    let charged = hold.used(at: now)
    charge(charged, of: hold.amount, Allowance.Name(hold.project, hold.member), at: now, subject: name)
    return Settlement(charged: charged, alert: alert(of: hold.project))
  }

  /// The alert that spending has just reached.
  private mutating func alert(of project: ProjectName) -> Int? {
    let reached = reached(by: budgets[project]!)
    guard reached > budgets[project]!.alerted else { return nil }
    budgets[project]!.alerted = reached
    return reached
  }

  /// The greatest of a budget's alerts that its spending has reached; 0: none.
  private func reached(by budget: Budget) -> Int {
    guard budget.spent > .zero else { return 0 }
    return budget.spec.alerts.last { percentage in
      Double(budget.spent.micros) * 100 >= Double(budget.granted.micros) * Double(percentage)
    } ?? 0
  }

  // MARK: Proof

  /// What does not hold, for tests and for whoever verifies the books; nil when all does. O(budgets + reservations).
  public var violation: String? {
    var held: [ProjectName: Amount] = [:]
    var byMember: [Allowance.Name: Amount] = [:]
    for reservation in reservations.values {
      guard let budget = budgets[reservation.project], budget.spec.currency == reservation.currency else {
        return "a reservation of project \(reservation.project) has no budget in \(reservation.currency)"
      }
      held[reservation.project, default: .zero] += reservation.amount
      if !reservation.member.isEmpty {
        byMember[Allowance.Name(reservation.project, reservation.member), default: .zero] += reservation.amount
      }
    }
    for hold in storage.values {
      guard let budget = budgets[hold.project], budget.spec.currency == hold.currency else {
        return "what project \(hold.project) keeps has no budget in \(hold.currency)"
      }
      held[hold.project, default: .zero] += hold.amount
      if !hold.member.isEmpty { byMember[Allowance.Name(hold.project, hold.member), default: .zero] += hold.amount }
    }
    for (name, allowance) in allowances {
      guard allowance.reserved == byMember.removeValue(forKey: name) ?? .zero, allowance.available ?? .zero >= .zero
      else {
        return
          "\(name.member) in project \(name.project): \(allowance.reserved) reserved and \(allowance.spent) spent of "
          + "\(allowance.limit.map { "\($0)" } ?? "no limit")"
      }
    }
    if let name = byMember.keys.first {
      return "\(name.member) in project \(name.project) has reservations and no allowance"
    }
    for (project, budget) in budgets {
      guard budget.reserved == held[project] ?? .zero else {
        return "project \(project): \(budget.reserved) reserved, its reservations are \(held[project] ?? .zero)"
      }
      guard budget.spent >= .zero, !budget.spec.isHard || budget.available >= .zero else {
        return "project \(project): \(budget.reserved) reserved and \(budget.spent) spent of \(budget.granted)"
      }
    }
    return nil
  }
}

/// What a run was charged at its end.
public struct Settlement: Hashable, Sendable {
  public var charged: Amount
  /// The percentage of the budget that spending has reached with it, where an alert stands there.
  public var alert: Int?
  public init(charged: Amount, alert: Int? = nil) {
    self.charged = charged
    self.alert = alert
  }
}

/// What one unit writes of the ledger.
public struct LedgerChanges: Hashable, Sendable {
  public var budgets: [Budget] = []
  public var reservations: [Reservation] = []
  public var allowances: [Allowance] = []
  /// Runs whose reservations are over.
  public var ended: [RunID] = []
  public var storage: [StorageHold] = []
  /// What is not kept any more, by name.
  public var endedStorage: [String] = []
  /// In the order in which they were made.
  public var entries: [LedgerEntry] = []
  public init() {}
  public var isEmpty: Bool {
    budgets.isEmpty && reservations.isEmpty && allowances.isEmpty && ended.isEmpty && entries.isEmpty
      && storage.isEmpty && endedStorage.isEmpty
  }
}
