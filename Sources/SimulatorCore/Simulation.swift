import HeapModule
public import SchedulerCore

/// A workflow as it will really go: the graph as the scheduler sees it, and what it cannot see.
public struct Workload: Sendable {
  public var name: String
  /// With expected runtimes.
  public var graph: TaskGraph
  /// Seconds at speed 1 that each task really takes.
  public var runtimes: [Double]
  /// Seconds since the start at which the workflow is submitted.
  public var submittedAt: Double
  public var taskNames: [String]
  public init(name: String, graph: TaskGraph, runtimes: [Double], submittedAt: Double = 0, taskNames: [String] = []) {
    self.name = name
    self.graph = graph
    self.runtimes = runtimes
    self.submittedAt = submittedAt
    self.taskNames = taskNames
  }
}

/// What a policy is told.
public enum SimulationEvent: Hashable, Sendable {
  /// A workflow; its tasks and data get the next numbers.
  case submitted(TaskGraph)
  case ready(Int)
  case started(Int)
  case finished(Int)
  /// A run ended with its cluster's outage; the task is ready again.
  case lost(Int)
  case transferFinished(datum: Int, to: Int)
  case transferFailed(datum: Int, to: Int)
  case reachabilityChanged(site: Int, isDown: Bool)
  /// Of a slot, and of a byte that leaves: of what is bound and sent from now on.
  case priceChanged(site: Int, perSecond: Double, egressPerByte: Double)
}

/// What decides in a simulation.
public protocol SchedulingPolicy {
  /// All that happened at one moment, in order. Called again at the same moment when the actions made something happen.
  mutating func react(to events: [SimulationEvent], at now: Double) -> [SchedulingAction]
}

/// Runs a policy on a platform in virtual time.
///
/// A bound run holds no slot until its inputs are there (I4, I5); of those that wait for a slot of a cluster the one of the highest
/// rank starts. What a run lacks and nobody stages is fetched when it is bound. There is one transfer for each datum and cluster (I5).
public struct Simulation {
  enum Event {
    case submit(Int)
    case admitted(task: Int, attempt: Int)
    case ended(task: Int, attempt: Int)
    case failed(task: Int, attempt: Int)
    case outage(site: Int, isDown: Bool)
    /// An outage by chance.
    case breakdown(site: Int, number: Int)
    case repair(site: Int, number: Int)
    case price(site: Int, PriceChange)
  }
  struct Timed: Comparable {
    var at: Double
    var number: Int
    var event: Event
    static func < (left: Self, right: Self) -> Bool {
      left.at < right.at || left.at == right.at && left.number < right.number
    }
    static func == (left: Self, right: Self) -> Bool { left.number == right.number }
  }
  struct Run {
    var site: Int
    var rank: Double
    var boundAt: Double
    var missing: Int
    var isAdmitted: Bool
    var startedAt: Double?
    /// The quote at binding holds to the end.
    var pricePerSecond: Double
  }

  let platform: Platform
  let seed: UInt64
  /// False where the expectation is asked for: then every run waits as long as the co-scheduler expects.
  var drawsWaits = true
  var graph = TaskGraph(tasks: [], data: [])
  var runtimes: [Double] = []
  var names: [String] = []
  var workloads: [Workload]
  var children: [[Int]] = []
  var openParents: [Int] = []
  var releasedAt: [Double] = []
  var readyAt: [Double] = []
  var runs: [Run?] = []
  var attempts: [Int] = []
  var isEnded: [Bool] = []
  var endedCount = 0
  /// Row of sites for each datum.
  var isThere: [[Bool]] = []
  var isComing: [[Bool]] = []
  /// Runs that wait for a datum on a site.
  var waiting: [[Int]] = []
  /// Transfers that wait for their turn, by destination.
  var queued: [[(datum: Int, from: Int)]]
  var active: [Int]
  var links: FairLinks
  var freeSlots: [Int]
  /// Runs by site that only lack a slot.
  var startable: [[Int]]
  var isDown: [Bool]
  /// What clusters ask now.
  var pricePerSecond: [Double]
  var egressPerByte: [Double]
  /// Outages that have begun and not ended: they may overlap.
  var outages: [Int]
  var timed = Heap<Timed>()
  var timedCount = 0
  /// Set where only a result that keeps it is of use.
  var bound: RolloutBound?
  /// Whether a run has begun that cannot keep the bound.
  var isHopeless = false
  var now = 0.0
  var news: [SimulationEvent] = []
  public internal(set) var report: SimulationReport

