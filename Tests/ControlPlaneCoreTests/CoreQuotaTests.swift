import ControlPlaneCore
import FederationModel
import Foundation
import SchedulerCore
import Testing
import WorkflowCore

/// Twelve tasks of a core each.
private let fan = """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: fan}
  spec:
    entrypoint: main
    templates:
    - name: main
      steps: [[{name: s, template: one, withSequence: {count: "12"}}]]
    - name: one
      retryStrategy: {limit: "9"}
      container: {image: any, command: ["true"], resources: {requests: {cpu: "1"}}}
  """

private let one = """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: one}
  spec:
    entrypoint: main
    templates:
    - name: main
      container: {image: any, command: ["true"], resources: {requests: {cpu: "4"}}}
  """

@Suite("Quotas in the core")
struct CoreQuotaTests {
  private static let weather = Weather([
    .crash: 1, .disconnect: 1, .connect: 4, .plan: 6, .deliver: 5, .work: 5, .report: 4,
    .proceed: 4, .send: 5, .answer: 5,
  ])

  private func limit(_ limits: ProjectLimits) -> Command { .project("default", .setLimits(limits)) }

  private func federation(seed: UInt64 = 1, _ limits: ProjectLimits) -> Federation {
    var federation = Federation(seed: seed, clusters: ["a", "b"])
    federation.command(limit(limits))
    federation.settle()
    return federation
  }

  /// What the only waiting node says.
  private func reason(_ federation: Federation, _ name: String) -> String {
    federation.core.standstill(of: WorkflowReference(project: "default", name: name))?.reason ?? ""
  }

  @Test(
    "A quota holds at every commit, through crashes of the leader and lost sessions, and everything runs in the end",
    arguments: 0..<12)
  func holds(seed: UInt64) throws {
    var federation = federation(
      seed: seed,
      ProjectLimits(overall: ResourceQuota(cpuMillicores: 3000), clusters: ["a": ResourceQuota(runs: 1)]))
    _ = try federation.submit("fan", fan)
    federation.settle()
    for step in 0..<300 {
      let name: ClusterName = ["a", "b"][federation.random.next(upTo: 2)]
      federation.blow(Self.weather, at: name)
      let live = federation.database.runs.values.filter { !$0.phase.isTerminal }
      let cores = live.reduce(0) { $0 + $1.resources.cpuMillicores }
      let onA = live.count { $0.cluster == "a" }
      #expect(cores <= 3000 && onA <= 1, "seed \(seed), step \(step): \(cores) millicores, \(onA) on a")
    }
    let isOver = federation.runToEnd()
    #expect(isOver, "seed \(seed): \(federation.remains)")
    #expect(federation.core.resourceUse(of: "default").overall == ResourceUse(), "seed \(seed)")
  }

  struct Example: Sendable {
    var limits: ProjectLimits
    var says: String
    init(_ limits: ProjectLimits, _ says: String) { (self.limits, self.says) = (limits, says) }
  }

  @Test(
    "I10: what a project may not use is said for each cluster, with who can allow it",
    arguments: [
      Example(
        ProjectLimits(overall: ResourceQuota(cpuMillicores: 2000)),
        "it asks for 4 cores, and project default may use 2; an administrator can allow more"),
      Example(
        ProjectLimits(clusters: ["a": ResourceQuota(runs: 0), "b": ResourceQuota(cpuMillicores: 500)]),
        "project default may use 0.5 on b; an administrator can allow more: fubini project quota set default --cluster b"
      ),
      Example(ProjectLimits(allowedClusters: ["elsewhere"]), "project default may not use this cluster"),
      Example(
        ProjectLimits(allowedClasses: [.offline, .idle]),
        "project default may not use priority class interruptible, but offline, idle"),
      Example(
        ProjectLimits(residency: ["region": "eu"]),
        "the data of project default may only be on clusters with region=eu"),
    ])
  func reasons(_ example: Example) throws {
    var federation = federation(example.limits)
    _ = try federation.submit("one", one)
    federation.settle()
    federation.plan()
    federation.settle()
    let reason = reason(federation, "one")
    #expect(reason.contains(example.says), "\(reason)")
    #expect(federation.database.runs.isEmpty)
    // Lifted, it is placed by the next pass.
    federation.command(limit(ProjectLimits()))
    let isOver = federation.runToEnd()
    #expect(isOver)
  }

