import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Postgres
import SchedulerCore
import TestSupport
import WorkflowCore

/// Two control planes over one real database, and agents in virtual time, for the ledger's sake. Nobody sleeps: leases end at once, so
/// that each plane may depose the other at any moment, and the deposed one does not know until a unit of its is refused.
struct LedgerContest {
  /// A control plane: it believes that it leads as long as it has a core.
  struct Plane {
    let store: ControlPlaneStore
    var core: ControlPlaneCore?
    /// Where its next unit follows.
    var position = CommitPosition(term: 0, sequence: 0)
  }

  var planes: [Plane]
  let watcher: PostgresConnection
  var agents: [ClusterName: ContestAgent] = [:]
  var random: SeededGenerator
  var clock = Timestamp(milliseconds: 1_700_000_000_000)
  var projects: [ProjectName] = []
  /// What a run takes of its minute, in milliseconds.
  var use: (inout SeededGenerator) -> Int64 = { Int64($0.next(upTo: 61_000)) }
  var fails = true
  /// Tasks may take ten minutes, of which one is held at a time, and take as long as it pleases them.
  var renewsSlices = false
  /// The most that was ever held for one run.
  private(set) var heldMost: Int64 = 0
  /// Agents that are away, and since when.
  private var away: [ClusterName: Timestamp] = [:]
  private var lastNumber: Int64 = 0
  private(set) var fenced = 0
  private(set) var commits = 0
  /// Commits after which money was what some task waited for.
  private(set) var waits = 0
  private(set) var days = 0
  /// What did not hold; nothing goes on after it.
  private(set) var problem: String?

