/// A cluster as `sinfo` and `scontrol show partition` tell it: a partition of one node.
public struct ClusterLine: Hashable, Sendable {
  public enum State: String, Hashable, Sendable, CaseIterable {
    case idle, mixed, allocated, draining, drained, down
    /// As `%t` has it.
    public var compact: String {
      switch self {
      case .idle: "idle"
      case .mixed: "mix"
      case .allocated: "alloc"
      case .draining: "drng"
      case .drained: "drain"
      case .down: "down"
      }
    }
  }
  public var name: String
  /// Of its label, where several clusters are a partition together; else its name.
  public var partition: String
  public var state: State
  /// Why it is not up; empty where it is.
  public var reason = ""
  public var cpus: Int64 = 0
  public var memoryMebibytes: Int64 = 0
  public var gpus: Int64 = 0
  public var gpuTypes: [String] = []
  public init(name: String, partition: String, state: State) {
    self.name = name
    self.partition = partition
    self.state = state
  }

  public var isUp: Bool { [.idle, .mixed, .allocated].contains(state) }

  /// `gpu:a100:4`; as Slurm, `(null)` for none.
  var resources: String {
    gpus == 0 ? "(null)" : gpuTypes.count == 1 ? "gpu:\(gpuTypes[0]):\(gpus)" : "gpu:\(gpus)"
  }

  /// A partition as `scontrol show partition` tells it.
  public static func record(_ partition: String, _ lines: [ClusterLine]) -> String {
    let (cpus, memory, gpus) = lines.reduce((Int64(0), Int64(0), Int64(0))) {
      ($0.0 + $1.cpus, $0.1 + $1.memoryMebibytes, $0.2 + $1.gpus)
    }
    return [
      "PartitionName=\(partition)", "AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL", "Default=NO QoS=N/A",
      "DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO",
      "MaxNodes=1 MaxTime=UNLIMITED MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED",
      "Nodes=\(lines.map(\.name).joined(separator: ","))",
      "State=\(lines.contains(where: \.isUp) ? "UP" : "DOWN") TotalCPUs=\(cpus) TotalNodes=\(lines.count)",
      "TRES=cpu=\(cpus),mem=\(memory)M,node=\(lines.count)" + (gpus > 0 ? ",gres/gpu=\(gpus)" : ""),
    ].joined(separator: "\n   ") + "\n"
  }
}

/// How `sinfo` prints: `-o "%9P %.5a %.10l %.6D %.6t %N"`. Clusters that differ in nothing that is shown are one line.
///
/// - Source: sinfo(1), "--format".
public struct ClusterFormat: Hashable, Sendable {
  enum Field: Hashable, Sendable {
    case partition, partitionName, availability, timeLimit, nodes, state, compactState, nodeList, cpus, cpusByState
    case memory, resources, features, reason, nodesByState, nodesByStateAll, weight, temporaryDisk, root, share, groups
    case jobSize, load, cluster, sockets
  }
  enum Part: Hashable, Sendable {
    case text(String)
    /// - Parameter width: nil: as wide as it is; `isWidest`: as wide as the widest line.
    case field(Field, heading: String, width: Int?, isRight: Bool, isWidest: Bool)
  }
  var parts: [Part]

  public static let standard = try! ClusterFormat("%#P %.5a %.10l %.6D %.6t %N")
  public static let summary = try! ClusterFormat("%#P %.5a %.10l %.16F %N")
  public static let long = try! ClusterFormat("%#P %.5a %.10l %.10s %.4r %.8h %.10g %.6D %.11T %N")
  public static let byNode = try! ClusterFormat("%#N %.6D %#P %6t")
  public static let longByNode = try! ClusterFormat("%#N %.6D %#P %.11T %.4c %.8z %.6m %.8d %.6w %.8f %20E")

  public static var knownLetters: [Character] { letters.keys.sorted() }

  private static let letters: [Character: (Field, String)] = [
    "P": (.partition, "PARTITION"), "R": (.partitionName, "PARTITION"), "a": (.availability, "AVAIL"),
    "l": (.timeLimit, "TIMELIMIT"), "D": (.nodes, "NODES"), "t": (.compactState, "STATE"), "T": (.state, "STATE"),
    "N": (.nodeList, "NODELIST"), "n": (.nodeList, "HOSTNAMES"), "c": (.cpus, "CPUS"),
    "C": (.cpusByState, "CPUS(A/I/O/T)"), "m": (.memory, "MEMORY"), "G": (.resources, "GRES"),
    "f": (.features, "AVAIL_FEATURES"), "b": (.features, "ACTIVE_FEATURES"), "E": (.reason, "REASON"),
    "A": (.nodesByState, "NODES(A/I)"), "F": (.nodesByStateAll, "NODES(A/I/O/T)"), "w": (.weight, "WEIGHT"),
    "d": (.temporaryDisk, "TMP_DISK"), "r": (.root, "ROOT"), "h": (.share, "OVERSUBSCRIBE"), "g": (.groups, "GROUPS"),
    "s": (.jobSize, "JOB_SIZE"), "O": (.load, "CPU_LOAD"), "z": (.sockets, "S:C:T"), "V": (.cluster, "CLUSTER"),
  ]

