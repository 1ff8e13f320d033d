import FederationModel
import SchedulerCore
import Testing

@Suite("Whose turn it is in a pass")
struct PassOrderTests {
  private static let capacity = ResourceSeconds(cpu: 64, memory: 256, gpu: 0)

  private static func cluster(free: Int64, memory: Int64 = 256) -> ClusterView {
    ClusterView(
      spec: ClusterSpec(name: "a", kind: .process),
      inventory: ClusterInventory(
        capacity: Resources(cpuMillicores: 64_000, memory: .gibibytes(256)),
        images: [ImageRule(pattern: "*", runsAs: "host")], startsGangs: true),
      free: Resources(cpuMillicores: free * 1000, memory: .gibibytes(memory)), freeSlots: nil, bandwidth: 1e9)
  }

  private static func group(
    _ project: ProjectName, _ number: Int64, tasks: Int, cores: Int64 = 1, memory: Int64 = 0, seconds: Int64 = 10,
    _ priority: PriorityClass = .interruptible, copies: Int = 1, tail: Double = 0, deadline: Double? = nil
  ) -> PendingGroup {
    var hints = FederationHints(gangSize: copies)
    hints.priorityClass = priority
    return PendingGroup(
      key: number,
      requirement: Requirement(
        project: project, image: "any", copy: Resources(cpuMillicores: cores * 1000, memory: .gibibytes(memory)),
        hints: hints, template: TemplateKey(project: project, name: "\(number)", program: 1)),
      tasks: (0..<tasks).map { TaskID(workflow: WorkflowID(number), node: NodeID(Int32($0))) },
      expectedRuntime: .seconds(seconds), isRuntimeKnown: true, tail: tail, deadline: deadline)
  }

  /// Weights by project, each in the one organisation.
  private static func tree(_ weights: [ProjectName: Double], charged: [ProjectName: Double] = [:]) -> ShareTree {
    var tree = ShareTree(capacity: capacity)
    let organisation = tree.add(weight: 1)
    for (project, weight) in weights.sorted(by: { $0.key < $1.key }) {
      tree.add(
        to: organisation, weight: weight, project: project, charged: ResourceSeconds(cpu: charged[project] ?? 0))
    }
    return tree
  }

  private func plan(_ groups: [PendingGroup], _ turns: ProjectTurns, free: Int64) -> PlacementPlan {
    var snapshot = SchedulingSnapshot(clusters: [Self.cluster(free: free)], groups: groups)
    snapshot.turns = turns
    return PlacementPlanner().plan(snapshot)
  }

  /// How many tasks of each workflow were placed.
  private func counts(_ plan: PlacementPlan) -> [Int64: Int] {
    plan.placements.reduce(into: [:]) { $0[$1.task.workflow.number, default: 0] += 1 }
  }

  @Test("What is free goes to the projects by their weights, however many tasks each has waiting")
  func weights() {
    let groups = [Self.group("big", 1, tasks: 1000), Self.group("small", 2, tasks: 20)]
    let turns = ProjectTurns(tree: Self.tree(["big": 1, "small": 3]))
    #expect(counts(plan(groups, turns, free: 16)) == [1: 4, 2: 12])
    // What the one cannot use is the other's.
    #expect(counts(plan([groups[0], Self.group("small", 2, tasks: 3)], turns, free: 16)) == [1: 13, 2: 3])
  }

  @Test("Who has used more gets less until the others have as much, divided by the weight")
  func history() {
    let groups = [Self.group("a", 1, tasks: 50), Self.group("b", 2, tasks: 50)]
    // 40 core seconds are four of these tasks.
    let turns = ProjectTurns(tree: Self.tree(["a": 1, "b": 1], charged: ["a": 40]))
    #expect(counts(plan(groups, turns, free: 4)) == [2: 4])
    #expect(counts(plan(groups, turns, free: 10)) == [1: 3, 2: 7])
  }

  @Test("Shares are of the resource of which a project takes most: cores of one are as dear as memory of the other")
  func dominant() {
    // A task of the one is 1/64 of the cores, of the other 4/256 of the memory.
    let groups = [Self.group("cores", 1, tasks: 50), Self.group("memory", 2, tasks: 50, memory: 4)]
    let counts = counts(plan(groups, ProjectTurns(tree: Self.tree(["cores": 1, "memory": 1])), free: 20))
    #expect(counts == [1: 10, 2: 10])
    let heavy = [Self.group("cores", 1, tasks: 50), Self.group("memory", 2, tasks: 50, memory: 16)]
    let fewer = self.counts(plan(heavy, ProjectTurns(tree: Self.tree(["cores": 1, "memory": 1])), free: 20))
    #expect(fewer == [1: 16, 2: 4])
  }

