import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Foundation
import TestSupport
import Testing
import WorkflowCore

@testable import ControlPlaneServer

/// The leader's clock, over a real database and a real leader. Nothing waits: the moment is an argument.
@Suite(.serialized) struct CronTests {
  private static let author = Principal(user: "ann")

  private static func make(
    _ fixture: APIFixture, _ name: String, spec: String = "", template: String = "suspend: {}"
  ) async throws -> StoredObject {
    let text = """
      apiVersion: argoproj.io/v1alpha1
      kind: CronWorkflow
      metadata: {name: \(name)}
      spec:
        schedule: "*/5 * * * *"
        \(spec.split(separator: "\n").joined(separator: "\n  "))
        workflowSpec:
          entrypoint: m
          templates:
          - name: m
            \(template)
      """
    let draft = try #require(try ObjectDraft(try ArgoDocument.decode(Array(text.utf8)), suffix: "x"))
    return try await ObjectDesk(store: fixture.store, commands: fixture.controlPlane).create(
      draft, in: "a", uid: WorkflowName.uuid(APIServer.randomBytes()), as: author)
  }

  /// The first scheduled time after the making of an object.
  private static func first(after object: StoredObject) -> Timestamp {
    let five: Int64 = 300_000
    return Timestamp(milliseconds: (object.createdAt.milliseconds / five + 1) * five)
  }

  private static func step(_ fixture: APIFixture, _ object: StoredObject, since: Timestamp, now: Timestamp) throws
    -> CronStep
  {
    try CronStep(object, watchedSince: since, now: now, store: fixture.store, commands: fixture.controlPlane)
  }

  private static func workflows(_ fixture: APIFixture) async throws -> [WorkflowHead] {
    try await fixture.store.workflowHeads(WorkflowFilter(project: "a"), limit: 100)
  }

  private struct Crash: Error {}

  @Test(
    "A leader that dies between submitting a workflow and noting it submits nothing twice, and the next one notes it",
    arguments: ["", "startingDeadlineSeconds: 3600"])
  func crash(spec: String) async throws {
    try await APIFixture.use { fixture in
      let object = try await Self.make(fixture, "c", spec: spec)
      let due = Self.first(after: object)
      let dying = try Self.step(fixture, object, since: object.createdAt, now: due)
      await #expect(throws: Crash.self) { _ = try await dying.run { throw Crash() } }
      #expect(try await Self.workflows(fixture).count == 1)
      #expect(try await fixture.store.cronState(object.uid) == nil)
      // The one that takes over watches from a little later on; a second one that took over from the same state does no harm either.
      for later in [Duration.seconds(10), .seconds(20)] {
        let next = try await Self.step(fixture, object, since: due + .seconds(5), now: due + later).run()
        #expect(next.state.lastScheduledAt == due && next.state.active.count == 1)
      }
      // And one that believes to have watched all the time asks for the same workflow again.
      try await fixture.sql("DELETE FROM cron_states")
      let again = try await Self.step(fixture, object, since: object.createdAt, now: due + .seconds(30)).run()
      #expect(again.state.active.map(\.uid) == [CronStep.uid(of: object.uid, at: due)])
      let all = try await Self.workflows(fixture)
      #expect(all.count == 1 && all.first?.labels["workflows.argoproj.io/cron-workflow"] == "c")
      let fresh = try await Self.step(fixture, object, since: due + .seconds(30), now: due + .seconds(300)).run()
      #expect(fresh.state.active.count == 2)
    }
  }

  @Test("Forbid passes over a time while one runs, Replace terminates it, Allow runs both")
  func policies() async throws {
    try await APIFixture.use { fixture in
      for (policy, counts) in [("Forbid", [1, 1]), ("Replace", [1, 1]), ("Allow", [1, 2])] {
        let object = try await Self.make(fixture, policy.lowercased(), spec: "concurrencyPolicy: \(policy)")
        let due = Self.first(after: object)
        let first = try await Self.step(fixture, object, since: object.createdAt, now: due).run()
        let second = try await Self.step(fixture, object, since: due, now: due + .seconds(300)).run()
        let third = try await Self.step(fixture, object, since: due + .seconds(300), now: due + .seconds(301)).run()
        #expect([first.state.active.count, third.state.active.count] == counts, "\(policy)")
        #expect(second.state.lastScheduledAt == (policy == "Forbid" ? due : due + .seconds(300)), "\(policy)")
        #expect(third.state.failed == (policy == "Replace" ? 1 : 0), "\(policy)")
      }
    }
  }

  @Test("What has ended is counted once, and only as many as the limits say are kept; a stop strategy ends it all")
  func history() async throws {
    try await APIFixture.use { fixture in
      let spec = """
        successfulJobsHistoryLimit: 2
        stopStrategy: {expression: "cronworkflow.succeeded >= 4"}
        """
      let object = try await Self.make(fixture, "h", spec: spec)
      var due = Self.first(after: object)
      var since = object.createdAt
      for round in 1...6 as ClosedRange<Int64> {
        let result = try await Self.step(fixture, object, since: since, now: due).run()
        for workflow in result.state.active {
          _ = try await fixture.controlPlane.perform(
            .workflow(WorkflowReference(project: "a", name: workflow.uid), .resume), as: Self.author, idempotency: nil)
        }
        let counted = try await Self.step(fixture, object, since: due, now: due + .seconds(1)).run()
        #expect(counted.state.succeeded == min(round, 4) && counted.state.active.isEmpty, "round \(round)")
        #expect(counted.state.isStopped == (round >= 4), "round \(round)")
        (since, due) = (due, due + .seconds(300))
      }
      #expect(try await Self.workflows(fixture).count == 2)
    }
  }

