import FederationModel
import LedgerCore
import SchedulerCore
import WorkflowCore

/// What a placement costs its project at most: held from the unit that writes the placement until the run is over.
enum Hold: Hashable, Sendable {
  /// The project has no budget.
  case nothing
  /// - Parameters:
  ///   - bound: how long the run may take.
  ///   - slice: how much of that the amount pays for.
  case amount(Amount, bound: Duration, slice: Duration)
  /// There is not as much, or the cluster has no price in the budget's currency any more.
  case refused
}

/// Projects, and what they may spend (invariant I3; ADR 0016).
extension ControlPlaneCore {
  // MARK: Commands

  mutating func perform(_ command: ProjectCommand, on name: ProjectName, _ principal: Principal) throws -> Reply {
    if case .create(let description, let weight, let organisation) = command {
      let weight = try Self.checked(weight: weight)
      try require(organisation)
      try create(name, description)
      (projects[name]!.weight, projects[name]!.organisation) = (weight, organisation)
      let place = organisation == .federation ? [] : ["organisation \(organisation)"]
      note(
        principal, "project.create", name.text,
        (place + (weight == 1 ? [] : ["weight \(weight)"])).joined(separator: ", "))
      return .project(name)
    }
    let project = try project(name)
    switch command {
    case .create: break
    case .describe(let text):
      projects[name]!.description = try Self.checked(text)
      output.projects.insert(name)
      note(principal, "project.update", name.text)
    case .setWeight(let weight):
      try setWeight(weight, of: name)
      note(principal, "project.weight", name.text, "\(weight)")
    case .archive(let isArchived):
      guard !isArchived || name != Self.defaultProject else {
        throw FederationError(.failedPrecondition, "project \(name) is where work goes that names none: it stays")
      }
      projects[name]!.archivedAt = isArchived ? project.archivedAt ?? now : nil
      output.projects.insert(name)
      note(principal, isArchived ? "project.archive" : "project.restore", name.text)
    case .setLimits(let limits): try setLimits(limits, of: name, principal)
    case .setBudget(let change):
      let spec = change.applied(to: ledger.budgets[name]?.spec)
      try checkGrant(of: name, for: spec)
      try ledger.set(spec, for: name, at: now, by: principal.user)
      wantsPlacement = true
      note(
        principal, "budget.set", name.text,
        "\(spec.limit) \(spec.currency) \(spec.period.rawValue) \(spec.isHard ? "hard" : "soft")")
    case .transferBudget(let amount, let target):
      guard try self.project(target).organisation == project.organisation else {
        throw FederationError(
          .failedPrecondition,
          "projects \(name) and \(target) are of different organisations: money moves within one alone")
      }
      try ledger.transfer(amount, from: name, to: target, at: now, by: principal.user)
      wantsPlacement = true
      note(principal, "budget.transfer", name.text, "\(amount) to \(target)")
    case .setSemaphores(let map, let limits, let change):
      try setSemaphores(of: map, limits, as: change, name, principal)
    case .keepMemos(let map, let entries): try keepMemos(of: map, entries, name, principal)
    case .setSemaphore(let key, let limit): try setSemaphore(key, limit, name, principal)
    case .limitMember(let member, let limit):
      try ledger.setLimit(limit, of: Allowance.Name(name, member))
      wantsPlacement = true
      note(principal, "budget.member", "\(name)/\(member)", limit.map { "\($0)" } ?? "no limit")
    }
    return .project(name)
  }

  static let defaultProject: ProjectName = "default"
  private static let descriptionBytesMax = 1000

  private mutating func create(_ name: ProjectName, _ description: String) throws {
    guard name.isDNSLabel else {
      throw FederationError(
        .invalidArgument, "a project's name is 1 to 63 of a-z, 0-9 and -, not \"\(name.text.prefix(80))\"")
    }
    guard projects[name] == nil else { throw FederationError(.alreadyExists, "project \(name) exists already") }
    projects[name] = ProjectRow(name: name, description: try Self.checked(description), createdAt: now)
    output.projects.insert(name)
  }

  static func checked(_ description: String) throws -> String {
    guard description.utf8.count <= descriptionBytesMax else {
      throw FederationError(.invalidArgument, "a description has at most \(descriptionBytesMax) bytes")
    }
    return description
  }

  private func project(_ name: ProjectName) throws -> ProjectRow {
    guard let project = projects[name] else {
      throw FederationError(
        .notFound, "there is no project \(name); an administrator makes it: fubini project create \(name)")
    }
    return project
  }

