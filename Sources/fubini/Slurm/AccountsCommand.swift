internal import FederationAPI
internal import FederationModel
internal import SlurmFrontDoor

/// `sacctmgr show user|account|association|cluster` and `sshare -U`: the projects that one may submit to, as programs look for
/// accounts before they submit.
enum SacctmgrCommand {
  static let table = OptionTable(
    "sacctmgr",
    [
      SlurmOption("associations", "s", .none), SlurmOption("help", "h", .none),
      SlurmOption("immediate", "i", .none, .none("")), SlurmOption("noheader", "n", .none),
      SlurmOption("oneliner", "o", .none, .none("")), SlurmOption("parsable", "p", .none),
      SlurmOption("parsable2", "P", .none), SlurmOption("quiet", "Q", .none, .none("")),
      SlurmOption("readonly", "r", .none, .none("")), SlurmOption("verbose", "v", .none, .none("")),
      SlurmOption("version", "V", .none),
    ])

  private static let entities: [String: [String]] = [
    "user": ["user", "defaultaccount", "admin"], "account": ["account", "descr", "org"],
    "association": ["cluster", "account", "user", "partition", "qos"], "cluster": ["cluster", "controlhost"],
  ]
  private static let headings = [
    "account": "Account", "user": "User", "cluster": "Cluster", "partition": "Partition", "qos": "QOS",
    "defaultaccount": "Def Acct", "admin": "Admin", "descr": "Descr", "org": "Org", "controlhost": "ControlHost",
    "share": "Share",
  ]

  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments)
    var (hasHeading, style) = (true, AccountTable.Style.columns)
    for option in scan.options {
      switch option.name {
      case "help", "version":
        Terminal.line(option.name == "version" ? SbatchCommand.version : "Usage: sacctmgr show ENTITY [format=...]")
        return 0
      case "associations": break
      case "noheader": hasHeading = false
      case "parsable": style = .parsable
      case "parsable2": style = .parsable2
      default: try SqueueCommand.refuse(option, table)
      }
    }
    var words = scan.operands[...]
    guard let verb = words.popFirst()?.lowercased(), ["show", "list"].contains(verb) else {
      throw SlurmRefusal.error("accounts are projects here: `fubini project` and `fubini member` change them")
    }
    let entity = words.popFirst()?.lowercased() ?? ""
    let kinds = ["user", "account", "association", "cluster"]
    guard let kind = kinds.first(where: { entity.count >= 4 && ($0 + "s").hasPrefix(entity) }),
      var fields = entities[kind]
    else {
      throw SlurmRefusal.error("invalid entity: \(entity): user, account, association and cluster are known here")
    }
    if scan.options.contains(where: { $0.name == "associations" }), kind == "user" {
      fields += ["cluster", "account", "partition", "qos"]
    }
    var users: Set<String>?
    var accounts: Set<String>?
    for word in words {
      let halves = word.split(separator: "=", maxSplits: 1).map(String.init)
      let values = (halves.count == 2 ? halves[1] : "").split(separator: ",").map(String.init)
      switch (halves[0].lowercased(), halves.count) {
      case ("format", 2): fields = values
      case ("user", 2), ("users", 2): users = Set(values)
      case ("name", 2), ("names", 2): if kind == "account" { accounts = Set(values) } else { users = Set(values) }
      case ("account", 2), ("accounts", 2): accounts = Set(values)
      case ("where", 1): break
      case (_, 1): if kind == "user" { users = [word] } else if kind == "account" { accounts = [word] }
      case ("cluster", 2), ("clusters", 2): break
      default: throw SlurmRefusal.error("Unknown condition: \(word)")
      }
    }
    let columns = try AccountTable.columns(fields, headings)
    let (shown, heading, names, chosen) = (style, hasHeading, users, accounts)
    return try await withClient { client in
      guard names.map({ $0.contains(SlurmHost.user) }) ?? true else { return 0 }
      var rows: [[String: String]] = []
      if kind == "cluster" {
        rows = [["cluster": "fubini", "controlhost": client.connection.url]]
      } else {
        let projects = try await AccountTable.projects(client)
        for project in projects where chosen?.contains(project) ?? true {
          rows.append([
            "account": project, "user": SlurmHost.user, "cluster": "fubini", "qos": "normal", "descr": project,
            "defaultaccount": client.connection.project, "admin": "None",
          ])
          // Without associations a user is one line.
          if kind == "user", !columns.contains(where: { $0.name == "account" }) { break }
        }
      }
      AccountTable(columns: columns, style: shown).print(rows, hasHeading: heading)
      return 0
    }
  }
}

