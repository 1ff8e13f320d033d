internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

/// What the commands for templates, cron workflows and config maps have in common.
enum StoredObjects {
  /// Below a project, or of the federation.
  static func path(_ kind: StoredObjectKind, _ client: APIClient) -> [String] {
    let project = ["v1", "projects", client.connection.project]
    return switch kind {
    case .workflowTemplate: project + ["templates"]
    case .clusterWorkflowTemplate: ["v1", "cluster-templates"]
    case .cronWorkflow: project + ["cron-workflows"]
    case .configMap: project + ["config-maps"]
    }
  }

  /// Sends the documents of a file, which must be of one kind.
  ///
  /// - Parameter how: queries that say what becomes of them.
  static func send(
    _ file: String, of kind: StoredObjectKind, _ how: [(String, String)], _ project: ProjectOption,
    _ output: OutputOption
  ) async throws {
    let document = try WorkflowFile.read(file)
    try await withClient(project: project.project) { client in
      var query = [("kinds", kind.rawValue)] + how
      if let named = WorkflowFile.namedProject(project.project) { query.append(("project", named)) }
      let applied: AppliedList = try await client.decode(
        .init(
          method: .POST, path: ["v1", "documents"], query: query, body: Array(document.utf8),
          contentType: "application/yaml", file: file == "-" ? "stdin" : file))
      try output.format.print(applied, names: applied.items.map(\.name)) { _ in AppliedText.of(applied) }
    }
  }

  static func list(
    _ kind: StoredObjectKind, _ selector: String?, _ limit: Int, _ project: ProjectOption, _ output: OutputOption
  ) async throws {
    let limit = try ListLimit.checked(limit)
    try await withClient(project: project.project) { client in
      let filter = selector.map { [("labelSelector", $0)] } ?? []
      let found = try await client.pages(limit: limit) { query in
        let page: StoredDocumentList = try await client.get(path(kind, client), filter + query)
        return (page.items, page.next)
      }
      let list = StoredDocumentList(items: found.items)
      try output.format.print(list, names: list.items.map(\.name)) { isWide in
        table(list.items, kind, isWide: isWide).render() + (found.isCut ? "There are more: raise --limit.\n" : "")
      }
    }
  }

  private static func table(_ items: [StoredDocument], _ kind: StoredObjectKind, isWide: Bool) -> Table {
    let now = Display.now
    let isCron = kind == .cronWorkflow
    var table = Table(
      headings: ["NAME"] + (isCron ? ["SCHEDULES", "STATE", "LAST", "NEXT", "ACTIVE"] : [])
        + ["AGE"] + (isWide ? ["GENERATION", "CHANGED BY", "UID", "LABELS"] : []) + (isCron ? ["MESSAGE"] : []))
    for item in items {
      var row = [item.name]
      if isCron { row += cells(item.cron, now: now) }
      row.append(Display.span(item.createdAt, nil, now: now))
      if isWide { row += [String(item.generation), item.changedBy, item.uid, Display.labels(item.labels)] }
      if isCron { row.append(item.cron?.message ?? "") }
      table.rows.append(row)
    }
    return table
  }

  private static func cells(_ cron: CronDocument?, now: Timestamp) -> [String] {
    guard let cron else { return ["-", "-", "-", "-", "-"] }
    let state = cron.isStopped ? "Stopped" : cron.isSuspended ? "Suspended" : "Active"
    return [
      cron.schedules.joined(separator: "; "), state,
      cron.lastScheduledAt.map { "\(Display.span($0, nil, now: now)) ago" } ?? "-", cron.nextAt?.description ?? "-",
      String(cron.active.count),
    ]
  }

