import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird
import LedgerCore

extension APIServer {
  var projectRoutes: [Route] {
    let one = "/v1/projects/:p"
    let money = "\(one)/budget"
    return [
      Route(.get, "/v1/projects", .anywhere(.read, .project), "The projects that the caller may use.") { _, context in
        try .json(
          ProjectList(items: try await projects(of: try context.signedIn(), for: Permission(.read, .project))))
      },
      Route(.post, "/v1/projects", .organisation(.create, .project), "Makes a project of an organisation.") {
        try await createProject($0, $1)
      },
      Route(.get, one, .project(.read, .project), "One project, with its budget.") { _, context in
        try .json(try await project(ProjectName(try context.parameter("p"))))
      },
      Route(.put, one, .project(.update, .project), "Changes a project's description.") { request, context in
        let body = try await request.document(ProjectRequest.self)
        guard body.name == nil, body.weight == nil, body.organisation == nil else {
          throw FederationError(
            .invalidArgument,
            "a name and an organisation stay, and a weight has a route of its own: PUT \(one)/weight")
        }
        return try await change(.describe(body.description ?? ""), request, context)
      },
      Route(.post, "\(one)/archive", .project(.delete, .project), "Takes nothing new for a project.") {
        try await change(.archive(true), $0, $1)
      },
      Route(.post, "\(one)/restore", .project(.delete, .project), "Takes work for an archived project again.") {
        try await change(.archive(false), $0, $1)
      },
      Route(.get, "/v1/budgets", .anywhere(.read, .budget), "The budgets of the projects that the caller may use.") {
        _, context in
        try .json(
          BudgetList(
            items:
              try await projects(of: try context.signedIn(), for: Permission(.read, .budget)).compactMap(\.budget)))
      },
      Route(.get, money, .project(.read, .budget), "A project's budget in its current period.") { _, context in
        let name = ProjectName(try context.parameter("p"))
        _ = try await project(name)
        return try .json(BudgetDocument(try await budget(of: name), at: .wallClock))
      },
      Route(.put, money, .project(.update, .budget), "Sets a project's budget. What is left out stays as it was.") {
        request, context in
        let bytes = try await request.bytes()
        let body = try JSONBody.decode(BudgetRequest.self, from: bytes)
        return try await change(.setBudget(try body.change), request, context, bytes)
      },
      Route(
        .post, "\(money)/transfer", .project(.update, .budget),
        "Moves money of this period to another project's budget."
      ) {
        request, context in
        let bytes = try await request.bytes()
        let body = try JSONBody.decode(BudgetTransferRequest.self, from: bytes)
        try Authorisation.require(
          Permission(.update, .budget), in: ProjectName(body.to), try context.signedIn())
        let command = ProjectCommand.transferBudget(try Self.amount(body.amount), to: ProjectName(body.to))
        return try await change(command, request, context, bytes)
      },
      Route(.get, "\(money)/history", .project(.read, .budget), "What moved a project's money, the newest first.") {
        try await history($0, $1)
      },
      Route(.get, "\(one)/usage", .project(.read, .usage), "What a project's runs have used.") { request, context in
        try await usage(of: ProjectName(try context.parameter("p")), request)
      },
      Route(.get, "/v1/usage", .federation(.read, .usage), "What the runs of all projects have used.") { request, _ in
        try await usage(of: nil, request)
      },
      Route(.get, "\(one)/workflows/:w/cost", .project(.read, .usage), "What each run of a workflow cost.") {
        try await cost($0, $1)
      },
      Route(
        .get, "/v1/ledger/verify", .federation(.read, .ledger), "Counts the books anew, and says what does not agree."
      ) { _, _ in
        let review = try await services.store.reviewLedger()
        return try .json(
          LedgerVerification(
            entries: review.entries, budgets: review.budgets, reservations: review.reservations,
            differences: review.differences))
      },
    ]
  }

  // MARK: Reading

  /// Those in which the caller may do this.
  private func projects(of caller: Caller, for permission: Permission) async throws -> [ProjectDocument] {
    let budgets = Dictionary(uniqueKeysWithValues: try await services.store.budgets().map { ($0.project, $0) })
    return try await services.store.projects().filter { caller.rights.allows(permission, in: $0.name) }
      .map { ProjectDocument($0, budgets[$0.name], at: .wallClock) }
  }

  private func project(_ name: ProjectName) async throws -> ProjectDocument {
    guard let row = try await services.store.projects().first(where: { $0.name == name }) else {
      throw FederationError(
        .notFound, "there is no project \(name); an administrator makes it: fubini project create \(name)")
    }
    let budget = try await services.store.budgets().first { $0.project == name }
    return ProjectDocument(row, budget, at: .wallClock)
  }