  static func use(seed: UInt64, _ body: (inout LedgerContest) async throws -> Void) async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let stores = [0, 1].map { _ in ControlPlaneStore(configuration, pool: .init(connections: 2)) }
    let watcher = try await PostgresConnection.connect(configuration)
    do {
      try await stores[0].migrate()
      for store in stores { try await store.reconnect() }
      var contest = LedgerContest(
        planes: stores.map { Plane(store: $0) }, watcher: watcher, random: SeededGenerator(seed: seed))
      try await body(&contest)
    } catch {
      for store in stores { await store.close() }
      await watcher.close()
      throw error
    }
    for store in stores { await store.close() }
    await watcher.close()
  }

  private init(planes: [Plane], watcher: PostgresConnection, random: SeededGenerator) {
    self.planes = planes
    self.watcher = watcher
    self.random = random
  }

  // MARK: Setting up

  /// Two clusters with a price and one without; budgets, and in each project a fan of tasks of at most a minute.
  mutating func begin(limits: [ProjectName: String], tasks: Int, slots: Int) async throws {
    projects = limits.keys.sorted()
    try await lead()
    for name in ["a", "b", "c"] as [ClusterName] {
      agents[name] = ContestAgent(name: name, slots: slots, renewsSlices: renewsSlices)
      command(.createCluster(ClusterSpec(name: name, kind: .process)))
      guard name != "c" else { continue }
      command(.setPrices(name, PricePeriod(prices: PriceSheet(currency: "CNY", coreHour: 3600))))
    }
    for project in projects {
      if project != "default" { command(.project(project, .create(description: ""))) }
      setBudget(limits[project]!, of: project)
    }
    try await settle()
    for name in agents.keys.sorted() { connect(name) }
    for project in projects {
      let text = Self.fan(tasks, walltime: renewsSlices ? 600 : 60)
      let definition = try WorkflowDefinition.decode(Array(text.utf8))
      command(.submit(Submission(definition: definition, project: project, name: "fan", uid: "uid-\(project)")))
    }
  }

  private static func fan(_ tasks: Int, walltime: Int) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: fan}
    spec:
      entrypoint: main
      federation: {walltime: \(walltime)s}
      templates:
      - name: main
        steps: [[{name: s, template: one, withSequence: {count: "\(tasks)"}}]]
      - name: one
        retryStrategy: {limit: "9"}
        container: {image: any, command: ["true"]}
    """
  }

  mutating func setBudget(_ limit: String, of project: ProjectName) {
    command(
      .project(
        project,
        .setBudget(
          BudgetChange(
            limit: Amount(limit)!, currency: "CNY", period: .monthly, isHard: true, alerts: [50], onExhausted: .drain,
            slice: .seconds(60))))
    )
  }

  /// Money for everything that waits for it. It is asked for until it is there, as by a user who gets no answer: a leader that was deposed
  /// and does not know it takes commands, and none of them is ever committed.
  mutating func lift() async throws {
    while problem == nil {
      try await lead()
      for project in projects {
        setBudget("100", of: project)
        command(.project(project, .limitMember("u", nil)))
      }
      try await settle()
      if try await number("SELECT count(*) FROM budgets WHERE limit_micros < 100000000") == 0 { return }
    }
  }

  // MARK: Leaders

  private var believers: [Int] { planes.indices.filter { planes[$0].core != nil } }
  /// The plane with the newest term.
  private var leader: Int? { believers.max { planes[$0].position.term < planes[$1].position.term } }

  /// Takes the lead: its predecessor's lease has ended, whether that knows or not.
  private mutating func acquire(_ plane: Int) async throws {
    let store = planes[plane].store
    let incarnation = UInt32(truncatingIfNeeded: random.next() >> 33)
    let position = try await store.tryAcquire(
      holder: "plane-\(plane)", address: "host:\(plane)", incarnation: incarnation, leaseDuration: .zero)
    guard let position else { return }
    let state = try await store.loadDurable()
    hangUp(plane)
    planes[plane].core = ControlPlaneCore(
      state: state, position: position, incarnation: incarnation, configuration: CoreConfiguration(sliceLimit: 16))
    planes[plane].position = position
  }

  /// Makes sure that somebody leads, and that its agents are with it.
  mutating func lead() async throws {
    if leader == nil { try await acquire(random.next(upTo: 2)) }
    for name in agents.keys.sorted() where agents[name]!.plane != leader { connect(name) }
  }

  /// The other plane takes over while this one believes that it leads.
  mutating func depose() async throws {
    let other = leader.map { 1 - $0 } ?? 0
    planes[other].core = nil
    try await acquire(other)
  }

  /// The leader's process ends. A unit that was on the wire may have committed, and nothing that should follow it has happened.
  mutating func kill() async throws {
    guard let plane = leader else { return }
    if random.next(upTo: 2) == 0, let unit = send(plane) {
      // Its connection is gone before the answer.
      try await planes[plane].store.reconnect()
      _ = try? await unit.unit.answer()
      try await check()
    }
    planes[plane].core = nil
    hangUp(plane)
  }

  private mutating func hangUp(_ plane: Int) {
    for name in agents.keys where agents[name]!.plane == plane { agents[name]!.hangUp() }
  }

  // MARK: Units

  private mutating func send(_ plane: Int) -> (unit: PendingUnit, effects: [Effect], next: Int64)? {
    guard planes[plane].core?.hasOutput == true else { return nil }
    let (delta, effects) = planes[plane].core!.takeOutput()
    let position = planes[plane].position
    let next = max(position.sequence + 1, (delta.minimumSequence ?? 0) + 1)
    let fence = Fence(term: position.term, previous: position.sequence, next: next)
    return (planes[plane].store.send(delta, fence: fence), effects, next)
  }

  /// Every plane that believes that it leads sends what it has; at once, so that they race.
  mutating func commit() async throws {
    let sent = believers.map { ($0, send($0)) }
    for case (let plane, let sent?) in sent {
      do {
        try await sent.unit.answer()
        planes[plane].position.sequence = sent.next
        planes[plane].core!.position = planes[plane].position
        release(sent.effects, of: plane)
        commits += 1
      } catch CommitError.fenced {
        fenced += 1
        planes[plane].core = nil
        hangUp(plane)
      } catch {
        problem = "a unit was refused: \(error)"
      }
    }
    try await check()
  }

  private mutating func release(_ effects: [Effect], of plane: Int) {
    for effect in effects {
      switch effect {
      case .send(let cluster, let session, let command):
        guard agents[cluster]?.session == session, agents[cluster]?.plane == plane else { continue }
        agents[cluster]!.highestSeen = max(agents[cluster]!.highestSeen, planes[plane].position)
        agents[cluster]!.inbox.append(command)
      case .close(let cluster, let session, _):
        guard agents[cluster]?.session == session, agents[cluster]?.plane == plane else { continue }
        disconnect(cluster)
      case .reply, .load, .look: break
      }
    }
  }

  /// What another reader of the database sees after a commit (I3, and that everything which may run is paid for).
  private mutating func check() async throws {
    let row = try await watcher.query(
      """
      SELECT (SELECT count(*) FROM budgets WHERE is_hard AND reserved + spent > granted),
        (SELECT count(*) FROM ledger_differences),
        (SELECT coalesce(sum(balance), 0)::int8 FROM ledger_balances),
        (SELECT count(*) FROM runs r WHERE phase < 5
          AND NOT EXISTS (SELECT FROM reservations v WHERE v.run_id = r.run_id)),
        (SELECT count(*) FROM budgets b
          WHERE reserved <> (SELECT coalesce(sum(amount), 0) FROM reservations v WHERE v.project = b.project)),
        (SELECT count(*) FROM budgets WHERE granted - reserved - spent < 600000),
        (SELECT coalesce(max(amount), 0) FROM reservations)
      """)[0]
    let names = [
      "overspent budgets", "budgets beside their entries", "the sum of all accounts", "runs without money",
      "budgets beside their reservations",
    ]
    for (column, name) in names.enumerated() {
      let count = try row.int(column)
      if count != 0, problem == nil { problem = "\(name): \(count)" }
    }
    if try row.int(5) > 0 { waits += 1 }
    heldMost = max(heldMost, try row.int(6))
  }

  func number(_ sql: String) async throws -> Int64 {
    try await watcher.query(sql).rows.first.map { try $0.int(0) } ?? 0
  }

  /// What is not over, and why, for a failing test's message.
  func remains() async throws -> String {
    var lines = [leader.map { "plane \($0) leads" } ?? "nobody leads"]
    for row in try await watcher.query(
      "SELECT project, phase FROM workflows WHERE phase IN ('Pending', 'Running') ORDER BY project"
    ).rows {
      let project = ProjectName(try row.text(0))
      let reason = leader.flatMap {
        planes[$0].core?.standstill(of: WorkflowReference(project: project, name: "fan"))?.reason
      }
      lines.append("\(project) is \(try row.text(1)): \(reason ?? "nothing stands still")")
    }
    for row in try await watcher.query("SELECT project, granted, reserved, spent FROM budgets ORDER BY project").rows {
      lines.append(
        "\(try row.text(0)): \(try row.int(1)) granted, \(try row.int(2)) reserved, \(try row.int(3)) spent")
    }
    for row in try await watcher.query("SELECT run_id, cluster, phase FROM runs WHERE phase < 5").rows {
      lines.append("run \(RunID(try row.int(0))) on \(try row.text(1)) in phase \(try row.int(2))")
    }
    return lines.joined(separator: "; ")
  }

  /// What is wrong when everything is over.
  func closing() async throws -> [String] {
    var wrong = try await planes[0].store.reviewLedger().differences
    if try await number("SELECT count(*) FROM reservations") != 0 { wrong.append("money is held still") }
    let unsettled = try await number(
      """
      SELECT count(*) FROM (SELECT sum(CASE WHEN kind IN ('reserve', 'extend') THEN amount ELSE -amount END) AS rest FROM ledger_entries
        WHERE kind IN ('reserve', 'extend', 'charge', 'refund') GROUP BY run_id) AS x WHERE rest <> 0
      """)
    if unsettled != 0 { wrong.append("\(unsettled) runs were not settled exactly once") }
    let difference = try await number(
      """
      SELECT (SELECT coalesce(sum(charge_micros), 0) FROM runs)::int8
        - (SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE kind = 'charge')::int8
      """)
    if difference != 0 { wrong.append("runs and entries differ by \(difference)") }
    if try await number("SELECT count(*) FROM runs WHERE cluster = 'c'") != 0 { wrong.append("c has no price") }
    // Its fence ends a run where its slice ends, wherever its agent is.
    if renewsSlices, try await number("SELECT count(*) FROM ledger_entries WHERE kind = 'overrun'") != 0 {
      wrong.append("a run used more than was held for it")
    }
    return wrong
  }

  // MARK: Inputs

  private mutating func apply(_ input: Input, to plane: Int? = nil) {
    clock = clock + .milliseconds(1)
    guard let plane = plane ?? leader else { return }
    planes[plane].core?.apply(input, at: clock)
  }

  private mutating func command(_ command: Command) {
    lastNumber += 1
    apply(.command(command, request: RequestID(lastNumber), principal: Principal(user: "u"), idempotency: nil))
  }

  mutating func connect(_ name: ClusterName) {
    guard let leader else { return }
    disconnect(name)
    away[name] = nil
    lastNumber += 1
    agents[name]!.session = SessionID(lastNumber)
    agents[name]!.plane = leader
    apply(.agentConnected(name, SessionID(lastNumber), agents[name]!.hello))
  }

  private mutating func disconnect(_ name: ClusterName) {
    guard let session = agents[name]!.session, let plane = agents[name]!.plane else { return }
    agents[name]!.hangUp()
    apply(.agentDisconnected(name, session), to: plane)
  }

  private mutating func report(_ name: ClusterName) {
    guard let agent = agents[name], let session = agent.session, !agent.unacknowledged.isEmpty else { return }
    apply(.agentEvents(name, session, agent.unacknowledged), to: agent.plane)
  }

  private mutating func tick() {
    let silence = away.mapValues { clock - $0 }
    for plane in believers { apply(.tick(silence: silence), to: plane) }
  }

  private mutating func plan(_ plane: Int) {
    guard let snapshot = planes[plane].core?.takeSnapshot() else { return }
    apply(.plan(PlacementPlanner().plan(snapshot)), to: plane)
  }

  // MARK: Schedules

  /// One random thing happens.
  mutating func step() async throws {
    let name = agents.keys.sorted()[random.next(upTo: agents.count)]
    switch random.next(upTo: 40) {
    case 0: try await kill()
    case 1: try await depose()
    case 2..<4: if leader == nil { try await acquire(random.next(upTo: 2)) }
    case 4: disconnect(name)
    case 5: leave(name)
    case 6..<10: if agents[name]!.session == nil, away[name] == nil || random.next(upTo: 3) == 0 { connect(name) }
    case 10: changeBudgets()
    case 11..<16: for plane in believers { plan(plane) }
    case 16..<20: agents[name]!.read()
    case 20..<25: agents[name]!.work(&random, use, fails: fails, at: clock)
    case 25..<29: report(name)
    case 29:
      if renewsSlices { clock = clock + .seconds(random.next(upTo: 40)) }
      tick()
    case 30..<33: for plane in believers { apply(.proceed, to: plane) }
    default: try await commit()
    }
  }

  /// An agent is cut off for a day. Its runs end meanwhile, and it has it all to tell when it is back.
  private mutating func leave(_ name: ClusterName) {
    if let plane = agents[name]!.plane { apply(.agentDisconnected(name, agents[name]!.session!), to: plane) }
    agents[name]!.hangUp()
    away[name] = clock
    clock = clock + .seconds(86_400)
    days += 1
    while agents[name]!.isBusy { agents[name]!.work(&random, use, fails: fails, at: clock) }
    tick()
  }

  private mutating func changeBudgets() {
    let project = projects[random.next(upTo: projects.count)]
    if random.next(upTo: 3) == 0 {
      let limit = random.next(upTo: 2) == 0 ? nil : Amount(micros: Int64(500_000 + random.next(upTo: 2_000_000)))
      return command(.project(project, .limitMember("u", limit)))
    }
    if random.next(upTo: 2) == 0, let other = projects.first(where: { $0 != project }) {
      command(.project(project, .transferBudget(Amount(micros: Int64(1 + random.next(upTo: 500_000))), to: other)))
    } else {
      setBudget("\(1 + random.next(upTo: 4))", of: project)
    }
  }

  /// What the leader has to do is done and committed.
  mutating func settle() async throws {
    while problem == nil, let leader, planes[leader].core!.hasOutput || planes[leader].core!.isUnfinished {
      if planes[leader].core!.isUnfinished { apply(.proceed) }
      try await commit()
    }
  }

  /// One pass of the planner, committed.
  mutating func place() async throws {
    try await lead()
    if let leader { plan(leader) }
    try await settle()
  }

  /// Everything that can happen happens once, without faults.
  mutating func round() async throws {
    try await place()
    for name in agents.keys.sorted() {
      agents[name]!.readAll()
      // Some at a time, where they are to be renewed meanwhile.
      for _ in 0..<(renewsSlices ? 3 : 10_000) where agents[name]!.isBusy {
        agents[name]!.work(&random, use, fails: fails, at: clock)
      }
      report(name)
      try await settle()
    }
    clock = clock + .seconds(renewsSlices ? 25 : 1)
    tick()
    try await settle()
  }

  /// Goes on without faults; false when it is not over after many rounds.
  mutating func finish() async throws -> Bool {
    for _ in 0..<300 where problem == nil {
      try await round()
      if try await number("SELECT count(*) FROM workflows WHERE phase IN ('Pending', 'Running')") == 0 { return true }
    }
    return false
  }
}

/// An agent and what runs beside it: a journal that survives, and programs that end within their limit.
struct ContestAgent {
  let name: ClusterName
  let slots: Int
  var session: SessionID?
  /// The plane that it has dialled.
  var plane: Int?
  var inbox: [AgentCommand] = []
  var highestSeen = CommitPosition(term: 0, sequence: 0)
  private(set) var unacknowledged: [AgentEvent] = []
  private var sequence: Int64 = 0
  private var runs: [RunID: RunPhase] = [:]
  private var cancelled: Set<RunID> = []
  private let renewsSlices: Bool
  /// How long runs may take with what is held for them, and when they began.
  private var slices: [RunID: Duration] = [:]
  private var began: [RunID: Timestamp] = [:]

  init(name: ClusterName, slots: Int, renewsSlices: Bool) {
    self.name = name
    self.renewsSlices = renewsSlices
    self.slots = slots
  }

  var isBusy: Bool { runs.values.contains { !$0.isTerminal } }

  var hello: AgentHello {
    AgentHello(
      journal: "journal-of-\(name)", lastSequence: sequence, highestSeen: highestSeen, runs: runs,
      inventory: ClusterInventory(
        capacity: Resources(cpuMillicores: Int64(slots) * 1000, memory: .gibibytes(64)), slots: slots,
        images: [ImageRule(pattern: "*", runsAs: "host")], canFence: true), protocolVersion: 1,
      renewsSlices: renewsSlices)
  }

  mutating func hangUp() {
    session = nil
    plane = nil
    inbox = []
  }

  mutating func readAll() { while !inbox.isEmpty { read() } }

  mutating func read() {
    guard !inbox.isEmpty else { return }
    switch inbox.removeFirst() {
    case .welcome(let welcome):
      unacknowledged.removeAll { $0.sequence <= welcome.ackedSequence }
      let desired = Set(welcome.desired)
      for id in runs.keys where !desired.contains(id) { runs[id] = nil }
      cancelled.formUnion(welcome.cancels)
    case .assign(let assignments):
      for assignment in assignments {
        if let slice = assignment.slice { extend(assignment.run, to: slice) }
        guard runs[assignment.run] == nil else { continue }
        runs[assignment.run] = .dispatched
        report(assignment.run, .dispatched, .zero, at: .epoch)
      }
    case .cancel(let ids, _, _): cancelled.formUnion(ids)
    case .forget(let ids): for id in ids where runs[id]?.isTerminal == true { runs[id] = nil }
    case .acknowledge(let sequence): unacknowledged.removeAll { $0.sequence <= sequence }
    case .extend(let more): for (id, slice) in more { extend(id, to: slice) }
    case .drain, .data: break
    }
  }

  private mutating func extend(_ id: RunID, to slice: Duration) { slices[id] = max(slices[id] ?? .zero, slice) }

  /// One of its runs starts or ends.
  mutating func work(
    _ random: inout SeededGenerator, _ use: (inout SeededGenerator) -> Int64, fails: Bool, at now: Timestamp
  ) {
    let live = runs.filter { !$0.value.isTerminal }.keys.sorted()
    guard !live.isEmpty else { return }
    let id = live[random.next(upTo: live.count)]
    guard runs[id] == .running || cancelled.contains(id) else {
      runs[id] = .running
      began[id] = now
      return report(id, .running, .zero, at: now)
    }
    if let slice = slices[id], !cancelled.contains(id) { return work(slice, id, &random, fails: fails, at: now) }
    let phase: RunPhase =
      cancelled.contains(id) ? .cancelled : fails && random.next(upTo: 8) == 0 ? .failed : .succeeded
    runs[id] = phase
    report(id, phase, .milliseconds(use(&random)), at: now)
  }

  /// As `work`, of a run that is paid for by the slice: it is ended at its end, and takes its time before.
  private mutating func work(
    _ slice: Duration, _ id: RunID, _ random: inout SeededGenerator, fails: Bool, at now: Timestamp
  ) {
    let wall = began[id].map { now - $0 } ?? .zero
    guard wall < slice else {
      runs[id] = .failed
      return report(id, .failed, slice, at: now, isUnpaid: true)
    }
    guard random.next(upTo: 12) == 0 else { return }
    let phase: RunPhase = fails && random.next(upTo: 8) == 0 ? .failed : .succeeded
    runs[id] = phase
    report(id, phase, wall, at: now)
  }

  private mutating func report(
    _ run: RunID, _ phase: RunPhase, _ wall: Duration, at now: Timestamp, isUnpaid: Bool = false
  ) {
    sequence += 1
    let outcome = phase.isTerminal ? TaskOutcome(phase: phase, exitCode: phase == .succeeded ? 0 : 1) : nil
    unacknowledged.append(
      AgentEvent(
        sequence: sequence, run: run, phase: phase, at: now, outcome: outcome, runsAs: "host",
        usage: RunUsage(wallMilliseconds: wall.milliseconds), isUnpaid: isUnpaid))
  }
}
