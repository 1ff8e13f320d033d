import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import KubernetesSupport
import TestSupport
import Testing

extension Integration {
  /// As `SliceTests`: a core-second costs 0.01 CNY, and ten seconds of a run are held at once.
  @Suite(
    "End to end: runs of a Kubernetes cluster that are paid for as they go on", .serialized, .timeLimit(.minutes(10)),
    .enabled(if: LocalKubernetes.isLocal, "\(LocalKubernetes.unavailability)"))
  struct KubernetesSliceTests {
    @Test(
      "I3: a run is renewed, and charged for what it took; one whose money is used up is ended in its pod, and waits")
    func renewed() async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let image = "fubini-test/agent"
        try await LocalKubernetes.with(configure: {
          $0.programs[image] = "\(federation.binaries)/fubini-agent:/usr/local/bin/fubini-agent"
        }) { cluster in
          try await KubernetesMember.join(
            "k8s", image: image, to: federation, cluster, options: ["--price", "core-hour=36 CNY"])
          try await federation.connected("k8s")
          try await Self.run(federation)
        }
      }
    }

    private static func run(_ federation: Federation) async throws {
      let client = try federation.client()
      _ = try await client.send(
        "PUT", "/v1/projects/default/budget",
        body: Data(#"{"amount":"0.55","currency":"CNY","period":"once","sliceSeconds":10}"#.utf8)
      ).decoded(AcceptedDocument.self)
      _ = try await client.submit(Integration.shell("sleep 22", name: "fits", federation: "{walltime: 1h}"))
      #expect(try await client.finished("fits", timeout: .seconds(90)).summary.phase == .succeeded)
      let extended = try await federation.query("SELECT count(*) FROM ledger_entries WHERE kind = 'extend'")
      #expect(try extended[0].int(0) >= 2, "30 s of 22 were held")
      var budget: BudgetDocument = try await client.get("/v1/projects/default/budget")
      #expect((220_000..<330_000).contains(budget.spent.micros) && budget.reserved.micros == 0, "\(budget)")
      // What is left pays for 20 s and a little.
      _ = try await client.submit(Integration.shell("sleep 600", name: "endless", federation: "{walltime: 1h}"))
      try await federation.node("endless", "endless", is: ["Pending"], timeout: .seconds(120))
      try await poll("it was ended where its money ends", timeout: .seconds(90)) {
        let runs = try await federation.query(
          "SELECT count(*) FROM runs WHERE message LIKE 'budget exhausted: project default has %'")
        return try runs[0].int(0) > 0
      }
      budget = try await client.get("/v1/projects/default/budget")
      #expect(budget.spent.micros <= 550_000 && budget.reserved.micros == 0, "\(budget)")
      let review: LedgerVerification = try await client.get("/v1/ledger/verify")
      #expect(review.differences == [], "\(review)")
    }
  }
}
