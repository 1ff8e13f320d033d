import ControlPlaneCore
import FederationModel
import SchedulerCore
import WorkflowCore

/// A whole federation in virtual time: one core, its database, and agents, with messages and units in between that may be lost with a crash.
struct Federation {
  var database = InMemoryDatabase()
  var core: ControlPlaneCore
  var term: Int64 = 1
  var agents: [ClusterName: SimulatedAgent] = [:]
  var world = World()
  var clock = Timestamp(milliseconds: 1_700_000_000_000)
  var random: SeededGenerator
  /// Units whose answer has not come: (delta, effects). At most two.
  var inFlight: [(delta: DurableDelta, effects: [Effect])] = []
  /// What the core asked the repository for.
  var looks: [(project: ProjectName, key: String)] = []
  var replies: [RequestID: Result<Reply, FederationError>] = [:]
  var lastRequest: Int64 = 0
  var lastSession: Int64 = 0
  var lastHeard: [ClusterName: Timestamp] = [:]

  let configuration: CoreConfiguration

  init(seed: UInt64, clusters: [String], configuration: CoreConfiguration = CoreConfiguration()) {
    self.configuration = configuration
    random = SeededGenerator(seed: seed)
    core = ControlPlaneCore(
      state: database.load(), position: CommitPosition(term: 1, sequence: 0),
      incarnation: UInt32(truncatingIfNeeded: seed), configuration: configuration)
    for name in clusters.map({ ClusterName($0) }) {
      command(.createCluster(ClusterSpec(name: name, kind: .process)))
      agents[name] = SimulatedAgent(cluster: name, journal: "journal-of-\(name)")
    }
    settle()
    for name in agents.keys.sorted() { connect(name) }
    settle()
  }

  static func definition(_ yaml: String) throws -> WorkflowDefinition {
    try WorkflowDefinition.decode(Array(yaml.utf8))
  }

  @discardableResult
  mutating func command(_ command: Command, key: IdempotencyKey? = nil) -> RequestID {
    lastRequest += 1
    let request = RequestID(lastRequest)
    apply(.command(command, request: request, principal: Principal(user: "tester"), idempotency: key))
    return request
  }

  mutating func submit(_ name: String, _ yaml: String, key: IdempotencyKey? = nil) throws -> RequestID {
    command(
      .submit(Submission(definition: try Self.definition(yaml), project: "default", name: name, uid: "uid-\(name)")),
      key: key)
  }

  // MARK: The leader

  mutating func apply(_ input: Input) {
    clock = clock + .milliseconds(1)
    core.apply(input, at: clock)
  }

  /// Sends what the core wrote as one unit, unless two are in flight.
  mutating func send() {
    guard inFlight.count < 2, core.hasOutput else { return }
    inFlight.append(core.takeOutput())
  }

  /// The database answers the first unit.
  mutating func answer() {
    guard !inFlight.isEmpty else { return }
    let unit = inFlight.removeFirst()
    database.commit(unit.delta)
    core.position = CommitPosition(term: term, sequence: database.sequence)
    release(unit.effects)
  }

  mutating func plan() {
    guard let snapshot = core.takeSnapshot() else { return }
    apply(.plan(PlacementPlanner().plan(snapshot)))
  }

  private mutating func release(_ effects: [Effect]) {
    for effect in effects {
      switch effect {
      case .reply(let request, let result): replies[request] = result
      case .send(let cluster, let session, let command):
        guard agents[cluster]?.session == session else { continue }
        agents[cluster]!.highestSeen = max(agents[cluster]!.highestSeen, core.position)
        agents[cluster]!.inbox.append(command)
      case .close(let cluster, let session, _):
        guard agents[cluster]?.session == session else { continue }
        disconnect(cluster)
      case .look(let project, let key): looks.append((project, key))
      case .load(let reference, let command, let request, let principal, let idempotency):
        let row = database.workflows.values.first { $0.project == reference.project && $0.name == reference.name }
        apply(
          .loaded(
            row.flatMap { database.loaded($0.id) }.map { RestoredWorkflow($0, arguments: command.newArguments) },
            command, request: request, principal: principal, idempotency: idempotency))
      }
    }
  }

  // MARK: Faults

