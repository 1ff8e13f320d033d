internal import FederationAPI
internal import FederationModel
internal import NIOHTTP1
internal import SlurmFrontDoor

enum ScancelCommand {
  static let table = OptionTable(
    "scancel",
    [
      SlurmOption("account", "A"), SlurmOption("cluster"), SlurmOption("clusters", "M"),
      SlurmOption("help", nil, .none),
      SlurmOption("jobname", "n"), SlurmOption("name", nil), SlurmOption("me", nil, .none),
      SlurmOption("partition", "p"), SlurmOption("qos", "q"), SlurmOption("quiet", "Q", .none),
      SlurmOption("reservation", "R"), SlurmOption("state", "t"), SlurmOption("user", "u"),
      SlurmOption("usage", nil, .none), SlurmOption("verbose", "v", .none), SlurmOption("version", "V", .none),
      SlurmOption("batch", "b", .none, .refused("a signal goes to all of a job")),
      SlurmOption("full", "f", .none, .none("the end of a job is the end of all of it")),
      SlurmOption("hurry", "H", .none, .none("there are no burst buffers")),
      SlurmOption("interactive", "i", .none, .refused("no questions are asked; squeue shows what would end")),
      SlurmOption("nodelist", "w", .required, .refused("nodes are not chosen by name across clusters")),
      SlurmOption("signal", "s", .required, .refused("only the end of a job can be asked for, not another signal")),
      SlurmOption("ctld", nil, .none, .none("the control plane sends it in any case")),
      SlurmOption("sibling", nil, .required, .refused("a job is on one cluster alone")),
    ])

  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments)
    var question = SqueueCommand.Question()
    var (hasFilter, isQuiet, isVerbose) = (false, false, false)
    for option in scan.options {
      let value = option.value ?? ""
      let list = Set(value.split(separator: ",").map(String.init))
      switch option.name {
      case "help", "usage", "version":
        Terminal.line(option.name == "version" ? SbatchCommand.version : "Usage: scancel [OPTIONS] [job_id...]")
        return 0
      case "quiet": isQuiet = true
      case "verbose": (isQuiet, isVerbose) = (false, true)
      case "account": question.accounts = list
      case "cluster", "clusters": question.clusters = value == "all" ? nil : list
      case "jobname", "name": question.names = list
      case "me": question.users = [SlurmHost.user]
      case "partition": question.partitions = list
      case "qos": question.qualities = list
      case "reservation": question.reservations = list
      case "state":
        let states = value.split(separator: ",").map { JobState(String($0)) }
        guard states.allSatisfy({ $0 == .pending || $0 == .running || $0 == .suspended }), !states.isEmpty else {
          throw SlurmRefusal.plain("Invalid job state specified: \(value)").adding(
            "\u{1}Valid job states are PENDING, RUNNING, and SUSPENDED")
        }
        question.states = Set(states.compactMap { $0 })
      case "user": question.users = list
      default: try SqueueCommand.refuse(option, table)
      }
      hasFilter = hasFilter || !["quiet", "verbose", "full", "hurry", "ctld"].contains(option.name)
    }
    guard !scan.operands.isEmpty || hasFilter else { throw SlurmRefusal.error("No job identification provided") }
    if !scan.operands.isEmpty {
      question.selectors = try JobSelector.list(scan.operands.joined(separator: ",")) { .error("Invalid job id \($0)") }
    }
    // Where no job is named only one's own are meant: whoever may end others' names them, or their user.
    if question.selectors == nil, question.users == nil { question.users = [SlurmHost.user] }
    let (asked, quietly, loudly) = (question, isQuiet, isVerbose)
    return try await withClient { try await cancel(asked, quietly, loudly, $0) }
  }

  private static func cancel(
    _ question: SqueueCommand.Question, _ isQuiet: Bool, _ isVerbose: Bool, _ client: APIClient
  ) async throws -> Int32 {
    let reading = JobReading(client: client)
    var jobs: [FederationAPI.JobDocument]
    var code: Int32 = 0
    func complain(_ text: String) {
      code = 1
      if !isQuiet { Terminal.note("scancel: error: \(text)") }
    }
    if let selectors = question.selectors {
      jobs = try await reading.jobs(numbered: selectors.map(\.job))
      let lines = jobs.flatMap { JobLine.of($0) }
      // As in Slurm, an id of which there is nothing to end is told to who wants to hear, and is no failure.
      for selector in selectors where isVerbose {
        let named = lines.filter { selector.names($0) }
        guard !named.contains(where: \.state.isOpen) else { continue }
        let why = named.isEmpty ? "Invalid job id specified" : "Job/step already completing or completed"
        Terminal.note("scancel: error: Kill job error on job id \(selector.job): \(why)")
      }
    } else {
      jobs = try await reading.jobs([("open", "true")])
    }
    for job in jobs {
      let open = JobLine.of(job).filter { $0.state.isOpen }
      let chosen = open.filter(question.shows)
      guard !chosen.isEmpty else { continue }
      let tasks = chosen.count == open.count ? nil : chosen.flatMap(\.tasks)
      do {
        let _: AcceptedDocument = try await client.post(
          ["v1", "projects", job.project, "jobs", "\(job.number)", "cancel"], body: JobCancelRequest(tasks: tasks))
      } catch let failure as CommandFailure {
        complain("Kill job error on job id \(job.number): \(failure.message)")
      }
    }
    return code
  }
}

