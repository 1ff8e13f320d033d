/// What a submission asks for, from directives, environment and command line together.
public struct BatchRequest: Hashable, Sendable {
  public enum Export: Hashable, Sendable {
    case all
    case none
    /// These of the submitting environment, and these values; with `ALL` in the list the whole of it, too.
    case list(names: [String], values: [String: String], isAll: Bool)
  }
  /// A signal before the time is up.
  public struct Warning: Hashable, Sendable {
    public var signal: String
    public var secondsBefore: Int64
    /// `B:` sends it to the script's own shell alone; else to what the script has started.
    public var isForShell: Bool
    public init(signal: String, secondsBefore: Int64, isForShell: Bool) {
      self.signal = signal
      self.secondsBefore = secondsBefore
      self.isForShell = isForShell
    }
  }

  public var jobName: String?
  public var account: String?
  public var partition: String?
  public var qos: String?
  public var clusters: [String] = []
  /// `--nodelist` and `--exclude`, of which `NodeList` is a list of clusters here.
  public var nodes: [String] = []
  public var excludedNodes: [String] = []
  public var comment: String?
  public var constraint: String?
  public var reservation: String?
  public var licences: String?
  public var isExclusive = false
  /// Whether a Slurm cluster may put it back into its queue; nil: nothing was said.
  public var requeues: Bool?
  /// `--nodes`, of a range the smallest number; nil: nothing was said.
  public var nodesAsked: Int64?
  public var tasks: Int64?
  public var tasksPerNode: Int64?
  public var tasksPerGPU: Int64?
  public var cpusPerTask: Int64 = 1
  public var cpusPerGPU: Int64?
  public var leastCPUs: Int64 = 0
  public var memoryPerNode: Int64?
  public var memoryPerCPU: Int64?
  public var memoryPerGPU: Int64?
  public var gpus: Int64?
  public var gpusPerNode: Int64?
  public var gpusPerTask: Int64?
  public var gpuType: String?
  /// nil: the cluster's own limit.
  public var timeSeconds: Int64?
  public var array: TaskArray?
  public var dependency: JobDependency?
  public var killsOnInvalidDependency = false
  public var begin: String?
  public var isHeld = false
  public var directory: String?
  public var output: String?
  public var error: String?
  public var input: String?
  public var appends = false
  public var export = Export.all
  public var warning: Warning?
  public var wrapped: String?
  public var waits = false
  public var isParsable = false
  public var isTestOnly = false
  public var isQuiet = false
  public var verbosity = 0
  public var asksFor: String?
  /// What was taken without effect: `--nice: ...`.
  public var notes: [String] = []

  public init() {}

  /// Directives first, then the environment, then the command line: the later one wins.
  public init(
    directives: [GivenOption], environment: [GivenOption], arguments: [GivenOption]
  ) throws(SlurmRefusal) {
    for source in [directives, environment, arguments] {
      // A later source may have another kind in place of an earlier one's.
      let kinds = Set(source.map(\.name)).intersection(["mem", "mem-per-cpu", "mem-per-gpu"])
      guard kinds.count <= 1 else {
        throw SlurmRefusal(
          lines: ["fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive."], exitCode: 1)
      }
      for option in source { try apply(option) }
    }
    try check()
  }