  public init(_ platform: Platform, _ workloads: [Workload], seed: UInt64 = 1) {
    self.platform = platform
    self.workloads = workloads
    self.seed = seed
    let sites = platform.sites.map(\.compute)
    queued = sites.map { _ in [] }
    active = sites.map { _ in 0 }
    links = FairLinks(
      capacityIn: sites.map(\.bandwidthIn), capacityOut: sites.map(\.bandwidthOut),
      paths: platform.paths)
    freeSlots = sites.map(\.slots)
    startable = sites.map { _ in [] }
    isDown = sites.map { _ in false }
    outages = sites.map { _ in 0 }
    pricePerSecond = sites.map(\.pricePerSecond)
    egressPerByte = sites.map(\.egressPerByte)
    report = SimulationReport(platform)
    for (index, workload) in workloads.enumerated() { schedule(.submit(index), at: workload.submittedAt) }
    for (index, site) in platform.sites.enumerated() {
      for outage in site.outages {
        schedule(.outage(site: index, isDown: true), at: outage.at)
        schedule(.outage(site: index, isDown: false), at: outage.at + outage.seconds)
      }
      for change in site.prices { schedule(.price(site: index, change), at: change.at) }
      scheduleBreakdown(index, number: 0)
    }
  }

  /// Runs to the end.
  ///
  /// - Throws: `SimulationStall` when nothing will ever happen any more and tasks are left, or when the bound cannot be kept.
  public mutating func run(_ policy: inout some SchedulingPolicy) throws(SimulationStall) -> SimulationReport {
    let total = workloads.reduce(0) { $0 + $1.graph.tasks.count }
    while endedCount < total {
      let untilTransfer = links.untilNextEnd()
      let untilEvent = (timed.min?.at ?? .infinity) - now
      let step = min(untilTransfer, untilEvent)
      guard step < .infinity, !isHopeless else { throw SimulationStall(at: now, left: total - endedCount) }
      now += max(0, step)
      for transfer in links.advance(max(0, step)) { arrived(transfer) }
      while let next = timed.min, next.at <= now {
        _ = timed.popMin()
        handle(next.event)
      }
      startRuns()
      while !news.isEmpty {
        let told = news
        news = []
        for action in policy.react(to: told, at: now) { act(action) }
        startRuns()
      }
    }
    report.finish(graph, names, at: now)
    return report
  }
}

/// What a rollout has to keep to be of use.
struct RolloutBound {
  /// The last moment at which all may have ended.
  var until: Double
  /// By task, seconds that at least pass between its end and the end of all.
  var tails: [Double]
}

/// A policy left tasks that nothing will ever start.
public struct SimulationStall: Error, CustomStringConvertible {
  public var at: Double
  public var left: Int
  public var description: String { "the policy stalled after \(at) s with \(left) tasks that nothing will start" }
}

// MARK: What happens
extension Simulation {
  mutating func schedule(_ event: Event, at: Double) {
    timedCount += 1
    timed.insert(Timed(at: at, number: timedCount, event: event))
  }

  private mutating func handle(_ event: Event) {
    switch event {
    case .submit(let index): submit(workloads[index])
    case .admitted(let task, let attempt):
      guard attempts[task] == attempt, runs[task] != nil else { return }
      runs[task]!.isAdmitted = true
      offer(task)
    case .ended(let task, let attempt):
      guard attempts[task] == attempt, runs[task] != nil else { return }
      end(task)
    case .failed(let task, let attempt):
      guard attempts[task] == attempt, let run = runs[task] else { return }
      freeSlots[run.site] += 1
      lose(task)
    case .outage(let site, let isDown): setReachability(site, isDown)
    case .breakdown(let site, let number):
      setReachability(site, true)
      schedule(.repair(site: site, number: number), at: now + gap(site, number, isUp: false))
    case .repair(let site, let number):
      setReachability(site, false)
      scheduleBreakdown(site, number: number + 1)
    case .price(let site, let change):
      pricePerSecond[site] = change.perSecond
      egressPerByte[site] = change.egressPerByte
      news.append(
        .priceChanged(site: site, perSecond: change.perSecond, egressPerByte: change.egressPerByte))
    }
  }

  private mutating func scheduleBreakdown(_ site: Int, number: Int) {
    guard platform.sites[site].failures.meanSecondsBetweenOutages != nil else { return }
    schedule(.breakdown(site: site, number: number), at: now + gap(site, number, isUp: true))
  }

  /// Seconds until a cluster's state changes by chance: exponential, from a stream of its own for each change.
  private func gap(_ site: Int, _ number: Int, isUp: Bool) -> Double {
    let failures = platform.sites[site].failures
    let mean = isUp ? failures.meanSecondsBetweenOutages ?? .infinity : failures.meanOutageSeconds
    var random = SplitMix64(seed: seed ^ 0xfa11_0000, stream: UInt64(site * 2 + (isUp ? 0 : 1)) << 32 | UInt64(number))
    return random.exponential(mean: mean)
  }

