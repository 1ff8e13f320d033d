import FederationModel
import SchedulerCore
import Testing

private func cluster(
  _ name: ClusterName, kind: ClusterKind = .process, labels: [String: String] = [:], prices: PriceSheet? = nil,
  slots: Int? = 4,
  freeSlots: Int? = 4, bandwidth: Double = 100_000_000, closed: String? = nil,
  images: [ImageRule] = [ImageRule(pattern: "*", runsAs: "host")],
  canFence: Bool = true, project: ProjectName? = nil, tenancy: Tenancy? = nil, disk: DiskRoom? = nil
) -> ClusterView {
  let capacity = Resources(cpuMillicores: 8000, memory: .gibibytes(16))
  return ClusterView(
    spec: ClusterSpec(name: name, kind: kind, labels: labels, prices: prices, project: project),
    inventory: ClusterInventory(
      capacity: capacity, slots: slots, images: images, canFence: canFence, tenancy: tenancy, disk: disk),
    closedBecause: closed,
    free: capacity, freeSlots: freeSlots, bandwidth: bandwidth)
}

private func tasks(_ count: Int32) -> [TaskID] { (0..<count).map { TaskID(workflow: WorkflowID(1), node: NodeID($0)) } }

private func plan(
  _ clusters: [ClusterView], _ requirement: Requirement, tasks count: Int32 = 1, runtime: Duration = .seconds(10)
)
  -> PlacementPlan
{
  PlacementPlanner().plan(
    SchedulingSnapshot(
      clusters: clusters,
      groups: [PendingGroup(requirement: requirement, tasks: tasks(count), expectedRuntime: runtime)]))
}

private let plain = Requirement(project: "p", image: "alpine", copy: Resources(cpuMillicores: 1000))

@Suite("A placement pass")
struct PlacementPlannerTests {
  struct Rejected: Sendable, CustomTestStringConvertible {
    var code: String
    var cluster: ClusterView
    var requirement: Requirement
    var testDescription: String { code }
  }

  @Test("Short tasks are handed over before a slot is free, as many as there are slots; longer ones are bound late")
  func handsOverAhead() {
    let full = cluster("a", freeSlots: 0)
    #expect(plan([full], plain, tasks: 10, runtime: .milliseconds(249)).placements.count == 4)
    #expect(plan([full], plain, tasks: 10, runtime: .milliseconds(250)).placements.isEmpty)
    // A free slot elsewhere is sooner.
    let both = plan([full, cluster("b", freeSlots: 2)], plain, tasks: 2, runtime: .milliseconds(100))
    #expect(both.placements.map(\.cluster) == ["b", "b"])
    var busy = cluster("a", freeSlots: 0)
    busy.free = Resources(cpuMillicores: 1500, memory: .gibibytes(16))
    #expect(plan([busy], plain, tasks: 10, runtime: .milliseconds(50)).placements.count == 1, "resources are not lent")
  }

