internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import SlurmFrontDoor

enum SqueueCommand {
  static let table = OptionTable(
    "squeue",
    [
      SlurmOption("accounts", "A"), SlurmOption("all", "a", .none, .none("all partitions are shown")),
      SlurmOption("array", "r", .none), SlurmOption("array-unique", nil, .none, .none("tasks are shown by themselves")),
      SlurmOption("clusters", "M"), SlurmOption("Format", "O"), SlurmOption("format", "o"),
      SlurmOption("help", nil, .none),
      SlurmOption("hide", nil, .none, .none("nothing is hidden")),
      SlurmOption("noconvert", nil, .none, .none("amounts are shown as they were asked for")),
      SlurmOption("priority", "P", .none, .none("a job has one partition")),
      SlurmOption("sib", nil, .none, .none("all clusters are one federation")),
      SlurmOption("sibling", nil, .none, .none("all clusters are one federation")),
      SlurmOption("yaml", nil, .none, .refused("--json has the same")), SlurmOption("node"), SlurmOption("nodes"),
      SlurmOption("jobs", "j", .optional), SlurmOption("json", nil, .none),
      SlurmOption("licenses", "L"), SlurmOption("local", nil, .none, .none("all clusters are one federation")),
      SlurmOption("federation", nil, .none, .none("all clusters are one federation")),
      SlurmOption("long", "l", .none), SlurmOption("me", nil, .none), SlurmOption("name", "n"),
      SlurmOption("noheader", "h", .none), SlurmOption("partitions", "p"), SlurmOption("qos", "q"),
      SlurmOption("sort", "S", .required, .none("newest jobs come last")),
      SlurmOption("start", nil, .none, .refused("`fubini plan` and `fubini explain` say when a job may start")),
      SlurmOption("states", "t"), SlurmOption("steps", "s", .optional, .refused("there are no steps of jobs here")),
      SlurmOption("user", "u"), SlurmOption("users"), SlurmOption("usage", nil, .none),
      SlurmOption("verbose", "v", .none, .none("")), SlurmOption("version", "V", .none), SlurmOption("iterate", "i"),
      SlurmOption("nodelist", "w"),
      SlurmOption("reservation", "R"),
    ])

  /// What is asked for, and how it is printed.
  struct Question {
    var selectors: [JobSelector]?
    var states: Set<JobState>? = [.pending, .running, .suspended, .completing, .configuring]
    var users: Set<String>?
    var names: Set<String>?
    var accounts: Set<String>?
    var partitions: Set<String>?
    var qualities: Set<String>?
    var clusters: Set<String>?
    var reservations: Set<String>?
    var constraints: Set<String>?
    var format = QueueFormat.standard
    var hasHeading = true
    var isJSON = false
    var isExpanded = false
    var interval: Int64?

