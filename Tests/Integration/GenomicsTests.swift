import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

/// What the example needs on a machine.
private let needed = [
  "/usr/bin/bwa", "/usr/bin/samtools", "/usr/bin/wgsim",
  "/usr/share/doc/ragout/examples/E.Coli/references/MG1655-K12.fasta.gz",
]

extension Integration {
  @Suite(
    "examples/genomics", .timeLimit(.minutes(10)),
    .enabled(
      if: needed.allSatisfy { FileManager.default.fileExists(atPath: $0) },
      "genomics needs bwa, samtools and a genome (Debian: apt-get install bwa samtools ragout-examples)"))
  struct GenomicsTests {
    @Test(
      "reads of a real genome are aligned on two clusters, the reference staged once into each, and merged (invariant I5)"
    )
    func scatter() async throws {
      var options = FederationOptions()
      // Two at a time each: six shards are more than one cluster takes at once.
      options.agents = [.init("east", slots: 2), .init("west", slots: 2)]
      try await Federation.with(options) { federation in
        let prepared = try await OwnedProcess.run(
          [Integration.repositoryFile("examples/genomics/prepare.sh")],
          environment: [
            "PATH": "\(federation.binaries):/usr/bin:/bin", "FUBINI_TOKEN": try federation.adminToken(),
            "FUBINI_URL": "http://127.0.0.1:\(federation.replicas[0].httpPort)",
          ], log: federation.log("prepare"), timeout: .seconds(120))
        try #require(prepared == 0, "\(LogTail.of(federation.log("prepare")))")

        let submitted = try await federation.fubini(
          [
            "submit", "-f", Integration.repositoryFile("examples/genomics/workflow.yaml"), "-p", "pairs=5000", "--wait",
          ],
          timeout: .seconds(300))
        try #require(submitted.code == 0, "\(submitted.output)")

        let client = try federation.client()
        let detail = try await client.workflow("@latest")
        let shards = detail.nodes.filter { $0.templateName == "align" && $0.type == "Pod" }
        #expect(shards.count == 6)
        #expect(Set(shards.compactMap(\.run?.cluster)) == ["east", "west"])
        let transfers = try await client.get("/v1/projects/default/transfers", as: TransferList.self).items
          .filter { $0.key.hasPrefix("dataset:") }
        #expect(Set(transfers.map(\.cluster)) == ["east", "west"], "\(transfers)")
        #expect(transfers.count == 2 && transfers.allSatisfy { $0.phase == "done" }, "\(transfers)")

        let merge = try #require(detail.nodes.first { $0.displayName == "merge" })
        let counts = try await client.log(detail.summary.name, node: merge.name).split(separator: "\n")
        // 6 shards of 5,000 pairs; simulated reads of a genome are found in it.
        let reads = try #require(
          counts.first { $0.hasSuffix(" primary") }?.split(separator: " ").first.flatMap { Int($0) })
        #expect(reads == 6 * 2 * 5000, "\(counts)")
        let mapped = try #require(
          counts.first { $0.contains(" primary mapped ") }?.split(separator: " ").first.flatMap { Int($0) })
        #expect(mapped > reads * 99 / 100, "\(counts)")
      }
    }
  }
}