  static let rejected: [Rejected] = [
    Rejected(code: "TenancySingle", cluster: cluster("a", project: "other"), requirement: plain),
    Rejected(code: "TenancySingle", cluster: cluster("a", tenancy: .single("other")), requirement: plain),
    Rejected(code: "TenancyUndeclared", cluster: cluster("a", tenancy: .single(nil)), requirement: plain),
    Rejected(code: "TenancyUnmapped", cluster: cluster("a", tenancy: .mapped(["other"])), requirement: plain),
    Rejected(code: "Excluded", cluster: cluster("a"), requirement: with { $0.hints.exclude = ["a"] }),
    Rejected(code: "KindNotAllowed", cluster: cluster("a"), requirement: with { $0.hints.kinds = [.slurm] }),
    Rejected(
      code: "LabelMismatch", cluster: cluster("a", labels: ["zone": "x"]),
      requirement: with { $0.nodeSelector = ["zone": "y"] }),
    Rejected(code: "LabelMismatch", cluster: cluster("a"), requirement: with { $0.hints.labels = ["zone": "y"] }),
    Rejected(
      code: "LabelMismatch", cluster: cluster("a"),
      requirement: with { $0.nodeSelector = [MachineLabels.architecture: "arm64"] }),
    Rejected(
      code: "ImageNotAvailable", cluster: cluster("a", images: [ImageRule(pattern: "debian*", runsAs: "host")]),
      requirement: plain),
    Rejected(
      code: "CannotFence", cluster: cluster("a", canFence: false),
      requirement: with { $0.hints.onDisconnect = .replace }),
    Rejected(
      code: "NoSuchGPU", cluster: cluster("a"), requirement: with { $0.copy = Resources(gpus: 1, gpuType: "h100") }
    ),
    Rejected(
      code: "TooLarge", cluster: cluster("a"), requirement: with { $0.copy = Resources(cpuMillicores: 9000) }),
    Rejected(
      code: "DaemonElsewhere", cluster: cluster("a"), requirement: with { $0.beside = Companion("b", .daemon) }),
    Rejected(
      code: "VolumesElsewhere", cluster: cluster("a"), requirement: with { $0.beside = Companion("b", .volumes) }),
    Rejected(code: "NoSuchClaim", cluster: cluster("a"), requirement: with { $0.claims = ["refs"] }),
    Rejected(code: "CannotRun", cluster: cluster("a"), requirement: with { $0.features = [.daemons] }),
    Rejected(code: "NoPrice", cluster: cluster("a"), requirement: with { $0.hints.maxPrice = Money("1 CNY") }),
    Rejected(
      code: "OtherCurrency", cluster: cluster("a", prices: PriceSheet(currency: "USD", coreHour: 1)),
      requirement: with { $0.hints.maxPrice = Money("1 CNY") }),
    Rejected(
      code: "TooExpensive", cluster: cluster("a", prices: PriceSheet(currency: "CNY", coreHour: 360_000)),
      requirement: with { $0.hints.maxPrice = Money("1 CNY") }),
    Rejected(code: "Closed", cluster: cluster("a", closed: "cordoned: disks"), requirement: plain),
    Rejected(code: "Full", cluster: cluster("a", freeSlots: 0), requirement: plain),
    Rejected(
      code: "DiskFull", cluster: cluster("a", disk: DiskRoom(free: .mebibytes(63), reserve: .mebibytes(64))),
      requirement: plain),
  ]

  @Test("I10: a cluster whose disk is full gets nothing while another one has room, and both sizes are told")
  func fullDisk() throws {
    let full = DiskRoom(free: .mebibytes(3), reserve: .mebibytes(64))
    let placed = plan(
      [
        cluster("a", disk: full), cluster("b", disk: DiskRoom(free: .mebibytes(64), reserve: .mebibytes(64))),
      ], plain)
    #expect(placed.tables[0].chosen == "b")
    let rejection = try #require(placed.tables[0].candidates.first { $0.cluster == "a" }?.rejection)
    #expect(rejection.message == "its disk is full: 3 MiB free, needs at least 64 MiB" && rejection.isTemporary)
    #expect(plan([cluster("a", disk: full)], plain).placements.isEmpty)
  }

  @Test(
    "I10: what a batch system cannot do for a task is its reason",
    arguments: [
      (RunFeature.daemons, "batch systems have none of that"),
      (.claims, "its operator declares it (`claims.directory`"),
      (.pods, "it is no cluster of Kubernetes"), (.privilegedPods, "`kubernetes.privileged`"),
      (.resources, "that takes a Kubernetes cluster"),
    ])
  func lacking(feature: RunFeature, reason: String) throws {
    var slurm = cluster("hpc", kind: .slurm)
    slurm.inventory.features = [.artifacts, .objects, .volumes]
    let table = PlacementPlanner().explain(
      Self.with { $0.features = [feature] }, expectedRuntime: .seconds(10), on: [slurm])
    let rejection = try #require(table.candidates.first?.rejection)
    #expect(rejection.code == "CannotRun" && rejection.message.contains(reason), "\(rejection.message)")
    #expect(!rejection.isTemporary && table.chosen == nil)
  }

