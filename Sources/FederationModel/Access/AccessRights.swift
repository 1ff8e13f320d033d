/// All that the holder of a token may do: the roles of its user, within what the token is limited to.
///
/// A pure value: who asks for what is answered by it alone, wherever it came from.
public struct AccessRights: Hashable, Sendable {
  /// Roles in the organisation.
  public var organisation: Set<Role>
  public var projects: [ProjectName: Set<Role>]
  /// The only project that the token is for; nil: every one of its user's.
  public var boundTo: ProjectName?
  public var scopes: Set<Scope>

  public init(
    organisation: Set<Role> = [], projects: [ProjectName: Set<Role>] = [:], boundTo: ProjectName? = nil,
    scopes: Set<Scope> = [.all]
  ) {
    self.organisation = organisation
    self.projects = projects
    self.boundTo = boundTo
    self.scopes = scopes
  }

  /// The roles that hold in a project, those of the organisation among them.
  public func roles(in project: ProjectName) -> Set<Role> {
    guard boundTo == nil || boundTo == project else { return [] }
    return organisation.union(projects[project] ?? [])
  }

  /// Whether the token may do this where no project is concerned. One that is bound to a project may not.
  public func allows(_ permission: Permission) -> Bool {
    boundTo == nil && isInScope(permission) && organisation.contains { $0.allows(permission) }
  }

  public func allows(_ permission: Permission, in project: ProjectName) -> Bool {
    isInScope(permission) && roles(in: project).contains { $0.allows(permission) }
  }

  /// Whether the token may do this in any project at all, or where none is concerned.
  public func allowsAnywhere(_ permission: Permission) -> Bool {
    isInScope(permission)
      && (organisation.contains { $0.allows(permission) }
        || projects.contains { (boundTo == nil || $0.key == boundTo) && $0.value.contains { $0.allows(permission) } })
  }

  /// Whether the token's holder may be told that there is such a project, or that there is none.
  public func knows(_ project: ProjectName) -> Bool { !roles(in: project).isEmpty }

  /// The projects that a permission holds in; nil: all of them.
  public func projects(allowing permission: Permission) -> Set<ProjectName>? {
    guard isInScope(permission) else { return [] }
    if organisation.contains(where: { $0.allows(permission) }) { return boundTo.map { [$0] } }
    return Set(projects.keys.filter { allows(permission, in: $0) })
  }

  /// Whether who has these rights may give or take a role in a project (nil: in the organisation): only what one may oneself.
  public func mayGrant(_ role: Role, in project: ProjectName?) -> Bool {
    role.permissions.allSatisfy { permission in
      project.map { allows(permission, in: $0) } ?? allows(permission)
    }
  }

  /// Whether a token with these limits may do nothing that this one may not.
  public func covers(boundTo other: ProjectName?, scopes others: Set<Scope>) -> Bool {
    guard boundTo == nil || boundTo == other else { return false }
    return others.allSatisfy { scope in scope.permissions.allSatisfy(isInScope) }
  }

  private func isInScope(_ permission: Permission) -> Bool { scopes.contains { $0.allows(permission) } }
}
