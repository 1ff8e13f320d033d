import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

/// Who has which role, in projects, in organisations and in the federation.
extension APIServer {
  var memberRoutes: [Route] {
    let members = "/v1/projects/:p/members"
    let ofOrganisation = "/v1/organisations/:o/members"
    return [
      Route(.get, members, .project(.read, .member), "Who has which role in a project.") { _, context in
        try await listMembers(of: .project(ProjectName(try context.parameter("p"))))
      },
      Route(.post, members, .project(.update, .member), "Gives a user or a service account a role in a project.") {
        try await addMember($0, $1, to: .project(ProjectName(try $1.parameter("p"))))
      },
      Route(.delete, members, .project(.delete, .member), "Takes a role from a user; all of them without `role`.") {
        try await removeMember($0, $1, from: .project(ProjectName(try $1.parameter("p"))))
      },
      Route(.get, "/v1/members", .federation(.read, .member), "Who has which role in the whole federation.") { _, _ in
        try await listMembers(of: .organisation(.federation))
      },
      Route(.post, "/v1/members", .federation(.update, .member), "Gives a user a role in the whole federation.") {
        try await addMember($0, $1, to: .organisation(.federation))
      },
      Route(
        .delete, "/v1/members", .federation(.delete, .member),
        "Takes a role in the federation from a user; all of them without `role`."
      ) { try await removeMember($0, $1, from: .organisation(.federation)) },
      Route(.get, ofOrganisation, .organisation(.read, .member), "Who has which role in an organisation.") {
        _, context in
        try await listMembers(of: try organisation(context))
      },
      Route(.post, ofOrganisation, .organisation(.update, .member), "Gives a user a role in an organisation.") {
        try await addMember($0, $1, to: try organisation($1))
      },
      Route(
        .delete, ofOrganisation, .organisation(.delete, .member),
        "Takes a role in an organisation from a user; all of them without `role`."
      ) { try await removeMember($0, $1, from: try organisation($1)) },
    ]
  }

  /// Where somebody has a role.
  private enum Place {
    case project(ProjectName)
    case organisation(OrganisationName)

    var project: ProjectName? { if case .project(let name) = self { name } else { nil } }
    var organisation: OrganisationName { if case .organisation(let name) = self { name } else { .federation } }

    var roles: [Role] {
      switch self {
      case .project: Role.ofProjects
      case .organisation(let name): name == .federation ? Role.ofFederation : Role.ofOrganisations
      }
    }

    var text: String {
      switch self {
      case .project(let name): "in project \(name)"
      case .organisation(let name): name == .federation ? "in the federation" : "in organisation \(name)"
      }
    }
  }

  private func organisation(_ context: APIContext) throws -> Place {
    .organisation(OrganisationName(try context.parameter("o")))
  }

  private func listMembers(of place: Place) async throws -> Response {
    try await requireExistence(of: place)
    let members = try await services.store.members(of: place.project, organisation: place.organisation)
    return try .json(
      MemberList(
        items: members.map {
          MemberDocument(user: $0.user, role: $0.role, createdAt: $0.createdAt.wire, createdBy: $0.createdBy)
        }))
  }

  private func requireExistence(of place: Place) async throws {
    switch place {
    case .project(let name): try await requireExistence(of: name)
    case .organisation(let name): _ = try await organisation(named: name)
    }
  }

  /// For who may use every project, those that are not among them.
  func requireExistence(of project: ProjectName) async throws {
    guard try await services.store.projects().contains(where: { $0.name == project }) else {
      throw FederationError(
        .notFound, "there is no project \(project); an administrator makes it: fubini project create \(project)")
    }
  }

  private func addMember(_ request: Request, _ context: APIContext, to place: Place) async throws -> Response {
    let caller = try context.signedIn()
    let body = try await request.document(MemberRequest.self)
    let user = try UserName(body.user)
    guard place.roles.contains(body.role) else {
      let names = place.roles.map(\.rawValue).joined(separator: ", ")
      throw FederationError(.invalidArgument, "roles \(place.text) are \(names)")
    }
    guard user.project == nil || user.project == place.project else {
      throw FederationError(
        .invalidArgument, "a service account has roles in its own project alone, and \(user.text) is not one of this")
    }
    try Authorisation.requireGrant(of: body.role, in: place.project, place.organisation, caller)
    try await requireExistence(of: place)
    try await services.store.addMember(
      user.text, body.role, to: place.project, organisation: place.organisation, isService: user.project != nil,
      audit: caller.auditing("member.add", ""))
    services.access.changed()
    return try .json(AcceptedDocument(name: user.text, project: place.project?.text), .created)
  }

  private func removeMember(_ request: Request, _ context: APIContext, from place: Place) async throws -> Response {
    let caller = try context.signedIn()
    let user = try UserName(request.query("user") ?? "").text
    let only = try request.query("role").map { text in
      guard let role = Role(rawValue: text) else {
        throw FederationError(.invalidArgument, "role is one of \(Role.allCases.map(\.rawValue))")
      }
      return role
    }
    let held = try await services.store.members(of: place.project, organisation: place.organisation).filter {
      $0.user == user && (only == nil || $0.role == only)
    }
    guard !held.isEmpty else {
      throw FederationError(.notFound, "\(user) has no \(only.map { "role \($0.rawValue)" } ?? "role") \(place.text)")
    }
    for member in held {
      try Authorisation.requireGrant(of: member.role, in: place.project, place.organisation, caller)
    }
    for member in held {
      let isGone = try await services.store.removeMember(
        user, member.role, from: place.project, organisation: place.organisation,
        audit: caller.auditing("member.remove", ""))
      services.access.changed()
      guard isGone || member.role != .orgAdmin else {
        throw FederationError(
          .failedPrecondition, "\(user) is the last administrator of the federation; give the role to another first")
      }
    }
    return try .json(AcceptedDocument(name: user, project: place.project?.text))
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
