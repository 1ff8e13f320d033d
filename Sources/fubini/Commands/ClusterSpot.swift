internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import NIOHTTP1

extension ClusterCommand {
  struct Spot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give a part of a cluster away as spot capacity, which may be taken back.",
      discussion: """
        Its price is set by `fubini price set CLUSTER --spot`. Tasks take it that say `federation.spot`, with `maxPrice` as their bid. A \
        smaller share than before is taken back: what does not fit any more is told to leave.
        """)
    @Argument var name: String
    @Option(help: "Per cent of its capacity and slots, 0 to 100.") var share: Int?
    @Option(help: "Seconds that a run has from being told to leave until it is killed, 1 to 600.") var notice: Int64?
    @Option(help: "Why; shown to those who leave and wait.") var reason: String?
    @Flag(help: "End it: what runs on it leaves, and its prices are forgotten.") var end = false

    func validate() throws {
      guard end != (share != nil), !end || notice == nil && reason == nil else {
        throw ValidationError("Say --share, or --end alone.")
      }
    }

    func run() async throws {
      guard let share else {
        return try await withClient { client in
          let answer: AcceptedDocument = try await client.decode(
            .init(method: .DELETE, path: ["v1", "clusters", name, "spot"]))
          Terminal.line("\(answer.name): offers no spot capacity any more; what runs on it leaves after its notice.")
        }
      }
      let body = SpotDocument(percent: share, noticeSeconds: notice, reason: reason)
      try await ClusterCommand.set(body, on: name, "\(share) % of it is spot capacity")
    }
  }

  struct Reclaim: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take spot capacity back: its runs get their notice, and go on elsewhere.",
      discussion: "What is left by --to is given on. `fubini cluster spot NAME --share` gives more again.")
    @Argument var name: String
    @Argument(help: "Why; shown to those who leave and wait.") var reason: String?
    @Option(help: "Per cent of the cluster that stays spot capacity; the least costly of its runs leave.") var to: Int =
      0

    func run() async throws {
      let body = SpotDocument(percent: to, reason: reason)
      try await ClusterCommand.set(body, on: name, "its spot capacity is taken back, but for \(to) % of the cluster")
    }
  }

  private static func set(_ body: SpotDocument, on name: String, _ past: String) async throws {
    try await withClient { client in
      let answer: AcceptedDocument = try await client.post(
        ["v1", "clusters", name, "spot"], body: body, method: .PUT)
      Terminal.line("\(answer.name): \(past).")
    }
  }
}
