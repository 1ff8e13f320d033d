internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

/// `-o` of what is fed to spreadsheets.
enum SheetFormat: String, CaseIterable, ExpressibleByArgument, Sendable { case table, csv, json }

struct Usage: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "What runs that have ended used and cost.",
    discussion: "Runs of deleted workflows are not in it; their charges are in `fubini budget history`.")
  @Option(help: "user, cluster, template, class, project, or label:KEY.") var by: String?
  @Option(help: "Of runs that ended since: 30m, 2h, 7d, or a moment; else since the month began.") var since: String?
  @Flag(name: [.customShort("A"), .long], help: "Of all projects; needs an administrator's token.")
  var allProjects = false
  @Option(name: [.customShort("o"), .customLong("output")], help: "table, csv or json.") var output = SheetFormat.table
  @OptionGroup var project: ProjectOption

  func run() async throws {
    guard !allProjects || WorkflowFile.namedProject(project.project) == nil else {
      throw CommandFailure(.usage, "-A is all projects, -p one of them: give one of the two.")
    }
    let since = try since.map { try Since.moment($0, now: Display.now) }
    try await withClient(project: project.project) { client in
      var query: [(String, String)] = []
      if let by { query.append(("by", by)) }
      if let since { query.append(("since", since.description)) }
      let list: UsageList = try await client.get(
        allProjects ? ["v1", "usage"] : ["v1", "projects", client.connection.project, "usage"], query)
      switch output {
      case .table: Terminal.write(Self.table(list.items, by ?? (allProjects ? "project" : "user")))
      case .csv: Terminal.write(Self.csv(list.items))
      case .json: Terminal.write(try OutputFormat.json.data(list))
      }
      if list.isTruncated { Terminal.note("There are more lines: ask for one project, or for less time.") }
    }
  }

  static func table(_ items: [UsageDocument], _ by: String) -> String {
    let name = by.split(separator: ":").last.map { $0.uppercased() } ?? "NAME"
    var table = Table(headings: [name, "RUNS", "CORE-HOURS", "GPU-HOURS", "MOVED", "COST"])
    for item in items {
      table.rows.append([
        item.name.isEmpty ? "-" : item.name, "\(item.runs)", hours(item.coreSeconds), hours(item.gpuSeconds),
        "\(ByteCount(item.bytesIn))", item.charge?.text ?? "-",
      ])
    }
    return table.render()
  }

  private static func hours(_ seconds: Double) -> String { "\((seconds / 3.6).rounded() / 1000)" }

  /// RFC 4180. A name that a spreadsheet would take for a formula is given an apostrophe.
  static func csv(_ items: [UsageDocument]) -> String {
    func quoted(_ text: String) -> String {
      let safe = text.first.map { "=+-@\t\r".contains($0) } == true ? "'" + text : text
      guard safe.contains(where: { ",\"\n\r".contains($0) }) else { return safe }
      return "\"" + safe.replacing("\"", with: "\"\"") + "\""
    }
    let lines = items.map { item in
      [
        quoted(item.name), "\(item.runs)", "\(item.coreSeconds)", "\(item.gpuSeconds)", "\(item.bytesIn)",
        item.charge.map { "\($0.amount)" } ?? "", item.charge?.currency ?? "",
      ].joined(separator: ",")
    }
    return (["name,runs,core_seconds,gpu_seconds,bytes_in,charge,currency"] + lines).map { $0 + "\r\n" }.joined()
  }
}

struct Cost: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "What each run of a workflow cost, its prices, and the sum.",
    discussion:
      """
      Prices are those that a run was quoted when it was placed: of a core, a GiB of memory and a GPU for an hour. EGRESS is what \
      clusters ask for the bytes that they sent for it, or are to send: at most what was planned when it was placed.
      """)
  @Argument(help: "The name, or @latest.") var workflow = "@latest"
  @OptionGroup var project: ProjectOption
  @OptionGroup var output: OutputOption

  func run() async throws {
    try await withClient(project: project.project) { client in
      let uid = try await client.detail(workflow).summary.uid
      var total: [MoneyDocument] = []
      let found = try await client.pages(limit: Self.runsMax) { query in
        let page: CostDocument = try await client.get(
          client.workflow(client.connection.project, uid, "cost"), query)
        total = page.total
        return (page.items, page.next)
      }
      let cost = CostDocument(items: found.items, total: total, next: nil)
      try output.format.print(cost, names: cost.items.map(\.run)) { _ in Self.text(cost) }
      if found.isCut { Terminal.note("Only the first \(Self.runsMax) runs are shown; the sum is of all.") }
    }
  }

  private static let runsMax = 10_000

  static func text(_ cost: CostDocument) -> String {
    var table = Table(headings: [
      "NODE", "ATTEMPT", "CLUSTER", "PHASE", "SECONDS", "CORE/GIB/GPU-HOUR", "EGRESS", "COST",
    ])
    for item in cost.items {
      let quote = item.quote.map { quote in
        [quote.coreHour, quote.gibibyteHour, quote.gpuHour].map { Display.price($0, quote.currency) }.map {
          String($0.split(separator: " ")[0])
        }.joined(separator: "/") + " \(quote.currency)"
      }
      table.rows.append([
        item.node, "\(item.epoch)", item.spot == true ? "\(item.cluster) (spot)" : item.cluster, item.phase,
        "\((item.wallSeconds * 100).rounded() / 100)",
        quote ?? "-", egress(item), item.charge?.text ?? "-",
      ])
    }
    let sum = cost.total.isEmpty ? "nothing" : cost.total.map(\.text).joined(separator: " + ")
    return table.render() + "In all: \(sum)\n"
  }

  /// What the sources of a run's inputs ask, and which they are.
  private static func egress(_ item: RunCostDocument) -> String {
    guard let sources = item.egress, !sources.isEmpty else { return "-" }
    let quotes = sources.map {
      EgressQuote(
        source: ClusterName($0.source), gibibyte: $0.gibibyte, planned: ByteCount($0.plannedBytes),
        moved: $0.movedBytes.map { ByteCount($0) })
    }
    let isOver = quotes.allSatisfy { $0.moved != nil }
    let names = quotes.filter { isOver ? $0.moved != .zero : true }.map { Terminal.printable($0.source.text) }
    guard !names.isEmpty else { return "-" }
    let cost = Display.price(isOver ? quotes.cost : quotes.plannedCost, item.quote?.currency)
    return "\(cost) from \(names.joined(separator: ", "))"
  }
}

struct LedgerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ledger", abstract: "The books of all projects: verify.", subcommands: [Verify.self])

  struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Count the books anew, from the first entry; exit code 1 when something does not agree.")
    @OptionGroup var output: OutputOption
    func run() async throws {
      let review: LedgerVerification = try await withClient { try await $0.get(["v1", "ledger", "verify"]) }
      try output.format.print(review, names: []) { _ in Self.text(review) }
      if !review.differences.isEmpty { throw ExitCode(1) }
    }

    static func text(_ review: LedgerVerification) -> String {
      let books = "\(review.entries) entries, \(review.budgets) budgets, \(review.reservations) reservations"
      guard !review.differences.isEmpty else { return "\(books): everything agrees.\n" }
      return "\(books); these do not agree:\n" + review.differences.map { "  \($0)\n" }.joined()
    }
  }
}
