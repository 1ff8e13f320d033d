internal import FederationAPI
internal import FederationModel
internal import SlurmFrontDoor

enum SacctCommand {
  static let table = OptionTable(
    "sacct",
    [
      SlurmOption("batch-script", "B", .none, .refused("scripts are not shown")), SlurmOption("cluster"),
      SlurmOption("associations", "x", .required, .refused("accounts are projects: -A")),
      SlurmOption("completion", "c", .none, .refused("jobs are told by the control plane alone")),
      SlurmOption("constraints", "C"),
      SlurmOption("env-vars", nil, .none, .refused("environments are not shown")), SlurmOption("fields"),
      SlurmOption("federation", nil, .none, .none("all clusters are one federation")),
      SlurmOption("file", "f", .required, .refused("jobs are told by the control plane alone")),
      SlurmOption("flags", "F", .required, .refused("jobs have no flags of Slurm's scheduler here")),
      SlurmOption("json", nil, .none, .refused("squeue --json -t all has it")),
      SlurmOption("local", nil, .none, .none("all clusters are one federation")),
      SlurmOption("ncpus", "I", .required, .refused("--format=ncpus shows them")),
      SlurmOption("nnodes", "i", .required, .refused("--format=nnodes shows them")), SlurmOption("nodelist", "N"),
      SlurmOption("timelimit-max", "K", .required, .refused("--format=timelimit shows it")),
      SlurmOption("timelimit-min", "k", .required, .refused("--format=timelimit shows it")), SlurmOption("uid"),
      SlurmOption("use-local-uid", nil, .none, .none("users are told by name")),
      SlurmOption("wckeys", "W", .required, .refused("use is accounted for by project and workflow")),
      SlurmOption("whole-hetjob", nil, .optional, .none("there are no heterogeneous jobs")),
      SlurmOption("yaml", nil, .none, .refused("squeue --json -t all has it")),
      SlurmOption("accounts", "A"), SlurmOption("allocations", "X", .none),
      SlurmOption("allclusters", "L", .none, .none("")),
      SlurmOption("allusers", "a", .none), SlurmOption("brief", "b", .none), SlurmOption("clusters", "M"),
      SlurmOption("delimiter"), SlurmOption("endtime", "E"), SlurmOption("format", "o"),
      SlurmOption("help", "h", .none),
      SlurmOption("helpformat", "e", .none), SlurmOption("jobs", "j"), SlurmOption("long", "l", .none),
      SlurmOption("name"), SlurmOption("noconvert", nil, .none, .none("amounts are shown as they were asked for")),
      SlurmOption("noheader", "n", .none), SlurmOption("parsable", "p", .none), SlurmOption("parsable2", "P", .none),
      SlurmOption("partition", "r"), SlurmOption("qos", "q"), SlurmOption("starttime", "S"), SlurmOption("state", "s"),
      SlurmOption("user", "u"), SlurmOption("usage", nil, .none),
      SlurmOption("units", nil, .required, .none("amounts are shown as they were asked for")),
      SlurmOption("duplicates", "D", .none, .none("a job has one line, however often it ran")),
      SlurmOption("truncate", "T", .none, .none("times are shown as they were")),
      SlurmOption("version", "V", .none), SlurmOption("verbose", "v", .none, .none("")),
    ])

  /// What is asked for, and how it is printed.
  struct Question {
    var filter = SqueueCommand.Question()
    var format = AccountingFormat.standard
    var style = AccountingFormat.Style.columns
    var hasSteps = true
    var since: Timestamp?
    var until: Timestamp?

