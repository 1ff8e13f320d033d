/// Where and when the tasks that one pass has placed are expected to end. A table, because it is asked for every parent of every task
/// of every pass.
struct ExpectedEnds: Sendable {
  private var sites: [Int32] = []
  private var times: [Double] = []

  mutating func clear(count: Int) {
    if sites.count == count {
      for task in sites.indices { sites[task] = -1 }
    } else {
      sites = Array(repeating: -1, count: count)
      times = Array(repeating: 0, count: count)
    }
  }

  mutating func set(_ task: Int, _ site: Int, _ end: Double) {
    sites[task] = Int32(site)
    times[task] = end
  }

  /// Nil for a task that is not placed.
  func site(of task: Int) -> Int? { sites[task] < 0 ? nil : Int(sites[task]) }
  /// Of a task that is placed.
  func at(_ task: Int) -> Double { times[task] }
}

/// What one pass of decisions assumes and takes back at its end.
struct SchedulingPass {
  /// Copies that were only assumed.
  var assumed: [(datum: Int, site: Int)] = []
  /// Tasks that are due, and tasks whose inputs may be warmed, with their clusters, in order of rank.
  var due: [(task: Int, site: Int)] = []
  var wishes: [(task: Int, site: Int)] = []
  /// Ready tasks among the wishes.
  var held = 0
  /// Whether a run is booked on some cluster behind a gap.
  var hasGaps = false
  /// The clusters that tasks may go to, as bits; empty when all of them are.
  var open: [UInt8] = []
  /// What the kernel's scores still hold for: tasks with the same inputs, runtime and tails get them for nothing.
  var scored: Int?
  var request = ScoringRequest(runtime: 0)
}

extension CoScheduler {
  /// Tasks that one pass looks at beyond those that it binds: what is further down in rank is looked at when its time comes.
  public static let lookaheadLimit = 64

  /// What is to be done now.
  ///
  /// Tasks are taken by rank: those that are ready, and beside them those that will be, each with the expected ends of its parents.
  /// Each is scored on all clusters and committed at once: its bytes are added to both links' backlogs, its inputs get an ETA, a
  /// slot is booked, and the next one is scored against that. So a task of little rank does not take the slot that a greater one
  /// needs a moment later, unless it is done by then (backfill).
  ///
  /// A task is due when its slot is free by the time its inputs are there. Its inputs are then staged when their turn on the links
  /// comes, and it is bound when the last of them is on its way. All others stay unbound, and what was assumed for them is taken
  /// back; the pass after the next event decides anew.
  ///
  /// - Complexity: O((ready tasks + upcoming ones) x (clusters / 8 + replicas x inputs + booked runs)).
  public mutating func decide(at now: Double) -> [SchedulingAction] {
    let links = ledger.links
    var pass = begin(now)
    for task in inOrder(pending + upcoming()) {
      if phases[task] == .waiting {
        placeUpcoming(task, at: now, &pass)
      } else if pass.held < Self.lookaheadLimit {
        place(task, readyAt: now, at: now, &pass)
      }
    }
    ledger.forget(pass.assumed)
    ledger.links = links
    room = LinkRoom(fair, flows)
    var actions: [SchedulingAction] = []
    for (task, site) in pass.due { hand(task, to: site, at: now, &actions) }
    if options.isPrefetching {
      for (task, site) in pass.wishes { warm(task, at: site, now, &actions) }
    }
    pending.removeAll { phases[$0] != .ready }
    return actions
  }

  /// By rank, and by number where ranks are equal.
  func inOrder(_ tasks: [Int]) -> [Int] {
    // A closure that reads `self` would copy all of it.
    let ranks = ranks
    return tasks.sorted { ranks[$0] > ranks[$1] || ranks[$0] == ranks[$1] && $0 < $1 }
  }

  /// Whether tasks that are not ready yet take part, and runs are booked for later. With very many clusters they are not.
  private var isLookingAhead: Bool { options.isPrefetching && sites.count <= Self.tailSitesLimit }

  /// All but the avoided ones, unless no other can be reached.
  private var openSites: [UInt8] {
    let open = sites.indices.filter { sites[$0].slots > 0 && !ledger.isDown[$0] && !options.avoided.contains($0) }
    guard !options.avoided.isEmpty, !open.isEmpty else { return [] }
    return bits(open)
  }

