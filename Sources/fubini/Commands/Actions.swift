internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

/// The commands that change a workflow.
protocol WorkflowAction: AsyncParsableCommand {
  static var verb: String { get }
  /// What is said when it was taken.
  var done: String { get }
  var workflow: String { get }
  associatedtype Project: ProjectNaming
  var project: Project { get }
  var request: WorkflowActionRequest { get throws }
}

extension WorkflowAction {
  var request: WorkflowActionRequest { get throws { WorkflowActionRequest() } }
  func run() async throws {
    let body = try request
    try await withClient(project: project.project) { client in
      let answer: AcceptedDocument = try await client.post(
        client.workflow(client.connection.project, workflow, Self.verb), body: body)
      Terminal.line("\(answer.name): \(done).")
    }
  }
}

struct Stop: WorkflowAction {
  static let configuration = CommandConfiguration(
    abstract: "Stop a workflow; its exit handlers run. With a selector: end nodes that wait for somebody.")
  static let verb = "stop"
  @Argument(help: "The name, or @latest.") var workflow: String
  @Option(help: "Why.") var message: String?
  @Option(help: "Only these suspended nodes, which end Failed: \(NodeSelectorText.help)") var nodeFieldSelector: String?
  @OptionGroup var project: ProjectOption
  var done: String { nodeFieldSelector == nil ? "stopping; exit handlers run" : "nodes ended" }
  var request: WorkflowActionRequest {
    WorkflowActionRequest(message: message, nodeFieldSelector: nodeFieldSelector)
  }
}

struct Terminate: WorkflowAction {
  static let configuration = CommandConfiguration(abstract: "End a workflow at once, without exit handlers.")
  static let verb = "terminate"
  var done: String { "terminating" }
  @Argument(help: "The name, or @latest.") var workflow: String
  @OptionGroup var project: ProjectOption
}

struct Suspend: WorkflowAction {
  static let configuration = CommandConfiguration(abstract: "Start nothing new of a workflow.")
  static let verb = "suspend"
  var done: String { "suspended; what runs goes on" }
  @Argument(help: "The name, or @latest.") var workflow: String
  @OptionGroup var project: ProjectOption
}

struct Resume: WorkflowAction {
  static let configuration = CommandConfiguration(abstract: "Let a suspended workflow, or its suspended nodes, go on.")
  static let verb = "resume"
  @Argument(help: "The name, or @latest.") var workflow: String
  @Option(help: "Only these nodes: \(NodeSelectorText.help)") var nodeFieldSelector: String?
  @Option(name: [.customLong("set")], help: "NAME=VALUE of an output that the suspended node supplies.") var values:
    [String] = []
  @OptionGroup var project: ProjectOption
  var done: String { "resumed" }
  var request: WorkflowActionRequest {
    get throws {
      let parameters = try WorkflowFile.values(values, option: "--set")
      return WorkflowActionRequest(
        nodeFieldSelector: nodeFieldSelector, parameters: parameters.isEmpty ? nil : parameters)
    }
  }
}

struct SetNodes: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Give suspended nodes outputs, a message, or an end.",
    discussion: """
      Without --phase they wait on, and keep what they were given until they are resumed. Argo's `node set` is the same.
      """)
  @Argument(help: "The name, or @latest.") var workflow: String
  @Option(help: "Which nodes: \(NodeSelectorText.help)") var nodeFieldSelector: String
  @Option(
    name: [.customShort("o"), .customLong("output-parameter")],
    help: "NAME=VALUE of an output that the node supplies; as often as needed.")
  var outputs: [String] = []
  @Option(help: "Succeeded, Failed or Error: they end.") var phase: String?
  @Option(help: "What is shown of them.") var message: String?
  @OptionGroup var project: ProjectOption

  func run() async throws {
    let values = try WorkflowFile.values(outputs, option: "-o")
    let body = SetNodesRequest(
      nodeFieldSelector: nodeFieldSelector, phase: phase, message: message, parameters: values.isEmpty ? nil : values)
    try await withClient(project: project.project) { client in
      let answer: AcceptedDocument = try await client.post(
        client.workflow(client.connection.project, workflow, "set"), body: body)
      Terminal.line("\(answer.name): set.")
    }
  }
}

