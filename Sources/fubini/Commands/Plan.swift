internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

struct Plan: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say what is expected of a workflow, without submitting it.",
    discussion: """
      Where its tasks would go and why, when they would end, what would be moved, what it would cost, and what would make it cheaper or \
      faster. Nothing is submitted and nothing is moved. How to read it: docs/how-to/read-a-plan.md.
      """)
  @Argument(help: "The document, or - for standard input.") var file: String
  @OptionGroup var parameters: ParameterOptions
  @Option(help: "The project.") var project: String?
  @Option(help: "Replaces spec.entrypoint.") var entrypoint: String?
  @Option(help: "Items that a loop is taken to have of which only a run says how many (1 to 1000).") var fanOut = 4
  @Option(help: "Refuse unknown fields.") var strict = true
  @OptionGroup var output: OutputOption

  func request() throws -> APIClient.Request {
    let values = try parameters.values()
    let body = SubmitRequest(
      document: try WorkflowFile.read(file), parameters: values.isEmpty ? nil : values, entrypoint: entrypoint)
    var query = [("fanOut", String(fanOut))]
    if !strict { query.append(("strict", "false")) }
    return APIClient.Request(
      method: .POST, path: ["v1", "plan"], query: query, body: Array(try JSONEncoder().encode(body)),
      contentType: SubmitRequest.contentType, file: file == "-" ? "stdin" : file)
  }

  func run() async throws {
    guard (1...1000).contains(fanOut) else {
      throw CommandFailure(.usage, "--fan-out takes a number from 1 to 1000.")
    }
    let plan = try await withClient(project: project) { client in
      var request = try request()
      if let named = WorkflowFile.namedProject(project) { request.query.append(("project", named)) }
      let plan: PlanDocument = try await client.decode(request)
      try output.format.print(plan, names: plan.groups.map(\.name)) { isWide in PlanText.text(plan, isWide: isWide) }
      return plan
    }
    if plan.outcome == "Stuck", plan.wantsMoney || plan.isUnplaceable {
      throw ExitCode((plan.wantsMoney ? ErrorCode.budgetDenied : ErrorCode.unplaceable).exitCode)
    }
  }
}

extension PlanDocument {
  /// Some of its tasks no cluster can ever take, as the federation is.
  var isUnplaceable: Bool {
    groups.contains { group in
      group.clusters.values.reduce(0, +) < group.tasks && !group.candidates.isEmpty
        && group.candidates.allSatisfy { $0.rejected != nil && $0.temporary != true }
    }
  }
}

/// A plan as people read it.
enum PlanText {
  private static let rowsMax = 20

  /// - Parameter isWide: with every candidate table, and all transfers.
  static func text(_ plan: PlanDocument, isWide: Bool) -> String {
    var parts = [head(plan), groups(plan)]
    if isWide {
      for group in plan.groups where !group.candidates.isEmpty {
        parts.append("\(group.name): where it could go\n" + Explain.table(group.candidates))
      }
    } else {
      // What has no place says why.
      for group in plan.groups where group.findsNoPlace {
        parts.append("\(group.name) finds no place\n" + Explain.table(group.candidates))
      }
    }
    parts.append(transfers(plan, limit: isWide ? .max : rowsMax))
    parts.append(path(plan, limit: isWide ? .max : rowsMax))
    parts.append(list("Cheaper or faster", plan.improvements.map(\.message)))
    parts.append(list("Not known", plan.unknowns))
    return parts.filter { !$0.isEmpty }.joined(separator: "\n")
  }

