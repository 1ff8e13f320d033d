internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import NIOHTTP1

/// `fubini org`.
struct OrganisationCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "org",
    abstract: "Organisations and who has which role in them: create, list, get, update, grant, member.",
    discussion: """
      An organisation has projects, and a part of what is shared for all of them together. The one called default is the federation's \
      own: its roles hold in every organisation, and for clusters and prices.
      """,
    subcommands: [Create.self, ListAll.self, Get.self, Update.self, Grant.self, Member.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make an organisation.")
    @Argument(help: "1 to 63 of a-z, 0-9 and -.") var name: String
    @Option(help: "For people.") var description: String?
    @Option(help: "Its part of what is shared, compared with the other organisations'; 1.") var weight: Double?
    func run() async throws {
      try await withClient { client in
        let answer: AcceptedDocument = try await client.post(
          ["v1", "organisations"],
          body: OrganisationRequest(name: name, description: description, weight: weight))
        Terminal.line(
          "\(answer.name): created. Give it an administrator: fubini org member add USER --role org-admin --org "
            + answer.name)
      }
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the organisations that you belong to.", aliases: ["ls"])
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: OrganisationList = try await client.get(["v1", "organisations"])
        try output.format.print(list, names: list.items.map(\.name)) { _ in Self.table(list.items) }
      }
    }

    static func table(_ items: [OrganisationDocument]) -> String {
      var table = Table(headings: ["NAME", "WEIGHT", "GRANT", "IN BUDGETS", "PROJECTS", "DESCRIPTION"])
      for item in items {
        let projects = item.projects.isEmpty ? "-" : item.projects.joined(separator: ",")
        table.rows.append([
          item.name, FairShareCommand.decimal(item.weight, 3), item.grant?.text ?? "-", item.budgeted?.text ?? "-",
          projects, item.description,
        ])
      }
      return table.render()
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one organisation.")
    @Argument var name: String
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let found: OrganisationDocument = try await client.get(["v1", "organisations", name])
        try output.format.print(found, names: [found.name]) { _ in ListAll.table([found]) }
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change an organisation's description, or its weight.",
      discussion: "The weight is set by an administrator of the federation.")
    @Argument var name: String
    @Option(help: "For people.") var description: String?
    @Option(help: "Its part of what is shared, compared with the other organisations'.") var weight: Double?

    func validate() throws {
      guard description != nil || weight != nil else { throw ValidationError("Say --description or --weight.") }
    }

    func run() async throws {
      try await withClient { client in
        let path = ["v1", "organisations", name]
        if let weight {
          let _: AcceptedDocument = try await client.post(path, body: OrganisationRequest(weight: weight), method: .PUT)
        }
        if let description {
          let _: AcceptedDocument = try await client.post(
            path, body: OrganisationRequest(description: description), method: .PUT)
        }
        Terminal.line("\(name): changed.")
      }
    }
  }

  struct Grant: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Bound what the budgets of an organisation's projects may have together.",
      discussion: """
        The limits of their budgets, each for its own period, are together no more than that; they are in its currency, and hard. A \
        project without a budget takes no work then. Set by an administrator of the federation. none: nothing bounds them any more.
        """)
    @Argument var name: String
    @Argument(help: "As 50000 or 0.25; none.") var amount: String
    @Argument(help: "Three capital letters: CNY, EUR.") var currency: String?

    func validate() throws {
      guard (amount == "none") == (currency == nil) else {
        throw ValidationError("Say an amount and its currency, as 50000 CNY, or none.")
      }
    }

    func run() async throws {
      try await withClient { client in
        let path = ["v1", "organisations", name, "grant"]
        if let currency {
          let _: AcceptedDocument = try await client.post(
            path, body: GrantRequest(amount: amount, currency: currency), method: .PUT)
        } else {
          let _: AcceptedDocument = try await client.decode(.init(method: .DELETE, path: path))
        }
        let found: OrganisationDocument = try await client.get(["v1", "organisations", name])
        Terminal.line(
          found.grant.map { "\(name): \($0.text) granted, \(found.budgeted?.text ?? "0") in budgets." }
            ?? "\(name): nothing bounds its budgets.")
      }
    }
  }

  struct Member: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "member",
      abstract: "Roles in all projects of an organisation, or in the whole federation: add, remove, list.",
      discussion: """
        Roles: org-admin (everything; makes projects, and without --org organisations), auditor (reads members, tokens and money), \
        budget-admin (money). Without --org they hold in the whole federation, and there is also operator (clusters and prices).
        """, subcommands: [Add.self, Remove.self, List.self])
  }

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give a user a role in an organisation, or in the federation.")
    @Argument var user: String
    @Option(help: "org-admin, auditor or budget-admin; without --org also operator.") var role: String
    @Option(help: "The organisation; the whole federation when left out.") var org: String?
    func run() async throws { try await Members.add(user, role, OrganisationCommand.path(org)) }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take a role in an organisation, or in the federation, from a user. It acts at once.")
    @Argument var user: String
    @Option(help: "Only this role; all that the user has there when left out.") var role: String?
    @Option(help: "The organisation; the whole federation when left out.") var org: String?
    func run() async throws { try await Members.remove(user, role, OrganisationCommand.path(org)) }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the members of an organisation, or of the federation.", aliases: ["ls"])
    @Option(help: "The organisation; the whole federation when left out.") var org: String?
    @OptionGroup var output: OutputOption
    func run() async throws { try await Members.list(OrganisationCommand.path(org), output) }
  }

  private static func path(_ organisation: String?) -> [String] {
    organisation.map { ["v1", "organisations", $0, "members"] } ?? ["v1", "members"]
  }
}