struct Retry: WorkflowAction {
  static let configuration = CommandConfiguration(abstract: "Run the failed nodes of a workflow again.")
  static let verb = "retry"
  @Argument(help: "The name, or @latest.") var workflow: String
  @Option(help: "With --restart-successful, these nodes, too: \(NodeSelectorText.help)") var nodeFieldSelector: String?
  @Flag(help: "Successful nodes that match run again too.") var restartSuccessful = false
  @OptionGroup var parameters: ParameterOptions
  @OptionGroup var project: LongProjectOption
  var done: String { "runs again" }

  func validate() throws {
    guard restartSuccessful == (nodeFieldSelector != nil) else {
      throw ValidationError("--restart-successful and --node-field-selector belong together.")
    }
  }

  var request: WorkflowActionRequest {
    get throws {
      let values = try parameters.values()
      return WorkflowActionRequest(
        nodeFieldSelector: nodeFieldSelector, parameters: values.isEmpty ? nil : values,
        restartSuccessful: restartSuccessful ? true : nil)
    }
  }
}

struct Resubmit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Submit a workflow anew, under a new name.")
  @Argument(help: "The name, or @latest.") var workflow: String
  @Flag(help: "Of a workflow that failed: what succeeded in it is not done again.") var memoized = false
  @OptionGroup var parameters: ParameterOptions
  @OptionGroup var project: LongProjectOption
  @OptionGroup var output: OutputOption

  func run() async throws {
    let values = try parameters.values()
    let body = ResubmitRequest(memoized: memoized ? true : nil, parameters: values.isEmpty ? nil : values)
    try await withClient(project: project.project) { client in
      let answer: SubmitResponse = try await client.post(
        client.workflow(client.connection.project, workflow, "resubmit"), body: body)
      try output.format.print(answer, names: [answer.name]) { _ in "Submitted \(answer.name)\n" }
    }
  }
}

enum NodeSelectorText {
  static let help = "displayName=a,phase!=Succeeded; also name, id, templateName, inputs.parameters.NAME.value."
}

struct Delete: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Delete workflows and their history.")
  @Argument(help: "Names.") var workflows: [String]
  @Flag(name: .shortAndLong, help: "Do not ask before one that runs is ended.") var yes = false
  @OptionGroup var project: ProjectOption
  func run() async throws {
    try await withClient(project: project.project) { client in
      for name in workflows {
        if !yes {
          let detail: WorkflowDetail = try await client.get(client.workflow(client.connection.project, name))
          if !detail.summary.phase.isTerminal {
            try Confirm.ask("\(detail.summary.name) has not ended. End it, and delete its history?", yes: false)
          }
        }
        let answer: AcceptedDocument = try await client.decode(
          .init(method: .DELETE, path: client.workflow(client.connection.project, name)))
        Terminal.line("\(answer.name): deleted.")
      }
    }
  }
}

