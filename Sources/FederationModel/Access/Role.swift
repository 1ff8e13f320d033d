/// A set of permissions that a member has: in one project, in an organisation's projects, or in the whole federation.
public enum Role: String, Hashable, Sendable, Codable, CaseIterable {
  case viewer, submitter
  case projectAdmin = "project-admin"
  case budgetAdmin = "budget-admin"
  case `operator`, auditor
  case orgAdmin = "org-admin"

  /// Those that members of a project have.
  public static let ofProjects: [Role] = [.viewer, .submitter, .projectAdmin, .budgetAdmin]
  /// Those that members of the federation's own organisation have: in every project, and where no project is concerned.
  public static let ofFederation: [Role] = [.orgAdmin, .operator, .auditor, .budgetAdmin]
  /// Those that members of any other organisation have: in it and its projects. Clusters and their prices are the federation's.
  public static let ofOrganisations: [Role] = [.orgAdmin, .auditor, .budgetAdmin]

  public func allows(_ permission: Permission) -> Bool { permissions.contains(permission) }

  /// Whether a role that is held in an organisation allows this in it and its projects. What a project is guaranteed, reserves or may
  /// use at once is at the cost of all organisations, so none sets it for its own.
  public func allowsInOrganisation(_ permission: Permission) -> Bool {
    permission != Permission(.update, .quota) && allows(permission)
  }

  public var permissions: Set<Permission> { Self.table[self]! }

  private static func on(_ resource: AccessResource, _ verbs: AccessVerb...) -> Set<Permission> {
    Set(verbs.map { Permission($0, resource) })
  }

  private static func reading(_ resources: AccessResource...) -> Set<Permission> {
    Set(resources.map { Permission(.read, $0) })
  }

  private static let table: [Role: Set<Permission>] = {
    let viewer = reading(
      .workflow, .artifact, .template, .clusterTemplate, .cronWorkflow, .configMap, .dataset, .transfer, .organisation,
      .project,
      .member, .quota, .budget, .usage, .cluster, .price, .link
    ).union(on(.plan, .create))
    let submitter = viewer.union(on(.workflow, .create, .update, .delete)).union(on(.artifact, .create, .update))
      .union(on(.dataset, .create, .update, .delete)).union(on(.transfer, .delete)).union(reading(.secret))
      .union(on(.template, .create, .update, .delete)).union(on(.cronWorkflow, .create, .update, .delete))
      .union(on(.configMap, .create, .update, .delete))
    let projectAdmin = submitter.union(on(.secret, .update, .delete)).union(on(.project, .update))
      .union(on(.member, .update, .delete)).union(on(.token, .read, .create, .delete))
    let money = reading(
      .clusterTemplate, .organisation, .project, .member, .quota, .budget, .usage, .cluster, .price, .ledger
    ).union(on(.budget, .update))
    let operating = reading(.organisation, .project, .quota, .usage, .server, .audit).union(
      on(.cluster, .read, .create, .update, .delete)
    ).union(on(.price, .read, .update)).union(reading(.link)).union(
      on(.clusterTemplate, .read, .create, .update, .delete))
    let auditing = reading(
      .clusterTemplate, .organisation, .project, .member, .token, .quota, .budget, .usage, .cluster, .price, .link,
      .ledger, .audit,
      .server)
    return [
      .viewer: viewer, .submitter: submitter, .projectAdmin: projectAdmin, .budgetAdmin: money, .operator: operating,
      .auditor: auditing, .orgAdmin: Permission.all,
    ]
  }()
}
