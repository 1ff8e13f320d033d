import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import TestSupport
import Testing

extension Integration {
  @Suite("End to end: what a project may spend", .timeLimit(.minutes(5)))
  struct BudgetTests {
    /// So many tasks of a third of a second that may take a minute: 0.60 CNY at 36 CNY for a core-hour.
    private static func sweep(_ count: Int, name: String) -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        federation: {walltime: 60s}
        templates:
        - name: main
          steps: [[{name: s, template: one, withSequence: {count: "\(count)"}}]]
        - name: one
          container: {image: "debian:12", command: [sleep, "0.3"]}
      """
    }

    private static func verify(_ client: RESTClient) async throws -> LedgerVerification {
      try await client.get("/v1/ledger/verify")
    }

    @Test(
      "I3: tasks race for a hard budget's last money while the leader is killed; every charge is settled, none is lost")
    func race() async throws {
      var options = FederationOptions()
      options.controlPlanes = 2
      options.agents = [.init("one", slots: 6, coreHour: 3600), .init("free", slots: 6)]
      try await Federation.with(options) { federation in
        let leader = try #require(try await federation.leader())
        let client = try federation.client(leader)
        // 60 s are 0.60 CNY: four at once.
        _ = try await client.send(
          "PUT", "/v1/projects/default/budget",
          body: Data(#"{"amount":"2.5","currency":"CNY","period":"once","alerts":[1]}"#.utf8)
        ).decoded(AcceptedDocument.self)
        // What the database sees, looked at often; that it holds at every commit is the CHECK's.
        let watcher = Task {
          var most: Int64 = 0
          while !Task.isCancelled {
            let rows = try? await federation.query("SELECT max(reserved + spent) FROM budgets WHERE is_hard")
            if let rows { most = max(most, try rows[0].int(0)) }
            try? await Task.sleep(for: .milliseconds(20))
          }
          return most
        }
        for index in 0..<2 { _ = try await client.submit(Self.sweep(15, name: "sweep-\(index)")) }
        try await poll("some have ended", timeout: .seconds(60)) {
          try await federation.query("SELECT count(*) FROM runs WHERE phase = 5")[0].int(0) >= 5
        }
        try await federation.controlPlane(leader).kill()
        let other = try federation.client(1 - leader)
        for index in 0..<2 {
          let detail = try await other.finished("sweep-\(index)", timeout: .seconds(120))
          #expect(detail.summary.phase == .succeeded)
        }
        watcher.cancel()
        #expect(try await watcher.value <= 2_500_000)
        let review = try await Self.verify(other)
        #expect(review.differences == [] && review.reservations == 0 && review.entries > 60, "\(review)")
        let runs = try await federation.query(
          "SELECT count(*), sum(charge_micros)::int8 FROM runs WHERE cluster = 'one'")
        #expect(try runs[0].int(0) == 30, "nothing runs where nothing has a price in CNY")
        let budget: BudgetDocument = try await other.get("/v1/projects/default/budget")
        #expect(budget.spent.micros == (try runs[0].int(1)) && budget.reserved.micros == 0 && budget.alerted == 1)
        let usage: UsageList = try await other.get("/v1/projects/default/usage?by=cluster")
        #expect(usage.items.map(\.name) == ["one"] && usage.items.first?.charge == budget.spent)
        let costs: CostDocument = try await other.get("/v1/projects/default/workflows/sweep-0/cost?limit=500")
        #expect(costs.items.count == 15 && costs.total.count == 1)
      }
    }

    @Test("Bytes that leave a cluster are charged by its sheet to the run that another one has them for, once")
    func egress() async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        let origins = federation.path("origins")
        try FileManager.default.createDirectory(atPath: origins, withIntermediateDirectories: false)
        var source = FederationOptions.Agent("source", slots: 1, labels: ["place": "source"])
        let port = try FreePort.next()
        source.keys = [
          "cache": "{origins: [\(origins)]}",
          "export": "{listen: \"127.0.0.1:\(port)\", url: \"https://127.0.0.1:\(port)\"}",
        ]
        try await flow.join([source, .init("target", slots: 2, labels: ["place": "target"], coreHour: 3600)])
        let size = 4 * DataFlow.mebibyte
        let path = try await flow.makeTree("water", bytes: size, files: 2, in: origins)
        try await flow.list("water", origin: "file://source\(path)", via: "source")
        try await flow.prefetch("water", to: "source")
        // 4 MiB of 256 CNY for a GiB are 1 CNY.
        try await flow.fubini("price", "set", "source", "--currency", "CNY", "--egress-gib", "256")
        try await flow.fubini("budget", "set", "default", "2", "CNY", "--period", "once", "--hard")
        for name in ["first", "second"] {
          _ = try await flow.client.submit(
            DataFlow.reader(of: "water", name: name, federation: "walltime: 60s", selector: ["place": "target"]))
          _ = try await flow.succeeded(name)
        }
        let first: CostDocument = try await flow.client.get("/v1/projects/default/workflows/first/cost")
        let run = try #require(first.items.first)
        #expect(
          run.egress == [
            EgressCostDocument(source: "source", gibibyte: 25_600, plannedBytes: size, movedBytes: run.bytesIn)
          ] && run.bytesIn >= size, "\(run)")
        // The program itself takes less than 10 s.
        #expect(run.charge.map { (1_000_000..<1_100_000).contains($0.micros) } == true, "\(run)")
        let chosen = try #require(try await flow.explanation("first").candidates.first { $0.chosen })
        #expect(chosen.sources == ["source": size] && chosen.egressMinorUnits == 100, "\(chosen)")
        #expect(try await flow.fubini("cost", "first").contains("1.0000 CNY from source"))
        let second: CostDocument = try await flow.client.get("/v1/projects/default/workflows/second/cost")
        #expect(second.items.first?.egress == nil && second.items.first?.bytesIn == 0, "it was there: \(second)")
        let usage: UsageList = try await flow.client.get("/v1/projects/default/usage?by=class")
        #expect(usage.items.map(\.name) == ["interruptible"] && usage.items.first?.runs == 2, "\(usage)")
        #expect(try await flow.fubini("usage", "--by", "class", "-o", "csv").contains("\ninterruptible,2,"))
        #expect(try await Self.verify(flow.client).differences == [])
      }
    }

    @Test("A run that names no limit is stopped at the project's, and a task that the budget never holds says so")
    func bounded() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", slots: 2, coreHour: 3600)]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        _ = try await client.send(
          "PUT", "/v1/projects/default/budget",
          body: Data(#"{"amount":"1","currency":"CNY","defaultWalltimeSeconds":60}"#.utf8)
        ).decoded(AcceptedDocument.self)
        _ = try await client.submit(
          Integration.shell("true", name: "large", federation: "{walltime: 1h}"))
        try await poll("it says why it waits", timeout: .seconds(30)) {
          let explanation: ExplanationDocument = try await client.get("/v1/projects/default/workflows/large/explain")
          return explanation.wantsMoney && explanation.message?.contains("1.00 CNY left") == true
        }
        _ = try await client.submit(Integration.shell("true", name: "small"))
        #expect(try await client.finished("small").summary.phase == .succeeded)
        let bound = try await federation.query(
          "SELECT count(*) FROM ledger_entries WHERE kind = 'reserve' AND amount = 600000")
        #expect(try bound[0].int(0) == 1, "60 s at 0.01 CNY")
        #expect(try await Self.verify(client).differences == [])
      }
    }
  }
}