struct Explain: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say why a node is where it is, or why it waits.",
    discussion: """
      Ends with 3 when every cluster that has joined rejects the node, and none only for now; with 4 when the project's budget would
      have to be larger.
      """)
  @Argument(help: "WORKFLOW/NODE; WORKFLOW alone for the first of what it waits for.") var target = "@latest"
  @OptionGroup var project: ProjectOption
  @OptionGroup var output: OutputOption

  func run() async throws {
    let (workflow, node) = Target.split(target)
    try await withClient(project: project.project) { client in
      let document: ExplanationDocument = try await client.get(
        client.workflow(client.connection.project, workflow, "explain"), node.map { [("node", $0)] } ?? [])
      try output.format.print(document, names: document.candidates.filter(\.chosen).map(\.cluster)) { _ in
        Self.table(document)
      }
      guard !document.wantsMoney else {
        throw CommandFailure(.budgetDenied, "The project's budget does not hold what it may cost.")
      }
      guard document.unplaceable != true else {
        throw CommandFailure(
          .unplaceable, "No cluster that has joined will take it: ask for less, or change the clusters.")
      }
    }
  }

  static func table(_ document: ExplanationDocument) -> String {
    let node = document.node.map { "\($0): " } ?? ""
    let message = document.message.map { Terminal.printable(node + $0) + "\n" } ?? ""
    let priority = document.priority.map { priorityLine($0) + "\n" } ?? ""
    // What waits for a person, or for other nodes, has no clusters to compare.
    let text =
      document.candidates.isEmpty && !message.isEmpty ? message : message + priority + table(document.candidates)
    // The table above is that of the only decision, when there was one alone.
    guard let history = document.history, history.count > 2 else { return text }
    var table = Table(headings: ["WHEN", "WHAT", "CLUSTER", "ATTEMPT", "WHY"])
    for decision in history {
      let why = decision.candidates.map { summary(ExplanationDocument(candidates: $0)) } ?? decision.message
      table.rows.append([
        decision.at.description, decision.kind, decision.cluster ?? "-", decision.attempt.map { String($0) } ?? "-",
        why,
      ])
    }
    return text + "\n" + table.render()
  }

  /// What its place in the order is made of, the first first.
  static func priorityLine(_ priority: PriorityDocument) -> String {
    let slack = priority.slackSeconds.map { "\(Display.duration($0)) of slack" } ?? "no deadline"
    return "priority: class \(Terminal.printable(priority.priorityClass)); share \(priority.sharePlace) of "
      + "\(priority.shareProjects) (factor \(FairShareCommand.decimal(priority.shareFactor, 3))); \(slack); rank "
      + "\(Display.duration(priority.rankSeconds)); has waited \(Display.duration(priority.ageSeconds))"
  }

  static func table(_ candidates: [CandidateDocument]) -> String {
    func seconds(_ value: Double?) -> String { value.map(Display.duration) ?? "-" }
    var table = Table(headings: ["CLUSTER", "", "MOVE", "STAGE", "WAIT", "RUN", "FINISH", "PRICE", "REASON"])
    for candidate in candidates {
      // The figures of a cluster that cannot take it would say that it could.
      if candidate.rejected != nil {
        let blanks = Array(repeating: "-", count: 6)
        table.rows.append([place(candidate), ""] + blanks + [candidate.reason ?? candidate.rejected ?? ""])
        continue
      }
      table.rows.append([
        place(candidate), candidate.chosen ? "CHOSEN" : "",
        move(candidate),
        seconds(candidate.stageSeconds), seconds(candidate.waitSeconds), seconds(candidate.runSeconds),
        seconds(candidate.finishSeconds), Display.price(candidate.priceMinorUnits, candidate.currency),
        candidate.reason ?? "",
      ])
    }
    return table.render()
  }

  private static func place(_ candidate: CandidateDocument) -> String {
    candidate.spot == true ? "\(candidate.cluster) (spot)" : candidate.cluster
  }

  /// What has to be moved and from which cluster, and what is coming already.
  private static func move(_ candidate: CandidateDocument) -> String {
    guard let bytes = candidate.bytesToMove else { return "-" }
    var text = ByteCount(bytes).description
    if bytes > 0, let source = candidate.source { text += " from \(origins(candidate) ?? Terminal.printable(source))" }
    if let coming = candidate.bytesInFlight, coming > 0 { text += ", \(ByteCount(coming)) coming" }
    return text
  }

  /// Where it would come from, with what that costs, when clusters charge for it.
  private static func origins(_ candidate: CandidateDocument) -> String? {
    guard let sources = candidate.sources, let egress = candidate.egressMinorUnits, egress > 0 else { return nil }
    let names = sources.keys.sorted().map { Terminal.printable($0) }.joined(separator: ", ")
    return "\(names) (egress \(Display.price(egress, candidate.currency)))"
  }

  /// What the chosen cluster was expected to cost, finer than money is settled.
  static func quote(_ document: ExplanationDocument) -> String {
    let chosen = document.candidates.first(where: \.chosen)
    return Display.price(chosen?.priceMinorUnits, chosen?.currency)
  }

  /// A few words: what set the chosen cluster apart from the others that could have taken the task.
  static func summary(_ document: ExplanationDocument) -> String {
    guard let chosen = document.candidates.first(where: \.chosen) else { return document.message ?? "-" }
    // A placement policy's grounds are not those of the score.
    if let reason = chosen.reason { return reason }
    let others = document.candidates.filter { !$0.chosen && $0.rejected == nil }
    if others.isEmpty { return document.candidates.count == 1 ? "the only cluster" : "the only one that could take it" }
    func isLeast(_ key: KeyPath<CandidateDocument, Double?>) -> Bool {
      guard let mine = chosen[keyPath: key] else { return false }
      return others.allSatisfy { ($0[keyPath: key] ?? .infinity) > mine }
    }
    var reasons: [String] = []
    if let mine = chosen.bytesToMove, others.allSatisfy({ ($0.bytesToMove ?? 0) > mine }) {
      reasons.append("least data to move")
    }
    if isLeast(\.finishSeconds) { reasons.append("earliest finish") }
    if isLeast(\.priceMinorUnits) { reasons.append("cheapest") }
    return reasons.isEmpty ? "lowest score of \(others.count + 1)" : reasons.joined(separator: ", ")
  }
}
