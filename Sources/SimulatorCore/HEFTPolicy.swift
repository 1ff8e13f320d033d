public import SchedulerCore

/// HEFT: when a workflow is submitted, every task is put where it would finish first, by upward rank, in the first gap that is
/// long enough. The mapping is then kept; each file is sent to where it will be needed as soon as it exists.
///
/// Links are never busy in its plan, as published. A file is counted once for each cluster that needs it, which is kinder to
/// it than the published edge costs.
///
/// - Source: Topcuoglu, Hariri and Wu, "Performance-effective and low-complexity task scheduling for heterogeneous computing",
///   IEEE TPDS 13 (3), 2002.
public struct HEFTPolicy: SchedulingPolicy {
  private struct Slot {
    /// Planned runs, by start.
    var busy: [(start: Double, end: Double)] = []

    /// The first start from `earliest` on with `length` seconds free.
    func gap(from earliest: Double, length: Double) -> Double {
      var start = earliest
      for run in busy where run.end > start {
        if run.start - start >= length { break }
        start = run.end
      }
      return start
    }

    mutating func insert(_ start: Double, _ end: Double) {
      let index = busy.firstIndex { $0.start >= start } ?? busy.count
      busy.insert((start, end), at: index)
    }
  }

  private let sites: [ComputeSite]
  private let paths: PathLimits
  private var scheduler: CoScheduler
  private var graph = TaskGraph(tasks: [], data: [])
  private var slots: [[Slot]]
  /// Where each task was put.
  private(set) var siteOfTask: [Int] = []
  private var plannedStart: [Double] = []
  private var plannedEnd: [Double] = []
  /// When a datum is planned to be at a site; infinite: never.
  private var plannedAt: [[Double]] = []
  private var holders: [[Bool]] = []
  private var isSent: [[Bool]] = []
  private var targets: [[Int]] = []
  private var isDown: [Bool]
  private var ready: [Int] = []

  public init(_ platform: Platform) {
    sites = platform.sites.map(\.compute)
    paths = platform.paths
    scheduler = CoScheduler(sites: sites, paths: platform.paths)
    slots = sites.map { site in (0..<site.slots).map { _ in Slot() } }
    isDown = sites.map { _ in false }
  }

  public mutating func react(to events: [SimulationEvent], at now: Double) -> [SchedulingAction] {
    var actions: [SchedulingAction] = []
    for event in events {
      switch event {
      case .submitted(let more): submitted(more, now, &actions)
      case .ready(let task), .lost(let task): ready.append(task)
      case .finished(let task):
        for output in graph.tasks[task].outputs {
          holders[output][siteOfTask[task]] = true
          send(output, from: siteOfTask[task], &actions)
        }
      case .transferFinished(let datum, let site): holders[datum][site] = true
      case .transferFailed(let datum, let site): isSent[datum][site] = false
      case .reachabilityChanged(let site, let isDown): self.isDown[site] = isDown
      case .started, .priceChanged: break
      }
    }
    let waiting = ready.filter { isDown[siteOfTask[$0]] }
    for task in ready where !isDown[siteOfTask[task]] {
      actions.append(.bind(task: task, to: siteOfTask[task], rank: -plannedStart[task]))
    }
    ready = waiting
    return actions
  }

  private mutating func submitted(_ more: TaskGraph, _ now: Double, _ actions: inout [SchedulingAction]) {
    let (task0, datum0) = (graph.tasks.count, graph.data.count)
    scheduler.submitted(more)
    graph.tasks += more.tasks.map {
      TaskGraph.Task(
        inputs: $0.inputs.map { $0 + datum0 }, outputs: $0.outputs.map { $0 + datum0 }, runtime: $0.runtime,
        parents: $0.parents.map { $0 + task0 })
    }
    graph.data += more.data
    holders += more.data.map { datum in sites.indices.map { datum.sites.contains($0) } }
    plannedAt += more.data.map { datum in sites.indices.map { datum.sites.contains($0) ? now : .infinity } }
    isSent += more.data.map { _ in sites.map { _ in false } }
    targets += more.data.map { _ in [] }
    siteOfTask += more.tasks.map { _ in 0 }
    plannedStart += more.tasks.map { _ in 0 }
    plannedEnd += more.tasks.map { _ in 0 }
    let order = (task0..<graph.tasks.count).sorted {
      (-scheduler.rank(of: $0), $0) < (-scheduler.rank(of: $1), $1)
    }
    for task in topological(order) { plan(task, now) }
    for datum in datum0..<graph.data.count {
      for site in sites.indices where holders[datum][site] {
        send(datum, from: site, &actions)
        break
      }
    }
  }

  /// Rank order is topological but for tasks of no length, which are put behind their parents.
  private func topological(_ order: [Int]) -> [Int] {
    var position: [Int: Int] = [:]
    for (index, task) in order.enumerated() { position[task] = index }
    guard
      !order.allSatisfy({ task in graph.tasks[task].parents.allSatisfy { position[$0]! < position[task]! } })
    else { return order }
    var (result, done): ([Int], Set<Int>) = ([], [])
    func visit(_ task: Int) {
      guard done.insert(task).inserted else { return }
      for parent in graph.tasks[task].parents { visit(parent) }
      result.append(task)
    }
    for task in order { visit(task) }
    return result
  }

  private mutating func plan(_ task: Int, _ now: Double) {
    var best: (site: Int, slot: Int, start: Double, end: Double) = (-1, 0, 0, .infinity)
    for site in sites.indices where sites[site].slots > 0 {
      let run = graph.tasks[task].runtime / sites[site].speed
      var earliest = graph.tasks[task].parents.reduce(now) { max($0, plannedEnd[$1]) } + sites[site].queueWait
      for input in graph.tasks[task].inputs { earliest = max(earliest, arrival(input, site)) }
      for slot in slots[site].indices {
        let start = slots[site][slot].gap(from: earliest, length: run)
        if start + run < best.end { best = (site, slot, start, start + run) }
        if start == earliest { break }
      }
    }
    slots[best.site][best.slot].insert(best.start, best.end)
    (siteOfTask[task], plannedStart[task], plannedEnd[task]) = (best.site, best.start, best.end)
    for input in graph.tasks[task].inputs {
      plannedAt[input][best.site] = arrival(input, best.site)
      if !targets[input].contains(best.site) { targets[input].append(best.site) }
    }
    for output in graph.tasks[task].outputs { plannedAt[output][best.site] = best.end }
  }

  /// When a datum can be at a site, over links that nothing else uses.
  private func arrival(_ datum: Int, _ site: Int) -> Double {
    var least = plannedAt[datum][site]
    for from in sites.indices where from != site {
      let bandwidth = min(
        sites[from].bandwidthOut, sites[site].bandwidthIn, paths.limit(from: from, to: site))
      let seconds = graph.data[datum].size / bandwidth
      least = min(least, plannedAt[datum][from] + seconds)
    }
    return least
  }

  private mutating func send(_ datum: Int, from source: Int, _ actions: inout [SchedulingAction]) {
    guard !isDown[source] else { return }
    for site in targets[datum] where !holders[datum][site] && !isSent[datum][site] && !isDown[site] {
      isSent[datum][site] = true
      actions.append(.stage(datum: datum, from: source, to: site))
    }
  }
}
