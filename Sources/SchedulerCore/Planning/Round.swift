import FederationModel

/// One requirement's turn in a placement pass: what each cluster says to it now. Arrays are by the index of the cluster.
struct Round {
  private let group: PendingGroup
  private let inputs: RoundInputs
  /// It is only looked ahead to, and nothing of it is placed.
  private let isUpcoming: Bool
  private let confined: [Filter.Confinement]
  private var rejections: [Rejection?]
  /// Why the policy passes over clusters that would take it.
  private var passedOver: [Rejection?]
  /// What the policy says of a cluster that is chosen.
  private var notes: [String?]
  /// Shown instead of the wait that is computed.
  private var shownWait: [Int: Double] = [:]
  /// One table for each cluster chosen in this turn: the runs that follow the first were decided on the same grounds.
  private var tableOfCluster: [Int: Int] = [:]
  /// `placementPolicy: local-first`, once its tiers are asked.
  private var tiers: LocalFirst?
  private var request: ScoringRequest
  /// Bytes were promised, or the requirement has not been scored: a rescore of one cluster does not mend it.
  private var isStale = true
  /// More has changed than one cluster's rejection: all are asked again whether they may be chosen.
  private var isFilterStale = true

  init(_ group: PendingGroup, _ pass: inout PlacementPass, isUpcoming: Bool = false) {
    self.group = group
    self.isUpcoming = isUpcoming
    inputs = pass.inputs(of: group.requirement)
    confined = Filter.confinements(inputs, pass)
    request = ScoringRequest(
      runtime: Float(group.expectedRuntime.seconds), runtimeSpread: Float(group.runtimeSpread.seconds),
      deadline: group.deadline.map { Float($0) } ?? .infinity, tail: Float(group.tail))
    let missing = pass.missing(inputs)
    // What it costs to bring the inputs depends on who sends them.
    if pass.hasEgress, !inputs.named.isEmpty { pass.ledger.gather(inputs.all, at: 0) }
    passedOver = pass.clusters.map { _ in nil }
    notes = passedOver.map { _ in nil }
    rejections = passedOver
    for index in pass.clusters.indices {
      rejections[index] = Filter.rejection(
        of: pass.clusters[index], for: group.requirement, missing: ByteCount(estimated: Double(missing[index])),
        egress: pass.egress(inputs, to: index, pass.ledger), confined: confined, expectedRuntime: group.expectedRuntime,
        budget: group.budget,
        quota: group.quota)
    }
    for index in pass.clusters.indices {
      keepForOthers(index, pass)
      keepForGang(index, pass)
    }
    let blocks = (pass.ledger.columns.count + 7) / 8
    request.feasible = Array(repeating: 0, count: blocks)
    request.offsets = Array(repeating: .zero, count: blocks)
    for index in pass.clusters.indices { describe(index, &pass) }
    rejectWithoutSource(pass)
  }

  private var requirement: Requirement { group.requirement }

  /// Others have had their turn: looks again at what they may have changed. Room only becomes less in a pass, so what was rejected
  /// stays so.
  mutating func resume(_ pass: inout PlacementPass) {
    for index in pass.clusters.indices {
      if rejections[index] == nil { review(index, pass) }
      describe(index, &pass)
    }
    (isStale, isFilterStale) = (true, true)
  }

  /// Asks a cluster again what depends on the moment.
  private mutating func review(_ index: Int, _ pass: PlacementPass) {
    rejections[index] =
      dearer(index, pass)
      ?? Filter.moment(
        pass.clusters[index], requirement, missing: pass.missing(inputs, on: index),
        expectedRuntime: group.expectedRuntime)
    keepForOthers(index, pass)
    keepForGang(index, pass)
  }

  /// Where prices depend on the pool, the next task may go to one that is not paid for.
  private func dearer(_ index: Int, _ pass: PlacementPass) -> Rejection? {
    let cluster = pass.clusters[index]
    guard cluster.partition != nil else { return nil }
    let egress = pass.egress(inputs, to: index, pass.ledger)
    return Filter.money(cluster, requirement, egress, group.expectedRuntime, group.budget)
      ?? tiers?.priceRejection(cluster, egress: egress)
  }

  // MARK: Preemption

  /// Says of a cluster that would have room, were it not kept for others, that it is.
  private mutating func keepForOthers(_ index: Int, _ pass: PlacementPass) {
    guard rejections[index]?.code == Rejection.full, let withheld = pass.withheld[index] else { return }
    var whole = pass.clusters[index]
    whole.giveBack(withheld)
    guard whole.hasRoom(for: requirement.resources, lasting: group.expectedRuntime) else { return }
    rejections[index] = withheld.rejection
  }

