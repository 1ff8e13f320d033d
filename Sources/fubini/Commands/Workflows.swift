internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import NIOHTTP1

/// A document on its way to the control plane, and the values that the caller gives it.
enum WorkflowFile {
  /// - Parameter file: a path, or `-` for standard input.
  static func read(_ file: String) throws -> String {
    guard let data = InputFile.read(file == "-" ? "/dev/stdin" : file, limit: (2 << 20) + 1) else {
      var isDirectory = false
      let isThere = FileManager.default.fileExists(atPath: file, isDirectory: &isDirectory)
      let reason = isDirectory ? "it is a directory" : isThere ? "it may not be read" : "it does not exist"
      throw CommandFailure(.usage, "Cannot read \(file): \(reason).")
    }
    guard data.count <= 2 << 20 else {
      throw CommandFailure(.usage, "\(file) is larger than 2 MiB, the limit of a submission.")
    }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw CommandFailure(.usage, "\(file) is no UTF-8 text.")
    }
    return text
  }

  /// Whether a text is to be submitted as a workflow. What cannot be told is: the server says what is wrong with it.
  static func isOneWorkflow(_ text: String) -> Bool {
    let kinds = text.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("kind:") }.map { line in
      line.dropFirst(5).filter { !$0.isWhitespace && $0 != "\"" && $0 != "'" }
    }
    return kinds.count <= 1 && kinds.allSatisfy { $0.prefix { $0 != "#" } == "Workflow" }
  }

  /// The project that the caller names; nil where the document's namespace may say it.
  static func namedProject(_ option: String?) -> String? {
    option ?? ProcessInfo.processInfo.environment["FUBINI_PROJECT"].flatMap { $0.isEmpty ? nil : $0 }
  }

  /// - Parameter parameters: `NAME=VALUE` each.
  static func values(_ parameters: [String], option: String = "-p") throws -> [String: String] {
    var values: [String: String] = [:]
    for parameter in parameters {
      guard let equals = parameter.firstIndex(of: "="), equals > parameter.startIndex else {
        throw CommandFailure(.usage, "\(option) takes NAME=VALUE, not \"\(parameter)\".")
      }
      values[String(parameter[..<equals])] = String(parameter[parameter.index(after: equals)...])
    }
    return values
  }
}

