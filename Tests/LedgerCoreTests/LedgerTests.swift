import FederationModel
import LedgerCore
import Testing

private let now = Timestamp(milliseconds: 1_700_000_000_000)  // 2023-11-14

private func spec(
  _ limit: String, _ currency: String = "CNY", _ period: BudgetPeriod = .once, isHard: Bool = true, alerts: [Int] = [],
  carriesOver: Bool = false
) -> BudgetSpec {
  BudgetSpec(
    limit: Amount(limit)!, currency: currency, period: period, isHard: isHard, alerts: alerts, carriesOver: carriesOver)
}

private func amount(_ text: String) -> Amount { Amount(text)! }

@Suite("The ledger")
struct LedgerTests {
  private func ledger(_ spec: BudgetSpec) throws -> Ledger {
    var ledger = Ledger()
    try ledger.set(spec, for: "p", at: now, by: "admin")
    return ledger
  }

  @Test("I3: of 1,000 tasks that race for the last 10 units ten are taken")
  func lastUnits() throws {
    var ledger = try ledger(spec("10"))
    let taken = (1...1000).count { run in
      (try? ledger.reserve(amount("1"), for: RunID(Int64(run)), of: "p", bound: .seconds(9), at: now)) != nil
    }
    #expect(taken == 10)
    #expect(ledger.budgets["p"]?.available == .zero)
    #expect(ledger.refusal(of: Amount(micros: 1), for: "p")?.code == .budgetDenied)
  }

  @Test(
    "A charge is what was used, at most what was reserved; the rest comes back, and the operator bears what is beyond")
  func settles() throws {
    var ledger = try ledger(spec("10"))
    for run in 1...2 { try ledger.reserve(amount("4"), for: RunID(Int64(run)), of: "p", bound: .seconds(9), at: now) }
    #expect(ledger.settle(RunID(1), used: amount("1.5"), on: "c", at: now)?.charged == amount("1.5"))
    #expect(ledger.settle(RunID(2), used: amount("7"), on: "c", at: now)?.charged == amount("4"))
    #expect(ledger.settle(RunID(2), used: amount("7"), on: "c", at: now) == nil, "settled once")
    #expect(ledger.budgets["p"]?.spent == amount("5.5"))
    #expect(ledger.budgets["p"]?.reserved == .zero)
    let overrun = ledger.takeChanges().entries.filter { $0.kind == .overrun }
    #expect(overrun.map(\.amount) == [amount("3")])
    #expect(overrun.first?.to == LedgerAccount(.overrun, "c", "CNY"))
  }

  @Test("Nothing is kept of a project without a budget")
  func noBudget() throws {
    var ledger = Ledger()
    try ledger.reserve(amount("4"), for: RunID(1), of: "p", bound: .seconds(9), at: now)
    #expect(ledger.settle(RunID(1), used: amount("1"), on: "c", at: now) == nil)
    #expect(!ledger.hasChanges && ledger.takeChanges().isEmpty)
  }

