import DequeModule
import FederationModel
import LedgerCore
public import SchedulerCore
import WorkflowCore

extension ControlPlaneCore {
  /// What a placement pass needs, or nil when a pass could place nothing: nothing waits, nothing changed, or no cluster has room.
  ///
  /// The caller plans outside the loop and brings the plan back as `Input.plan`. However much waits, it costs a bounded time: a pass
  /// sees some groups only, and all of them in turn (`PendingTasks.select`).
  public mutating func takeSnapshot() -> SchedulingSnapshot? {
    // What an open plan places still waits; it must not be planned a second time.
    guard wantsPlacement || groupsToSweep > 0, !pending.isEmpty || !upcoming.isEmpty, openPlans.isEmpty else {
      return nil
    }
    wantsPlacement = false
    let views = views()
    let tree = shareTree()
    let chosen = select(in: tree)
    let selection = chosen.keys
    groupsToSweep = max(0, groupsToSweep - selection.count)
    let room = room(in: views, for: selection)
    let ahead = upcomingGroups()
    let readsData = !ahead.isEmpty || selection.contains { pending.groups[$0]?.requirement.data.isEmpty == false }
    // A full cluster can still be sent what is read there next.
    guard room > 0 && !selection.isEmpty || readsData else {
      noteFull()
      return nil
    }
    let workflows = workflows
    let groups = pending.tasks(of: selection, limit: min(room + PlacementPlanner.lookaheadLimit, Self.passLimit)) {
      task, group in
      workflows[task.workflow]?.tasks[task.node]?.group == group
    }
    refreshTails(of: groups.compactMap { $0.tasks.first?.workflow })
    let seen = groups.filter { !$0.tasks.isEmpty }.sorted { $0.key < $1.key }.map { pendingGroup($0.key, $0.tasks) }
    let ordered = TaskOrder.sorted(seen)
    var snapshot = situation(of: ordered, ahead, on: views)
    snapshot.turns = turns(of: ordered.map(\.key), in: tree, aged: chosen.aged)
    tellReleases(&snapshot.clusters, for: seen)
    return snapshot
  }

  /// Brings the tails of workflows up to date that a pass is about to look at: now and then, because they follow what is learnt, and
  /// no more of them at once than a turn has time for.
  private mutating func refreshTails(of ids: [WorkflowID]) {
    var left = configuration.tailLimit
    for id in ids where left > 0 {
      guard let entry = workflows[id], entry.tails.map({ now - $0.at >= configuration.tailPeriod }) ?? true else {
        continue
      }
      left -= entry.machine.program.size
      let project = entry.row.project
      let tails = WorkflowTails(entry.machine.program) { name, program in
        // Of runs of all sizes: what the tasks behind will read is not known.
        let template = TemplateKey(project: project, name: name, program: program)
        return history.runtime(of: template, reading: nil)?.median ?? configuration.defaultRuntime.seconds
      }
      workflows[id]!.tails = (tails, now)
    }
  }

  /// A tick: what was left waiting for a slot that may not come is looked at, and now and then the groups that passes have not come
  /// to; a pass over those that fit nowhere takes its time, though not the loop's.
  mutating func reviewPlacement() {
    if isHolding { wantsPlacement = true }
    guard pending.groups.count > PendingTasks.selectionLimit, now - sweptAt >= configuration.sweepPeriod else { return }
    sweptAt = now
    groupsToSweep = pending.groups.count
  }

  /// Some groups, with what a pass must know besides.
  func situation(of groups: [PendingGroup], _ upcoming: [PendingGroup] = [], on views: [ClusterView])
    -> SchedulingSnapshot
  {
    var data: [DataKey: DataView] = [:]
    for group in groups + upcoming {
      for key in group.requirement.data where data[key] == nil { data[key] = dataView(key) }
    }
    return SchedulingSnapshot(clusters: views, groups: groups, upcoming: upcoming, data: data)
  }

  /// What a pass that keeps room for gangs must know: when runs end on the clusters that are large enough for one. As much work as
  /// these have runs; told once, views are left as they are.
  private func tellReleases(_ views: inout [ClusterView], for groups: [PendingGroup]) {
    let gangs = groups.lazy.filter { $0.requirement.hints.gangSize > 1 }.map(\.requirement.resources)
    guard !gangs.isEmpty else { return }
    for index in views.indices where views[index].releases.isEmpty {
      let capacity = views[index].inventory.capacity
      guard gangs.contains(where: { $0.fits(in: capacity) }) else { continue }
      views[index].releases = releases(on: views[index].spec.name)
    }
  }

