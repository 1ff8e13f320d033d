import FederationModel

/// A request that was refused for who made it: the answer to it, apart from other errors so that it is audited.
struct Denial: Error {
  var answer: FederationError
}

/// The one place where requests are authorised. Default deny: every route names what it needs, and what is not given is refused.
enum Authorisation {
  /// Whether a caller may use a route.
  ///
  /// - Parameters:
  ///   - project: the one that path or query name; nil when only the document can, and then its handler asks `require`.
  ///   - organisation: the one that the path names; nil as for projects.
  static func admit(
    _ access: Route.Access, in project: ProjectName?, _ organisation: OrganisationName?, _ caller: Caller
  ) throws {
    guard let permission = access.permission else { return }
    switch access {
    case .open, .authenticated: break
    case .project:
      if let project {
        try require(permission, in: project, caller)
      } else if !caller.rights.allowsAnywhere(permission) {
        throw denied(
          permission, Role.ofProjects, caller.rights.roles, "a project",
          isScope: caller.rights.whole.allowsAnywhere(permission))
      }
    case .anywhere:
      guard caller.rights.allowsAnywhere(permission) else {
        throw denied(
          permission, Role.allCases, caller.rights.roles, "a project",
          isScope: caller.rights.whole.allowsAnywhere(permission))
      }
    case .organisation:
      if let organisation {
        try require(permission, inOrganisation: organisation, caller)
      } else if !caller.rights.allowsInSomeOrganisation(permission) {
        throw denied(
          permission, Role.ofOrganisations, caller.rights.roles, "an organisation",
          isScope: caller.rights.whole.allowsInSomeOrganisation(permission))
      }
    case .federation:
      guard caller.rights.allows(permission) else {
        throw denied(
          permission, Role.ofFederation, caller.rights.federation, "the federation",
          isScope: caller.rights.whole.allows(permission))
      }
    }
  }

  /// Whether a caller may do this with an organisation. One of others is one that never was.
  static func require(
    _ permission: Permission, inOrganisation organisation: OrganisationName, _ caller: Caller
  ) throws {
    guard caller.rights.knows(organisation: organisation) else {
      throw Denial(answer: FederationError(.notFound, "there is no organisation \(organisation) that you may use"))
    }
    guard caller.rights.allows(permission, inOrganisation: organisation) else {
      let held = caller.rights.federation.union(caller.rights.organisations[organisation]?.roles ?? [])
      throw denied(
        permission, Role.ofOrganisations, held, "organisation \(organisation)",
        isScope: caller.rights.whole.allows(permission, inOrganisation: organisation))
    }
  }

  /// Whether a caller may do this in a project. The answer to a project of others is that there is none: not even its existence is told.
  static func require(_ permission: Permission, in project: ProjectName, _ caller: Caller) throws {
    guard caller.rights.knows(project) else {
      throw Denial(answer: FederationError(.notFound, "there is no project \(project) that you may use"))
    }
    guard caller.rights.allows(permission, in: project) else {
      throw denied(
        permission, Role.allCases, caller.rights.roles(in: project), "project \(project)",
        isScope: caller.rights.whole.allows(permission, in: project))
    }
  }

  /// Whether a caller may give or take a role in a project, or else in an organisation.
  static func requireGrant(
    of role: Role, in project: ProjectName?, _ organisation: OrganisationName, _ caller: Caller
  ) throws {
    let isGiven =
      project == nil && organisation != .federation
      ? caller.rights.mayGrant(role, inOrganisation: organisation) : caller.rights.mayGrant(role, in: project)
    guard !isGiven else { return }
    throw Denial(
      answer: FederationError(
        .permissionDenied, "role \(role.rawValue) is given and taken only by who may do all that it allows"))
  }

  /// - Parameters:
  ///   - candidates: the roles that could give it.
  ///   - isScope: whether it is the token alone that does not.
  private static func denied(
    _ permission: Permission, _ candidates: [Role], _ held: Set<Role>, _ place: String, isScope: Bool
  ) -> Denial {
    let roles = candidates.filter { $0.allows(permission) }.map(\.rawValue)
    if isScope {
      return Denial(
        answer: FederationError(
          .permissionDenied, "your role allows \(permission), but this token's scopes do not: use or make another token"
        ))
    }
    let mine = held.isEmpty ? "none" : held.map(\.rawValue).sorted().joined(separator: ", ")
    return Denial(
      answer: FederationError(
        .permissionDenied,
        "this needs \(permission) in \(place), which role \(roles.joined(separator: " or ")) has; yours: \(mine)"))
  }
}

extension AccessRights {
  /// Of a token that is limited to nothing.
  fileprivate var whole: AccessRights {
    var rights = self
    (rights.scopes, rights.boundTo) = ([.all], nil)
    return rights
  }

  /// All that there are, wherever they hold.
  fileprivate var roles: Set<Role> {
    organisations.values.reduce(projects.values.reduce(federation) { $0.union($1) }) { $0.union($1.roles) }
  }
}