  private mutating func submit(_ workload: Workload) {
    let (task0, datum0) = (graph.tasks.count, graph.data.count)
    var told = workload.graph
    let holders = platform.sites.indices.filter { platform.sites[$0].holdsInputs }
    let made = Set(told.tasks.flatMap(\.outputs))
    for datum in told.data.indices where !made.contains(datum) && told.data[datum].sites.isEmpty {
      told.data[datum].sites = holders
    }
    for (index, task) in told.tasks.enumerated() {
      graph.tasks.append(
        TaskGraph.Task(
          inputs: task.inputs.map { $0 + datum0 }, outputs: task.outputs.map { $0 + datum0 }, runtime: task.runtime,
          parents: task.parents.map { $0 + task0 }))
      names.append(index < workload.taskNames.count ? workload.taskNames[index] : "\(workload.name)-\(index)")
      openParents.append(task.parents.count)
    }
    for datum in told.data {
      var row = platform.sites.map { _ in false }
      isComing.append(row)
      for site in datum.sites { row[site] = true }
      isThere.append(row)
      waiting.append([])
    }
    graph.data += told.data
    runtimes += workload.runtimes
    let count = told.tasks.count
    children += Array(repeating: [], count: count)
    readyAt += Array(repeating: 0, count: count)
    runs += Array(repeating: nil, count: count)
    attempts += Array(repeating: 0, count: count)
    isEnded += Array(repeating: false, count: count)
    for task in task0..<graph.tasks.count {
      for parent in graph.tasks[task].parents { children[parent].append(task) }
    }
    news.append(.submitted(told))
    for task in task0..<graph.tasks.count where openParents[task] == 0 { becomeReady(task) }
  }

  private mutating func becomeReady(_ task: Int) {
    readyAt[task] = now
    news.append(.ready(task))
  }

  private mutating func end(_ task: Int) {
    let run = runs[task]!
    report.ended(task, run, readyAt: readyAt[task], at: now, isLost: false)
    freeSlots[run.site] += 1
    runs[task] = nil
    isEnded[task] = true
    endedCount += 1
    for output in graph.tasks[task].outputs { isThere[output][run.site] = true }
    news.append(.finished(task))
    for child in children[task] {
      openParents[child] -= 1
      if openParents[child] == 0 { becomeReady(child) }
    }
  }

  private mutating func arrived(_ transfer: FairLinks.Transfer) {
    active[transfer.to] -= 1
    isComing[transfer.datum][transfer.to] = false
    isThere[transfer.datum][transfer.to] = true
    report.moved(graph.data[transfer.datum].size, egressPerByte: egressPerByte[transfer.from])
    news.append(.transferFinished(datum: transfer.datum, to: transfer.to))
    for task in waiting[transfer.datum] where runs[task]?.site == transfer.to {
      runs[task]!.missing -= 1
      offer(task)
    }
    waiting[transfer.datum].removeAll { runs[$0] == nil || runs[$0]!.site == transfer.to }
    startTransfers(to: transfer.to)
  }

  private mutating func setReachability(_ site: Int, _ isDown: Bool) {
    outages[site] += isDown ? 1 : -1
    guard isDown ? outages[site] == 1 : outages[site] == 0 else { return }
    self.isDown[site] = isDown
    news.append(.reachabilityChanged(site: site, isDown: isDown))
    guard isDown else { return retryTransfers() }
    for task in graph.tasks.indices where runs[task]?.site == site { lose(task) }
    startable[site] = []
    freeSlots[site] = platform.sites[site].compute.slots
    for transfer in links.cancel(where: { $0.from == site || $0.to == site }) {
      active[transfer.to] -= 1
      isComing[transfer.datum][transfer.to] = false
      news.append(.transferFailed(datum: transfer.datum, to: transfer.to))
    }
    for to in queued.indices {
      for transfer in queued[to] where transfer.from == site || to == site {
        isComing[transfer.datum][to] = false
        news.append(.transferFailed(datum: transfer.datum, to: to))
      }
      queued[to].removeAll { $0.from == site || to == site }
    }
    retryTransfers()
  }

  private mutating func lose(_ task: Int) {
    let run = runs[task]!
    report.ended(task, run, readyAt: readyAt[task], at: now, isLost: true)
    runs[task] = nil
    attempts[task] += 1
    news.append(.lost(task))
  }

  /// Fetches again what runs wait for and nobody brings.
  private mutating func retryTransfers() {
    for task in graph.tasks.indices {
      guard let run = runs[task], run.startedAt == nil, run.missing > 0 else { continue }
      for input in graph.tasks[task].inputs where !isThere[input][run.site] { fetch(input, to: run.site) }
    }
    for site in queued.indices { startTransfers(to: site) }
  }
}

