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
  /// Seconds that a run waits on average in the cluster's own queue, behind other people's jobs; zero without such a queue.
  public var queueWait: Double
  /// Seconds by which nine of ten runs there wait no longer than the median.
  public var queueWaitSpread: Double
  /// Bytes that its cache holds; nil when nothing limits it.
  public var cacheCapacity: Double?
  public init(
    slots: Int, speed: Double = 1, bandwidthIn: Double = .infinity, bandwidthOut: Double = .infinity,
    pricePerSecond: Double = 0, egressPerByte: Double = 0, queueWait: Double = 0, queueWaitSpread: Double = 0,
    cacheCapacity: Double? = nil
  ) {
    self.slots = slots
    self.speed = speed
    self.bandwidthIn = bandwidthIn
    self.bandwidthOut = bandwidthOut
    self.pricePerSecond = pricePerSecond
    self.egressPerByte = egressPerByte
    self.queueWait = queueWait
    self.queueWaitSpread = queueWaitSpread
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
    /// Seconds at speed 1 that nine of ten runs take at most, less `runtime`; nil when nobody knows.
    public var runtimeSpread: Double?
    /// Tasks that must have ended, whether or not their outputs are read.
    public var parents: [Int]
    public init(
      inputs: [Int] = [], outputs: [Int] = [], runtime: Double, runtimeSpread: Double? = nil,
      parents: [Int] = []
    ) {
      self.inputs = inputs
      self.outputs = outputs
      self.runtime = runtime
      self.runtimeSpread = runtimeSpread
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
  /// Of the spread of a queue's waits, the part that is added to their mean: whoever joins many waits for the longest.
  public var risk: Double
  /// Clusters that no further task is given to while another one can be reached.
  public var avoided: Set<Int>
  public init(
    weights: ScoringWeights = ScoringWeights(kappa: 0.1), deadline: Double? = nil, isPrefetching: Bool = true,
    lookahead: Double = 1, nu: Double = 0, risk: Double = 0.25,
    avoided: Set<Int> = []
  ) {
    self.weights = weights
    self.deadline = deadline
    self.isPrefetching = isPrefetching
    self.lookahead = lookahead
    self.nu = nu
    self.risk = risk
    self.avoided = avoided
  }
}

/// Decides where tasks run and what is copied where, as one decision: DESIGN section 8 as a deterministic state machine.
///
/// It is told what happened, in the past tense, and asked with `decide` what to do about it. It does no I/O, reads no clock and
/// draws no randomness, so the same events give the same actions in the simulator and behind `simulator decide`.
public struct CoScheduler: Sendable {
  /// How far a task is, as the scheduler was told.
  public enum Phase: Hashable, Sendable {
    case waiting
    case ready
    /// Handed over to a site; `inputsAt` is when its inputs are expected.
    case bound(Int, inputsAt: Double, since: Double)
    /// On a site; `end` is when it is expected to end.
    case running(Int, end: Double)
    case ended
  }

  /// A replica, or one on its way from `source`.
  public struct KnownCopy: Hashable, Sendable {
    public var site: Int
    public var source: Int
    public var isThere: Bool
    /// When it is expected.
    public var availableAt: Double
  }

  typealias Copy = PlacementLedger.Copy

  public private(set) var sites: [ComputeSite]
  /// `shares[s]`: part of all slots that site s has: how probable it is that a task goes there, as far as nothing else is known.
  let shares: [Double]
  public var options: CoSchedulingOptions
  /// By task, the cluster that it is to go to, as whoever has looked at the whole workflow says; nil, or no entry: wherever it scores
  /// best when its turn comes. When and in which order tasks go, and what is staged, is decided here all the same.
  public var plan: [Int?] = []
  /// Choices made so far for a task, those taken back at the end of their pass among them: what deciding has cost.
  public internal(set) var decisions = 0
  public private(set) var graph = TaskGraph(tasks: [], data: [])
  var children: [[Int]] = []
  var consumers: [[Int]] = []
  var producers: [Int?] = []
  var phases: [Phase] = []
  /// Ready tasks.
  var pending: [Int] = []
  /// Of each datum, the tasks that read it and have not ended.
  var usesToCome: [Int] = []
  var ranks: [Double] = []
  /// Cluster by cluster, the work behind a task that ends there; empty rows where there are too many clusters.
  var tails: [[ClusterColumns.Block]] = []
  /// Copies, links, slots, and the scorer over them.
  var ledger: PlacementLedger
  /// Tasks bound to a cluster and not ended, in order of binding.
  var boundTasks: [[Int]]
  /// By cluster: the runs there that one pass knows of or assumes.
  var profiles: [SlotProfile]
  var ends = ExpectedEnds()
  /// Copies that were asked for and have neither come nor failed.
  var flows: [LinkRoom.Flow] = []
  let fair: MaxMinRates
  var room: LinkRoom
  /// All tasks by rank, as long as none was added, and how many at its front are past waiting.
  var byRank: [Int] = []
  var firstWaiting = 0
  var eviction: [EvictionOrder]
  /// By cluster and datum: the bound tasks that read it there.
  var pins: [[Int: Int]]
  var cacheUsed: [Double]

  public init(
    sites: [ComputeSite], paths: PathLimits = PathLimits(),
    options: CoSchedulingOptions = CoSchedulingOptions()
  ) {
    self.sites = sites
    self.options = options
    boundTasks = sites.map { _ in [] }
    cacheUsed = sites.map { _ in 0 }
    profiles = sites.map { SlotProfile(slots: $0.slots) }
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
    for (path, limit) in paths.bytesPerSecond {
      columns.setPath(from: path.from, to: path.to, bytesPerSecond: Float(limit))
    }
    ledger = PlacementLedger(
      columns: columns,
      links: LinkBook(
        bandwidthIn: sites.map(\.bandwidthIn), bandwidthOut: sites.map(\.bandwidthOut), paths: paths
      ),
      slots: [])
    fair = MaxMinRates(
      capacityIn: sites.map(\.bandwidthIn), capacityOut: sites.map(\.bandwidthOut), paths: paths)
    room = LinkRoom(fair, [])
  }

  /// Seconds that a run is taken to wait in a cluster's own queue.
  func queueWait(_ site: Int) -> Double { sites[site].queueWait + options.risk * sites[site].queueWaitSpread }

  public func rank(of task: Int) -> Double { ranks[task] }
  public func phase(of task: Int) -> Phase { phases[task] }
  public func isReachable(_ site: Int) -> Bool { !ledger.isDown[site] }
  public func copies(of datum: Int) -> [KnownCopy] {
    ledger.copies[datum].map {
      KnownCopy(site: $0.site, source: $0.source, isThere: $0.isThere, availableAt: $0.availableAt)
    }
  }
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
    usesToCome += consumers[datum0...].map(\.count)
    rankTasks(from: task0)
  }

  /// All parents of a task have ended, or a run of it was lost.
  public mutating func ready(_ task: Int) {
    guard phases[task] != .ready else { return }
    leaveSite(task)
    phases[task] = .ready
    pending.append(task)
  }

  /// Somebody else has bound a task, and has its inputs brought there.
  public mutating func bound(_ task: Int, to site: Int, at now: Double) {
    pending.removeAll { $0 == task }
    for input in graph.tasks[task].inputs {
      pins[site][input, default: 0] += 1
      eviction[site].remove(input)
    }
    phases[task] = .bound(site, inputsAt: now + missingBytes(task, at: site) / sites[site].bandwidthIn, since: now)
    boundTasks[site].append(task)
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
    flows.removeAll { $0.datum == datum && $0.to == site }
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
    flows.removeAll { $0.datum == datum && $0.to == site }
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

  /// A cluster asks other prices, of what is bound and sent from now on.
  public mutating func priceChanged(_ site: Int, perSecond: Double, egressPerByte: Double) {
    sites[site].pricePerSecond = perSecond
    sites[site].egressPerByte = egressPerByte
    ledger.columns.setPrice(site, perSecond: Float(perSecond), perByteIn: 0)
    ledger.columns.setEgress(site, Float(egressPerByte))
  }

  func site(of task: Int) -> Int? {
    switch phases[task] {
    case .bound(let site, _, _), .running(let site, _): site
    default: nil
    }
  }

  /// Takes a task off its cluster, if it was on one, and unpins its inputs there.
  private mutating func leaveSite(_ task: Int) {
    guard let site = site(of: task) else { return }
    boundTasks[site].removeAll { $0 == task }
    for input in graph.tasks[task].inputs {
      let count = pins[site][input]! - 1
      pins[site][input] = count == 0 ? nil : count
      revalue(input)
    }
  }

  mutating func set(_ datum: Int, _ copy: Copy) {
    if let index = ledger.copies[datum].firstIndex(where: { $0.site == copy.site }) {
      ledger.copies[datum][index] = copy
    } else {
      ledger.copies[datum].append(copy)
    }
  }
}
