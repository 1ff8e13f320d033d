import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import LedgerCore
import Postgres
import TestSupport
import Testing

@Suite("The ledger in PostgreSQL", .timeLimit(.minutes(2)))
struct LedgerStoreTests {
  private static let spec = BudgetSpec(limit: Amount("10")!, currency: "CNY", period: .monthly, alerts: [50, 80])

  private static func delta(_ changes: LedgerChanges) -> DurableDelta {
    var delta = DurableDelta(now: Sample.now)
    delta.ledger = changes
    return delta
  }

  /// A budget of 10 CNY with 4 CNY held for run 7.
  private static func held() throws -> Ledger {
    var ledger = Ledger()
    try ledger.set(spec, for: "p", at: Sample.now, by: "root")
    try ledger.reserve(Amount("4")!, for: RunID(7), of: "p", bound: .seconds(90), at: Sample.now)
    return ledger
  }

  @Test("What is held for pinned data is read back and reviewed, its entries name it, and its end leaves nothing")
  func storage() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var ledger = try Self.held()
      try ledger.keep(
        StorageHold(
          name: "x in cache a", project: "p", member: "u", currency: "CNY", amount: Amount("2")!, from: Sample.now,
          until: Sample.now + .seconds(86_400)), at: Sample.now)
      var delta = Self.delta(ledger.takeChanges())
      delta.runs = [Sample.run(7, 1, 0)]
      try await fixture.commit(delta)
      #expect(try await fixture.store.loadDurable().storageHolds == [ledger.storage["x in cache a"]!])
      #expect(try await fixture.store.reviewLedger().differences == [])
      _ = ledger.release("x in cache a", at: Sample.now + .seconds(43_200))
      try await fixture.commit(Self.delta(ledger.takeChanges()))
      #expect(try await fixture.store.loadDurable().storageHolds == [])
      #expect(try await fixture.store.reviewLedger().differences == [])
      let history = try await fixture.store.ledgerEntries(of: "p", before: nil, limit: 4)
      #expect(history.map(\.kind) == ["refund", "charge", "reserve", "reserve"])
      #expect(history.map(\.subject) == ["x in cache a", "x in cache a", "x in cache a", ""])
      try await fixture.script("INSERT INTO storage_holds VALUES ('y', 'p', '', 'CNY', 5, 0, 1)")
      #expect(try await fixture.store.reviewLedger().differences.count == 1, "nothing was entered for it")
    }
  }

  @Test("A project's storage is its uploads and its outputs in the repository, not what is in caches or deleted")
  func keptHere() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1)]
      delta.nodes = [Sample.node(1, 0), Sample.node(1, 1), Sample.node(1, 2)]
      delta.artifacts = (0..<3).map { Sample.artifactRow(1, Int32($0), "out") }
      delta.artifacts[1].stored.isUnstored = true
      try await fixture.commit(delta)
      let size = Sample.artifact.size.bytes
      #expect(size > 0)
      var kept = try await fixture.store.storage(of: "p")
      #expect(kept.datasets == 0 && kept.outputs == 2 * size)
      try await fixture.script("UPDATE artifacts SET deleted_ms = 1 WHERE ordinal = 2")
      kept = try await fixture.store.storage(of: "p")
      #expect(kept.outputs == size)
      #expect(try await fixture.store.storage(of: "q").outputs == 0)
    }
  }

  @Test("What is written is read back, and the review finds nothing")
  func roundTrip() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var ledger = try Self.held()
      var delta = Self.delta(ledger.takeChanges())
      delta.runs = [Sample.run(7, 1, 0)]
      delta.projects = [
        ProjectRow(
          name: "p", description: "é", createdAt: Sample.now, archivedAt: Sample.now + .seconds(1),
          limits: ProjectLimits(
            overall: ResourceQuota(cpuMillicores: 1), clusters: ["c": ResourceQuota(runs: 2)], allowedClasses: [.idle],
            residency: ["a": "b"]))
      ]
      try await fixture.commit(delta)
      let state = try await fixture.store.loadDurable()
      #expect(state.budgets == [ledger.budgets["p"]!])
      #expect(state.reservations == [ledger.reservations[RunID(7)]!])
      #expect(state.projects.map(\.name) == ["default", "p"])
      #expect(state.projects.last == delta.projects[0])
      let review = try await fixture.store.reviewLedger()
      #expect(review.entries == 2 && review.budgets == 1 && review.reservations == 1 && review.differences == [])
      _ = ledger.settle(RunID(7), used: Amount("1.25")!, on: "edge-1", at: Sample.now)
      delta = Self.delta(ledger.takeChanges())
      delta.runs = [Sample.run(7, 1, 0, phase: .succeeded)]
      try await fixture.commit(delta)
      #expect(try await fixture.store.loadDurable().reservations == [])
      #expect(try await fixture.store.budgets().map(\.spent) == [Amount("1.25")!])
      let history = try await fixture.store.ledgerEntries(of: "p", before: nil, limit: 3)
      #expect(history.map(\.kind) == ["refund", "charge", "reserve"])
      #expect(history.map(\.amount) == [Amount("2.75")!, Amount("1.25")!, Amount("4")!])
      let rest = try await fixture.store.ledgerEntries(of: "p", before: history.last?.sequence, limit: 3)
      #expect(rest.map(\.kind) == ["grant"] && rest.first?.actor == "root")
      #expect(try await fixture.store.ledgerEntries(of: "q", before: nil, limit: 3).isEmpty)
      #expect(try await fixture.store.reviewLedger().differences == [])
    }
  }

  @Test("A slice, when it began, and what renewed it are read back; a reservation of an earlier release is held whole")
  func slices() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var ledger = Ledger()
      var spec = Self.spec
      spec.slice = .seconds(30)
      try ledger.set(spec, for: "p", at: Sample.now, by: "root")
      try ledger.reserve(
        Amount("2")!, for: RunID(7), of: "p", bound: .seconds(90), slice: .seconds(30), at: Sample.now)
      var delta = Self.delta(ledger.takeChanges())
      delta.runs = [Sample.run(7, 1, 0)]
      try await fixture.commit(delta)
      #expect(try await fixture.store.loadDurable().reservations == [ledger.reservations[RunID(7)]!])
      #expect(try await fixture.store.loadDurable().budgets.map(\.spec) == [spec])
      ledger.began(RunID(7), at: Sample.now + .seconds(1))
      try await fixture.commit(Self.delta(ledger.takeChanges()))
      #expect(try await fixture.store.loadDurable().reservations.map(\.since) == [Sample.now + .seconds(1)])
      try ledger.extend(RunID(7), by: Amount("2")!, to: .seconds(60), at: Sample.now)
      try await fixture.commit(Self.delta(ledger.takeChanges()))
      #expect(try await fixture.store.loadDurable().reservations == [ledger.reservations[RunID(7)]!])
      #expect(try await fixture.store.reviewLedger().differences == [])
      #expect(
        try await fixture.store.ledgerEntries(of: "p", before: nil, limit: 2).map(\.kind) == ["extend", "reserve"])
      try await fixture.script("UPDATE reservations SET slice_ms = NULL, since_ms = NULL")
      #expect(try await fixture.store.loadDurable().reservations.map(\.isRenewable) == [false])
    }
  }

  @Test("I3: the database refuses a unit that overspends a hard budget, or whose entries and budgets do not agree")
  func refuses() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var ledger = try Self.held()
      let changes = ledger.takeChanges()
      var overspent = changes
      overspent.budgets[0].reserved = Amount("10.000001")!
      var unbacked = changes
      unbacked.budgets[0].reserved = Amount("5")!
      var lost = changes
      lost.entries.removeLast()
      for wrong in [overspent, unbacked, lost] {
        await #expect(throws: (any Error).self) {
          try await fixture.store.commit(Self.delta(wrong), fence: fixture.fence)
        }
        #expect(try await fixture.number("SELECT count(*) FROM ledger_entries") == 0)
      }
      try await fixture.commit(Self.delta(changes))
      #expect(try await fixture.number("SELECT count(*) FROM ledger_entries") == 2)
    }
  }

  @Test(
    "An alert is written for a webhook in its unit, for projects that have one, and claimed by one replica at a time")
  func alerts() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let store = fixture.store
      try await store.put(
        AlertHook(project: "p", url: "https://h", secret: "s", changedAt: Sample.now, changedBy: "root"))
      func alert(_ project: ProjectName) -> AlertRow {
        AlertRow(
          at: Sample.now, project: project, percent: 80, spent: Amount("4.05")!, granted: Amount("5")!, currency: "CNY",
          periodStart: Sample.now)
      }
      var delta = DurableDelta(now: Sample.now)
      delta.alerts = [alert("p"), alert("q")]
      try await fixture.commit(delta)
      #expect(try await store.claimAlerts(at: Sample.now + .seconds(-1), limit: 9).isEmpty)
      let first = try await store.claimAlerts(at: Sample.now, limit: 9)
      #expect(first.map(\.project) == ["p"] && first[0].attempts == 1)
      #expect(first[0].body.contains(#""percent":80"#) && first[0].body.contains(#""spent":"4.05""#), "\(first)")
      let pause = try #require(first[0].nextAt) - Sample.now
      #expect(pause >= .seconds(24) && pause <= .seconds(36))
      #expect(try await store.claimAlerts(at: Sample.now + .seconds(23), limit: 9).isEmpty, "it is being told")
      #expect(try await store.claimAlerts(at: Sample.now + .seconds(37), limit: 9).map(\.attempts) == [2])
      try await store.settleAlert(first[0].id, failure: nil, isLast: false, at: Sample.now)
      #expect(try await store.claimAlerts(at: Sample.now + .seconds(9999), limit: 9).isEmpty)
      #expect(try await store.alertDeliveries(of: "p", limit: 5).map(\.deliveredAt) == [Sample.now])
      #expect(try await store.removeAlertHook(of: "p", by: "root", at: Sample.now))
      #expect(try await store.alertHook(of: "p") == nil)
    }
  }

  @Test("Entries are never changed, and the review tells what was changed behind the ledger's back")
  func tampering() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var ledger = try Self.held()
      var delta = Self.delta(ledger.takeChanges())
      delta.runs = [Sample.run(7, 1, 0, phase: .succeeded)]
      try await fixture.commit(delta)
      for statement in [
        "UPDATE ledger_entries SET amount = 1", "DELETE FROM ledger_entries", "TRUNCATE ledger_entries",
      ] {
        await #expect(throws: (any Error).self) { try await fixture.script(statement) }
      }
      // A hold that outlived its run.
      let differences = try await fixture.store.reviewLedger().differences
      #expect(differences.count == 1 && differences[0].contains("0000000000000007"), "\(differences)")
      try await fixture.script("UPDATE budgets SET spent = 1", "UPDATE ledger_balances SET balance = balance + 1")
      let more = try await fixture.store.reviewLedger().differences
      #expect(more.contains { $0.contains("spent") } && more.contains { $0.contains("sum up to") }, "\(more)")
    }
  }

  @Test("Usage and costs are of the runs that ended, in millionths, earlier releases' hundredths included")
  func usage() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1), Sample.workflow(2)]
      delta.nodes = [Sample.node(1, 0), Sample.node(1, 1), Sample.node(2, 0)]
      delta.runs = [
        Sample.run(7, 1, 0, phase: .succeeded), Sample.run(8, 1, 1, phase: .failed),
        Sample.run(9, 1, 1, epoch: 2, phase: .succeeded), Sample.bareRun(10, 2, 0),
      ]
      try await fixture.commit(delta)
      try await fixture.script("UPDATE runs SET charge_micros = NULL, charge = 3 WHERE run_id = 8")
      let store = fixture.store
      let since = Sample.now
      for (grouping, name) in [
        (UsageGrouping.project, "p"), (.user, "user"), (.cluster, "edge-1"), (.template, "t"), (.label("team"), "a"),
        (.label("none"), ""), (.priorityClass, "offline"),
      ] {
        let rows = try await store.usage(by: grouping, of: "p", since: since, limit: 10)
        #expect(rows.map(\.name) == [name] && rows.first?.runs == 3, "\(grouping): \(rows)")
        #expect(rows.first?.charge == Amount(micros: 12 + 30_000 + 12) && rows.first?.currency == "CNY")
        #expect(rows.first.map { abs($0.coreSeconds - 3 * 0.008 * 1.5) < 1e-9 } == true)
      }
      #expect(try await store.usage(by: .project, of: "q", since: since, limit: 10).isEmpty)
      #expect(try await store.usage(by: .project, of: nil, since: since + .seconds(60), limit: 10).isEmpty)
      let costs = try await store.costs(of: WorkflowID(1), after: nil, limit: 2)
      #expect(costs.map(\.run.id) == [RunID(7), RunID(8)] && costs.map(\.node) == ["s", "s"])
      #expect(costs.last?.run.charge == Amount(micros: 30_000))
      let rest = try await store.costs(of: WorkflowID(1), after: (NodeID(1), 1), limit: 2)
      #expect(rest.map(\.run.id) == [RunID(9)])
      #expect(try await store.totals(of: WorkflowID(1)).charges == ["CNY": Amount(micros: 30_024)])
    }
  }
}
