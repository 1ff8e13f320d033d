internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

/// `fubini project quota`.
struct ProjectQuota: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quota", abstract: "What a project may use at once, and where: set, get.",
    subcommands: [Set.self, Get.self])

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Limit what a project may use; what is left out stays as it was, and none lifts a limit.",
      discussion: """
        Runs that are placed and not over count. What would exceed a quota waits, and says so; what could never fit is told so. Where a
        project may not go, its work is not placed, its data is not brought, and its members do not see the cluster.
        """)
    @Argument(help: "The project.") var name: String
    @Option(help: "Cores, such as 16 or 0.5.") var cpus: String?
    @Option var gpus: String?
    @Option(help: "Such as 64GiB.") var memory: String?
    @Option(help: "Runs.") var runs: String?
    @Option(help: "Limit these four on this cluster, not on all together.") var cluster: String?
    @Option(help: "Of its uploaded data sets and its outputs in the repository together, such as 2TiB.")
    var storage: String?
    @Option(help: "Tasks that may wait: while there are as many nothing more is submitted.") var pending: String?
    @Option(help: "Workflows that it may submit in any minute.") var submissionsPerMinute: String?
    @Option(help: "The clusters that it may use, and no others: a,b; none: all.") var clusters: String?
    @Option(help: "One more cluster that it may use, when they are limited.") var allowCluster: String?
    @Option(help: "The priority classes that it may use: offline,idle; none: all.") var classes: String?
    @Option(help: "Labels of the clusters where its work and data may be: region=eu,zone=b; none: everywhere.")
    var residency: String?
    @Option(
      help: "What nobody takes from it, and what it takes back from borrowers: cpu=16,gpu=2,memory=64GiB,runs=20; none."
    )
    var guarantee: String?
    @Option(help: "What it may use beyond its guarantee: cpu=64,gpu=8; none: no bound.") var borrowLimit: String?
    @Option(help: "Labels of clusters that serve only the projects that reserve them: pool=gold; none.")
    var reserve: String?
    @OptionGroup var output: OutputOption

    func run() async throws {
      // What is wrong with the words is said before anything is asked.
      guard try changed(ProjectLimits()) != ProjectLimits() || allowCluster != nil || takesAway else {
        throw CommandFailure(.usage, "Nothing is to be set: name a limit, such as --cpus 16.")
      }
      try await withClient { client in
        let path = ["v1", "projects", name, "quota"]
        let current: QuotaDocument = try await client.get(path)
        if let allowCluster, clusters == nil, current.limits.allowedClusters == nil {
          throw CommandFailure(
            .usage, "\(name) may use every cluster already, \(allowCluster) too. To limit it: --clusters a,b")
        }
        let quota: QuotaDocument = try await client.post(path, body: try changed(current.limits), method: .PUT)
        try output.format.print(quota, names: [quota.project]) { _ in Get.table(quota) }
      }
    }

    /// Whether a limit is to go: over no limits at all that changes nothing.
    private var takesAway: Bool {
      [cpus, gpus, memory, runs, storage, clusters, classes, residency].contains("none")
    }

    /// Of limits so far those that are asked for.
    func changed(_ limits: ProjectLimits) throws -> ProjectLimits {
      var limits = limits
      var quota = (cluster.map { limits.clusters?[$0] } ?? limits.overall) ?? ResourceQuota()
      if let cpus { quota.cpuMillicores = try Self.value(cpus, "--cpus", Self.millicores) }
      if let gpus { quota.gpus = try Self.value(gpus, "--gpus") { Int64($0) } }
      if let memory { quota.memoryBytes = try Self.value(memory, "--memory") { Self.bytes($0) } }
      if let runs { quota.runs = try Self.value(runs, "--runs") { Int64($0) } }
      if let cluster {
        limits.clusters = (limits.clusters ?? [:]).merging([cluster: quota]) { $1 }.filter { !$0.value.isEmpty }
      } else {
        limits.overall = quota.isEmpty ? nil : quota
      }
      if let storage { limits.storageBytes = try Self.value(storage, "--storage") { Self.bytes($0) } }
      if let pending { limits.pendingTasks = try Self.value(pending, "--pending") { Int64($0) } }
      if let submissionsPerMinute {
        limits.submissionsPerMinute = try Self.value(submissionsPerMinute, "--submissions-per-minute") { Int64($0) }
      }
      if let clusters { limits.allowedClusters = try Self.list(clusters, "--clusters")?.map { ClusterName($0) } }
      if let allowCluster, let allowed = limits.allowedClusters, !allowed.contains(ClusterName(allowCluster)) {
        limits.allowedClusters = allowed + [ClusterName(allowCluster)]
      }
      if let classes {
        limits.allowedClasses = try Self.list(classes, "--classes")?.map { text in
          guard let value = PriorityClass(rawValue: text) else {
            let names = PriorityClass.allCases.map(\.rawValue).joined(separator: ", ")
            throw CommandFailure(.usage, "Priority classes are \(names), not \"\(text)\".")
          }
          return value
        }
      }
      if let residency {
        limits.residency = try Self.list(residency, "--residency").map { pairs in
          try Dictionary(pairs.map(Self.label)) { $1 }
        }
      }
      if let guarantee { limits.guarantee = try Self.quota(guarantee, "--guarantee") }
      if let borrowLimit { limits.borrowLimit = try Self.quota(borrowLimit, "--borrow-limit") }
      if let reserve {
        limits.reserves = try Self.list(reserve, "--reserve").map { pairs in
          try Dictionary(pairs.map(Self.label)) { $1 }
        }
      }
      return limits
    }

    private static func list(_ text: String, _ option: String) throws -> [String]? {
      if text == "none" { return nil }
      let names = text.split(separator: ",").map { String($0) }
      guard !names.isEmpty else { throw CommandFailure(.usage, "\(option) takes names, or none for no limit.") }
      return names
    }

    /// `cpu=16,gpu=2`; nil for `none`.
    static func quota(_ text: String, _ option: String) throws -> ResourceQuota? {
      guard let pairs = try list(text, option) else { return nil }
      var quota = ResourceQuota()
      for (name, amount) in try pairs.map(label) {
        switch name {
        case "cpu", "cpus": quota.cpuMillicores = try value(amount, option, millicores)
        case "gpu", "gpus": quota.gpus = try value(amount, option) { Int64($0) }
        case "memory": quota.memoryBytes = try value(amount, option) { bytes($0) }
        case "runs": quota.runs = try value(amount, option) { Int64($0) }
        default:
          throw CommandFailure(
            .usage, "\(option) takes cpu, gpu, memory and runs with = and a number, not \"\(name)\".")
        }
      }
      return quota.isEmpty ? nil : quota
    }

    private static func label(_ text: String) throws -> (String, String) {
      guard let equals = text.firstIndex(of: "="), equals > text.startIndex else {
        throw CommandFailure(.usage, "Write pairs KEY=VALUE, not \"\(text)\".")
      }
      return (String(text[..<equals]), String(text[text.index(after: equals)...]))
    }

    private static func value(_ text: String, _ option: String, _ read: (String) -> Int64?) throws -> Int64? {
      if text == "none" { return nil }
      guard let value = read(text), value >= 0 else {
        throw CommandFailure(.usage, "\(option) takes a number from 0, or none, not \"\(text)\".")
      }
      return value
    }

    private static func millicores(_ text: String) -> Int64? {
      Double(text).flatMap { $0 >= 0 && $0 < 1e12 ? Int64(($0 * 1000).rounded()) : nil }
    }

    /// `64GiB`, `64Gi`, `1.5T`, `1000`: powers of 1024 with an i, else of 1000.
    static func bytes(_ text: String) -> Int64? {
      let digits = text.prefix { $0.isNumber || $0 == "." }
      var unit = text.dropFirst(digits.count).lowercased()
      if unit.last == "b" { unit.removeLast() }
      let powers: [String: Double] = [
        "": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15, "ki": 1024, "mi": 1_048_576, "gi": 1_073_741_824,
        "ti": 1_099_511_627_776, "pi": 1_125_899_906_842_624,
      ]
      guard let number = Double(digits), let factor = powers[unit], number * factor < 9e18 else { return nil }
      return Int64(number * factor)
    }
  }

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show what a project may use and what it uses now.")
    @Argument(help: "The project.") var name: String
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let quota: QuotaDocument = try await client.get(["v1", "projects", name, "quota"])
        try output.format.print(quota, names: [quota.project]) { _ in Self.table(quota) }
      }
    }

    static func table(_ quota: QuotaDocument) -> String {
      func cell(_ use: Int64, _ limit: Int64?, _ text: (Int64) -> String) -> String {
        "\(text(use)) / \(limit.map(text) ?? "-")"
      }
      let cores: (Int64) -> String = { $0 % 1000 == 0 ? "\($0 / 1000)" : "\(Double($0) / 1000)" }
      let bytes: (Int64) -> String = { ByteCount($0).description }
      var table = Table(headings: ["WHERE", "CORES", "GPUS", "MEMORY", "RUNS"])
      func add(_ place: String, _ use: ResourceUse, _ limit: ResourceQuota?) {
        table.rows.append([
          place, cell(use.cpuMillicores, limit?.cpuMillicores, cores), cell(use.gpus, limit?.gpus) { "\($0)" },
          cell(use.memoryBytes, limit?.memoryBytes, bytes), cell(use.runs, limit?.runs) { "\($0)" },
        ])
      }
      add("all clusters", quota.used, quota.limits.overall)
      for name in Swift.Set(quota.usedByCluster.keys).union((quota.limits.clusters ?? [:]).keys).sorted() {
        add(name, quota.usedByCluster[name] ?? ResourceUse(), quota.limits.clusters?[name])
      }
      var text = table.render() + "\nkept here: \(cell(quota.storageBytes, quota.limits.storageBytes, bytes))\n"
      let limits = quota.limits
      let clusters = limits.allowedClusters.map { $0.map(\.text).sorted().joined(separator: ", ") } ?? "all"
      let classes = limits.allowedClasses.map { $0.sorted().map(\.rawValue).joined(separator: ", ") } ?? "all"
      if let most = limits.pendingTasks { text += "tasks that may wait: \(most)\n" }
      if let most = limits.submissionsPerMinute { text += "submissions in a minute: \(most)\n" }
      text += "clusters: \(clusters)\npriority classes: \(classes)\n"
      if let residency = limits.residency, !residency.isEmpty {
        let labels = residency.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
        text += "only on clusters with \(labels)\n"
      }
      func amounts(_ quota: ResourceQuota) -> String {
        [
          quota.cpuMillicores.map { "\(cores($0)) cores" }, quota.gpus.map { "\($0) GPUs" },
          quota.memoryBytes.map { "\(bytes($0)) of memory" }, quota.runs.map { "\($0) runs" },
        ].compactMap { $0 }.joined(separator: ", ")
      }
      if let guarantee = limits.guarantee { text += "guaranteed: \(amounts(guarantee))\n" }
      if let borrowLimit = limits.borrowLimit { text += "may borrow: \(amounts(borrowLimit))\n" }
      if let reserves = limits.reserves, !reserves.isEmpty {
        let labels = reserves.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
        text += "has clusters with \(labels) for itself\n"
      }
      for warning in quota.warnings ?? [] { text += "warning: \(warning)\n" }
      return text
    }
  }
}
