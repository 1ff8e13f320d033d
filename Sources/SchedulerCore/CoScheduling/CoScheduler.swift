/// A cluster as the co-scheduler sees it. Seconds, bytes, one currency.
public struct ComputeSite: Hashable, Sendable {
  public var slots: Int
  /// Relative to the cluster that runtimes are told for.
  public var speed: Double
  public var bandwidthIn: Double
  public var bandwidthOut: Double
  /// Of one slot.
  public var pricePerSecond: Double
  /// Of a byte that leaves the cluster.
  public var egressPerByte: Double
  /// Seconds that a run is expected to wait in the cluster's own queue, behind other people's jobs; zero without such a queue.
  public var queueWait: Double
  /// Bytes that its cache holds; nil when nothing limits it.
  public var cacheCapacity: Double?
  public init(
    slots: Int, speed: Double = 1, bandwidthIn: Double = .infinity, bandwidthOut: Double = .infinity,
    pricePerSecond: Double = 0, egressPerByte: Double = 0, queueWait: Double = 0, cacheCapacity: Double? = nil
  ) {
    self.slots = slots
    self.speed = speed
    self.bandwidthIn = bandwidthIn
    self.bandwidthOut = bandwidthOut
    self.pricePerSecond = pricePerSecond
    self.egressPerByte = egressPerByte
    self.queueWait = queueWait
    self.cacheCapacity = cacheCapacity
  }
}

/// A workflow by numbers: task `t` is `tasks[t]`, data `d` is `data[d]`.
public struct TaskGraph: Hashable, Sendable {
  public struct Task: Hashable, Sendable {
    public var inputs: [Int]
    public var outputs: [Int]
    /// Expected seconds at speed 1.
    public var runtime: Double
    /// Tasks that must have ended, whether or not their outputs are read.
    public var parents: [Int]
    public init(inputs: [Int] = [], outputs: [Int] = [], runtime: Double, parents: [Int] = []) {
      self.inputs = inputs
      self.outputs = outputs
      self.runtime = runtime
      self.parents = parents
    }
  }
  public struct Datum: Hashable, Sendable {
    public var size: Double
    /// Where it is before the workflow begins; empty for what a task makes.
    public var sites: [Int]
    public init(size: Double, sites: [Int] = []) {
      self.size = size
      self.sites = sites
    }
  }
  public var tasks: [Task]
  public var data: [Datum]
  public init(tasks: [Task], data: [Datum]) {
    self.tasks = tasks
    self.data = data
  }
}

/// What the co-scheduler wants done.
public enum SchedulingAction: Hashable, Sendable {
  /// Copy a datum; nothing depends on it but time.
  case stage(datum: Int, from: Int, to: Int)
  /// Hand the task over. The cluster starts it when its inputs are there and a slot is free, the highest rank first.
  case bind(task: Int, to: Int, rank: Double)
  /// Delete a replica that is neither the last one nor needed by a bound task.
  case evict(datum: Int, at: Int)
}

/// How a co-scheduler decides.
public struct CoSchedulingOptions: Hashable, Sendable {
  public var weights: ScoringWeights
  /// Seconds since the start of time; nil without one.
  public var deadline: Double?
  /// Whether idle links warm the clusters that waiting tasks will probably go to.
  public var isPrefetching: Bool
  /// How much the place of a task's outputs counts: 0 ignores where they are needed next, 1 counts their transfers in full.
  public var lookahead: Double
  /// Of one second that a replica made somewhere is expected to save others there; see `FutureReuse`.
  public var nu: Double
  public init(
    weights: ScoringWeights = ScoringWeights(kappa: 0.1), deadline: Double? = nil, isPrefetching: Bool = true,
    lookahead: Double = 0.5, nu: Double = 0
  ) {
    self.weights = weights
    self.deadline = deadline
    self.isPrefetching = isPrefetching
    self.lookahead = lookahead
    self.nu = nu
  }
}

/// Decides where tasks run and what is copied where, as one decision: DESIGN section 8 as a deterministic state machine.
///
/// It is told what happened, in the past tense, and asked with `decide` what to do about it. It does no I/O, reads no clock and
/// draws no randomness, so the same events give the same actions in the simulator and behind `simulator decide`.
public struct CoScheduler: Sendable {
  enum Phase: Hashable, Sendable {
    case waiting
    case ready
    /// Handed over; `inputsAt` is when its inputs are expected.
    case bound(Int, inputsAt: Double, since: Double)
    case running(Int, end: Double)
    case ended
  }

  typealias Copy = PlacementLedger.Copy

  public let sites: [ComputeSite]
  /// `shares[s]`: part of all slots that site s has: how probable it is that a task goes there, as far as nothing else is known.
  let shares: [Double]
  public var options: CoSchedulingOptions
  var graph = TaskGraph(tasks: [], data: [])
  var children: [[Int]] = []
  var consumers: [[Int]] = []
  var producers: [Int?] = []
  var phases: [Phase] = []
  /// Ready tasks, and some that no longer are.
  var pending: [Int] = []
  /// Of each task, the parents that are neither bound nor ended.
  var unplacedParents: [Int] = []
  /// Of each datum, the tasks that read it and have not ended.
  var usesToCome: [Int] = []
  var ranks: [Double] = []
  /// Cluster by cluster, the work behind a task that ends there; empty rows where there are too many clusters.
  var tails: [[ClusterColumns.Block]] = []
  /// Copies, links, slots, and the scorer over them.
  var ledger: PlacementLedger
  /// Tasks bound to a cluster and not ended, in order of binding.
  var boundTasks: [[Int]]
  var eviction: [EvictionOrder]
  /// By cluster and datum: the bound tasks that read it there.
  var pins: [[Int: Int]]
  var cacheUsed: [Double]

