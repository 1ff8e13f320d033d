import FederationModel
import Foundation
import LedgerCore
import Testing

/// What a database would hold: images by key, entries for ever, changed only by whole units.
private struct Books {
  var budgets: [ProjectName: Budget] = [:]
  var reservations: [RunID: Reservation] = [:]
  var allowances: [Allowance.Name: Allowance] = [:]
  var storage: [String: StorageHold] = [:]
  var balances: [LedgerAccount: Int64] = [:]
  var charges: [RunID: Amount] = [:]

  mutating func commit(_ changes: LedgerChanges) {
    for budget in changes.budgets { budgets[budget.project] = budget }
    for reservation in changes.reservations { reservations[reservation.run] = reservation }
    for run in changes.ended { reservations[run] = nil }
    for hold in changes.storage { storage[hold.name] = hold }
    for name in changes.endedStorage { storage[name] = nil }
    for allowance in changes.allowances { allowances[allowance.name] = allowance }
    for entry in changes.entries {
      balances[entry.from, default: 0] -= entry.amount.micros
      balances[entry.to, default: 0] += entry.amount.micros
      if entry.kind == .charge, let run = entry.run { charges[run, default: .zero] += entry.amount }
    }
  }

  /// What the next leader begins with.
  var ledger: Ledger {
    Ledger(
      budgets: Array(budgets.values), reservations: Array(reservations.values), allowances: Array(allowances.values),
      storage: Array(storage.values))
  }

  /// What the entries say against what the images say.
  var imbalance: String? {
    if balances.values.reduce(0, +) != 0 { return "the accounts do not sum up to 0" }
    for (project, budget) in budgets {
      func balance(_ kind: LedgerAccount.Kind) -> Amount {
        Amount(micros: balances[LedgerAccount(kind, project.text, budget.spec.currency)] ?? 0)
      }
      for (kind, image) in [
        (LedgerAccount.Kind.available, budget.available), (.reserved, budget.reserved), (.spent, budget.spent),
      ] where balance(kind) != image {
        return "\(project): \(kind) is \(image), its entries say \(balance(kind))"
      }
    }
    return ledger.violation
  }
}

/// One leader after another over the same books, with random requests, plans made on old sight, and crashes.
private struct Schedule {
  static let projects: [ProjectName] = ["a", "b", "c"]
  static let members = ["u", "v", ""]
  var random: SeededGenerator
  var books = Books()
  var ledger = Ledger()
  var now = Timestamp(milliseconds: 1_700_000_000_000)
  var lastRun: Int64 = 0
  /// Placements that were planned on what was available then.
  var planned: [(project: ProjectName, amount: Amount)] = []
  var denied = 0
  var settled = 0

  init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  mutating func project() -> ProjectName { Self.projects[random.next(upTo: 3)] }
  mutating func amount(_ bound: Int) -> Amount { Amount(micros: Int64(random.next(upTo: bound))) }

  mutating func step() {
    now = now + .seconds(random.next(upTo: 40_000))
    switch random.next(upTo: 22) {
    case 20: keep()
    case 21:
      if let name = ledger.storage.keys.sorted().randomElement(using: &random) {
        _ = ledger.release(name, at: now)
      }
    case 0: set()
    case 1:
      let (amount, source, target) = (amount(60), project(), project())
      try? ledger.transfer(amount, from: source, to: target, at: now, by: "t")
    case 2..<6:
      // As a pass does that sees what is available once, and proposes more than that.
      let project = project()
      for _ in 0..<4 {
        let amount = amount(60)
        if ledger.refusal(of: amount, for: project) == nil { planned.append((project, amount)) }
      }
    case 6..<11: adopt()
    case 11..<15: settle()
    case 15:
      let member = Allowance.Name(project(), Self.members[random.next(upTo: 3)])
      if random.next(upTo: 2) == 0 {
        extend()
      } else {
        let limit = random.next(upTo: 3) == 0 ? nil : amount(90)
        try? ledger.setLimit(limit, of: member)
      }
    case 16: _ = ledger.beginPeriods(at: now)
    case 17:
      // The leader dies before its unit was sent: the next one knows what was committed.
      ledger = books.ledger
      planned = []
    default: books.commit(ledger.takeChanges())
    }
  }

