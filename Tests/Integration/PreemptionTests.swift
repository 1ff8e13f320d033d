import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import LocalSlurm
import Postgres
import TestSupport
import Testing

extension Integration {
  @Suite("End to end: work of a lower class leaves, and goes on from where it was", .timeLimit(.minutes(5)))
  struct PreemptionTests {
    private static func counter(to end: Int) -> String {
      Counter.workflow(
        to: end,
        federation: """
          priorityClass: offline
          onPreempt: {signal: SIGUSR1, grace: 20s, checkpoint: count}
          """)
    }

    private static let urgent = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: urgent}
      spec:
        entrypoint: main
        templates:
        - name: main
          federation: {priorityClass: realtime}
          container: {image: "debian:12", command: [sleep, "1"], resources: {requests: {cpu: "1"}}}
      """

    /// The counter is sent away by a realtime task, and goes on from its count.
    ///
    /// - Parameter isQueued: the cluster has a queue of its own, which hands on what has become free before we hear of the end.
    private static func check(
      _ federation: Federation, start: Duration = .seconds(30), to end: Int = 25, isQueued: Bool = false
    ) async throws {
      let client = try federation.client()
      _ = try await client.submit(counter(to: end))
      try await poll("the counter runs", timeout: start) {
        try await client.workflow("counter").nodes.contains { $0.phase == .running }
      }
      try await Task.sleep(for: .seconds(2))
      _ = try await client.submit(urgent)
      let done = try await client.finished("urgent", timeout: .seconds(90))
      #expect(done.summary.phase == .succeeded)
      let detail = try await client.finished("counter", timeout: .seconds(90))
      let node = try #require(detail.nodes.first)
      try #require(detail.summary.phase == .succeeded, "\(node.message)")
      #expect(node.restarts == 1 && node.run?.epoch == 2, "\(node)")

      let rows = try await federation.query(
        "SELECT r.phase, r.cancel_reason FROM runs r JOIN workflows w ON w.id = r.workflow_id WHERE w.name = 'counter' ORDER BY epoch"
      )
      #expect(try rows.rows.map { try $0.int(0) } == [10, 5], "Preempted, then Succeeded")
      #expect(try rows[0].text(1).hasPrefix("Preempted by "))
      // The realtime run began when the counter's first had ended.
      let order = try await federation.query(
        """
        SELECT (SELECT finished_ms FROM runs WHERE phase = 10) <= (SELECT r.started_ms FROM runs r
          JOIN workflows w ON w.id = r.workflow_id WHERE w.name = 'urgent')
        """)
      #expect(try isQueued || order[0].bool(0))

      let text = try await client.send("GET", "/v1/projects/default/workflows/counter/logs?node=counter").body
      let log = String(decoding: text, as: UTF8.self)
      let second = try #require(log.firstMatch(of: /attempt 1 begins at (\d+)/), "\(log)")
      #expect(Int(second.1)! >= 3 && log.contains("done at \(end)"), "\(log)")
      let explained = try await client.send("GET", "/v1/projects/default/workflows/counter/explain?node=counter").body
      #expect(String(decoding: explained, as: UTF8.self).contains("Preempted by urgent of class realtime"))
      let (code, tree) = try await federation.fubini(["get", "counter"])
      #expect(code == 0 && tree.contains("restarts: 1"), "\(tree)")
    }

    @Test("A counting job leaves a process cluster for a realtime task, and goes on from its count")
    func processes() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", slots: 1)]
      try await Federation.with(options) { try await Self.check($0) }
    }

    @Test(
      "A counting job leaves a Slurm cluster for a realtime task, and goes on from its count",
      .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
    func slurm() async throws {
      try await SlurmFixture.with("hpc", configure: { ($0.nodes, $0.cpusPerNode) = (1, 1) }) { slurm in
        var options = FederationOptions()
        options.agents = [SlurmMember.agent("hpc", of: slurm.clusters[0], slurm)]
        try await Federation.with(options) { try await Self.check($0, start: .seconds(60), to: 100, isQueued: true) }
      }
    }
  }
}
