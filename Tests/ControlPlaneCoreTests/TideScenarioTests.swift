import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

/// A cluster with a tide of realtime work and more offline and idle work than it will ever do, in virtual time, with the real core and
/// the real planner.
private struct Tide {
  static let slots = 20
  static let day = 480.0
  static let realtimeSeconds = 2.0
  /// From the signal: offline work saves what it has, idle work just goes.
  static let leaves: [PriorityClass: Double] = [.offline: 5, .idle: 0.05, .interruptible: 5, .realtime: 1]
  static let runs: [PriorityClass: Double] = [.offline: 60, .idle: 45, .realtime: realtimeSeconds]
  /// A message, a commit.
  static let hop = 0.01

  enum Event { case arrive, plan(PlacementPlan), started(RunID), ended(RunID, RunPhase), tick, message(AgentCommand) }
  private struct Item { var at: Double, order: Int, event: Event }

  var core: ControlPlaneCore
  var random = SeededGenerator(seed: 11)
  private var queue: [Item] = []
  private var order = 0
  private(set) var now = 0.0
  private var sequence: Int64 = 0
  private var isPlanning = false
  private var live: [RunID: (assignment: RunAssignment, startedAt: Double?, leaves: Bool)] = [:]
  private var askedAt: [String: Double] = [:]
  private var arrivals = 0
  /// Seconds from a realtime task's submission to its start.
  private(set) var waits: [Double] = []
  private(set) var busySeconds = 0.0
  private var busySince = 0.0
  private(set) var mostRealtime = 0
  private(set) var ended: [PriorityClass: Int] = [:]
  private(set) var preempted: [PriorityClass: Int] = [:]

  init(_ configuration: CoreConfiguration) throws {
    core = ControlPlaneCore(
      state: DurableState(now: .epoch), position: CommitPosition(term: 1, sequence: 0), incarnation: 1,
      configuration: configuration)
    apply(
      .command(
        .project("default", .create(description: "")), request: RequestID(1), principal: Principal(user: "t"),
        idempotency: nil))
    apply(
      .command(
        .createCluster(ClusterSpec(name: "a", kind: .process)), request: RequestID(1),
        principal: Principal(user: "t"), idempotency: nil))
    let inventory = ClusterInventory(
      capacity: Resources(cpuMillicores: Int64(Self.slots) * 1000, memory: .gibibytes(64)), slots: Self.slots,
      images: [ImageRule(pattern: "*", runsAs: "host")], canFence: true)
    apply(
      .agentConnected(
        "a", SessionID(1),
        AgentHello(
          journal: "j", lastSequence: 0, highestSeen: CommitPosition(term: 0, sequence: 0), runs: [:],
          inventory: inventory, protocolVersion: 2)))
    for index in 0..<4 { try submit("offline-\(index)", .offline, 400) }
    for index in 0..<4 { try submit("idle-\(index)", .idle, 1000) }
    put(0.5, .tick)
    put(1, .arrive)
  }

  private mutating func put(_ delay: Double, _ event: Event) {
    order += 1
    let item = Item(at: now + delay, order: order, event: event)
    let place = queue.firstIndex { ($0.at, $0.order) < (item.at, item.order) } ?? queue.count
    queue.insert(item, at: place)
  }

