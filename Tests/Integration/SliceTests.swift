import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension Integration {
  /// A core-second costs 0.01 CNY, and ten seconds of a run are held at once.
  @Suite("End to end: runs that are paid for as they go on", .timeLimit(.minutes(5)))
  struct SliceTests {
    private static func set(_ amount: String, _ client: RESTClient) async throws {
      _ = try await client.send(
        "PUT", "/v1/projects/default/budget",
        body: Data(#"{"amount":"\#(amount)","currency":"CNY","period":"once","sliceSeconds":10}"#.utf8)
      ).decoded(AcceptedDocument.self)
    }

    private static func count(_ reason: String, _ federation: Federation) async throws -> Int64 {
      try await federation.query("SELECT count(*) FROM events WHERE reason = '\(reason)'")[0].int(0)
    }

    @Test(
      "I3: a task whose hour does not fit a small budget runs, is renewed and charged; another is warned, ended with the reason, and waits"
    )
    func renewed() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", slots: 2, coreHour: 3600)]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        try await Self.set("0.55", client)
        _ = try await client.submit(Integration.shell("sleep 22", name: "fits", federation: "{walltime: 1h}"))
        #expect(try await client.finished("fits", timeout: .seconds(90)).summary.phase == .succeeded)
        let extended = try await federation.query("SELECT count(*) FROM ledger_entries WHERE kind = 'extend'")
        #expect(try extended[0].int(0) == 2, "30 s of 22 were held")
        var budget: BudgetDocument = try await client.get("/v1/projects/default/budget")
        #expect((220_000..<300_000).contains(budget.spent.micros) && budget.reserved.micros == 0, "\(budget)")
        #expect(budget.sliceSeconds == 10)
        #expect(try await Self.count("RunLapsing", federation) == 0)
        // What is left pays for 20 s and a little.
        _ = try await client.submit(
          Integration.shell("sleep 600", name: "endless", federation: "{walltime: 1h}"))
        try await poll("it is warned", timeout: .seconds(60)) {
          let detail = try await client.workflow("endless")
          return detail.nodes.contains { $0.message.hasPrefix("it is paid for until ") }
        }
        let warned: ExplanationDocument = try await client.get(
          "/v1/projects/default/workflows/endless/explain?node=endless")
        #expect(warned.message?.contains("it is paid for until ") == true, "\(warned)")
        try await federation.node("endless", "endless", is: ["Pending"], timeout: .seconds(60))
        let run = try await federation.query(
          "SELECT phase, message, charge_micros FROM runs ORDER BY bound_ms DESC LIMIT 1")[0]
        let message = try run.text(1)
        #expect(message.hasPrefix("budget exhausted: project default has "), "\(message)")
        let charge = try run.int(2)
        #expect((200_000...330_000).contains(charge), "\(charge)")
        #expect(try await Self.count("RunLapsing", federation) == 1)
        #expect(try await Self.count("BudgetExhausted", federation) == 1)
        try await poll("it says what it waits for", timeout: .seconds(30)) {
          let explanation: ExplanationDocument = try await client.get(
            "/v1/projects/default/workflows/endless/explain?node=endless")
          return explanation.message?.contains("it may cost 36.00 CNY") == true
        }
        budget = try await client.get("/v1/projects/default/budget")
        #expect(budget.spent.micros <= 550_000 && budget.reserved.micros == 0, "\(budget)")
        let review: LedgerVerification = try await client.get("/v1/ledger/verify")
        #expect(review.differences == [], "\(review)")
      }
    }

    @Test(
      "I3: a run of a cluster that is cut off is ended where its slice is, charged no more than was held, and placed again"
    )
    func cutOff() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", slots: 2, coreHour: 3600)]
      try await Federation.with(options) { federation in
        var client = try federation.client()
        try await Self.set("5", client)
        _ = try await client.submit(Integration.shell("sleep 3600", name: "long", federation: "{walltime: 1h}"))
        try await federation.node("long", "long", is: ["Running"], timeout: .seconds(60))
        // Through a renewal, so that the end that counts is one that was told.
        try await poll("it is renewed", timeout: .seconds(60)) {
          try await federation.query("SELECT count(*) FROM ledger_entries WHERE kind = 'extend'")[0].int(0) >= 1
        }
        try await federation.controlPlane().kill()
        let before = try await federation.query("SELECT run_id, amount FROM reservations")[0]
        let end = federation.agentState("one") + "/runs/" + RunID(try before.int(0)).hexadecimal + "/exit"
        try await poll("its fence has ended it, with nobody to ask", timeout: .seconds(60)) {
          access(end, F_OK) == 0
        }
        try federation.startControlPlane(0)
        try await federation.awaitReady()
        client = try federation.client()
        try await poll("its end is told", timeout: .seconds(60)) {
          try await Self.count("RunUnrenewed", federation) == 1
        }
        let run = try await federation.query(
          "SELECT charge_micros, message FROM runs WHERE run_id = \(try before.int(0))")[0]
        let (charge, held) = (try run.int(0), try before.int(1))
        #expect(charge <= held && charge >= 100_000, "\(charge) of \(held)")
        let message = try run.text(1)
        #expect(message.contains("could not be told to let it go on"), "\(message)")
        try await federation.node("long", "long", is: ["Running"], timeout: .seconds(60))
        #expect(try await federation.query("SELECT max(epoch) FROM runs")[0].int(0) == 2)
        let review: LedgerVerification = try await client.get("/v1/ledger/verify")
        #expect(review.differences == [], "\(review)")
      }
    }
  }
}