  private func bits(_ open: [Int]) -> [UInt8] {
    var bits = Array(repeating: UInt8(0), count: (sites.count + 7) / 8)
    for site in open { bits[site >> 3] |= 1 << UInt8(site & 7) }
    return bits
  }

  /// Where the plan that is followed wants a task; nil when it says nothing of it, or while that cluster cannot be reached.
  private func plannedSite(_ task: Int) -> Int? {
    guard task < plan.count, let site = plan[task], !ledger.isDown[site], sites[site].slots > 0 else { return nil }
    return site
  }

  private mutating func begin(_ now: Double) -> SchedulingPass {
    var pass = SchedulingPass()
    pass.open = openSites
    ends.clear(count: graph.tasks.count)
    for site in sites.indices {
      profiles[site].clear()
      for task in boundTasks[site] {
        if case .running(_, let end) = phases[task] {
          // It takes longer than expected, so nobody knows how long: a tenth more.
          let run = graph.tasks[task].runtime / sites[site].speed
          let expected = end > now ? end : now + run / 10
          profiles[site].book(from: now, until: expected, at: now)
          ends.set(task, site, expected)
        }
      }
      for task in boundTasks[site] {
        if case .bound(_, let inputsAt, let since) = phases[task] {
          let run = graph.tasks[task].runtime / sites[site].speed
          let start = profiles[site].start(from: max(now, inputsAt, since + queueWait(site)), length: run)
          profiles[site].book(from: isLookingAhead ? start : now, until: start + run, at: now)
          ends.set(task, site, start + run)
        }
      }
      pass.hasGaps = pass.hasGaps || profiles[site].hasGaps
      refresh(site, now)
    }
    return pass
  }

  private mutating func refresh(_ site: Int, _ now: Double) {
    ledger.columns.setWait(site, Float(max(queueWait(site), profiles[site].start(from: now, length: 0) - now)))
    ledger.refresh(site, at: now)
  }

  /// Chooses for one task and assumes the choice.
  private mutating func place(_ task: Int, readyAt: Double, at now: Double, _ pass: inout SchedulingPass) {
    decisions += 1
    guard let site = choose(task, readyAt: readyAt, at: now, &pass) else { return }
    let isReady = readyAt <= now
    let commitment = ledger.commit(graph.tasks[task].inputs, to: site, isTrial: !isReady, at: now)
    for move in commitment.moves { pass.assumed.append((move.datum, site)) }
    let run = graph.tasks[task].runtime / sites[site].speed
    let base = max(readyAt, commitment.inputsAt, now + queueWait(site))
    let start = profiles[site].start(from: base, length: run)
    profiles[site].book(from: isLookingAhead ? start : now, until: start + run, at: now)
    pass.hasGaps = pass.hasGaps || profiles[site].hasGaps
    ends.set(task, site, start + run)
    refresh(site, now)
    if !commitment.moves.isEmpty || pass.hasGaps {
      pass.scored = nil
    } else if pass.scored != nil {
      ledger.kernel.rescore(site, pass.request, options.weights, ledger.columns)
    }
    if isReady, start <= base {
      pass.due.append((task, site))
    } else {
      pass.wishes.append((task, site))
      if isReady { pass.held += 1 }
    }
  }

  private mutating func choose(
    _ task: Int, readyAt: Double, at now: Double, _ pass: inout SchedulingPass
  ) -> Int? {
    if let planned = plannedSite(task) {
      pass.scored = nil
      ledger.gather(graph.tasks[task].inputs, at: now)
      return ledger.kernel.canServe(planned, ledger.columns) && canReserve(task, at: planned) ? planned : nil
    }
    if let scored = pass.scored, readyAt <= now, isLike(task, scored) { return ledger.kernel.best }
    pass.request.runtime = Float(graph.tasks[task].runtime)
    pass.request.runtimeSpread = Float(graph.tasks[task].runtimeSpread ?? 0)
    pass.request.ready = Float(readyAt - now)
    pass.request.deadline = options.deadline.map { Float($0 - now) } ?? .infinity
    pass.request.tails = tails[task]
    pass.request.tailWeight = Float(options.lookahead)
    pass.request.feasible = pass.open
    // With too many clusters there is no table.
    pass.request.tail = tails[task].isEmpty ? Float(ranks[task] - graph.tasks[task].runtime) : 0
    pass.request.offsets = options.nu > 0 ? reuse(task) : []
    ledger.score(graph.tasks[task].inputs, pass.request, options.weights, at: now)
    if pass.hasGaps { fitGaps(pass.request, at: now) }
    while let best = ledger.kernel.best, !canReserve(task, at: best) {
      if pass.request.feasible.isEmpty {
        pass.request.feasible = Array(repeating: 0xff, count: (sites.count + 7) / 8)
      }
      pass.request.feasible[best >> 3] &= ~(1 << UInt8(best & 7))
      ledger.kernel.rescore(best, pass.request, options.weights, ledger.columns)
    }
    let isReusable = readyAt <= now && !pass.hasGaps
    pass.scored = isReusable && pass.request.feasible == pass.open ? task : nil
    return ledger.kernel.best
  }

