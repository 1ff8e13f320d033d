import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Postgres
import TestSupport
import Testing
import WorkflowCore

@Suite("Units, their fence, and what becomes of them in a crash", .timeLimit(.minutes(2)))
struct UnitTests {
  static func isFenced(_ unit: PendingUnit) async -> Bool {
    do {
      try await unit.answer()
      return false
    } catch CommitError.fenced {
      return true
    } catch {
      return false
    }
  }

  @Test("I2: a unit of an old term, or one that does not follow the last, changes nothing")
  func stale() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1)]
      let position = fixture.position
      for fence in [
        Fence(term: position.term - 1, previous: position.sequence),
        Fence(term: position.term, previous: position.sequence + 1),
        Fence(term: position.term, previous: position.sequence - 1, next: position.sequence + 1),
      ] {
        #expect(await Self.isFenced(fixture.store.send(delta, fence: fence)))
      }
      #expect(try await fixture.store.position() == position)
      #expect(try await fixture.store.loadDurable().workflows.isEmpty)
    }
  }

  @Test("I2: the unit behind one that failed fails too, although it is on the wire already")
  func chain() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let before = fixture.position
      var bad = DurableDelta(now: Sample.now)
      // Two workflows of one name: the database refuses the second.
      bad.workflows = [Sample.workflow(1), Sample.workflow(2)]
      bad.workflows[1].name = bad.workflows[0].name
      var good = DurableDelta(now: Sample.now)
      good.workflows = [Sample.workflow(3)]
      let first = fixture.send(bad)
      let second = fixture.send(good)
      let error = await #expect(throws: CommitError.self) { try await first.answer() }
      guard case .rejected = error else {
        Issue.record("not rejected: \(String(describing: error))")
        return
      }
      #expect(await Self.isFenced(second))
      #expect(try await fixture.store.position() == before)
    }
  }

  @Test("a unit may lift the sequence by more than one step, and the next one follows from there")
  func lift() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var delta = DurableDelta(now: Sample.now)
      delta.minimumSequence = 1000
      try await fixture.commit(delta)
      #expect(try await fixture.store.position().sequence == 1001)
      try await fixture.commit(DurableDelta(now: Sample.now))
      #expect(try await fixture.store.position().sequence == 1002)
    }
  }

  @Test("rows that a failed unit would have inserted are inserted by the unit that is sent again")
  func resend() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1)]
      delta.nodes = [Sample.bareNode(1, 0)]
      delta.runs = [Sample.bareRun(1, 1, 0)]
      let stale = Fence(
        term: fixture.position.term, previous: fixture.position.sequence - 1, next: fixture.position.sequence)
      #expect(await Self.isFenced(fixture.store.send(delta, fence: stale)))
      try await fixture.commit(delta)
      delta.runs[0].phase = .running
      delta.nodes[0].record.phase = .running
      try await fixture.commit(delta)
      let state = try await fixture.store.loadDurable()
      #expect(state.runs == delta.runs)
      #expect(state.workflows.first?.nodes == delta.nodes.map(\.record))
    }
  }

  @Test(
    "I2: after the connection or the server is gone, the position tells which of two units have committed",
    arguments: [false, true])
  func crash(byKill: Bool) async throws {
    let server = try PostgresServer()
    try await StoreFixture.use(server) { (fixture: inout StoreFixture) async throws -> Void in
      let before = fixture.position.sequence
      var units: [(number: Int64, unit: PendingUnit)] = []
      for id in 1...2 {
        var delta = DurableDelta(now: Sample.now)
        delta.workflows = [Sample.workflow(Int64(id))]
        delta.nodes = (0..<1500).map { Sample.bareNode(Int64(id), $0) }
        units.append((before + Int64(id), fixture.send(delta)))
      }
      if byKill {
        try await server.kill()
        try server.start()
      } else {
        let admin = try await PostgresConnection.connect(fixture.configuration)
        try await admin.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        )
        await admin.close()
      }
      var acknowledged = before
      for (number, unit) in units where (try? await unit.answer()) != nil { acknowledged = number }
      let store = fixture.store
      try await waitUntil("the store answers again") { (try? await store.reconnect()) != nil }
      try await waitUntil("the pool answers again") { (try? await store.position()) != nil }
      let position = try await store.position()
      #expect(position.sequence >= acknowledged)
      #expect(position.sequence <= before + 2)
      let state = try await store.loadDurable()
      #expect(state.workflows.map(\.row.id.number) == Array((before + 1)..<(position.sequence + 1)).map { $0 - before })
      #expect(state.workflows.allSatisfy { $0.nodes.count == 1500 })
    }
  }

  @Test("idempotency rows older than a day are not loaded, and go when new ones come")
  func idempotency() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      func row(_ key: String, _ at: Timestamp) -> IdempotencyRow {
        IdempotencyRow(principal: "u", key: key, requestHash: "h", reply: "r", at: at)
      }
      var delta = DurableDelta(now: Sample.now)
      delta.idempotency = (0..<5).map { row("old-\($0)", Sample.now) }
      try await fixture.commit(delta)
      let later = Sample.now + .seconds(86_401)
      try await fixture.commit(DurableDelta(now: later))
      #expect(try await fixture.store.loadDurable().idempotency.isEmpty)
      #expect(try await fixture.number("SELECT count(*) FROM idempotency") == 5)
      var next = DurableDelta(now: later)
      next.idempotency = [row("new", later)]
      try await fixture.commit(next)
      #expect(try await fixture.store.loadDurable().idempotency == next.idempotency)
      #expect(try await fixture.number("SELECT count(*) FROM idempotency") == 1)
    }
  }

  @Test(
    "NUL that came as far as a unit is refused and not changed: nothing of that unit is there, and the next one commits"
  )
  func nul() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1)]
      var node = Sample.node(1, 0)
      node.record.message = "x\u{0}y"
      delta.nodes = [node]
      let (bad, store, fence) = (delta, fixture.store, fixture.fence)
      let error = await #expect(throws: CommitError.self) { try await store.commit(bad, fence: fence) }
      #expect("\(String(describing: error))".contains("22021"), "invalid byte sequence: \(String(describing: error))")
      #expect(try await fixture.number("SELECT count(*) FROM workflows") == 0)
      delta.nodes[0].record.message = "xy"
      try await fixture.commit(delta)
      #expect(try await fixture.store.loadDurable().workflows.first?.nodes.first?.outputs == node.record.outputs)
    }
  }

  @Test(
    "audit records cannot be changed, removed or truncated",
    arguments: [
      "UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit",
    ])
  func audit(_ sql: String) async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      try await fixture.store.appendAudit(AuditRow(at: Sample.now, actor: "u", action: "a.b", object: "o"))
      let reader = fixture
      let error = await #expect(throws: PostgresError.self) { try await reader.script(sql) }
      #expect(error?.kind == .raised("FB003"))
      #expect(try await fixture.store.audit().count == 1)
    }
  }
}
