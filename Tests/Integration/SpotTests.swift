import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import TestSupport
import Testing

extension Integration {
  @Suite(
    "End to end: spot capacity is bid for, and left when the price rises or it is taken back", .timeLimit(.minutes(5)))
  struct SpotTests {
    private static let counter = Counter.workflow(
      to: 40,
      federation: """
        spot: require
        maxPrice: "0.30 CNY"
        walltime: 60s
        onPreempt: {signal: SIGUSR1, grace: 5m, checkpoint: count}
        """)

    /// Ignores what it is told.
    private static let deaf = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: deaf}
      spec:
        entrypoint: main
        templates:
        - name: main
          federation: {spot: require, walltime: 60s, onPreempt: {grace: 5m}}
          script:
            image: debian:12
            command: [bash]
            resources: {requests: {cpu: "1"}}
            source: "trap '' TERM; for i in $(seq 100); do sleep 0.2; done"
      """

    private static func fubini(_ federation: Federation, _ words: [String]) async throws -> String {
      let (code, text) = try await federation.fubini(words)
      try #require(code == 0, "\(words): \(text)")
      return text
    }

    @Test("A counter leaves when the price rises above its bid, says what it waits for, and goes on from its count")
    func priceRises() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", slots: 1, coreHour: 3600)]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        _ = try await Self.fubini(federation, ["cluster", "spot", "one", "--share", "100", "--notice", "10"])
        let price = ["price", "set", "one", "--spot", "--currency", "CNY", "--core-hour"]
        _ = try await Self.fubini(federation, price + ["6"])
        _ = try await client.submit(Self.counter)
        try await poll("the counter runs", timeout: .seconds(30)) {
          try await client.workflow("counter").nodes.contains { $0.phase == .running }
        }
        try await Task.sleep(for: .seconds(2))
        _ = try await Self.fubini(federation, price + ["36"])
        let reason = "spot price 0.60 CNY above bid 0.30 CNY"
        try await poll("the counter has left and waits", timeout: .seconds(30)) {
          let waiting = try await client.send("GET", "/v1/projects/default/workflows/counter/explain?node=counter").body
          let rows = try await federation.query("SELECT phase FROM runs")
          return try rows[0].int(0) == 10 && String(decoding: waiting, as: UTF8.self).contains(reason)
        }
        #expect(try await Self.fubini(federation, ["get", "counter"]).contains(reason))
        _ = try await Self.fubini(federation, price + ["12"])
        let detail = try await client.finished("counter", timeout: .seconds(60))
        let node = try #require(detail.nodes.first)
        try #require(detail.summary.phase == .succeeded, "\(node.message)")
        #expect(node.restarts == 1 && node.run?.epoch == 2 && node.run?.spot == true, "\(node)")
        let rows = try await federation.query(
          "SELECT cancel_reason, quote::jsonb->>'coreHour', charge_micros, wall_ms FROM runs ORDER BY epoch")
        #expect(try rows[0].text(0) == "Evicted: \(reason) on one")
        #expect(try rows[0].text(1) == "600" && rows[1].text(1) == "1200", "each pays what it was quoted")
        #expect(try rows[0].int(2) == rows[0].int(3) * 600 * 10_000 / 3_600_000)
        let log = String(
          decoding: try await client.send("GET", "/v1/projects/default/workflows/counter/logs?node=counter").body,
          as: UTF8.self)
        let second = try #require(log.firstMatch(of: /attempt 1 begins at (\d+)/), "\(log)")
        #expect(Int(second.1)! >= 3 && log.contains("done at 40"), "\(log)")
        #expect(try await Self.fubini(federation, ["cost", "counter"]).contains("one (spot)"))
        #expect(try await Self.fubini(federation, ["price", "list"]).contains("one (spot)"))
      }
    }

    @Test(
      "What does not listen is gone within the notice when its operator takes the capacity back, and runs elsewhere")
    func reclaimed() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", slots: 1, coreHour: 3600), .init("two", slots: 1, coreHour: 7200)]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        for (name, price) in [("one", "6"), ("two", "9")] {
          _ = try await Self.fubini(federation, ["cluster", "spot", name, "--share", "100", "--notice", "2"])
          _ = try await Self.fubini(
            federation, ["price", "set", name, "--spot", "--currency", "CNY", "--core-hour", price])
        }
        _ = try await client.submit(Self.deaf)
        try await poll("it runs on spot capacity", timeout: .seconds(30)) {
          try await client.workflow("deaf").nodes.contains {
            $0.phase == .running && $0.run?.cluster == "one" && $0.run?.spot == true
          }
        }
        let began = ContinuousClock.now
        _ = try await Self.fubini(federation, ["cluster", "reclaim", "one", "a lecture"])
        try await poll("it runs elsewhere", timeout: .seconds(30)) {
          let rows = try await federation.query("SELECT cluster FROM runs WHERE epoch = 2")
          return try !rows.rows.isEmpty && rows[0].text(0) == "two"
        }
        #expect(ContinuousClock.now - began >= .seconds(1.5), "it had its notice")
        let first = try await federation.query("SELECT phase, cancel_reason FROM runs WHERE epoch = 1")
        #expect(try first[0].int(0) == 10 && first[0].text(1) == "Evicted: one takes its spot capacity back: a lecture")
        #expect(try await Self.fubini(federation, ["cluster", "get", "one"]).contains("spot: taken back: a lecture"))
        _ = try await Self.fubini(federation, ["cluster", "spot", "one", "--end"])
        let cluster: ClusterDocument = try await client.get("/v1/clusters/one")
        #expect(cluster.spot == nil)
      }
    }
  }
}