// MARK: What the policy does
extension Simulation {
  mutating func act(_ action: SchedulingAction) {
    switch action {
    case .stage(let datum, let from, let to):
      precondition(isThere[datum][from], "a policy staged what its source does not have")
      enqueue(datum, from: from, to: to)
    case .bind(let task, let site, let rank): bind(task, site, rank)
    case .evict(let datum, let site):
      let holders = isThere[datum].filter { $0 }.count
      precondition(isThere[datum][site] && holders > 1, "a policy evicted a last replica")
      let isUsed = graph.tasks.indices.contains { runs[$0]?.site == site && graph.tasks[$0].inputs.contains(datum) }
      precondition(!isUsed, "a policy evicted an input of a bound run (I4)")
      isThere[datum][site] = false
    }
  }

  private mutating func bind(_ task: Int, _ site: Int, _ rank: Double) {
    precondition(
      runs[task] == nil && openParents[task] == 0 && !isEnded[task], "a policy bound a task that is not ready")
    precondition(platform.sites[site].compute.slots > 0, "a policy bound a task to a cluster without slots")
    var run = Run(
      site: site, rank: rank, boundAt: now, missing: 0, isAdmitted: true, pricePerSecond: pricePerSecond[site])
    for input in Set(graph.tasks[task].inputs).sorted() where !isThere[input][site] {
      run.missing += 1
      waiting[input].append(task)
      fetch(input, to: site)
    }
    if let wait = platform.sites[site].wait {
      run.isAdmitted = false
      let seconds = seconds(of: wait, task, attempt: attempts[task])
      schedule(.admitted(task: task, attempt: attempts[task]), at: now + seconds)
    }
    runs[task] = run
    offer(task)
  }

  /// How long a cluster's own queue holds a run: drawn for it, or what is expected.
  func seconds(of wait: QueueWaitModel, _ task: Int, attempt: Int) -> Double {
    guard drawsWaits else { return wait.mean + CoSchedulingOptions().risk * (wait.p90 - wait.p50) }
    var random = SplitMix64(seed: seed, stream: UInt64(task * 64 + attempt))
    return wait.seconds(at: random.unit())
  }

  /// From whoever has it and has the least to send.
  private mutating func fetch(_ datum: Int, to site: Int) {
    guard !isComing[datum][site] else { return }
    var (source, least): (Int?, Double) = (nil, .infinity)
    for from in platform.sites.indices where isThere[datum][from] && !isDown[from] {
      let sending = links.transfers.reduce(1.0) { $1.from == from ? $0 + 1 : $0 }
      let cost =
        sending
        / min(platform.sites[from].compute.bandwidthOut, platform.paths.limit(from: from, to: site))
      if cost < least { (source, least) = (from, cost) }
    }
    // Without a source it waits for an outage to end.
    if let source { enqueue(datum, from: source, to: site) }
  }

  private mutating func enqueue(_ datum: Int, from: Int, to: Int) {
    guard !isThere[datum][to], !isComing[datum][to], !isDown[from], !isDown[to] else { return }
    isComing[datum][to] = true
    queued[to].append((datum, from))
    startTransfers(to: to)
  }

  private mutating func startTransfers(to site: Int) {
    while active[site] < platform.transfersAtOnce, !queued[site].isEmpty {
      let (datum, from) = queued[site].removeFirst()
      active[site] += 1
      links.start(datum, from: from, to: site, bytes: graph.data[datum].size)
    }
  }

  mutating func offer(_ task: Int) {
    guard let run = runs[task], run.missing == 0, run.isAdmitted, run.startedAt == nil, !isDown[run.site] else {
      return
    }
    startable[run.site].append(task)
  }

  private mutating func scheduleRun(_ task: Int, at site: Int) {
    let run = runtimes[task] / platform.sites[site].compute.speed
    let probability = platform.sites[site].failures.runFailureProbability
    var random = SplitMix64(seed: seed ^ 0xfa11_0001, stream: UInt64(task * 64 + attempts[task]))
    if probability > 0, random.unit() < probability {
      schedule(.failed(task: task, attempt: attempts[task]), at: now + run * random.unit())
    } else {
      scheduleEnd(task, at: now + run)
    }
  }

  mutating func scheduleEnd(_ task: Int, at end: Double) {
    if let bound, end + bound.tails[task] > bound.until { isHopeless = true }
    schedule(.ended(task: task, attempt: attempts[task]), at: end)
  }

  mutating func startRuns() {
    for site in startable.indices where freeSlots[site] > 0 && !startable[site].isEmpty {
      startable[site].sort { runs[$0]!.rank > runs[$1]!.rank || runs[$0]!.rank == runs[$1]!.rank && $0 < $1 }
      let starting = startable[site].prefix(freeSlots[site])
      for task in starting {
        freeSlots[site] -= 1
        runs[task]!.startedAt = now
        news.append(.started(task))
        scheduleRun(task, at: site)
      }
      startable[site].removeFirst(starting.count)
    }
  }
}
