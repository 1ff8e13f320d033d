import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

@Suite("Runs that stall in a cluster's queue")
struct ReplanningTests {
  /// A run that waits in the queue of `batch`; `edge` is closed until it is opened.
  private func queued() throws -> (Federation, RunID) {
    var federation = Federation(seed: 5, clusters: ["batch", "edge"])
    federation.disconnect("batch")
    federation.agents["batch"]!.queues = true
    federation.connect("batch")
    federation.command(.cordon("edge", reason: "not yet"))
    _ = try federation.submit("one", single)
    federation.settle()
    federation.plan()
    federation.settle()
    while !federation.agents["batch"]!.inbox.isEmpty { federation.deliver("batch") }
    let run = try #require(federation.agents["batch"]!.runs.keys.first)
    tell(&federation, run, .queued)
    return (federation, run)
  }

  private func tell(_ federation: inout Federation, _ run: RunID, _ phase: RunPhase) {
    federation.agents["batch"]!.sequence += 10
    federation.agents["batch"]!.runs[run]!.phase = phase
    let outcome = phase.isTerminal ? TaskOutcome(phase: phase, message: "as asked") : nil
    federation.apply(
      .agentEvents(
        "batch", federation.agents["batch"]!.session!,
        [
          AgentEvent(
            sequence: federation.agents["batch"]!.sequence, run: run, phase: phase, at: .epoch, outcome: outcome)
        ]))
    federation.settle()
  }

  private func tellInventory(
    of cluster: ClusterName, to federation: inout Federation, _ change: (inout SimulatedAgent) -> Void
  ) {
    change(&federation.agents[cluster]!)
    let agent = federation.agents[cluster]!
    federation.apply(.inventoryChanged(cluster, agent.session!, agent.inventory))
    federation.settle()
  }

  private func wait(_ federation: inout Federation, seconds: Int64) {
    federation.clock = federation.clock + .seconds(seconds)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    for name in federation.agents.keys.sorted() {
      while federation.agents[name]?.inbox.isEmpty == false { federation.deliver(name) }
    }
  }

  @Test(
    "One goes elsewhere when another cluster would start it now, after its end there is confirmed (I1)",
    arguments: [false, true])
  func moves(isRebuilt: Bool) throws {
    var (federation, run) = try queued()
    wait(&federation, seconds: 700)
    #expect(federation.agents["batch"]!.runs[run]!.isCancelWanted == false, "nobody else would take it")
    federation.command(.cordon("edge", reason: nil))
    federation.settle()
    wait(&federation, seconds: 1)
    #expect(federation.agents["batch"]!.runs[run]!.isCancelWanted)
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 1, "placed anew before the old run had ended")
    if isRebuilt {
      federation.crash()
      federation.connect("batch")
      federation.connect("edge")
      federation.settle()
    }
    tell(&federation, run, .cancelled)
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.values.map(\.epoch).sorted() == [1, 2])
    if !isRebuilt { #expect(federation.database.runs.values.contains { $0.epoch == 2 && $0.cluster == "edge" }) }
  }

  @Test("One that starts before it could be cancelled goes on, and nothing is run twice (I1)")
  func startsAfterAll() throws {
    var (federation, run) = try queued()
    federation.command(.cordon("edge", reason: nil))
    federation.settle()
    wait(&federation, seconds: 700)
    #expect(federation.agents["batch"]!.runs[run]!.isCancelWanted)
    tell(&federation, run, .running)
    tell(&federation, run, .succeeded)
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 1)
    #expect(federation.database.workflows.values.map(\.status.phase) == [.succeeded])
  }

  @Test("One is left where it is while it has not waited for long")
  func hasPatience() throws {
    var (federation, run) = try queued()
    federation.command(.cordon("edge", reason: nil))
    federation.settle()
    wait(&federation, seconds: 300)
    #expect(federation.agents["batch"]!.runs[run]!.isCancelWanted == false)
  }

  @Test(
    "A cluster whose own scheduler does not answer gets nothing, says why, and what waits there goes elsewhere (I1, I10)"
  )
  func shut() throws {
    var (federation, run) = try queued()
    federation.command(.cordon("edge", reason: nil))
    federation.settle()
    tellInventory(of: "batch", to: &federation) { $0.closed = "Slurm does not answer" }
    #expect(federation.core.clusterStatuses()["batch"]?.closedBecause == "Slurm does not answer")
    wait(&federation, seconds: 1)
    wait(&federation, seconds: 40)
    #expect(federation.agents["batch"]!.runs[run]!.isCancelWanted)
    tell(&federation, run, .cancelled)
    _ = try federation.submit("two", single.replacing("name: one", with: "name: two"))
    federation.plan()
    federation.settle()
    let later = federation.database.runs.values.filter { $0.id != run }
    #expect(later.count == 2 && later.allSatisfy { $0.cluster == "edge" }, "\(later)")
    tellInventory(of: "batch", to: &federation) { $0.closed = nil }
    #expect(federation.core.clusterStatuses()["batch"]?.closedBecause == "")
  }

  @Test("A cluster's own scheduler that is silent for a moment keeps what has waited there for long")
  func shutForAMoment() throws {
    var (federation, run) = try queued()
    federation.command(.cordon("edge", reason: nil))
    federation.settle()
    wait(&federation, seconds: 500)
    for _ in 0..<3 {
      tellInventory(of: "batch", to: &federation) { $0.closed = "Slurm does not answer" }
      wait(&federation, seconds: 1)
      wait(&federation, seconds: 20)
      tellInventory(of: "batch", to: &federation) { $0.closed = nil }
      wait(&federation, seconds: 1)
    }
    #expect(!federation.agents["batch"]!.runs[run]!.isCancelWanted)
  }

  @Test("A cluster whose agent runs work in another way than was declared gets none (I10)")
  func mismatch() throws {
    var federation = Federation(seed: 5, clusters: ["edge"])
    tellInventory(of: "edge", to: &federation) { $0.executor = "slurm" }
    let reason = try #require(federation.core.clusterStatuses()["edge"]?.closedBecause)
    #expect(reason.contains("declared as process") && reason.contains("executor: slurm"), "\(reason)")
    _ = try federation.submit("one", single)
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.isEmpty)
    tellInventory(of: "edge", to: &federation) { $0.executor = "process" }
    federation.plan()
    federation.settle()
    #expect(federation.database.runs.count == 1)
  }
}