  private func history(_ request: Request, _ context: APIContext) async throws -> Response {
    let limit = try request.limit()
    let before = try request.query("continue").map { try Cursor.number($0) }
    let page = try await services.store.ledgerEntries(
      of: ProjectName(try context.parameter("p")), before: before, limit: limit)
    return try .json(
      LedgerHistory(
        items: page.map(LedgerEntryDocument.init), next: page.count == limit ? page.last.map { "\($0.sequence)" } : nil)
    )
  }

  private func cost(_ request: Request, _ context: APIContext) async throws -> Response {
    let head = try await workflow(context)
    let limit = try request.limit()
    let after = try request.query("continue").map { text in
      let cursor = try Cursor.number(text)
      return (node: NodeID(Int32(truncatingIfNeeded: cursor >> 32)), epoch: Int32(truncatingIfNeeded: cursor))
    }
    let page = try await services.store.costs(of: head.id, after: after, limit: limit)
    let totals = try await services.store.totals(of: head.id)
    let next = page.last.map { Int64($0.run.task.node.ordinal) << 32 | Int64($0.run.epoch) }
    return try .json(
      CostDocument(
        items: page.map { RunCostDocument($0.node, $0.run) },
        total: totals.charges.sorted { $0.key < $1.key }.map { MoneyDocument($0.value, $0.key) },
        next: page.count == limit ? next.map { "\($0)" } : nil))
  }

  private static let usageLinesMax = 1000

  private func usage(of project: ProjectName?, _ request: Request) async throws -> Response {
    let text = request.query("by") ?? (project == nil ? "project" : "user")
    guard let grouping = UsageGrouping(text) else {
      throw FederationError(
        .invalidArgument, "by is project, user, cluster, template, class or label:KEY, not \"\(text.prefix(80))\"")
    }
    let now = Timestamp.wallClock
    var since = BudgetPeriod.monthly.bounds(containing: now).start
    if let text = request.query("since") {
      guard let moment = RFC3339.parse(text) else {
        throw FederationError(
          .invalidArgument, "since is a moment like 2026-03-01T12:00:00Z, not \"\(text.prefix(40))\"")
      }
      since = moment
    }
    let rows = try await services.store.usage(by: grouping, of: project, since: since, limit: Self.usageLinesMax + 1)
    return try .json(
      UsageList(
        items: rows.prefix(Self.usageLinesMax).map(UsageDocument.init), isTruncated: rows.count > Self.usageLinesMax))
  }

  // MARK: Changing

  private func createProject(_ request: Request, _ context: APIContext) async throws -> Response {
    let bytes = try await request.bytes()
    let body = try JSONBody.decode(ProjectRequest.self, from: bytes)
    guard let name = body.name else { throw FederationError(.invalidArgument, "name is missing") }
    let caller = try context.signedIn()
    let organisation = body.organisation.map { OrganisationName($0) } ?? Self.organisation(of: caller)
    try Authorisation.require(Permission(.create, .project), inOrganisation: organisation, caller)
    let weight = body.weight ?? 1
    // A part of what the organisation's projects share is theirs to divide by the federation's leave alone.
    if weight != 1, !caller.rights.allows(Permission(.update, .quota)) {
      throw Denial(
        answer: FederationError(
          .permissionDenied, "a weight other than 1 is set by an administrator of the federation"))
    }
    _ = try await services.commands.perform(
      .project(
        ProjectName(name),
        .create(description: body.description ?? "", weight: weight, organisation: organisation)),
      as: caller.principal, idempotency: try Self.idempotency(request, bytes))
    if organisation != .federation {
      // Whose administrators may use it from now on.
      try await services.store.announceAccess()
      services.access.changed()
    }
    return try .json(AcceptedDocument(name: name, project: name), .created)
  }

  /// Of a project that is made without naming one: the only one in which the caller may, else the federation's.
  private static func organisation(of caller: Caller) -> OrganisationName {
    let create = Permission(.create, .project)
    let own = caller.rights.organisations.keys.filter { caller.rights.allows(create, inOrganisation: $0) }
    return !caller.rights.allows(create) && own.count == 1 ? own[0] : .federation
  }

  func change(
    _ command: ProjectCommand, _ request: Request, _ context: APIContext, _ bytes: [UInt8] = []
  ) async throws -> Response {
    let name = ProjectName(try context.parameter("p"))
    _ = try await services.commands.perform(
      .project(name, command), as: try context.signedIn().principal,
      idempotency: try Self.idempotency(request, bytes))
    return try .json(AcceptedDocument(name: name.text, project: name.text))
  }

