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

  @Test("a pool that is too dear now, while a cheaper one is full, is no reason for ever")
  func laterIsCheaper() {
    var full = Self.kubernetes
    full.partitionsUsed = ["nodes": Resources(cpuMillicores: 2000), "cheap": Resources(cpuMillicores: 4000)]
    func rejection(_ change: (inout FederationHints) -> Void, _ budget: BudgetView? = nil) -> Rejection? {
      var group = PendingGroup(requirement: task(change), tasks: [], waiting: 1, expectedRuntime: .seconds(3600))
      group.budget = budget
      return PlacementPlanner().explain(group, in: SchedulingSnapshot(clusters: [full], groups: [])).candidates[0]
        .rejection
    }
    let limit = rejection { $0.maxPrice = Money("0.20 CNY") }
    #expect(limit?.code == "TooExpensive" && limit?.isTemporary == true, "\(String(describing: limit))")
    #expect(limit?.message.contains("(large)") == true)
    let never = rejection { $0.maxPrice = Money("0.05 CNY") }
    #expect(never?.code == "TooExpensive" && never?.isTemporary == false)
    let named = rejection { ($0.maxPrice, $0.slurm) = (Money("0.20 CNY"), SlurmHints(partition: "large")) }
    #expect(named?.isTemporary == false, "it goes nowhere else")
    let budget = BudgetView(
      currency: "CNY", available: Amount("0.20"), unspent: Amount("0.20")!, defaultWalltime: .seconds(3600))
    let poor = rejection({ _ in }, budget)
    #expect(poor?.code == Rejection.overBudget && poor?.isTemporary == true)
    #expect(poor?.message.contains("until runs end") == false, "nothing is held that could come back")
  }

  @Test("within a pass no task goes on to a pool that is not paid for")
  func limitWithinPass() {
    #expect(
      partitions(task { $0.maxPrice = Money("0.10 CNY") }, tasks: 5, on: Self.kubernetes) == ["nodes", "nodes"])
    let first = PlacementPolicy(priceThreshold: Money("0.15 CNY"))
    #expect(
      partitions(task { $0.placementPolicy = first }, tasks: 9, on: Self.kubernetes)
        == ["nodes", "nodes", "cheap", "cheap", "cheap", "cheap"])
  }

  @Test("a spot price is compared with that of the partition that a task would go to otherwise")
  func spot() {
    var view = Self.slurm
    view.spot = SpotView(
      offer: SpotOffer(percent: 50, notice: .seconds(60)),
      prices: PriceSheet(currency: "CNY", coreHour: 1, gpuHour: 200))
    let plan = PlacementPlanner().plan(
      SchedulingSnapshot(
        clusters: [view],
        groups: [
          PendingGroup(
            requirement: task(gpus: 1) { $0.spot = .allow }, tasks: [TaskID(workflow: WorkflowID(1), node: NodeID(0))],
            expectedRuntime: .seconds(3600))
        ]))
    #expect(plan.placements.map(\.isSpot) == [true], "a GPU is 5.00 there, whatever the rest of the cluster asks")
    #expect(plan.placements.map(\.partition) == [nil])
  }

  @Test("on Slurm idle cores are idle beside our own runs; on Kubernetes those of our runs are taken off")
  func waits() {
    func wait(_ view: ClusterView, _ name: String, cores: Int64) -> Double? {
      var view = view
      view.partitionsUsed = [name: Resources(cpuMillicores: 2000)]
      for index in view.inventory.partitions.indices {
        view.inventory.partitions[index].waits = [
          PartitionWait(cpus: .max, median: .seconds(500), upper: .seconds(900), samples: 1)
        ]
        if view.inventory.partitions[index].name == name { view.inventory.partitions[index].freeCPUs = 2 }
      }
      return PlacementPlanner().explain(
        task(cores: cores) { $0.slurm = SlurmHints(partition: name) }, expectedRuntime: .seconds(60), on: [view]
      ).candidates[0].estimate?.waitSeconds
    }
    #expect(wait(Self.slurm, "cpu", cores: 2) == 0)
    #expect(wait(Self.kubernetes, "nodes", cores: 2) == 500)
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