  static func get(
    _ kind: StoredObjectKind, _ name: String, _ project: ProjectOption, _ output: OutputOption
  ) async throws {
    try await withClient(project: project.project) { client in
      let object: StoredDocument = try await client.get(path(kind, client) + [name])
      try output.format.print(object, names: [object.name]) { isWide in
        var text = table([object], kind, isWide: isWide).render()
        if kind == .configMap {
          for (key, value) in (object.document?["data"]?.objectValue ?? [:]).sorted(by: { $0.key < $1.key }) {
            text += Terminal.printable("\(key)=\(value.stringValue ?? "")") + "\n"
          }
        }
        if let active = object.cron?.active, !active.isEmpty { text += "active: \(active.joined(separator: ", "))\n" }
        return text
      }
    }
  }

  static func delete(
    _ kind: StoredObjectKind, _ names: [String], yes: Bool, _ project: ProjectOption
  ) async throws {
    try Confirm.ask("Delete \(kind.word) \(names.joined(separator: ", "))?", yes: yes)
    try await withClient(project: project.project) { client in
      for name in names {
        let answer: AcceptedDocument = try await client.decode(
          .init(method: .DELETE, path: path(kind, client) + [name]))
        Terminal.line("\(answer.name): deleted.")
      }
    }
  }
}

enum AppliedText {
  static func of(_ applied: AppliedList) -> String {
    applied.items.map { item in
      "\(item.kind) \(item.project.map { "\($0)/" } ?? "")\(item.name): \(item.outcome.rawValue)\n"
    }.joined()
  }
}

struct TemplateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "template", abstract: "Workflow templates of a project: create, apply, list, get, delete, lint.",
    subcommands: [
      SendObject<TemplateKind, Creating>.self, SendObject<TemplateKind, Applying>.self, ListObjects<TemplateKind>.self,
      GetObject<TemplateKind>.self, DeleteObject<TemplateKind>.self, SendObject<TemplateKind, Checking>.self,
    ])
}

struct ClusterTemplateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster-template",
    abstract: "Workflow templates of the federation, for every project: create, apply, list, get, delete, lint.",
    subcommands: [
      SendObject<ClusterTemplateKind, Creating>.self, SendObject<ClusterTemplateKind, Applying>.self,
      ListObjects<ClusterTemplateKind>.self, GetObject<ClusterTemplateKind>.self,
      DeleteObject<ClusterTemplateKind>.self, SendObject<ClusterTemplateKind, Checking>.self,
    ])
}

struct CronCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cron",
    abstract: "Workflows that run by the clock: create, apply, list, get, suspend, resume, delete.",
    subcommands: [
      SendObject<CronKind, Creating>.self, SendObject<CronKind, Applying>.self, ListObjects<CronKind>.self,
      GetObject<CronKind>.self,
      Suspend.self, Resume.self, DeleteObject<CronKind>.self, SendObject<CronKind, Checking>.self,
    ])

  struct Suspend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let a cron workflow start nothing until it is resumed.")
    @Argument var name: String
    @OptionGroup var project: ProjectOption
    func run() async throws { try await CronCommand.act("suspend", "suspended", name, project) }
  }

  struct Resume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let a suspended cron workflow go on.")
    @Argument var name: String
    @OptionGroup var project: ProjectOption
    func run() async throws { try await CronCommand.act("resume", "resumed", name, project) }
  }

  private static func act(_ verb: String, _ done: String, _ name: String, _ project: ProjectOption) async throws {
    try await withClient(project: project.project) { client in
      let object: StoredDocument = try await client.decode(
        .init(method: .POST, path: StoredObjects.path(.cronWorkflow, client) + [name, verb]))
      Terminal.line("\(object.name): \(done).")
    }
  }
}