  /// The leader dies: what was not answered may or may not have been committed; a new one is rebuilt from the database.
  mutating func crash() {
    // Units commit in order, so a prefix of those in flight did.
    let committed = inFlight.isEmpty ? 0 : random.next(upTo: inFlight.count + 1)
    for unit in inFlight.prefix(committed) { database.commit(unit.delta) }
    inFlight = []
    for name in agents.keys.sorted() {
      agents[name]!.session = nil
      agents[name]!.inbox = []
    }
    term += 1
    core = ControlPlaneCore(
      state: database.load(), position: CommitPosition(term: term, sequence: database.sequence),
      incarnation: UInt32(truncatingIfNeeded: random.next()), configuration: configuration)
  }

  mutating func disconnect(_ name: ClusterName) {
    guard let session = agents[name]?.session else { return }
    agents[name]!.session = nil
    agents[name]!.inbox = []
    apply(.agentDisconnected(name, session))
  }

  mutating func connect(_ name: ClusterName) {
    lastSession += 1
    agents[name]!.session = SessionID(lastSession)
    agents[name]!.inbox = []
    lastHeard[name] = clock
    apply(.agentConnected(name, SessionID(lastSession), agents[name]!.hello))
  }

  // MARK: Agents

  mutating func deliver(_ name: ClusterName) {
    guard let agent = agents[name], agent.session != nil, !agent.inbox.isEmpty else { return }
    let command = agents[name]!.inbox.removeFirst()
    agents[name]!.read(command)
  }

  /// The agent sends all that is unacknowledged: duplicates are the rule, not the exception.
  mutating func report(_ name: ClusterName) {
    guard let agent = agents[name], let session = agent.session, !agent.unacknowledged.isEmpty else { return }
    apply(.agentEvents(name, session, agent.unacknowledged))
  }

  mutating func work(_ name: ClusterName) {
    let live = agents[name]!.runs.filter { !$0.value.phase.isTerminal }.keys.sorted()
    guard !live.isEmpty else { return }
    agents[name]!.clock = clock
    agents[name]!.step(live[random.next(upTo: live.count)], using: &random, world: &world)
  }

  /// What is not over, for a failing test's message.
  var remains: String {
    var lines: [String] = []
    for row in database.workflows.values where !row.status.phase.isTerminal {
      lines.append("workflow \(row.name) \(row.status.phase)")
    }
    for run in database.runs.values where !run.phase.isTerminal {
      let agent = agents[run.cluster]?.runs[run.id].map { "\($0.phase)" } ?? "not there"
      lines.append(
        "run \(run.id) of \(run.task) \(run.phase) on \(run.cluster), its agent: \(agent), unaccounted \(run.isUnaccounted)"
      )
    }
    for name in agents.keys.sorted() {
      let row = database.clusters[name]
      lines.append(
        "agent \(name): sequence \(agents[name]!.sequence), unacknowledged \(agents[name]!.unacknowledged.map(\.sequence)), "
          + "acked \(row?.ackedSequence ?? -1), adopting \(row?.isAdopting ?? false), session \(agents[name]!.session != nil)"
      )
    }
    return lines.joined(separator: "\n")
  }

  // MARK: Running

  mutating func settle() {
    while core.hasOutput || core.isUnfinished || !inFlight.isEmpty {
      if core.isUnfinished { apply(.proceed) }
      send()
      answer()
    }
  }

  /// Everything happens, in order, without faults, until nothing changes any more.
  mutating func runToEnd(limit: Int = 2000) -> Bool {
    for _ in 0..<limit {
      for name in agents.keys.sorted() where agents[name]!.session == nil { connect(name) }
      plan()
      settle()
      var moved = false
      for name in agents.keys.sorted() {
        while agents[name]!.session != nil, !agents[name]!.inbox.isEmpty { deliver(name) }
        agents[name]!.clock = clock
        for id in agents[name]!.runs.filter({ !$0.value.phase.isTerminal }).keys.sorted() {
          agents[name]!.step(id, using: &random, world: &world)
          moved = true
        }
        report(name)
        settle()
      }
      clock = clock + .seconds(1)
      apply(.tick(silence: [:]))
      settle()
      let isOver = database.workflows.values.allSatisfy { $0.status.phase.isTerminal }
      if isOver, !moved { return true }
    }
    return false
  }
}