  static func amount(_ text: String) throws -> Amount {
    guard let amount = Amount(text) else {
      throw FederationError(
        .invalidArgument,
        "an amount is a number like 5000 or 0.25 with at most six decimals, at most \(Amount.max), not "
          + "\"\(text.prefix(40))\"")
    }
    return amount
  }
}

extension BudgetRequest {
  /// - Throws: `.invalidArgument`; what makes no sense together is told by the core.
  fileprivate var change: BudgetChange {
    get throws {
      if let seconds = defaultWalltimeSeconds, !(60...366 * 86_400).contains(seconds) {
        throw FederationError(.invalidArgument, "defaultWalltimeSeconds is from a minute to 366 days")
      }
      if let seconds = sliceSeconds, !(10...366 * 86_400).contains(seconds) {
        throw FederationError(.invalidArgument, "sliceSeconds is from 10 seconds to 366 days")
      }
      return BudgetChange(
        limit: try APIServer.amount(amount), currency: currency, period: period, isHard: hard, alerts: alerts,
        onExhausted: onExhausted, carriesOver: carryOver, defaultWalltime: defaultWalltimeSeconds.map { .seconds($0) },
        slice: sliceSeconds.map { .seconds($0) })
    }
  }
}

extension ProjectDocument {
  init(_ row: ProjectRow, _ budget: Budget?, at now: Timestamp) {
    self.init(
      name: row.name.text, description: row.description, createdAt: row.createdAt.wire,
      archivedAt: row.archivedAt?.wire, budget: budget.map { BudgetDocument($0, at: now) }, weight: row.weight,
      organisation: row.organisation.text)
  }
}

extension BudgetDocument {
  init(_ budget: Budget, at now: Timestamp) {
    let spec = budget.spec
    func money(_ amount: Amount) -> MoneyDocument { MoneyDocument(amount, spec.currency) }
    self.init(
      project: budget.project.text, limit: money(spec.limit), period: spec.period, hard: spec.isHard,
      alerts: spec.alerts, onExhausted: spec.onExhausted, carryOver: spec.carriesOver,
      defaultWalltimeSeconds: spec.defaultWalltime.components.seconds, periodStart: budget.periodStart.wire,
      periodEnd: budget.periodEnd?.wire, granted: money(budget.granted), reserved: money(budget.reserved),
      spent: money(budget.spent), available: money(budget.available), alerted: budget.alerted,
      exhaustedAt: budget.exhaustion(at: now)?.wire, sliceSeconds: spec.slice.components.seconds)
  }
}

extension Budget {
  /// When what is not spent will be, at the rate of the period so far; nil: not within the period, or in a hundred years.
  func exhaustion(at now: Timestamp) -> Timestamp? {
    let elapsed = (now - periodStart).seconds
    guard spent > .zero, elapsed > 0 else { return nil }
    let left = max(0, Double(unspent.micros)) / Double(spent.micros) * elapsed
    guard left < 3_155_760_000 else { return nil }
    let end = now + .seconds(left)
    return periodEnd.map { end < $0 } ?? true ? end : nil
  }
}

extension LedgerEntryDocument {
  fileprivate init(_ entry: NumberedLedgerEntry) {
    let currency = entry.from.split(separator: "/").last.map { String($0) } ?? ""
    self.init(
      sequence: entry.sequence, at: entry.at.wire, kind: entry.kind, from: entry.from, to: entry.to,
      amount: MoneyDocument(entry.amount, currency), run: entry.run?.hexadecimal,
      subject: entry.subject.isEmpty ? nil : entry.subject, actor: entry.actor)
  }
}

extension RunCostDocument {
  fileprivate init(_ node: String, _ run: RunRow) {
    self.init(
      node: node, run: run.id.hexadecimal, epoch: run.epoch, cluster: run.cluster.text, phase: run.phase.name,
      wallSeconds: Double(run.wallMilliseconds) / 1000, bytesIn: run.bytesIn.bytes, quote: run.quote,
      egress: run.egress.isEmpty ? nil : run.egress.map(EgressCostDocument.init),
      charge: run.charge.flatMap { charge in run.quote.map { MoneyDocument(charge, $0.currency) } },
      spot: run.spot.map { _ in true })
  }
}

extension EgressCostDocument {
  fileprivate init(_ quote: EgressQuote) {
    self.init(
      source: quote.source.text, gibibyte: quote.gibibyte, plannedBytes: quote.planned.bytes,
      movedBytes: quote.moved?.bytes)
  }
}

extension UsageDocument {
  fileprivate init(_ row: UsageRow) {
    self.init(
      name: row.name, runs: row.runs, coreSeconds: row.coreSeconds, gpuSeconds: row.gpuSeconds, bytesIn: row.bytesIn,
      charge: row.currency.map { MoneyDocument(row.charge, $0) })
  }
}
