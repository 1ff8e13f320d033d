import ArgumentParser
import FederationAPI
import FederationModel
import Testing

@testable import fubini

@Suite struct AccessCommandTests {
  private func changed(_ limits: ProjectLimits, _ arguments: String...) throws -> ProjectLimits {
    try #require(try Fubini.parseAsRoot(["project", "quota", "set", "lab"] + arguments) as? ProjectQuota.Set)
      .changed(limits)
  }

  @Test("A quota that is set leaves the others as they were, and none lifts one")
  func quota() throws {
    var limits = try changed(
      ProjectLimits(), "--cpus", "1.5", "--gpus", "2", "--memory", "64GiB", "--runs", "9", "--storage", "2TB",
      "--clusters", "a,b", "--classes", "offline,idle", "--residency", "region=eu,zone=b")
    #expect(
      limits.overall == ResourceQuota(cpuMillicores: 1500, gpus: 2, memoryBytes: 68_719_476_736, runs: 9))
    #expect(limits.storageBytes == 2_000_000_000_000 && limits.allowedClusters == ["a", "b"])
    #expect(limits.allowedClasses == [.offline, .idle] && limits.residency == ["region": "eu", "zone": "b"])
    limits = try changed(limits, "--cluster", "a", "--cpus", "1")
    #expect(limits.clusters == ["a": ResourceQuota(cpuMillicores: 1000)] && limits.overall?.runs == 9)
    limits = try changed(limits, "--allow-cluster", "c", "--gpus", "none", "--classes", "none")
    #expect(limits.allowedClusters == ["a", "b", "c"] && limits.overall?.gpus == nil && limits.allowedClasses == nil)
    limits = try changed(limits, "--cluster", "a", "--cpus", "none")
    #expect(limits.clusters?.isEmpty ?? true)
    for wrong in [
      ["--cpus", "many"], ["--runs", "-1"], ["--memory", "1X"], ["--classes", "x"], ["--residency", "eu"],
    ] {
      #expect(throws: (any Error).self, "\(wrong)") {
        try #require(try Fubini.parseAsRoot(["project", "quota", "set", "lab"] + wrong) as? ProjectQuota.Set)
          .changed(ProjectLimits())
      }
    }
  }

  @Test("Guarantees, borrowing and reserved clusters are set and lifted by themselves")
  func guarantees() throws {
    var limits = try changed(
      ProjectLimits(), "--guarantee", "cpu=16,gpu=2,memory=64GiB", "--borrow-limit", "runs=20", "--reserve",
      "pool=gold")
    #expect(limits.guarantee == ResourceQuota(cpuMillicores: 16_000, gpus: 2, memoryBytes: 68_719_476_736))
    #expect(limits.borrowLimit == ResourceQuota(runs: 20) && limits.reserves == ["pool": "gold"])
    limits = try changed(limits, "--guarantee", "none", "--reserve", "none")
    #expect(limits.guarantee == nil && limits.reserves == nil && limits.borrowLimit?.runs == 20)
    for wrong in ["cores=4", "cpu", "cpu=-1"] {
      #expect(throws: (any Error).self) { try self.changed(ProjectLimits(), "--guarantee", wrong) }
    }
    let text = ProjectQuota.Get.table(
      QuotaDocument(
        project: "lab", limits: ProjectLimits(guarantee: ResourceQuota(cpuMillicores: 16_000, gpus: 2)),
        used: ResourceUse(), usedByCluster: [:], storageBytes: 0, warnings: ["too much"]))
    #expect(text.contains("guaranteed: 16 cores, 2 GPUs") && text.contains("warning: too much"), "\(text)")
  }

  @Test("A table of quotas says what is used of what, and where")
  func quotaTable() {
    var use = ResourceUse()
    (use.cpuMillicores, use.runs) = (2500, 2)
    let text = ProjectQuota.Get.table(
      QuotaDocument(
        project: "lab",
        limits: ProjectLimits(
          overall: ResourceQuota(cpuMillicores: 16_000), clusters: ["hpc": ResourceQuota(runs: 4)],
          allowedClasses: [.idle], residency: ["region": "eu"]), used: use, usedByCluster: ["hpc": use], storageBytes: 0
      ))
    #expect(text.contains("2.5 / 16") && text.contains("2 / 4") && text.contains("priority classes: idle"))
    #expect(text.contains("clusters: all") && text.contains("only on clusters with region=eu"))
  }

  @Test("A table of tokens says which are valid")
  func tokens() throws {
    let now = Timestamp(milliseconds: 1_700_000_000_000)
    func token(_ id: String, expires: Timestamp? = nil, revoked: Timestamp? = nil) -> TokenDocument {
      TokenDocument(
        id: id, user: "ann", project: nil, scopes: ["read"], label: "laptop", createdAt: WireTime(now),
        createdBy: "ann",
        expiresAt: expires.map { WireTime($0) }, lastUsedAt: nil, revokedAt: revoked.map { WireTime($0) })
    }
    let lines = TokenCommand.ListAll.table(
      [token("1"), token("2", expires: now), token("3", revoked: now), token("4", expires: now + .seconds(1))], now: now
    ).split(separator: "\n").dropFirst().map { String($0) }
    let states = ["Valid", "Expired", "Revoked", "Valid"]
    #expect(lines.count == states.count)
    for (line, state) in zip(lines, states) { #expect(line.contains(state) && line.contains("never"), "\(line)") }
  }
}