enum ScontrolCommand {
  static let table = OptionTable(
    "scontrol",
    [
      SlurmOption("clusters", "M", .required, .none("all clusters are one federation")),
      SlurmOption("oneliner", "o", .none), SlurmOption("quiet", "Q", .none), SlurmOption("help", "h", .none),
      SlurmOption("all", "a", .none, .none("everything is shown")), SlurmOption("details", "d", .none, .none("")),
      SlurmOption("version", "V", .none), SlurmOption("verbose", "v", .none, .none("")),
    ])

  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments)
    for option in scan.options { if option.name != "oneliner", option.name != "quiet" { try check(option) } }
    if scan.options.contains(where: { $0.name == "version" }) {
      Terminal.line(SbatchCommand.version)
      return 0
    }
    let isOneLine = scan.options.contains { $0.name == "oneliner" }
    var words = scan.operands[...]
    let verb = words.popFirst()?.lowercased() ?? ""
    switch verb {
    case "show":
      var entity = words.popFirst()?.lowercased() ?? ""
      var rest = Array(words)
      if let equals = entity.firstIndex(of: "=") {
        rest.insert(String(entity[entity.index(after: equals)...]), at: 0)
        entity = String(entity[..<equals])
      }
      switch entity {
      case "job", "jobs", "jobid": return try await show(rest, isOneLine)
      case "config", "configuration": return try await showConfiguration()
      case "partition", "partitions": return try await showPartitions(rest.first, isOneLine)
      case "hostnames", "hostname":
        for name in NodeList.names(rest.first ?? SlurmHost.environment["SLURM_JOB_NODELIST"] ?? "") {
          Terminal.line(Terminal.printable(name))
        }
        return 0
      default:
        throw SlurmRefusal.plain(
          "invalid entity:\(entity) for keyword:show: job, config, partition and hostnames are shown here; `sinfo` has "
            + "the clusters")
      }
    case "hold", "uhold", "release": return try await hold(Array(words), verb != "release")
    case "ping":
      try await withClient { client in
        let _: JobList = try await client.get(["v1", "jobs"], [("limit", "1")])
        Terminal.line("Slurmctld(primary) at \(client.connection.url) is UP")
      }
      return 0
    default:
      throw SlurmRefusal.plain("invalid keyword: \(verb): show, hold, release and ping are known here")
    }
  }

  private static func check(_ option: GivenOption) throws {
    guard option.name != "help" else {
      throw SlurmRefusal(
        lines: ["show job [ID] | config | partition [NAME] | hostnames LIST, hold ID..., release ID..., ping"],
        exitCode: 0)
    }
    guard option.name != "version" else { return }
    try SqueueCommand.refuse(option, table)
  }

  private static func show(_ words: [String], _ isOneLine: Bool) async throws -> Int32 {
    let selectors = try JobSelector.list(words.joined(separator: ",")) { .error("Invalid job id specified: \($0)") }
    return try await withClient { client in
      try await JobFiles(client: client).fetchEnded()
      let reading = JobReading(client: client)
      let jobs =
        try await selectors.isEmpty ? reading.jobs([("open", "true")]) : reading.jobs(numbered: selectors.map(\.job))
      let lines = jobs.sorted { $0.number < $1.number }.flatMap { JobLine.of($0) }.filter { line in
        selectors.isEmpty || selectors.contains { $0.names(line) }
      }
      guard !lines.isEmpty else {
        if selectors.isEmpty {
          Terminal.line("No jobs in the system")
          return 0
        }
        throw SlurmRefusal.plain("slurm_load_jobs error: Invalid job id specified")
      }
      let notes = Dictionary(jobs.map { ($0.number, $0.details.notes) }, uniquingKeysWith: { first, _ in first })
      for line in JobLine.joined(lines) {
        var text = JobRecord.text(line, SlurmHost.moment)
        for note in notes[line.job] ?? [] { text += "   Note=\(note)\n" }
        if isOneLine { text = text.replacing("\n   ", with: " ") }
        Terminal.line(Terminal.printable(text))
      }
      return 0
    }
  }

  /// What programs look for: how large an array may be, and for how long ended jobs are told.
  private static func showConfiguration() async throws -> Int32 {
    try await withClient { client in
      // As Slurm's, it fails where nobody answers.
      let _: JobList = try await client.get(["v1", "jobs"], [("limit", "1")])
      let values = [
        ("ClusterName", "fubini"), ("MaxArraySize", "\(TaskArray.countMax + 1)"),
        ("MinJobAge", "\(SqueueCommand.rememberedSeconds) sec"), ("SlurmctldHost[0]", client.connection.url),
        ("SLURM_VERSION", String(SbatchCommand.version.dropFirst("slurm ".count))),
      ]
      let now = SlurmTime.moment(SlurmHost.moment.now, offset: SlurmHost.moment.offset) ?? ""
      Terminal.line("Configuration data as of \(now)")
      for (name, value) in values {
        Terminal.line(name + String(repeating: " ", count: max(0, 24 - name.count)) + "= " + value)
      }
      return 0
    }
  }

  private static func showPartitions(_ name: String?, _ isOneLine: Bool) async throws -> Int32 {
    try await withClient { client in
      let list: ClusterList = try await client.get(["v1", "clusters"])
      let partitions = Dictionary(grouping: list.items.map { SinfoCommand.line($0) }, by: \.partition)
      let chosen = partitions.keys.sorted().filter { name == nil || $0 == name }
      if let name, chosen.isEmpty { throw SlurmRefusal(lines: ["Partition \(name) not found"], exitCode: 1) }
      for partition in chosen {
        var text = ClusterLine.record(partition, partitions[partition] ?? [])
        if isOneLine { text = text.replacing("\n   ", with: " ") }
        Terminal.line(Terminal.printable(text))
      }
      return 0
    }
  }

  private static func hold(_ words: [String], _ isHeld: Bool) async throws -> Int32 {
    guard !words.isEmpty else {
      throw SlurmRefusal.plain("too few arguments for keyword:\(isHeld ? "hold" : "release")")
    }
    let verb = isHeld ? "hold" : "release"
    let selectors = try JobSelector.list(words.joined(separator: ",")) { .error("Invalid job id specified: \($0)") }
    return try await withClient { client in
      let jobs = try await JobReading(client: client).jobs(numbered: selectors.map(\.job))
      for selector in selectors {
        guard selector.tasks == nil else {
          throw SlurmRefusal.error("\(verb) of single tasks of an array is not supported here: name the job")
        }
        guard let job = jobs.first(where: { JobLine.of($0).contains(where: selector.names) }) else {
          throw SlurmRefusal.plain("Invalid job id specified for job \(selector.job)").adding(
            "\u{1}slurm_suspend error: Invalid job id specified")
        }
        let _: AcceptedDocument = try await client.decode(
          .init(method: .POST, path: ["v1", "projects", job.project, "jobs", "\(job.number)", verb]))
      }
      return 0
    }
  }
}
