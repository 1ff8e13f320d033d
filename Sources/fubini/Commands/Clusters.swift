internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

struct ClusterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster", abstract: "Clusters: create, list, label, cordon, drain, spot capacity, revoke.",
    subcommands: [
      Create.self, ListAll.self, Show.self, Label.self, Cordon.self, Uncordon.self, Drain.self, Spot.self, Reclaim.self,
      Revoke.self,
      Forget.self, Token.self,
    ])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Declare a cluster and make its one-time join token.")
    @Argument var name: String
    @Option(help: "process, slurm or kubernetes.") var kind: String = "process"
    @Option(help: "k=v,k=v") var labels: String?
    @Option(help: "\"core-hour=4 CNY,egress-gib=0.10 CNY\"; also gib-hour, gpu-hour and storage-gib-hour.") var price:
      String?
    @Option(help: "Only this project may use it.") var onlyProject: String?
    @Flag(help: "Print the one line to paste on the cluster, and nothing else. It holds the one-time token.")
    var printJoinCommand = false
    @OptionGroup var manifest: ManifestOptions
    @OptionGroup var output: OutputOption

    func run() async throws {
      guard let kind = ClusterKind(rawValue: kind) else {
        throw CommandFailure(.usage, "--kind is process, slurm or kubernetes, not \"\(kind)\".")
      }
      guard kind == .kubernetes || !manifest.printManifest else {
        throw CommandFailure(.usage, "--print-manifest belongs to --kind kubernetes.")
      }
      let request = ClusterRequest(
        name: name, kind: kind, labels: try labels.map(ClusterText.labels), prices: try price.map(ClusterText.prices),
        project: onlyProject)
      try await withClient { client in
        let created: ClusterCreated = try await client.post(["v1", "clusters"], body: request)
        if printJoinCommand { return Terminal.line(ClusterText.joinLine(created.join)) }
        if manifest.printManifest { return Terminal.write(try manifest.text(created.join)) }
        try output.format.print(created.cluster, names: [name]) { _ in
          "Created \(name). Its join token is shown by `fubini cluster token \(name)`, once each time.\n"
        }
      }
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List clusters.", aliases: ["ls"])
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: ClusterList = try await client.get(["v1", "clusters"])
        try output.format.print(list, names: list.items.map(\.name)) { ClusterText.table(list.items, isWide: $0) }
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "get", abstract: "Show one cluster.")
    @Argument var name: String
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let cluster: ClusterDocument = try await client.get(["v1", "clusters", name])
        try output.format.print(cluster, names: [name]) { isWide in
          let notices = cluster.live?.notices ?? []
          let tenancy = cluster.live?.tenancy.map { "tenancy: \(([$0.kind] + $0.projects).joined(separator: " "))\n" }
          return ClusterText.table([cluster], isWide: true) + ClusterText.spot(cluster.spot)
            + (tenancy.map(Terminal.printable) ?? "")
            + (cluster.live?.partitions.map { Terminal.printable("partitions: \($0.joined(separator: " "))\n") } ?? "")
            + notices.map { "notice: \(Terminal.printable($0))\n" }.joined()
        }
      }
    }
  }

  static func act(_ name: String, _ verb: String, _ body: ClusterActionRequest, _ past: String) async throws {
    try await withClient { client in
      let answer: AcceptedDocument = try await client.post(["v1", "clusters", name, verb], body: body)
      Terminal.line("\(answer.name): \(past).")
    }
  }

  struct Label: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set and remove labels of a cluster.",
      discussion: "What runs there goes on; what waits is placed by the new labels.")
    @Argument var name: String
    @Argument(help: "k=v to set, k- to remove; as many as needed.") var changes: [String]
    func run() async throws {
      let changes = try ClusterText.labelChanges(changes)
      try await withClient { client in
        let path = ["v1", "clusters", name]
        let now: ClusterDocument = try await client.get(path)
        let labels = now.labels.merging(changes.set) { $1 }.filter { !changes.removed.contains($0.key) }
        let _: AcceptedDocument = try await client.post(
          path, body: ClusterRequest(kind: now.kind, labels: labels, prices: now.prices, project: now.project),
          method: .PUT)
        Terminal.line("\(name): \(Display.labels(labels))")
      }
    }
  }
  struct Cordon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Place nothing new there.")
    @Argument var name: String
    @Argument(help: "Why; shown to those who wait.") var reason: String?
    func run() async throws { try await act(name, "cordon", .init(reason: reason), "cordoned; what runs goes on") }
  }
  struct Uncordon: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Open it again; also ends a drain.")
    @Argument var name: String
    func run() async throws { try await act(name, "uncordon", .init(), "open") }
  }
  struct Drain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Place nothing new there and empty it.")
    @Argument var name: String
    @Argument(help: "Why.") var reason: String?
    func run() async throws { try await act(name, "drain", .init(reason: reason), "draining") }
  }
  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Refuse its agent's certificate from now on.")
    @Argument var name: String
    @Flag(name: .shortAndLong, help: "Do not ask.") var yes = false
    func run() async throws {
      try Confirm.ask("Revoke the agent of \(name)? It can come back only with a new join token.", yes: yes)
      try await act(name, "revoke", .init(), "revoked")
    }
  }
  struct Forget: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Give up a cluster that will not come back.")
    @Argument var name: String
    @Flag(help: "You vouch that none of its runs can run any more, so they may be replaced. Audited.")
    var confirmStopped = false
    @Flag(name: .shortAndLong, help: "Do not ask.") var yes = false
    func run() async throws {
      try Confirm.ask(
        "Forget \(name)? Its agent is refused from then on, and can come back only as a new cluster.", yes: yes)
      try await act(name, "forget", .init(confirmStopped: confirmStopped ? true : nil), "forgotten")
    }
  }
  struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print a new join command, or manifest. It holds a one-time token.")
    @Argument var name: String
    @Option(help: "Seconds that it is good for, 60 to 86400.") var lifetime: Int?
    @OptionGroup var manifest: ManifestOptions
    func run() async throws {
      try await withClient { client in
        let join: JoinDocument = try await client.post(
          ["v1", "clusters", name, "join-token"], body: ClusterActionRequest(tokenLifetimeSeconds: lifetime))
        if manifest.printManifest { return Terminal.write(try manifest.text(join)) }
        Terminal.line(ClusterText.joinLine(join))
      }
    }
  }
}

