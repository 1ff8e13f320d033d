import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird
import LedgerCore

/// What each member may use of a project's budget.
extension APIServer {
  var budgetMemberRoutes: [Route] {
    let members = "/v1/projects/:p/budget/members"
    return [
      Route(.get, members, .project(.read, .budget), "What the members of a project have used of its budget.") {
        _, context in
        let project = ProjectName(try context.parameter("p"))
        let currency = try await budget(of: project).spec.currency
        let rows = try await services.store.allowances(of: project)
        return try .json(BudgetMemberList(items: rows.map { BudgetMemberDocument($0, currency) }))
      },
      Route(
        .put, "\(members)/:u", .project(.update, .budget), "Bounds what a member may use of the budget in each period."
      ) {
        request, context in
        let bytes = try await request.bytes()
        let body = try JSONBody.decode(BudgetMemberRequest.self, from: bytes)
        let command = ProjectCommand.limitMember(try context.parameter("u"), try Self.amount(body.amount))
        return try await change(command, request, context, bytes)
      },
      Route(.delete, "\(members)/:u", .project(.update, .budget), "Takes a member's limit away.") { request, context in
        try await change(.limitMember(try context.parameter("u"), nil), request, context)
      },
    ]
  }

  /// - Throws: `.notFound`.
  func budget(of name: ProjectName) async throws -> Budget {
    guard let budget = try await services.store.budgets().first(where: { $0.project == name }) else {
      throw FederationError(.notFound, "project \(name) has no budget: what it may spend is not limited")
    }
    return budget
  }
}

extension BudgetMemberDocument {
  fileprivate init(_ allowance: Allowance, _ currency: String) {
    self.init(
      user: allowance.name.member, limit: allowance.limit.map { MoneyDocument($0, currency) },
      reserved: MoneyDocument(allowance.reserved, currency), spent: MoneyDocument(allowance.spent, currency),
      available: allowance.available.map { MoneyDocument($0, currency) })
  }
}
