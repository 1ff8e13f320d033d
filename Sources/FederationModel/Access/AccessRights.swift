/// All that the holder of a token may do: the roles of its user, within what the token is limited to.
///
/// A pure value: who asks for what is answered by it alone, wherever it came from.
public struct AccessRights: Hashable, Sendable {
  /// Roles in an organisation that is not the federation's, and what they hold in.
  public struct Membership: Hashable, Sendable {
    public var roles: Set<Role>
    /// Those of the organisation.
    public var projects: Set<ProjectName>
    public init(roles: Set<Role>, projects: Set<ProjectName> = []) {
      self.roles = roles
      self.projects = projects
    }

    func allows(_ permission: Permission) -> Bool { roles.contains { $0.allowsInOrganisation(permission) } }
  }

  /// Roles in the whole federation.
  public var federation: Set<Role>
  public var organisations: [OrganisationName: Membership]
  public var projects: [ProjectName: Set<Role>]
  /// The only project that the token is for; nil: every one of its user's.
  public var boundTo: ProjectName?
  public var scopes: Set<Scope>

  public init(
    federation: Set<Role> = [], organisations: [OrganisationName: Membership] = [:],
    projects: [ProjectName: Set<Role>] = [:], boundTo: ProjectName? = nil, scopes: Set<Scope> = [.all]
  ) {
    self.federation = federation
    self.organisations = organisations
    self.projects = projects
    self.boundTo = boundTo
    self.scopes = scopes
  }

  /// The roles that hold in a project, those of its organisation and of the federation among them.
  public func roles(in project: ProjectName) -> Set<Role> {
    guard boundTo == nil || boundTo == project else { return [] }
    return memberships(of: project).reduce(federation.union(projects[project] ?? [])) { $0.union($1.roles) }
  }

  private func memberships(of project: ProjectName) -> [Membership] {
    organisations.isEmpty ? [] : organisations.values.filter { $0.projects.contains(project) }
  }

  /// Whether the token may do this where no project is concerned. One that is bound to a project may not.
  public func allows(_ permission: Permission) -> Bool {
    boundTo == nil && isInScope(permission) && federation.contains { $0.allows(permission) }
  }

  /// Whether the token may do this with an organisation: to it, or to any project of it.
  public func allows(_ permission: Permission, inOrganisation organisation: OrganisationName) -> Bool {
    guard boundTo == nil, isInScope(permission) else { return false }
    return federation.contains { $0.allows(permission) } || organisations[organisation]?.allows(permission) == true
  }

  public func allows(_ permission: Permission, in project: ProjectName) -> Bool {
    guard boundTo == nil || boundTo == project, isInScope(permission) else { return false }
    return federation.union(projects[project] ?? []).contains { $0.allows(permission) }
      || memberships(of: project).contains { $0.allows(permission) }
  }

  /// Whether the token may do this in any project at all, or where none is concerned.
  public func allowsAnywhere(_ permission: Permission) -> Bool {
    isInScope(permission)
      && (federation.contains { $0.allows(permission) }
        || projects.contains { (boundTo == nil || $0.key == boundTo) && $0.value.contains { $0.allows(permission) } }
        || organisations.values.contains { membership in
          (boundTo.map { membership.projects.contains($0) } ?? true) && membership.allows(permission)
        })
  }

  /// Whether the token may do this with some organisation, or with all.
  public func allowsInSomeOrganisation(_ permission: Permission) -> Bool {
    boundTo == nil && isInScope(permission)
      && (federation.contains { $0.allows(permission) } || organisations.values.contains { $0.allows(permission) })
  }

  /// Whether the token's holder may be told that there is such a project, or that there is none.
  public func knows(_ project: ProjectName) -> Bool { !roles(in: project).isEmpty }

  /// Whether the token's holder may be told that there is such an organisation, or that there is none.
  public func knows(organisation: OrganisationName) -> Bool {
    boundTo == nil && (!federation.isEmpty || organisations[organisation]?.roles.isEmpty == false)
  }

  /// The projects that a permission holds in; nil: all of them.
  public func projects(allowing permission: Permission) -> Set<ProjectName>? {
    guard isInScope(permission) else { return [] }
    if federation.contains(where: { $0.allows(permission) }) { return boundTo.map { [$0] } }
    let known = organisations.values.reduce(Set(projects.keys)) { $0.union($1.projects) }
    return known.filter { allows(permission, in: $0) }
  }

  /// Whether who has these rights may give or take a role in a project (nil: in the federation): only what one may oneself.
  public func mayGrant(_ role: Role, in project: ProjectName?) -> Bool {
    role.permissions.allSatisfy { permission in
      project.map { allows(permission, in: $0) } ?? allows(permission)
    }
  }

  /// The same of an organisation that is not the federation's.
  public func mayGrant(_ role: Role, inOrganisation organisation: OrganisationName) -> Bool {
    role.permissions.filter { role.allowsInOrganisation($0) }.allSatisfy { allows($0, inOrganisation: organisation) }
  }

  /// Whether a token with these limits may do nothing that this one may not.
  public func covers(boundTo other: ProjectName?, scopes others: Set<Scope>) -> Bool {
    guard boundTo == nil || boundTo == other else { return false }
    return others.allSatisfy { scope in scope.permissions.allSatisfy(isInScope) }
  }

  private func isInScope(_ permission: Permission) -> Bool { scopes.contains { $0.allows(permission) } }
}
