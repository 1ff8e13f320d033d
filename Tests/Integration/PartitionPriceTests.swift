import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import LocalSlurm
import TestSupport
import Testing

extension Integration {
  @Suite(
    "Prices of partitions", .timeLimit(.minutes(3)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct PartitionPriceTests {
    @Test("a run goes to the partition that it is quoted for, on a real Slurm, and pays its price")
    func quoted() async throws {
      try await SlurmFixture.with(
        "hpc",
        configure: { $0.partitions = [.init("main", nodes: 1...1), .init("special", nodes: 2...2)] }
      ) { slurm in
        var options = FederationOptions()
        options.agents = [SlurmMember.agent("hpc", of: slurm.clusters[0], slurm)]
        try await Federation.with(options) { federation in
          try await federation.connected("hpc")
          let (code, output) = try await federation.fubini([
            "price", "set", "hpc", "--currency", "CNY", "--core-hour", "36", "--partition", "special:core-hour=360",
          ])
          #expect(code == 0, "\(output)")
          let mistake = try await federation.fubini([
            "price", "set", "hpc", "--currency", "CNY", "--partition", "speical:core-hour=360",
          ])
          #expect(mistake.code != 0 && mistake.output.contains("it has main, special"), "\(mistake.output)")
          let shown = try await federation.fubini(["cluster", "get", "hpc"])
          #expect(shown.output.contains("partitions: main special"), "\(shown.output)")
          let budget = try await federation.fubini([
            "budget", "set", "default", "1000", "CNY", "--period", "once", "--hard",
          ])
          #expect(budget.code == 0, "\(budget.output)")
          let client = try federation.client()
          _ = try await client.submit(SiteDefaultTests.workflow("plain"))
          _ = try await client.submit(SiteDefaultTests.workflow("asked", federation: "slurm: {partition: special}"))
          _ = try await client.submit(
            SiteDefaultTests.workflow(
              "poor", federation: #"slurm: {partition: special}, walltime: 60s, maxPrice: "1 CNY""#))
          for (name, partition, coreHour) in [("plain", "main", 3600.0), ("asked", "special", 36_000.0)] {
            let detail = try await client.finished(name, timeout: .seconds(90))
            #expect(detail.summary.phase == .succeeded, "\(name): \(detail.nodes.map(\.message))")
            let logs = try await federation.fubini(["logs", name])
            #expect(logs.output.contains(partition), "\(name): \(logs.output)")
            let row = try await federation.query(
              "SELECT quote FROM runs r JOIN workflows w ON w.id = r.workflow_id WHERE w.name = '\(name)'")[0]
            let quote = try JSONDecoder().decode(PriceSheet.self, from: Data(row.text(0).utf8))
            #expect(quote.partition == partition && quote.coreHour == coreHour, "\(quote)")
          }
          let why = try await federation.fubini(["explain", "poor"])
          #expect(why.output.contains("it would cost 6.00 CNY, maxPrice is 1.00 CNY"), "\(why.output)")
        }
      }
    }
  }
}
