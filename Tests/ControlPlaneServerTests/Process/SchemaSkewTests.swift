import ControlPlaneCore
import FederationModel
import Logging
import Postgres
import TestSupport
import Testing

@testable import ControlPlaneServer
@testable import ControlPlaneStore

/// Control planes of two releases on one database.
@Suite(.serialized, .timeLimit(.minutes(2))) struct SchemaSkewTests {
  @Test(
    "N-1: a later release migrates under a leader of this one, which goes on; a standby of this one does not take over")
  func laterSchema() async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let store = ControlPlaneStore(configuration, pool: .init(connections: 4))
    _ = try await store.migrate()
    func controlPlane(_ holder: String) -> ControlPlane {
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      return ControlPlane(
        store: ControlPlaneStore(configuration, pool: .init(connections: 2)),
        candidate: LeadershipCandidate(
          holder: holder, url: "http://127.0.0.1:1", agentAddress: "127.0.0.1:2", lease: .seconds(1)),
        configuration: CoreConfiguration(), metrics: ControlPlaneMetrics(), logger: logger)
    }
    let leader = controlPlane("old-leader")
    let leading = Task { await leader.run() }
    try await waitUntil("it leads") { await leader.leadership.isLeader }
    let standby = controlPlane("old-standby")
    let standingBy = Task { await standby.run() }
    try await waitUntil("the standby knows the leader") { await standby.leadership.leaderURL != nil }

    // What a later release adds, under the running ones.
    let later = Migration(
      version: 9000, name: "V9000__later.sql",
      sql: "ALTER TABLE clusters ADD COLUMN later text; CREATE TABLE later (x int)")
    #expect(try await store.migrate(ControlPlaneStore.embeddedMigrations + [later]) == [later.name])
    _ = try await leader.perform(
      .createCluster(ClusterSpec(name: "edge", kind: .process)), as: Principal(user: "root"), idempotency: nil)
    #expect(try await store.clusters().map(\.spec.name) == ["edge"])
    let term = try await store.position().term

    leading.cancel()
    await leading.value
    try await waitUntil("the standby sees that nobody leads") { await standby.leadership.leaderURL == nil }
    // It has tried, four times a lease, and left the lease where it is.
    let end = ContinuousClock.now + .seconds(2)
    while ContinuousClock.now < end {
      #expect(await !standby.leadership.isLeader)
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(try await store.position().term == term)
    // A new start of this release is refused with both versions.
    let known = ControlPlaneStore.schemaVersion
    await #expect(throws: MigrationError.newerSchema(applied: 9000, known: known)) { try await store.migrate() }
    standingBy.cancel()
    await standingBy.value
    await store.close()
  }
}
