internal import FederationAPI
internal import FederationModel
internal import SlurmFrontDoor

enum SinfoCommand {
  static let table = OptionTable(
    "sinfo",
    [
      SlurmOption("all", "a", .none, .none("all partitions are shown")), SlurmOption("cluster"),
      SlurmOption("clusters", "M"), SlurmOption("hide", nil, .none, .none("nothing is hidden")),
      SlurmOption("noconvert", nil, .none, .none("amounts are in mebibytes")),
      SlurmOption("reservation", "T", .none, .refused("reservations are the Slurm clusters' own")),
      SlurmOption("sort", "S", .required, .none("partitions are sorted by name")),
      SlurmOption("yaml", nil, .none, .refused("`fubini cluster list -o yaml` has all of it")),
      SlurmOption("exact", "e", .none, .none("clusters are told as they are")),
      SlurmOption("federation", nil, .none, .none("all clusters are one federation")), SlurmOption("Format", "O"),
      SlurmOption("format", "o"), SlurmOption("help", nil, .none),
      SlurmOption("local", nil, .none, .none("all clusters are one federation")),
      SlurmOption("long", "l", .none), SlurmOption("Node", "N", .none), SlurmOption("nodes", "n"),
      SlurmOption("noheader", "h", .none), SlurmOption("partition", "p"), SlurmOption("responding", "r", .none),
      SlurmOption("dead", "d", .none), SlurmOption("states", "t"), SlurmOption("summarize", "s", .none),
      SlurmOption("usage", nil, .none), SlurmOption("version", "V", .none),
      SlurmOption("verbose", "v", .none, .none("")),
      SlurmOption("json", nil, .none, .refused("`fubini cluster list -o json` has all of it")),
      SlurmOption("list-reasons", "R", .none, .refused("`fubini cluster list -o wide` shows them")),
    ])

  private struct Question: Sendable {
    var hasHeading = true
    var partitions: Set<String>?
    var clusters: Set<String>?
    var states: Set<ClusterLine.State>?
    var format: ClusterFormat?
    var (isLong, isByNode, isSummary) = (false, false, false)

    var chosen: ClusterFormat {
      if let format { return format }
      if isByNode { return isLong ? .longByNode : .byNode }
      return isSummary ? .summary : isLong ? .long : .standard
    }

    func shows(_ line: ClusterLine) -> Bool {
      (partitions.map { $0.contains(line.name) || $0.contains(line.partition) } ?? true)
        && (clusters?.contains(line.name) ?? true) && (states?.contains(line.state) ?? true)
    }
  }

  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments)
    var question = Question()
    if let format = SlurmHost.environment["SINFO_FORMAT"], !format.isEmpty {
      question.format = try ClusterFormat(format)
    }
    for option in scan.options {
      let value = option.value ?? ""
      let list = Set(value.split(separator: ",").map(String.init))
      switch option.name {
      case "help", "usage", "version":
        Terminal.line(option.name == "version" ? SbatchCommand.version : "Usage: sinfo [OPTIONS]")
        return 0
      case "noheader": question.hasHeading = false
      case "partition": question.partitions = list
      case "cluster", "clusters": question.clusters = value == "all" ? nil : list
      case "nodes": question.clusters = Set(NodeList.names(value))
      case "format": question.format = try ClusterFormat(value)
      case "Format": question.format = try ClusterFormat(fields: value)
      case "long": question.isLong = true
      case "Node": question.isByNode = true
      case "summarize": question.isSummary = true
      case "responding": question.states = Set(ClusterLine.State.allCases).subtracting([.down])
      case "dead": question.states = [.down]
      case "states": question.states = try states(value)
      default: try SqueueCommand.refuse(option, table)
      }
    }
    if let stray = scan.operands.first { throw SlurmRefusal.error("Unrecognized option: \(stray)") }
    let asked = question
    try await withClient { client in
      let list: ClusterList = try await client.get(["v1", "clusters"])
      let lines = list.items.map(line).sorted { ($0.partition, $0.name) < ($1.partition, $1.name) }
      for text in asked.chosen.lines(lines.filter(asked.shows), hasHeading: asked.hasHeading) {
        Terminal.line(Terminal.printable(text))
      }
    }
    return 0
  }

  private static func states(_ text: String) throws(SlurmRefusal) -> Set<ClusterLine.State>? {
    if text.lowercased() == "all" { return nil }
    var found: Set<ClusterLine.State> = []
    for word in text.lowercased().split(separator: ",") {
      guard let state = ClusterLine.State.allCases.first(where: { $0.rawValue == word || $0.compact == word }) else {
        throw .error("Bad state string: \"\(text)\"")
      }
      found.insert(state)
    }
    return found
  }

  /// A cluster is a node; its label `partition`, or its own name, is its partition.
  static func line(_ cluster: ClusterDocument) -> ClusterLine {
    let state: ClusterLine.State =
      switch cluster.state {
      case "Ready": (cluster.live?.activeRuns ?? 0) > 0 ? .mixed : .idle
      case "Draining": .draining
      case "Cordoned": .drained
      default: .down
      }
    var line = ClusterLine(
      name: cluster.name, partition: cluster.labels[JobDraft.partitionLabel] ?? cluster.name, state: state)
    line.reason = cluster.reason
    if let live = cluster.live {
      (line.cpus, line.memoryMebibytes) = (live.cpuMillicores / 1000, live.memoryBytes >> 20)
      (line.gpus, line.gpuTypes) = (live.gpus, live.gpuTypes)
    }
    return line
  }
}
