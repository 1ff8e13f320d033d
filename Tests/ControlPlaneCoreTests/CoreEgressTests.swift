import ControlPlaneCore
import FederationModel
import LedgerCore
import Testing
import WorkflowCore

/// Cluster `a` has the water and asks 0.50 CNY for a GiB that leaves it; `b` runs for 0.01 CNY a second, and so does `c`, which shows its
/// cache, too.
@Suite("Egress: the sheet of the cluster that bytes leave is charged to the run that has them fetched")
struct CoreEgressTests {
  private let key = DataKey(project: "default", dataset: "water", version: 1)
  private let reads = readsWater().replacing(
    "{datasets:", with: "{walltime: 60s, clusters: {exclude: [a, c]}, datasets:")

  private func federation(egress: PriceSheet) throws -> Federation {
    var federation = Federation(seed: 3, clusters: ["a", "b", "c"])
    for name: ClusterName in ["a", "b", "c"] {
      federation.disconnect(name)
      federation.agents[name]!.cache = CacheInventory(
        name: name.text, capacity: .gibibytes(100), exportURL: name == "b" ? nil : "https://\(name):1")
      federation.agents[name]!.wallMilliseconds = 20_000
      federation.connect(name)
    }
    federation.settle()
    federation.deliverAll()
    federation.command(.setPrices("a", PricePeriod(prices: egress)))
    federation.command(.setPrices("b", PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 3600))))
    federation.command(
      .setPrices("c", PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 3600, egressGibibyte: 20))))
    federation.command(
      .project(
        "default", .setBudget(BudgetChange(limit: Amount("10")!, currency: "CNY", period: .once, isHard: true))))
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", key, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    _ = try federation.submit("reads", reads)
    federation.settle()
    federation.plan()
    federation.settle()
    return federation
  }

  private static let sheet = PriceSheet(currency: "CNY", egressGibibyte: 50)

  @Test("the placement holds what the bytes may cost, and its quote stays though the price changes")
  func holds() throws {
    var federation = try federation(egress: Self.sheet)
    #expect(federation.database.reservations.values.map(\.amount) == [Amount("1.10")!], "60 s and a GiB")
    #expect(
      federation.database.runs.values.map(\.egress)
        == [[EgressQuote(source: "a", gibibyte: 50, planned: gigabyte)]])
    federation.command(
      .setPrices("a", PricePeriod(prices: PriceSheet(currency: "CNY", egressGibibyte: 5000))))
    federation.settle()
    federation.crash()
    federation.agents["b"]!.bytesIn = gigabyte
    federation.agents["b"]!.bytesFrom = ["a": gigabyte]
    federation.mustEnd()
    let row = try #require(federation.database.runs.values.first)
    #expect(row.charge == Amount("0.70"), "20 s and a GiB, as quoted")
    #expect(row.egress == [EgressQuote(source: "a", gibibyte: 50, planned: gigabyte, moved: gigabyte)])
    #expect(federation.database.budgets["default"]?.spent == Amount("0.70"))
    #expect(federation.database.reservations.isEmpty)
  }

  @Test(
    "what the agent tells of its sources is charged, within what was planned; of one that tells nothing, the plan is",
    arguments: [
      (nil, "0.70"), (["a": gigabyte], "0.70"), ([:], "0.20"), (["c": gigabyte], "0.40"),
      (["a": ByteCount.gibibytes(3)], "0.70"),
    ] as [([ClusterName: ByteCount]?, String)])
  func settles(_ told: [ClusterName: ByteCount]?, _ charge: String) throws {
    var federation = try federation(egress: Self.sheet)
    federation.agents["b"]!.bytesIn = gigabyte
    federation.agents["b"]!.bytesFrom = told
    federation.mustEnd()
    #expect(federation.database.runs.values.first?.charge == Amount(charge))
    #expect(!federation.database.entries.contains { $0.kind == .overrun })
  }

  @Test("a price in another currency than the run's own is not charged, nor held")
  func otherCurrency() throws {
    var federation = try federation(egress: PriceSheet(currency: "USD", egressGibibyte: 50))
    #expect(federation.database.reservations.values.map(\.amount) == [Amount("0.60")!])
    federation.agents["b"]!.bytesIn = gigabyte
    federation.agents["b"]!.bytesFrom = ["a": gigabyte]
    federation.mustEnd()
    #expect(federation.database.runs.values.first?.charge == Amount("0.20"))
  }
}
