import ControlPlaneCore
import FederationModel
import LedgerCore
import Testing

/// A GiB of water on `a`, where keeping it costs 1 CNY an hour.
@Suite("Pinned data is paid for a day ahead")
struct CorePinMoneyTests {
  private let key = DataKey(project: "default", dataset: "water", version: 1)
  private let replica = ReplicaName(key: DataKey(project: "default", dataset: "water", version: 1), cache: "a")

  private func federation(_ limit: String, price: Double? = 100) -> Federation {
    var federation = Federation.withCaches(["a"])
    setPrice(price, &federation)
    federation.command(
      .project(
        "default", .setBudget(BudgetChange(limit: Amount(limit)!, currency: "CNY", period: .once, isHard: true))))
    federation.createWater()
    federation.uploadWater()
    federation.tell("a", key, .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    return federation
  }

  private func setPrice(_ price: Double?, _ federation: inout Federation, _ currency: String = "CNY") {
    federation.command(
      .setPrices("a", PricePeriod(prices: PriceSheet(currency: currency, storageGibibyteHour: price))))
    federation.settle()
  }

  private func pin(_ federation: inout Federation, _ isPinned: Bool = true) -> FederationError? {
    guard case .failure(let error)? = federation.ask(.dataset(water, .pin(version: 1, cluster: "a", isPinned))) else {
      return nil
    }
    return error
  }

  private func pass(hours: Int64, _ federation: inout Federation) {
    federation.clock = federation.clock + .seconds(hours * 3600)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    federation.deliverAll()
  }

  private func expect(
    _ federation: Federation, reserved: String, spent: String, isPinned: Bool? = true,
    _ place: SourceLocation = #_sourceLocation
  ) {
    let database = federation.database
    let budget = database.budgets["default"]!
    // Commands and ticks take some milliseconds of virtual time.
    let isClose = abs(budget.spent.micros - Amount(spent)!.micros) < 1000
    #expect(budget.reserved == Amount(reserved) && isClose, "\(budget)", sourceLocation: place)
    #expect(database.replicas[replica]?.isPinned == isPinned, sourceLocation: place)
    let ledger = Ledger(
      budgets: Array(database.budgets.values), reservations: Array(database.reservations.values),
      allowances: Array(database.allowances.values), storage: Array(database.storage.values))
    #expect(ledger.violation == nil, sourceLocation: place)
  }

  @Test("a pin holds a day; what has passed of it is charged when it is taken away")
  func unpin() {
    var federation = federation("50")
    #expect(pin(&federation) == nil)
    expect(federation, reserved: "24", spent: "0")
    #expect(pin(&federation) == nil, "again")
    expect(federation, reserved: "24", spent: "0")
    federation.crash()
    federation.connect("a")
    federation.settle()
    pass(hours: 12, &federation)
    #expect(pin(&federation, false) == nil)
    expect(federation, reserved: "0", spent: "12", isPinned: false)
    let entries = federation.database.entries.filter { $0.kind == .charge }
    #expect(entries.map(\.subject) == ["dataset:default/water@1 in cache a"])
  }

  @Test(
    "I3: it is renewed from day to day, told when that will not go on, and lapses before it costs what is not there")
  func lapses() {
    var federation = federation("50")
    _ = pin(&federation)
    pass(hours: 25, &federation)
    expect(federation, reserved: "24", spent: "24")
    pass(hours: 16, &federation)
    #expect(!federation.database.events.contains { $0.reason == "PinLapsing" }, "seven hours are left")
    pass(hours: 2, &federation)
    pass(hours: 1, &federation)
    let warnings = federation.database.events.filter { $0.reason == "PinLapsing" }
    #expect(warnings.count == 1 && warnings[0].message.contains("2.00 CNY left of 50.00"), "\(warnings)")
    federation.agents["a"]!.orders = DataOrders()
    pass(hours: 5, &federation)
    expect(federation, reserved: "0", spent: "48", isPinned: false)
    #expect(federation.agents["a"]!.orders.unpin == [key])
    #expect(federation.database.audit.contains { $0.action == "dataset.unpin" && $0.object == "default/water@1" })
    #expect(federation.database.events.contains { $0.reason == "PinLapsed" })
  }

  @Test("days without a leader are charged when there is one again")
  func leaderless() {
    var federation = federation("100")
    _ = pin(&federation)
    federation.crash()
    federation.connect("a")
    pass(hours: 80, &federation)
    expect(federation, reserved: "24", spent: "72")
  }

  @Test("a pin that the budget does not hold is refused, and so is one for another currency")
  func refusals() {
    var federation = federation("23")
    #expect(pin(&federation)?.code == .budgetDenied)
    expect(federation, reserved: "0", spent: "0", isPinned: false)
    setPrice(1, &federation, "USD")
    #expect(pin(&federation)?.publicMessage.contains("keeps data for USD") == true)
    setPrice(nil, &federation)
    #expect(pin(&federation) == nil, "it costs nothing")
    expect(federation, reserved: "0", spent: "0")
  }

  @Test("what was pinned before it had a price is paid for from now on, or is given notice")
  func before() {
    for (limit, reserved) in [("50", "24"), ("10", "0")] {
      var federation = federation(limit, price: nil)
      _ = pin(&federation)
      setPrice(100, &federation)
      pass(hours: 1, &federation)
      expect(federation, reserved: reserved, spent: "0")
      #expect(federation.database.events.contains { $0.reason == "PinLapsing" } == (limit == "10"))
      pass(hours: 5, &federation)
      pass(hours: 1, &federation)
      expect(federation, reserved: reserved, spent: "0", isPinned: limit == "50")
    }
  }

  @Test("a replica that is lost is not paid for, and again when it is back")
  func lost() {
    var federation = federation("50")
    _ = pin(&federation)
    pass(hours: 6, &federation)
    federation.tell("a", key, .gone(reason: "corrupt"))
    expect(federation, reserved: "0", spent: "6", isPinned: nil)
    federation.tell("a", key, .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: nil))
    pass(hours: 1, &federation)
    expect(federation, reserved: "24", spent: "6")
  }
}
