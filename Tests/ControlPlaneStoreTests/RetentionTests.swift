import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import TestSupport
import Testing
import WorkflowCore

@Suite("What the database keeps", .timeLimit(.minutes(2)))
struct RetentionTests {
  @Test(
    "each workflow keeps its newest explanations and events, what belongs to none goes by age, in batches, and the audit stays"
  )
  func expires() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      var delta = DurableDelta(now: Sample.now)
      delta.workflows = [Sample.workflow(1), Sample.workflow(2)]
      delta.explanations = (1...20).map {
        ExplanationRow(id: $0, workflow: WorkflowID($0 <= 15 ? 1 : 2), at: Sample.now, document: "{}")
      }
      let old = Sample.now + (.zero - .seconds(31 * 86_400))
      delta.explanations += [
        ExplanationRow(id: 21, at: old, document: "{}"), ExplanationRow(id: 22, at: Sample.now, document: "{}"),
      ]
      delta.events = (0..<12).map {
        EventRow(at: old, workflow: WorkflowID(1), reason: "Submitted", message: "\($0)")
      }
      delta.events += [
        EventRow(at: old, cluster: "a", reason: "ClusterOffline", message: ""),
        EventRow(at: Sample.now, cluster: "a", reason: "ClusterOnline", message: ""),
      ]
      delta.audit = [AuditRow(at: old, actor: "u", action: "cluster.cordon", object: "a")]
      try await fixture.commit(delta)
      let policy = RetentionPolicy(explanationsPerWorkflow: 5, eventsPerWorkflow: 8)
      let store = fixture.store
      var batches: [Int] = []
      repeat { batches.append(try await store.expire(policy, at: Sample.now, batch: 3)) } while batches.last! > 0
      // 10 explanations and 4 events of workflow 1, one old row of each without a workflow; at most 3 of a kind at once.
      #expect(batches.reduce(0, +) == 16)
      #expect(batches.allSatisfy { $0 <= 8 })
      #expect(
        try await fixture.number("SELECT sum(id)::bigint FROM explanations") == Int64((11...20).reduce(0, +) + 22))
      #expect(try await store.events(of: WorkflowID(1), after: 0).map(\.row.message) == (4..<12).map(String.init))
      #expect(try await store.events(after: 0).map(\.row.reason).filter { $0 != "Submitted" } == ["ClusterOnline"])
      #expect(try await store.audit().count == 1)
    }
  }

  @Test("tokens that were revoked or have expired go when they have been listed for long enough; valid ones stay")
  func tokens() async throws {
    try await StoreFixture.use { (fixture: inout StoreFixture) async throws -> Void in
      let store = fixture.store
      let audit = AuditRow(at: Sample.now, actor: "root", action: "", object: "")
      let day = Duration.seconds(86_400)
      for (label, expiry) in [("valid", nil), ("ended", Sample.now + .seconds(60)), ("revoked", nil)]
        as [(String, Timestamp?)]
      {
        let hash = Array(repeating: UInt8(label.utf8.first!), count: 32)
        try await store.createToken(NewToken(hash: hash, user: "u", label: label, expiresAt: expiry), audit: audit)
      }
      let revoked = try #require(try await store.tokens(of: .user("u")).first { $0.label == "revoked" })
      #expect(try await store.revokeToken(revoked.id, audit: audit))
      #expect(try await store.expire(RetentionPolicy(), at: Sample.now + day * 29) == 0)
      #expect(try await store.expire(RetentionPolicy(), at: Sample.now + day * 31) == 2)
      #expect(try await store.tokens(of: .user("u")).map(\.label) == ["valid"])
    }
  }
}
