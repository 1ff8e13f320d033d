extension CoScheduler {
  /// A task that is due: its inputs are staged as their turn comes, in order of rank, and it is bound when the last of them is on its
  /// way. Where links are shared by all that was asked for, everything arrives late together; one after the other the first ones
  /// run while the next ones come.
  ///
  /// In a bounded cache it is bound at once, because its whole input set must be reserved there at once (I4).
  mutating func hand(_ task: Int, to site: Int, at now: Double, _ actions: inout [SchedulingAction]) {
    guard canReserve(task, at: site) else { return }
    if sites[site].cacheCapacity == nil {
      var isComplete = true
      for input in graph.tasks[task].inputs {
        if ledger.copy(of: input, at: site) != nil {
          if let index = flows.firstIndex(where: { $0.datum == input && $0.to == site }) {
            flows[index].isWarming = false
          }
        } else if let source = ledger.source(of: input, to: site, at: now) {
          if room.has(from: source, to: site, isWarming: false) {
            stage(input, to: site, at: now, isWarming: false, &actions)
          } else {
            isComplete = false
          }
        }
      }
      guard isComplete else { return }
    }
    bind(task, to: site, at: now, &actions)
  }

  /// Binds a task, reserves its input set, and stages what is neither there nor on its way.
  private mutating func bind(_ task: Int, to site: Int, at now: Double, _ actions: inout [SchedulingAction]) {
    for input in graph.tasks[task].inputs {
      pins[site][input, default: 0] += 1
      eviction[site].remove(input)
    }
    makeRoom(missingBytes(task, at: site), at: site, &actions)
    var inputsAt = now
    for input in graph.tasks[task].inputs {
      if ledger.copy(of: input, at: site) == nil { stage(input, to: site, at: now, isWarming: false, &actions) }
      inputsAt = max(inputsAt, ledger.copy(of: input, at: site)?.availableAt ?? now)
    }
    phases[task] = .bound(site, inputsAt: inputsAt, since: now)
    boundTasks[site].append(task)
    actions.append(.bind(task: task, to: site, rank: ranks[task]))
  }

  /// Copies a datum from the source that would have sent it first; nothing when nobody who can be reached has it.
  private mutating func stage(
    _ datum: Int, to site: Int, at now: Double, isWarming: Bool, _ actions: inout [SchedulingAction]
  ) {
    guard let source = ledger.source(of: datum, to: site, at: now) else { return }
    let size = graph.data[datum].size
    let eta = ledger.links.promise(size, from: source, to: site, at: now)
    cacheUsed[site] += size
    ledger.copies[datum].append(Copy(site: site, availableAt: eta, isThere: false, source: source))
    flows.append(LinkRoom.Flow(datum: datum, from: source, to: site, isWarming: isWarming))
    room.take(from: source, to: site, isWarming: isWarming)
    actions.append(.stage(datum: datum, from: source, to: site))
  }

  /// Copies what a task will need to where it will probably go, while the links have nothing else to do and nothing must make room.
  mutating func warm(_ task: Int, at site: Int, _ now: Double, _ actions: inout [SchedulingAction]) {
    for input in graph.tasks[task].inputs where ledger.copy(of: input, at: site) == nil {
      guard let source = ledger.source(of: input, to: site, at: now),
        room.has(from: source, to: site, isWarming: true)
      else {
        continue
      }
      if options.weights.lambda > 0, sites[source].egressPerByte > 0 { continue }
      if let capacity = sites[site].cacheCapacity, cacheUsed[site] + graph.data[input].size > capacity { continue }
      stage(input, to: site, at: now, isWarming: true, &actions)
    }
  }
}