  /// Whether a project takes anything new.
  ///
  /// - Throws: `.notFound`, `.failedPrecondition` when it is archived.
  func open(_ name: ProjectName) throws {
    guard try project(name).archivedAt == nil else {
      throw FederationError(
        .failedPrecondition,
        "project \(name) is archived and takes nothing new; an administrator opens it again: fubini project restore \(name)"
      )
    }
  }

  /// Whether a project takes new work.
  ///
  /// - Throws: as `open`, and `.budgetDenied` when its money is gone, `.failedPrecondition` when it has no budget and needs one.
  func admit(to name: ProjectName) throws {
    try open(name)
    if ledger.budgets[name] == nil, organisations[organisation(of: name)]?.grant != nil {
      throw FederationError(
        .failedPrecondition,
        "project \(name) has no budget, and its organisation's money goes to budgets alone: fubini budget set \(name) ..."
      )
    }
    guard let budget = ledger.budgets[name], budget.spec.isHard, budget.spec.onExhausted != .drain,
      budget.available <= .zero
    else { return }
    throw Ledger.denial(of: Amount(micros: 1), budget)
  }

  // MARK: Placement

  /// What a task's budget allows. What runs of its template have taken is held at once: a run that is expected to take longer than a
  /// slice is not begun on the hope that the rest of its money will be there.
  func budgetView(of requirement: Requirement, without run: RunID? = nil) -> BudgetView? {
    guard var view = budgetView(of: requirement.project, for: requirement.member, without: run) else { return nil }
    guard let slice = view.slice, slice < requirement.bound ?? view.defaultWalltime,
      let known = history.runtime(of: requirement.template, reading: inputSize(of: requirement))
    else { return view }
    view.slice = max(slice, .seconds(known.upper))
    return view
  }

  /// - Parameter run: what is held for this one counts as available: it is to end, so that its task can go elsewhere.
  func budgetView(of project: ProjectName, for member: String, without run: RunID? = nil) -> BudgetView? {
    guard let budget = ledger.budgets[project] else { return nil }
    let held = run.flatMap { ledger.reservations[$0]?.amount } ?? .zero
    var view = BudgetView(
      currency: budget.spec.currency, available: budget.spec.isHard ? budget.available + held : nil,
      unspent: budget.unspent, defaultWalltime: budget.spec.defaultWalltime,
      slice: sliceLength(budget.spec))
    guard let allowance = ledger.allowances[Allowance.Name(project, member)], let limit = allowance.limit,
      let left = allowance.available.map({ $0 + held }), left < view.available ?? .max
    else { return view }
    view.available = left
    view.unspent = min(limit - allowance.spent, budget.spec.isHard ? budget.unspent : .max)
    view.member = member
    return view
  }

  /// What a placement must hold.
  func hold(for placement: Placement, _ requirement: Requirement, on cluster: ClusterEntry) -> Hold {
    guard let budget = budgetView(of: requirement) else { return .nothing }
    let view = cluster.view(defaultBandwidth: configuration.defaultBandwidth, at: now).part(of: placement)
    let egress = egressQuotes(of: placement).plannedCost
    guard let amount = budget.reservation(for: requirement, on: view, egress: egress),
      ledger.refusal(of: amount, for: requirement.project, by: requirement.member) == nil
    else { return .refused }
    return .amount(
      amount, bound: budget.bound(of: requirement, on: view), slice: budget.slice(of: requirement, on: view))
  }

  /// What clusters charge for what they send for a placement, at the prices of now.
  func egressQuotes(of placement: Placement) -> [EgressQuote] {
    guard !placement.sources.isEmpty, let spec = clusters[placement.cluster]?.row.spec,
      let sheet = placement.isSpot ? spec.spotPrices(at: now) : spec.prices(at: now)
    else { return [] }
    return placement.sources.keys.sorted().compactMap { source in
      let gibibyte = egressGibibyte(of: source, in: sheet.currency)
      guard gibibyte > 0 else { return nil }
      return EgressQuote(source: source, gibibyte: gibibyte, planned: placement.sources[source]!)
    }
  }

  /// Minor units for a GiB that others fetch from a cluster's export now.
  func egressGibibyte(of source: ClusterName, in currency: String) -> Double {
    clusters[source]?.view(defaultBandwidth: configuration.defaultBandwidth, at: now).egressGibibyte(in: currency) ?? 0
  }

  // MARK: Ends

  /// What came from where for a run that is over, as its agent tells.
  func metered(_ row: RunRow, _ usage: RunUsage) -> [EgressQuote] {
    guard let currency = row.quote?.currency else { return [] }
    return row.egress.metered(usage.bytesIn, by: usage.bytesFrom) { egressGibibyte(of: $0, in: currency) }
  }

