import FederationModel
import SchedulerCore
import Testing

/// Prices that depend on where on a cluster a run goes.
@Suite("Prices of partitions and node pools")
struct PartitionPriceTests {
  private static let sheet: PriceSheet = {
    var sheet = PriceSheet(currency: "CNY", coreHour: 10)
    sheet.partitions = [
      "gpu": HourlyPrices(coreHour: 20, gpuHour: 500), "large": HourlyPrices(coreHour: 30),
      "cheap": HourlyPrices(coreHour: 15),
    ]
    return sheet
  }()

  private static func partition(
    _ name: String, isDefault: Bool = false, cpus: Int64, free: Int64 = 0, perNode: Int64 = 8, gpus: Int64 = 0,
    wait: Int64 = 0
  ) -> Partition {
    Partition(
      name: name, isDefault: isDefault, nodes: 4, usableNodes: 4, cpus: cpus, freeCPUs: free, cpusPerNode: perNode,
      memoryPerNode: .gibibytes(64), gpus: gpus > 0 ? ["a100": gpus * 4] : [:], gpusPerNode: gpus,
      waits: wait > 0 ? [PartitionWait(cpus: .max, median: .seconds(wait), upper: .seconds(wait), samples: 0)] : [])
  }

  private static func cluster(
    _ kind: ClusterKind, _ partitions: [Partition], prices: PriceSheet? = sheet
  ) -> ClusterView {
    let capacity = Resources(
      cpuMillicores: partitions.reduce(0) { $0 + $1.cpus } * 1000, memory: .gibibytes(1024), gpus: 16)
    var inventory = ClusterInventory(
      capacity: capacity, slots: 1000, images: [ImageRule(pattern: "*", runsAs: "host")], gpuTypes: ["a100"],
      queues: true, partitions: partitions)
    inventory.executor = kind.rawValue
    return ClusterView(
      spec: ClusterSpec(name: "c", kind: kind, prices: prices), inventory: inventory, free: capacity, freeSlots: 1000,
      bandwidth: 1e8)
  }

  private static let slurm = cluster(
    .slurm,
    [
      partition("cpu", isDefault: true, cpus: 32, free: 32), partition("gpu", cpus: 32, free: 32, gpus: 4),
      partition("large", cpus: 64, free: 64, perNode: 64),
    ])
  private static let kubernetes = cluster(
    .kubernetes,
    [
      partition("nodes", isDefault: true, cpus: 8, free: 2), partition("large", cpus: 32, wait: 60),
      partition("cheap", cpus: 4, wait: 300), partition("gpu", cpus: 32, gpus: 4, wait: 200),
    ])

  private func task(cores: Int64 = 1, gpus: Int64 = 0, _ change: (inout FederationHints) -> Void = { _ in })
    -> Requirement
  {
    var hints = FederationHints()
    change(&hints)
    return Requirement(
      project: "p", image: "i", copy: Resources(cpuMillicores: cores * 1000, gpus: gpus), hints: hints)
  }

  private func partitions(_ requirement: Requirement, tasks count: Int32, on view: ClusterView) -> [String?] {
    let tasks = (0..<count).map { TaskID(workflow: WorkflowID(1), node: NodeID($0)) }
    let plan = PlacementPlanner().plan(
      SchedulingSnapshot(
        clusters: [view],
        groups: [PendingGroup(requirement: requirement, tasks: tasks, expectedRuntime: .seconds(3600))]))
    return plan.placements.map(\.partition)
  }

  @Test("on Slurm the price is that of the partition that is asked for, else of the first that can start it")
  func slurm() {
    func price(_ requirement: Requirement) -> Double? {
      PlacementPlanner().explain(requirement, expectedRuntime: .seconds(3600), on: [Self.slurm]).candidates[0]
        .estimate?.priceMinorUnits
    }
    #expect(price(task()) == 10)
    #expect(price(task { $0.slurm = SlurmHints(partition: "large") }) == 30)
    #expect(price(task(cores: 16)) == 480, "only large has so many cores on one node")
    #expect(price(task(gpus: 2)) == 1020)
    #expect(partitions(task(gpus: 1), tasks: 1, on: Self.slurm) == ["gpu"])
    #expect(partitions(task(), tasks: 1, on: Self.slurm) == ["cpu"], "its price is the cluster's, and binds as well")
  }

  @Test("maxPrice and budgets look at the price of the partition that a run would go to")
  func limits() {
    func code(_ requirement: Requirement) -> String? {
      PlacementPlanner().explain(requirement, expectedRuntime: .seconds(3600), on: [Self.slurm]).candidates[0]
        .rejection?.code
    }
    #expect(code(task { $0.maxPrice = Money("0.10 CNY") }) == nil)
    #expect(code(task(gpus: 1) { $0.maxPrice = Money("0.10 CNY") }) == "TooExpensive")
    let budget = BudgetView(currency: "CNY", available: nil, unspent: .zero, defaultWalltime: .seconds(3600))
    var view = Self.slurm
    view.enter(partition: view.partition(for: task(gpus: 1)))
    #expect(budget.reservation(for: task(gpus: 1), on: view, egress: 0) == Amount(reserving: 520))
    view.leavePartition()
    #expect(view.spec.prices == Self.sheet)
  }

  @Test("on Kubernetes nodes that are there come first; then pools with room, the cheapest before the fastest")
  func pools() {
    #expect(
      partitions(task(), tasks: 8, on: Self.kubernetes)
        == ["nodes", "nodes", "cheap", "cheap", "cheap", "cheap", "large", "large"], "within one pass, too")
    #expect(partitions(task(gpus: 1), tasks: 1, on: Self.kubernetes) == ["gpu"])
    #expect(partitions(task { $0.slurm = SlurmHints(partition: "large") }, tasks: 1, on: Self.kubernetes) == ["large"])
    var used = Self.kubernetes
    used.partitionsUsed = ["nodes": Resources(cpuMillicores: 1500), "cheap": Resources(cpuMillicores: 4000)]
    #expect(partitions(task(), tasks: 1, on: used) == ["large"], "what our runs have there counts")
  }

  @Test("where no partition has a price of its own, nothing is chosen and nothing changes")
  func without() {
    let plain = Self.cluster(
      .kubernetes, Self.kubernetes.inventory.partitions, prices: PriceSheet(currency: "CNY", coreHour: 10))
    #expect(partitions(task(), tasks: 2, on: plain) == [nil, nil])
    #expect(
      partitions(task(), tasks: 1, on: Self.cluster(.slurm, Self.slurm.inventory.partitions, prices: nil)) == [nil])
  }

  @Test("a cluster with one priced partition is no local one to local-first")
  func tier() {
    var sheet = PriceSheet(currency: "CNY")
    #expect(Tier(of: ClusterSpec(name: "c", kind: .kubernetes, prices: sheet)) == .local)
    sheet.partitions = ["gpu": HourlyPrices(gpuHour: 1)]
    #expect(Tier(of: ClusterSpec(name: "c", kind: .kubernetes, prices: sheet)) == .cloud)
  }
}
