import SchedulerCore

extension Simulation {
  /// Seconds after which a cluster that is out of reach is taken to be back: nobody knows when it will be.
  private static let assumedOutage = 300.0

  /// Goes on from what a scheduler knows of the world: its graph, where tasks and copies are, and when what is under way is expected
  /// to end. Nothing else is known of the real world, and nobody will submit more.
  ///
  /// - Parameters:
  ///   - runtimes: seconds at speed 1 that each task is to take; of running ones the rest is stretched in proportion.
  ///   - bound: ends it as soon as the bound cannot be kept.
  init(
    _ platform: Platform, resuming scheduler: CoScheduler, runtimes: [Double], drawsWaits: Bool,
    bound: RolloutBound? = nil, at now: Double, seed: UInt64
  ) {
    self.init(platform, [], seed: seed)
    self.bound = bound
    self.drawsWaits = drawsWaits
    self.now = now
    let graph = scheduler.graph
    workloads = [Workload(name: "rest", graph: graph, runtimes: runtimes)]
    self.graph = graph
    self.runtimes = runtimes
    names = graph.tasks.map { _ in "" }
    let count = graph.tasks.count
    children = Array(repeating: [], count: count)
    readyAt = Array(repeating: now, count: count)
    runs = Array(repeating: nil, count: count)
    attempts = Array(repeating: 0, count: count)
    isEnded = (0..<count).map { scheduler.phase(of: $0) == .ended }
    endedCount = isEnded.reduce(0) { $1 ? $0 + 1 : $0 }
    openParents = graph.tasks.map { $0.parents.reduce(0) { isEnded[$1] ? $0 : $0 + 1 } }
    for task in 0..<count { for parent in graph.tasks[task].parents { children[parent].append(task) } }
    for site in platform.sites.indices where !scheduler.isReachable(site) {
      isDown[site] = true
      outages[site] = 1
      schedule(.outage(site: site, isDown: false), at: now + Self.assumedOutage)
    }
    for datum in graph.data.indices { resume(datum, scheduler.copies(of: datum)) }
    for task in 0..<count where !isEnded[task] { resume(task, scheduler.phase(of: task), scheduler.rank(of: task)) }
  }

  private mutating func resume(_ datum: Int, _ copies: [CoScheduler.KnownCopy]) {
    isThere.append(platform.sites.map { _ in false })
    isComing.append(platform.sites.map { _ in false })
    waiting.append([])
    for copy in copies {
      isThere[datum][copy.site] = copy.isThere
      guard !copy.isThere else { continue }
      isComing[datum][copy.site] = true
      active[copy.site] += 1
      let (from, to) = (platform.sites[copy.source].compute, platform.sites[copy.site].compute)
      let bandwidth = min(
        from.bandwidthOut, to.bandwidthIn, platform.paths.limit(from: copy.source, to: copy.site))
      let rest = min(graph.data[datum].size, max(0, copy.availableAt - now) * bandwidth)
      links.start(datum, from: copy.source, to: copy.site, bytes: rest)
    }
  }

  private mutating func resume(_ task: Int, _ phase: CoScheduler.Phase, _ rank: Double) {
    switch phase {
    case .waiting, .ready, .ended: break
    case .running(let site, let end):
      runs[task] = Run(
        site: site, rank: rank, boundAt: now, missing: 0, isAdmitted: true, startedAt: now,
        pricePerSecond: pricePerSecond[site])
      freeSlots[site] -= 1
      let expected = graph.tasks[task].runtime
      let rest = end > now ? end - now : expected / platform.sites[site].compute.speed / 10
      scheduleEnd(task, at: now + rest * (expected > 0 ? runtimes[task] / expected : 1))
    case .bound(let site, _, let since):
      var run = Run(
        site: site, rank: rank, boundAt: since, missing: 0, isAdmitted: true, pricePerSecond: pricePerSecond[site])
      for input in Set(graph.tasks[task].inputs).sorted() where !isThere[input][site] {
        run.missing += 1
        waiting[input].append(task)
      }
      if let wait = platform.sites[site].wait {
        run.isAdmitted = false
        schedule(.admitted(task: task, attempt: 0), at: max(now, since + seconds(of: wait, task, attempt: 0)))
      }
      runs[task] = run
      offer(task)
    }
  }

  /// Runs to the end, the policy being asked at once.
  mutating func resume(_ policy: inout some SchedulingPolicy) throws(SimulationStall) -> SimulationReport {
    startRuns()
    for action in policy.react(to: [], at: now) { act(action) }
    startRuns()
    return try run(&policy)
  }
}