    func shows(_ line: JobLine) -> Bool {
      (selectors?.contains { $0.names(line) } ?? true) && (states?.contains(line.state) ?? true)
        && (users?.contains(line.user) ?? true) && (names?.contains(line.name) ?? true)
        && (accounts.map { $0.contains(line.account) || $0.contains(line.project) } ?? true)
        && (partitions.map { $0.contains(line.partition) || $0.contains(line.cluster) } ?? true)
        && (qualities?.contains(line.qos) ?? true) && (clusters?.contains(line.cluster) ?? true)
        && (reservations?.contains(line.reservation) ?? true) && (constraints?.contains(line.constraint) ?? true)
    }
  }

  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments)
    if let question = scan.options.first(where: { ["help", "usage", "version"].contains($0.name) }) {
      Terminal.line(question.name == "version" ? SbatchCommand.version : "Usage: squeue [OPTIONS]")
      return 0
    }
    let question = try Self.question(scan)
    repeat {
      try await withClient { try await show(question, $0) }
      if let seconds = question.interval { try await Task.sleep(for: .seconds(seconds)) }
    } while question.interval != nil
    return 0
  }

  private static func question(_ scan: OptionTable.Scan) throws -> Question {
    var question = Question()
    let environment = SlurmHost.environment
    if let format = environment["SQUEUE_FORMAT"], !format.isEmpty { question.format = try QueueFormat(format) }
    if let states = environment["SQUEUE_STATES"], !states.isEmpty { question.states = try JobState.list(states) }
    for option in scan.options {
      let value = option.value ?? ""
      let list = Set(value.split(separator: ",").map(String.init))
      switch option.name {
      case "accounts": question.accounts = list
      case "array": question.isExpanded = true
      case "clusters": question.clusters = value == "all" ? nil : list
      case "Format": question.format = try QueueFormat(fields: value)
      case "format": question.format = try QueueFormat(value)
      case "jobs":
        guard !value.isEmpty else { continue }
        question.selectors = try JobSelector.list(value) { .error("Invalid job id: \($0)") }
      case "json": question.isJSON = true
      case "long": question.format = .long
      case "me": question.users = [SlurmHost.user]
      case "name": question.names = list
      case "noheader": question.hasHeading = false
      case "partitions": question.partitions = list
      case "qos": question.qualities = list
      case "reservation": question.reservations = list
      // A cluster is a node.
      case "node", "nodes", "nodelist": question.clusters = Set(NodeList.names(value))
      case "states": question.states = try JobState.list(value)
      case "user", "users": question.users = list
      case "iterate":
        guard let seconds = Int64(value), seconds > 0 else { throw SlurmRefusal.error("--iterate=\(value)") }
        question.interval = seconds
      default: try refuse(option, table)
      }
    }
    // `squeue -j 1 2`: the optional argument of -j stands by itself.
    if !scan.operands.isEmpty, scan.options.contains(where: { $0.name == "jobs" && $0.value == nil }) {
      question.selectors = try JobSelector.list(scan.operands.joined(separator: ",")) {
        .error("Invalid job id: \($0)")
      }
    } else if let stray = scan.operands.first {
      throw SlurmRefusal.error("Unrecognized option: \(stray)")
    }
    return question
  }

  /// Tells a person that an option has no effect.
  ///
  /// - Throws: for an option that is refused.
  static func refuse(_ option: GivenOption, _ table: OptionTable) throws {
    switch table[option.name]?.effect {
    case .refused(let reason)?: throw SlurmRefusal.error("--\(option.name) is not supported here: \(reason)")
    case .none(let reason)?:
      guard Terminal.notesAreRead, !reason.isEmpty else { return }
      Terminal.note("\(table.program): --\(option.name) has no effect here: \(reason)")
    case nil: break
    case .obeyed?:
      throw SlurmRefusal.error("--\(option.name) is not supported here")
    }
  }

  private static func show(_ question: Question, _ client: APIClient) async throws {
    let reading = JobReading(client: client)
    var jobs: [FederationAPI.JobDocument]
    if let selectors = question.selectors {
      jobs = try await reading.jobs(numbered: selectors.map(\.job))
      let known = jobs.flatMap { JobLine.of($0) }
      if selectors.count == 1, !known.contains(where: { selectors[0].names($0) }) {
        throw SlurmRefusal.plain("slurm_load_jobs error: Invalid job id specified")
      }
    } else if question.states?.allSatisfy(\.isOpen) == true {
      jobs = try await reading.jobs([("open", "true")])
    } else {
      // As Slurm, which forgets jobs some minutes after their end.
      let since = WireTime(SlurmHost.moment.now + .seconds(-Self.rememberedSeconds))
      jobs = try await reading.jobs([("since", since.description)])
    }
    // Whoever sees that a job has gone finds its files.
    try await JobFiles(client: client).fetchEnded()
    jobs.sort { $0.number < $1.number }
    let moment = SlurmHost.moment
    let lines = jobs.flatMap { JobLine.of($0) }.filter(question.shows)
    if question.isJSON {
      let document: JSONValue = [
        "meta": ["Slurm": ["release": .string(SbatchCommand.version)]], "errors": [],
        "jobs": .array(lines.map(JobRecord.json)),
      ]
      return Terminal.line(document.description)
    }
    if question.hasHeading { Terminal.line(question.format.heading) }
    for line in question.isExpanded ? lines : JobLine.joined(lines) {
      Terminal.line(Terminal.printable(question.format.line(line, moment)))
    }
  }

  static let rememberedSeconds: Int64 = 86_400
}
