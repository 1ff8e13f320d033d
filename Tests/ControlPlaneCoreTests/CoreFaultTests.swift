import ControlPlaneCore
import FederationModel
import Testing
import WorkflowCore

private let fanOut = """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: fan}
  spec:
    entrypoint: main
    templates:
    - name: main
      dag:
        tasks:
        - {name: split, template: work}
        - {name: each, template: work, dependencies: [split], withItems: [1, 2, 3, 4, 5, 6]}
        - {name: join, template: work, depends: "each.Succeeded || each.Failed"}
    - name: work
      retryStrategy: {limit: "2"}
      container: {image: any, command: ["true"]}
  """

@Suite("The core under faults")
struct CoreFaultTests {
  /// Random orders of delivery, lost sessions, repeated events, crashes of the leader with units in flight.
  @Test(
    "I1 and I2: whatever is lost or repeated, no task has two live runs and every accepted workflow ends once",
    arguments: 0..<60)
  func survivesFaults(seed: UInt64) throws {
    var federation = Federation(
      seed: seed, clusters: ["a", "b", "c"],
      configuration: CoreConfiguration(sliceLimit: seed % 2 == 0 ? 64 : 1 + Int(seed % 5)))
    var accepted: [(request: RequestID, name: String)] = []
    for step in 0..<1500 {
      let names = federation.agents.keys.sorted()
      let name = names[federation.random.next(upTo: names.count)]
      switch federation.random.next(upTo: 40) {
      case 0 where accepted.count < 4:
        let workflow = "wf-\(accepted.count)"
        accepted.append((try federation.submit(workflow, fanOut), workflow))
      case 1 where step % 3 == 0: federation.crash()
      case 2: federation.disconnect(name)
      case 3, 4, 5: if federation.agents[name]!.session == nil { federation.connect(name) }
      case 6..<12: federation.plan()
      case 12..<18: federation.send()
      case 18..<24: federation.answer()
      case 24..<30: federation.deliver(name)
      case 30..<35: federation.work(name)
      case 35 where accepted.count == 4 && step % 5 == 0:
        federation.command(.workflow(WorkflowReference(project: "default", name: "wf-3"), .stop(message: "enough")))
      case 36, 37: federation.apply(.proceed)
      default: federation.report(name)
      }
    }
    let ended = federation.runToEnd()
    #expect(ended, "seed \(seed): \(federation.remains)")
    #expect(federation.world.violations.isEmpty, "seed \(seed): \(federation.world.violations)")
    for (request, name) in accepted {
      guard case .success(.submitted)? = federation.replies[request] else { continue }
      #expect(
        federation.database.workflows.values.contains { $0.name == name && $0.status.phase.isTerminal },
        "seed \(seed): \(name) was acknowledged and is not there")
    }
    for run in federation.database.runs.values {
      #expect(run.phase.isTerminal, "seed \(seed): run \(run.id) has no end")
    }
  }

  @Test("What is restored from the database behaves as what wrote it", arguments: 0..<20)
  func restoresEqually(seed: UInt64) throws {
    var federation = Federation(seed: seed, clusters: ["a", "b"])
    _ = try federation.submit("wf", fanOut)
    for _ in 0..<federation.random.next(upTo: 60) {
      federation.plan()
      federation.settle()
      for name in ["a", "b"] as [ClusterName] {
        federation.deliver(name)
        federation.work(name)
        federation.report(name)
      }
      federation.settle()
    }
    let before = federation.database
    federation.crash()
    federation.settle()
    #expect(federation.database.workflows == before.workflows, "seed \(seed)")
    #expect(federation.database.nodes == before.nodes, "seed \(seed)")
    #expect(federation.database.runs == before.runs, "seed \(seed)")
    let isOver1 = federation.runToEnd()
    #expect(isOver1, "seed \(seed): \(federation.remains)")
    #expect(federation.world.violations.isEmpty, "seed \(seed): \(federation.world.violations)")
  }

  @Test(
    "I2: a fan-out is worked off in bounded units, and a crash between them neither loses nor doubles a node",
    arguments: 0..<12)
  func slicesSurviveCrashes(seed: UInt64) throws {
    let limit = 16 + Int(seed)
    var federation = Federation(
      seed: seed, clusters: ["a", "b"], configuration: CoreConfiguration(sliceLimit: limit))
    let loop = ["withItems: [\((0..<400).map(String.init).joined(separator: ", "))]", "withSequence: {count: \"400\"}"]
    let request = try federation.submit(
      "wide",
      fanOut.replacing("withItems: [1, 2, 3, 4, 5, 6]", with: loop[Int(seed % 2)]).replacing(
        "name: main", with: "name: main\n    parallelism: 30", maxReplacements: seed % 3 == 0 ? 1 : 0))
    federation.settle()
    guard case .success? = federation.replies[request] else {
      Issue.record("seed \(seed): refused: \(String(describing: federation.replies[request]))")
      return
    }
    for _ in 0..<4000 where !federation.database.workflows.values.allSatisfy({ $0.status.phase.isTerminal }) {
      let name: ClusterName = federation.random.next(upTo: 2) == 0 ? "a" : "b"
      switch federation.random.next(upTo: 30) {
      case 0 where federation.random.next(upTo: 4) == 0:
        federation.crash()
        for name in ["a", "b"] as [ClusterName] { federation.connect(name) }
      case 1..<4: federation.plan()
      case 4..<12: federation.apply(.proceed)
      case 12..<16: federation.deliver(name)
      case 16..<22: federation.work(name)
      case 22..<26: federation.report(name)
      default: break
      }
      let before = federation.inFlight.count
      federation.send()
      if let unit = federation.inFlight.last, federation.inFlight.count > before {
        // A slice touches `limit` nodes, an end of each task another one or two around it.
        #expect(unit.delta.nodes.count <= 3 * limit + 8, "seed \(seed): a unit of \(unit.delta.nodes.count) nodes")
      }
      federation.answer()
    }
    let ended = federation.runToEnd()
    #expect(ended, "seed \(seed): \(federation.remains)")
    #expect(federation.world.violations.isEmpty, "seed \(seed): \(federation.world.violations)")
    let items = federation.database.nodes.values.filter { $0.name.hasPrefix("wide.each(") && $0.type == .retry }
    #expect(Set(items.map(\.item)) == Set(0..<400), "seed \(seed)")
    #expect(items.count == 400, "seed \(seed): \(items.count) nodes for 400 items")
  }

  @Test(
    "A restored database adopts agents that saw more, and recovers on request, without a second live run (I1)",
    arguments: 0..<20)
  func adoptsAfterRestore(seed: UInt64) throws {
    var federation = Federation(seed: seed, clusters: ["a", "b"])
    _ = try federation.submit("wf", fanOut)
    federation.settle()
    let backup = federation.database
    for _ in 0..<8 {
      federation.plan()
      federation.settle()
      for name in ["a", "b"] as [ClusterName] {
        while !federation.agents[name]!.inbox.isEmpty { federation.deliver(name) }
        federation.work(name)
        federation.report(name)
      }
      federation.settle()
    }
    federation.crash()
    federation.database = backup
    federation.core = ControlPlaneCore(
      state: backup.load(), position: CommitPosition(term: backup.sequence, sequence: backup.sequence), incarnation: 77)
    for name in ["a", "b"] as [ClusterName] { federation.connect(name) }
    federation.settle()
    #expect(federation.database.clusters.values.allSatisfy { $0.isAdopting }, "seed \(seed)")
    federation.plan()
    federation.settle()
    #expect(federation.database.runs == backup.runs, "seed \(seed): nothing is dispatched while adopting")
    let request = federation.command(.recover(nil))
    federation.settle()
    guard case .success? = federation.replies[request] else {
      Issue.record("seed \(seed): recover was refused: \(String(describing: federation.replies[request]))")
      return
    }
    let isOver2 = federation.runToEnd()
    #expect(isOver2, "seed \(seed): \(federation.remains)")
  }
}
