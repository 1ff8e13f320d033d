/// What one pass of decisions assumes and takes back at its end.
struct SchedulingPass {
  /// When bound and running tasks are expected to end.
  var ends: [Int: Double] = [:]
  /// Copies that were only assumed.
  var assumed: [(datum: Int, site: Int)] = []
  /// Tasks to bind, and tasks whose inputs may be warmed, with their clusters, in order of rank.
  var binds: [(task: Int, site: Int)] = []
  var wishes: [(task: Int, site: Int)] = []
  /// What the kernel's scores still hold for: tasks with the same inputs, runtime and tails get them for nothing.
  var scored: Int?
  var request = ScoringRequest(runtime: 0)
}

extension CoScheduler {
  /// Tasks that one pass looks at beyond those that it binds: what is further down in rank is looked at when its time comes.
  public static let lookaheadLimit = 64

  /// What is to be done now.
  ///
  /// Ready tasks are taken by rank. Each is scored on all clusters and committed at once: its bytes are added to both links'
  /// backlogs, its inputs get an ETA, a slot is booked, and the next one is scored against that. A task is bound only when it would
  /// otherwise leave a slot empty: when its slot is free by the time its inputs are there. One whose slot is taken for longer stays
  /// unbound, and what was assumed for it is taken back; the pass after the next event decides anew.
  ///
  /// - Complexity: O(ready tasks x (clusters / 8 + replicas x inputs)).
  public mutating func decide(at now: Double) -> [SchedulingAction] {
    let links = ledger.links
    var pass = begin(now)
    pending = pending.filter { phases[$0] == .ready }
    pending.sort { ranks[$0] > ranks[$1] || ranks[$0] == ranks[$1] && $0 < $1 }
    for task in pending {
      guard pass.wishes.count < Self.lookaheadLimit else { break }
      place(task, readyAt: now, at: now, &pass)
    }
    if options.isPrefetching { foresee(at: now, &pass) }
    ledger.forget(pass.assumed)
    ledger.links = links
    var actions: [SchedulingAction] = []
    for (task, site) in pass.binds { bind(task, to: site, at: now, &actions) }
    if options.isPrefetching {
      for (task, site) in pass.wishes { warm(task, at: site, now, &actions) }
    }
    return actions
  }

  private mutating func begin(_ now: Double) -> SchedulingPass {
    var pass = SchedulingPass()
    ledger.slots = sites.map { SlotBook(slots: $0.slots) }
    for site in sites.indices {
      for task in boundTasks[site] {
        if case .running(_, let end) = phases[task] {
          // It takes longer than expected, so nobody knows how long: a tenth more.
          let run = graph.tasks[task].runtime / sites[site].speed
          let expected = end > now ? end : now + run / 10
          ledger.slots[site].book(until: expected)
          pass.ends[task] = expected
        }
      }
      for task in boundTasks[site] {
        if case .bound(_, let inputsAt, let since) = phases[task] {
          let start = max(now, inputsAt, since + sites[site].queueWait, ledger.slots[site].next(now))
          let end = start + graph.tasks[task].runtime / sites[site].speed
          ledger.slots[site].book(until: end)
          pass.ends[task] = end
        }
      }
      refresh(site, now)
    }
    return pass
  }

  private mutating func refresh(_ site: Int, _ now: Double) {
    ledger.columns.setWait(site, Float(max(sites[site].queueWait, ledger.slots[site].next(now) - now)))
    ledger.refresh(site, at: now)
  }

  /// Chooses for one task and assumes the choice.
  private mutating func place(_ task: Int, readyAt: Double, at now: Double, _ pass: inout SchedulingPass) {
    guard let site = choose(task, readyAt: readyAt, at: now, &pass) else { return }
    let commitment = ledger.commit(graph.tasks[task].inputs, to: site, at: now)
    for move in commitment.moves { pass.assumed.append((move.datum, site)) }
    let queued = now + sites[site].queueWait
    let slot = max(queued, ledger.slots[site].next(now))
    let start = max(readyAt, commitment.inputsAt, slot)
    ledger.slots[site].book(until: start + graph.tasks[task].runtime / sites[site].speed)
    refresh(site, now)
    if !commitment.moves.isEmpty {
      pass.scored = nil
    } else if pass.scored != nil {
      ledger.kernel.rescore(site, pass.request, options.weights, ledger.columns)
    }
    if readyAt <= now, PlacementLedger.isDue(slot: slot, inputsAt: commitment.inputsAt, queued: queued) {
      pass.binds.append((task, site))
    } else {
      pass.wishes.append((task, site))
    }
  }

