import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

/// Who has which role, in projects and in the organisation.
extension APIServer {
  var memberRoutes: [Route] {
    let members = "/v1/projects/:p/members"
    return [
      Route(.get, members, .project(.read, .member), "Who has which role in a project.") { _, context in
        try await listMembers(of: ProjectName(try context.parameter("p")))
      },
      Route(.post, members, .project(.update, .member), "Gives a user or a service account a role in a project.") {
        try await addMember($0, $1, to: ProjectName(try $1.parameter("p")))
      },
      Route(.delete, members, .project(.delete, .member), "Takes a role from a user; all of them without `role`.") {
        try await removeMember($0, $1, from: ProjectName(try $1.parameter("p")))
      },
      Route(.get, "/v1/members", .federation(.read, .member), "Who has which role in the organisation.") { _, _ in
        try await listMembers(of: nil)
      },
      Route(.post, "/v1/members", .federation(.update, .member), "Gives a user a role in the organisation.") {
        try await addMember($0, $1, to: nil)
      },
      Route(
        .delete, "/v1/members", .federation(.delete, .member),
        "Takes a role in the organisation from a user; all of them without `role`."
      ) { try await removeMember($0, $1, from: nil) },
    ]
  }

  private func listMembers(of project: ProjectName?) async throws -> Response {
    if let project { try await requireExistence(of: project) }
    return try .json(
      MemberList(
        items: try await services.store.members(of: project).map {
          MemberDocument(user: $0.user, role: $0.role, createdAt: $0.createdAt.wire, createdBy: $0.createdBy)
        }))
  }

  /// For who may use every project, those that are not among them.
  func requireExistence(of project: ProjectName) async throws {
    guard try await services.store.projects().contains(where: { $0.name == project }) else {
      throw FederationError(
        .notFound, "there is no project \(project); an administrator makes it: fubini project create \(project)")
    }
  }

  private func addMember(_ request: Request, _ context: APIContext, to project: ProjectName?) async throws -> Response {
    let caller = try context.signedIn()
    let body = try await request.document(MemberRequest.self)
    let user = try UserName(body.user)
    let possible = project == nil ? Role.ofOrganisations : Role.ofProjects
    guard possible.contains(body.role) else {
      let names = possible.map(\.rawValue).joined(separator: ", ")
      throw FederationError(
        .invalidArgument, "roles \(project == nil ? "of the organisation" : "in a project") are \(names)")
    }
    guard user.project == nil || user.project == project else {
      throw FederationError(
        .invalidArgument, "a service account has roles in its own project alone, and \(user.text) is not one of this")
    }
    try Authorisation.requireGrant(of: body.role, in: project, caller)
    if let project { try await requireExistence(of: project) }
    try await services.store.addMember(
      user.text, body.role, to: project, isService: user.project != nil, audit: caller.auditing("member.add", ""))
    services.access.changed()
    return try .json(AcceptedDocument(name: user.text, project: project?.text), .created)
  }

  private func removeMember(
    _ request: Request, _ context: APIContext, from project: ProjectName?
  ) async throws -> Response {
    let caller = try context.signedIn()
    let user = try UserName(request.query("user") ?? "").text
    let only = try request.query("role").map { text in
      guard let role = Role(rawValue: text) else {
        throw FederationError(.invalidArgument, "role is one of \(Role.allCases.map(\.rawValue))")
      }
      return role
    }
    let held = try await services.store.members(of: project).filter {
      $0.user == user && (only == nil || $0.role == only)
    }
    guard !held.isEmpty else {
      let place = project.map { "in project \($0)" } ?? "in the organisation"
      throw FederationError(.notFound, "\(user) has no \(only.map { "role \($0.rawValue)" } ?? "role") \(place)")
    }
    for member in held { try Authorisation.requireGrant(of: member.role, in: project, caller) }
    for member in held {
      let isGone = try await services.store.removeMember(
        user, member.role, from: project, audit: caller.auditing("member.remove", ""))
      services.access.changed()
      guard isGone || member.role != .orgAdmin else {
        throw FederationError(
          .failedPrecondition, "\(user) is the last administrator of the organisation; give the role to another first")
      }
    }
    return try .json(AcceptedDocument(name: user, project: project?.text))
  }
}

/// A person's name, or that of a service account: `PROJECT/NAME`.
struct UserName: Hashable, Sendable {
  let text: String
  /// Of a service account; nil: a person.
  let project: ProjectName?

  /// - Throws: `.invalidArgument`.
  init(_ text: String) throws {
    let wrong = FederationError(
      .invalidArgument,
      "a user's name has 1 to 128 of letters, digits and ._@+-; a service account's is PROJECT/NAME, of a-z, 0-9 and -; not "
        + "\"\(text.prefix(80))\"")
    self.text = text
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { String($0) }
    if parts.count == 2 {
      guard parts.allSatisfy({ ProjectName($0).isDNSLabel }) else { throw wrong }
      project = ProjectName(parts[0])
    } else {
      let isName = text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
          || "._@+-".utf8.contains(byte)
      }
      guard (1...128).contains(text.utf8.count), isName else { throw wrong }
      project = nil
    }
  }
}