/// Asks before what cannot be taken back; without a terminal only `-y` will do.
enum Confirm {
  static func ask(_ question: String, yes: Bool) throws {
    if yes { return }
    guard Terminal.standardOutput().isTerminal else { throw CommandFailure(.usage, "\(question) Say so with -y.") }
    Terminal.write(question + " [y/N] ")
    guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
      throw CommandFailure(.error, "Nothing was changed.")
    }
  }
}

/// Labels, prices and tables of clusters.
enum ClusterText {
  /// One line of what is spot capacity; empty where nothing is.
  static func spot(_ spot: SpotDocument?) -> String {
    guard let spot else { return "" }
    let notice = spot.noticeSeconds.map { ", notice \($0) s" } ?? ""
    let reason = spot.reason.map { ": \(Terminal.printable($0))" } ?? ""
    return spot.percent == 0 ? "spot: taken back\(reason)\n" : "spot: \(spot.percent) %\(notice)\(reason)\n"
  }

  /// The line to paste on the cluster. The token is set for the command alone: it never is an argument, which everybody on
  /// that machine could see.
  static func joinLine(_ join: JoinDocument) -> String {
    // A control plane of an earlier release puts it there itself.
    if join.command.contains(join.token) { return shell(join.command) }
    return "FUBINI_JOIN_TOKEN=\(shell([join.token])) \(shell(join.command))"
  }

  static func labels(_ text: String) throws -> [String: String] {
    var labels: [String: String] = [:]
    for pair in text.split(whereSeparator: { $0 == "," || $0 == ";" }) {
      let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard halves.count == 2, !halves[0].isEmpty else {
        throw CommandFailure(.usage, "Labels are k=v,k=v, not \"\(text)\".")
      }
      labels[String(halves[0])] = String(halves[1])
    }
    return labels
  }