  /// Nodes of the job. Tasks that are counted for each node say how many it takes; fewer tasks than nodes need fewer.
  public var nodeCount: Int64 {
    if let nodesAsked { return max(1, min(nodesAsked, tasks ?? nodesAsked)) }
    guard let tasks, let tasksPerNode else { return 1 }
    return (tasks + tasksPerNode - 1) / tasksPerNode
  }
  /// Tasks of the job, however they were counted.
  public var taskCount: Int64 {
    tasks ?? tasksPerNode.map { $0 * nodeCount }
      ?? tasksPerGPU.map { $0 * max(1, gpus ?? (gpusPerNode ?? 0) * nodeCount) } ?? nodeCount
  }
  /// On the node that has most of them.
  public var tasksOnNode: Int64 { Self.share(taskCount, nodeCount) }
  /// Each node has as many CPUs, GPUs and as much memory as the one with most tasks.
  public var cpusOnNode: Int64 {
    max(cpusPerGPU.map { $0 * gpusOnNode } ?? 0, tasksOnNode * cpusPerTask, leastCPUs)
  }
  public var gpusOnNode: Int64 {
    gpus.map { Self.share($0, nodeCount) } ?? gpusPerNode ?? gpusPerTask.map { $0 * tasksOnNode }
      ?? tasks.flatMap { total in tasksPerGPU.map { Self.share(Self.share(total, nodeCount), $0) } } ?? 0
  }
  /// nil: nothing was said, or a whole node's.
  public var memoryOnNodeMebibytes: Int64? {
    let said = memoryPerNode ?? memoryPerCPU.map { $0 * cpusOnNode } ?? memoryPerGPU.map { $0 * gpusOnNode }
    return said == 0 ? nil : said
  }
  /// Of all nodes.
  public var cpuCount: Int64 { cpusOnNode * nodeCount }
  public var gpuCount: Int64 { gpusOnNode * nodeCount }

  private static func share(_ total: Int64, _ parts: Int64) -> Int64 { (total + parts - 1) / parts }

  private mutating func check() throws(SlurmRefusal) {
    let memories = [memoryPerNode, memoryPerCPU, memoryPerGPU].compactMap { $0 }
    if memories == [0] {
      notes.append("--mem=0 sets no limit here; --exclusive gives a whole node on Slurm clusters")
    }
    if let nodesAsked, nodesAsked > nodeCount {
      notes.append("can't run \(taskCount) processes on \(nodesAsked) nodes, setting nnodes to \(nodeCount)")
    }
    if cpusPerGPU != nil, gpuCount == 0 {
      throw .error("Batch job submission failed: --cpus-per-gpu needs GPUs: --gpus, --gpus-per-node or --gres")
    }
    if warning != nil, timeSeconds == nil {
      notes.append("--signal has no effect here: without --time there is no end to count back from")
    }
    guard cpuCount <= 1 << 20, gpuCount <= 1 << 16 else {
      throw .error("Batch job submission failed: Requested node configuration is not available")
    }
  }
}

extension BatchRequest {
  /// - Throws: what sbatch says of a value, or that an option is refused, with its reason.
  mutating func apply(_ option: GivenOption) throws(SlurmRefusal) {
    let value = option.value ?? ""
    guard let effect = SbatchOptions.table[option.name]?.effect else { return }
    switch effect {
    case .refused(let reason): throw .error("--\(option.name) is not supported here: \(reason)")
    case .none(let reason):
      if option.name == "mail-type" { try Self.checkMail(value) }
      notes.append("--\(option.name) has no effect here: \(reason)")
      return
    case .obeyed: break
    }
    if try applyResource(option.name, value) { return }
    if applyPlace(option.name, value) { return }
    if try applyFiles(option.name, value) { return }
    try applyTime(option.name, value)
  }

  private static func invalid(_ name: String) -> SlurmRefusal {
    .error("Invalid --\(name) specification", exitCode: 255)
  }

  private static func number(_ text: String, _ name: String, from least: Int64 = 1) throws(SlurmRefusal) -> Int64 {
    guard let number = Int64(text), number >= least, number <= 1 << 24 else {
      throw .error("Invalid numeric value \"\(text)\" for --\(name).")
    }
    return number
  }

  private static func checkMail(_ text: String) throws(SlurmRefusal) {
    let known: Set<String> = [
      "NONE", "ALL", "BEGIN", "END", "FAIL", "REQUEUE", "INVALID_DEPEND", "STAGE_OUT", "TIME_LIMIT", "TIME_LIMIT_90",
      "TIME_LIMIT_80", "TIME_LIMIT_50", "ARRAY_TASKS",
    ]
    guard text.split(separator: ",").allSatisfy({ known.contains($0.uppercased()) }), !text.isEmpty else {
      throw invalid("mail-type")
    }
  }

