internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import NIOHTTP1

struct BudgetMember: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "member", abstract: "What each member may use of a project's budget: set, list, remove.",
    discussion: """
      A member's limit is of each period, holds whether the budget is hard or soft, and counts what the member used before it was set.
      """,
    subcommands: [Set.self, ListAll.self, Remove.self])

  private static func path(_ project: String, _ user: String? = nil) -> [String] {
    ["v1", "projects", project, "budget", "members"] + (user.map { [$0] } ?? [])
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Bound what a member may use of the budget in each period.")
    @Argument var project: String
    @Argument(help: "The user's name, as `fubini usage --by user` shows it.") var user: String
    @Argument(help: "As 500 or 0.25, in the budget's currency.") var amount: String
    func run() async throws {
      let request = BudgetMemberRequest(amount: try BudgetCommand.Set.checked(amount))
      try await withClient { client in
        let _: AcceptedDocument = try await client.post(
          BudgetMember.path(project, user), body: request, method: .PUT)
        Terminal.line("\(user) may use \(amount) of the budget of \(project) in each period.")
      }
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List what the members of a project have used in this period.", aliases: ["ls"])
    @Argument var project: String
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: BudgetMemberList = try await client.get(BudgetMember.path(project))
        try output.format.print(list, names: list.items.map(\.user)) { _ in Self.table(list.items) }
      }
    }

    static func table(_ items: [BudgetMemberDocument]) -> String {
      var table = Table(headings: ["USER", "LIMIT", "SPENT", "RESERVED", "AVAILABLE"])
      for item in items {
        table.rows.append([
          item.user, item.limit?.text ?? "-", item.spent.text, item.reserved.text, item.available?.text ?? "-",
        ])
      }
      return table.render()
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take a member's limit away.", aliases: ["rm"])
    @Argument var project: String
    @Argument var user: String
    func run() async throws {
      try await withClient { client in
        let _: AcceptedDocument = try await client.decode(
          .init(method: .DELETE, path: BudgetMember.path(project, user)))
        Terminal.line("The budget of \(project) alone bounds \(user).")
      }
    }
  }
}