  /// `k=v` and `k-`, as `kubectl label` takes them.
  static func labelChanges(_ words: [String]) throws -> (set: [String: String], removed: Set<String>) {
    var set: [String: String] = [:]
    var removed: Set<String> = []
    for word in words {
      if let equals = word.firstIndex(of: "="), equals > word.startIndex {
        set[String(word[..<equals])] = String(word[word.index(after: equals)...])
      } else if word.count > 1, word.hasSuffix("-"), !word.contains("=") {
        removed.insert(String(word.dropLast()))
      } else {
        throw CommandFailure(.usage, "A label is k=v to set and k- to remove, not \"\(word)\".")
      }
    }
    guard !words.isEmpty, removed.isDisjoint(with: set.keys) else {
      throw CommandFailure(.usage, "Say each label once: k=v to set, k- to remove.")
    }
    return (set, removed)
  }

  /// `core-hour=4 CNY,egress-gib=0.1 CNY`: amounts in whole units of one currency.
  static func prices(_ text: String) throws -> PriceSheet {
    var sheet: PriceSheet?
    for pair in text.split(whereSeparator: { $0 == "," || $0 == ";" }) {
      let halves = pair.split(separator: "=", maxSplits: 1)
      let words = halves.count == 2 ? halves[1].split(separator: " ") : []
      guard words.count == 2, let amount = Double(words[0]), amount >= 0, amount <= 1e9, words[1].count == 3,
        words[1].utf8.allSatisfy({ (0x41...0x5a).contains($0) }), sheet == nil || sheet?.currency == String(words[1])
      else {
        throw CommandFailure(.usage, "A price is like \"core-hour=4 CNY\", in one currency, not \"\(text)\".")
      }
      var next = sheet ?? PriceSheet(currency: String(words[1]))
      switch halves[0].trimmingPrefix(while: \.isWhitespace) {
      case "core-hour": next.coreHour = amount * 100
      case "gib-hour": next.gibibyteHour = amount * 100
      case "gpu-hour": next.gpuHour = amount * 100
      case "egress-gib": next.egressGibibyte = amount * 100
      case "storage-gib-hour": next.storageGibibyteHour = amount * 100
      default:
        throw CommandFailure(
          .usage, "Prices are core-hour, gib-hour, gpu-hour, egress-gib and storage-gib-hour, not \"\(halves[0])\".")
      }
      sheet = next
    }
    guard let sheet else { throw CommandFailure(.usage, "A price is like \"core-hour=4 CNY\".") }
    return sheet
  }

  static func table(_ clusters: [ClusterDocument], isWide: Bool) -> String {
    var table = Table(
      headings: ["NAME", "KIND", "STATE", "RUNS", "CPU", "MEMORY"] + (isWide ? ["LABELS", "PRICE", "AGENT"] : []) + [
        "REASON"
      ])
    for cluster in clusters {
      let live = cluster.live
      var row = [cluster.name, cluster.kind.rawValue, cluster.state]
      row.append(live.map { String($0.activeRuns) } ?? "-")
      row.append(live.map { String(Double($0.cpuMillicores) / 1000) } ?? "-")
      row.append(live.map { ByteCount($0.memoryBytes).description } ?? "-")
      if isWide {
        row.append(Display.labels(cluster.labels))
        row.append(Display.price(cluster.prices?.coreHour, cluster.prices?.currency))
        row.append(live?.agentVersion ?? "-")
      }
      table.rows.append(row + [cluster.reason])
    }
    return table.render()
  }

  /// One line that a POSIX shell reads as exactly these words.
  static func shell(_ words: [String]) -> String {
    words.map { word in
      let isPlain = word.utf8.allSatisfy { byte in
        switch byte {
        // Letters, digits, and , - . / : = @ _
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2c, 0x2d, 0x2e, 0x2f, 0x3a, 0x3d, 0x40, 0x5f: true
        default: false
        }
      }
      return isPlain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }.joined(separator: " ")
  }
}
