import FederationModel
import LedgerCore
import Testing

private let now = Timestamp(milliseconds: 1_700_000_000_000)

@Suite("Money held for what is kept")
struct StorageHoldTests {
  private func hold(_ amount: String, member: String = "u") -> StorageHold {
    StorageHold(
      name: "x in cache a", project: "p", member: member, currency: "CNY", amount: Amount(amount)!, from: now,
      until: now + .seconds(86_400))
  }

  private func ledger(_ limit: String) throws -> Ledger {
    var ledger = Ledger()
    try ledger.set(BudgetSpec(limit: Amount(limit)!, currency: "CNY", period: .once), for: "p", at: now, by: "admin")
    return ledger
  }

  @Test(
    "As much is charged as has passed of its time, and the rest comes back",
    arguments: [(0, "0"), (21_600, "1"), (43_200, "2"), (86_400, "4"), (999_999, "4"), (-5, "0")])
  func charges(_ seconds: Int64, _ charged: String) throws {
    var ledger = try ledger("4")
    try ledger.keep(hold("4"), at: now)
    #expect(ledger.budgets["p"]?.available == .zero && ledger.violation == nil)
    let settlement = ledger.release("x in cache a", at: now + .seconds(seconds))
    #expect(settlement?.charged == Amount(charged))
    #expect(ledger.budgets["p"]?.spent == Amount(charged) && ledger.budgets["p"]?.reserved == .zero)
    #expect(ledger.allowances[Allowance.Name("p", "u")]?.spent == Amount(charged))
    #expect(ledger.violation == nil)
    #expect(ledger.release("x in cache a", at: now) == nil, "once")
    let changes = ledger.takeChanges()
    #expect(changes.storage.isEmpty && changes.endedStorage == ["x in cache a"])
    #expect(changes.entries.dropFirst().allSatisfy { $0.subject == "x in cache a" && $0.run == nil })
  }

  @Test("I3: what a budget or a member's limit does not hold is refused; a project without a budget pays nothing")
  func refuses() throws {
    var poor = try ledger("3.99")
    #expect(throws: FederationError.self) { try poor.keep(hold("4"), at: now) }
    #expect(poor.storage.isEmpty && poor.budgets["p"]?.reserved == .zero)
    var limited = try ledger("9")
    try limited.setLimit(Amount("3")!, of: Allowance.Name("p", "u"))
    #expect(throws: FederationError.self) { try limited.keep(hold("4"), at: now) }
    try limited.keep(hold("4", member: "v"), at: now)
    #expect(limited.violation == nil)
    #expect(throws: FederationError.self, "it is paid for in CNY") {
      try limited.set(BudgetSpec(limit: Amount("9")!, currency: "EUR", period: .once), for: "p", at: now, by: "admin")
    }
    var none = Ledger()
    try none.keep(hold("4"), at: now)
    #expect(none.storage.isEmpty && !none.hasChanges)
  }
}
