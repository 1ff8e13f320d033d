import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

@Suite("When outputs go from the repository: artifactGC")
struct ArtifactGCTests {
  private let made = StoredArtifact(
    key: "chain/out.tgz", size: .mebibytes(64), sha256: String(repeating: "fe", count: 32), archive: .tar,
    isUnstored: true)
  private var key: DataKey { DataKey(sha256: made.sha256) }

  private func document(_ workflow: String?, _ artifact: String?, memoize: String = "") -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: chain}
    spec:
      entrypoint: main
      artifactGC: {\(workflow.map { "strategy: \($0)" } ?? "")}
      templates:
      - name: main
        \(memoize)
        container: {image: any, command: ["true"]}
        outputs: {artifacts: [{name: out, path: /out, artifactGC: {\(artifact.map { "strategy: \($0)" } ?? "")}}]}
    """
  }

  /// The workflow's only task has ended with an output of 64 MiB in the cache of `a` alone.
  private func finished(_ document: String) throws -> Federation {
    var federation = Federation.withCaches(["a"])
    _ = try federation.submit("chain", document)
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let run = try #require(federation.agents["a"]!.runs.keys.first)
    federation.apply(
      .agentEvents(
        "a", federation.agents["a"]!.session!,
        [
          AgentEvent(
            sequence: 10, run: run, phase: .succeeded, at: .epoch,
            outcome: TaskOutcome(phase: .succeeded, exitCode: 0, outputs: TaskOutputs(artifacts: ["out": made])))
        ]))
    federation.settle()
    federation.deliverAll()
    return federation
  }

  @Test(
    "OnWorkflowCompletion, of the workflow or of the artifact itself: with the end nobody copies it, and its cache lets go of it",
    arguments: [("OnWorkflowCompletion", nil), ("Never", "OnWorkflowCompletion"), (nil, "OnWorkflowCompletion")]
      as [(String?, String?)])
  func completion(_ workflow: String?, _ artifact: String?) throws {
    let federation = try finished(document(workflow, artifact))
    #expect(federation.database.workflows.values.map(\.status.phase) == [.succeeded])
    #expect(federation.database.artifacts.values.map(\.collection) == [.onWorkflowCompletion])
    #expect(federation.database.artifacts.values.allSatisfy { $0.stored.isUnstored != true })
    #expect(federation.agents["a"]!.orders.store.isEmpty)
    #expect(federation.agents["a"]!.orders.evict == [key])
    #expect(federation.core.unstoredHolder(of: made.key, in: "default") == nil)
  }

  @Test(
    "What goes with the end of its workflow is not remembered, which its history says; all else is",
    arguments: [("OnWorkflowCompletion", false), ("OnWorkflowDeletion", true), (nil, true)] as [(String?, Bool)])
  func memoized(_ strategy: String?, _ isKept: Bool) throws {
    let federation = try finished(
      document(strategy, nil, memoize: "memoize: {key: k, cache: {configMap: {name: store}}}"))
    #expect(federation.database.workflows.values.map(\.status.phase) == [.succeeded])
    let name = MemoName(project: "default", cache: "store", key: "k")
    #expect((federation.database.memos[name]?.outputs.artifacts["out"] != nil) == isKept)
    #expect(federation.database.events.contains { $0.reason == "NotMemoized" } == !isKept)
  }

  @Test(
    "Any other strategy, and none: what a workflow hands out is copied when it is over",
    arguments: [
      (nil, nil, nil), ("OnWorkflowDeletion", nil, .onWorkflowDeletion),
      ("OnWorkflowCompletion", "OnWorkflowDeletion", .onWorkflowDeletion),
    ] as [(String?, String?, ArtifactGCStrategy?)])
  func deletion(_ workflow: String?, _ artifact: String?, _ expected: ArtifactGCStrategy?) throws {
    let federation = try finished(document(workflow, artifact))
    #expect(federation.database.artifacts.values.map(\.collection) == [expected])
    #expect(federation.agents["a"]!.orders.evict.isEmpty)
    #expect(federation.core.unstoredHolder(of: made.key, in: "default") == "a")
  }

  @Test("Never: it is stored before its run ends, because it outlives its workflow")
  func never() throws {
    for (strategy, mayStay) in [("Never", nil), ("OnWorkflowDeletion", true)] as [(String, Bool?)] {
      var federation = Federation.withCaches(["a"])
      _ = try federation.submit("chain", document(nil, strategy))
      federation.settle()
      federation.plan()
      federation.settle()
      federation.deliverAll()
      let run = try #require(federation.agents["a"]!.runs.values.first)
      #expect(run.assignment.spec.outputArtifacts.map(\.mayStayUnstored) == [mayStay], "\(strategy)")
    }
  }
}
