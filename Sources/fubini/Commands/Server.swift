internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

struct Recover: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "After a restored backup: end the adoption of agents that have seen a later state than the database holds.")
  @Argument(help: "One cluster; every cluster when left out.") var cluster: String?
  @Flag(name: .shortAndLong, help: "Do not ask.") var yes = false
  func run() async throws {
    try Confirm.ask("Place and stop work again on \(cluster ?? "every cluster")?", yes: yes)
    try await withClient { client in
      let path = cluster.map { ["v1", "clusters", $0, "recover"] } ?? ["v1", "recover"]
      let answer: AcceptedDocument = try await client.post(path, body: ClusterActionRequest())
      Terminal.line("\(answer.name): recovered.")
    }
  }
}

struct AuditCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit", abstract: "Who changed what, and who was denied it.", subcommands: [ListAll.self])
  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the newest entries.", aliases: ["ls"])
    @Option(help: "At most so many; 0 for all.") var limit = 50
    @Option(help: "Only what happened since: 30m, 2h, 7d, or a moment like 2026-03-01T12:00:00Z.") var since: String?
    @Option(help: "Only what this user did or was denied.") var actor: String?
    @Flag(help: "Only denials.") var denied = false
    @OptionGroup var output: OutputOption
    func run() async throws {
      let limit = try ListLimit.checked(limit)
      var filter: [(String, String)] = []
      if let since { filter.append(("since", try Since.moment(since, now: Display.now).description)) }
      if let actor { filter.append(("actor", actor)) }
      if denied { filter.append(("denied", "true")) }
      try await withClient { [filter] client in
        let found = try await client.pages(limit: limit) { query in
          let page: AuditList = try await client.get(["v1", "audit"], query + filter)
          return (page.items, page.next)
        }
        let list = AuditList(items: found.items)
        try output.format.print(list, names: list.items.map { String($0.id) }) { _ in
          Table(
            headings: ["AT", "ACTOR", "FROM", "", "ACTION", "OBJECT", "DETAIL"],
            rows: list.items.map {
              [
                $0.at.description, $0.actor.isEmpty ? "-" : $0.actor, $0.address ?? "",
                $0.isDenied == true ? "DENIED" : "", $0.action, $0.object, $0.detail,
              ]
            }
          ).render()
        }
      }
    }
  }
}

struct Version: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "The versions of this program and of the control plane.")
  @Flag(help: "Only this program's.") var client = false
  func run() async throws {
    Terminal.line("fubini \(Fubini.version)")
    let environment = ProcessInfo.processInfo.environment
    let contexts = try ContextFile.load(path: ContextFile.path(environment: environment))
    if client || (environment["FUBINI_URL"] == nil && contexts.current == nil) { return }
    try await withClient { client in
      let server: VersionDocument = try await client.get(["v1", "version"])
      Terminal.line("control plane \(server.version) at \(client.connection.url), federation \(server.federationID)")
    }
  }
}

struct Completion: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Print the completion script of a shell.")
  @Argument(help: "bash, zsh or fish.") var shell: String
  func run() throws {
    guard let shell = CompletionShell(rawValue: shell) else {
      throw CommandFailure(.usage, "Shells are bash, zsh and fish.")
    }
    Terminal.line(Fubini.completionScript(for: shell))
  }
}

struct ContextCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "context", abstract: "The control planes that you work with.",
    subcommands: [ListAll.self, Use.self, Set.self])

  private static var path: String { ContextFile.path(environment: ProcessInfo.processInfo.environment) }

  struct ListAll: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List contexts; * marks the current one.")
    func run() throws {
      let file = try ContextFile.load(path: path)
      let rows = file.contexts.sorted { $0.key < $1.key }.map {
        [$0.key == file.current ? "*" : "", $0.key, $0.value.url, $0.value.project ?? "default"]
      }
      Terminal.write(Table(headings: ["", "NAME", "URL", "PROJECT"], rows: rows).render())
    }
  }
  struct Use: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a context the current one.")
    @Argument var name: String
    func run() throws {
      var file = try ContextFile.load(path: path)
      guard file.contexts[name] != nil else {
        throw CommandFailure(.usage, "There is no context \"\(name)\": see `fubini context list`.")
      }
      file.current = name
      try file.save(path: path)
    }
  }
  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create or change a context.",
      discussion: "The token is taken from FUBINI_TOKEN or from --token-file, never from the command line.")
    @Argument var name: String
    @Option var url: String?
    @Option(help: "A PEM file.") var ca: String?
    @Option(name: [.customShort("p"), .long]) var project: String?
    @Option(help: "A file with the token, or - for standard input.") var tokenFile: String?
    func run() throws {
      var file = try ContextFile.load(path: path)
      let environment = ProcessInfo.processInfo.environment
      guard let url = url ?? file.contexts[name]?.url ?? environment["FUBINI_URL"] else {
        throw CommandFailure(.usage, "A new context needs --url.")
      }
      var context = file.contexts[name] ?? .init(url: url)
      context.url = url
      if let ca { context.certificateAuthority = ca }
      if let project { context.project = project }
      if let tokenFile {
        let text =
          tokenFile == "-"
          ? readLine() : FileManager.default.contents(atPath: tokenFile).map { String(decoding: $0, as: UTF8.self) }
        guard let token = text?.split(whereSeparator: \.isWhitespace).first else {
          throw CommandFailure(.usage, "\(tokenFile) holds no token.")
        }
        context.token = String(token)
      } else if let token = environment["FUBINI_TOKEN"], !token.isEmpty {
        context.token = token
      }
      file.contexts[name] = context
      if file.current == nil { file.current = name }
      try file.save(path: path)
    }
  }
}