  // MARK: Gangs

  /// Rejects a cluster whose room is kept for a gang that would have to wait for this.
  private mutating func keepForGang(_ index: Int, _ pass: PlacementPass) {
    // Room that others left for this task is its own: they would have left for nothing.
    guard rejections[index] == nil, let reservation = pass.reservations[index],
      reservation.isSpot == pass.clusters[index].isSpot,
      !pass.clusters[index].claims.contains(where: { $0.requirement == requirement }),
      !reservation.admits(requirement.resources, until: end(on: index, pass))
    else { return }
    rejections[index] = reservation.rejection
  }

  /// Seconds until a run would end that is placed now, its staging left out: it does not hold a slot.
  private func end(on index: Int, _ pass: PlacementPass) -> Double {
    group.expectedRuntime.seconds / pass.clusters[index].speed
  }

  /// Keeps room for a gang that finds none now: where it will be first, of the clusters that want nothing but room for it.
  func reserve(_ pass: inout PlacementPass) {
    guard requirement.hints.gangSize > 1, requirement.hints.priorityClass != .idle else { return }
    let found = pass.clusters.indices.compactMap { index -> (index: Int, reservation: GangReservation)? in
      guard rejections[index]?.code == Rejection.full, passedOver[index] == nil, pass.reservations[index] == nil,
        let reservation = GangReservation(for: requirement, on: pass.clusters[index])
      else { return nil }
      return (index, reservation)
    }
    guard let first = found.min(by: { ($0.reservation.start, $0.index) < ($1.reservation.start, $1.index) }) else {
      return
    }
    pass.reservations[first.index] = first.reservation
  }

  // MARK: Scoring

  /// Tells the columns and the request what they need to know of a cluster for this requirement.
  private mutating func describe(_ index: Int, _ pass: inout PlacementPass) {
    let cluster = pass.clusters[index]
    pass.ledger.columns.setWait(index, Float(wait(index, pass).seconds))
    let sheet = cluster.spec.prices?.quoted(to: requirement.hints.priorityClass)
    pass.ledger.columns.setPrice(
      index, perSecond: Float(sheet?.cost(of: requirement.priced, for: .seconds(1)) ?? 0), perByteIn: 0)
    if pass.hasEgress {
      let currency = group.budget?.currency ?? cluster.spec.prices?.currency ?? ""
      pass.ledger.columns.setEgress(
        index, Float(EgressQuote.cost(of: ByteCount(1), at: cluster.egressGibibyte(in: currency))))
    }
    var taken = 0.0
    if let slots = cluster.inventory.slots, slots > 0, let free = cluster.freeSlots {
      taken = 1 - Double(free) / Double(slots)
    } else if cluster.inventory.capacity.cpuMillicores > 0 {
      taken = 1 - Double(cluster.free.cpuMillicores) / Double(cluster.inventory.capacity.cpuMillicores)
    }
    let offset = pass.weights.spread * taken - pass.weights.nu * pass.futureReuse(inputs, on: index)
    request.offsets[index >> 3][index & 7] = Float(offset)
  }

  /// Seconds until a task would get a slot, and whether that is until one of those ends that are there.
  private func wait(_ index: Int, _ pass: PlacementPass) -> (seconds: Double, isForSlot: Bool) {
    let cluster = pass.clusters[index]
    let run = group.expectedRuntime.seconds / cluster.speed
    var wait = QueueWait.seconds(cluster, requirement, expectedRuntime: run)
    if let slots = cluster.inventory.slots, slots > 0, let free = cluster.freeSlots, free <= 0 {
      let next = pass.ledger.slots[index].next(0)
      if next < .infinity, !hasRoom(index, pass) { return (max(wait, next), true) }
      // It waits at the agent until one of those before it has ended.
      wait += run * Double(1 - free) / Double(max(1, cluster.changingSlots))
    } else if !cluster.inventory.queues, !hasRoom(index, pass) {
      let next = pass.ledger.slots[index].next(0)
      if next < .infinity { return (max(wait, next), true) }
    }
    return (wait, false)
  }

  private func hasRoom(_ index: Int, _ pass: PlacementPass) -> Bool {
    pass.clusters[index].hasRoom(for: requirement.resources, lasting: group.expectedRuntime)
  }

