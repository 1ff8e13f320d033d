import ControlPlaneCore
import FederationModel

/// An agent and what runs beside it, as far as the core can tell: a journal that survives its crashes, and programs that end some time.
struct SimulatedAgent {
  struct Run {
    var assignment: RunAssignment
    var phase: RunPhase
    var isCancelWanted = false
    /// How long it may run with what is held for it, as the agent was told; nil: as long as its bound allows.
    var slice: Duration?
    var began: Timestamp?
  }

  let cluster: ClusterName
  var journal: String
  var sequence: Int64 = 0
  var unacknowledged: [AgentEvent] = []
  var runs: [RunID: Run] = [:]
  var highestSeen = CommitPosition(term: 0, sequence: 0)
  /// Nil while no session is open.
  var session: SessionID?
  /// Runs that the last welcome named and whose assignments have not come, and those of them whose end is wanted.
  var awaited: Set<RunID> = []
  var awaitedCancels: Set<RunID> = []
  /// Messages of the session that have not been read.
  var inbox: [AgentCommand] = []
  /// What its cache is to do, as far as it was told.
  var orders = DataOrders()
  /// What its cache is; nil for an agent that takes no orders.
  var cache: CacheInventory?
  /// It is a batch system of its own.
  var queues = false
  /// What it says of itself beyond that.
  var closed: String?
  var executor: String?
  var partitions: [Partition] = []
  /// What its cluster's own quotas leave.
  var quotas: [ProjectName: ResourceQuota]?
  /// It can be told that more is held for a run.
  var renewsSlices = true
  /// It meters how long its runs really take.
  var measuresTime = false
  var clock = Timestamp.epoch
  /// How far its wall clock is ahead.
  var clockError = Duration.zero
  /// What it meters of each run that ends.
  var wallMilliseconds: Int64 = 0
  var bytesIn = ByteCount.zero
  /// nil: it is of a release that does not tell.
  var bytesFrom: [ClusterName: ByteCount]?
  /// Every program that was ever started here, to be checked for doubles.
  var started: Set<RunID> = []

  init(cluster: ClusterName, journal: String) {
    self.cluster = cluster
    self.journal = journal
  }

  var inventory: ClusterInventory {
    var inventory = ClusterInventory(
      capacity: Resources(cpuMillicores: 64_000, memory: .gibibytes(64)), slots: 4,
      images: [ImageRule(pattern: "*", runsAs: "host")], canFence: true, queues: queues, cache: cache, closed: closed,
      executor: executor)
    inventory.features = Set(RunFeature.allCases)
    inventory.quotas = quotas
    inventory.partitions = partitions
    return inventory
  }

  var hello: AgentHello {
    AgentHello(
      journal: journal, lastSequence: sequence, highestSeen: highestSeen, runs: runs.mapValues(\.phase),
      inventory: inventory, protocolVersion: 1, takesOrders: cache != nil,
      renewsSlices: renewsSlices)
  }

  mutating func read(_ command: AgentCommand) {
    switch command {
    case .welcome(let welcome):
      unacknowledged.removeAll { $0.sequence <= welcome.ackedSequence }
      guard !welcome.isAdopting else { return }
      let desired = Set(welcome.desired)
      for id in runs.keys.sorted() where !desired.contains(id) {
        // Told nothing of it any more: stopped and forgotten, like a real agent, whose journal keeps events until they are acknowledged.
        runs[id] = nil
      }
      awaited = desired.subtracting(runs.keys)
      awaitedCancels = []
      cancel(welcome.cancels)
    case .assign(let assignments): for assignment in assignments { accept(assignment) }
    case .cancel(let ids, _, _): cancel(ids)
    case .forget(let ids): for id in ids where runs[id]?.phase.isTerminal == true { runs[id] = nil }
    case .extend(let slices):
      for (id, slice) in slices { runs[id]?.extend(to: slice) }
    case .acknowledge(let sequence): unacknowledged.removeAll { $0.sequence <= sequence }
    case .data(let more): take(more)
    case .drain: break
    }
  }

