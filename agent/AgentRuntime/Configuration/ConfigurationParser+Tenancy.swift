internal import FederationModel
internal import Yams

/// The keys `project` and `projects`.
extension ConfigurationParser {
  static let projectKeys = ["user", "account"]

  static func project(_ key: String, _ node: Node) throws -> ProjectName {
    let name = ProjectName(try text(key, node))
    guard name.isDNSLabel else {
      throw invalid(key, "a project's name: lower-case letters, digits and dashes, at most 63", node)
    }
    return name
  }

  static func projects(_ node: Node) throws -> [ProjectName: TenancyConfiguration.Account] {
    guard let mapping = node.mapping, mapping.count <= Tenancy.projectsMax else {
      throw invalid("projects", "a mapping of at most \(Tenancy.projectsMax) projects to {user, account}", node)
    }
    var projects: [ProjectName: TenancyConfiguration.Account] = [:]
    for (name, value) in mapping {
      let project = try project("projects", name)
      guard let fields = value.mapping else { throw invalid("projects.\(project)", "{user, account}", value) }
      var account = TenancyConfiguration.Account(user: "")
      for (field, value) in fields {
        let field = try self.name(field, in: projectKeys, of: "projects.\(project).")
        let text = try text("projects.\(project).\(field)", value)
        if field == "user" { account.user = text } else { account.account = text }
      }
      guard !account.user.isEmpty else { throw invalid("projects.\(project).user", "a Unix user", value) }
      projects[project] = account
    }
    return projects
  }
}