  /// What explains why a group waits: with the gangs for which room is kept before it. `views` learn what these need, so that it is
  /// looked at once for all groups that are asked for together.
  func situation(explaining group: PendingGroup, _ key: Int64, on views: inout [ClusterView]) -> SchedulingSnapshot {
    // Whose turn it is matters where a gang waits alone.
    let order = pending.hasGangs ? projectOrder(in: shareTree()) : []
    let gangs = pending.gangs(before: key, in: order).map { pendingGroup($0, []) }
    tellReleases(&views, for: gangs)
    var snapshot = situation(of: [group] + gangs, on: views)
    snapshot.groups = [group]
    snapshot.gangsAhead = gangs
    return snapshot
  }

  /// - Precondition: the group exists.
  func pendingGroup(_ key: Int64, _ tasks: [TaskID]) -> PendingGroup {
    let group = pending.groups[key]!
    var view = PendingGroup(
      key: key, requirement: group.requirement, tasks: tasks, waiting: group.count,
      expectedRuntime: expectedRuntime(of: group.requirement), runtimeSpread: runtimeSpread(of: group.requirement),
      isRuntimeKnown: history.knows(group.requirement.template))
    view.budget = budgetView(of: group.requirement)
    view.quota = quotaView(of: group.requirement.project)
    // Its tasks differ in what is behind them; the first one is the next to be placed.
    if let first = tasks.first, let entry = workflows[first.workflow] {
      if let tails = entry.tails { view.tail = entry.machine.tail(of: first.node, tails.value) }
      view.deadline = entry.machine.workflowDeadline.map { ($0 - now).seconds }
    }
    return view
  }

  /// How many runs the clusters can be handed now, at most: what a pass need not look beyond.
  private func room(in views: [ClusterView], for selection: [Int64]) -> Int {
    let hasShort = selection.contains {
      pending.groups[$0].map { expectedRuntime(of: $0.requirement) < ClusterView.shortTask } ?? false
    }
    return views.reduce(0) { sum, view in
      guard view.closedBecause == nil else { return sum }
      let ahead = hasShort ? view.inventory.slots ?? 0 : 0
      return sum + max(0, min(view.freeSlots.map { $0 + ahead } ?? Self.passLimit, Self.passLimit))
    }
  }

  /// Placements that one pass proposes at most: bounds the turn that applies the plan.
  private static var passLimit: Int { 1024 }

  func views() -> [ClusterView] {
    let backlogs = backlogsOut()
    return clusters.keys.sorted().map {
      var view = clusters[$0]!.view(defaultBandwidth: configuration.defaultBandwidth, at: now)
      view.cache = cacheView(of: $0)
      view.backlogOut = backlogs[$0] ?? .zero
      view.claims = preemption.claims(on: $0).map { RoomClaim(requirement: $0.requirement, isSpot: $0.isSpot) }
      view.reservedTo = owners(of: view.spec)
      return view
    }
  }

  /// What clusters have still to send, to others and into the repository. O(transfers that are not over).
  private func backlogsOut() -> [ClusterName: ByteCount] {
    data.transfers.values.reduce(into: [:]) { backlogs, entry in
      let sender = entry.row.cause == .stageOut ? entry.row.cluster : ClusterName(entry.row.source)
      if clusters[sender] != nil { backlogs[sender, default: .zero] += entry.remaining }
    }
  }

  func expectedRuntime(of requirement: Requirement) -> Duration {
    if let known = history.runtime(of: requirement.template, reading: inputSize(of: requirement)) {
      return .seconds(known.median)
    }
    return requirement.hints.walltime ?? configuration.defaultRuntime
  }

  /// How much longer than expected a run may take that is one of the longest tenth; zero as long as nothing was learnt.
  private func runtimeSpread(of requirement: Requirement) -> Duration {
    let known = history.runtime(of: requirement.template, reading: inputSize(of: requirement))
    return .seconds(known.map { $0.upper - $0.median } ?? 0)
  }