  private mutating func take(_ more: DataOrders) {
    if more.isComplete { orders = DataOrders() }
    orders.stage += more.stage
    orders.store += more.store
    orders.index += more.index
    orders.archive += more.archive
    orders.evict += more.evict
    orders.cancel += more.cancel
    orders.pin += more.pin
    orders.unpin += more.unpin
    orders.values += more.values
    orders.stage.removeAll { more.cancel.contains($0.key) }
  }

  private mutating func cancel(_ ids: [RunID]) {
    for id in ids {
      if awaited.contains(id) { awaitedCancels.insert(id) } else { runs[id]?.isCancelWanted = true }
    }
  }

  private mutating func accept(_ assignment: RunAssignment) {
    awaited.remove(assignment.run)
    guard runs[assignment.run] == nil else {
      if let slice = assignment.slice { runs[assignment.run]!.extend(to: slice) }
      return
    }
    runs[assignment.run] = Run(assignment: assignment, phase: .dispatched, slice: assignment.slice)
    runs[assignment.run]!.isCancelWanted = awaitedCancels.contains(assignment.run)
    report(assignment.run, .dispatched)
  }

  /// One step of one run: it starts, or ends.
  mutating func step(_ id: RunID, using random: inout SeededGenerator, world: inout World) {
    guard let run = runs[id], !run.phase.isTerminal else { return }
    if run.isCancelWanted {
      end(id, TaskOutcome(phase: .cancelled, message: "cancelled"), &world)
    } else if run.phase == .running {
      let fails = random.next(upTo: 10) == 0
      end(
        id,
        fails
          ? TaskOutcome(phase: .failed, exitCode: 1, message: "exit 1") : TaskOutcome(phase: .succeeded, exitCode: 0),
        &world)
    } else {
      runs[id]!.phase = .running
      runs[id]!.began = clock
      world.started(id, run.assignment, on: cluster)
      started.insert(id)
      report(id, .running)
    }
  }

  /// Ends what has run as long as it is paid for, as the fence beside it does whether or not anybody is reached.
  mutating func endUnpaid(_ world: inout World) {
    for id in runs.keys.sorted() {
      guard let run = runs[id], run.phase == .running, let slice = run.slice, let began = run.began,
        clock - began >= slice
      else { continue }
      runs[id]!.phase = .failed
      world.ended(id)
      report(id, .failed, TaskOutcome(phase: .failed, message: "used up"), isUnpaid: true)
    }
  }

  private mutating func end(_ id: RunID, _ outcome: TaskOutcome, _ world: inout World) {
    runs[id]!.phase = outcome.phase
    world.ended(id)
    report(id, outcome.phase, outcome)
  }

  private mutating func report(
    _ id: RunID, _ phase: RunPhase, _ outcome: TaskOutcome? = nil, isUnpaid: Bool = false
  ) {
    sequence += 1
    var wall = wallMilliseconds
    if measuresTime {
      wall = runs[id]?.began.map { min(clock - $0, runs[id]!.slice ?? .seconds(86_400)).milliseconds } ?? 0
    }
    unacknowledged.append(
      AgentEvent(
        sequence: sequence, run: id, phase: phase, at: clock + clockError, outcome: outcome, runsAs: "host",
        usage: outcome == nil
          ? RunUsage() : RunUsage(bytesIn: bytesIn, bytesFrom: bytesFrom, wallMilliseconds: wall),
        isUnpaid: isUnpaid))
  }
}

extension SimulatedAgent.Run {
  /// An end only moves later.
  mutating func extend(to slice: Duration) { self.slice = max(self.slice ?? .zero, slice) }
}

/// What really happened, seen from outside: the checker of I1.
struct World {
  private(set) var live: [RunID: String] = [:]
  private(set) var startedEver: Set<RunID> = []
  private(set) var violations: [String] = []

  mutating func started(_ run: RunID, _ assignment: RunAssignment, on cluster: ClusterName) {
    let task = "\(assignment.workflowUID)/\(assignment.nodeName)"
    if !startedEver.insert(run).inserted { violations.append("run \(run) of \(task) started twice") }
    if let other = live.first(where: { $0.value == task }) {
      violations.append("task \(task): run \(run) on \(cluster) started while \(other.key) was alive")
    }
    live[run] = task
  }

  mutating func ended(_ run: RunID) { live[run] = nil }
}

/// SplitMix64: small, fast, and the same everywhere for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
  mutating func next(upTo bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