struct Submit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Submit a workflow (Argo's YAML or JSON), of a file or of what is stored.",
    discussion: """
      A file may hold several documents, also templates, cron workflows and config maps: those are stored first, in place of what is
      there, and then the workflows are submitted. What is set by options needs a single workflow.
      """)
  @Option(name: [.customShort("f"), .customLong("file")], help: "The document, or - for standard input.")
  var fileOption: String?
  @Argument(help: "The same.") var fileArgument: String?
  @Option(help: "Instead of a file: template/NAME, cluster-template/NAME or cron/NAME.") var from: String?
  @OptionGroup var parameters: ParameterOptions
  @Option(help: "The project.") var project: String?
  @Option(help: "Replaces spec.entrypoint.") var entrypoint: String?
  @Option(help: "Replaces metadata.name.") var name: String?
  @Option(help: "Replaces metadata.generateName.") var generateName: String?
  @Option(name: [.customShort("l"), .customLong("label")], help: "KEY=VALUE, added to the labels; as often as needed.")
  var labels: [String] = []
  @Flag(help: "Wait until it ends; with exit code 3 when no cluster would take it for a minute.") var wait = false
  @Flag(help: "Show the tree of nodes until it ends.") var watch = false
  @Flag(help: "Print the logs of all tasks until it ends.") var logs = false
  @Flag(help: "Only check the document.") var dryRun = false
  @Flag(help: "Print the workflow's name and nothing else.") var nameOnly = false
  @Option(help: "Refuse unknown fields.") var strict = true
  @OptionGroup var output: OutputOption

  func validate() throws {
    guard [fileOption, fileArgument, from].compactMap({ $0 }).count == 1 else {
      throw ValidationError("Say what to submit, once: a file, or --from.")
    }
  }

  private var file: String? { fileOption ?? fileArgument }

  func request(_ document: String) throws -> APIClient.Request {
    let values = try parameters.values()
    var marks: [String: String] = [:]
    for label in labels { marks.merge(try ClusterText.labels(label)) { $1 } }
    let body = SubmitRequest(
      document: document, parameters: values.isEmpty ? nil : values, entrypoint: entrypoint, name: name,
      generateName: generateName, labels: marks.isEmpty ? nil : marks, from: from)
    var query: [(String, String)] = []
    if !strict { query.append(("strict", "false")) }
    if dryRun { query.append(("dryRun", "true")) }
    return APIClient.Request(
      method: .POST, path: ["v1", "workflows"], query: query, body: Array(try JSONEncoder().encode(body)),
      contentType: SubmitRequest.contentType, file: file == "-" ? "stdin" : file ?? from)
  }

  /// Several documents, or others than workflows.
  private func apply(_ document: String, _ client: APIClient) async throws {
    guard
      try parameters.values().isEmpty, labels.isEmpty, entrypoint == nil, name == nil, generateName == nil, !wait,
      !watch, !logs
    else {
      throw CommandFailure(
        .usage, "The file holds several documents, or others than a Workflow: submit it without options that need one.")
    }
    var query: [(String, String)] = []
    if let named = WorkflowFile.namedProject(project) { query.append(("project", named)) }
    if !strict { query.append(("strict", "false")) }
    if dryRun { query.append(("dryRun", "true")) }
    let applied: AppliedList = try await client.decode(
      .init(
        method: .POST, path: ["v1", "documents"], query: query, body: Array(document.utf8),
        contentType: "application/yaml", file: file == "-" ? "stdin" : file))
    if nameOnly { return applied.items.forEach { Terminal.line($0.name) } }
    try output.format.print(applied, names: applied.items.map(\.name)) { _ in AppliedText.of(applied) }
  }

  func run() async throws {
    try await withClient(project: project) { client in
      let document = try file.map { try WorkflowFile.read($0) } ?? ""
      if file != nil, !WorkflowFile.isOneWorkflow(document) { return try await apply(document, client) }
      var request = try request(document)
      if let named = WorkflowFile.namedProject(project) { request.query.append(("project", named)) }
      let answer: SubmitResponse = try await client.decode(request)
      if dryRun {
        try output.format.print(answer, names: [answer.name]) { _ in
          "\(answer.project)/\(answer.name) is valid; nothing was stored.\n"
        }
        return
      }
      let name = answer.name
      if nameOnly {
        Terminal.line(name)
      } else {
        try output.format.print(answer, names: [name]) { _ in
          "Submitted \(name)\n"
            + (self.wait || self.watch || self.logs
              ? ""
              : """
              Next:
                fubini watch \(name)
                fubini logs -f \(name)
                fubini stop \(name)

              """)
        }
      }
      var connection = client.connection
      connection.project = answer.project
      let here = APIClient(connection: connection, http: client.http)
      guard self.wait || self.watch || self.logs else { return }
      let uid = answer.uid
      let tree = try await untilInterrupted { try await follow(here, uid) }
      guard let tree else { return Watching.detached(name) }
      try Watching.conclude(tree, quietly: nameOnly)
    }
  }

  /// Shows what was asked for until the workflow ends; with `--wait` no longer than something of it may run one day.
  private func follow(_ client: APIClient, _ uid: String) async throws -> WorkflowTree {
    // The name alone is what the output is for, so the tree goes nowhere.
    let (showsTree, showsLogs) = (watch && (logs || !nameOnly), logs)
    guard showsTree || showsLogs else { return try await WaitProgress(isQuiet: nameOnly).wait(client, uid) }
    let show: @Sendable (@escaping @Sendable (WorkflowTree) -> Void) async throws -> WorkflowTree = { note in
      guard showsLogs else { return try await Watching.run(client, uid, onChange: note) }
      // A tree that is drawn in place and lines of logs would overwrite each other, so changes are lines as well.
      return try await LogReader(client: client, workflow: uid).follow(
        prefixes: true, endsWithNodes: false, selects: { _, _ in true },
        onChange: { tree, news in
          note(tree)
          guard showsTree else { return }
          for line in Watching.lines(news, now: Display.now) { Terminal.line(line) }
        })
    }
    guard wait else { return try await show { _ in } }
    // A tree in place says why its tasks wait, and has no room for lines beside it.
    let isDrawn = !showsLogs && Terminal.standardOutput().isTerminal
    return try await WaitProgress(isQuiet: nameOnly || isDrawn, drawsStatus: false).wait(client, uid, following: show)
  }
}

