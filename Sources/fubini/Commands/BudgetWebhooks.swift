internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import NIOHTTP1

struct BudgetWebhook: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "webhook", abstract: "Whom a budget's alerts are told: set, get, remove.",
    subcommands: [Set.self, Get.self, Remove.self])

  private static func path(_ project: String) -> [String] { ["v1", "projects", project, "budget", "webhook"] }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Have a budget's alerts sent to a URL, signed.",
      discussion: """
        The body is JSON. Fubini-Signature is v1= and the hexadecimal HMAC-SHA256, with the secret's value signingKey, of the header \
        Fubini-Timestamp, a dot and the body. What is not answered with 2xx is sent again, for about ten hours.
        """)
    @Argument var project: String
    @Argument(help: "https://...; its address must be of the public internet, unless the operator allows the host.")
    var url: String
    @Option(help: "The project's secret with the value signingKey: `fubini secret set`.") var secret: String
    func run() async throws {
      try await withClient { client in
        let _: AcceptedDocument = try await client.post(
          BudgetWebhook.path(project), body: AlertHookRequest(url: url, secret: secret), method: .PUT)
        Terminal.line("Alerts of the budget of \(project) are sent to \(url).")
      }
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show whom a budget's alerts are told, and what became of the last ones.")
    @Argument var project: String
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let hook: AlertHookDocument = try await client.get(BudgetWebhook.path(project))
        try output.format.print(hook, names: [hook.url]) { _ in Self.text(hook) }
      }
    }

    static func text(_ hook: AlertHookDocument) -> String {
      var table = Table(headings: ["ID", "AT", "ATTEMPTS", "DELIVERED", "NEXT", "FAILURE"])
      for item in hook.deliveries {
        table.rows.append([
          "\(item.id)", item.createdAt.description, "\(item.attempts)", item.deliveredAt?.description ?? "-",
          item.nextAt?.description ?? "-", item.failure.isEmpty ? "-" : item.failure,
        ])
      }
      let head = "url:     \(hook.url)\nsecret:  \(hook.secret)\nset:     \(hook.changedAt), by \(hook.changedBy)\n"
      return table.rows.isEmpty ? head : head + "\n" + table.render()
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Tell a budget's alerts to nobody any more.", aliases: ["rm"])
    @Argument var project: String
    func run() async throws {
      try await withClient { client in
        let _: AcceptedDocument = try await client.decode(.init(method: .DELETE, path: BudgetWebhook.path(project)))
        Terminal.line("Alerts of the budget of \(project) are sent to nobody.")
      }
    }
  }
}