  /// Bytes that a task reads, wherever they are.
  func inputSize(of requirement: Requirement) -> ByteCount {
    var size = requirement.inputs.reduce(ByteCount.zero) { $0 + $1.size }
    for key in requirement.data { size += data.version(key)?.size ?? pending.artifacts[key]?.size ?? .zero }
    return size
  }

  /// Takes a plan that was made on an older snapshot: what still holds is placed, the rest waits on.
  mutating func adopt(_ plan: PlacementPlan) {
    isHolding = plan.isHolding
    if plan.isCutShort { wantsPlacement = true }
    pending.note(plan.obstructions)
    for staging in plan.stagings where staging.isSpeculative { warm(staging) }
    openPlans.append(OpenPlan(plan))
    proceedWithPlan()
  }

  /// Takes a slice of the oldest open plan.
  mutating func proceedWithPlan() {
    guard var open = openPlans.popFirst() else { return }
    let end = min(open.next + configuration.sliceLimit, open.plan.placements.count)
    take(open.plan.placements[open.next..<end], of: &open)
    open.next = end
    if end < open.plan.placements.count {
      openPlans.prepend(open)
    } else {
      if open.plan.placements.count >= Self.passLimit { wantsPlacement = true }
      noteFull()
    }
  }

  private mutating func take(_ placements: ArraySlice<Placement>, of open: inout OpenPlan) {
    for placement in placements {
      guard let entry = workflows[placement.task.workflow]?.tasks[placement.task.node], entry.group != nil,
        let requirement = entry.group.flatMap({ pending.requirement(of: $0) }),
        let cluster = clusters[placement.cluster], let session = cluster.session, cluster.closedBecause == nil,
        staysWithVolumes(placement, requirement, epoch: entry.epoch),
        hasRoom(for: placement, requirement, on: cluster)
      else {
        wantsPlacement = true
        continue
      }
      let hold = hold(for: placement, requirement, on: cluster)
      // Others of the plan have taken what was left: the next pass sees it.
      let quota = quotaView(of: requirement.project)?.rejection(
        of: cluster.row.spec, within: cluster.inventory.quota(of: requirement.project), for: requirement)
      guard hold != .refused, quota == nil else {
        wantsPlacement = true
        continue
      }
      let workflow = placement.task.workflow
      let key = OpenPlan.Key(table: placement.table, workflow: workflow)
      if open.explanations[key] == nil {
        lastExplanation += 1
        open.explanations[key] = lastExplanation
        output.explanations.append(
          ExplanationRow(
            id: lastExplanation, workflow: workflow, at: now,
            document: open.plan.tables[placement.table].json.description))
      }
      bind(placement, requirement, session, epoch: entry.epoch + 1, open.explanations[key]!, hold)
    }
  }

  /// Whether a placement is where the volumes of its workflow are. What was planned before these had a place waits anew, for that place.
  private mutating func staysWithVolumes(_ placement: Placement, _ requirement: Requirement, epoch: Int32) -> Bool {
    guard requirement.features.contains(.claims), let workflow = workflows[placement.task.workflow] else { return true }
    guard let there = workflow.machine.status.volumesOn, there != placement.cluster else { return true }
    leaveQueue(placement.task)
    enqueue(placement.task, epoch: epoch)
    return false
  }

  /// Whether a placement still holds. One that is ahead of its slot needs none yet; there are never more of these than slots.
  private func hasRoom(for placement: Placement, _ requirement: Requirement, on cluster: ClusterEntry) -> Bool {
    var view = cluster.view(defaultBandwidth: configuration.defaultBandwidth, at: now)
    view.claims = preemption.claims(on: view.spec.name).map {
      RoomClaim(requirement: $0.requirement, isSpot: $0.isSpot)
    }
    // It may have been taken back since the plan was made.
    guard !placement.isSpot || view.spot.map({ $0.offer.percent > 0 }) == true else { return false }
    view = view.part(of: placement).open(to: requirement)
    // A price may have changed since the plan was made.
    let egress = egressQuotes(of: placement).plannedCost
    guard view.isAffordable(for: requirement, egress: egress, lasting: expectedRuntime(of: requirement)) else {
      return false
    }
    if view.hasRoom(for: requirement.resources, lasting: expectedRuntime(of: requirement)) { return true }
    guard placement.isAhead, requirement.resources.fits(in: view.free + view.inventory.capacity) else { return false }
    return view.freeSlots.map { $0 + (view.inventory.slots ?? 0) > 0 } ?? true
  }