  /// Where a slot is booked for later, how long a task waits depends on how long it runs: scores such clusters again with the gap
  /// that it fits into.
  private mutating func fitGaps(_ request: ScoringRequest, at now: Double) {
    for site in sites.indices where profiles[site].hasGaps && sites[site].slots > 0 {
      let (profile, wait, run) = (profiles[site], queueWait(site), Double(request.runtime) / sites[site].speed)
      ledger.kernel.setScore(site, request, options.weights, ledger.columns) { stage in
        let earliest = now + max(Double(max(request.ready, stage)), wait)
        return Float(profile.start(from: earliest, length: run) - now)
      }
    }
    ledger.kernel.choose()
  }

  /// What the replicas that a task would make are worth to those that read them later, by cluster; empty when nobody does.
  private func reuse(_ task: Int) -> [ClusterColumns.Block] {
    let shared = graph.tasks[task].inputs.filter { usesToCome[$0] > 1 }
    guard !shared.isEmpty else { return [] }
    var offsets = Array(repeating: ClusterColumns.Block.zero, count: (sites.count + 7) / 8)
    for site in sites.indices where sites[site].slots > 0 {
      let saved = shared.reduce(0.0) { sum, datum in
        guard ledger.copy(of: datum, at: site) == nil else { return sum }
        return sum
          + FutureReuse.seconds(
            uses: Double(usesToCome[datum] - 1) * shares[site],
            refetchSeconds: graph.data[datum].size / sites[site].bandwidthIn)
      }
      offsets[site >> 3][site & 7] = Float(-options.nu * saved)
    }
    return offsets
  }

  private func isLike(_ task: Int, _ other: Int) -> Bool {
    graph.tasks[task].runtime == graph.tasks[other].runtime && graph.tasks[task].inputs == graph.tasks[other].inputs
      && tails[task] == tails[other] && graph.tasks[task].runtimeSpread == graph.tasks[other].runtimeSpread
  }
}

extension CoScheduler {
  /// The tasks of highest rank that are not ready yet. A task has less rank than its parents, or nothing of it is known yet, so
  /// those of its parents that are not bound are looked at before it.
  private mutating func upcoming() -> [Int] {
    guard isLookingAhead else { return [] }
    if byRank.count != graph.tasks.count {
      byRank = inOrder(Array(graph.tasks.indices))
      firstWaiting = 0
    }
    while firstWaiting < byRank.count, phases[byRank[firstWaiting]] != .waiting { firstWaiting += 1 }
    var soon: [Int] = []
    for task in byRank[firstWaiting...] where phases[task] == .waiting {
      soon.append(task)
      if soon.count == Self.lookaheadLimit { break }
    }
    return soon
  }

  /// Places a task whose parents are all placed, with their outputs where they are expected. The links are promised nothing: what it
  /// will move does not compete with what moves now.
  private mutating func placeUpcoming(_ task: Int, at now: Double, _ pass: inout SchedulingPass) {
    let parents = graph.tasks[task].parents.filter { phases[$0] != .ended }
    guard parents.allSatisfy({ ends.site(of: $0) != nil }) else { return }
    var readyAt = now + 0.001
    for parent in parents {
      let (site, end) = (ends.site(of: parent)!, ends.at(parent))
      readyAt = max(readyAt, end)
      for output in graph.tasks[parent].outputs where ledger.copy(of: output, at: site) == nil {
        ledger.copies[output].append(Copy(site: site, availableAt: end, isThere: false, source: site))
        pass.assumed.append((output, site))
      }
    }
    pass.scored = nil
    place(task, readyAt: readyAt, at: now, &pass)
  }
}
