import FederationModel
import SchedulerCore
import Testing

private func cluster(
  _ name: ClusterName, kind: ClusterKind = .process, labels: [String: String] = [:], prices: PriceSheet? = nil,
  slots: Int? = 4,
  freeSlots: Int? = 4, bandwidth: Double = 100_000_000, closed: String? = nil,
  images: [ImageRule] = [ImageRule(pattern: "*", runsAs: "host")],
  canFence: Bool = true, project: ProjectName? = nil, tenancy: Tenancy? = nil
) -> ClusterView {
  let capacity = Resources(cpuMillicores: 8000, memory: .gibibytes(16))
  return ClusterView(
    spec: ClusterSpec(name: name, kind: kind, labels: labels, prices: prices, project: project),
    inventory: ClusterInventory(capacity: capacity, slots: slots, images: images, canFence: canFence, tenancy: tenancy),
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
    Rejected(code: "NoPrice", cluster: cluster("a"), requirement: with { $0.hints.maxPrice = Money("1 CNY") }),
    Rejected(
      code: "OtherCurrency", cluster: cluster("a", prices: PriceSheet(currency: "USD", coreHour: 1)),
      requirement: with { $0.hints.maxPrice = Money("1 CNY") }),
    Rejected(
      code: "TooExpensive", cluster: cluster("a", prices: PriceSheet(currency: "CNY", coreHour: 360_000)),
      requirement: with { $0.hints.maxPrice = Money("1 CNY") }),
    Rejected(code: "Closed", cluster: cluster("a", closed: "cordoned: disks"), requirement: plain),
    Rejected(code: "Full", cluster: cluster("a", freeSlots: 0), requirement: plain),
  ]

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