  @Test("An organisation's part does not grow with the number of its projects")
  func organisations() {
    var tree = ShareTree(capacity: Self.capacity)
    let (one, three) = (tree.add(weight: 1), tree.add(weight: 1))
    tree.add(to: one, weight: 1, project: "a")
    for project in ["b", "c", "d"] as [ProjectName] { tree.add(to: three, weight: 1, project: project) }
    let groups = ["a", "b", "c", "d"].enumerated().map {
      Self.group(ProjectName($1), Int64($0 + 1), tasks: 50)
    }
    #expect(counts(plan(groups, ProjectTurns(tree: tree), free: 12)) == [1: 6, 2: 2, 3: 2, 4: 2])
    let parts = tree.entitlements()
    #expect(parts[tree.leaf(of: "a")!] == 0.5 && abs(parts[tree.leaf(of: "c")!] - 1.0 / 6) < 1e-12)
  }

  @Test("realtime goes before the others' work whatever the shares are, and counts in them; idle comes after all of it")
  func bands() {
    let groups = [
      Self.group("a", 1, tasks: 2, .realtime), Self.group("a", 2, tasks: 50), Self.group("b", 3, tasks: 6),
      Self.group("b", 4, tasks: 50, .idle),
    ]
    let turns = ProjectTurns(tree: Self.tree(["a": 1, "b": 1], charged: ["a": 20]))
    let placed = plan(groups, turns, free: 8).placements.map(\.task.workflow.number)
    #expect(placed.prefix(2) == [1, 1])
    // With its realtime tasks a has used four tasks more than b, which so gets all six first.
    #expect(placed.dropFirst(2).filter { $0 == 3 }.count >= 5 && !placed.contains(4))
    #expect(counts(plan([groups[2], groups[3]], turns, free: 8)) == [3: 6, 4: 2])
  }

  @Test("One placement of sixteen goes by age, to the projects in rotation, whatever the shares are")
  func aged() {
    let groups = [
      Self.group("new", 1, tasks: 100, .realtime), Self.group("old", 2, tasks: 100), Self.group("poor", 3, tasks: 100),
    ]
    let tree = Self.tree(["new": 1000, "old": 1, "poor": 0.001], charged: ["old": 1e9, "poor": 1e9])
    let plan = plan(groups, ProjectTurns(tree: tree, untilAged: 3, aged: [1, 2]), free: 40)
    let aged = plan.placements.indices.filter { plan.placements[$0].isAged }
    #expect(aged == [3, 19, 35])
    #expect(aged.map { plan.placements[$0].task.workflow.number } == [2, 3, 2])
    #expect(counts(plan) == [1: 37, 2: 2, 3: 1])
  }

  @Test("A gang whose turn it is by age keeps its room from what comes after it (I6)")
  func agedGang() {
    var cluster = Self.cluster(free: 4)
    cluster.releases = [ExpectedRelease(resources: Resources(cpuMillicores: 60_000), end: 5)]
    let groups = [Self.group("a", 1, tasks: 100), Self.group("b", 2, tasks: 1, copies: 8)]
    var snapshot = SchedulingSnapshot(clusters: [cluster], groups: groups)
    let tree = Self.tree(["a": 1000, "b": 1], charged: ["b": 1e6])
    // By shares the gang comes last, and finds its room taken.
    snapshot.turns = ProjectTurns(tree: tree, untilAged: 16, aged: [1])
    #expect(counts(PlacementPlanner().plan(snapshot)) == [1: 4])
    snapshot.turns = ProjectTurns(tree: tree, untilAged: 0, aged: [1])
    snapshot.clusters[0].releases[0].resources.cpuMillicores = 4000
    #expect(PlacementPlanner().plan(snapshot).placements.isEmpty)
  }

  @Test("Inside a project: class, slack, upward rank, age")
  func inside() {
    let groups = [
      Self.group("p", 1, tasks: 1, seconds: 10), Self.group("p", 2, tasks: 1, seconds: 11),
      Self.group("p", 3, tasks: 1, seconds: 10, tail: 100), Self.group("p", 4, tasks: 1, .offline, tail: 1000),
      Self.group("p", 5, tasks: 1, seconds: 10, deadline: 500), Self.group("p", 6, tasks: 1, seconds: 10, deadline: 40),
      Self.group("p", 7, tasks: 1, .idle, deadline: 1), Self.group("p", 8, tasks: 1, .realtime),
    ]
    #expect(TaskOrder.sorted(groups).map(\.key) == [8, 6, 5, 3, 1, 2, 4, 7])
  }

  @Test("The order of many projects is that of their shares, an organisation with its own together")
  func order() {
    var random = SeededGenerator(seed: 7)
    var tree = ShareTree(capacity: Self.capacity)
    let organisations = (0..<5).map { _ in tree.add(weight: Double(random.next(upTo: 9) + 1)) }
    for index in 0..<200 {
      tree.add(
        to: organisations[index % 5], weight: Double(random.next(upTo: 9) + 1), project: ProjectName("p\(index)"),
        charged: ResourceSeconds(cpu: Double(random.next(upTo: 1000))))
    }
    let names = (0..<200).map { ProjectName("p\($0)") }
    let expected = names.sorted {
      let (a, b) = (tree.leaf(of: $0)!, tree.leaf(of: $1)!)
      let (above, below) = (tree.nodes[a].parent!, tree.nodes[b].parent!)
      return (tree.nodes[above].key, above, tree.nodes[a].key, a) < (tree.nodes[below].key, below, tree.nodes[b].key, b)
    }
    #expect(tree.order(of: names) == expected)
  }
}
