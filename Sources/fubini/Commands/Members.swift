internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

/// `fubini project member`.
struct ProjectMember: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "member", abstract: "Who has which role in a project: add, remove, list.",
    discussion: """
      Roles: viewer (reads), submitter (also submits, and changes data sets), project-admin (also secrets, members and service accounts),
      budget-admin (money). A user PROJECT/NAME is a service account: it is made with its first role, and its tokens are bound to the
      project.
      """, subcommands: [Add.self, Remove.self, ListAll.self])

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Give a user or a service account a role in a project.")
    @Argument(help: "The project.") var name: String
    @Argument(help: "A person, or a service account as PROJECT/NAME.") var user: String
    @Option(help: "viewer, submitter, project-admin or budget-admin.") var role: String
    func run() async throws { try await Members.add(user, role, ["v1", "projects", name, "members"]) }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take a role in a project from a user. It acts at once.")
    @Argument(help: "The project.") var name: String
    @Argument var user: String
    @Option(help: "Only this role; all that the user has there when left out.") var role: String?
    func run() async throws { try await Members.remove(user, role, ["v1", "projects", name, "members"]) }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the members of a project.", aliases: ["ls"])
    @Argument(help: "The project.") var name: String
    @OptionGroup var output: OutputOption
    func run() async throws { try await Members.list(["v1", "projects", name, "members"], output) }
  }
}

/// What both have in common.
enum Members {
  static func add(_ user: String, _ role: String, _ path: [String]) async throws {
    let role = try Self.role(role)
    try await withClient { client in
      let answer: AcceptedDocument = try await client.post(path, body: MemberRequest(user: user, role: role))
      Terminal.line("\(answer.name): \(role.rawValue).")
    }
  }

  static func remove(_ user: String, _ role: String?, _ path: [String]) async throws {
    let role = try role.map { try Self.role($0) }
    try await withClient { client in
      let query = [("user", user)] + (role.map { [("role", $0.rawValue)] } ?? [])
      let answer: AcceptedDocument = try await client.decode(.init(method: .DELETE, path: path, query: query))
      Terminal.line("\(answer.name): removed.")
    }
  }

  private static func role(_ text: String) throws -> Role {
    guard let role = Role(rawValue: text) else {
      let names = Role.allCases.map(\.rawValue).joined(separator: ", ")
      throw CommandFailure(.usage, "--role is one of \(names), not \"\(text)\".")
    }
    return role
  }

  static func list(_ path: [String], _ output: OutputOption) async throws {
    try await withClient { client in
      let list: MemberList = try await client.get(path)
      try output.format.print(list, names: list.items.map(\.user)) { _ in
        Table(
          headings: ["USER", "ROLE", "SINCE", "BY"],
          rows: list.items.map { [$0.user, $0.role.rawValue, $0.createdAt.description, $0.createdBy] }
        ).render()
      }
    }
  }
}
