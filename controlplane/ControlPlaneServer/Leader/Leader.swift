import ControlPlaneCore
import ControlPlaneStore
import DequeModule
import FederationModel
import Logging
import SchedulerCore
import Synchronization
import WorkflowCore

/// One term of leadership: the loop that applies inputs to the core, commits what they wrote, and only then does what they want done.
///
/// The actor owns the core. Turns are synchronous and short; while two units are in flight, inputs gather for the next one, and that
/// is all the batching there is: an idle leader commits at once, a busy one commits much at a time.
actor Leader {
  /// A unit between its sending and its answer.
  struct Unit {
    var fence: Fence
    var delta: DurableDelta
    var effects: [Effect]
    /// Kept until the answer, to be applied again one by one should the database refuse the unit.
    var inputs: [Input]
    var sentAt: ContinuousClock.Instant
    var isCommitted = false
  }

  enum End: Error {
    /// Another leader has taken over, or this one has lost its lease for good.
    case deposed
    case shutdown
  }

  let term: Int64
  let store: ControlPlaneStore
  let queue: InputQueue
  let board: LeaseBoard
  let logger: Logger
  let configuration: CoreConfiguration
  let incarnation: UInt32
  let metrics: any LeaderMetrics
  private let wallClock: @Sendable () -> Timestamp

  var core: ControlPlaneCore
  /// Sequence of the last unit that was sent.
  var sequence: Int64
  var inFlight: Deque<Unit> = []
  /// What the first unit that did not commit met; the loop deals with it.
  var failure: CommitError?
  var answerWaiter: CheckedContinuation<Void, Never>?
  /// Grows whenever units are sent anew or given up.
  var attempt = 0
  var resendDelay = Leader.firstResendDelay
  static let firstResendDelay = Duration.milliseconds(100)
  var sessions: [ClusterName: Session] = [:]
  var waiters: [RequestID: CheckedContinuation<Reply, any Error>] = [:]
  private var lastRequest: Int64 = 0
  private var lastSession: Int64 = 0
  private var isPlanning = false
  /// While the database cannot be reached, commands are refused at once instead of waiting in vain.
  var isDatabaseAway = false

  struct Session {
    var id: SessionID
    var outbox: any AgentOutbox
  }

  let look: ObjectLook

  /// A batch ends when applying it has cost this much. Taking its output and a snapshot cost as much again at most, so that a turn
  /// stays below 5 ms.
  private static let turnLimit = Duration.milliseconds(2)
  private static let longTurn = 0.005
  private static let batchLimit = 4096
  private static let unitsInFlight = 2

  init(
    term: Int64, state: DurableState, history: TemplateHistory, position: CommitPosition, incarnation: UInt32,
    configuration: CoreConfiguration,
    store: ControlPlaneStore, board: LeaseBoard, metrics: any LeaderMetrics, logger: Logger, look: @escaping ObjectLook,
    wallClock: @escaping @Sendable () -> Timestamp
  ) {
    self.term = term
    self.store = store
    self.board = board
    self.metrics = metrics
    self.logger = logger
    self.look = look
    self.configuration = configuration
    self.incarnation = incarnation
    self.wallClock = wallClock
    queue = InputQueue()
    core = ControlPlaneCore(
      state: state, position: position, incarnation: incarnation, configuration: configuration, history: history)
    sequence = position.sequence
  }

  // MARK: The loop

  /// Runs until the term is over. Every caller that still waits is answered, every session closed, before it returns.
  func run() async -> End {
    var end = End.shutdown
    do {
      try await loop()
    } catch let reason as End {
      end = reason
    } catch {
      logger.error("the leader's loop failed", metadata: ["error": "\(error)"])
      end = .deposed
    }
    abandon()
    return end
  }

  private func loop() async throws {
    // The restored core may have something to write at once (ends of tasks whose cancellation was under way).
    turn()
    while true {
      if !core.isUnfinished { await queue.wait() }
      while inFlight.count >= Self.unitsInFlight, failure == nil { await waitForAnswer() }
      if let failure {
        self.failure = nil
        try await recover(from: failure)
      } else if queue.isClosed {
        while !inFlight.isEmpty, failure == nil { await waitForAnswer() }
        throw End.shutdown
      } else {
        turn()
      }
    }
  }

  /// Applies what waits, sends one unit, and starts a placement pass when one is due.
  private func turn() {
    let started = (wall: ContinuousClock.now, cpu: ProcessUsage.threadSeconds)
    var inputs: [Input] = []
    // What large inputs left undone goes on beside the others, neither in front of them nor behind them: half a turn each.
    let share = core.isUnfinished ? Self.turnLimit / 2 : Self.turnLimit
    while inputs.count < Self.batchLimit, ContinuousClock.now - started.wall < share, let input = queue.next() {
      core.apply(input, at: wallClock())
      inputs.append(input)
    }
    while core.isUnfinished, ContinuousClock.now - started.wall < Self.turnLimit {
      core.apply(.proceed, at: wallClock())
    }
    let applied = ProcessUsage.threadSeconds
    send(inputs)
    let sent = ProcessUsage.threadSeconds
    plan()
    let ended = ProcessUsage.threadSeconds
    let cost = TurnCost(
      seconds: (ContinuousClock.now - started.wall).seconds, cpu: ended - started.cpu, applying: applied - started.cpu,
      taking: sent - applied, snapshot: ended - sent)
    metrics.turn(inputs: inputs.count, cost, queueDepth: queue.depth, core.census)
    if cost.cpu > Self.longTurn {
      logger.debug("a long turn", metadata: ["inputs": "\(inputs.count)", "cost": "\(cost)"])
    }
  }

  /// Takes the core's output as one unit and puts it on the wire.
  func send(_ inputs: [Input]) {
    guard core.hasOutput else { return }
    let (delta, effects) = core.takeOutput()
    let retired = core.takeRetired()
    if !retired.isEmpty { Task.detached { _ = consume retired } }
    guard !delta.isEmpty || !inFlight.isEmpty else {
      release(effects)
      return
    }
    let next = max(sequence + 1, (delta.minimumSequence ?? 0) + 1)
    let fence = Fence(term: term, previous: sequence, next: next)
    sequence = next
    inFlight.append(Unit(fence: fence, delta: delta, effects: effects, inputs: inputs, sentAt: .now))
    watch(store.send(delta, fence: fence), next)
  }

  private func plan() {
    guard !isPlanning, let snapshot = core.takeSnapshot() else { return }
    isPlanning = true
    let planner = PlacementPlanner(weights: configuration.weights)
    Task.detached { [queue] in
      let plan = planner.plan(snapshot)
      await self.planned()
      queue.push(own: .plan(plan))
    }
  }

  private func planned() { isPlanning = false }

  // MARK: Callers

  /// Offers a command and waits for its effect.
  func perform(_ command: Command, _ principal: Principal, _ idempotency: IdempotencyKey?) async throws -> Reply {
    if isDatabaseAway {
      throw FederationError(
        .unavailable, "the control plane's database cannot be reached; try again", retryAfter: .seconds(2))
    }
    lastRequest += 1
    let request = RequestID(lastRequest)
    return try await withCheckedThrowingContinuation { continuation in
      waiters[request] = continuation
      do {
        try queue.offer(command: .command(command, request: request, principal: principal, idempotency: idempotency))
      } catch {
        waiters.removeValue(forKey: request)?.resume(throwing: error)
      }
    }
  }

  func connect(_ cluster: ClusterName, _ hello: AgentHello, version: String, outbox: any AgentOutbox) throws
    -> SessionID
  {
    lastSession += 1
    let session = SessionID(lastSession)
    if let old = sessions[cluster] {
      old.outbox.close(FederationError(.cancelled, "another session of cluster \(cluster) has begun"))
    }
    sessions[cluster] = Session(id: session, outbox: outbox)
    board.opened(cluster, session)
    var hello = hello
    hello.agentVersion = version
    queue.push(own: .agentConnected(cluster, session, hello))
    return session
  }

  func disconnect(_ cluster: ClusterName, _ session: SessionID) {
    guard sessions[cluster]?.id == session else { return }
    sessions[cluster] = nil
    board.closed(cluster, session)
    queue.push(own: .agentDisconnected(cluster, session))
  }

  func access(of run: RunID, on cluster: ClusterName) -> RunAccess? { core.access(of: run, on: cluster) }

  func mayUse(object key: String, of project: ProjectName, _ use: ObjectUse, on cluster: ClusterName) -> Bool {
    core.mayUse(object: key, of: project, use, on: cluster)
  }

  func unstoredHolder(of key: String, in project: ProjectName) -> ClusterName? {
    core.unstoredHolder(of: key, in: project)
  }

  func transferProgress(of project: ProjectName) -> [TransferID: TransferProgress] {
    core.transferProgress(of: project)
  }

  func secretAccess(of key: DataKey, named name: String, on cluster: ClusterName) -> SecretAccess? {
    core.secretAccess(of: key, named: name, on: cluster)
  }

  func mayRead(_ object: ProjectObject, by run: RunID, on cluster: ClusterName) -> ProjectName? {
    core.mayRead(object, by: run, on: cluster)
  }

  func mayReadExport(of neighbour: ClusterName, on cluster: ClusterName) -> Bool {
    core.mayReadExport(of: neighbour, on: cluster)
  }

  func links() -> [LinkStatus] { core.linkStatuses() }

  func fairShare() -> FairShareStatus { core.fairShare() }

  func reasons(in reference: WorkflowReference, of nodes: [NodeID]) -> [NodeID: String] {
    core.reasons(in: reference, of: nodes)
  }

  func forecastBasis(of definition: WorkflowDefinition, in project: ProjectName, reading inputs: [UnseenInput]) throws
    -> ForecastBasis
  {
    try core.forecastBasis(of: definition, in: project, reading: inputs)
  }

  func seen(_ inputs: [UnseenInput], of project: ProjectName) -> [UnseenInput: SeenInput] {
    core.seen(inputs, of: project)
  }

  func standstill(of reference: WorkflowReference) -> Standstill? { core.standstill(of: reference) }

  func statuses() -> [ClusterName: ClusterStatus] {
    var statuses: [ClusterName: ClusterStatus] = [:]
    for (name, soft) in core.clusterStatuses() {
      statuses[name] = ClusterStatus(
        isConnected: soft.isConnected, inventory: soft.inventory, activeRuns: soft.activeRuns,
        measuredBandwidth: soft.measuredBandwidth, closedBecause: soft.closedBecause,
        agentVersion: soft.agentVersion)
    }
    return statuses
  }

  func offerTick() { queue.pushTick(board.silence(of: core.clusterNames)) }

  /// The database says that another process leads.
  func depose() {
    failure = .fenced
    queue.poke()
    answerWaiter?.resume()
    answerWaiter = nil
  }

  /// The next moment at which a tick would change a workflow, from now.
  func untilNextWake() -> Duration? { core.nextWake.map { $0 - wallClock() } }

  /// Closes every session, because this leader may no longer speak: its lease has run out unrenewed.
  func closeSessions(_ error: FederationError) {
    for (cluster, session) in sessions {
      session.outbox.close(error)
      board.closed(cluster, session.id)
      queue.push(own: .agentDisconnected(cluster, session.id))
    }
    sessions = [:]
  }

  /// Nothing more is applied; what is in flight is still settled by `run()`.
  nonisolated func shutDown() {
    let rest = queue.close()
    Task { await self.refuse(rest) }
  }

  func refuse(_ inputs: [Input]) {
    for input in inputs {
      switch input {
      case .command(_, let request, _, _), .loaded(_, _, let request, _, _):
        waiters.removeValue(forKey: request)?.resume(throwing: FederationError.notLeading)
      default: break
      }
    }
  }

  private func abandon() {
    refuse(queue.close())
    for unit in inFlight { refuse(unit.inputs) }
    inFlight = []
    closeSessions(FederationError.notLeading)
    tellWaiters(
      FederationError(
        .unavailable, "the leader changed before it could answer; repeat the request with the same Idempotency-Key",
        retryAfter: .seconds(1)))
  }

  func tellWaiters(_ error: FederationError) {
    let all = waiters.values
    waiters = [:]
    for waiter in all { waiter.resume(throwing: error) }
  }
}
