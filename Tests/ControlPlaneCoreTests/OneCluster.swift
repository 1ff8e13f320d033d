import ControlPlaneCore
import FederationModel
import SchedulerCore

/// Steps of federations whose one cluster is `a`, each carried through to its agent.
extension Federation {
  mutating func deliverHere() {
    while agents["a"]?.inbox.isEmpty == false { deliver("a") }
  }

  mutating func planHere() {
    plan()
    settle()
    deliverHere()
  }

  mutating func tickHere(seconds: Int64 = 1) {
    clock = clock + .seconds(seconds)
    apply(.tick(silence: [:]))
    settle()
    planHere()
  }

  /// What is on the agent and is not running begins to.
  mutating func startHere() {
    for id in agents["a"]!.runs.keys.sorted() where agents["a"]!.runs[id]!.phase == .dispatched {
      agents["a"]!.step(id, using: &random, world: &world)
    }
    report("a")
    settle()
  }

  /// The agent ends a run and says so.
  ///
  /// - Parameter seconds: for how long it was running.
  mutating func endHere(_ run: RunID, _ outcome: TaskOutcome, seconds: Int64 = 36) {
    agents["a"]!.sequence += 1
    agents["a"]!.runs[run]!.phase = outcome.phase
    world.ended(run)
    let event = AgentEvent(
      sequence: agents["a"]!.sequence, run: run, phase: outcome.phase, at: .epoch, outcome: outcome,
      usage: RunUsage(wallMilliseconds: seconds * 1000))
    apply(.agentEvents("a", agents["a"]!.session!, [event]))
    settle()
    deliverHere()
  }

  /// Runs that were asked to leave and have not left.
  var leavingHere: [RunID] {
    agents["a"]!.runs.filter { $0.value.isCancelWanted && !$0.value.phase.isTerminal }.keys.sorted()
  }
}