  private mutating func bind(
    _ placement: Placement, _ requirement: Requirement, _ session: SessionID, epoch: Int32, _ explanation: Int64,
    _ hold: Hold
  ) {
    let (task, cluster) = (placement.task, placement.cluster)
    runCounter += 1
    let id = RunID(incarnation: incarnation, counter: runCounter)
    let terms = terms(for: placement, requirement)
    var row = RunRow(
      id: id, task: task, epoch: epoch, cluster: cluster, boundAt: now, explanation: explanation,
      quote: terms.quote,
      resources: requirement.resources, program: requirement.template.program, inputBytes: inputSize(of: requirement))
    row.egress = egressQuotes(of: placement)
    row.priorityClass = requirement.hints.priorityClass
    row.spot = terms.spot
    var run = RunEntry(
      row: row, promisedBytes: placement.moving,
      isReplaceable: requirement.hints.onDisconnect == .replace,
      template: requirement.template, priced: requirement.priced)
    run.expectedSeconds = expectedRuntime(of: requirement).seconds
    run.isShort = run.expectedSeconds < ClusterView.shortTask.seconds
    run.priorityClass = requirement.hints.priorityClass
    if let group = workflows[task.workflow]!.tasks[task.node]!.group { preemption.placed(group, on: cluster) }
    leaveQueue(task)
    if requirement.features.contains(.claims) {
      workflows[task.workflow]!.machine.volumesPlaced(on: cluster)
      output.workflows.insert(task.workflow)
    }
    workflows[task.workflow]!.tasks[task.node]!.epoch = epoch
    workflows[task.workflow]!.tasks[task.node]!.run = id
    if case .amount(let amount, let bound, let slice) = hold {
      do {
        try ledger.reserve(
          amount, for: id, of: requirement.project, by: requirement.member, bound: bound, slice: slice, at: now)
      } catch {
        // What was asked for above has been refused meanwhile: nothing may start that is not reserved (I3).
        end(task, TaskOutcome(phase: .error, message: (error as? FederationError)?.publicMessage ?? "\(error)"))
        return
      }
    }
    guard let assignment = assignment(of: row) else {
      _ = ledger.settle(id, used: .zero, on: cluster, at: now)
      end(task, TaskOutcome(phase: .error, message: "the task could not be described"))
      return
    }
    runs[id] = run
    countIn(row, of: requirement.project)
    preemption.began(run.priorityClass)
    backlog.placed(run.priorityClass)
    charge(run, to: requirement.project)
    noteTurn(of: requirement.project, isAged: placement.isAged)
    clusters[cluster]!.add(run)
    awaitInputs(of: id, assignment.spec)
    output.runs[id] = row
    output.assign(assignment, to: cluster, session)
  }

  /// What the agent needs to know about a run; nil when its workflow is gone.
  func assignment(of row: RunRow) -> RunAssignment? {
    guard let workflow = workflows[row.task.workflow]?.row, let known = try? spec(of: row.task, for: row.cluster) else {
      return nil
    }
    var spec = withNotice(known, of: row)
    // Where prices depend on the partition it goes where it was quoted for.
    if let partition = row.quote?.partition {
      var hints = spec.federation.slurm ?? SlurmHints()
      hints.partition = partition
      spec.federation.slurm = hints
    }
    let held = ledger.reservations[row.id]
    var walltime = spec.federation.walltime ?? (spec.activeDeadline == nil ? held?.bound : nil)
    var slice = held.flatMap { $0.isRenewable ? $0.slice : nil }
    // An agent that does not know of slices must not let the run go on beyond what is held for it.
    if clusters[row.cluster]?.renewsSlices == false, let most = slice {
      walltime = min(walltime ?? most, most)
      slice = nil
    }
    return RunAssignment(
      run: row.id, epoch: row.epoch, project: workflow.project, workflowName: workflow.name, workflowUID: workflow.uid,
      nodeName: workflows[row.task.workflow]!.machine[row.task.node].name, spec: spec,
      disconnectLimit: spec.federation.onDisconnect == .replace ? configuration.disconnectLimit : nil,
      walltime: walltime, slice: slice)
  }
}
