import Testing

@testable import FederationModel

@Suite("What is guaranteed to a project")
struct GuaranteesTests {
  private func use(cores: Int64 = 0, gpus: Int64 = 0, runs: Int64 = 1) -> ResourceUse {
    var use = ResourceUse(Resources(cpuMillicores: cores * 1000, gpus: gpus))
    use.runs = runs
    return use
  }

  @Test("Who is guaranteed GPUs has no claim to the cores of others, and nobody to GPUs who is guaranteed cores")
  func kinds() {
    let gpus = ProjectLimits(guarantee: ResourceQuota(gpus: 4))
    #expect(!gpus.guarantees(use(cores: 8), within: use(cores: 100)))
    #expect(gpus.guarantees(use(cores: 8, gpus: 1), within: use(cores: 100, gpus: 4)))
    #expect(!gpus.guarantees(use(cores: 8, gpus: 1), within: use(cores: 100, gpus: 5)))
    let cores = ProjectLimits(guarantee: ResourceQuota(cpuMillicores: 16_000))
    #expect(cores.guarantees(use(cores: 4), within: use(cores: 16)))
    #expect(!cores.guarantees(use(cores: 4, gpus: 1), within: use(cores: 16, gpus: 1)))
    #expect(ProjectLimits(guarantee: ResourceQuota(runs: 2)).guarantees(use(cores: 4), within: use(cores: 9, runs: 2)))
    #expect(!ProjectLimits().guarantees(use(cores: 1), within: use(cores: 1)))
  }

  @Test("A run is protected by a guarantee only for what it takes of it")
  func protection() {
    let limits = ProjectLimits(guarantee: ResourceQuota(cpuMillicores: 16_000, gpus: 4))
    // No GPU in use, and cores far beyond what is guaranteed: a run without GPUs can go.
    #expect(limits.canSpare(use(cores: 4), of: use(cores: 100)))
    #expect(!limits.canSpare(use(cores: 4), of: use(cores: 19)))
    #expect(limits.canSpare(use(cores: 3), of: use(cores: 19)))
    #expect(!limits.canSpare(use(cores: 1, gpus: 1), of: use(cores: 100, gpus: 4)))
    #expect(limits.canSpare(use(cores: 1, gpus: 1), of: use(cores: 100, gpus: 5)))
  }

  @Test("Numbers of which no sum is a number are refused, and do no harm where an earlier release took them")
  func numbers() {
    let limits = ProjectLimits(guarantee: ResourceQuota(gpus: 1), borrowLimit: ResourceQuota(gpus: .max))
    #expect(limits.problem?.contains("a quota is a number") == true)
    #expect(limits.borrowCeiling?.gpus == .max)
    #expect(ProjectLimits(guarantee: ResourceQuota(gpus: 1), borrowLimit: ResourceQuota(gpus: 3)).problem == nil)
  }
}
