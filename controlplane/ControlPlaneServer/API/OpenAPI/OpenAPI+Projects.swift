import FederationAPI

extension OpenAPI {
  /// Projects and their money.
  static let projectOperations: [String: Operation] = {
    let project = "/v1/projects/:p"
    let usage = Operation(query: ["by", "since"], response: UsageList.self)
    return [
      "GET /v1/projects": Operation(response: ProjectList.self),
      "POST /v1/projects": Operation(request: ProjectRequest.self, response: AcceptedDocument.self, status: 201),
      "GET \(project)": Operation(response: ProjectDocument.self),
      "PUT \(project)": Operation(request: ProjectRequest.self, response: AcceptedDocument.self),
      "POST \(project)/archive": Operation(response: AcceptedDocument.self),
      "POST \(project)/restore": Operation(response: AcceptedDocument.self),
      "GET /v1/fairshare": Operation(response: FairShareList.self),
      "GET \(project)/fairshare": Operation(response: FairShareList.self),
      "PUT \(project)/weight": Operation(request: WeightRequest.self, response: AcceptedDocument.self),
      "GET /v1/budgets": Operation(response: BudgetList.self),
      "GET \(project)/budget": Operation(response: BudgetDocument.self),
      "PUT \(project)/budget": Operation(request: BudgetRequest.self, response: AcceptedDocument.self),
      "POST \(project)/budget/transfer": Operation(
        request: BudgetTransferRequest.self, response: AcceptedDocument.self),
      "GET \(project)/budget/webhook": Operation(response: AlertHookDocument.self),
      "PUT \(project)/budget/webhook": Operation(request: AlertHookRequest.self, response: AcceptedDocument.self),
      "DELETE \(project)/budget/webhook": Operation(response: AcceptedDocument.self),
      "GET \(project)/budget/members": Operation(response: BudgetMemberList.self),
      "PUT \(project)/budget/members/:u": Operation(
        request: BudgetMemberRequest.self, response: AcceptedDocument.self),
      "DELETE \(project)/budget/members/:u": Operation(response: AcceptedDocument.self),
      "GET \(project)/budget/history": Operation(query: ["limit", "continue"], response: LedgerHistory.self),
      "GET \(project)/usage": usage, "GET /v1/usage": usage,
      "GET \(project)/workflows/:w/cost": Operation(query: ["limit", "continue"], response: CostDocument.self),
      "GET /v1/ledger/verify": Operation(response: LedgerVerification.self),
    ]
  }()
}
