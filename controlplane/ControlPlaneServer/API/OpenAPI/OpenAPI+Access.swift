import FederationAPI
import FederationModel

extension OpenAPI {
  /// Members, tokens and quotas.
  static let accessOperations: [String: Operation] = {
    var all = [
      "GET /v1/users": Operation(query: ["limit", "continue"], response: KnownUserList.self),
      "PUT /v1/users/:u": Operation(request: KnownUserRequest.self, response: AcceptedDocument.self),
      "GET /v1/tokens": Operation(query: ["user", "project", "all"], response: TokenList.self),
      "POST /v1/tokens": Operation(request: TokenRequest.self, response: TokenCreated.self, status: 201),
      "DELETE /v1/tokens/:id": Operation(response: AcceptedDocument.self),
      "GET /v1/projects/:p/quota": Operation(response: QuotaDocument.self),
      "PUT /v1/projects/:p/quota": Operation(request: ProjectLimits.self, response: QuotaDocument.self),
    ]
    all["GET /v1/organisations"] = Operation(response: OrganisationList.self)
    all["POST /v1/organisations"] = Operation(
      request: OrganisationRequest.self, response: AcceptedDocument.self, status: 201)
    all["GET /v1/organisations/:o"] = Operation(response: OrganisationDocument.self)
    all["PUT /v1/organisations/:o"] = Operation(request: OrganisationRequest.self, response: AcceptedDocument.self)
    all["PUT /v1/organisations/:o/grant"] = Operation(request: GrantRequest.self, response: AcceptedDocument.self)
    all["DELETE /v1/organisations/:o/grant"] = Operation(response: AcceptedDocument.self)
    for members in ["/v1/members", "/v1/projects/:p/members", "/v1/organisations/:o/members"] {
      all["GET \(members)"] = Operation(response: MemberList.self)
      all["POST \(members)"] = Operation(request: MemberRequest.self, response: AcceptedDocument.self, status: 201)
      all["DELETE \(members)"] = Operation(query: ["user", "role"], response: AcceptedDocument.self)
    }
    return all
  }()
}