  private static func head(_ plan: PlanDocument) -> String {
    var text: String
    let makespan = plan.makespanSeconds
    switch plan.outcome {
    case "Complete": text = "It would take \(Display.duration(makespan.expected))\(range(makespan, Display.duration))"
    case "Stuck" where plan.isUnplaceable: text = "It would not end: some of its tasks find no place"
    case "Stuck": text = "It would wait: no cluster that could take all of its tasks does so now"
    case "Bad": text = "It would end badly after \(Display.duration(makespan.expected)): \(plan.message ?? "")"
    default: text = "It is too large to be planned whole; this is its first \(Display.duration(makespan.expected))"
    }
    for money in plan.money {
      let amount = { Display.price($0, money.currency) }
      text += plan.outcome == "Stuck" ? "\nSo far " : "\nIt would cost "
      text += amount(money.minorUnits.expected) + range(money.minorUnits, amount)
    }
    return Terminal.printable(text) + "\nNothing was submitted.\n"
  }

  private static func range(_ quantity: QuantityDocument, _ text: (Double) -> String) -> String {
    guard let p50 = quantity.p50, let p90 = quantity.p90 else { return "" }
    return " (p50 \(text(p50)), p90 \(text(p90)))"
  }

  private static func groups(_ plan: PlanDocument) -> String {
    var table = Table(headings: ["STEP", "TASKS", "CLUSTERS", "START", "END", "RUN", "FROM", "MOVE", "WHY"])
    for group in plan.groups {
      let clusters = group.clusters.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
      let isSplit = clusters.count > 1
      let names = clusters.map { isSplit ? "\($0.key) x\($0.value)" : $0.key }.joined(separator: ", ")
      table.rows.append([
        group.name, String(group.tasks), names.isEmpty ? "-" : names, moment(group.startSeconds),
        moment(group.endSeconds), Display.duration(group.runtimeSeconds.expected), source(group),
        group.bytesMoved == 0 ? "-" : ByteCount(group.bytesMoved).description,
        group.clusters.isEmpty || group.candidates.isEmpty
          ? "-" : Explain.summary(ExplanationDocument(candidates: group.candidates)),
      ])
    }
    let rest = plan.groupCount - plan.groups.count
    return table.rows.isEmpty ? "" : table.render() + (rest > 0 ? "and \(rest) more steps\n" : "")
  }

  private static func source(_ group: PlannedGroupDocument) -> String {
    group.samples > 0 ? "\(group.samples) run\(group.samples == 1 ? "" : "s")" : group.runtimeFrom
  }

  private static func moment(_ seconds: Double?) -> String { seconds.map { "+" + Display.duration($0) } ?? "-" }

  private static func transfers(_ plan: PlanDocument, limit: Int) -> String {
    guard !plan.transfers.isEmpty else { return "" }
    var table = Table(headings: ["DATA", "FROM", "TO", "SIZE", "START", "TAKES", ""])
    for transfer in plan.transfers.prefix(limit) {
      table.rows.append([
        transfer.key.map(name) ?? "small files", transfer.source, transfer.cluster,
        ByteCount(transfer.bytes).description, moment(transfer.startSeconds), Display.duration(transfer.seconds),
        transfer.speculative ? "ahead" : "",
      ])
    }
    let rest = plan.transfers.count - table.rows.count
    return table.render() + (rest > 0 ? "and \(rest) more transfers (-o wide)\n" : "")
  }

  /// Outputs that the plan's own tasks make have no checksums yet.
  private static func name(_ key: String) -> String {
    if key.hasPrefix("sha256:planned-") { return "an output" }
    return key.hasPrefix("sha256:") ? String(key.prefix(19)) : key
  }

  private static func path(_ plan: PlanDocument, limit: Int) -> String {
    guard plan.criticalPath.count > 0 else { return "" }
    var table = Table(headings: ["CRITICAL PATH", "CLUSTER", "WAIT", "STAGE", "RUN", "END"])
    for step in plan.criticalPath.suffix(limit) {
      table.rows.append([
        step.name, step.cluster ?? "-", Display.duration(step.waitSeconds), Display.duration(step.stageSeconds),
        Display.duration(step.runSeconds), moment(step.endSeconds),
      ])
    }
    return table.render()
  }

  private static func list(_ heading: String, _ lines: [String]) -> String {
    lines.isEmpty ? "" : "\(heading)\n" + lines.map { "  - \(Terminal.printable($0))\n" }.joined()
  }
}
