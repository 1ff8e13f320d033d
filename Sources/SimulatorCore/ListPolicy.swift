public import SchedulerCore

/// The simple policies: ready tasks by upward rank, each bound at once to a cluster that one rule names.
public struct ListPolicy: SchedulingPolicy {
  public enum Rule: Hashable, Sendable {
    /// The earliest finish, as if all data were everywhere.
    case dataBlind
    /// Where most bytes of the inputs are; the earliest finish among equals.
    case hardLocality
    /// Any, by a seed.
    case random(UInt64)
  }

  private let rule: Rule
  private let sites: [ComputeSite]
  private var random: SplitMix64
  /// Keeps graph, ranks and phases, and is never asked to decide.
  private var scheduler: CoScheduler
  private var graph = TaskGraph(tasks: [], data: [])
  private var holders: [[Bool]] = []
  private var siteOfTask: [Int?] = []
  private var startedAt: [Double?] = []
  private var bound: [[Int]]
  private var isDown: [Bool]
  private var ready: [Int] = []

  public init(_ rule: Rule, _ platform: Platform) {
    self.rule = rule
    sites = platform.sites.map(\.compute)
    if case .random(let seed) = rule { random = SplitMix64(seed: seed) } else { random = SplitMix64(seed: 0) }
    scheduler = CoScheduler(sites: sites, paths: platform.paths)
    bound = sites.map { _ in [] }
    isDown = sites.map { _ in false }
  }

  /// Goes on from what a scheduler knows of the world.
  init(_ rule: Rule, _ platform: Platform, resuming known: CoScheduler) {
    self.init(rule, platform)
    scheduler = known
    graph = known.graph
    holders = graph.data.indices.map { datum in
      let there = known.copies(of: datum).filter(\.isThere).map(\.site)
      return sites.indices.map { there.contains($0) }
    }
    siteOfTask = graph.tasks.map { _ in nil }
    startedAt = graph.tasks.map { _ in nil }
    isDown = sites.indices.map { !known.isReachable($0) }
    for task in graph.tasks.indices {
      switch known.phase(of: task) {
      case .waiting, .ended: break
      case .ready: ready.append(task)
      case .bound(let site, _, _):
        siteOfTask[task] = site
        bound[site].append(task)
      case .running(let site, let end):
        siteOfTask[task] = site
        startedAt[task] = end - graph.tasks[task].runtime / sites[site].speed
        bound[site].append(task)
      }
    }
  }

  public mutating func react(to events: [SimulationEvent], at now: Double) -> [SchedulingAction] {
    for event in events { happened(event, at: now) }
    ready.sort { (-scheduler.rank(of: $0), $0) < (-scheduler.rank(of: $1), $1) }
    let open = sites.indices.filter { sites[$0].slots > 0 && !isDown[$0] }
    guard !open.isEmpty else { return [] }
    var books = sites.indices.map { book($0, now) }
    var actions: [SchedulingAction] = []
    for task in ready {
      let site = choose(task, among: open, books, now)
      let start = max(now + sites[site].queueWait, books[site].next(now))
      books[site].book(until: start + graph.tasks[task].runtime / sites[site].speed)
      siteOfTask[task] = site
      bound[site].append(task)
      actions.append(.bind(task: task, to: site, rank: scheduler.rank(of: task)))
    }
    ready = []
    return actions
  }

  private mutating func happened(_ event: SimulationEvent, at now: Double) {
    switch event {
    case .submitted(let more):
      let (task0, datum0) = (graph.tasks.count, graph.data.count)
      scheduler.submitted(more)
      graph.tasks += more.tasks.map {
        TaskGraph.Task(
          inputs: $0.inputs.map { $0 + datum0 }, outputs: $0.outputs.map { $0 + datum0 }, runtime: $0.runtime,
          parents: $0.parents.map { $0 + task0 })
      }
      graph.data += more.data
      holders += more.data.map { datum in sites.indices.map { datum.sites.contains($0) } }
      siteOfTask += more.tasks.map { _ in nil }
      startedAt += more.tasks.map { _ in nil }
    case .ready(let task): ready.append(task)
    case .lost(let task):
      leave(task)
      ready.append(task)
    case .started(let task): startedAt[task] = now
    case .finished(let task):
      if let site = siteOfTask[task] {
        for output in graph.tasks[task].outputs { holders[output][site] = true }
      }
      leave(task)
    case .transferFinished(let datum, let site): holders[datum][site] = true
    case .transferFailed, .priceChanged: break
    case .reachabilityChanged(let site, let isDown): self.isDown[site] = isDown
    }
  }

  private mutating func leave(_ task: Int) {
    guard let site = siteOfTask[task] else { return }
    bound[site].removeAll { $0 == task }
    (siteOfTask[task], startedAt[task]) = (nil, nil)
  }

  private func book(_ site: Int, _ now: Double) -> SlotBook {
    var book = SlotBook(slots: sites[site].slots)
    for task in bound[site] {
      let run = graph.tasks[task].runtime / sites[site].speed
      if let start = startedAt[task] { book.book(until: max(start + run, now + run / 10)) }
    }
    for task in bound[site] where startedAt[task] == nil {
      book.book(until: book.next(now) + graph.tasks[task].runtime / sites[site].speed)
    }
    return book
  }

  private mutating func choose(_ task: Int, among open: [Int], _ books: [SlotBook], _ now: Double) -> Int {
    if case .random = rule { return open[Int(random.next() % UInt64(open.count))] }
    var (best, least) = (open[0], (-Double.infinity, Double.infinity))
    for (index, site) in open.enumerated() {
      let finish =
        max(now + sites[site].queueWait, books[site].next(now)) + graph.tasks[task].runtime / sites[site].speed
      let held =
        rule == .hardLocality
        ? graph.tasks[task].inputs.reduce(0.0) { holders[$1][site] ? $0 + graph.data[$1].size : $0 } : 0
      if index == 0 || (-held, finish) < (-least.0, least.1) { (best, least) = (site, (held, finish)) }
    }
    return best
  }
}
