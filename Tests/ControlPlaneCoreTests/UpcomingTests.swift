import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

@Suite("Tasks that are looked ahead to")
struct UpcomingTests {
  private static let made = StoredArtifact(
    key: "ahead/out.tgz", size: .gibibytes(1), sha256: String(repeating: "ab", count: 32), archive: .tar)

  /// The agent of `a` tells of its newest run, and a pass follows.
  private func tell(_ federation: inout Federation, _ phase: RunPhase, _ outcome: TaskOutcome? = nil) throws {
    let run = try #require(federation.agents["a"]!.runs.keys.sorted().last)
    federation.agents["a"]!.sequence += 1
    federation.apply(
      .agentEvents(
        "a", federation.agents["a"]!.session!,
        [
          AgentEvent(
            sequence: federation.agents["a"]!.sequence, run: run, phase: phase, at: .epoch, outcome: outcome)
        ]))
    pass(&federation)
  }

  private func pass(_ federation: inout Federation) {
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliverAll()
  }

  @Test(
    "What a task reads is brought to where it will go once it only waits for runs, and nothing is bound for it (I5)")
  func bringsAhead() throws {
    var federation = Federation.withCaches(["a", "b"], labels: ["a": ["role": "make"], "b": ["role": "use"]])
    _ = try federation.submit("ahead", chain(name: "ahead", checkOn: "make"))
    pass(&federation)
    try tell(
      &federation, .succeeded,
      TaskOutcome(phase: .succeeded, exitCode: 0, outputs: TaskOutputs(artifacts: ["out": Self.made])))
    #expect(federation.database.runs.count == 2)
    #expect(federation.agents["b"]!.orders.stage.isEmpty, "the task before it does not run yet")
    try tell(&federation, .running)
    #expect(federation.agents["b"]!.orders.stage.map(\.key) == [DataKey(sha256: Self.made.sha256)])
    #expect(federation.database.transfers.values.map(\.cause) == [.speculation])
    #expect(federation.database.runs.values.allSatisfy { $0.cluster == "a" })
    pass(&federation)
    #expect(federation.database.transfers.count == 1, "it is wanted once")
  }
}