  /// What a run is charged for what it really used, at its quoted price and rounded down: at most what was held for it. The hold
  /// is over. nil for a run without a price.
  mutating func settle(_ row: RunRow, _ priced: Resources) -> Amount? {
    let used = row.quote.map { quote in
      let cost = quote.cost(of: priced, for: .milliseconds(row.wallMilliseconds)) + row.egress.cost
      // A bid is a promise: what takes longer than it was expected to costs no more.
      guard let bid = row.spot?.bid, bid.currency == quote.currency else { return Amount(charging: cost) }
      return Amount(charging: min(cost, Double(bid.minorUnits)))
    }
    guard let settlement = ledger.settle(row.id, used: used ?? .zero, on: row.cluster, at: now) else { return used }
    if let alert = settlement.alert, let project = workflows[row.task.workflow]?.row.project {
      tell(alert, of: project, row.task)
    }
    return settlement.charged
  }

  /// - Parameter task: whose end it was; nil: pinned data.
  mutating func tell(_ alert: Int, of project: ProjectName, _ task: TaskID? = nil) {
    let budget = ledger.budgets[project]!
    output.alerts.append(
      AlertRow(
        at: now, project: project, percent: alert, spent: budget.spent, granted: budget.granted,
        currency: budget.spec.currency, periodStart: budget.periodStart))
    let message =
      "project \(project) has spent \(alert) % of its budget: \(budget.spent) of \(budget.granted) \(budget.spec.currency)"
    output.events.append(
      EventRow(at: now, workflow: task?.workflow, node: task?.node, reason: "BudgetAlert", message: message))
    output.audit.append(
      AuditRow(at: now, actor: "fubini", action: "budget.alert", object: project.text, detail: message))
  }

  // MARK: Exhaustion

  /// Groups of waiting tasks that one tick looks at, and workflows that it stops at most.
  private static var stopsPerTick: Int { 8 }

  /// Stops workflows for which their project can never pay, where its budget says so: a few groups of waiting tasks at each tick, all
  /// of them in turn. A workflow that is being stopped has only its exit handlers left, and one that cannot be paid either is ended
  /// without it.
  mutating func stopUnpayable() {
    guard ledger.budgets.values.contains(where: \.stopsWhenExhausted), !pending.isEmpty else { return }
    let keys = pending.keys(after: stopCursor, limit: Self.stopsPerTick)
    stopCursor = keys.count < Self.stopsPerTick ? 0 : keys[keys.count - 1]
    let own = keys.filter {
      pending.groups[$0].flatMap { ledger.budgets[$0.requirement.project]?.stopsWhenExhausted } == true
    }
    guard !own.isEmpty else { return }
    var views = views()
    for key in own {
      // An earlier one's workflow may have had this group, too.
      guard let group = pending.groups[key], let message = refusalOfMoney(key, on: &views) else { continue }
      var ids: Set<WorkflowID> = []
      for task in group.queue.prefix(1024) where ids.count < Self.stopsPerTick {
        if workflows[task.workflow]?.tasks[task.node]?.group == key { ids.insert(task.workflow) }
      }
      // In order, so that every leader does the same.
      for id in ids.sorted() { stop(id, message) }
    }
  }

  /// Why money keeps a group's tasks from every cluster for good; nil when it does not, or some cluster rejects them only for now.
  private func refusalOfMoney(_ key: Int64, on views: inout [ClusterView]) -> String? {
    let table = candidates(of: pendingGroup(key, []), key, on: &views)
    guard table.isUnplaceable else { return nil }
    return table.candidates.first { $0.rejection?.code == Rejection.overBudget }?.rejection?.message
  }

  mutating func stop(_ id: WorkflowID, _ message: String) {
    guard let entry = workflows[id] else { return }
    let text = "the budget is exhausted: \(message)"
    output.events.append(EventRow(at: now, workflow: id, reason: "BudgetExhausted", message: text))
    output.audit.append(
      AuditRow(
        at: now, actor: "fubini", action: "budget.stop", object: "\(entry.row.project)/\(entry.row.name)",
        detail: message
      ))
    handle(entry.machine.status.shutdown == nil ? .stop(message: text) : .terminate, in: id)
  }

  /// Holds of runs that could not be read back: nothing would ever end them.
  mutating func releaseOrphanedReservations() {
    for reservation in ledger.reservations.values.sorted(by: { $0.run < $1.run }) where runs[reservation.run] == nil {
      _ = ledger.settle(reservation.run, used: .zero, on: "", at: now)
    }
  }

  mutating func beginBudgetPeriods() {
    if !ledger.beginPeriods(at: now).isEmpty { wantsPlacement = true }
  }
}

extension Budget {
  var stopsWhenExhausted: Bool { spec.isHard && spec.onExhausted == .stop }
}