  /// One cluster whose namespace has a quota.
  private func cluster(_ quotas: [ProjectName: ResourceQuota]) -> Federation {
    var federation = Federation(seed: 1, clusters: ["a"])
    federation.agents["a"]!.quotas = quotas
    federation.disconnect("a")
    federation.connect("a")
    federation.settle()
    return federation
  }

  @Test("A namespace's quota is not exceeded, by several tasks of one pass either, and what waits for it says so")
  func namespaceQuota() throws {
    // Others have the rest of it.
    var federation = cluster(["default": ResourceQuota(cpuMillicores: 2500), "other": ResourceQuota(runs: 0)])
    _ = try federation.submit("fan", fan)
    federation.settle()
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 2)
    let workflow = try #require(federation.database.workflows.values.first)
    let reference = WorkflowReference(project: "default", name: workflow.name)
    let reasons = federation.core.reasons(in: reference, of: (0..<60).map { NodeID($0) }).values
    #expect(
      reasons.contains {
        $0.contains(
          "the quota of its namespace leaves project default 2.5 cores, of which its runs have 2, and this asks for 1")
      }, "\(reasons)")
    let isOver = federation.runToEnd()
    #expect(isOver, "\(federation.remains)")
  }

  @Test("What a namespace's quota never allows is said at once; when others make room it is placed")
  func namespaceTooSmall() throws {
    // Of every project's.
    var federation = cluster(["": ResourceQuota(cpuMillicores: 3000)])
    _ = try federation.submit("one", one)
    federation.settle()
    federation.plan()
    federation.settle()
    let reason = reason(federation, "one")
    #expect(
      reason.contains("it asks for 4 cores, and the quota of its namespace leaves project default 3"), "\(reason)")
    federation.agents["a"]!.quotas = ["": ResourceQuota(cpuMillicores: 4000)]
    let agent = federation.agents["a"]!
    federation.apply(.inventoryChanged("a", try #require(agent.session), agent.inventory))
    federation.settle()
    let isOver = federation.runToEnd()
    #expect(isOver, "\(federation.remains)")
  }

  @Test("What waits for runs of its project to end is told what they use")
  func waiting() throws {
    var federation = federation(ProjectLimits(overall: ResourceQuota(runs: 1)))
    _ = try federation.submit("fan", fan)
    federation.settle()
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 1)
    #expect(federation.core.resourceUse(of: "default").overall.runs == 1)
    let workflow = try #require(federation.database.workflows.values.first)
    let reference = WorkflowReference(project: "default", name: workflow.name)
    let nodes = (0..<60).map { NodeID($0) }
    let reasons = federation.core.reasons(in: reference, of: nodes).values
    #expect(
      reasons.contains { $0.contains("uses 1 of its 1 runs, and this asks for 1: it waits for runs to end") },
      "\(reasons)")
  }

  @Test("Data sets stay within the project's storage and, where they say nothing else, where its data may be")
  func data() throws {
    var federation = federation(ProjectLimits(storageBytes: 100, residency: ["region": "eu"]))
    let reference = DatasetReference(project: "default", name: "d")
    federation.command(.dataset(reference, .create(DatasetSpec(project: "default", name: "d"))))
    let manifest = StoredArtifact(
      key: "m", size: ByteCount(10), sha256: String(repeating: "0", count: 64), archive: .none)
    func add(_ size: Int64) -> Command {
      .dataset(reference, .addVersion(.uploaded(manifest: manifest, files: 1, size: ByteCount(size))))
    }
    federation.command(add(60))
    federation.command(add(60))
    federation.command(add(40))
    federation.settle()
    #expect(federation.database.datasets[reference]?.spec.allowedClusters == ["region": "eu"])
    #expect(federation.database.versions.values.map(\.size.bytes).sorted() == [40, 60])
  }

  @Test("Limits that make no sense are refused")
  func nonsense() throws {
    for limits in [
      ProjectLimits(overall: ResourceQuota(runs: -1)), ProjectLimits(storageBytes: -1),
      ProjectLimits(clusters: ["A b": ResourceQuota()]), ProjectLimits(residency: ["": "x"]),
    ] { #expect(limits.problem != nil) }
    // What an earlier release wrote.
    #expect(try JSONDecoder().decode(ProjectLimits.self, from: Data("{}".utf8)) == ProjectLimits())
  }
}