  @Test(
    "I10: a service account that the operator of a Kubernetes cluster does not list is its reason, and means nothing elsewhere"
  )
  func serviceAccounts() throws {
    let requirement = Requirement(
      template: TemplateKey(project: "p", name: "t", program: 0),
      spec: {
        var spec = TaskSpec(image: "i", command: ["c"])
        spec.pod = PodSettings(spec: ["serviceAccountName": "argo"])
        return spec
      }())
    func rejection(_ accounts: Set<String>?) -> Rejection? {
      var view = cluster("k8s", kind: .kubernetes)
      view.inventory.serviceAccounts = accounts
      return PlacementPlanner().explain(requirement, expectedRuntime: .seconds(10), on: [view]).candidates.first?
        .rejection
    }
    for accounts in [[], ["trainer"]] as [Set<String>] {
      let rejection = try #require(rejection(accounts))
      #expect(rejection.code == "NoSuchServiceAccount" && !rejection.isTemporary)
      #expect(rejection.message.contains("argo") && rejection.message.contains("`kubernetes.serviceAccounts`"))
    }
    for accounts in [["argo"], ["*"], nil] as [Set<String>?] { #expect(rejection(accounts) == nil) }
  }

  @Test("What a cluster's machines are counts as its labels; what its operator has set counts before that")
  func machineLabels() throws {
    let linux = Self.with { $0.nodeSelector = [MachineLabels.system: "linux", MachineLabels.architecture: "arm64"] }
    func rejection(_ view: ClusterView) -> Rejection? {
      PlacementPlanner().explain(linux, expectedRuntime: .seconds(10), on: [view]).candidates.first?.rejection
    }
    var one = cluster("a")
    one.inventory.labels = [MachineLabels.system: "linux", MachineLabels.architecture: "amd64"]
    #expect(
      rejection(one)?.message.contains("it has kubernetes.io/arch=amd64") == true)
    one.spec.labels = [MachineLabels.architecture: "arm64"]
    #expect(plan([one], linux).placements.map(\.cluster) == ["a"])
    // By the names of old documents, too.
    let old = Self.with { $0.nodeSelector = ["beta.kubernetes.io/arch": "arm64"] }
    #expect(plan([one], old).placements.map(\.cluster) == ["a"])
    one.spec.labels = [:]
    #expect(plan([one], old).placements.isEmpty)
    var unseen = cluster("b")
    unseen.inventory = ClusterInventory()
    #expect(rejection(unseen)?.code != "LabelMismatch")
    #expect(Set(MachineLabels.own.keys) == MachineLabels.names)
  }

  @Test("A told disk is coarse, and never full or roomy by rounding")
  func diskRounding() {
    for seed in UInt64(0)..<2000 {
      // A linear congruential step is random enough for sizes.
      let free = Int64((seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407) >> (24 + seed % 16))
      let disk = DiskRoom(free: ByteCount(free), reserve: .mebibytes(64))
      #expect(disk.rounded.isFull == disk.isFull && disk.rounded.free <= disk.free, "seed \(seed)")
      #expect(disk.rounded.rounded == disk.rounded, "seed \(seed)")
    }
  }

  private static func with(_ change: (inout Requirement) -> Void) -> Requirement {
    var requirement = plain
    change(&requirement)
    return requirement
  }

  @Test("I10: each hard condition rejects a cluster with its own reason", arguments: rejected)
  func rejects(_ example: Rejected) {
    #expect(plan([example.cluster], example.requirement).placements.isEmpty)
    let table = PlacementPlanner().explain(example.requirement, expectedRuntime: .seconds(10), on: [example.cluster])
    #expect(table.candidates.map { $0.rejection?.code } == [example.code])
    #expect(table.candidates[0].rejection?.message.isEmpty == false)
  }

  @Test("I10: what is too large for a cluster is told alone, and that no cluster will ever take it")
  func tooLarge() throws {
    func table(_ wanted: Resources, _ clusters: [ClusterView]) -> CandidateTable {
      PlacementPlanner().explain(
        Self.with { $0.copy = wanted }, expectedRuntime: .seconds(10), on: clusters)
    }
    let small = cluster("a")
    let capacity = small.inventory.capacity
    let gpu = table(Resources(cpuMillicores: 1000, gpus: 2), [small])
    #expect(gpu.candidates[0].rejection?.message == "2 GPUs asked for, it has none")
    #expect(gpu.isUnplaceable)
    let cores = table(Resources(cpuMillicores: capacity.cpuMillicores + 500), [small])
    let there = capacity.cpuMillicores / 1000
    #expect(cores.candidates[0].rejection?.message == "\(there).5 cores asked for, it has \(there)")
    var gpus = cluster("b", freeSlots: 0)
    gpus.inventory.capacity.gpus = 2
    // One that is merely full or closed may take it later; and without clusters nobody has said no.
    #expect(!table(Resources(), [cluster("a", freeSlots: 0), cluster("b", closed: "draining")]).isUnplaceable)
    #expect(!table(Resources(gpus: 2), [small, gpus]).isUnplaceable)
    #expect(!table(Resources(gpus: 2), []).isUnplaceable)
  }