  /// - Throws: for a letter that means nothing here.
  public init(_ format: String) throws(SlurmRefusal) {
    parts = []
    var literal = ""
    var rest = format[...]
    while let character = rest.popFirst() {
      guard character == "%" else {
        literal.append(character)
        continue
      }
      var (isRight, isWidest) = (false, false)
      while let mark = rest.first, mark == "." || mark == "#" {
        if mark == "." { isRight = true } else { isWidest = true }
        rest.removeFirst()
      }
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      rest = rest.dropFirst(digits.count)
      guard let letter = rest.popFirst() else { break }
      guard let (field, heading) = Self.letters[letter] else {
        throw .plain("Invalid node format specification: \(letter)")
      }
      if !literal.isEmpty { parts.append(.text(literal)) }
      literal = ""
      parts.append(.field(field, heading: heading, width: Int(digits), isRight: isRight, isWidest: isWidest))
    }
    if !literal.isEmpty { parts.append(.text(literal)) }
  }

  private static let names: [String: (Field, String)] = [
    "partition": (.partition, "PARTITION"), "partitionname": (.partitionName, "PARTITION"),
    "available": (.availability, "AVAIL"), "time": (.timeLimit, "TIMELIMIT"), "nodes": (.nodes, "NODES"),
    "statecompact": (.compactState, "STATE"), "statelong": (.state, "STATE"), "nodelist": (.nodeList, "NODELIST"),
    "nodehost": (.nodeList, "HOSTNAMES"), "cpus": (.cpus, "CPUS"), "cpusstate": (.cpusByState, "CPUS(A/I/O/T)"),
    "memory": (.memory, "MEMORY"), "gres": (.resources, "GRES"), "features": (.features, "AVAIL_FEATURES"),
    "reason": (.reason, "REASON"), "nodeai": (.nodesByState, "NODES(A/I)"),
    "nodeaiot": (.nodesByStateAll, "NODES(A/I/O/T)"), "cluster": (.cluster, "CLUSTER"),
  ]

  /// `-O`: names, each with `:[.]WIDTH`; 20 wide where nothing is said.
  public init(fields text: String) throws(SlurmRefusal) {
    parts = []
    for word in text.split(separator: ",") {
      let halves = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard let (field, heading) = Self.names[halves[0].lowercased()] else {
        throw .plain("Invalid node format specification: \(halves[0])")
      }
      let size = halves.count == 2 ? halves[1] : ""
      let isRight = size.hasPrefix(".")
      let width = Int(size.dropFirst(isRight ? 1 : 0)) ?? 20
      parts.append(.field(field, heading: heading, width: width, isRight: isRight, isWidest: false))
    }
    guard !parts.isEmpty else { throw .error("Format specification is empty") }
  }

  /// All lines, the heading first.
  public func lines(_ clusters: [ClusterLine], hasHeading: Bool) -> [String] {
    let shown = parts.map { part in
      if case .field(let field, _, _, _, _) = part { return field }
      return Field.root
    }
    let isByCluster = shown.contains(.nodeList) && !shown.contains(.nodes)
    var groups: [[ClusterLine]] = []
    for cluster in clusters {
      let values = shown.filter { $0 != .nodeList && $0 != .nodes }.map { Self.value($0, [cluster]) }
      let place = groups.firstIndex { group in
        !isByCluster && shown.filter { $0 != .nodeList && $0 != .nodes }.map { Self.value($0, [group[0]]) } == values
      }
      if let place { groups[place].append(cluster) } else { groups.append([cluster]) }
    }
    let rows = groups.map { group in shown.map { Self.value($0, group) } }
    func line(_ text: (Int, Field, String) -> String) -> String {
      parts.enumerated().map { index, part in
        switch part {
        case .text(let text): return text
        case .field(let field, let heading, let width, let isRight, let isWidest):
          let widest = max(heading.count, rows.map { $0[index].count }.max() ?? 0)
          return Column.fit(text(index, field, heading), isWidest ? widest : width, isRight: isRight)
        }
      }.joined()
    }
    let body = rows.map { row in line { index, _, _ in row[index] } }
    return (hasHeading ? [line { $2 }] : []) + body
  }

  private static func value(_ field: Field, _ group: [ClusterLine]) -> String {
    let first = group[0]
    func count(_ states: ClusterLine.State...) -> Int { group.filter { states.contains($0.state) }.count }
    let (used, idle) = (count(.mixed, .allocated), count(.idle))
    switch field {
    case .partition, .partitionName: return first.partition
    case .availability: return first.isUp ? "up" : "down"
    case .timeLimit: return "infinite"
    case .nodes: return "\(group.count)"
    case .state: return first.state.rawValue
    case .compactState: return first.state.compact
    case .nodeList: return group.map(\.name).joined(separator: ",")
    case .cpus: return "\(first.cpus)"
    case .cpusByState:
      let total = group.map(\.cpus).reduce(0, +)
      let free = group.filter { $0.state == .idle }.map(\.cpus).reduce(0, +)
      let out = group.filter { !$0.isUp }.map(\.cpus).reduce(0, +)
      return "\(total - free - out)/\(free)/\(out)/\(total)"
    case .memory: return "\(first.memoryMebibytes)"
    case .resources: return first.resources
    case .features, .groups: return field == .groups ? "all" : "(null)"
    case .reason: return first.reason.isEmpty ? "none" : first.reason
    case .nodesByState: return "\(used)/\(idle)"
    case .nodesByStateAll: return "\(used)/\(idle)/\(group.count - used - idle)/\(group.count)"
    case .weight: return "1"
    case .sockets: return "\(first.cpus):1:1"
    case .temporaryDisk: return "0"
    case .root, .share: return field == .root ? "no" : "NO"
    case .jobSize: return "1"
    case .load, .cluster: return field == .cluster ? first.name : "N/A"
    }
  }
}