  private mutating func applyResource(_ name: String, _ value: String) throws(SlurmRefusal) -> Bool {
    func memory() throws(SlurmRefusal) -> Int64 {
      guard let amount = MemorySize.mebibytes(value) else { throw Self.invalid(name) }
      return amount
    }
    switch name {
    case "nodes": try checkNodes(value)
    case "ntasks": tasks = try Self.number(value, name)
    case "ntasks-per-node", "tasks-per-node": tasksPerNode = try Self.number(value, name)
    case "ntasks-per-gpu": tasksPerGPU = try Self.number(value, name)
    case "cpus-per-task": cpusPerTask = try Self.number(value, name)
    case "cpus-per-gpu": cpusPerGPU = try Self.number(value, name)
    case "mincpus": leastCPUs = try Self.number(value, name)
    case "mem": (memoryPerNode, memoryPerCPU, memoryPerGPU) = (try memory(), nil, nil)
    case "mem-per-cpu": (memoryPerCPU, memoryPerNode, memoryPerGPU) = (try memory(), nil, nil)
    case "mem-per-gpu": (memoryPerGPU, memoryPerCPU, memoryPerNode) = (try memory(), nil, nil)
    case "gpus": gpus = try graphics(value, name)
    case "gpus-per-node": gpusPerNode = try graphics(value, name)
    case "gpus-per-task": gpusPerTask = try graphics(value, name)
    case "gres": try applyGenericResources(value)
    case "exclusive":
      guard value.isEmpty else {
        throw .error("--exclusive=\(value) is not supported here: nodes are shared between users or not at all")
      }
      isExclusive = true
    default: return false
    }
    return true
  }

  private mutating func checkNodes(_ text: String) throws(SlurmRefusal) {
    let ends = text.split(separator: "-", omittingEmptySubsequences: false)
    guard (1...2).contains(ends.count), let least = Int64(ends[0]), least >= 0, let most = Int64(ends.last!) else {
      throw .error("\"\(text)\" is not a valid node count", exitCode: 255)
    }
    guard least <= most else {
      throw .error("Maximum node count \(most) is less than minimum node count \(least)", exitCode: 255)
    }
    guard most <= 100_000 else { throw .error("\"\(text)\" is not a valid node count", exitCode: 255) }
    nodesAsked = max(1, least)
  }

  /// `2`, `a100`, `a100:2`.
  private mutating func graphics(_ text: String, _ name: String) throws(SlurmRefusal) -> Int64 {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard !text.contains(",") else {
      throw .error("--\(name)=\(text) is not supported here: a job has GPUs of one type")
    }
    switch parts.count {
    case 1 where Int64(parts[0]) != nil: return try Self.number(text, name, from: 0)
    case 1 where !text.isEmpty:
      gpuType = text
      return 1
    case 2 where !parts[0].isEmpty:
      gpuType = parts[0]
      return try Self.number(parts[1], name, from: 0)
    default: throw Self.invalid(name)
    }
  }