  private mutating func choose(
    _ task: Int, readyAt: Double, at now: Double, _ pass: inout SchedulingPass
  ) -> Int? {
    if let scored = pass.scored, readyAt <= now, isLike(task, scored) { return ledger.kernel.best }
    pass.request.runtime = Float(graph.tasks[task].runtime)
    pass.request.ready = Float(readyAt - now)
    pass.request.deadline = options.deadline.map { Float($0 - now) } ?? .infinity
    pass.request.tails = tails[task]
    pass.request.feasible = []
    pass.request.tail = tails[task].isEmpty ? Float(ranks[task] - graph.tasks[task].runtime) : 0
    pass.request.offsets = options.nu > 0 ? reuse(task) : []
    ledger.score(graph.tasks[task].inputs, pass.request, options.weights, at: now)
    while let best = ledger.kernel.best, !canReserve(task, at: best) {
      if pass.request.feasible.isEmpty {
        pass.request.feasible = Array(repeating: 0xff, count: (sites.count + 7) / 8)
      }
      pass.request.feasible[best >> 3] &= ~(1 << UInt8(best & 7))
      ledger.kernel.rescore(best, pass.request, options.weights, ledger.columns)
    }
    pass.scored = readyAt <= now && pass.request.feasible.isEmpty ? task : nil
    return ledger.kernel.best
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
      && tails[task] == tails[other]
  }
}

extension CoScheduler {
  /// Places the tasks whose parents are all bound or running, so that what they need can be warmed; it binds none of them.
  private mutating func foresee(at now: Double, _ pass: inout SchedulingPass) {
    var soon: [Int] = []
    var seen: Set<Int> = []
    for site in sites.indices {
      for task in boundTasks[site] {
        for child in children[task] where unplacedParents[child] == 0 && phases[child] == .waiting {
          if seen.insert(child).inserted { soon.append(child) }
        }
      }
    }
    soon.sort { ranks[$0] > ranks[$1] || ranks[$0] == ranks[$1] && $0 < $1 }
    for task in soon.prefix(Self.lookaheadLimit) {
      var readyAt = now
      for parent in graph.tasks[task].parents {
        guard let site = site(of: parent), let end = pass.ends[parent] else { continue }
        readyAt = max(readyAt, end)
        for output in graph.tasks[parent].outputs where !ledger.copies[output].contains(where: { $0.site == site }) {
          ledger.copies[output].append(Copy(site: site, availableAt: end, isThere: false, source: site))
          pass.assumed.append((output, site))
        }
      }
      pass.scored = nil
      place(task, readyAt: max(readyAt, now + 0.001), at: now, &pass)
    }
  }

  /// Binds a task, reserves its input set, and stages what is neither there nor on its way.
  private mutating func bind(_ task: Int, to site: Int, at now: Double, _ actions: inout [SchedulingAction]) {
    guard canReserve(task, at: site) else { return }
    for input in graph.tasks[task].inputs {
      pins[site][input, default: 0] += 1
      eviction[site].remove(input)
    }
    makeRoom(missingBytes(task, at: site), at: site, &actions)
    var inputsAt = now
    for input in graph.tasks[task].inputs {
      if let copy = ledger.copies[input].first(where: { $0.site == site }) {
        inputsAt = max(inputsAt, copy.availableAt)
      } else {
        inputsAt = max(inputsAt, stage(input, to: site, at: now, &actions) ?? now)
      }
    }
    phases[task] = .bound(site, inputsAt: inputsAt, since: now)
    boundTasks[site].append(task)
    for child in children[task] { unplacedParents[child] -= 1 }
    actions.append(.bind(task: task, to: site, rank: ranks[task]))
  }

  /// Copies a datum from the source that would have sent it first; nil when nobody who can be reached has it.
  private mutating func stage(
    _ datum: Int, to site: Int, at now: Double, _ actions: inout [SchedulingAction]
  ) -> Double? {
    guard let source = ledger.source(of: datum, at: now) else { return nil }
    let size = graph.data[datum].size
    let eta = ledger.links.promise(size, from: source, to: site, at: now)
    cacheUsed[site] += size
    ledger.copies[datum].append(Copy(site: site, availableAt: eta, isThere: false, source: source))
    actions.append(.stage(datum: datum, from: source, to: site))
    return eta
  }

  /// Copies what a waiting task will need to where it will probably go, while both links are idle and nothing must make room.
  private mutating func warm(_ task: Int, at site: Int, _ now: Double, _ actions: inout [SchedulingAction]) {
    for input in graph.tasks[task].inputs where !ledger.copies[input].contains(where: { $0.site == site }) {
      guard ledger.links.isIdleIn(site, at: now) else { return }
      let sources = ledger.copies[input].filter { $0.isThere && !ledger.isDown[$0.site] }
      guard sources.contains(where: { ledger.links.isIdleOut($0.site, at: now) }) else { continue }
      if options.weights.lambda > 0, sources.contains(where: { sites[$0.site].egressPerByte > 0 }) { continue }
      if let capacity = sites[site].cacheCapacity, cacheUsed[site] + graph.data[input].size > capacity { continue }
      _ = stage(input, to: site, at: now, &actions)
    }
  }
}
