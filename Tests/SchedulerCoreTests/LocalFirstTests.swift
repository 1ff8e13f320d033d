import FederationModel
import SchedulerCore
import Testing

/// Clusters and requirements of the tests of `placementPolicy: local-first`.
enum Burst {
  static func cluster(
    _ name: ClusterName, tier: String? = nil, slots: Int = 4, free: Int? = nil, coreHour: Double? = nil,
    kind: ClusterKind = .process, wait: Duration? = nil, closed: String? = nil
  ) -> ClusterView {
    let capacity = Resources(cpuMillicores: Int64(slots) * 1000, memory: .gibibytes(64))
    var partitions: [Partition] = []
    if let wait {
      partitions = [
        Partition(
          name: "main", isDefault: true, nodes: 1, usableNodes: 1, cpus: Int64(slots), freeCPUs: 0,
          cpusPerNode: Int64(slots), memoryPerNode: .gibibytes(64),
          waits: [PartitionWait(cpus: .max, median: wait, upper: wait, samples: 30)])
      ]
    }
    let taken = Resources(cpuMillicores: Int64(slots - (free ?? slots)) * 1000)
    return ClusterView(
      spec: ClusterSpec(
        name: name, kind: kind, labels: tier.map { [Tier.label: $0] } ?? [:],
        prices: coreHour.map { PriceSheet(currency: "CNY", coreHour: $0) }),
      inventory: ClusterInventory(
        capacity: capacity, slots: slots, images: [ImageRule(pattern: "*", runsAs: "host")], queues: kind == .slurm,
        partitions: partitions),
      closedBecause: closed, free: capacity - taken, freeSlots: free ?? slots, bandwidth: 1e8)
  }

  static func requirement(threshold: Duration = .seconds(600), price: Money? = nil) -> Requirement {
    var hints = FederationHints()
    hints.placementPolicy = PlacementPolicy(waitThreshold: threshold, priceThreshold: price)
    return Requirement(project: "p", image: "i", copy: Resources(cpuMillicores: 1000), hints: hints)
  }

  static func tasks(_ count: Int) -> [TaskID] {
    (0..<count).map { TaskID(workflow: WorkflowID(1), node: NodeID(Int32($0))) }
  }

  /// How many of `count` tasks of 60 s went where.
  static func plan(_ clusters: [ClusterView], _ requirement: Requirement, _ count: Int, waiting: Int? = nil)
    -> (plan: PlacementPlan, placed: [ClusterName: Int])
  {
    let group = PendingGroup(
      requirement: requirement, tasks: tasks(count), waiting: waiting, expectedRuntime: .seconds(60))
    let plan = PlacementPlanner().plan(SchedulingSnapshot(clusters: clusters, groups: [group]))
    return (plan, Dictionary(grouping: plan.placements, by: \.cluster).mapValues(\.count))
  }

  static func candidate(_ name: ClusterName, _ table: CandidateTable) throws -> Candidate {
    try #require(table.candidates.first { $0.cluster == name })
  }
}

@Suite("placementPolicy: local-first")
struct LocalFirstTests {
  static let local = Burst.cluster("local")
  static let cloud = Burst.cluster("cloud", slots: 100, coreHour: 400)
  static let hpc = Burst.cluster("hpc", slots: 1000, coreHour: 100, kind: .slurm)

  @Test(
    "a cluster's tier is its label, else what it costs and is",
    arguments: [
      (Burst.cluster("a"), Tier.local), (Burst.cluster("a", coreHour: 0), .local),
      (Burst.cluster("a", coreHour: 1), .cloud), (Burst.cluster("a", coreHour: 1, kind: .slurm), .supercomputer),
      (Burst.cluster("a", kind: .slurm), .local), (Burst.cluster("a", tier: "supercomputer"), .supercomputer),
      (Burst.cluster("a", tier: "local", coreHour: 9), .local), (Burst.cluster("a", tier: "moon"), .local),
    ])
  func tiers(_ cluster: ClusterView, _ tier: Tier) { #expect(Tier(of: cluster.spec) == tier) }

  @Test("what local clusters start within the threshold stays local, though others are idle")
  func holds() throws {
    // 4 at once for 60 s each: within 600 s 40 more start.
    let (plan, placed) = Burst.plan([Self.cloud, Self.hpc, Self.local], Burst.requirement(), 44)
    #expect(placed == ["local": 4])
    let cloud = try Burst.candidate("cloud", plan.tables[0])
    #expect(cloud.rejection?.code == "HeldForEarlierTier" && cloud.rejection?.isTemporary == true)
    #expect(cloud.rejection?.message.contains("above 10 min; it is about 10 min with 44") == true)
    #expect(try Burst.candidate("local", plan.tables[0]).note == "local-first: it starts within 10 min there")
  }

  @Test("what is more goes to the next tier, the oldest first, and its table says why not local")
  func bursts() throws {
    let (plan, placed) = Burst.plan([Self.cloud, Self.hpc, Self.local], Burst.requirement(), 50)
    #expect(placed == ["local": 4, "cloud": 6])
    #expect(plan.placements.map { $0.task } == Array(Burst.tasks(50).prefix(10)))
    let burst = try #require(plan.placements.last)
    let local = try Burst.candidate("local", plan.tables[burst.table])
    #expect(plan.tables[burst.table].chosen == "cloud" && local.rejection?.code == "Full")
    #expect(try Burst.candidate("hpc", plan.tables[burst.table]).rejection?.code == "HeldForEarlierTier")
    // 46 behind those that start, 4 at once: 11.5 min. The price had no say.
    let note = "local-first: elsewhere it waits about 12 min, above 10 min"
    #expect(try Burst.candidate("cloud", plan.tables[burst.table]).note == note)
    #expect("\(plan.tables[burst.table].json)".contains(note))
    #expect(plan.tables.allSatisfy { $0.candidates.allSatisfy { $0.isChosen == ($0.note != nil) } })
  }

  @Test("all that wait count, also those beyond the window of the pass")
  func backlog() {
    #expect(Burst.plan([Self.cloud, Self.local], Burst.requirement(), 20, waiting: 20).placed == ["local": 4])
    #expect(
      Burst.plan([Self.cloud, Self.local], Burst.requirement(), 20, waiting: 54).placed == ["local": 4, "cloud": 10])
  }

