import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

@Suite("Guarantees, borrowing and reserved clusters")
struct GuaranteeTests {
  /// A cluster of four slots, and projects with guarantees of so many runs.
  private func federation(_ guarantees: [ProjectName: Int64], clusters: [String] = ["a"]) -> Federation {
    var federation = Federation(seed: 9, clusters: clusters)
    for (name, runs) in guarantees.sorted(by: { $0.key < $1.key }) {
      federation.command(.project(name, .create(description: "")))
      if runs > 0 {
        federation.command(.project(name, .setLimits(ProjectLimits(guarantee: ResourceQuota(runs: runs)))))
      }
    }
    federation.settle()
    return federation
  }

  private func submit(
    _ project: ProjectName, _ priorityClass: String, _ count: Int, _ federation: inout Federation
  ) throws {
    let name = "w\(federation.lastRequest)"
    federation.command(
      .submit(
        Submission(
          definition: try Federation.definition(classTasks(priorityClass, count)), project: project, name: name,
          uid: "uid-\(name)")))
    federation.settle()
    step(&federation)
  }

  private func step(_ federation: inout Federation) {
    federation.clock = federation.clock + .seconds(1)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    federation.plan()
    federation.settle()
    for name in federation.agents.keys.sorted() {
      while !federation.agents[name]!.inbox.isEmpty { federation.deliver(name) }
      for id in federation.agents[name]!.runs.filter({ $0.value.phase == .dispatched }).keys.sorted() {
        federation.agents[name]!.step(id, using: &federation.random, world: &federation.world)
      }
      federation.report(name)
    }
    federation.settle()
  }

  /// Live runs of a project, those that leave left out.
  private func staying(_ project: ProjectName, _ federation: Federation) -> Int {
    let ids = Set(federation.database.workflows.values.filter { $0.project == project }.map(\.id))
    return federation.database.runs.values.count {
      ids.contains($0.task.workflow) && !$0.phase.isTerminal && $0.cancelReason == nil
    }
  }

  @Test(
    "A project within its guarantee takes back from who borrows, whatever the classes but realtime",
    arguments: ["interruptible", "offline", "idle"], ["interruptible", "offline", "idle"])
  func reclaims(own: String, borrowed: String) throws {
    var federation = federation(["own": 2, "other": 0])
    try submit("other", borrowed, 4, &federation)
    #expect(staying("other", federation) == 4)
    try submit("own", own, 4, &federation)
    for _ in 0..<5 { step(&federation) }
    // Two are guaranteed; beyond that classes decide.
    let isHigher = PriorityClass(rawValue: own)! < PriorityClass(rawValue: borrowed)! && own == "interruptible"
    #expect(staying("other", federation) == (isHigher ? 0 : 2), "\(own) \(borrowed)")
  }

  @Test("Realtime work is not sent away for a guarantee")
  func realtime() throws {
    var federation = federation(["own": 2, "other": 0])
    try submit("other", "realtime", 4, &federation)
    try submit("own", "interruptible", 2, &federation)
    for _ in 0..<5 { step(&federation) }
    #expect(staying("other", federation) == 4)
  }

  @Test("No class takes from a project what is guaranteed to it")
  func neverAcross() throws {
    var federation = federation(["own": 3, "other": 0])
    try submit("own", "idle", 4, &federation)
    #expect(staying("own", federation) == 4)
    try submit("other", "realtime", 4, &federation)
    for _ in 0..<5 { step(&federation) }
    #expect(staying("own", federation) == 3, "one was borrowed")
  }

  @Test("Two projects within their guarantees leave each other alone")
  func both() throws {
    var federation = federation(["own": 2, "other": 2])
    try submit("own", "idle", 4, &federation)
    try submit("other", "offline", 4, &federation)
    for _ in 0..<5 { step(&federation) }
    #expect(staying("own", federation) == 2)
  }

  @Test("What is borrowed is bounded, and the reason says so (I10)")
  func borrowLimit() throws {
    var federation = federation(["own": 0])
    federation.command(
      .project(
        "own", .setLimits(ProjectLimits(guarantee: ResourceQuota(runs: 1), borrowLimit: ResourceQuota(runs: 1)))))
    federation.settle()
    try submit("own", "offline", 4, &federation)
    for _ in 0..<3 { step(&federation) }
    #expect(staying("own", federation) == 2)
    let name = try #require(federation.database.workflows.values.first?.name)
    let reason =
      federation.core.reasons(
        in: WorkflowReference(project: "own", name: name), of: (0..<8).map { NodeID(Int32($0)) }
      ).values.first { $0.contains("borrow") } ?? ""
    #expect(reason.contains("--borrow-limit"), "\(reason)")
  }

  @Test("A reserved cluster takes its projects' work alone, and does not say whose it is")
  func reserved() throws {
    var federation = federation(["own": 0, "other": 0], clusters: ["a", "b"])
    federation.command(.updateCluster(ClusterSpec(name: "a", kind: .process, labels: ["pool": "gold"])))
    federation.command(.project("own", .setLimits(ProjectLimits(reserves: ["pool": "gold"]))))
    federation.settle()
    try submit("other", "realtime", 8, &federation)
    for _ in 0..<3 { step(&federation) }
    #expect(federation.database.runs.values.allSatisfy { $0.cluster == "b" } && federation.database.runs.count == 4)
    let name = try #require(federation.database.workflows.values.first?.name)
    let reasons = federation.core.reasons(
      in: WorkflowReference(project: "other", name: name), of: (0..<10).map { NodeID(Int32($0)) }
    ).values.joined()
    #expect(
      reasons.contains("a: the cluster is reserved to other projects") && !reasons.contains("project own"), "\(reasons)"
    )
    try submit("own", "idle", 4, &federation)
    #expect(federation.database.runs.values.count { $0.cluster == "a" } == 4)
  }
}
