internal import ArgumentParser
internal import FederationHarness
internal import FederationModel
internal import Foundation
internal import Glibc
internal import Postgres
internal import WorkflowCore

/// What Argo's documents cost: reading and validating large ones, and their machine in memory, without database and agents.
/// With `--live` the same fan-out with a reduce goes through a control plane and agents, too.
struct WorkflowsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "workflows", abstract: "Validation of large documents, and the workflow machine in memory.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Templates of the large document.") var templates = 5000
  @Option(help: "Items of the loop whose results are reduced.") var items = 10_000
  @Option(help: "Tasks of the dags.") var dag = 20_000
  @Flag(help: "Also run the loop through a control plane and agents without executors.") var live = false

  func run() async throws {
    try validation()
    try machine("a withParam of \(items) items and its reducer", Documents.gather("bench", items)) {
      $0.templateName == "list" ? TaskOutputs(result: Self.list(items)) : TaskOutputs(parameters: ["mean": "0.25"])
    }
    // Twice the work has to take twice the time and memory.
    try machine("a withParam of \(2 * items) items and its reducer", Documents.gather("bench", 2 * items)) {
      $0.templateName == "list" ? TaskOutputs(result: Self.list(2 * items)) : TaskOutputs(parameters: ["mean": "0.25"])
    }
    try machine("a dag of \(dag) tasks, 100 side by side", Documents.dag("bench", dag, width: 100))
    try machine("a dag of \(dag) roots", Documents.dag("bench", dag, width: dag))
    try machine("1,000 steps in a row", Documents.chain("bench", 1000))
    if live { try await throughControlPlane() }
  }

  /// What a task prints that lists the shards: `[{"shard":0},...]`.
  static func list(_ count: Int) -> String {
    "[" + (0..<count).map { "{\"shard\":\($0)}" }.joined(separator: ",") + "]"
  }

  private func validation() throws {
    let text = Array(Documents.manyTemplates("bench", templates).utf8)
    var seconds: [Double] = []
    for _ in 0..<max(1, options.repeats) {
      let began = ContinuousClock.now
      _ = try WorkflowProgram(WorkflowDefinition.decode(text))
      seconds.append((ContinuousClock.now - began).seconds)
    }
    Report.figure(
      "a document of \(templates) templates (\(text.count) bytes) read and validated", seconds, "s", digits: 3)
  }

  /// Runs a document to its end, in slices as the leader does. A transition is a node's change of phase: every node is made, begun
  /// and ended.
  private func machine(
    _ title: String, _ document: String, outputs: (NodeRecord) -> TaskOutputs = { _ in TaskOutputs() }
  ) throws {
    let program = try WorkflowProgram(WorkflowDefinition.decode(Array(document.utf8)))
    var rates: [Double] = []
    var (nodes, changes, longest, took) = (0, 0, 0.0, [Double]())
    // All of them live until the end: what each further one adds to the process is its own.
    var (kept, resident): ([MachineRun], [Int]) = ([], [])
    for _ in 0..<max(1, options.repeats) {
      var run = try MachineRun(program: program)
      let began = ContinuousClock.now
      try run.toEnd(outputs)
      let seconds = (ContinuousClock.now - began).seconds
      rates.append(Double(run.transitions) / seconds)
      took.append(seconds)
      (nodes, changes, longest) = (run.machine.nodeCount, run.changes, max(longest, run.longest))
      kept.append(run)
      resident.append(Self.resident())
    }
    let bytes = (resident[resident.count - 1] - resident[0]) / max(1, kept.count - 1)
    Report.figure(title, rates, "transitions/s")
    Report.line(
      "  of \(nodes) nodes",
      "\(Report.format(Statistics.median(took), 2)) s, \(changes) records written, longest event "
        + "\(Report.format(longest * 1000, 1)) ms, \(bytes / max(1, nodes)) bytes a node")
  }

  /// Resident memory of this process in bytes.
  private static func resident() -> Int {
    guard let text = FileManager.default.contents(atPath: "/proc/self/statm") else { return 0 }
    let pages = String(decoding: text, as: UTF8.self).split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return pages * sysconf(Int32(_SC_PAGESIZE))
  }

  private func throughControlPlane() async throws {
    var federation = FederationOptions()
    federation.agents = (0..<3).map { .init("null-\($0)", executor: "null", slots: 4000) }
    federation.hasOwnPostgres = true
    federation.logLevel = "warning"
    try await Federation.with(federation, binaries: options.directory) { federation in
      let bench = Dispatch(federation: federation, connection: try await .connect(federation.database))
      let client = try federation.client()
      let list = Self.list(items)
      var (seconds, reads, size): ([Double], [Double], Int) = ([], [], 0)
      let memory = try ControlPlaneMemory(federation)
      for copy in 0..<max(1, options.repeats) {
        let name = "gather-\(getpid())-\(copy)"
        let began = ContinuousClock.now
        _ = try await client.submit(Documents.gatherGiven(name, list), timeout: .seconds(120))
        try await bench.awaitAll(name, 1, timeout: .seconds(600))
        seconds.append((ContinuousClock.now - began).seconds)
        let asked = ContinuousClock.now
        let whole = try await client.send("GET", "/api/v1/workflows/default/\(name)")
        guard whole.status == 200 else { throw HarnessError("the workflow cannot be read: \(whole.text.prefix(200))") }
        reads.append((ContinuousClock.now - asked).seconds)
        size = whole.text.utf8.count
      }
      Report.figure("\(items) items of withParam and their reducer, through the control plane", seconds, "s", digits: 2)
      Report.figure("all of it as Argo's clients read it, \(size >> 20) MiB", reads, "s", digits: 2)
      try memory.report(tasks: items * max(1, options.repeats))
      await bench.connection.close()
    }
  }
}

/// A workflow whose tasks end as soon as they are launched.
private struct MachineRun {
  /// How many nodes one event may touch, about what the leader allows itself in a turn.
  static let slice = 500
  var machine: WorkflowMachine
  private(set) var transitions = 0
  private(set) var changes = 0
  /// The longest event, in seconds.
  private(set) var longest = 0.0
  private var open: [NodeID] = []
  private var now = Timestamp(milliseconds: 1_700_000_000_000)

  init(program: WorkflowProgram) throws {
    let identity = WorkflowIdentity(name: "bench", uid: "bench", project: "default", createdAt: now)
    machine = try WorkflowMachine(program: program, identity: identity)
  }

  mutating func toEnd(_ outputs: (NodeRecord) -> TaskOutputs) throws {
    send(.start)
    while !machine.status.phase.isTerminal {
      if machine.isUnfinished {
        send(.proceed)
      } else if !open.isEmpty {
        let tasks = open
        open.removeAll(keepingCapacity: true)
        for task in tasks {
          now = now + .milliseconds(1)
          send(.taskStarted(task, cluster: "one", runsAs: "host"))
          send(.taskEnded(task, TaskOutcome(phase: .succeeded, exitCode: 0, outputs: outputs(machine[task]))))
        }
      } else {
        throw HarnessError("the workflow neither goes on nor ends: \(machine.status.message)")
      }
    }
    guard machine.status.phase == .succeeded else {
      throw HarnessError("the workflow ended \(machine.status.phase.rawValue): \(machine.status.message)")
    }
    transitions = 3 * machine.nodeCount
  }

  private mutating func send(_ event: WorkflowEvent) {
    let began = ContinuousClock.now
    let actions = machine.handle(event, at: now, limit: Self.slice)
    changes += machine.takeChanges().nodes.count
    longest = max(longest, (ContinuousClock.now - began).seconds)
    for case .launch(let node) in actions { open.append(node) }
  }
}
