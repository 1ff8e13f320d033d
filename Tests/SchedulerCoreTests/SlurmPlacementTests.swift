import FederationModel
import SchedulerCore
import Testing

@Suite("Placement on a Slurm cluster")
struct SlurmPlacementTests {
  private static let cpu = Partition(
    name: "cpu", isDefault: true, timeLimit: .seconds(3600), nodes: 4, usableNodes: 3, cpus: 96, freeCPUs: 32,
    cpusPerNode: 32, memoryPerNode: .gibibytes(64),
    waits: [
      PartitionWait(cpus: 8, median: .seconds(30), upper: .seconds(60), samples: 20),
      PartitionWait(cpus: .max, median: .seconds(600), upper: .seconds(900), samples: 20),
    ])
  private static let gpu = Partition(
    name: "gpu", nodes: 1, usableNodes: 1, cpus: 16, freeCPUs: 16, cpusPerNode: 16, memoryPerNode: .gibibytes(128),
    gpus: ["a100": 4], gpusPerNode: 4)

  private static func view(_ partitions: [Partition] = [cpu, gpu], free: Int64 = 112_000, startsGangs: Bool = true)
    -> ClusterView
  {
    let capacity = Resources(cpuMillicores: 112_000, memory: .gibibytes(320), gpus: 4)
    return ClusterView(
      spec: ClusterSpec(name: "hpc", kind: .slurm),
      inventory: ClusterInventory(
        capacity: capacity, slots: 1000, images: [ImageRule(pattern: "*", runsAs: "host")], gpuTypes: ["a100"],
        queues: true, startsGangs: startsGangs, partitions: partitions),
      free: Resources(cpuMillicores: free, memory: .gibibytes(320), gpus: 4), freeSlots: 1000, bandwidth: 1e8)
  }

  private static func task(cores: Int64 = 1, gpus: Int64 = 0, _ change: (inout FederationHints) -> Void = { _ in })
    -> Requirement
  {
    var hints = FederationHints()
    change(&hints)
    return Requirement(
      project: "p", image: "i", copy: Resources(cpuMillicores: cores * 1000, gpus: gpus), hints: hints)
  }

  private func candidate(_ requirement: Requirement, _ view: ClusterView) -> Candidate {
    PlacementPlanner().explain(requirement, expectedRuntime: .seconds(100), on: [view]).candidates[0]
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var requirement: Requirement
    /// nil: it is taken.
    var code: String?
    var view = SlurmPlacementTests.view()
    var testDescription: String { name }
  }

  static let cases: [Case] = [
    Case(name: "what one node can run", requirement: task(cores: 32)),
    Case(name: "more cores than any node has", requirement: task(cores: 33), code: "PartitionLimits"),
    Case(name: "GPUs, in the partition that has them", requirement: task(gpus: 4)),
    Case(
      name: "GPUs in a partition without", requirement: task(gpus: 1) { $0.slurm = SlurmHints(partition: "cpu") },
      code: "PartitionLimits"),
    Case(
      name: "a partition that is not there", requirement: task { $0.slurm = SlurmHints(partition: "debug") },
      code: "NoSuchPartition"),
    Case(
      name: "longer than the default allows, in one without a limit", requirement: task { $0.walltime = .seconds(7200) }
    ),
    Case(
      name: "longer than the named one allows",
      requirement: task { ($0.walltime, $0.slurm) = (.seconds(7200), SlurmHints(partition: "cpu")) },
      code: "PartitionLimits"),
    Case(name: "I6: a gang over several nodes", requirement: task(cores: 16) { $0.gangSize = 6 }),
    Case(
      name: "I6: a gang larger than any partition", requirement: task(cores: 16) { $0.gangSize = 7 },
      code: "PartitionLimits"),
    Case(
      name: "I6: a gang where none can start whole", requirement: task { $0.gangSize = 2 }, code: "NoGangs",
      view: view(startsGangs: false)),
    Case(
      name: "more nodes than can be used", requirement: task { $0.slurm = SlurmHints(partition: "cpu", nodes: 4) },
      code: "PartitionLimits"),
    Case(
      name: "a partition that is down", requirement: task(), code: "PartitionLimits",
      view: view([Partition(name: "cpu", state: .down, cpus: 96, cpusPerNode: 32, memoryPerNode: .gibibytes(64))])),
  ]

  @Test("I10: what no partition can ever start is rejected with the reason of each", arguments: cases)
  func fit(_ item: Case) {
    let candidate = candidate(item.requirement, item.view)
    #expect(candidate.rejection?.code == item.code, "\(candidate.rejection?.message ?? "taken")")
    if item.code == "PartitionLimits" { #expect(candidate.rejection?.message.contains("cpu:") == true) }
  }

  @Test("the wait in the partition's queue is part of the finish, by size, and overlaps staging")
  func wait() throws {
    let busy = Self.view(free: 40_000)
    #expect(try #require(candidate(Self.task(cores: 32), busy).estimate).waitSeconds == 0)
    var full = Self.cpu
    full.freeCPUs = 4
    let waiting = try #require(candidate(Self.task(cores: 8), Self.view([full])).estimate)
    #expect(waiting.waitSeconds == 30 && waiting.finishSeconds == 130)
    #expect(try #require(candidate(Self.task(cores: 9), Self.view([full])).estimate).waitSeconds == 600)
  }

  @Test("a cluster with a queue takes as much again as it runs, and then no more")
  func backlog() throws {
    let plan = PlacementPlanner().plan(
      SchedulingSnapshot(
        clusters: [Self.view()],
        groups: [
          PendingGroup(
            requirement: Self.task(),
            tasks: (0..<500).map { TaskID(workflow: WorkflowID(1), node: NodeID($0)) }, expectedRuntime: .seconds(100))
        ]))
    #expect(plan.placements.count == 224)
    let behind = try #require(candidate(Self.task(), Self.view(free: -55_000)).estimate)
    #expect(behind.waitSeconds == 50, "half of what it runs at once is ahead")
  }
}
