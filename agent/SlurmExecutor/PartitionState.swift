internal import Execution
internal import FederationModel

/// A partition as `sinfo` shows it now.
struct PartitionState: Hashable, Sendable {
  enum Availability: String, Sendable, CaseIterable { case up, down, drain, inactive }
  var name: String
  var isDefault = false
  var availability = Availability.up
  /// nil: none.
  var timeLimit: Duration?
  /// nil: none; Slurm then takes `timeLimit`.
  var defaultTime: Duration?
  var nodes = 0
  /// Neither down, drained, failed nor in maintenance.
  var usableNodes = 0
  /// Cores of the usable nodes, and how many of them are idle.
  var cpus: Int64 = 0
  var freeCpus: Int64 = 0
  /// Of the largest usable node.
  var cpusPerNode: Int64 = 0
  var memoryPerNode = ByteCount.zero
  /// Devices on usable nodes, by type; "" where Slurm knows none.
  var gpus: [String: Int64] = [:]
  /// The most on one usable node.
  var gpusPerNode: Int64 = 0
}

extension PartitionState {
  /// Whether it may ever start a run, whatever is free now.
  func fits(_ run: RunRequest) -> Bool {
    let resources = run.spec.resources
    let cores = max(1, (resources.cpuMillicores + 999) / 1000)
    guard cores <= cpusPerNode, resources.memory <= memoryPerNode, resources.gpus <= gpusPerNode,
      cores * Int64(max(1, run.spec.federation.gangSize)) <= cpus
    else { return false }
    if let nodes = run.spec.federation.slurm?.nodes, nodes > usableNodes { return false }
    if resources.gpus > 0, let type = resources.gpuType, gpus[type] == nil { return false }
    if let timeLimit, let walltime = run.walltime, walltime > timeLimit { return false }
    return true
  }

  /// - Parameters:
  ///   - all: with the default one among them, where there is one.
  ///   - usable: those that may be taken, the first that fits.
  ///   - named: what the run, or the operator, says; then that counts.
  ///   - isCounted: whether the operator lets runs into a partition at all.
  static func stepAside(
    from all: [PartitionState], to usable: [PartitionState], for run: RunRequest, named: String?,
    isCounted: (String) -> Bool = { _ in true }
  ) -> String? {
    guard named == nil else { return nil }
    if let standard = all.first(where: \.isDefault), isCounted(standard.name) {
      // One that is closed, or whose nodes are all away now, may have anything when it is back; until then another one will do.
      if standard.availability == .up, standard.usableNodes == 0 || standard.fits(run) { return nil }
    }
    return usable.first { $0.fits(run) }?.name
  }
}

/// Nodes that `sinfo` shows as one line, because they are alike.
struct NodeGroup: Hashable, Sendable {
  var partition = ""
  var isDefault = false
  var availability = PartitionState.Availability.up
  var timeLimit: Duration?
  var defaultTime: Duration?
  /// `sinfo`'s word, without its suffixes.
  var state = ""
  var isResponding = true
  var count = 0
  var cpusAllocated: Int64 = 0
  var cpusIdle: Int64 = 0
  var cpusTotal: Int64 = 0
  var cpusPerNode: Int64 = 0
  var memoryPerNode = ByteCount.zero
  /// For each node.
  var gpus: [String: Int64] = [:]

  static let format =
    "Partition=%P|Avail=%a|Limit=%l|Default=%L|State=%T|Cpus=%C|PerNode=%c|Memory=%m|Count=%D|Gres=%G"
  /// The same without partitions: each node once.
  static let nodeFormat = "State=%T|Cpus=%C|PerNode=%c|Memory=%m|Count=%D|Gres=%G"

  /// Whether jobs may run there, now or when what runs has ended.
  var isUsable: Bool { isResponding && Self.usable.contains(state) }

  /// - Source: sinfo(1), "NODE STATE CODES", 22.05 to 25.05.
  private static let usable: Set<String> = [
    "allocated", "mixed", "idle", "completing", "planned", "reserved", "powered_down", "powering_up", "powering_down",
    "power_up", "power_down", "external", "cloud",
  ]

  /// nil when it is no line of `format` or `nodeFormat`.
  init?(line: Substring) {
    var fields: [Substring: Substring] = [:]
    for field in line.split(separator: "|") {
      guard let equals = field.utf8.firstIndex(of: 0x3d) else { return nil }
      fields[field[..<equals]] = field[field.utf8.index(after: equals)...]
    }
    guard let state = fields["State"], let count = fields["Count"].flatMap({ Int($0) }) else { return nil }
    self.count = count
    // `*` does not respond; `$` maintenance, `~` powered off, `#` `%` `!` powering, `@` `^` reboot, `+` more flags, `-` planned.
    isResponding = !state.contains("*")
    self.state = state.hasSuffix("$") ? "maint" : String(state.prefix { $0.isLetter || $0 == "_" })
    if var name = fields["Partition"] {
      isDefault = name.hasSuffix("*")
      if isDefault { name.removeLast() }
      partition = String(name)
    }
    availability = fields["Avail"].flatMap { .init(rawValue: String($0)) } ?? .up
    timeLimit = fields["Limit"].flatMap { SlurmTime.duration($0) }
    defaultTime = fields["Default"].flatMap { SlurmTime.duration($0) }
    // allocated/idle/other/total
    let cpus = (fields["Cpus"] ?? "").split(separator: "/").compactMap { Int64($0) }
    if cpus.count == 4 { (cpusAllocated, cpusIdle, cpusTotal) = (cpus[0], cpus[1], cpus[3]) }
    // "32", or "16+" for a group of different nodes.
    cpusPerNode = Self.number(fields["PerNode"])
    memoryPerNode = .mebibytes(Self.number(fields["Memory"]))
    gpus = Self.devices(fields["Gres"] ?? "")
  }