  /// Whether a task may wait for a slot of this cluster though others are free: nothing but room keeps it from there, and when there
  /// will be room is known and not guessed.
  private func mayHold(_ index: Int, _ pass: PlacementPass) -> Bool {
    guard rejections[index]?.code == Rejection.full, passedOver[index] == nil,
      pass.heldCount < PlacementPlanner.lookaheadLimit
    else { return false }
    if isUpcoming { return true }
    // Of its two parts it is not known which the next slot is of.
    guard pass.clusters[index].spot == nil else { return false }
    return group.isRuntimeKnown && group.expectedRuntime >= .seconds(1) && requirement.hints.gangSize == 1
      && requirement.hints.placementPolicy == nil && wait(index, pass).isForSlot
  }

  /// The cluster of the least score, of those that are open and have room or are worth waiting for.
  mutating func best(_ pass: inout PlacementPass) -> Int? {
    if isFilterStale { for index in pass.clusters.indices { setFeasible(index, pass) } }
    if isStale || isFilterStale { pass.ledger.score(inputs.all, request, pass.weights.scoring, at: 0) }
    (isStale, isFilterStale) = (false, false)
    return pass.ledger.kernel.best
  }

  private mutating func setFeasible(_ index: Int, _ pass: PlacementPass) {
    let isOpen = rejections[index] == nil && passedOver[index] == nil || mayHold(index, pass)
    let bit = UInt8(1) << UInt8(index & 7)
    if isOpen { request.feasible[index >> 3] |= bit } else { request.feasible[index >> 3] &= ~bit }
  }

  // MARK: Placing

  /// Places a task, or leaves it waiting for the cluster's next slot; commits the choice before the next one.
  mutating func put(_ task: TaskID, on index: Int, _ pass: inout PlacementPass) {
    let wait = wait(index, pass)
    let terms = pass.ledger.kernel.terms(index, request, pass.weights.scoring, pass.ledger.columns)
    let isAhead = rejections[index] != nil
    let isHeldBack = isUpcoming || isAhead && !(isDue(terms, wait) && isAdmitted(terms, wait, index, pass))
    if !isHeldBack, tableOfCluster[index] == nil {
      tableOfCluster[index] = pass.plan.tables.count
      pass.plan.tables.append(table(pass, chosen: index))
    }
    let isElsewherePossible = !isUpcoming && rejections.indices.contains { isOpenNow($0) }
    let missing = pass.missing(inputs, on: index)
    let sources = pass.sources(inputs, to: index, pass.ledger)
    let commitment = pass.ledger.commit(inputs.all, to: index, passing: inputs.passing, at: 0)
    let end = max(commitment.inputsAt, wait.seconds) + group.expectedRuntime.seconds / pass.clusters[index].speed
    if isHeldBack {
      pass.ledger.slots[index].book(until: end)
      pass.assume(inputs, commitment.moves, at: index)
      if isElsewherePossible { pass.plan.isHolding = true }
    } else {
      pass.plan.placements.append(
        Placement(
          task: task, cluster: pass.clusters[index].spec.name, table: tableOfCluster[index]!, moving: missing,
          sources: sources, isAhead: isAhead))
      pass.plan.placements[pass.plan.placements.count - 1].isSpot = pass.clusters[index].isSpot
      pass.plan.placements[pass.plan.placements.count - 1].partition = pass.clusters[index].partition
      if isAhead {
        pass.ledger.slots[index].book(until: end)
        pass.reservations[index]?.admit(requirement.resources, until: end)
      } else {
        take(index, until: end, &pass)
      }
      pass.stage(inputs, commitment.moves, to: index)
    }
    follow(index, hasMoved: !commitment.moves.isEmpty, missing, &pass)
  }

  /// Whether something other than room keeps it from every cluster: then room that others give back is of no use to it now.
  var isObstructed: Bool { rejections.allSatisfy { $0.map { !$0.isForRoom } ?? false } }

  private func isOpenNow(_ index: Int) -> Bool { rejections[index] == nil && passedOver[index] == nil }

  private func isDue(_ terms: ScoredTerms, _ wait: (seconds: Double, isForSlot: Bool)) -> Bool {
    PlacementLedger.isDue(slot: wait.seconds, inputsAt: Double(terms.stage), queued: 0)
  }

  /// Whether what is kept for a gang there lets a task in that takes the next slot.
  private func isAdmitted(
    _ terms: ScoredTerms, _ wait: (seconds: Double, isForSlot: Bool), _ index: Int, _ pass: PlacementPass
  ) -> Bool {
    guard let reservation = pass.reservations[index] else { return true }
    let start = max(Double(terms.stage), wait.seconds)
    return reservation.admits(requirement.resources, until: start + end(on: index, pass))
  }

