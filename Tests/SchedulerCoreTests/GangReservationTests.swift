import FederationModel
import SchedulerCore
import Testing

@Suite("Room that is kept for gangs")
struct GangReservationTests {
  private static func cluster(
    _ name: ClusterName, cores: Int64 = 8, free: Int64, ends: [(cores: Int64, seconds: Double)], queues: Bool = false
  ) -> ClusterView {
    var view = ClusterView(
      spec: ClusterSpec(name: name, kind: queues ? .slurm : .process),
      inventory: ClusterInventory(
        capacity: Resources(cpuMillicores: cores * 1000, memory: .gibibytes(64)),
        images: [ImageRule(pattern: "*", runsAs: "host")], queues: queues, startsGangs: true),
      free: Resources(cpuMillicores: free * 1000, memory: .gibibytes(64)), freeSlots: nil, bandwidth: 1e9)
    view.releases = ends.map {
      ExpectedRelease(resources: Resources(cpuMillicores: $0.cores * 1000), end: $0.seconds)
    }
    return view
  }

  private static func group(
    _ number: Int32, tasks: Int = 1, copies: Int = 1, cores: Int64 = 1, seconds: Int64
  ) -> PendingGroup {
    PendingGroup(
      requirement: Requirement(
        project: "p", image: "any", copy: Resources(cpuMillicores: cores * 1000),
        hints: FederationHints(gangSize: copies), template: TemplateKey(project: "p", name: "\(number)", program: 1)),
      tasks: (0..<tasks).map { TaskID(workflow: WorkflowID(Int64(number)), node: NodeID(Int32($0))) },
      expectedRuntime: .seconds(seconds), isRuntimeKnown: true)
  }

  private func placed(_ views: [ClusterView], _ groups: [PendingGroup]) -> [String] {
    PlacementPlanner().plan(SchedulingSnapshot(clusters: views, groups: groups)).placements.map {
      "\($0.task.workflow.number)>\($0.cluster)"
    }
  }

  @Test("A gang that fits starts whole at once (I6)")
  func fits() {
    let views = [Self.cluster("a", free: 8, ends: [])]
    #expect(placed(views, [Self.group(1, copies: 8, seconds: 100), Self.group(2, tasks: 3, seconds: 1)]) == ["1>a"])
  }

  @Test(
    "Nothing of a gang starts while it does not fit whole; what comes after it fills the gap only if it ends in time (I6)"
  )
  func backfill() {
    // 2 of 8 cores are free, the others in 50 s.
    let views = [Self.cluster("a", free: 2, ends: [(3, 20), (3, 50)])]
    let gang = Self.group(1, copies: 8, seconds: 100)
    #expect(placed(views, [gang, Self.group(2, seconds: 40)]) == ["2>a"])
    #expect(placed(views, [gang, Self.group(2, seconds: 60)]) == [])
    // What came before it is not kept from anything.
    #expect(placed(views, [Self.group(2, seconds: 60), gang]) == ["2>a"])
  }

  @Test("A task that takes longer goes where the gang leaves room, as long as there is some")
  func spare() {
    let views = [Self.cluster("a", free: 3, ends: [(5, 50)])]
    let gang = Self.group(1, copies: 6, seconds: 100)
    // At 50 s 8 cores are free, and 6 of them are the gang's.
    #expect(placed(views, [gang, Self.group(2, tasks: 3, seconds: 500)]) == ["2>a", "2>a"])
    #expect(placed(views, [gang, Self.group(2, tasks: 5, seconds: 40)]) == ["2>a", "2>a", "2>a"])
  }

  @Test("Room is kept on the one cluster that will have it first; others take what comes")
  func soonest() {
    let views = [
      Self.cluster("a", free: 2, ends: [(6, 90)]), Self.cluster("b", free: 2, ends: [(6, 30)]),
      Self.cluster("small", cores: 4, free: 1, ends: [(3, 1)]),
    ]
    let gang = Self.group(1, copies: 8, seconds: 100)
    let placements = placed(views, [gang, Self.group(2, tasks: 5, seconds: 60)])
    #expect(placements.count == 3 && !placements.contains("2>b"), "\(placements)")
  }