  private mutating func submit(_ name: String, _ priorityClass: PriorityClass, _ count: Int) throws {
    let yaml = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        templates:
        - name: main
          steps: [[{name: s, template: one, withSequence: {count: "\(count)"}}]]
        - name: one
          federation: {priorityClass: \(priorityClass.rawValue)}
          container: {image: any, command: ["true"], resources: {requests: {cpu: "1"}}}
      """
    apply(
      .command(
        .submit(
          Submission(
            definition: try WorkflowDefinition.decode(Array(yaml.utf8)), project: "default", name: name,
            uid: "uid-\(name)")),
        request: RequestID(1), principal: Principal(user: "t"), idempotency: nil))
  }

  /// Ten times as many at noon as at midnight.
  private var rate: Double {
    let noon = 0.5 - 0.5 * cosine(2 * .pi * now / Self.day)
    return (0.1 + 0.9 * noon) * 5
  }

  private func cosine(_ x: Double) -> Double {
    var angle = x.remainder(dividingBy: 2 * .pi)
    if abs(angle) < 1e-12 { angle = 0 }
    var (term, sum) = (1.0, 1.0)
    for k in stride(from: 1.0, to: 30, by: 2) {
      term *= -angle * angle / (k * (k + 1))
      sum += term
    }
    return sum
  }

  private mutating func exponential(_ mean: Double) -> Double {
    let bits: UInt64 = random.next()
    var value = (Double(bits >> 11) + 1) / 9_007_199_254_740_992
    // -ln, by halving until a series converges.
    var sum = 0.0
    while value < 0.5 {
      value *= 2
      sum += 0.693_147_180_559_945_3
    }
    let y = (1 - value) / (1 + value)
    var (power, series) = (y, 0.0)
    for k in stride(from: 1.0, to: 40, by: 2) {
      series += power / k
      power *= y * y
    }
    return mean * (sum + 2 * series)
  }

  private mutating func apply(_ input: Input) {
    core.apply(input, at: Timestamp(milliseconds: 1_700_000_000_000 + Int64(now * 1000)))
    drive()
  }

  /// What the leader does after each turn.
  private mutating func drive() {
    while core.hasOutput || core.isUnfinished {
      if core.isUnfinished {
        core.apply(.proceed, at: Timestamp(milliseconds: 1_700_000_000_000 + Int64(now * 1000)))
      }
      for case .send(_, _, let command) in core.takeOutput().effects { put(Self.hop, .message(command)) }
      _ = core.takeRetired()
    }
    if !isPlanning, let snapshot = core.takeSnapshot() {
      isPlanning = true
      put(Self.hop, .plan(PlacementPlanner().plan(snapshot)))
      return
    }
    if core.isUnfinished { drive() }
  }

  private mutating func tell(_ run: RunID, _ phase: RunPhase, wall: Double = 0) {
    sequence += 1
    let event = AgentEvent(
      sequence: sequence, run: run, phase: phase, at: .epoch,
      outcome: phase.isTerminal ? TaskOutcome(phase: phase) : nil,
      usage: RunUsage(wallMilliseconds: Int64(wall * 1000)))
    apply(.agentEvents("a", SessionID(1), [event]))
  }

  mutating func run(until end: Double) throws {
    while let item = queue.popLast(), item.at <= end {
      busySeconds += Double(live.values.count { $0.startedAt != nil }) * (item.at - now)
      now = item.at
      switch item.event {
      case .arrive:
        arrivals += 1
        askedAt["uid-rt-\(arrivals)"] = now
        try submit("rt-\(arrivals)", .realtime, 1)
        put(exponential(1 / rate), .arrive)
      case .plan(let plan):
        isPlanning = false
        apply(.plan(plan))
      case .tick:
        apply(.tick(silence: [:]))
        put(0.5, .tick)
      case .message(let command): take(command)
      case .started(let run): started(run)
      case .ended(let run, let phase): ended(run, phase)
      }
    }
  }

  private mutating func take(_ command: AgentCommand) {
    switch command {
    case .assign(let assignments):
      for one in assignments {
        live[one.run] = (one, nil, false)
        put(0.02, .started(one.run))
      }
    case .cancel(let ids, _, _):
      for id in ids where live[id]?.leaves == false {
        live[id]!.leaves = true
        put(Self.leaves[live[id]!.assignment.spec.federation.priorityClass]!, .ended(id, .cancelled))
      }
    default: break
    }
  }

  private mutating func started(_ run: RunID) {
    guard let entry = live[run] else { return }
    live[run]!.startedAt = now
    let priorityClass = entry.assignment.spec.federation.priorityClass
    if let asked = askedAt.removeValue(forKey: entry.assignment.workflowUID) { waits.append(now - asked) }
    mostRealtime = max(
      mostRealtime,
      live.values.count { $0.startedAt != nil && $0.assignment.spec.federation.priorityClass == .realtime })
    put(Self.runs[priorityClass]!, .ended(run, .succeeded))
    tell(run, .running)
  }

  private mutating func ended(_ run: RunID, _ phase: RunPhase) {
    guard let entry = live.removeValue(forKey: run) else { return }
    let priorityClass = entry.assignment.spec.federation.priorityClass
    if phase == .cancelled { preempted[priorityClass, default: 0] += 1 } else { ended[priorityClass, default: 0] += 1 }
    tell(run, phase, wall: entry.startedAt.map { now - $0 } ?? 0)
  }

  /// The part of all slots in which a program ran.
  var busy: Double { busySeconds / (now * Double(Self.slots)) }
  func wait(quantile: Double) -> Double { waits.sorted()[Int(Double(waits.count) * quantile)] }
  var p99: Double { wait(quantile: 0.99) }
}

@Suite("A tide of realtime work over endless other work")
struct TideScenarioTests {
  @Test("Ten times as much at noon as at night: at least 95 % of the slots are busy, and p99 of the waits is under 1 s")
  func tide() throws {
    var tide = try Tide(CoreConfiguration())
    try tide.run(until: 2 * Tide.day)
    print(
      "tide: \(tide.waits.count) realtime tasks, at most \(tide.mostRealtime) at once, p50 \(tide.wait(quantile: 0.5)), "
        + "p90 \(tide.wait(quantile: 0.9)), p98 \(tide.wait(quantile: 0.98)), p99 \(tide.p99) s, longest "
        + "\(tide.waits.max() ?? 0) s, busy \(tide.busy), ended \(tide.ended), preempted \(tide.preempted)")
    #expect(tide.waits.count > 2000)
    #expect(tide.busy >= 0.95)
    #expect(tide.p99 < 1)
    #expect((tide.ended[.offline] ?? 0) > 25 && (tide.ended[.idle] ?? 0) > 20, "nobody starves")
    // Realtime work finds idle work to take the place of, nearly always.
    #expect((tide.preempted[.offline] ?? 0) * 10 < tide.preempted[.idle] ?? 0)
  }

  @Test("Without headroom offline work is in the way, and takes its time to leave")
  func withoutHeadroom() throws {
    var tide = try Tide(CoreConfiguration(holdsHeadroom: false))
    try tide.run(until: Tide.day)
    print("without headroom: p99 \(tide.p99) s, busy \(tide.busy), preempted \(tide.preempted)")
    #expect(tide.p99 > 1)
  }
}