  @Test("A soft budget goes on below 0, and tells when spending reaches its alerts, each once")
  func soft() throws {
    var ledger = try ledger(spec("10", isHard: false, alerts: [50, 100]))
    var told: [Int?] = []
    for run in 1...4 {
      try ledger.reserve(amount("4"), for: RunID(Int64(run)), of: "p", bound: .seconds(9), at: now)
      told.append(ledger.settle(RunID(Int64(run)), used: amount("4"), on: "c", at: now)?.alert)
    }
    #expect(told == [nil, 50, 100, nil])
    #expect(ledger.budgets["p"]?.available == Amount(micros: -6_000_000))
    #expect(throws: FederationError.self, "it cannot become hard while it is overspent") {
      try ledger.set(spec("10"), for: "p", at: now, by: "admin")
    }
    try ledger.set(spec("16"), for: "p", at: now, by: "admin")
    #expect(ledger.violation == nil)
  }

  @Test("A new period grants anew, keeps what is reserved, and takes over what is left where that is wanted")
  func periods() throws {
    for carriesOver in [false, true] {
      var ledger = try ledger(spec("10", "CNY", .monthly, carriesOver: carriesOver))
      try ledger.reserve(amount("3"), for: RunID(1), of: "p", bound: .seconds(9), at: now)
      try ledger.reserve(amount("2"), for: RunID(2), of: "p", bound: .seconds(9), at: now)
      _ = ledger.settle(RunID(2), used: amount("2"), on: "c", at: now)
      #expect(ledger.beginPeriods(at: now + .seconds(86_400)) == [])
      let december = try #require(RFC3339.parse("2023-12-01T00:00:00Z"))
      #expect(ledger.budgets["p"]?.periodEnd == december)
      #expect(ledger.beginPeriods(at: december) == ["p"])
      let budget = try #require(ledger.budgets["p"])
      #expect(budget.granted == amount(carriesOver ? "15" : "10") && budget.spent == .zero)
      #expect(budget.reserved == amount("3") && budget.periodStart == december)
      #expect(ledger.violation == nil)
    }
  }

  @Test("A new period does not take away what transferred money holds (I3)")
  func periodAfterTransfer() throws {
    var ledger = try ledger(spec("10", "CNY", .monthly))
    try ledger.set(spec("10"), for: "q", at: now, by: "admin")
    try ledger.transfer(amount("8"), from: "q", to: "p", at: now, by: "admin")
    try ledger.reserve(amount("17"), for: RunID(1), of: "p", bound: .seconds(9), at: now)
    _ = ledger.beginPeriods(at: now + .seconds(40 * 86_400))
    #expect(ledger.violation == nil)
    #expect(ledger.budgets["p"]?.granted == amount("17"))
    #expect(throws: FederationError.self) { try ledger.transfer(amount("3"), from: "q", to: "p", at: now, by: "x") }
  }

  @Test("A slice is renewed within its bound and the budget, never shortened, and settled as one reservation")
  func slices() throws {
    var ledger = try ledger(spec("10"))
    try ledger.reserve(amount("2"), for: RunID(1), of: "p", bound: .seconds(60), slice: .seconds(20), at: now)
    _ = ledger.takeChanges()
    ledger.began(RunID(1), at: now)
    #expect(ledger.hasChanges && ledger.takeChanges().reservations.first?.sliceEnd == now + .seconds(20))
    ledger.began(RunID(1), at: now + .seconds(5))
    #expect(!ledger.hasChanges, "it began once")
    try ledger.extend(RunID(1), by: amount("2"), to: .seconds(40), at: now)
    try ledger.extend(RunID(1), by: .zero, to: .seconds(30), at: now)
    #expect(ledger.reservations[RunID(1)]?.slice == .seconds(40) && ledger.budgets["p"]?.reserved == amount("4"))
    #expect(throws: FederationError.self) { try ledger.extend(RunID(1), by: amount("7"), to: .seconds(60), at: now) }
    #expect(ledger.reservations[RunID(1)]?.slice == .seconds(40), "nothing has changed")
    try ledger.extend(RunID(1), by: amount("2"), to: .seconds(99), at: now)
    #expect(ledger.reservations[RunID(1)]?.slice == .seconds(60) && ledger.reservations[RunID(1)]?.isRenewable == false)
    #expect(ledger.violation == nil)
    let settlement = ledger.settle(RunID(1), used: amount("5"), on: "c", at: now)
    #expect(settlement?.charged == amount("5") && ledger.budgets["p"]?.available == amount("5"))
    // A run that is held whole never says when it began: nothing is written for it.
    try ledger.reserve(amount("1"), for: RunID(2), of: "p", bound: .seconds(9), at: now)
    _ = ledger.takeChanges()
    ledger.began(RunID(2), at: now)
    #expect(!ledger.hasChanges)
  }

  @Test("A limit cannot be set below what is used, and a currency not changed while something is reserved")
  func bounds() throws {
    var ledger = try ledger(spec("10"))
    try ledger.reserve(amount("3"), for: RunID(1), of: "p", bound: .seconds(9), at: now)
    #expect(throws: FederationError.self) { try ledger.set(spec("2.99"), for: "p", at: now, by: "admin") }
    #expect(throws: FederationError.self) { try ledger.set(spec("10", "EUR"), for: "p", at: now, by: "admin") }
    try ledger.set(spec("3"), for: "p", at: now, by: "admin")
    #expect(throws: FederationError.self) { try ledger.extend(RunID(1), by: amount("1"), to: .seconds(9), at: now) }
    try ledger.set(spec("4"), for: "p", at: now, by: "admin")
    try ledger.extend(RunID(1), by: amount("1"), to: .seconds(20), at: now)
    #expect(ledger.reservations[RunID(1)]?.slice == .seconds(9), "never beyond the bound")
    _ = ledger.settle(RunID(1), used: amount("4"), on: "c", at: now)
    // A run on a cluster that is free of charge holds nothing, and is settled in its currency all the same.
    try ledger.reserve(.zero, for: RunID(2), of: "p", bound: .seconds(9), at: now)
    #expect(throws: FederationError.self) { try ledger.set(spec("10", "EUR"), for: "p", at: now, by: "admin") }
    _ = ledger.settle(RunID(2), used: .zero, on: "c", at: now)
    try ledger.set(spec("10", "EUR"), for: "p", at: now, by: "admin")
    #expect(ledger.budgets["p"]?.available == amount("10") && ledger.violation == nil)
  }

  @Test("A denial says what is missing, when there is more, and who can grant it")
  func denial() throws {
    var ledger = try ledger(spec("10", "CNY", .monthly))
    try ledger.reserve(amount("8"), for: RunID(1), of: "p", bound: .seconds(9), at: now)
    let message = try #require(ledger.refusal(of: amount("2.000001"), for: "p")).publicMessage
    for part in ["2.00 CNY left of 10.00", "2.000001 CNY are needed", "fubini budget set p", "2023-12-01"] {
      #expect(message.contains(part), "\(message)")
    }
    #expect(ledger.refusal(of: amount("2"), for: "p") == nil)
  }

  @Test(
    "I3: a member's limit holds inside the budget, hard or soft, counts what was used before, and is granted anew with the period"
  )
  func members() throws {
    for isHard in [true, false] {
      var ledger = try ledger(spec("10", "CNY", .monthly, isHard: isHard))
      let anna = Allowance.Name("p", "anna")
      #expect(throws: FederationError.self) { try ledger.setLimit(amount("1"), of: Allowance.Name("q", "anna")) }
      try ledger.reserve(amount("3"), for: RunID(1), of: "p", by: "anna", bound: .seconds(9), at: now)
      #expect(throws: FederationError.self, "she holds more") { try ledger.setLimit(amount("2"), of: anna) }
      try ledger.setLimit(amount("4"), of: anna)
      let denial = try #require(ledger.refusal(of: amount("1.000001"), for: "p", by: "anna"))
      #expect(denial.code == .budgetDenied && denial.publicMessage.contains("anna has 1.00 CNY left of the 4.00 CNY"))
      #expect(denial.publicMessage.contains("fubini budget member set p anna AMOUNT"))
      #expect(ledger.refusal(of: amount("7"), for: "p", by: "ben") == nil, "the others are not bounded")
      #expect(throws: FederationError.self) {
        try ledger.reserve(amount("2"), for: RunID(2), of: "p", by: "anna", bound: .seconds(9), at: now)
      }
      try ledger.reserve(amount("1"), for: RunID(3), of: "p", by: "anna", bound: .seconds(9), at: now)
      _ = ledger.settle(RunID(1), used: amount("2.5"), on: "c", at: now)
      #expect(ledger.allowances[anna]?.available == amount("0.5") && ledger.violation == nil)
      #expect(throws: FederationError.self, "her limit is in CNY") {
        _ = ledger.settle(RunID(3), used: .zero, on: "c", at: now)
        try ledger.set(spec("10", "EUR", .monthly), for: "p", at: now, by: "admin")
      }
      _ = ledger.takeChanges()
      #expect(ledger.beginPeriods(at: now + .seconds(40 * 86_400)) == ["p"])
      #expect(ledger.allowances[anna]?.available == amount("4") && ledger.violation == nil)
      #expect(ledger.takeChanges().allowances.map(\.name) == [anna])
      try ledger.setLimit(nil, of: anna)
      #expect(ledger.refusal(of: amount("9"), for: "p", by: "anna") == nil)
      try ledger.setLimit(nil, of: Allowance.Name("p", "nobody"))
      #expect(ledger.allowances[Allowance.Name("p", "nobody")] == nil)
    }
  }
}
