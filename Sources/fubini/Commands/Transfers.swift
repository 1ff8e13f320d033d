internal import ArgumentParser
internal import AsyncHTTPClient
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore

struct Prefetch: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Bring a data set to a cluster before anybody asks for it.",
    discussion: "It warms a cache and binds nothing: a workflow may still run elsewhere.")
  @Argument(help: "[PROJECT/]NAME[@VERSION]") var dataset: String
  @Option(help: "The cluster.") var cluster: String
  @Flag(help: "Wait until it is there.") var wait = false
  @OptionGroup var project: ProjectOption

  func run() async throws {
    let name = try DatasetName(dataset)
    try await withClient(project: name.project ?? project.project) { client in
      let answer: MovementDocument = try await client.post(
        name.path(client, "prefetch"), body: PlacementRequest(cluster: cluster, version: name.version))
      guard let id = answer.transfer else { return Terminal.line("\(dataset) is on \(cluster) already.") }
      guard wait else {
        return Terminal.line("Transfer \(id) brings \(dataset) to \(cluster). Watch it: fubini transfer watch")
      }
      let transfer = try await TransferWait.finished(id, client) { _ in "\(dataset) to \(cluster)" }
      Terminal.line("\(dataset) is on \(cluster): \(ByteCount(transfer.movedBytes)) were moved.")
    }
  }
}

struct TransferCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "transfer", abstract: "What moves: list, watch, cancel.",
    subcommands: [ListAll.self, Watch.self, Cancel.self])

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List a project's transfers, newest first.", aliases: ["ls"])
    @Flag(help: "Only those that are not over.") var active = false
    @Option(help: "At most so many; 0 for all.") var limit = 50
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      let limit = try ListLimit.checked(limit)
      try await withClient(project: project.project) { client in
        let found = try await client.pages(limit: limit) { query in
          let page: TransferList = try await client.get(
            ["v1", "projects", client.connection.project, "transfers"], query + (active ? [("active", "true")] : []))
          return (page.items, page.next)
        }
        let list = TransferList(items: found.items)
        try output.format.print(list, names: list.items.map(\.id)) { TransferText.table(list.items, isWide: $0) }
      }
    }
  }

  struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show transfers as they go, until Ctrl-C; with ids, until those are over.")
    @Argument(help: "Only these.") var ids: [String] = []
    @OptionGroup var project: ProjectOption
    func run() async throws {
      try await withClient(project: project.project) { client in
        try await TransferWatch(client: client, only: Set(ids)).run { Terminal.line($0) }
      }
    }
  }

  struct Cancel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "End transfers that no run waits for.")
    @Argument var ids: [String]
    @OptionGroup var project: ProjectOption
    func run() async throws {
      try await withClient(project: project.project) { client in
        for id in ids {
          let transfer: TransferDocument = try await client.post(
            ["v1", "projects", client.connection.project, "transfers", id, "cancel"], body: [String: String]())
          Terminal.line("\(id): \(transfer.phase).")
        }
      }
    }
  }
}

/// The stream of a project's transfers, line by line.
struct TransferWatch {
  let client: APIClient
  /// Empty: all.
  var only: Set<String>

  /// A stream that breaks is opened again; what was told already is told once more only if it changed.
  func run(_ show: (String) -> Void) async throws {
    var told: [String: String] = [:]
    var open = only
    // An id that is none is found out at once, and one that is over is not waited for.
    try await ask(&told, &open, show)
    var fruitless = 0
    while only.isEmpty || !open.isEmpty {
      let response = try await client.response(
        .init(
          path: ["v1", "projects", client.connection.project, "transfers"],
          headers: [("Accept", "text/event-stream")]))
      var parser = ServerSentEventParser()
      var askedAt: ContinuousClock.Instant?
      do {
        // A stream tells what is open, and ends of what it has told: what ended before it began is not in it, nor is what is too far
        // down a long list.
        func askNowAndThen() async throws {
          guard !open.isEmpty, askedAt.map({ $0.duration(to: .now) >= Self.askedEvery }) ?? true else { return }
          try await ask(&told, &open, show)
          askedAt = .now
        }
        try await askNowAndThen()
        for try await bytes in response.body {
          fruitless = 0
          for event in try parser.append(bytes.readableBytesView) where event.event == "update" {
            let update = try JSONDecoder().decode(TransferUpdate.self, from: Data(event.data.utf8))
            for transfer in update.transfers where only.isEmpty || open.contains(transfer.id) {
              take(transfer, &told, &open, show)
            }
          }
          try await askNowAndThen()
          if !only.isEmpty, open.isEmpty { return }
        }
      } catch let error as DecodingError {
        throw client.incomprehensible(error)
      } catch let failure as CommandFailure where failure.code != .unreachable {
        // A refusal, which no new stream would change.
        throw failure
      } catch {
        if Task.isCancelled { throw CancellationError() }
      }
      fruitless += 1
      guard fruitless < 10 else {
        throw CommandFailure(.unreachable, "The stream of transfers broke \(fruitless) times without a word.")
      }
      try await Task.sleep(for: .milliseconds(Int64.random(in: 100...500)))
    }
  }

  private static let askedEvery = Duration.seconds(15)

  /// What is waited for, one by one.
  private func ask(_ told: inout [String: String], _ open: inout Set<String>, _ show: (String) -> Void) async throws {
    for id in open.sorted() {
      let transfer: TransferDocument = try await client.get(
        ["v1", "projects", client.connection.project, "transfers", id])
      take(transfer, &told, &open, show)
    }
  }

  private func take(
    _ transfer: TransferDocument, _ told: inout [String: String], _ open: inout Set<String>, _ show: (String) -> Void
  ) {
    let target = transfer.cause == "stage-out" ? "\(transfer.cluster) -> repository" : "-> \(transfer.cluster)"
    let line =
      "\(transfer.id)  \(TransferText.subject(transfer)) \(target)  \(transfer.phase)  \(TransferText.state(transfer))"
    if told[transfer.id] != line { show(Terminal.printable(line)) }
    told[transfer.id] = line
    if ["done", "failed", "cancelled"].contains(transfer.phase) {
      told[transfer.id] = nil
      open.remove(transfer.id)
    }
  }
}

struct LinkCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "link", abstract: "How well bytes move to clusters.", subcommands: [ListAll.self])

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "Measured bandwidth, what is promised, and what it costs.", aliases: ["ls"])
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: LinkList = try await client.get(["v1", "links"])
        try output.format.print(list, names: list.items.map { "\($0.source)->\($0.cluster)" }) { _ in
          Table(
            headings: ["FROM", "TO", "BANDWIDTH", "SAMPLES", "MEASURED", "BACKLOG", "EGRESS/GiB"],
            rows: list.items.map { link in
              [
                link.source, link.cluster,
                link.bytesPerSecond.map { "\(ByteCount(Int64(min($0, 9e18))))/s" } ?? "-", String(link.samples),
                link.measuredAt.map { "\(Display.span($0, nil, now: Display.now)) ago" } ?? "never",
                ByteCount(link.backlogBytes).description, Display.price(link.egressGibibyte, link.currency),
              ]
            }
          ).render()
        }
      }
    }
  }
}