struct ConfigMapCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "configmap",
    abstract: "Texts that workflows take: set, list, get, delete.",
    discussion: "Parameters take values when a workflow is submitted, environments and volumes when a run starts.",
    subcommands: [
      Set.self, ListObjects<ConfigMapKind>.self, GetObject<ConfigMapKind>.self, DeleteObject<ConfigMapKind>.self,
    ])

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set all values of a config map; what it had before is replaced.")
    @Argument var name: String
    @Option(name: [.customShort("d"), .customLong("data")], help: "KEY=VALUE; may be repeated.") var data: [String] = []
    @Option(help: "KEY=FILE: the value is what the file holds, without line ends at its end; may be repeated.")
    var file: [String] = []
    @Option(name: [.customShort("l"), .customLong("label")], help: "KEY=VALUE; may be repeated.") var labels: [String] =
      []
    @OptionGroup var project: ProjectOption

    func run() async throws {
      var values = try WorkflowFile.values(data)
      if !file.isEmpty {
        values.merge(try SecretValues.read(files: file, envFile: nil, standardInput: nil)) { $1 }
      }
      var marks: [String: String] = [:]
      for label in labels { marks.merge(try ClusterText.labels(label)) { $1 } }
      let request = ConfigMapRequest(data: values, labels: marks.isEmpty ? nil : marks)
      try await withClient(project: project.project) { client in
        let object: StoredDocument = try await client.post(
          StoredObjects.path(.configMap, client) + [name], body: request, method: .PUT)
        Terminal.line("\(object.name): set (\(request.data.keys.sorted().joined(separator: ", "))).")
      }
    }
  }
}

// MARK: One command for all kinds

protocol StoredKind: Sendable { static var kind: StoredObjectKind { get } }
enum TemplateKind: StoredKind { static let kind = StoredObjectKind.workflowTemplate }
enum ClusterTemplateKind: StoredKind { static let kind = StoredObjectKind.clusterWorkflowTemplate }
enum CronKind: StoredKind { static let kind = StoredObjectKind.cronWorkflow }
enum ConfigMapKind: StoredKind { static let kind = StoredObjectKind.configMap }

/// What becomes of the documents of a file.
protocol Sending: Sendable {
  static var name: String { get }
  static var abstract: String { get }
  static var query: [(String, String)] { get }
}
enum Creating: Sending {
  static let name = "create", abstract = "Make what a file says; what is there already is refused."
  static let query = [("create", "true")]
}
enum Applying: Sending {
  static let name = "apply", abstract = "Make what a file says, or put it in the place of what is there."
  static let query: [(String, String)] = []
}
enum Checking: Sending {
  static let name = "lint", abstract = "Check what a file says without storing it."
  static let query = [("dryRun", "true")]
}

struct SendObject<Kind: StoredKind, How: Sending>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: How.name, abstract: How.abstract)
  }
  @Argument(help: "The documents, or - for standard input.") var file: String
  @OptionGroup var project: ProjectOption
  @OptionGroup var output: OutputOption
  func run() async throws { try await StoredObjects.send(file, of: Kind.kind, How.query, project, output) }
}

struct ListObjects<Kind: StoredKind>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: "list", abstract: "List them, by name.", aliases: ["ls"])
  }
  @Option(
    name: [.customShort("l"), .customLong("selector")], help: "Only with these labels: k=v, k!=v, k in (v, w), k.")
  var selector: String?
  @Option(help: "At most so many; 0 for all.") var limit = 100
  @OptionGroup var project: ProjectOption
  @OptionGroup var output: OutputOption
  func run() async throws { try await StoredObjects.list(Kind.kind, selector, limit, project, output) }
}

struct GetObject<Kind: StoredKind>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: "get", abstract: "Show one; with -o json or yaml also what its author wrote.")
  }
  @Argument var name: String
  @OptionGroup var project: ProjectOption
  @OptionGroup var output: OutputOption
  func run() async throws { try await StoredObjects.get(Kind.kind, name, project, output) }
}

struct DeleteObject<Kind: StoredKind>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(
      commandName: "delete", abstract: "Delete them. What was submitted of them goes on.", aliases: ["rm"])
  }
  @Argument var names: [String]
  @Flag(name: .shortAndLong, help: "Do not ask.") var yes = false
  @OptionGroup var project: ProjectOption
  func run() async throws { try await StoredObjects.delete(Kind.kind, names, yes: yes, project) }
}