  @Test("a threshold of zero bursts as soon as local clusters are full, tier after tier")
  func zero() {
    let cloud = Burst.cluster("cloud", slots: 5, coreHour: 400)
    let (_, placed) = Burst.plan([cloud, Self.hpc, Self.local], Burst.requirement(threshold: .zero), 20)
    #expect(placed == ["local": 4, "cloud": 5, "hpc": 11])
  }

  @Test("above the price threshold nothing bursts, and the table says so", arguments: [true, false])
  func price(isCheapEnough: Bool) throws {
    // One core for a minute at 4 CNY an hour: 7 fen, rounded up.
    let requirement = Burst.requirement(price: Money(isCheapEnough ? "0.07 CNY" : "0.06 CNY"))
    let (plan, placed) = Burst.plan([Self.cloud, Self.local], requirement, 60)
    #expect(placed == (isCheapEnough ? ["local": 4, "cloud": 16] : ["local": 4]))
    guard !isCheapEnough else { return }
    let cloud = try Burst.candidate("cloud", plan.tables[0])
    #expect(cloud.rejection?.code == "BurstTooExpensive")
    #expect(cloud.rejection?.message == "it would cost 0.07 CNY, local-first bursts for at most 0.06 CNY")
  }

  @Test("the dearer of two in the next tier is left out by the price alone")
  func cheaper() {
    let dear = Burst.cluster("a-dear", slots: 100, coreHour: 4000)
    let (_, placed) = Burst.plan([dear, Self.cloud, Self.local], Burst.requirement(price: Money("0.10 CNY")), 50)
    #expect(placed == ["local": 4, "cloud": 6])
  }

  @Test("a local queue whose wait is above the threshold is passed over, and used again when nothing else has room")
  func localQueue() throws {
    let busy = Burst.cluster("busy", tier: "local", slots: 8, kind: .slurm, wait: .seconds(3600))
    let (plan, placed) = Burst.plan([busy, Self.cloud], Burst.requirement(), 6)
    #expect(placed == ["cloud": 6])
    #expect(try Burst.candidate("busy", plan.tables[0]).rejection?.code == "WaitTooLong")
    let full = Burst.cluster("cloud", slots: 2, free: 0, coreHour: 400)
    // The cloud starts 20 within the threshold; what is beyond goes into the queue.
    #expect(Burst.plan([busy, full], Burst.requirement(), 25).placed == ["busy": 5])
    let last = Burst.plan([busy, full], Burst.requirement(), 25).plan.tables.last
    #expect(try Burst.candidate("busy", #require(last)).note == "local-first: the wait is above 10 min in every tier")
  }

  @Test("a local cluster that is closed is not waited for")
  func closed() {
    let gone = Burst.cluster("local", closed: "not connected")
    #expect(Burst.plan([Self.cloud, gone], Burst.requirement(), 3).placed == ["cloud": 3])
  }

  @Test("a group that is held counts as wait for the groups after it")
  func groups() {
    let groups = (0..<3).map { index in
      var requirement = Burst.requirement()
      requirement.template = TemplateKey(project: "p", name: "\(index)", program: 1)
      return PendingGroup(requirement: requirement, tasks: Burst.tasks(22), expectedRuntime: .seconds(60))
    }
    let plan = PlacementPlanner().plan(
      SchedulingSnapshot(clusters: [Self.cloud, Self.local], groups: groups))
    let placed = Dictionary(grouping: plan.placements, by: \.cluster).mapValues(\.count)
    // 66 in all: 4 start, 40 wait at most.
    #expect(placed == ["local": 4, "cloud": 22])
  }

  @Test("I10: what waits has a reason for each cluster, and says when it would burst")
  func explains() throws {
    let full = Burst.cluster("local", free: 0)
    let planner = PlacementPlanner()
    let held = planner.explain(
      Burst.requirement(), expectedRuntime: .seconds(60), waiting: 20, on: [Self.cloud, full])
    #expect(held.candidates.map { $0.rejection?.code } == ["HeldForEarlierTier", "Full"])
    #expect(held.candidates[0].rejection?.message.contains("it is about 5 min with 20 of its kind waiting") == true)
    #expect(held.candidates[1].estimate?.waitSeconds == 15)
    let burst = planner.explain(
      Burst.requirement(), expectedRuntime: .seconds(60), waiting: 41, on: [Self.cloud, full])
    #expect(burst.candidates.map { $0.rejection?.code } == [nil, "Full"], "about to be placed")
  }
}
