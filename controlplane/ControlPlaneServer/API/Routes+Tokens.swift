import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import HTTPTypes
import Hummingbird

/// Tokens of people and of service accounts. One's own need no permission, but a token whose scopes allow it.
extension APIServer {
  var tokenRoutes: [Route] {
    [
      Route(.get, "/v1/tokens", .authenticated, "The caller's tokens, a project's service accounts', or all.") {
        try await listTokens($0, $1)
      },
      Route(.post, "/v1/tokens", .authenticated, "Makes a token, which is shown in the answer and never again.") {
        try await createToken($0, $1)
      },
      Route(.delete, "/v1/tokens/:id", .authenticated, "Voids a token at once.") { try await revokeToken($1) },
    ]
  }

  private static let lifetimes: ClosedRange<Int64> = 60...10 * 366 * 86_400

  // MARK: Making

  private func createToken(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let body = try await request.document(TokenRequest.self)
    let scopes = try Self.scopes(body.scopes)
    let user = try UserName(body.user ?? caller.user)
    let bound = user.project ?? body.project.map { ProjectName($0) } ?? caller.project
    guard (body.label ?? "").utf8.count <= 200 else {
      throw FederationError(.invalidArgument, "a label has at most 200 bytes")
    }
    try await requireMaking(of: user, bound, scopes, caller)
    let expiry = try Self.expiry(body.expiresInSeconds, caller)
    var random = SystemRandomNumberGenerator()
    let token = BearerToken(using: &random)
    try await services.store.createToken(
      NewToken(
        hash: token.hash.bytes, user: user.text, project: bound, scopes: scopes, label: body.label ?? "",
        expiresAt: expiry),
      audit: caller.auditing("token.create", ""))
    var response = try Response.json(
      TokenCreated(
        id: Self.identifier(token), user: user.text, token: token.text, expiresAt: expiry?.wire), .created)
    response.headers[.cacheControl] = "no-store"
    return response
  }

  /// As the database makes it of the hash.
  private static func identifier(_ token: BearerToken) -> String {
    let digits = Array("0123456789abcdef")
    return String(token.hash.bytes.prefix(8).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  private static func scopes(_ texts: [String]?) throws -> [Scope] {
    let texts = texts ?? ["all"]
    guard (1...32).contains(texts.count) else { throw FederationError(.invalidArgument, "a token has 1 to 32 scopes") }
    return try texts.map { text in
      guard let scope = Scope(text: text) else {
        throw FederationError(
          .invalidArgument,
          "a scope is all, read, submit, or a permission such as read:workflow, not \"\(text.prefix(80))\"")
      }
      return scope
    }
  }

  /// A token is never more than the one that made it.
  private func requireMaking(
    of user: UserName, _ bound: ProjectName?, _ scopes: [Scope], _ caller: Caller
  ) async throws {
    let create = Permission(.create, .token)
    guard caller.rights.scopes.contains(where: { $0.allows(create) }),
      caller.rights.covers(boundTo: bound, scopes: Set(scopes))
    else {
      throw Denial(
        answer: FederationError(
          .permissionDenied, "a token makes only such as may nothing that it may not itself, and needs scope \(create)")
      )
    }
    guard user.text != caller.user else { return }
    guard let project = user.project else {
      return try Authorisation.admit(.federation(.create, .token), in: nil, nil, caller)
    }
    try Authorisation.require(create, in: project, caller)
    let roles = try await services.store.members(of: project).filter { $0.user == user.text }.map(\.role)
    guard !roles.isEmpty else {
      throw FederationError(
        .notFound,
        "project \(project) has no service account \(user.text); make it: fubini project member add \(project) \(user.text) "
          + "--role submitter")
    }
    for role in roles { try Authorisation.requireGrant(of: role, in: project, .federation, caller) }
  }

  private static func expiry(_ seconds: Int64?, _ caller: Caller) throws -> Timestamp? {
    guard let seconds else { return caller.expiresAt }
    guard lifetimes.contains(seconds) else {
      throw FederationError(
        .invalidArgument, "a token lives \(lifetimes.lowerBound) to \(lifetimes.upperBound) seconds")
    }
    let expiry = Timestamp.wallClock + .seconds(seconds)
    guard caller.expiresAt.map({ expiry <= $0 }) ?? true else {
      throw FederationError(
        .invalidArgument, "the token that asks ends at \(caller.expiresAt!.wire); one that it makes cannot last longer")
    }
    return expiry
  }

  // MARK: Listing

  private func listTokens(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let user = request.query("user") ?? caller.user
    let owner: TokenOwner
    if let project = request.query("project").map({ ProjectName($0) }) {
      try Authorisation.require(Permission(.read, .token), in: project, caller)
      owner = .project(project)
    } else if request.query("all") == "true" || user != caller.user {
      try Authorisation.admit(.federation(.read, .token), in: nil, nil, caller)
      owner = request.query("all") == "true" ? .everybody : .user(user)
    } else {
      owner = .user(user)
    }
    let rows = try await services.store.tokens(of: owner).filter {
      caller.project == nil || $0.project == caller.project
    }
    return try .json(TokenList(items: rows.map(TokenDocument.init)))
  }

  // MARK: Revoking

  private func revokeToken(_ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let id = try context.parameter("id")
    let audit = caller.auditing("token.revoke", id)
    guard let row = try await services.store.tokens(of: .everybody, id: id).first, Self.mayRevoke(row, caller),
      row.revokedAt == nil
    else { throw FederationError(.notFound, "there is no valid token \(id.prefix(40)) that you may revoke") }
    _ = try await services.store.revokeToken(id, audit: audit)
    services.access.changed()
    return try .json(AcceptedDocument(name: id))
  }

  /// Every token may end itself.
  private static func mayRevoke(_ row: TokenRow, _ caller: Caller) -> Bool {
    if row.id == caller.tokenID { return true }
    let delete = Permission(.delete, .token)
    if row.user == caller.user {
      return caller.rights.scopes.contains { $0.allows(delete) }
        && (caller.project == nil || caller.project == row.project)
    }
    if caller.rights.allows(delete) { return true }
    // Of people only their own administrators end tokens; of a service account, its project's.
    guard let project = (try? UserName(row.user))?.project else { return false }
    return caller.rights.allows(delete, in: project)
  }
}

extension TokenDocument {
  fileprivate init(_ row: TokenRow) {
    self.init(
      id: row.id, user: row.user, project: row.project?.text, scopes: row.scopes.map(\.description), label: row.label,
      createdAt: row.createdAt.wire, createdBy: row.createdBy, expiresAt: row.expiresAt?.wire,
      lastUsedAt: row.usedAt?.wire, revokedAt: row.revokedAt?.wire)
  }
}
