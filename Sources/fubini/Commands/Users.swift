internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import NIOHTTP1

struct UserCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "user", abstract: "People and service accounts: list, disable, enable.",
    discussion: """
      A user comes to be with a first role (`fubini org member`, `fubini project member`) or token. One that is disabled keeps roles and \
      tokens, and none of these is taken until the user is enabled again; what they have submitted goes on.
      """, subcommands: [ListAll.self, Disable.self, Enable.self])

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List who there is.", aliases: ["ls"])
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let found = try await client.pages(limit: UserCommand.listedMax) { query in
          let page: KnownUserList = try await client.get(["v1", "users"], query)
          return (page.items, page.next)
        }
        try output.format.print(KnownUserList(items: found.items, next: nil), names: found.items.map(\.name)) { _ in
          Self.table(found.items)
        }
        if found.isCut { Terminal.note("Only the first \(UserCommand.listedMax) are shown.") }
      }
    }

    static func table(_ items: [KnownUserDocument]) -> String {
      var table = Table(headings: ["NAME", "SERVICE OF", "TOKENS", "STATE", "SINCE"])
      for item in items {
        table.rows.append([
          item.name, item.project ?? "-", "\(item.tokens)", item.disabledAt == nil ? "Enabled" : "Disabled",
          (item.disabledAt ?? item.createdAt).description,
        ])
      }
      return table.render()
    }
  }

  struct Disable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take no token of a user any more, at once and on every replica.")
    @Argument(help: "The name; PROJECT/NAME of a service account.") var user: String
    func run() async throws { try await UserCommand.change(user, disabled: true) }
  }

  struct Enable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take a disabled user's tokens again.")
    @Argument(help: "The name; PROJECT/NAME of a service account.") var user: String
    func run() async throws { try await UserCommand.change(user, disabled: false) }
  }

  private static let listedMax = 10_000

  private static func change(_ user: String, disabled: Bool) async throws {
    try await withClient { client in
      let answer: AcceptedDocument = try await client.post(
        ["v1", "users", user], body: KnownUserRequest(disabled: disabled), method: .PUT)
      Terminal.line("\(answer.name): \(disabled ? "disabled" : "enabled").")
    }
  }
}
