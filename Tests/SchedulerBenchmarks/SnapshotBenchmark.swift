import ArgumentParser
import ControlPlaneCore
import FederationModel
import SchedulerCore
import WorkflowCore

/// What the leader's loop pays for a placement pass, and what the pass itself takes, however many different tasks wait.
struct SnapshotBenchmark: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot", abstract: "Measures the leader's snapshots and passes over groups that all differ.")

  @Option(help: "Groups of waiting tasks.")
  var groups = 10_000
  @Option(help: "Clusters.")
  var clusters = 100
  @Option(help: "Passes.")
  var passes = 100
  @Option(help: "Tasks of the dag whose tails are computed.")
  var dag = 20_000

  func run() throws {
    var (core, submitted) = try waiting()
    var (snapshots, plans): ([Double], [Double]) = ([], [])
    var seen = 0
    for pass in 0..<passes {
      // A tick lets the core look at all of them again.
      core.apply(.tick(silence: [:]), at: submitted + .seconds(Int64(pass * 10)))
      var snapshot: SchedulingSnapshot?
      snapshots.append(Self.milliseconds { snapshot = core.takeSnapshot() })
      guard let snapshot else { throw ValidationError("the core took no snapshot") }
      seen = max(seen, snapshot.groups.count)
      plans.append(Self.milliseconds { _ = PlacementPlanner().plan(snapshot) })
    }
    print("\(groups) groups on \(clusters) clusters: a snapshot of \(seen) of them \(Self.summary(snapshots))")
    print("the pass over it, outside the loop: \(Self.summary(plans))")
    let program = try WorkflowProgram(WorkflowDefinition.decode(Array(Self.dag(dag).utf8)))
    let tails = (0..<20).map { _ in Self.milliseconds { _ = WorkflowTails(program) { _, _ in 1 } } }
    print("tails of a dag of \(dag) tasks: \(Self.summary(tails))")
  }

  /// A core whose clusters have room for nothing that waits, and that so has to look at everything in turn.
  private func waiting() throws -> (ControlPlaneCore, Timestamp) {
    let start = Timestamp(milliseconds: 1_700_000_000_000)
    var state = DurableState(now: start)
    state.projects = [ProjectRow(name: "bench", createdAt: start)]
    var core = ControlPlaneCore(
      state: state, position: CommitPosition(term: 1, sequence: 0), incarnation: 1)
    let principal = Principal(user: "bench")
    for index in 0..<clusters {
      let name = ClusterName("c\(index)")
      core.apply(
        .command(
          .createCluster(ClusterSpec(name: name, kind: .process)), request: RequestID(Int64(index)),
          principal: principal, idempotency: nil), at: start)
      let inventory = ClusterInventory(
        capacity: Resources(cpuMillicores: 64_000, memory: .gibibytes(64)), slots: 64,
        images: [ImageRule(pattern: "*", runsAs: "host")])
      core.apply(
        .agentConnected(
          name, SessionID(Int64(index + 1)),
          AgentHello(
            journal: "j\(index)", lastSequence: 0, highestSeen: CommitPosition(term: 0, sequence: 0), runs: [:],
            inventory: inventory, protocolVersion: 1)), at: start)
    }
    let definition = try WorkflowDefinition.decode(Array(Self.fan(groups).utf8))
    core.apply(
      .command(
        .submit(Submission(definition: definition, project: "bench", name: "fan", uid: "u")),
        request: RequestID(Int64(clusters)), principal: principal, idempotency: nil), at: start)
    while core.isUnfinished { core.apply(.proceed, at: start) }
    _ = core.takeOutput()
    return (core, start)
  }

  /// Each item asks for a label that no cluster has, and so is a group of its own.
  private static func fan(_ count: Int) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: fan}
    spec:
      entrypoint: main
      templates:
      - name: main
        steps:
        - - name: each
            template: work
            withSequence: {count: "\(count)"}
            arguments: {parameters: [{name: item, value: "{{item}}"}]}
      - name: work
        inputs: {parameters: [{name: item}]}
        nodeSelector: {item: "{{inputs.parameters.item}}"}
        container: {image: any, command: ["true"]}
    """
  }

  private static func dag(_ count: Int) -> String {
    let tasks = (0..<count).map { "      - {name: t\($0), template: work\($0 < 100 ? "" : ", depends: t\($0 - 100)")}" }
    return """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: dag}
      spec:
        entrypoint: main
        templates:
        - name: main
          dag:
            tasks:
      \(tasks.map { "  \($0)" }.joined(separator: "\n"))
        - name: work
          container: {image: any, command: ["true"]}
      """
  }

  private static func milliseconds(_ body: () -> Void) -> Double {
    ContinuousClock().measure(body) / .milliseconds(1)
  }

  private static func summary(_ times: [Double]) -> String {
    let sorted = times.sorted()
    func text(_ value: Double) -> String { "\((value * 1000).rounded() / 1000)" }
    return "median \(text(sorted[sorted.count / 2])) ms, longest \(text(sorted.last!)) ms"
  }
}