struct List: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "List workflows, newest first.", aliases: ["ls"])
  @OptionGroup var project: ProjectOption
  @Option(help: "Only these phases, separated by commas.") var phase: String?
  @Option(name: [.customShort("l"), .customLong("selector")], help: "Only with these labels: k=v,k=v.")
  var selector: String?
  @Option(help: "Only those created since: 30m, 2h, 7d, or a moment like 2026-03-01T12:00:00Z.") var since: String?
  @Option(help: "At most so many; 0 for all.") var limit = 50
  @OptionGroup var output: OutputOption

  func run() async throws {
    let limit = try ListLimit.checked(limit)
    let since = try since.map { try Since.moment($0, now: Display.now) }
    try await withClient(project: project.project) { client in
      var filter = [("project", client.connection.project)]
      if let phase { filter.append(("phase", phase)) }
      if let since { filter.append(("since", since.description)) }
      if let selector { filter.append(("labelSelector", selector)) }
      let found = try await client.pages(limit: limit) { query in
        let page: WorkflowList = try await client.get(["v1", "workflows"], filter + query)
        return (page.items, page.next)
      }
      let list = WorkflowList(items: found.items)
      try output.format.print(list, names: list.items.map(\.name)) { isWide in
        let now = Display.now
        var table = Table(
          headings: ["NAME", "PHASE", "TASKS", "DURATION", "AGE"] + (isWide ? ["PROJECT", "UID", "BY", "LABELS"] : [])
            + [
              "MESSAGE"
            ])
        for item in list.items {
          table.rows.append(
            [
              item.name, item.isSuspended ? "Suspended" : item.phase.rawValue, Display.progress(item.tasks),
              Display.span(item.startedAt, item.finishedAt, now: now), Display.span(item.createdAt, nil, now: now),
            ] + (isWide ? [item.project, item.uid, item.createdBy, Display.labels(item.labels)] : [])
              + [Self.message(item)])
        }
        return table.render() + (found.isCut ? "There are more: raise --limit.\n" : "")
      }
    }
  }
}

extension List {
  /// How it ended; while nothing of it runs, what it waits for (invariant I10).
  static func message(_ item: WorkflowSummary) -> String {
    guard item.message.isEmpty, let waiting = item.waiting else { return item.message }
    return "\(waiting.node): \(waiting.reason)"
  }
}

struct Get: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show a workflow and its nodes.")
  @Argument(help: "The name, or @latest.") var workflow = "@latest"
  @Flag(help: "Show where each task ran, why there, and what it cost.") var placement = false
  @OptionGroup var project: ProjectOption
  @OptionGroup var output: OutputOption

  func run() async throws {
    try await withClient(project: project.project) { client in
      let detail = try await client.detail(workflow)
      if placement, output.format == .table || output.format == .wide {
        return Terminal.write(try await placementTable(detail, client))
      }
      try output.format.print(detail, names: [detail.summary.name]) { isWide in
        let terminal = Terminal.standardOutput()
        var text = WorkflowTree(detail).lines(terminal: terminal, now: Display.now).map { $0 + "\n" }.joined()
        for parameter in detail.outputs.parameters {
          text += "output \(Terminal.printable("\(parameter.name) = \(parameter.value)"))\n"
        }
        if isWide {
          text += "uid \(detail.summary.uid), moved \(ByteCount(detail.bytesMoved)), "
          text += "cost \(detail.cost.isEmpty ? "none" : detail.cost.map(\.text).joined(separator: " + "))\n"
        }
        return text
      }
    }
  }

  private func placementTable(_ detail: WorkflowDetail, _ client: APIClient) async throws -> String {
    var table = Table(headings: ["NODE", "CLUSTER", "WHY THERE", "MOVED", "SECONDS", "QUOTED", "PRICE"])
    for node in detail.nodes where node.type == "Pod" && node.run != nil {
      guard let run = node.run else { continue }
      let why: ExplanationDocument = try await client.get(
        client.workflow(client.connection.project, detail.summary.uid, "explain"), [("node", String(node.id))])
      table.rows.append([
        node.name, run.cluster, Explain.summary(why), ByteCount(run.bytesIn + run.bytesOut).description,
        String((run.wallSeconds * 100).rounded() / 100), Explain.quote(why), run.charge?.text ?? "-",
      ])
    }
    return table.render()
  }
}

