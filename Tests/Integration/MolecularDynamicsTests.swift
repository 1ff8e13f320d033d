import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import TestSupport
import Testing

extension Integration {
  @Suite(
    "examples/md-sweep", .timeLimit(.minutes(10)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"),
    .enabled(
      if: FileManager.default.isExecutableFile(atPath: "/usr/bin/lmp"),
      "md-sweep needs LAMMPS (Debian: apt-get install lammps)"))
  struct MolecularDynamicsTests {
    @Test("five temperatures with LAMMPS as jobs of a Slurm cluster, and their table, made on the edge")
    func sweep() async throws {
      try await SlurmFixture.with("hpc") { slurm in
        var options = FederationOptions()
        options.agents = [.init("edge"), SlurmMember.agent("hpc", of: slurm.clusters[0], slurm)]
        try await Federation.with(options) { federation in
          let file = Integration.repositoryFile("examples/md-sweep/workflow.yaml")
          let submitted = try await federation.fubini(
            ["submit", "-f", file, "-p", "steps=400", "--wait"], timeout: .seconds(400))
          #expect(submitted.code == 0, "\(submitted.output)")
          let detail = try await federation.client().workflow("@latest")
          let runs = detail.nodes.filter { $0.templateName == "simulate" && $0.type == "Pod" }
          #expect(runs.count == 5 && runs.allSatisfy { $0.run?.cluster == "hpc" })
          let analyse = try #require(detail.nodes.first { $0.displayName == "analyse" })
          #expect(analyse.run?.cluster == "edge")
          let table = try await federation.client().log(detail.summary.name, node: analyse.name)
          let rows = table.split(separator: "\n").dropFirst().map { $0.split(separator: " ").compactMap { Double($0) } }
          #expect(rows.map(\.first) == [0.7, 1.0, 1.5, 2.0, 3.0], "\(table)")
          // The thermostat holds a small system's mean within some tenths of its target.
          for row in rows { #expect(abs(row[1] - row[0]) < 0.35 * row[0], "\(table)") }
          // Each job of Slurm's own is told of by its records.
          let completions = try String(contentsOfFile: slurm.directory + "/hpc/log/completions", encoding: .utf8)
          #expect(completions.contains("JobState=COMPLETED"), "\(completions)")
        }
      }
    }
  }
}