  @Test("The job goes to where the data is when moving it takes longer than anything else costs")
  func followsData() {
    var requirement = plain
    requirement.inputs = [InputVolume(cluster: "b", size: .gibibytes(10))]
    let decided = plan([cluster("a", bandwidth: 10_000_000), cluster("b", bandwidth: 10_000_000)], requirement)
    #expect(decided.placements.map(\.cluster) == ["b"])
  }

  @Test("The data goes to where the job is cheap when the link is wide")
  func movesData() {
    var requirement = plain
    requirement.inputs = [InputVolume(cluster: "b", size: .mebibytes(10))]
    let dear = PriceSheet(currency: "CNY", coreHour: 400_000)
    let decided = plan([cluster("a"), cluster("b", prices: dear)], requirement)
    #expect(decided.placements.map(\.cluster) == ["a"])
  }

  @Test("A choice is committed before the next is made: slots and link backlogs count within one pass")
  func commitsAtOnce() {
    let decided = plan([cluster("a", slots: 3, freeSlots: 3), cluster("b", slots: 2, freeSlots: 2)], plain, tasks: 10)
    #expect(decided.placements.count == 5)
    #expect(decided.placements.count { $0.cluster == "a" } == 3)
    var requirement = plain
    requirement.inputs = [InputVolume(cluster: nil, size: .gibibytes(1))]
    let spread = plan(
      [cluster("a", slots: 8, freeSlots: 8), cluster("b", slots: 8, freeSlots: 8)], requirement, tasks: 8)
    #expect(spread.placements.count { $0.cluster == "a" } == 4, "two equal links share the bytes")
  }

  @Test("Resources that are not there are not promised")
  func respectsResources() {
    var requirement = plain
    requirement.copy = Resources(cpuMillicores: 3000)
    #expect(plan([cluster("a", slots: nil, freeSlots: nil)], requirement, tasks: 5).placements.count == 2)
  }

  @Test("A program that asks for no CPU is priced as one that asks for one core, and takes no room for it")
  func pricesTheDefaultRequest() throws {
    let priced = cluster(
      "a", prices: PriceSheet(currency: "CNY", coreHour: 3600, gibibyteHour: 3600), slots: 100, freeSlots: 100)
    func quote(_ resources: Resources) -> Double? {
      var requirement = plain
      requirement.copy = resources
      return PlacementPlanner().explain(requirement, expectedRuntime: .seconds(10), on: [priced])
        .candidates[0].estimate?.priceMinorUnits
    }
    #expect(quote(Resources()) == 10)
    #expect(quote(Resources(cpuMillicores: 1000)) == 10)
    #expect(quote(Resources(cpuMillicores: 100)) == 1, "what is asked for counts, however little")
    #expect(quote(Resources(memory: .gibibytes(2))) == 30)
    var dear = plain
    dear.copy = Resources()
    dear.hints.maxPrice = Money("0.09 CNY")
    let table = PlacementPlanner().explain(dear, expectedRuntime: .seconds(10), on: [priced])
    #expect(table.candidates[0].rejection?.code == "TooExpensive")
    // Eight cores, a hundred slots: the slots are what bounds such programs.
    var free = plain
    free.copy = Resources()
    #expect(plan([priced], free, tasks: 50).placements.count == 50)
    var gang = priced
    gang.inventory.startsGangs = true
    var copies = free
    copies.hints.gangSize = 4
    let together = PlacementPlanner().explain(copies, expectedRuntime: .seconds(10), on: [gang])
    #expect(together.candidates[0].estimate?.priceMinorUnits == 40)
  }

  @Test("The chosen cluster is marked in the table that the placement refers to")
  func marksTheChoice() {
    let decided = plan([cluster("a"), cluster("b", freeSlots: 0)], plain)
    #expect(decided.tables[decided.placements[0].table].chosen == "a")
    #expect(decided.tables[0].candidates.map { $0.rejection?.code } == [nil, "Full"])
  }

  @Test(
    "a project is placed where the agent's tenancy takes it",
    arguments: [
      Tenancy.shared, .single("p"), .mapped(["p", "other"]),
    ])
  func tenancy(_ tenancy: Tenancy) {
    #expect(plan([cluster("a", tenancy: tenancy)], plain).placements.map(\.cluster) == ["a"])
  }
}