  private mutating func applyGenericResources(_ text: String) throws(SlurmRefusal) {
    guard text.lowercased() != "none" else { return gpusPerNode = nil }
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      var words = part.split(whereSeparator: { $0 == ":" || $0 == "=" })[...]
      guard let kind = words.popFirst(), words.count <= 2 else { throw Self.invalid("gres") }
      guard kind == "gpu" else {
        throw .error("--gres=\(part) is not supported here: of generic resources there are GPUs (gpu) alone")
      }
      gpusPerNode = words.isEmpty ? 1 : try graphics(words.joined(separator: ":"), "gres")
    }
  }

  private mutating func applyPlace(_ name: String, _ value: String) -> Bool {
    switch name {
    case "job-name": jobName = value
    case "account": account = value
    case "partition": partition = value
    case "qos": qos = value
    case "cluster", "clusters": clusters = value.split(separator: ",").map(String.init)
    case "nodelist": nodes = value.split(separator: ",").map(String.init)
    case "exclude": excludedNodes = value.split(separator: ",").map(String.init)
    case "comment": comment = value
    case "constraint": constraint = value
    case "reservation": reservation = value
    case "licenses": licences = value
    case "requeue": requeues = true
    case "no-requeue": requeues = false
    default: return false
    }
    return true
  }

  private mutating func applyFiles(_ name: String, _ value: String) throws(SlurmRefusal) -> Bool {
    switch name {
    case "chdir": directory = value
    case "output": output = value
    case "error": error = value
    case "input": input = value
    case "wrap": wrapped = value
    case "open-mode":
      guard let first = value.first, "aAtT".contains(first) else { throw Self.invalid("open-mode") }
      appends = first == "a" || first == "A"
    case "export": export = try Self.export(value)
    default: return false
    }
    return true
  }

  private static func export(_ text: String) throws(SlurmRefusal) -> Export {
    if text.uppercased() == "ALL" { return .all }
    if text.uppercased() == "NONE" || text.uppercased() == "NIL" { return .none }
    var (names, values, isAll) = ([String](), [String: String](), false)
    for part in quotedList(text) {
      guard let equals = part.firstIndex(of: "=") else {
        if part.uppercased() == "ALL" { isAll = true } else if !part.isEmpty { names.append(part) }
        continue
      }
      values[String(part[..<equals])] = String(part[part.index(after: equals)...])
    }
    for name in names + values.keys where !isVariable(name) {
      throw .error("Invalid --export specification: \(name) is no name of a variable", exitCode: 255)
    }
    return .list(names: names, values: values, isAll: isAll)
  }

  public static func isVariable(_ name: String) -> Bool {
    guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
    return name.utf8.allSatisfy {
      $0 == 0x5f || (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
    }
  }

  /// Split at commas outside quotes; the quotes are taken away.
  private static func quotedList(_ text: String) -> [String] {
    var (parts, part, quote) = ([String](), "", Character?.none)
    for character in text {
      if let open = quote {
        if character == open { quote = nil } else { part.append(character) }
      } else if character == "'" || character == "\"" {
        quote = character
      } else if character == "," {
        parts.append(part)
        part = ""
      } else {
        part.append(character)
      }
    }
    return parts + [part]
  }

  private mutating func applyTime(_ name: String, _ value: String) throws(SlurmRefusal) {
    switch name {
    case "time":
      guard let limit = SlurmTime.limit(value) else { throw Self.invalid(name) }
      if case .seconds(let seconds) = limit { timeSeconds = seconds } else { timeSeconds = nil }
    case "array":
      guard let tasks = TaskArray(value) else {
        throw .error("Batch job submission failed: Invalid job array specification")
      }
      array = tasks
    case "dependency": dependency = try JobDependency(value)
    case "kill-on-invalid-dep":
      guard ["yes", "no"].contains(value.lowercased()) else { throw Self.invalid(name) }
      killsOnInvalidDependency = value.lowercased() == "yes"
    case "begin": begin = value
    case "hold": isHeld = true
    case "signal": warning = try Self.warning(value)
    case "wait": waits = true
    case "parsable": isParsable = true
    case "test-only": isTestOnly = true
    case "quiet": isQuiet = true
    case "verbose": verbosity += 1
    case "help", "usage", "version": asksFor = asksFor ?? name
    default: break
    }
  }

  /// `[B:]SIGNAL[@SECONDS]`.
  private static func warning(_ text: String) throws(SlurmRefusal) -> Warning {
    var rest = text[...]
    var isForShell = false
    if let colon = rest.firstIndex(of: ":") {
      guard rest[..<colon].uppercased().allSatisfy({ $0 == "B" || $0 == "R" }) else { throw invalid("signal") }
      isForShell = rest[..<colon].uppercased().contains("B")
      rest = rest[rest.index(after: colon)...]
    }
    let halves = rest.split(separator: "@", omittingEmptySubsequences: false)
    guard (1...2).contains(halves.count), let seconds = halves.count == 2 ? Int64(halves[1]) : 60,
      (0...65_535).contains(seconds)
    else { throw invalid("signal") }
    var name = halves[0].uppercased()
    if name.hasPrefix("SIG") { name.removeFirst(3) }
    let known = ["HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "URG", "CONT", "STOP", "TSTP", "TTIN", "TTOU"]
    guard known.contains(name) || Int(name).map({ (1..<65).contains($0) }) == true else { throw invalid("signal") }
    return Warning(signal: name, secondsBefore: seconds, isForShell: isForShell)
  }
}