  private func take(_ index: Int, until end: Double, _ pass: inout PlacementPass) {
    pass.clusters[index].free -= requirement.resources
    pass.clusters[index].takePartition(requirement)
    if pass.clusters[index].freeSlots != nil { pass.clusters[index].freeSlots! -= 1 }
    if group.expectedRuntime >= ClusterView.shortTask { pass.clusters[index].longRuns += 1 }
    if pass.clusters[index].firstEnd != nil { pass.ledger.slots[index].add(until: end) }
    let expectedEnd = self.end(on: index, pass)
    if pass.reservations[index]?.isSpot == pass.clusters[index].isSpot {
      pass.reservations[index]?.admit(requirement.resources, until: expectedEnd)
    }
    if pass.keepsRoom {
      pass.clusters[index].add(
        ExpectedRelease(resources: requirement.resources, end: expectedEnd, isSpot: pass.clusters[index].isSpot))
    }
  }

  /// Looks again at a cluster after a choice.
  private mutating func follow(_ index: Int, hasMoved: Bool, _ missing: ByteCount, _ pass: inout PlacementPass) {
    review(index, pass)
    pass.ledger.refresh(index, at: 0)
    describe(index, &pass)
    setFeasible(index, pass)
    if pass.heldCount == PlacementPlanner.lookaheadLimit { isFilterStale = true }
    if hasMoved {
      isStale = true
    } else {
      pass.ledger.kernel.rescore(index, request, pass.weights.scoring, pass.ledger.columns)
    }
  }

  // MARK: Explaining

  /// When the best choice is to wait for a slot, says so of the clusters that could take the task now.
  mutating func holdForBetter(_ pass: inout PlacementPass) {
    guard let best = best(&pass), rejections[best] != nil else { return }
    let wait = wait(best, pass)
    let terms = pass.ledger.kernel.terms(best, request, pass.weights.scoring, pass.ledger.columns)
    guard !isDue(terms, wait) else { return }
    for index in pass.clusters.indices where isOpenNow(index) {
      let other = pass.ledger.kernel.terms(index, request, pass.weights.scoring, pass.ledger.columns)
      passedOver[index] = Rejection(
        Rejection.heldForBetter,
        "it would end in about \(LocalFirst.text(Double(other.finish))) here, and in "
          + "\(LocalFirst.text(Double(terms.finish))) on \(pass.clusters[best].spec.name), where a slot is expected in "
          + "\(LocalFirst.text(wait.seconds))", isTemporary: true)
    }
  }

  mutating func table(_ pass: PlacementPass, chosen: Int?) -> CandidateTable {
    // Without a choice nothing may have been scored yet.
    var ledger = pass.ledger
    if isStale { ledger.score(inputs.all, request, pass.weights.scoring, at: 0) }
    return CandidateTable(
      candidates: pass.clusters.indices.map { index in
        let isPossible = rejections[index]?.isTemporary ?? true
        var candidate = Candidate(
          cluster: pass.clusters[index].spec.name,
          rejection: index == chosen ? nil : reason(index),
          estimate: isPossible ? estimate(index, ledger, pass) : nil,
          isChosen: index == chosen, note: index == chosen ? notes[index] ?? aheadNote(index) : nil)
        candidate.isSpot = pass.clusters[index].isSpot
        return candidate
      })
  }

  /// Of a cluster that is full and that the policy passes over anyway, the policy's word: room there would not help.
  private func reason(_ index: Int) -> Rejection? {
    if rejections[index]?.code == Rejection.full, let policy = passedOver[index] { return policy }
    return rejections[index] ?? passedOver[index]
  }

  private func aheadNote(_ index: Int) -> String? {
    rejections[index] == nil ? nil : "a slot is free by the time its inputs are there"
  }

  /// nil when somebody has to bring what nobody has.
  private func estimate(_ index: Int, _ ledger: PlacementLedger, _ pass: PlacementPass) -> Estimate? {
    let cluster = pass.clusters[index]
    let terms = ledger.kernel.terms(index, request, pass.weights.scoring, ledger.columns)
    guard terms.missing < .infinity else { return nil }
    let run = group.expectedRuntime.seconds / cluster.speed
    let wait = shownWait[index] ?? wait(index, pass).seconds
    let missing = pass.missing(inputs, on: index)
    var (inFlight, source): (Int64, (bytes: Double, site: Int)) = (0, (0, -1))
    for (position, input) in inputs.all.enumerated() {
      if let copy = ledger.copy(of: input, at: index) {
        if !copy.isThere { inFlight += Int64(ledger.sizes[input]) }
      } else if ledger.sizes[input] > source.bytes {
        source = (ledger.sizes[input], Int(ledger.kernel.sources[position]))
      }
    }
    let sheet = cluster.spec.prices?.quoted(to: requirement.hints.priorityClass)
    let egress = pass.egress(inputs, to: index, ledger)
    return Estimate(
      missing: missing, inFlight: ByteCount(inFlight),
      source: source.site < 0 ? nil : pass.name(of: source.site)?.text ?? Estimate.outside,
      sources: pass.sources(inputs, to: index, ledger),
      stageSeconds: Self.milliseconds(terms.stage), waitSeconds: wait, runSeconds: run,
      finishSeconds: max(Self.milliseconds(terms.stage), wait) + run, tailSeconds: group.tail,
      priceMinorUnits: sheet.map { $0.cost(of: requirement.priced, for: .seconds(run)) + egress },
      egressMinorUnits: sheet.map { _ in egress }, currency: sheet?.currency,
      score: score(index, ledger, pass))
  }