struct Watch: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show a workflow's nodes as they change, until it ends.")
  @Argument(help: "The name, or @latest.") var workflow = "@latest"
  @OptionGroup var project: ProjectOption

  func run() async throws {
    try await withClient(project: project.project) { client in
      // Once: `@latest` may be another one a moment later, and whoever detaches needs the name.
      let summary = try await client.detail(workflow).summary
      let tree = try await untilInterrupted { try await Watching.run(client, summary.uid) }
      guard let tree else { return Watching.detached(summary.name) }
      try Watching.conclude(tree)
    }
  }
}

struct Logs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the logs of a workflow's tasks, or of one node.")
  @Argument(help: "WORKFLOW or WORKFLOW/NODE.") var target = "@latest"
  @Flag(name: [.customShort("f"), .long], help: "Go on until it ends; waits for what is pending.") var follow = false
  @OptionGroup var filter: LogFilterOptions
  @OptionGroup var project: ProjectOption

  func run() async throws {
    let (workflow, node) = Target.split(target)
    try await withClient(project: project.project) { client in
      let detail = try await client.detail(workflow)
      // A node that does not exist yet may come, unless the workflow has ended.
      if let node, !follow || detail.summary.phase.isTerminal,
        !detail.nodes.contains(where: { Target.matches($0, node) })
      {
        throw CommandFailure(
          .error, "\(detail.summary.name) has no node \"\(node)\": see `fubini get \(detail.summary.name)`.")
      }
      guard filter.isEmpty else {
        let logs = FilteredLogs(client: client, filter: filter, isFollowing: follow)
        let finished: Void? = try await untilInterrupted { try await logs.print(detail.summary.name, node: node) }
        if finished == nil { Watching.detached(detail.summary.name) }
        return
      }
      let selects: @Sendable (NodeDocument, WorkflowTree) -> Bool = { document, tree in
        node.map { tree.isPart(document, of: $0) } ?? true
      }
      let reader = LogReader(client: client, workflow: detail.summary.uid)
      // One node that runs is one log; a node with attempts or parts is several.
      let isOne = detail.nodes.contains { document in
        document.type == "Pod" && node.map { Target.matches(document, $0) } ?? false
      }
      guard follow else {
        try await reader.printAll(detail, prefixes: !isOne, selects: selects)
        if let hint = Self.hint(detail, target: target, selects: selects) { Terminal.note(hint) }
        return
      }
      let finished = try await untilInterrupted {
        try await reader.follow(prefixes: !isOne, endsWithNodes: node != nil, selects: selects)
      }
      if finished == nil { Watching.detached(detail.summary.name) }
    }
  }

  /// Who reads a log that ends here must know whether it will go on; nil when all that was asked for has ended.
  static func hint(
    _ detail: WorkflowDetail, target: String, selects: (NodeDocument, WorkflowTree) -> Bool
  ) -> String? {
    let tree = WorkflowTree(detail)
    let going = tree.tasks.filter { !$0.phase.isTerminal && selects($0, tree) }
    guard let first = going.first else { return nil }
    let who = going.count == 1 ? "\(Terminal.printable(first.displayName)) has" : "\(going.count) tasks have"
    return "\(who) not ended: `fubini logs -f \(Terminal.printable(target))` goes on until the end."
  }
}

/// `--since` of a list.
enum Since {
  /// A moment, or so long before `now`.
  static func moment(_ text: String, now: Timestamp) throws -> WireTime {
    if let time = WireTime(text) { return time }
    guard let seconds = Period.parse(text) else {
      throw CommandFailure(.usage, "--since takes 30m, 2h, 7d, or a moment like 2026-03-01T12:00:00Z, not \"\(text)\".")
    }
    return WireTime(now + .seconds(-seconds))
  }
}

/// `--limit` of a list.
enum ListLimit {
  static func checked(_ limit: Int) throws -> Int {
    guard limit >= 0 else { throw CommandFailure(.usage, "--limit is a number from 0 (all).") }
    return limit == 0 ? .max : limit
  }
}

/// `WORKFLOW/NODE`.
enum Target {
  static func split(_ text: String) -> (workflow: String, node: String?) {
    guard let slash = text.firstIndex(of: "/") else { return (text, nil) }
    return (String(text[..<slash]), String(text[text.index(after: slash)...]))
  }

  static func matches(_ node: NodeDocument, _ text: String) -> Bool {
    node.name == text || node.displayName == text || String(node.id) == text || node.name.hasSuffix("." + text)
  }
}
