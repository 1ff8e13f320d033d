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
        // What the database sees at any commit, read as fast as it goes.
        let watcher = Task {
          var most: Int64 = 0
          while !Task.isCancelled {
            let rows = try? await federation.query("SELECT max(reserved + spent) FROM budgets WHERE is_hard")
            if let rows { most = max(most, try rows[0].int(0)) }
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