    /// Lists that are given several times add up, as in Slurm's `sacct` (and not in its `squeue`): `-j 1 -j 2` is two jobs.
    init(_ options: [GivenOption], user: String, _ moment: DisplayMoment) throws {
      func time(_ text: String) throws -> Timestamp {
        guard let time = SlurmTime.moment(text, now: moment.now, offset: moment.offset, isForward: false) else {
          throw SlurmRefusal.plain("Invalid time specification (pos=0): \(text)")
        }
        return time
      }
      func add(_ value: String, to list: inout Set<String>?) {
        list = (list ?? []).union(value.split(separator: ",").map(String.init))
      }
      filter.states = nil
      var hasAllUsers = false
      var states: [String] = []
      var fields: [String] = []
      var delimiter = "|"
      for option in options {
        let value = option.value ?? ""
        switch option.name {
        case "allusers": hasAllUsers = true
        case "user", "uid":
          hasAllUsers = value == "-1"
          if !hasAllUsers { add(value, to: &filter.users) }
        case "accounts": add(value, to: &filter.accounts)
        case "partition": add(value, to: &filter.partitions)
        case "qos": filter.qualities = Set(value.split(separator: ",").map(String.init))
        case "constraints": add(value, to: &filter.constraints)
        case "nodelist": filter.clusters = Set(NodeList.names(value))
        case "cluster", "clusters":
          if ["all", "-1"].contains(value) { filter.clusters = nil } else { add(value, to: &filter.clusters) }
        case "name": add(value, to: &filter.names)
        case "state": states.append(value)
        case "jobs":
          let named = try JobSelector.list(value) { .error("Invalid job id: \($0)") }
          if !named.isEmpty { filter.selectors = (filter.selectors ?? []) + named }
        case "format", "fields": fields.append(value)
        case "long": format = .long
        case "brief": format = try AccountingFormat("jobid,state,exitcode")
        case "parsable": style = .parsable(delimiter)
        case "parsable2": style = .parsable2(delimiter)
        case "delimiter": delimiter = value
        case "noheader": filter.hasHeading = false
        case "starttime": since = try time(value)
        // All that there is was submitted before now, whatever this machine's clock says.
        case "endtime": until = value.lowercased() == "now" ? nil : try time(value)
        case "allocations": hasSteps = false
        default: try SqueueCommand.refuse(option, table)
        }
      }
      if !states.isEmpty { filter.states = try JobState.list(states.joined(separator: ",")) }
      if !fields.isEmpty { format = try AccountingFormat(fields.joined(separator: ",")) }
      if hasAllUsers {
        filter.users = nil
      } else if filter.users == nil, filter.selectors == nil {
        filter.users = [user]
      }
      switch style {
      case .columns: break
      case .parsable: style = .parsable(delimiter)
      case .parsable2: style = .parsable2(delimiter)
      }
    }
  }

  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments)
    for option in scan.options {
      switch option.name {
      case "help", "usage": Terminal.line("Usage: sacct [OPTIONS]")
      case "version": Terminal.line(SbatchCommand.version)
      case "helpformat": Terminal.line(AccountingFormat.fieldNames.joined(separator: " "))
      default: continue
      }
      return 0
    }
    let moment = SlurmHost.moment
    let question = try Question(scan.options, user: SlurmHost.user, moment)
    if let stray = scan.operands.first { throw SlurmRefusal.error("Unknown arguments:\n sacct: error:  \(stray)") }
    try await withClient { client in
      try await JobFiles(client: client).fetchEnded()
      let filter = question.filter
      let jobs = try await jobs(filter, question.since, moment, client)
      if filter.hasHeading { Terminal.write(question.format.heading(question.style)) }
      for line in jobs.sorted(by: { $0.number < $1.number }).flatMap({ JobLine.of($0) }).filter(filter.shows) {
        if let until = question.until, line.submittedAt > until { continue }
        let rows = question.hasSteps ? [line] + line.steps : [line]
        for row in rows where filter.selectors?.contains(where: { $0.namesExactly(row) }) ?? true {
          Terminal.write(Terminal.printable(question.format.line(row, question.style, moment)))
        }
      }
    }
    return 0
  }

  private static func jobs(
    _ question: SqueueCommand.Question, _ since: Timestamp?, _ moment: DisplayMoment, _ client: APIClient
  ) async throws -> [FederationAPI.JobDocument] {
    let reading = JobReading(client: client)
    if let selectors = question.selectors { return try await reading.jobs(numbered: selectors.map(\.job)) }
    let midnight = SlurmTime.moment("today", now: moment.now, offset: moment.offset, isForward: false) ?? moment.now
    var query = [("since", WireTime(since ?? midnight).description)]
    if let name = question.names?.first, question.names?.count == 1 { query.append(("name", name)) }
    return try await reading.jobs(query)
  }
}
