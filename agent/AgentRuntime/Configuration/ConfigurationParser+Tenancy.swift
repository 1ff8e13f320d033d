internal import FederationModel
internal import Yams

/// The keys `project` and `projects`.
extension ConfigurationParser {
  static let projectKeys = ["user", "account", "namespace"]

  static func project(_ key: String, _ node: Node) throws -> ProjectName {
    let name = ProjectName(try text(key, node))
    guard name.isDNSLabel else {
      throw invalid(key, "a project's name: lower-case letters, digits and dashes, at most 63", node)
    }
    return name
  }

  static func projects(_ node: Node) throws -> [ProjectName: TenancyConfiguration.Account] {
    guard let mapping = node.mapping, mapping.count <= Tenancy.projectsMax else {
      throw invalid(
        "projects", "a mapping of at most \(Tenancy.projectsMax) projects to {user, account, namespace}",
        node)
    }
    var projects: [ProjectName: TenancyConfiguration.Account] = [:]
    for (name, value) in mapping {
      let project = try project("projects", name)
      guard let fields = value.mapping else {
        throw invalid("projects.\(project)", "{user, account}, or {namespace}", value)
      }
      var account = TenancyConfiguration.Account(user: "")
      for (field, value) in fields {
        let field = try self.name(field, in: projectKeys, of: "projects.\(project).")
        let path = "projects.\(project).\(field)"
        switch field {
        case "user": account.user = try text(path, value)
        case "account": account.account = try text(path, value)
        default: account.namespace = try namespace(path, value)
        }
      }
      guard account.namespace == nil || account.user.isEmpty else {
        throw invalid("projects.\(project)", "{user: UNIX-USER}, or on Kubernetes {namespace: NAME}, not both", value)
      }
      guard account.namespace != nil || !account.user.isEmpty else {
        throw invalid("projects.\(project).user", "a Unix user", value)
      }
      projects[project] = account
    }
    return projects
  }
}
