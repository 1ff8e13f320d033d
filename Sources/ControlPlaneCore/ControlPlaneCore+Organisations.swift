import FederationModel
import LedgerCore

/// Organisations: who has projects, and a part of what is shared for all of them together (ADR 0022).
extension ControlPlaneCore {
  mutating func perform(
    _ command: OrganisationCommand, on name: OrganisationName, _ principal: Principal
  ) throws -> Reply {
    switch command {
    case .create(let description, let weight):
      guard name.isDNSLabel else {
        throw FederationError(
          .invalidArgument, "an organisation's name is 1 to 63 of a-z, 0-9 and -, not \"\(name.text.prefix(80))\"")
      }
      guard organisations[name] == nil, name != .federation else {
        throw FederationError(.alreadyExists, "organisation \(name) exists already")
      }
      let row = OrganisationRow(
        name: name, description: try Self.checked(description), createdAt: now,
        weight: try Self.checked(weight: weight))
      organisations[name] = row
      note(principal, "organisation.create", name.text, weight == 1 ? "" : "weight \(weight)")
    case .describe(let text):
      try require(name)
      let text = try Self.checked(text)
      change(name) { $0.description = text }
      note(principal, "organisation.update", name.text)
    case .setWeight(let weight):
      try require(name)
      let weight = try Self.checked(weight: weight)
      change(name) { $0.weight = weight }
      note(principal, "organisation.weight", name.text, "\(weight)")
      wantsPlacement = true
    case .setGrant(let grant):
      try require(name)
      if let grant { try check(grant, of: name) }
      change(name) { $0.grant = grant }
      note(principal, "organisation.grant", name.text, grant.map { "\($0.amount) \($0.currency)" } ?? "none")
    }
    output.organisations.insert(name)
    return .organisation(name)
  }

  private mutating func change(_ name: OrganisationName, _ body: (inout OrganisationRow) -> Void) {
    body(&organisations[name, default: OrganisationRow(name: name, createdAt: now)])
  }

  /// - Throws: `.notFound`. The federation's own is always there.
  func require(_ name: OrganisationName) throws {
    guard organisations[name] != nil || name == .federation else {
      throw FederationError(
        .notFound, "there is no organisation \(name); an administrator makes it: fubini org create \(name)")
    }
  }

  /// - Throws: `.invalidArgument`, `.failedPrecondition` when the budgets that are there already do not fit it.
  private func check(_ grant: OrganisationGrant, of name: OrganisationName) throws {
    if let problem = grant.problem { throw FederationError(.invalidArgument, problem) }
    let (sum, odd) = budgets(of: name, in: grant.currency)
    if let odd {
      throw FederationError(
        .failedPrecondition,
        "project \(odd) of organisation \(name) has a soft budget, or one in another currency than \(grant.currency): "
          + "change that first")
    }
    guard sum <= grant.amount else {
      throw FederationError(
        .failedPrecondition,
        "the budgets of organisation \(name)'s projects are \(sum) \(grant.currency) together: lower them first")
    }
  }

  /// The sum of the limits of an organisation's budgets, and a project whose budget cannot be under a grant in that currency.
  private func budgets(
    of name: OrganisationName, in currency: String, without left: ProjectName? = nil
  ) -> (sum: Amount, odd: ProjectName?) {
    var sum = Amount.zero
    var odd: ProjectName?
    for (project, budget) in ledger.budgets where project != left && organisation(of: project) == name {
      guard budget.spec.isHard, budget.spec.currency == currency else {
        odd = min(odd ?? project, project)
        continue
      }
      sum = sum + budget.spec.limit
    }
    return (sum, odd)
  }

  /// Whether a budget fits what its organisation was granted.
  ///
  /// - Throws: `.budgetDenied` with what is left, `.failedPrecondition` for a budget that no grant can bound.
  func checkGrant(of project: ProjectName, for spec: BudgetSpec) throws {
    let name = organisation(of: project)
    guard let grant = organisations[name]?.grant else { return }
    guard spec.isHard, spec.currency == grant.currency else {
      throw FederationError(
        .failedPrecondition,
        "organisation \(name) was granted \(grant.amount) \(grant.currency): its projects' budgets are hard, and in "
          + grant.currency)
    }
    let given = budgets(of: name, in: grant.currency, without: project).sum
    guard given + spec.limit <= grant.amount else {
      throw FederationError(
        .budgetDenied,
        "organisation \(name) was granted \(grant.amount) \(grant.currency), and its other projects' budgets are \(given): "
          + "\(max(grant.amount - given, .zero)) are left for \(project); an administrator of the federation grants more: "
          + "fubini org grant \(name) AMOUNT \(grant.currency)")
    }
  }

  func organisation(of project: ProjectName) -> OrganisationName { projects[project]?.organisation ?? .federation }
  func weight(of organisation: OrganisationName) -> Double { organisations[organisation]?.weight ?? 1 }
}