  private static func number(_ text: Substring?) -> Int64 { Int64((text ?? "").prefix { $0.isNumber }) ?? 0 }

  /// `gpu:a100:2(S:0-1),gpu:4,shard:8` has two A100 and four GPUs of no type.
  static func devices(_ gres: Substring) -> [String: Int64] {
    var found: [String: Int64] = [:]
    var depth = 0
    var plain = ""
    for character in gres {
      if character == "(" {
        depth += 1
      } else if character == ")" {
        depth -= 1
      } else if depth == 0 {
        plain.append(character)
      }
    }
    for item in plain.split(separator: ",") {
      let parts = item.split(separator: ":", omittingEmptySubsequences: false)
      guard parts[0] == "gpu", parts.count >= 2, let count = Int64(parts[parts.count - 1]) else { continue }
      found[parts.count > 2 ? String(parts[1]) : "", default: 0] += count
    }
    return found
  }
}

extension PartitionState {
  /// - Returns: partitions in order of name, from what `sinfo` printed in `NodeGroup.format`.
  static func parse(_ output: String) -> [PartitionState] {
    var found: [String: PartitionState] = [:]
    for group in output.split(separator: "\n").compactMap({ NodeGroup(line: $0) }) where !group.partition.isEmpty {
      var partition = found[group.partition] ?? PartitionState(name: group.partition)
      partition.isDefault = group.isDefault
      partition.availability = group.availability
      partition.timeLimit = group.timeLimit
      partition.defaultTime = group.defaultTime
      partition.nodes += group.count
      if group.isUsable, group.count > 0 {
        partition.usableNodes += group.count
        partition.cpus += group.cpusTotal
        partition.freeCpus += group.cpusIdle
        partition.cpusPerNode = max(partition.cpusPerNode, group.cpusPerNode)
        partition.memoryPerNode = max(partition.memoryPerNode, group.memoryPerNode)
        for (type, count) in group.gpus { partition.gpus[type, default: 0] += count * Int64(group.count) }
        partition.gpusPerNode = max(partition.gpusPerNode, group.gpus.values.reduce(0, +))
      }
      found[group.partition] = partition
    }
    return found.values.sorted { $0.name < $1.name }
  }

  /// What distinct usable nodes have together, from what `sinfo` printed in `NodeGroup.nodeFormat`.
  static func capacity(_ output: String) -> Resources {
    var sum = Resources.zero
    for group in output.split(separator: "\n").compactMap({ NodeGroup(line: $0) }) where group.isUsable {
      sum.cpuMillicores += group.cpusTotal * 1000
      sum.memory += ByteCount(group.memoryPerNode.bytes * Int64(group.count))
      sum.gpus += group.gpus.values.reduce(0, +) * Int64(group.count)
    }
    return sum
  }
}

/// Slurm's way to write durations.
enum SlurmTime {
  /// `30`, `30:00`, `2:00:00`, `1-00:00:00`, `1-12`; nil for `infinite`, `UNLIMITED`, `n/a`, `NONE` and what is no duration.
  ///
  /// - Source: sbatch(1), `--time`; a number alone is minutes.
  static func duration(_ text: some StringProtocol) -> Duration? {
    var rest = text[...]
    var days: Int64 = 0
    let hasDays = rest.contains("-")
    if let hyphen = rest.firstIndex(of: "-") {
      guard let number = Int64(rest[..<hyphen]), number >= 0 else { return nil }
      days = number
      rest = rest[rest.index(after: hyphen)...]
    }
    let parts = rest.split(separator: ":", omittingEmptySubsequences: false).map { Int64($0) }
    guard (1...3).contains(parts.count), parts.allSatisfy({ ($0 ?? -1) >= 0 && $0! < 10_000_000 }), days < 100_000
    else {
      return nil
    }
    let numbers = parts.map { $0! }
    let seconds: Int64 =
      switch (numbers.count, hasDays) {
      case (1, false): numbers[0] * 60
      case (1, true): numbers[0] * 3600
      case (2, false): numbers[0] * 60 + numbers[1]
      case (2, true): numbers[0] * 3600 + numbers[1] * 60
      default: numbers[0] * 3600 + numbers[1] * 60 + numbers[2]
      }
    return .seconds(days * 86_400 + seconds)
  }
}