  private mutating func set() {
    let spec = BudgetSpec(
      limit: amount(200), currency: random.next(upTo: 8) == 0 ? "EUR" : "CNY",
      period: BudgetPeriod.allCases[random.next(upTo: 3)], isHard: random.next(upTo: 4) > 0, alerts: [50, 100],
      carriesOver: random.next(upTo: 2) == 0)
    let project = project()
    try? ledger.set(spec, for: project, at: now, by: "t")
  }

  /// Takes what was planned, several times as much as there is perhaps.
  private mutating func adopt() {
    for plan in planned {
      lastRun += 1
      do {
        let member = Self.members[random.next(upTo: 3)]
        try ledger.reserve(
          plan.amount, for: RunID(lastRun), of: plan.project, by: member, bound: .seconds(60),
          slice: random.next(upTo: 2) == 0 ? nil : .seconds(random.next(upTo: 70)), at: now)
      } catch {
        denied += 1
      }
    }
    planned = []
  }

  private mutating func settle() {
    guard let run = ledger.reservations.keys.sorted().randomElement(using: &random) else { return }
    let held = ledger.reservations[run]!.amount
    let used = amount(40)
    let settlement = ledger.settle(run, used: used, on: "site", at: now)
    settled += settlement.map { $0.charged <= held } == true ? 1 : 0
    if random.next(upTo: 3) == 0, ledger.settle(run, used: .max, on: "site", at: now) != nil { settled = -1_000_000 }
  }

  /// Something is pinned for a day.
  private mutating func keep() {
    let name = "x\(random.next(upTo: 5))"
    let project = project()
    guard ledger.storage[name] == nil, let currency = ledger.budgets[project]?.spec.currency else { return }
    try? ledger.keep(
      StorageHold(
        name: name, project: project, member: Self.members[random.next(upTo: 3)], currency: currency,
        amount: amount(60), from: now, until: now + .seconds(86_400)), at: now)
  }

  private mutating func extend() {
    guard let run = ledger.reservations.keys.sorted().randomElement(using: &random) else { return }
    let more = amount(30)
    let before = ledger.reservations[run]!
    ledger.began(run, at: now)
    let slice = Duration.seconds(random.next(upTo: 90))
    try? ledger.extend(run, by: more, to: slice, at: now)
    let after = ledger.reservations[run]!
    if after.slice < before.slice || after.slice > after.bound || after.amount < before.amount { settled = -1_000_000 }
  }
}

@Suite("The ledger under random schedules", .timeLimit(.minutes(10)))
struct LedgerScheduleTests {
  /// A short slice by default, all of them when `make ledger` says so.
  private static var schedules: Int {
    ProcessInfo.processInfo.environment["FUBINI_LEDGER_SCHEDULES"].flatMap { Int($0) } ?? 250
  }

  @Test("I3: reserved + spent <= limit, and the balance, hold at every commit of any schedule, with crashes")
  func holds() {
    var (denied, settled) = (0, 0)
    for seed in 0..<UInt64(Self.schedules) {
      var schedule = Schedule(seed: seed)
      for step in 0..<120 {
        schedule.step()
        if let violation = schedule.ledger.violation ?? schedule.books.imbalance {
          Issue.record("seed \(seed), step \(step): \(violation)")
          return
        }
      }
      denied += schedule.denied
      #expect(schedule.settled >= 0, "seed \(seed): a run was charged more than was held, or twice")
      settled += schedule.settled
    }
    #expect(
      denied > Self.schedules && settled > Self.schedules, "the schedules came to the limits: \(denied), \(settled)")
  }
}
