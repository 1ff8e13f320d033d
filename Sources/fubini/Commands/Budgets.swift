public import ArgumentParser
internal import FederationAPI
public import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

extension BudgetPeriod: ExpressibleByArgument {}
extension ExhaustionPolicy: ExpressibleByArgument {}

struct BudgetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "budget", abstract: "What projects may spend: set, get, list, transfer, history, member, webhook.",
    discussion: """
      What a run may cost at most is reserved when it is placed, and comes back, but for what it used, when it is over. Under a hard
      budget reserved and spent money never exceed what was granted.
      """,
    subcommands: [Set.self, Get.self, ListAll.self, Transfer.self, History.self, BudgetMember.self, BudgetWebhook.self])

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set a project's budget, or change it: what is left out stays as it was.",
      discussion: """
        A new budget is monthly and hard, has no alerts, refuses new workflows when nothing is left, and bounds runs that name no \
        limit to a day. Clusters without a price in its currency take nothing of the project: `fubini price set`.
        """)
    @Argument var project: String
    @Argument(help: "As 5000 or 0.25.") var amount: String
    @Argument(help: "Three capital letters: CNY, EUR.") var currency: String
    @Option(help: "monthly, quarterly (of the calendar, in UTC) or once.") var period: BudgetPeriod?
    @Flag(help: "hard: nothing is placed that it does not cover. soft: alerts only.") var kind: Kind?
    @Option(help: "Percentages, as 50,80,100: an event tells when so much is spent. none: no alerts.")
    var alert: String?
    @Option(
      help:
        "When nothing is left: deny refuses new workflows, drain lets them wait, stop also stops those that it cannot pay."
    )
    var onExhausted: ExhaustionPolicy?
    @Flag(inversion: .prefixedNo, help: "Add what a period leaves to the next.") var carryOver: Bool?
    @Option(help: "The limit of runs whose authors give none, as 12h: reserved, and enforced.")
    var defaultWalltime: String?
    @Option(
      help:
        "How much of a run's time is reserved at once, as 1h, and again while it runs. 366d: all of it before it begins."
    )
    var slice: String?

    enum Kind: String, EnumerableFlag { case hard, soft }

    func run() async throws {
      let request = try request()
      try await withClient { client in
        let path = ["v1", "projects", project, "budget"]
        let _: AcceptedDocument = try await client.post(path, body: request, method: .PUT)
        let budget: BudgetDocument = try await client.get(path)
        Terminal.line("\(budget.project): \(budget.available.text) of \(budget.granted.text) available.")
      }
    }

    func request() throws -> BudgetRequest {
      BudgetRequest(
        amount: try Self.checked(amount), currency: currency, period: period, hard: kind.map { $0 == .hard },
        alerts: try alert.map(Self.percentages), onExhausted: onExhausted, carryOver: carryOver,
        defaultWalltimeSeconds: try defaultWalltime.map(Period.seconds), sliceSeconds: try slice.map(Period.seconds))
    }

    static func checked(_ amount: String) throws -> String {
      guard Amount(amount) != nil else {
        throw CommandFailure(.usage, "An amount is a number like 5000 or 0.25, not \"\(amount)\".")
      }
      return amount
    }

    private static func percentages(_ text: String) throws -> [Int] {
      if text == "none" { return [] }
      return try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
        guard let percentage = Int(part) else {
          throw CommandFailure(.usage, "Alerts are percentages like 50,80,100, not \"\(text)\".")
        }
        return percentage
      }
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a project's budget in its current period.")
    @Argument var project: String
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let budget: BudgetDocument = try await client.get(["v1", "projects", project, "budget"])
        try output.format.print(budget, names: [budget.project]) { _ in Self.text(budget) }
      }
    }

    static func text(_ budget: BudgetDocument) -> String {
      let days = budget.periodEnd.map { " until \($0)" } ?? ""
      let alerts = budget.alerts.map { "\($0) %" }.joined(separator: ", ")
      var lines = [
        ("limit", "\(budget.limit.text) \(budget.period.rawValue), \(budget.hard ? "hard" : "soft")"),
        ("period", "since \(budget.periodStart)\(days)"), ("granted", budget.granted.text),
        ("spent", budget.spent.text),
        ("reserved", budget.reserved.text), ("available", budget.available.text),
        ("alerts", alerts.isEmpty ? "none" : "\(alerts); reached: \(budget.alerted) %"),
        ("exhausted", exhaustion(budget.onExhausted)),
        ("carry-over", budget.carryOver ? "yes" : "no"),
        ("walltime", "\(Display.duration(Double(budget.defaultWalltimeSeconds))) where an author gives none"),
      ]
      if let slice = budget.sliceSeconds {
        lines.append(("slice", "\(Display.duration(Double(slice))) of a run's time are reserved at once"))
      }
      if let end = budget.exhaustedAt { lines.append(("forecast", "at this period's rate it is spent on \(end)")) }
      return lines.map { "\($0.0):" + String(repeating: " ", count: 12 - $0.0.count) + "\($0.1)\n" }.joined()
    }
  }

  private static func exhaustion(_ policy: ExhaustionPolicy) -> String {
    switch policy {
    case .deny: "new workflows are refused"
    case .drain: "new workflows wait"
    case .stop: "new workflows are refused, and those that cannot be paid for are stopped"
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the budgets of the projects that you may use.", aliases: ["ls"])
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: BudgetList = try await client.get(["v1", "budgets"])
        try output.format.print(list, names: list.items.map(\.project)) { _ in Self.table(list.items) }
      }
    }

    static func table(_ items: [BudgetDocument]) -> String {
      var table = Table(
        headings: ["PROJECT", "LIMIT", "PERIOD", "KIND", "GRANTED", "SPENT", "RESERVED", "AVAILABLE", "ALERT", "ENDS"])
      for item in items {
        table.rows.append([
          item.project, item.limit.text, item.period.rawValue, item.hard ? "hard" : "soft", item.granted.text,
          item.spent.text, item.reserved.text, item.available.text, item.alerted > 0 ? "\(item.alerted) %" : "-",
          item.exhaustedAt?.description ?? "-",
        ])
      }
      return table.render()
    }
  }

  struct Transfer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Move money of this period from one project's budget to another's.",
      discussion:
        "Only what is neither spent nor reserved can be moved. The next period begins with each budget's own limit.")
    @Argument(help: "The project that gives.") var from: String
    @Argument(help: "The project that gets.") var to: String
    @Argument(help: "In the currency of both.") var amount: String
    func run() async throws {
      let request = BudgetTransferRequest(amount: try Set.checked(amount), to: to)
      try await withClient { client in
        let _: AcceptedDocument = try await client.post(["v1", "projects", from, "budget", "transfer"], body: request)
        for project in [from, to] {
          let budget: BudgetDocument = try await client.get(["v1", "projects", project, "budget"])
          Terminal.line("\(project): \(budget.available.text) of \(budget.granted.text) available.")
        }
      }
    }
  }

  struct History: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "What moved a project's money, the newest first.")
    @Argument var project: String
    @Option(help: "At most so many; 0 for all.") var limit = 50
    @OptionGroup var output: OutputOption
    func run() async throws {
      let limit = try ListLimit.checked(limit)
      try await withClient { client in
        let found = try await client.pages(limit: limit) { query in
          let page: LedgerHistory = try await client.get(["v1", "projects", project, "budget", "history"], query)
          return (page.items, page.next)
        }
        let list = LedgerHistory(items: found.items, next: nil)
        try output.format.print(list, names: list.items.map { "\($0.sequence)" }) { _ in Self.table(list.items) }
      }
    }

    static func table(_ items: [LedgerEntryDocument]) -> String {
      var table = Table(headings: ["AT", "KIND", "AMOUNT", "FROM", "TO", "RUN", "BY"])
      for item in items {
        table.rows.append([
          item.at.description, item.kind, item.amount.text, item.from, item.to, item.run ?? "-",
          item.actor.isEmpty ? "-" : item.actor,
        ])
      }
      return table.render()
    }
  }
}
