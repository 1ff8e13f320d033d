import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Postgres
import TestSupport
import Testing

@Suite("Leadership, tokens, certificates and migrations", .timeLimit(.minutes(2)))
struct IdentityTests {
  @Test("the lead is refused while held, given after release or expiry, and an old term cannot renew")
  func leadership() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let store = fixture.store
      func acquire(_ lease: Duration) async throws -> CommitPosition? {
        try await store.tryAcquire(holder: "two", address: "host:2", incarnation: 8, leaseDuration: lease)
      }
      let first = fixture.position
      #expect(try await acquire(.seconds(600)) == nil)
      #expect(try await store.renew(term: first.term, leaseDuration: .seconds(600)))
      try await store.release(term: first.term - 1)
      #expect(try await acquire(.seconds(600)) == nil)
      try await store.release(term: first.term)
      #expect(try await !store.renew(term: first.term, leaseDuration: .seconds(600)))
      // Already over by the database's clock when it is given.
      let second = try #require(try await acquire(.zero))
      #expect(second == CommitPosition(term: first.term + 1, sequence: first.sequence))
      let record = try await store.readLeadership()
      #expect(record.holder == "two")
      #expect(record.incarnation == 8)
      #expect(record.leaseLeft <= .zero)
      let third = try #require(try await acquire(.seconds(600)))
      #expect(third.term == second.term + 1)
      #expect(try await !store.renew(term: second.term, leaseDuration: .seconds(600)))
    }
  }

  @Test("of twenty keys that use one join token at once, one is accepted, and it alone may ask again")
  func joinRace() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let store = fixture.store
      let hash = [UInt8](repeating: 1, count: 32)
      try await store.createJoinToken(
        hash: hash, cluster: "a", at: Sample.now, expiresAt: Sample.now + .seconds(60))
      let outcomes = try await withThrowingTaskGroup(of: (UInt8, JoinTokenOutcome).self) { group in
        for key in 0..<UInt8(20) {
          group.addTask {
            (key, try await store.consumeJoinToken(hash: hash, key: [UInt8](repeating: key, count: 32), at: Sample.now))
          }
        }
        return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
      }
      let winners = outcomes.filter { $0.value == .accepted("a") }.map(\.key)
      #expect(winners.count == 1)
      #expect(outcomes.values.filter { $0 == .used("a") }.count == 19)
      let winner = try #require(winners.first)
      let again = try await store.consumeJoinToken(
        hash: hash, key: [UInt8](repeating: winner, count: 32), at: Sample.now + .seconds(1))
      #expect(again == .accepted("a"))
    }
  }

  @Test("an expired and an unknown join token are told apart")
  func joinRefusals() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let hash = [UInt8](repeating: 2, count: 32)
      try await fixture.store.createJoinToken(hash: hash, cluster: "a", at: Sample.now, expiresAt: Sample.now)
      let key = [UInt8](repeating: 0, count: 32)
      #expect(try await fixture.store.consumeJoinToken(hash: hash, key: key, at: Sample.now) == .expired("a"))
      let other = [UInt8](repeating: 3, count: 32)
      #expect(try await fixture.store.consumeJoinToken(hash: other, key: key, at: Sample.now) == .unknown)
    }
  }

  @Test(
    "a certificate is void when it or its cluster was revoked, or its cluster is gone; a restored database does not void the others"
  )
  func certificates() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let store = fixture.store
      func isRevoked(_ serial: String, _ cluster: ClusterName) async throws -> Bool {
        try await store.isRevoked(serial: serial, of: cluster, issuedAt: Sample.now)
      }
      var delta = DurableDelta(now: Sample.now)
      delta.clusters = ["a", "b"].map { ClusterRow(spec: ClusterSpec(name: $0, kind: .process), createdAt: Sample.now) }
      delta.clusters[1].revokedAt = Sample.now + .seconds(1)
      try await fixture.commit(delta)
      try await store.recordCertificate(
        serial: "1", fingerprint: "f1", cluster: "a", issuedAt: Sample.now, notAfter: Sample.now + .seconds(60),
        authority: "ca1", trusts: ["ca1"], at: Sample.now)
      #expect(try await !isRevoked("1", "a"))
      #expect(try await !isRevoked("issued-after-the-backup", "a"))
      #expect(try await isRevoked("1", "gone"))
      #expect(try await isRevoked("2", "b"))
      #expect(try await store.revokeCertificates(of: "a", at: Sample.now) == 1)
      #expect(try await isRevoked("1", "a"))
    }
  }

  @Test("an API token stands for its user until the token is unknown")
  func tokens() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let store = fixture.store
      let hash = [UInt8](repeating: 9, count: 32)
      try await store.ensureUser("u", isAdmin: true, at: Sample.now)
      try await store.ensureProject("p", organisation: "o", at: Sample.now)
      let audit = AuditRow(at: Sample.now, actor: "root", address: "1.2.3.4", action: "", object: "")
      try await store.createToken(
        NewToken(
          hash: hash, user: "u", project: "p", scopes: [.read, .permission(Permission(.update, .budget))], label: "l",
          expiresAt: Sample.now), audit: audit)
      let token = try #require(try await store.token(hash: hash))
      #expect(token.user == "u" && token.rights.federation == [.orgAdmin] && token.rights.boundTo == "p")
      #expect(token.rights.scopes == [.read, .permission(Permission(.update, .budget))])
      #expect(!token.isRevoked && token.expiresAt == Sample.now && token.usedAt == nil)
      #expect(try await store.token(hash: [UInt8](repeating: 8, count: 32)) == nil)
      try await store.noteUse(ofToken: token.id, at: Sample.now)
      try await store.noteUse(ofToken: token.id, at: Sample.now + .seconds(59))
      #expect(try await store.tokens(of: .user("u")).map(\.usedAt) == [Sample.now])
      try await store.noteUse(ofToken: token.id, at: Sample.now + .seconds(60))
      #expect(try await store.tokens(of: .everybody).map(\.usedAt) == [Sample.now + .seconds(60)])
      #expect(try await store.revokeToken(token.id, audit: audit))
      #expect(try await !store.revokeToken(token.id, audit: audit))
      #expect(try await store.token(hash: hash)?.isRevoked == true)
      let lines = try await store.audit().map(\.row)
      #expect(lines.map(\.action) == ["token.revoke", "token.create"])
      #expect(lines.allSatisfy { $0.object == token.id && $0.actor == "root" && $0.address == "1.2.3.4" })
    }
  }

  @Test("roles are given and taken, each with its line in the audit log; the last administrator stays")
  func members() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let store = fixture.store
      let audit = AuditRow(at: Sample.now, actor: "root", action: "", object: "")
      try await store.ensureUser("root", isAdmin: true, at: Sample.now)
      try await store.ensureProject("p", organisation: "o", at: Sample.now)
      for _ in 1...2 { try await store.addMember("ann", .viewer, to: "p", audit: audit) }
      try await store.addMember("p/ci", .submitter, to: "p", isService: true, audit: audit)
      try await store.addMember("ann", .submitter, to: "p", audit: audit)
      #expect(
        try await store.members(of: "p").map { "\($0.user) \($0.role.rawValue)" } == [
          "ann submitter", "ann viewer", "p/ci submitter",
        ])
      #expect(try await store.removeMember("ann", .viewer, from: "p", audit: audit))
      #expect(try await !store.removeMember("ann", .viewer, from: "p", audit: audit))
      #expect(try await store.audit().count(where: { $0.row.object == "p" }) == 4)
      #expect(try await !store.removeMember("root", .orgAdmin, from: nil, audit: audit))
      try await store.addMember("ann", .orgAdmin, to: nil, audit: audit)
      // Both leave at once: one stays.
      async let first = store.removeMember("root", .orgAdmin, from: nil, audit: audit)
      async let second = store.removeMember("ann", .orgAdmin, from: nil, audit: audit)
      let gone = try await [first, second]
      #expect(gone.filter { $0 }.count == 1)
      #expect(try await store.members(of: nil).count == 1)
      // A service account is bound to its project, whatever its token says.
      let hash = [UInt8](repeating: 7, count: 32)
      try await store.createToken(NewToken(hash: hash, user: "p/ci", label: ""), audit: audit)
      let rights = try #require(try await store.token(hash: hash)).rights
      #expect(rights.boundTo == "p" && rights.projects == ["p": [.submitter]])
      #expect(try await store.tokens(of: .project("p")).map(\.user) == ["p/ci"])
    }
  }

  @Test("migrations are applied once, by two processes at once too; a changed, missing or newer one is refused")
  func migrations() async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let one = Migration(version: 1, name: "V0001__a.sql", sql: "CREATE TABLE a (x int); CREATE TABLE b (x int);")
    let two = Migration(version: 2, name: "V0002__b.sql", sql: "CREATE TABLE c (x int)")
    @Sendable func migrate(_ migrations: [Migration]) async throws -> [String] {
      let connection = try await PostgresConnection.connect(configuration)
      do {
        let names = try await connection.migrate(migrations)
        await connection.close()
        return names
      } catch {
        await connection.close()
        throw error
      }
    }
    async let left = migrate([one])
    async let right = migrate([one])
    #expect(try await left + right == [one.name])
    #expect(try await migrate([one, two]) == [two.name])
    #expect(try await migrate([one, two]).isEmpty)
    var changed = one
    changed.sql += " "
    await #expect(throws: MigrationError.changed(name: one.name)) { try await migrate([changed, two]) }
    await #expect(throws: MigrationError.missing(name: one.name)) { try await migrate([two]) }
    await #expect(throws: MigrationError.newerSchema(applied: 2, known: 1)) { try await migrate([one]) }
    #expect(Migration(file: "V0012__a.sql", sql: "")?.version == 12)
    for name in ["V__a.sql", "1__a.sql", "V1_a.sql", "V1__.sql", "V1__a.txt", "V0__a.sql"] {
      #expect(Migration(file: name, sql: "") == nil, "\(name)")
    }
  }

  @Test("a role that does not own the tables leads, adds to the audit log, and can change no line of it")
  func appendOnlyRole() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let role = "app_\(UInt32.random(in: 0 ... .max))"
      let owner = fixture.store
      let plain = try await PostgresConnection.connect(fixture.configuration)
      try await plain.script(["CREATE ROLE \(role) LOGIN"])
      for _ in 1...2 { try await owner.admit(role) }
      let text = fixture.configuration.connectionString.replacing("user=postgres", with: "user=\(role)")
      let store = ControlPlaneStore(PostgresConfiguration(text), pool: .init(connections: 1))
      let weak = try await PostgresConnection.connect(PostgresConfiguration(text))
      let row = AuditRow(at: Sample.now, actor: "a", action: "b", object: "c")
      try await store.appendAudit(row)
      try await store.ensureUser("u", isAdmin: true, at: Sample.now)
      #expect(try await store.role() == role)
      #expect(try await store.health(now: { Sample.now }).mayOnlyAddToAudit == true)
      #expect(try await owner.health(now: { Sample.now }).mayOnlyAddToAudit == false)
      for sql in [
        "UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit", "DELETE FROM ledger_entries",
        "ALTER TABLE audit DISABLE TRIGGER ALL", "DROP TABLE audit", "DELETE FROM schema_migrations",
      ] {
        let error = await #expect(throws: PostgresError.self, "\(sql)") { try await weak.script([sql]) }
        #expect(error.map { "\($0)" }?.contains("42501") == true, "\(sql): \(String(describing: error))")
      }
      // The owner is stopped by the triggers.
      for sql in ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"] {
        await #expect(throws: PostgresError.self, "\(sql)") { try await plain.script([sql]) }
      }
      #expect(try await owner.audit().map(\.row) == [row])
      await store.close()
      await weak.close()
      try await plain.script(["DROP OWNED BY \(role)", "DROP ROLE \(role)"])
      await plain.close()
    }
  }
}