  @Test("A submission that is refused is counted and told, and the next time is tried again")
  func refused() async throws {
    try await APIFixture.use { fixture in
      let reference = "{configMapKeyRef: {name: later, key: k}}"
      let template = "inputs: {parameters: [{name: p, valueFrom: \(reference)}]}\n      suspend: {}"
      let object = try await Self.make(fixture, "r", template: template)
      let due = Self.first(after: object)
      let first = try await Self.step(fixture, object, since: object.createdAt, now: due).run()
      #expect(first.state.failed == 1 && first.state.condition?.type == "SubmissionError")
      #expect(first.state.condition?.message.contains("config map later") == true, "\(String(describing: first.state))")
      let draft = try ObjectDraft(configMap: ["metadata": ["name": "later"], "data": ["k": "v"]], suffix: "")
      _ = try await ObjectDesk(store: fixture.store, commands: fixture.controlPlane).create(
        draft, in: "a", uid: WorkflowName.uuid(APIServer.randomBytes()), as: Self.author)
      let second = try await Self.step(fixture, object, since: due, now: due + .seconds(300)).run()
      #expect(second.state.condition == nil && second.state.active.count == 1)
    }
  }

  @Test(
    "Who may not submit any more submits nothing by the clock: the condition says why, the audit log once, and it goes on after",
    arguments: ["member", "user", "project"])
  func author(what: String) async throws {
    try await APIFixture.use { fixture in
      let object = try await Self.make(fixture, "c", spec: "concurrencyPolicy: Replace")
      let due = Self.first(after: object)
      let running = try await Self.step(fixture, object, since: object.createdAt, now: due).run()
      #expect(running.state.active.count == 1)
      let audit = AuditRow(at: .wallClock, actor: "root", action: "test", object: "")
      switch what {
      case "member": _ = try await fixture.store.removeMember("ann", .projectAdmin, from: "a", audit: audit)
      case "user": try await fixture.sql("UPDATE users SET disabled_ms = 1 WHERE name = 'ann'")
      default:
        _ = try await fixture.controlPlane.perform(
          .project("a", .archive(true)), as: Principal(user: "root"), idempotency: nil)
      }
      var since = due
      for round in 1...2 as ClosedRange<Int64> {
        let at = due + .seconds(300 * round)
        let result = try await Self.step(fixture, object, since: since, now: at).run()
        #expect(result.state.condition?.type == "SubmissionError" && result.state.failed == round, "round \(round)")
        let words = what == "project" ? "archived" : "ann"
        #expect(
          result.state.condition?.message.contains(words) == true, "\(String(describing: result.state.condition))")
        #expect(result.state.active.count == 1, "what it would replace goes on")
        since = at
      }
      #expect(try await Self.workflows(fixture).count == 1)
      let denied = try await fixture.store.audit(AuditFilter(isDenied: true)).map(\.row)
      #expect(denied.map(\.action) == ["cronWorkflow.submit"])
      #expect(denied.allSatisfy { $0.object == "a/c" && $0.actor == "ann" })
      switch what {
      case "member": try await fixture.store.addMember("ann", .submitter, to: "a", audit: audit)
      case "user": try await fixture.sql("UPDATE users SET disabled_ms = NULL WHERE name = 'ann'")
      default:
        _ = try await fixture.controlPlane.perform(
          .project("a", .archive(false)), as: Principal(user: "root"), idempotency: nil)
      }
      let after = try await Self.step(fixture, object, since: since, now: due + .seconds(900)).run()
      #expect(after.state.condition == nil)
      #expect(after.state.active.last?.uid == CronStep.uid(of: object.uid, at: due + .seconds(900)))
    }
  }

  @Test("The runner starts what is due within its pause, and leaves alone what is suspended or of another leader")
  func runner() async throws {
    try await APIFixture.use { fixture in
      let object = try await Self.make(fixture, "c")
      _ = try await Self.make(fixture, "s", spec: "suspend: true")
      let runner = CronRunner(
        store: fixture.store, commands: fixture.controlPlane, logger: fixture.server.services.logger)
      let due = Self.first(after: object)
      let pause = try await runner.look(at: object.createdAt)
      #expect(pause <= CronRunner.pauseMax && pause >= CronRunner.pauseMin)
      #expect(try await Self.workflows(fixture).isEmpty)
      _ = try await runner.look(at: due)
      _ = try await runner.look(at: due + .milliseconds(20))
      #expect(try await Self.workflows(fixture).map(\.name) == [CronPlan.workflowName(of: "c", at: due)])
      // A state that somebody else has written meanwhile is not overwritten.
      var stale = try #require(try await fixture.store.cronState(object.uid))
      stale.revision -= 1
      stale.succeeded = 99
      #expect(try await fixture.store.put(stale) == nil)
      #expect(try await fixture.store.cronState(object.uid)?.succeeded == 0)
    }
  }
}
