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
      try await store.createToken(
        hash: hash, user: "u", project: "p", label: "l", at: Sample.now, expiresAt: Sample.now)
      let token = try #require(try await store.token(hash: hash))
      #expect(token.user == "u" && token.isAdmin && token.project == "p" && !token.isRevoked)
      #expect(token.expiresAt == Sample.now)
      #expect(try await store.token(hash: [UInt8](repeating: 8, count: 32)) == nil)
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
}