  @Test("A cluster with a queue of its own is handed as much again as it can run, and room of that is kept")
  func queues() {
    // 8 run and 6 wait there: of 16 that may be handed over 2 are left.
    var views = [Self.cluster("hpc", free: -6, ends: [(2, 100), (4, 200)], queues: true)]
    let gang = Self.group(1, copies: 4, seconds: 1000)
    #expect(placed(views, [gang, Self.group(2, tasks: 2, seconds: 150)]) == [])
    views[0].free.cpuMillicores = -4000
    #expect(placed(views, [gang]) == ["1>hpc"])
  }

  @Test("Where nobody knows when enough will be free, nothing is kept")
  func unknown() {
    let views = [Self.cluster("a", free: 2, ends: [(1, 20)])]
    #expect(placed(views, [Self.group(1, copies: 8, seconds: 100), Self.group(2, seconds: 500)]) == ["2>a"])
  }

  @Test("What takes places in the same pass gives them back for the gang")
  func placedBefore() {
    // All is free; two take their places before the gang, which needs all of it and can start when they end.
    let views = [Self.cluster("a", free: 8, ends: [])]
    let gang = Self.group(2, copies: 8, seconds: 100)
    let first = Self.group(1, tasks: 2, seconds: 50)
    #expect(placed(views, [first, gang, Self.group(3, tasks: 8, seconds: 60)]) == ["1>a", "1>a"])
    #expect(placed(views, [first, gang, Self.group(3, tasks: 1, seconds: 40)]) == ["1>a", "1>a", "3>a"])
  }

  @Test("A gang that prefers its own clusters is kept room, too")
  func localFirst() {
    let views = [Self.cluster("a", free: 2, ends: [(6, 50)])]
    var gang = Self.group(1, copies: 8, seconds: 100)
    gang.requirement.hints.placementPolicy = PlacementPolicy()
    #expect(placed(views, [gang, Self.group(2, seconds: 60)]) == [])
    #expect(placed(views, [gang, Self.group(2, seconds: 40)]) == ["2>a"])
  }

  @Test("Who waits because of a gang is told so (I10)")
  func explained() throws {
    var snapshot = SchedulingSnapshot(clusters: [Self.cluster("a", free: 2, ends: [(6, 50)])], groups: [])
    snapshot.gangsAhead = [Self.group(1, tasks: 0, copies: 8, seconds: 100)]
    let table = PlacementPlanner().explain(Self.group(2, seconds: 60), in: snapshot)
    let rejection = try #require(table.candidates[0].rejection)
    #expect(rejection.code == "KeptForGang" && rejection.isTemporary)
    #expect(
      rejection.message
        == "8.0 cores are kept for a gang of 8 that can start in about 50 s; this would end after that")
  }

  @Test("A stream of small tasks does not keep a gang waiting for ever, and the gap before it is used")
  func starvation() {
    // One core per task; every second two come, more than the cluster gets through.
    var (time, running, small) = (0.0, [(end: Double, cores: Int64)](), 0)
    var gangStart: Double?
    var random = UInt64(7)
    while time < 1000, gangStart == nil {
      running.removeAll { $0.end <= time }
      let used = running.reduce(0) { $0 + $1.cores }
      let view = Self.cluster(
        "a", free: 8 - used,
        ends: running.map { ($0.cores, $0.end - time) }.sorted { $0.seconds < $1.seconds })
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let seconds = Int64(time).isMultiple(of: 2) ? 2 : Int64(5 + random >> 60)
      // The gang comes when the cluster is full of small ones.
      let groups =
        (time >= 20 ? [Self.group(1, copies: 8, seconds: 30)] : [])
        + [Self.group(2, tasks: 2, seconds: seconds)]
      for placement in placed([view], groups) {
        if placement == "1>a" {
          gangStart = time
        } else {
          running.append((time + Double(seconds), 1))
          if time >= 20 { small += 1 }
        }
      }
      time += 1
    }
    #expect(gangStart.map { $0 <= 45 } == true, "it started at \(gangStart.map { "\($0)" } ?? "never") s")
    #expect(small > 0, "nothing was let in before it")
  }
}
