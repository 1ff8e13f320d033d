import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

/// People and service accounts, for who administers the federation.
extension APIServer {
  var userRoutes: [Route] {
    [
      Route(.get, "/v1/users", .federation(.read, .member), "Who there is: people and service accounts.") {
        try await listUsers($0, $1)
      },
      Route(
        .put, "/v1/users/:u", .federation(.update, .member),
        "Disables a user at once, with all tokens, or enables one again."
      ) { try await changeUser($0, $1) },
    ]
  }

  private func listUsers(_ request: Request, _ context: APIContext) async throws -> Response {
    let limit = try request.limit()
    let rows = try await services.store.users(after: request.query("continue"), limit: limit, at: .wallClock)
    return try .json(
      KnownUserList(
        items: rows.map {
          KnownUserDocument(
            name: $0.name, project: $0.project?.text, createdAt: $0.createdAt.wire, disabledAt: $0.disabledAt?.wire,
            tokens: $0.tokens)
        }, next: rows.count == limit ? rows.last?.name : nil))
  }

  private func changeUser(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let name = try context.parameter("u")
    let body = try await request.document(KnownUserRequest.self)
    guard name != caller.user else {
      throw FederationError(.failedPrecondition, "nobody disables or enables themselves: another administrator can")
    }
    // Who may not give a role does not take it away in this way either.
    for member in try await services.store.members(of: nil) where member.user == name {
      try Authorisation.requireGrant(of: member.role, in: nil, .federation, caller)
    }
    let change = try await services.store.setDisabled(
      name, body.disabled, audit: caller.auditing(body.disabled ? "user.disable" : "user.enable", name))
    services.access.changed()
    switch change {
    case .done: return try .json(AcceptedDocument(name: name))
    case .unknown: throw FederationError(.notFound, "there is no user \(name.prefix(128))")
    case .lastAdministrator:
      throw FederationError(
        .failedPrecondition, "\(name) is the last administrator of the federation; give the role to another first")
    }
  }
}
