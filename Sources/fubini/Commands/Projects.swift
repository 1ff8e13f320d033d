internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

struct ProjectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "project",
    abstract: "Owners of workflows, data and budgets: create, list, get, update, archive, restore, member, quota.",
    subcommands: [
      Create.self, ListAll.self, Get.self, Update.self, Archive.self, Restore.self, ProjectMember.self,
      ProjectQuota.self,
    ])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a project.")
    @Argument(help: "1 to 63 of a-z, 0-9 and -.") var name: String
    @Option(help: "For people.") var description: String?
    @Option(help: "Its part of what is shared, compared with the organisation's other projects; 1.") var weight: Double?
    @Option(help: "Whose it is; the one in which you may make projects, else the federation's own.") var org: String?
    func run() async throws {
      try await withClient { client in
        let answer: AcceptedDocument = try await client.post(
          ["v1", "projects"],
          body: ProjectRequest(name: name, description: description, weight: weight, organisation: org))
        Terminal.line("\(answer.name): created. Limit what it may spend: fubini budget set \(answer.name) 5000 CNY")
      }
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the projects that you may use.", aliases: ["ls"])
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: ProjectList = try await client.get(["v1", "projects"])
        try output.format.print(list, names: list.items.map(\.name)) { _ in Self.table(list.items) }
      }
    }

    static func table(_ items: [ProjectDocument]) -> String {
      var table = Table(headings: ["NAME", "ORG", "STATE", "WEIGHT", "SPENT", "RESERVED", "AVAILABLE", "DESCRIPTION"])
      for item in items {
        let money =
          item.budget.map { [$0.spent.text, $0.reserved.text, $0.available.text] } ?? ["-", "-", "no budget"]
        let weight = item.weight.map { FairShareCommand.decimal($0, 3) } ?? "-"
        let state = item.archivedAt == nil ? "Active" : "Archived"
        table.rows.append([item.name, item.organisation ?? "-", state, weight] + money + [item.description])
      }
      return table.render()
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one project.")
    @Argument var name: String
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let project: ProjectDocument = try await client.get(["v1", "projects", name])
        try output.format.print(project, names: [project.name]) { _ in ListAll.table([project]) }
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change a project's description, or its weight.",
      discussion: "The weight is set by who may set quotas: an administrator of the federation.")
    @Argument var name: String
    @Option(help: "For people.") var description: String?
    @Option(help: "Its part of what is shared, compared with the other projects'.") var weight: Double?

    func validate() throws {
      guard description != nil || weight != nil else { throw ValidationError("Say --description or --weight.") }
    }

    func run() async throws {
      try await withClient { client in
        if let weight {
          let _: AcceptedDocument = try await client.post(
            ["v1", "projects", name, "weight"], body: WeightRequest(weight: weight), method: .PUT)
        }
        if let description {
          let _: AcceptedDocument = try await client.post(
            ["v1", "projects", name], body: ProjectRequest(description: description), method: .PUT)
        }
        Terminal.line("\(name): changed.")
      }
    }
  }

  struct Archive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take nothing new for a project; what runs goes on, and all that it has stays.")
    @Argument var name: String
    func run() async throws {
      try await withClient { client in
        let answer: AcceptedDocument = try await client.post(
          ["v1", "projects", name, "archive"], body: [String: String]())
        Terminal.line("\(answer.name): archived. Open it again: fubini project restore \(answer.name)")
      }
    }
  }

  struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take work for an archived project again.")
    @Argument var name: String
    func run() async throws {
      try await withClient { client in
        let answer: AcceptedDocument = try await client.post(
          ["v1", "projects", name, "restore"], body: [String: String]())
        Terminal.line("\(answer.name): open again.")
      }
    }
  }
}