  /// The score of a cluster that a task may not go to now is shown as if it might.
  private func score(_ index: Int, _ ledger: PlacementLedger, _ pass: PlacementPass) -> Double {
    var request = request
    request.feasible = []
    return Self.milliseconds(ledger.kernel.terms(index, request, pass.weights.scoring, ledger.columns).score)
  }

  /// Single precision carries no more.
  private static func milliseconds(_ seconds: Float) -> Double { (Double(seconds) * 1000).rounded() / 1000 }

  /// Says of the clusters that lack it which input nobody can send.
  private mutating func rejectWithoutSource(_ pass: PlacementPass) {
    if let unknown = inputs.unknown {
      for index in rejections.indices where rejections[index]?.isTemporary ?? true {
        rejections[index] = Filter.noReplica(unknown)
      }
    }
    for input in inputs.named where pass.view(of: input).view.isConfined {
      for index in rejections.indices
      where rejections[index]?.isTemporary ?? true && pass.ledger.copy(of: input, at: index) == nil {
        rejections[index] = Filter.confined(pass.view(of: input).key)
      }
    }
    for input in inputs.named where !pass.ledger.copies[input].contains(where: pass.canSend) {
      for index in rejections.indices where rejections[index] == nil && pass.ledger.copy(of: input, at: index) == nil {
        rejections[index] = Filter.noReplica(pass.view(of: input).key)
      }
    }
  }
}

/// `placementPolicy: local-first`.
extension Round {
  /// The clusters of a tier that take the requirement, now or when they have room.
  func members(of tier: Tier, _ pass: PlacementPass) -> [Int] {
    pass.clusters.indices.filter {
      pass.clusters[$0].tier == tier && pass.clusters[$0].closedBecause == nil
        && rejections[$0]?.isTemporary ?? true
    }
  }

  /// Closes every tier, each with the reason that holds until `open` has come to it.
  ///
  /// - Parameter waiting: tasks of the requirement that wait, those that are about to be placed among them.
  mutating func begin(_ tiers: LocalFirst, _ pass: PlacementPass, waiting: Int) {
    let clusters = pass.clusters
    self.tiers = tiers
    for index in clusters.indices where rejections[index]?.isTemporary ?? true {
      if let reason = tiers.priceRejection(clusters[index], egress: pass.egress(inputs, to: index, pass.ledger)) {
        rejections[index] = reason
      }
    }
    var earlier: [ClusterView] = []
    for tier in Tier.allCases {
      let reason = tiers.heldRejection(tier, waiting: waiting, earlier: earlier)
      let note = tiers.note(tier, waiting: waiting, earlier: earlier)
      for index in clusters.indices where clusters[index].tier == tier {
        (passedOver[index], notes[index]) = (reason, note)
        // Nobody starts at once where nothing is free; what waits in this pass already comes first.
        if rejections[index]?.code == Rejection.full {
          shownWait[index] = tiers.wait(on: clusters[index]) + tiers.runtime / tiers.parallel(clusters[index])
        }
      }
      earlier += members(of: tier, pass).map { clusters[$0] }
    }
    isFilterStale = true
  }

  mutating func open(_ tier: Tier, _ tiers: LocalFirst, _ pass: PlacementPass) {
    for index in pass.clusters.indices where pass.clusters[index].tier == tier {
      passOver(index, tiers, pass)
    }
  }

  /// Looks again whether a cluster of an open tier is soon enough.
  mutating func passOver(_ index: Int, _ tiers: LocalFirst, _ pass: PlacementPass) {
    passedOver[index] = tiers.waitRejection(tiers.wait(on: pass.clusters[index]))
    isFilterStale = true
  }

  /// The tables of what follows are others: the grounds have changed.
  mutating func openAll(_ tiers: LocalFirst) {
    passedOver = passedOver.map { _ in nil }
    notes = notes.map { _ in tiers.lastResortNote }
    tableOfCluster = [:]
    isFilterStale = true
  }
}
