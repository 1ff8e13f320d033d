import FederationModel
import SchedulerCore
import Testing

@Suite("Room that is kept for higher classes")
struct KeptRoomTests {
  private static func requirement(_ priorityClass: PriorityClass, cores: Int64 = 1, copies: Int = 1) -> Requirement {
    Requirement(
      project: "p", image: "any", copy: Resources(cpuMillicores: cores * 1000),
      hints: FederationHints(priorityClass: priorityClass, gangSize: copies),
      template: TemplateKey(project: "p", name: "t", program: 1))
  }

  private static func cluster(free: Int64, claims: [Requirement] = [], headroom: Int64? = nil) -> ClusterView {
    var view = ClusterView(
      spec: ClusterSpec(name: "a", kind: .process),
      inventory: ClusterInventory(
        capacity: Resources(cpuMillicores: 8000, memory: .gibibytes(64)), slots: 8,
        images: [ImageRule(pattern: "*", runsAs: "host")], startsGangs: true),
      free: Resources(cpuMillicores: free * 1000, memory: .gibibytes(64)), freeSlots: Int(free), bandwidth: 1e9)
    view.claims = claims.map { RoomClaim(requirement: $0) }
    view.headroom = headroom.map { Headroom(resources: Resources(cpuMillicores: $0 * 1000), slots: Int($0)) }
    return view
  }

  /// How many of ten tasks of a requirement are placed.
  private func placed(_ requirement: Requirement, on view: ClusterView) -> Int {
    let tasks = (0..<10).map { TaskID(workflow: WorkflowID(1), node: NodeID(Int32($0))) }
    let group = PendingGroup(requirement: requirement, tasks: tasks, expectedRuntime: .seconds(60))
    return PlacementPlanner().plan(SchedulingSnapshot(clusters: [view], groups: [group])).placements.count
  }

  private func rejection(_ requirement: Requirement, on view: ClusterView) -> Rejection? {
    PlacementPlanner().explain(requirement, expectedRuntime: .seconds(60), on: [view]).candidates[0].rejection
  }

  @Test("Claimed room is there for the requirement that claimed it, and for nobody else, whatever the class")
  func claims() {
    let claimed = Self.requirement(.interruptible, cores: 2)
    let view = Self.cluster(free: 3, claims: [claimed])
    #expect(placed(claimed, on: view) == 1)
    for other in PriorityClass.allCases { #expect(placed(Self.requirement(other), on: view) == 1, "\(other)") }
    let full = Self.cluster(free: 2, claims: [claimed])
    #expect(rejection(Self.requirement(.realtime), on: full)?.code == "KeptForHigherClass")
    #expect(rejection(Self.requirement(.realtime), on: Self.cluster(free: 0))?.code == "Full")
    #expect(rejection(claimed, on: full) == nil)
  }

  @Test("Headroom is held from the classes that leave slowly, and lent to idle work", arguments: PriorityClass.allCases)
  func headroom(priorityClass: PriorityClass) {
    let view = Self.cluster(free: 4, headroom: 3)
    let isHeld = priorityClass == .interruptible || priorityClass == .offline
    #expect(placed(Self.requirement(priorityClass), on: view) == (isHeld ? 1 : 4))
    let reason = rejection(Self.requirement(priorityClass), on: Self.cluster(free: 3, headroom: 3))
    #expect(reason?.code == (isHeld ? "HeldForRealtime" : nil))
    // Whoever made its own room takes nobody's.
    let own = Self.requirement(priorityClass)
    #expect(placed(own, on: Self.cluster(free: 4, claims: [own], headroom: 3)) == 4)
  }

  @Test("Headroom follows what was wanted lately, with a margin, and is given back when nobody comes any more")
  func forecast() {
    var forecast = DemandForecast(window: .seconds(60), quantile: 0.9, margin: 1.5, recurring: 5)
    var now = Timestamp(milliseconds: 1_000_000)
    #expect(forecast.headroom(at: now) == nil)
    func wait(_ seconds: Int, _ slots: Int) {
      for _ in 0..<seconds {
        now = now + .seconds(1)
        forecast.observe(Resources(cpuMillicores: Int64(slots) * 2000), slots: slots, at: now)
      }
    }
    wait(20, 0)
    #expect(forecast.headroom(at: now) == nil)
    wait(4, 4)
    now = now + .seconds(3)
    #expect(forecast.headroom(at: now) == nil, "what came once is no demand")
    wait(6, 4)
    #expect(forecast.headroom(at: now) == Headroom(resources: Resources(cpuMillicores: 12_000), slots: 6))
    // One moment of eight in sixty is beyond the quantile.
    wait(1, 8)
    wait(49, 2)
    now = now + .seconds(3)
    #expect(forecast.headroom(at: now)?.slots == 6)
    wait(100, 0)
    #expect(forecast.headroom(at: now) == nil)
  }

  @Test("Idle work is not brought what its source charges for", arguments: PriorityClass.allCases)
  func egress(priorityClass: PriorityClass) {
    func cluster(_ name: ClusterName, slots: Int, egress: Double) -> ClusterView {
      ClusterView(
        spec: ClusterSpec(
          name: name, kind: .process, prices: PriceSheet(currency: "CNY", egressGibibyte: egress)),
        inventory: ClusterInventory(
          capacity: Resources(cpuMillicores: 8000, memory: .gibibytes(64)), slots: slots,
          images: [ImageRule(pattern: "*", runsAs: "host")],
          cache: CacheInventory(name: name.text, capacity: .gibibytes(1000), exportURL: "https://\(name)")),
        free: Resources(cpuMillicores: Int64(slots) * 1000, memory: .gibibytes(64)), freeSlots: slots, bandwidth: 1e9,
        bandwidthOut: 1e9)
    }
    func rejected(_ egress: Double) -> String? {
      var requirement = Self.requirement(priorityClass)
      requirement.data = ["x"]
      let group = PendingGroup(
        requirement: requirement, tasks: [TaskID(workflow: WorkflowID(1), node: NodeID(0))],
        expectedRuntime: .seconds(10))
      let snapshot = SchedulingSnapshot(
        clusters: [cluster("a", slots: 4, egress: 1), cluster("b", slots: 0, egress: egress)], groups: [group],
        data: ["x": DataView(size: .gibibytes(1), copies: [DataCopy(cluster: "b")])])
      return PlacementPlanner().explain(group, in: snapshot).candidates[0].rejection?.code
    }
    #expect(rejected(100) == (priorityClass == .idle ? "PaidEgress" : nil))
    #expect(rejected(0) == nil)
  }

  @Test("Idle gangs get no room kept")
  func idleGangs() {
    let gang = Self.requirement(.idle, cores: 1, copies: 8)
    var view = Self.cluster(free: 2)
    view.releases = [ExpectedRelease(resources: Resources(cpuMillicores: 6000), end: 10)]
    let tasks = [TaskID(workflow: WorkflowID(1), node: NodeID(0))]
    func small(after priorityClass: PriorityClass) -> Int {
      var requirement = gang
      requirement.hints.priorityClass = priorityClass
      let groups = [
        PendingGroup(requirement: requirement, tasks: tasks, expectedRuntime: .seconds(60)),
        PendingGroup(requirement: Self.requirement(.idle), tasks: tasks, expectedRuntime: .seconds(60)),
      ]
      return PlacementPlanner().plan(SchedulingSnapshot(clusters: [view], groups: groups)).placements.count
    }
    #expect(small(after: .offline) == 0, "room is kept for the gang")
    #expect(small(after: .idle) == 1)
  }
}