  public init(sites: [ComputeSite], options: CoSchedulingOptions = CoSchedulingOptions()) {
    self.sites = sites
    self.options = options
    boundTasks = sites.map { _ in [] }
    cacheUsed = sites.map { _ in 0 }
    let slots = Double(max(1, sites.reduce(0) { $0 + $1.slots }))
    shares = sites.map { Double($0.slots) / slots }
    eviction = sites.map { _ in EvictionOrder() }
    pins = sites.map { _ in [:] }
    var columns = ClusterColumns(count: sites.count)
    for (index, site) in sites.enumerated() {
      columns.describe(
        index, speed: Float(site.speed), bandwidthIn: Float(site.bandwidthIn), bandwidthOut: Float(site.bandwidthOut),
        pricePerSecond: Float(site.pricePerSecond), egressPerByte: Float(site.egressPerByte))
      columns.setOpen(index, site.slots > 0)
    }
    ledger = PlacementLedger(
      columns: columns,
      links: LinkBook(bandwidthIn: sites.map(\.bandwidthIn), bandwidthOut: sites.map(\.bandwidthOut)),
      slots: sites.map { SlotBook(slots: $0.slots) })
  }

  public func rank(of task: Int) -> Double { ranks[task] }
}

// MARK: What happened
extension CoScheduler {
  /// A workflow was submitted; its tasks and data get the next numbers. Tasks without parents are ready when `ready` says so.
  public mutating func submitted(_ more: TaskGraph) {
    let (task0, datum0) = (graph.tasks.count, graph.data.count)
    for task in more.tasks {
      var task = task
      task.inputs = task.inputs.map { $0 + datum0 }
      task.outputs = task.outputs.map { $0 + datum0 }
      task.parents = task.parents.map { $0 + task0 }
      graph.tasks.append(task)
    }
    graph.data += more.data
    phases += more.tasks.map { _ in .waiting }
    children += more.tasks.map { _ in [] }
    consumers += more.data.map { _ in [] }
    producers += more.data.map { _ in nil }
    ledger.sizes += more.data.map(\.size)
    ledger.copies += more.data.map { datum in
      datum.sites.map { Copy(site: $0, availableAt: 0, isThere: true, source: $0) }
    }
    for task in task0..<graph.tasks.count {
      for parent in graph.tasks[task].parents { children[parent].append(task) }
      for input in graph.tasks[task].inputs { consumers[input].append(task) }
      for output in graph.tasks[task].outputs { producers[output] = task }
    }
    unplacedParents += more.tasks.map(\.parents.count)
    usesToCome += consumers[datum0...].map(\.count)
    rankTasks(from: task0)
  }

  /// All parents of a task have ended, or a run of it was lost.
  public mutating func ready(_ task: Int) {
    if leaveSite(task) { for child in children[task] { unplacedParents[child] += 1 } }
    phases[task] = .ready
    pending.append(task)
  }

  public mutating func started(_ task: Int, at now: Double) {
    guard case .bound(let site, _, _) = phases[task] else { return }
    phases[task] = .running(site, end: now + graph.tasks[task].runtime / sites[site].speed)
  }

  /// A task has ended well: its outputs are where it ran.
  public mutating func finished(_ task: Int, at now: Double) {
    guard let site = site(of: task) else { return }
    for input in graph.tasks[task].inputs { usesToCome[input] -= 1 }
    leaveSite(task)
    phases[task] = .ended
    for output in graph.tasks[task].outputs {
      set(output, Copy(site: site, availableAt: now, isThere: true, source: site))
      cacheUsed[site] += graph.data[output].size
      revalue(output)
    }
  }

  /// A datum has arrived, whoever asked for it.
  public mutating func transferFinished(_ datum: Int, to site: Int, at now: Double) {
    if let copy = ledger.copy(of: datum, at: site) {
      guard !copy.isThere else { return }
      ledger.links.settle(graph.data[datum].size, from: copy.source, to: site, at: now)
    } else {
      cacheUsed[site] += graph.data[datum].size
    }
    set(datum, Copy(site: site, availableAt: now, isThere: true, source: site))
    revalue(datum)
  }

  /// A transfer was given up; whoever needs it must ask again.
  public mutating func transferFailed(_ datum: Int, to site: Int, at now: Double) {
    guard let index = ledger.copies[datum].firstIndex(where: { $0.site == site }), !ledger.copies[datum][index].isThere
    else { return }
    let source = ledger.copies[datum][index].source
    ledger.copies[datum].remove(at: index)
    cacheUsed[site] -= graph.data[datum].size
    ledger.links.settle(graph.data[datum].size, from: source, to: site, at: now)
  }

  /// A cluster went out of reach, or came back.
  public mutating func reachabilityChanged(_ site: Int, isDown: Bool) {
    ledger.isDown[site] = isDown
    ledger.columns.setOpen(site, !isDown && sites[site].slots > 0)
  }

  func site(of task: Int) -> Int? {
    switch phases[task] {
    case .bound(let site, _, _), .running(let site, _): site
    default: nil
    }
  }

  /// Takes a task off its cluster and unpins its inputs there; false when it was on none.
  @discardableResult
  private mutating func leaveSite(_ task: Int) -> Bool {
    guard let site = site(of: task) else { return false }
    boundTasks[site].removeAll { $0 == task }
    for input in graph.tasks[task].inputs {
      let count = pins[site][input]! - 1
      pins[site][input] = count == 0 ? nil : count
      revalue(input)
    }
    return true
  }

  mutating func set(_ datum: Int, _ copy: Copy) {
    if let index = ledger.copies[datum].firstIndex(where: { $0.site == copy.site }) {
      ledger.copies[datum][index] = copy
    } else {
      ledger.copies[datum].append(copy)
    }
  }
}