enum SshareCommand {
  static let table = OptionTable(
    "sshare",
    [
      SlurmOption("accounts", "A"), SlurmOption("all", "a", .none, .refused("`fubini fair-share` shows all shares")),
      SlurmOption("format", "o"), SlurmOption("help", nil, .none), SlurmOption("noheader", "n", .none),
      SlurmOption("noheader", "h", .none), SlurmOption("parsable", "p", .none), SlurmOption("parsable2", "P", .none),
      SlurmOption("users", "u", .required, .none("one's own accounts are shown")),
      SlurmOption("Users", "U", .none, .none("")), SlurmOption("usage", nil, .none),
      SlurmOption("version", "V", .none), SlurmOption("verbose", "v", .none, .none("")),
    ])

  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments)
    var (hasHeading, style, fields) = (true, AccountTable.Style.columns, ["account", "user"])
    var accounts: Set<String>?
    for option in scan.options {
      let values = (option.value ?? "").split(separator: ",").map(String.init)
      switch option.name {
      case "help", "usage", "version":
        Terminal.line(option.name == "version" ? SbatchCommand.version : "Usage: sshare [OPTIONS]")
        return 0
      case "noheader": hasHeading = false
      case "parsable": style = .parsable
      case "parsable2": style = .parsable2
      case "format": fields = values
      case "accounts": accounts = Set(values)
      default: try SqueueCommand.refuse(option, table)
      }
    }
    let columns = try AccountTable.columns(fields, ["account": "Account", "user": "User", "cluster": "Cluster"])
    let (shown, heading, chosen) = (style, hasHeading, accounts)
    return try await withClient { client in
      let projects = try await AccountTable.projects(client).filter { chosen?.contains($0) ?? true }
      AccountTable(columns: columns, style: shown).print(
        projects.map { ["account": $0, "user": SlurmHost.user, "cluster": "fubini"] }, hasHeading: heading)
      return 0
    }
  }
}

/// Accounts as Slurm's commands print them.
struct AccountTable: Sendable {
  enum Style: Hashable, Sendable { case columns, parsable, parsable2 }
  struct Column: Hashable, Sendable {
    var name: String
    var heading: String
    var width = 10
    var isLeft = false
  }
  var columns: [Column]
  var style: Style

  /// `account%256`, `user%-20`.
  static func columns(_ fields: [String], _ headings: [String: String]) throws(SlurmRefusal) -> [Column] {
    var columns: [Column] = []
    for field in fields {
      let halves = field.split(separator: "%", maxSplits: 1).map(String.init)
      let name = (halves.first ?? "").lowercased()
      guard let heading = headings[name] else { throw .error("Unknown field '\(halves.first ?? "")'") }
      var column = Column(name: name, heading: heading)
      if halves.count == 2, let width = Int(halves[1]) {
        (column.width, column.isLeft) = (min(abs(width), 4096), width < 0)
      }
      columns.append(column)
    }
    return columns
  }

  func print(_ rows: [[String: String]], hasHeading: Bool) {
    func line(_ value: (Column) -> String) -> String {
      switch style {
      case .parsable: return columns.map { value($0) + "|" }.joined()
      case .parsable2: return columns.map(value).joined(separator: "|")
      case .columns:
        return columns.map { column in
          let text = String(value(column).prefix(column.width))
          let blanks = String(repeating: " ", count: column.width - text.count)
          return (column.isLeft ? text + blanks : blanks + text) + " "
        }.joined()
      }
    }
    if hasHeading {
      Terminal.line(line(\.heading))
      if style == .columns { Terminal.line(line { String(repeating: "-", count: $0.width) }) }
    }
    for row in rows { Terminal.line(Terminal.printable(line { row[$0.name] ?? "" })) }
  }

  /// The projects that one may use.
  static func projects(_ client: APIClient) async throws -> [String] {
    let user: UserDocument = try await client.get(["v1", "userinfo"])
    var projects = Set(user.projects)
    if user.isAdmin {
      let list: ProjectList = try await client.get(["v1", "projects"])
      projects.formUnion(list.items.map(\.name))
    }
    return projects.sorted()
  }
}
