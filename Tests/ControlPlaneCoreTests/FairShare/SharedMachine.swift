import ControlPlaneCore
import FederationModel
import HeapModule
import SchedulerCore
import WorkflowCore

/// One cluster of slots in virtual time under the real core and the real pass: what is assigned runs as long as its project's tasks do.
struct SharedMachine {
  struct Load {
    var project: ProjectName
    /// Waiting tasks of one workflow.
    var tasks: Int
    var cores: Int64 = 1
    var priority: PriorityClass = .interruptible
    /// Seconds of each run, drawn evenly.
    var seconds: ClosedRange<Int64>
    /// The task's walltime, before anything was learnt of it.
    var walltime: Int64 = 60
  }

  struct Start: Hashable {
    var workflow: String
    var project: ProjectName
    /// How many started before it, from the beginning.
    var number: Int
    var at: Timestamp
  }

  private struct End: Comparable {
    var at: Timestamp
    var run: RunID
    static func < (a: Self, b: Self) -> Bool { (a.at, a.run) < (b.at, b.run) }
  }

  private(set) var core: ControlPlaneCore
  private(set) var database = InMemoryDatabase()
  private var clock = Timestamp(milliseconds: 1_700_000_000_000)
  private(set) var starts: [Start] = []
  /// Core seconds that runs which are over have taken, by project.
  private(set) var used: [ProjectName: Double] = [:]
  private var ends = Heap<End>()
  private var live: [RunID: (project: ProjectName, start: Timestamp, cores: Double)] = [:]
  private var seconds: [String: ClosedRange<Int64>] = [:]
  private var random: SeededGenerator
  private var sequence: Int64 = 0
  private var session: Int64 = 1
  private var number: Int64 = 0
  private let configuration: CoreConfiguration
  private let slots: Int
  private let cores: Int64

  init(
    seed: UInt64, slots: Int, cores: Int64? = nil, projects: [(name: ProjectName, weight: Double)],
    configuration: CoreConfiguration = CoreConfiguration()
  ) {
    random = SeededGenerator(seed: seed)
    self.configuration = configuration
    self.slots = slots
    self.cores = cores ?? Int64(slots)
    core = ControlPlaneCore(
      state: database.load(), position: CommitPosition(term: 1, sequence: 0), incarnation: 1,
      configuration: configuration)
    command(.createCluster(ClusterSpec(name: "c", kind: .process)))
    for project in projects { command(.project(project.name, .create(description: "", weight: project.weight))) }
    connect()
  }

  private mutating func connect() {
    let inventory = ClusterInventory(
      capacity: Resources(cpuMillicores: cores * 1000, memory: .gibibytes(1024)), slots: slots,
      images: [ImageRule(pattern: "*", runsAs: "host")])
    apply(
      .agentConnected(
        "c", SessionID(session),
        AgentHello(
          journal: "j", lastSequence: sequence, highestSeen: CommitPosition(term: 0, sequence: 0),
          runs: live.mapValues { _ in .running }, inventory: inventory, protocolVersion: 1)))
  }

  mutating func command(_ command: Command) {
    number += 1
    apply(
      .command(command, request: RequestID(number), principal: Principal(user: "tester"), idempotency: nil))
  }

  private mutating func apply(_ input: Input) {
    core.apply(input, at: clock)
    while core.isUnfinished { core.apply(.proceed, at: clock) }
    take()
  }

  /// Commits what there is, and starts what is assigned.
  private mutating func take() {
    guard core.hasOutput else { return }
    let (delta, effects) = core.takeOutput()
    database.commit(delta)
    core.position = CommitPosition(term: 1, sequence: database.sequence)
    for case .send(_, _, .assign(let assignments)) in effects { for assignment in assignments { start(assignment) } }
  }

  private mutating func start(_ assignment: RunAssignment) {
    guard live[assignment.run] == nil else { return }
    let range = seconds[assignment.workflowName]!
    let length = range.lowerBound + Int64(random.next(upTo: Int(range.upperBound - range.lowerBound) + 1))
    let cores = Double(max(1000, assignment.spec.resources.cpuMillicores)) / 1000
    live[assignment.run] = (assignment.project, clock, cores)
    ends.insert(End(at: clock + .seconds(length), run: assignment.run))
    starts.append(
      Start(workflow: assignment.workflowName, project: assignment.project, number: starts.count, at: clock))
    tell(assignment.run, .running)
  }

  private mutating func tell(_ run: RunID, _ phase: RunPhase, _ outcome: TaskOutcome? = nil, ran: Duration = .zero) {
    sequence += 1
    var usage = RunUsage()
    usage.wallMilliseconds = ran.milliseconds
    apply(
      .agentEvents(
        "c", SessionID(session),
        [AgentEvent(sequence: sequence, run: run, phase: phase, at: clock, outcome: outcome, usage: usage)]))
  }

  mutating func submit(_ load: Load) throws {
    number += 1
    let name = "w\(number)"
    seconds[name] = load.seconds
    let document = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        federation: {priorityClass: \(load.priority.rawValue), walltime: \(load.walltime)s}
        templates:
        - name: main
          steps: [[{name: s, template: one, withSequence: {count: "\(load.tasks)"}}]]
        - name: one
          container: {image: any, command: ["true"], resources: {requests: {cpu: "\(load.cores)"}}}
      """
    command(
      .submit(
        Submission(
          definition: try Federation.definition(document), project: load.project, name: name, uid: "u-\(name)")))
  }

  private mutating func plan() {
    while let snapshot = core.takeSnapshot() { apply(.plan(PlacementPlanner().plan(snapshot))) }
  }

  /// Passes and ends in turn, until a moment or until nothing runs.
  mutating func run(until end: Timestamp) {
    plan()
    while let next = ends.min, next.at <= end {
      clock = next.at
      ends.removeMin()
      let run = live.removeValue(forKey: next.run)!
      let length = clock - run.start
      used[run.project, default: 0] += length.seconds * run.cores
      tell(next.run, .succeeded, TaskOutcome(phase: .succeeded, exitCode: 0), ran: length)
      // Others that end in the same moment are told first, as in one unit.
      if ends.min?.at != clock { plan() }
    }
    clock = max(clock, end)
    apply(.tick(silence: [:]))
    plan()
  }

  /// The workflow that was submitted last.
  var lastName: String { "w\(number - 1)" }
  var now: Timestamp { clock }

  /// Tasks of a project that wait and have a share.
  func waiting(of project: ProjectName) -> Int {
    core.fairShare().projects.first { $0.project == project }?.shared ?? 0
  }

  mutating func run(for seconds: Int64) { run(until: clock + .seconds(seconds)) }

  /// With what runs now.
  func usedByNow() -> [ProjectName: Double] {
    live.values.reduce(into: used) { $0[$1.project, default: 0] += (clock - $1.start).seconds * $1.cores }
  }

  /// The leader dies, and another one is rebuilt from the database.
  mutating func restart() {
    core = ControlPlaneCore(
      state: database.load(), position: CommitPosition(term: 2, sequence: database.sequence), incarnation: 2,
      configuration: configuration)
    session += 1
    connect()
  }
}
