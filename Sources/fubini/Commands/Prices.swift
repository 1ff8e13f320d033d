internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

struct PriceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "price", abstract: "What clusters charge: set, list.",
    discussion: "A run is charged what was quoted when it was placed, whatever becomes of prices later.",
    subcommands: [Set.self, ListAll.self])

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set a cluster's prices, for always or for a time. Prices that are left out are 0.",
      discussion: "Where several times overlap, what was set last holds. The same time again replaces its prices.")
    @Argument var cluster: String
    @Option(help: "Three capital letters: CNY, EUR.") var currency: String
    @Option(help: "One core for one hour: 0.04") var coreHour: String?
    @Option(help: "One GiB of memory for one hour.") var gibHour: String?
    @Option(help: "One GPU for one hour.") var gpuHour: String?
    @Option(help: "One GiB that another cluster fetches from its export.") var egressGib: String?
    @Option(help: "One GiB that a user keeps pinned for an hour.") var storageGibHour: String?
    @Option(name: .customLong("class"), help: "CLASS=FACTOR on the hourly prices, as idle=0.4; may be repeated.")
    var classes: [String] = []
    @Option(
      name: .customLong("partition"),
      help: """
        NAME:core-hour=0.2,gib-hour=0.01,gpu-hour=6, of one partition or node pool, in place of the cluster's hourly \
        prices; may be repeated.
        """)
    var partitions: [String] = []
    @Flag(help: "Of its spot capacity: hourly prices alone. Who bids less leaves after its notice.") var spot = false
    @Option(help: "From this moment: 2026-03-01T00:00:00Z") var from: String?
    @Option(help: "Until before this moment.") var until: String?

    func run() async throws {
      let request = try request()
      try await withClient { client in
        let answer: AcceptedDocument = try await client.post(
          ["v1", "clusters", cluster, "prices"], body: request, method: .PUT)
        Terminal.line(
          spot
            ? "\(answer.name): spot prices set. Runs keep their quote; those that bid less leave after their notice."
            : "\(answer.name): prices set. Runs that are placed already keep their quote.")
      }
    }

    func request() throws -> PriceRequest {
      var sheet = PriceSheet(
        currency: currency, coreHour: try Self.amount(coreHour), gibibyteHour: try Self.amount(gibHour),
        gpuHour: try Self.amount(gpuHour), egressGibibyte: try Self.amount(egressGib),
        storageGibibyteHour: try storageGibHour.map { try Self.amount($0) })
      var factors: [String: Double] = [:]
      for text in classes {
        let halves = text.split(separator: "=", maxSplits: 1)
        guard halves.count == 2, let factor = Double(halves[1]),
          factors.updateValue(factor, forKey: String(halves[0])) == nil
        else { throw CommandFailure(.usage, "A class is given once, like idle=0.4, not \"\(text)\".") }
      }
      if !factors.isEmpty { sheet.classFactors = factors }
      for text in partitions {
        let (name, prices) = try Self.partition(text)
        guard sheet.partitions?[name] == nil else {
          throw CommandFailure(.usage, "The prices of partition \(name) are given twice.")
        }
        sheet.partitions = (sheet.partitions ?? [:]).merging([name: prices]) { $1 }
      }
      if let problem = sheet.problem { throw CommandFailure(.usage, "\(problem).") }
      return PriceRequest(
        prices: sheet, from: try from.map(Self.moment), until: try until.map(Self.moment),
        spot: spot ? true : nil)
    }

    private static func partition(_ text: String) throws -> (String, HourlyPrices) {
      let halves = text.split(separator: ":", maxSplits: 1)
      var prices = HourlyPrices()
      var given: Swift.Set<String> = []
      for word in halves.count == 2 ? halves[1].split(separator: ",") : [] {
        let pair = word.split(separator: "=", maxSplits: 1).map(String.init)
        guard pair.count == 2, given.insert(pair[0]).inserted else { break }
        switch pair[0] {
        case "core-hour": prices.coreHour = try amount(pair[1])
        case "gib-hour": prices.gibibyteHour = try amount(pair[1])
        case "gpu-hour": prices.gpuHour = try amount(pair[1])
        default: throw CommandFailure(.usage, "A partition has core-hour, gib-hour and gpu-hour, not \"\(pair[0])\".")
        }
      }
      guard halves.count == 2, given.count == halves[1].split(separator: ",").count else {
        throw CommandFailure(.usage, "A partition's prices are like gpu:core-hour=0.2,gpu-hour=6, not \"\(text)\".")
      }
      return (String(halves[0]), prices)
    }

    /// Whole units as minor units.
    private static func amount(_ text: String?) throws -> Double {
      guard let text else { return 0 }
      guard let amount = Double(text), (0...PriceSheet.priceMax / 100).contains(amount) else {
        throw CommandFailure(.usage, "A price is a number of whole units like 0.04, not \"\(text)\".")
      }
      return amount * 100
    }

    private static func moment(_ text: String) throws -> WireTime {
      guard let moment = WireTime(text) else {
        throw CommandFailure(.usage, "A moment is like 2026-03-01T12:00:00Z, not \"\(text)\".")
      }
      return moment
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List prices; those that hold now are marked.", aliases: ["ls"])
    @Argument(help: "One cluster; every cluster when left out.") var cluster: String?
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: PriceList = try await client.get(
          cluster.map { ["v1", "clusters", $0, "prices"] } ?? ["v1", "prices"])
        try output.format.print(list, names: list.items.map(\.cluster)) { _ in Self.table(list.items) }
      }
    }

    static func table(_ items: [PriceDocument]) -> String {
      var table = Table(
        headings: [
          "CLUSTER", "NOW", "CORE-HOUR", "GIB-HOUR", "GPU-HOUR", "EGRESS/GiB", "PIN/GiB-HOUR", "CLASSES", "FROM",
          "UNTIL",
        ])
      for item in items {
        let place = item.spot == true ? "\(item.cluster) (spot)" : item.cluster
        let sheet = item.prices
        let factors = (sheet.classFactors ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        table.rows.append(
          [place, item.isInForce ? "*" : ""]
            + [sheet.coreHour, sheet.gibibyteHour, sheet.gpuHour, sheet.egressGibibyte, sheet.storageGibibyteHour ?? 0]
            .map {
              Display.price($0, sheet.currency)
            } + [
              factors.isEmpty ? "-" : factors.joined(separator: ","), item.from?.description ?? "-",
              item.until?.description ?? "-",
            ])
        for (name, own) in (sheet.partitions ?? [:]).sorted(by: { $0.key < $1.key }) {
          table.rows.append(
            ["\(place): \(name)", item.isInForce ? "*" : ""]
              + [own.coreHour, own.gibibyteHour, own.gpuHour].map { Display.price($0, sheet.currency) }
              + ["", "", "", "", ""])
        }
      }
      return table.render()
    }
  }
}
