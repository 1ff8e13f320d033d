import FederationModel
import SchedulerCore
import WorkflowCore

/// Room for higher classes: runs strictly lower in class leave for a task that finds no room (DESIGN section 8, ADR 0019).
///
/// The victims are cancelled first and their ends awaited (I1); the room is kept for the task meanwhile, and it is placed by an
/// ordinary pass when the room is there. A victim's task waits again, with what it had reached.
extension ControlPlaneCore {
  /// Groups that look for room in one turn.
  private static var asksPerTurn: Int { 4 }
  /// Tasks of one group that room is made for in one turn.
  private static var claimsPerAsk: Int { 8 }
  /// Of the groups that may ask, the first that are looked at.
  private static var askersMax: Int { 64 }
  /// How long a group that found nobody waits before it looks again.
  private static var askPause: Duration { .milliseconds(400) }
  /// How long room stays kept for a task that does not come though nobody is in its way any more.
  private static var keptFor: Duration { .seconds(30) }

  /// Whether tasks that wait might take the room of others. O(1).
  mutating func noteFull() {
    preemption.isWanted =
      PriorityClass.allCases.contains { preemption.hasVictims(for: $0) } && !pending.isEmpty
  }

  /// A turn of those that wait for room.
  mutating func makeRoom() {
    preemption.isWanted = false
    dropClaims()
    let groups = pending.groups
    let askers = preemption.askers(limit: Self.askersMax) { groups[$0] != nil }
    var left = Self.asksPerTurn
    for group in askers {
      let lacking = (pending.groups[group]?.count ?? 0) - preemption.claims(of: group)
      guard lacking > 0, preemption.mayTry(group, at: now, every: Self.askPause) else { continue }
      guard left > 0 else {
        preemption.isWanted = true
        return
      }
      left -= 1
      makeRoom(for: group, tasks: min(lacking, Self.claimsPerAsk))
    }
  }

  private mutating func makeRoom(for key: Int64, tasks: Int) {
    let group = pendingGroup(key, [])
    var views = views()
    let table = candidates(of: group, key, on: &views)
    // It has room, or rather waits for better.
    guard table.candidates.allSatisfy({ $0.rejection.map { $0.code != Rejection.heldForBetter } ?? false }) else {
      return
    }
    let full = Set(
      table.candidates.filter { [Rejection.full, Rejection.kept].contains($0.rejection!.code) }.map(\.cluster))
    guard !full.isEmpty, let claimant = waiting(in: key) else { return }
    for _ in 0..<tasks {
      let choices = views.filter { full.contains($0.spec.name) }
        .map { $0.part(for: group.requirement, lasting: group.expectedRuntime) }
        .compactMap { view in
          choice(for: group.requirement, on: view).map { room in (view.spec.name, room) }
        }
      guard let (cluster, choice) = choices.min(by: { Self.isFirst($0, $1) }) else { return }
      for run in choice.runs { preempt(run, for: claimant, group.requirement.hints.priorityClass) }
      preemption.add(
        PreemptionState.Claim(
          group: key, requirement: group.requirement, cluster: cluster, isSpot: choice.isSpot,
          victims: choice.choice.map { Set($0.runs) } ?? leaving(cluster), since: now))
    }
  }

  private static func isFirst(_ a: (ClusterName, Room), _ b: (ClusterName, Room)) -> Bool {
    switch (a.1.choice, b.1.choice) {
    case (nil, nil): a.0 < b.0
    // Where enough is leaving already, nobody else has to.
    case (nil, _): true
    case (_, nil): false
    case (let one?, let other?):
      VictimChoice.isBetter(one, than: other) || !VictimChoice.isBetter(other, than: one) && a.0 < b.0
    }
  }

  /// The first task of a group that waits.
  private func waiting(in key: Int64) -> TaskID? {
    pending.groups[key]?.queue.first { workflows[$0.workflow]?.tasks[$0.node]?.group == key }
  }

  /// Runs that have been asked to leave a cluster and have not left.
  private func leaving(_ cluster: ClusterName) -> Set<RunID> {
    clusters[cluster]!.runs.filter { runs[$0]!.row.isLeaving }
  }

  // MARK: Victims

  /// How a cluster's room is made.
  struct Room {
    /// nil: enough is leaving as it is.
    var choice: VictimChoice?
    /// Of the cluster's spot capacity.
    var isSpot: Bool
    var runs: [RunID] { choice?.runs ?? [] }
  }

  /// nil when nobody there whose leaving makes the room may leave.
  private func choice(for requirement: Requirement, on view: ClusterView) -> Room? {
    let missing = missing(for: requirement, on: view)
    guard !missing.isNone else { return Room(choice: nil, isSpot: view.isSpot) }
    let entry = clusters[view.spec.name]!
    let asking = requirement.hints.priorityClass
    // Most often nothing lower runs there: that is known without looking at each run.
    guard
      mayReclaim(requirement) || PriorityClass.allCases.contains(where: { $0 > asking && entry.use(of: $0).slots > 0 })
    else { return nil }
    let victims = victims(
      below: requirement.hints.priorityClass, on: view.spec.name, bandwidth: view.bandwidth, for: requirement.project,
      reclaims: mayReclaim(requirement)
    ).filter { view.spot == nil || (runs[$0.run]!.row.spot != nil) == view.isSpot }
    return VictimChoice.choose(making: missing, from: victims, capacity: view.inventory.capacity)
      .map { Room(choice: $0, isSpot: view.isSpot) }
  }

  /// What a cluster lacks for one more task of a requirement when all have left that were asked to, and all have come that room is kept
  /// for.
  private func missing(for requirement: Requirement, on view: ClusterView) -> MissingRoom {
    let entry = clusters[view.spec.name]!
    // As `ClusterView.hasRoom`: a cluster with a queue of its own takes as much again.
    let free = view.inventory.queues ? view.free + view.inventory.capacity : view.free
    var missing = MissingRoom(resources: requirement.resources - free, slots: view.freeSlots.map { 1 - $0 } ?? 0)
    for claim in preemption.claims(on: view.spec.name) where claim.isSpot == view.isSpot {
      missing.resources += claim.requirement.resources
      if view.freeSlots != nil { missing.slots += 1 }
    }
    for id in entry.runs where runs[id]!.row.cancelReason != nil && runs[id]!.holdsSlot {
      guard view.spot == nil || (runs[id]!.row.spot != nil) == view.isSpot else { continue }
      missing.resources -= runs[id]!.row.resources
      if view.freeSlots != nil { missing.slots -= 1 }
    }
    return missing
  }

  /// Those of a cluster's runs that may leave for a class.
  ///
  /// - Parameter reclaims: the project takes back what is guaranteed to it: whoever borrows leaves, unless it is realtime work.
  func victims(
    below asking: PriorityClass, on name: ClusterName, bandwidth: Double, for project: ProjectName, reclaims: Bool
  ) -> [VictimView] {
    let found = clusters[name]!.runs.compactMap { id -> VictimView? in
      let run = runs[id]!
      let isLower = asking.preempts && run.priorityClass > asking
      guard isLower || reclaims && isBorrowed(run, from: project), run.holdsSlot, run.row.cancelReason == nil,
        !run.row.isUnaccounted,
        let record = workflows[run.row.task.workflow]?.machine[run.row.task.node]
      else { return nil }
      let isProtected = now < (run.row.startedAt ?? run.row.boundAt) + protection(run.priorityClass, record.restarts)
      // Only realtime work cannot wait until it has done what it was sent away from before.
      guard !isProtected || asking == .realtime else { return nil }
      return victim(id, bandwidth: bandwidth, isProtected: isProtected)
    }
    return withoutGuaranteed(found, for: project)
  }

  func victim(_ id: RunID, bandwidth: Double, isProtected: Bool) -> VictimView {
    let run = runs[id]!
    return VictimView(
      run: id, priorityClass: run.priorityClass, resources: run.row.resources,
      workSeconds: run.row.startedAt.map { (now - $0).seconds } ?? 0,
      restageSeconds: Double(run.row.inputBytes?.bytes ?? 0) / max(1, bandwidth), isProtected: isProtected)
  }

  /// Whether a run of another project may have to give back what it uses of this one's guarantee.
  private func isBorrowed(_ run: RunEntry, from project: ProjectName) -> Bool {
    run.priorityClass != .realtime && workflows[run.row.task.workflow]?.row.project != project
  }

  /// How long a run is left alone whose task was preempted so often: twice as long each time, so that two tasks do not send each other
  /// away for ever. Idle work fills gaps, and has no such claim.
  private func protection(_ priorityClass: PriorityClass, _ restarts: Int32) -> Duration {
    guard restarts > 0, priorityClass != .idle else { return .zero }
    return min(configuration.restartProtection * (1 << min(restarts - 1, 16)), configuration.restartProtectionMax)
  }

  mutating func preempt(_ id: RunID, for claimant: TaskID, _ asking: PriorityClass) {
    let victim = runs[id]!.row
    runs[id]!.row.preemptedFor = claimant
    askToLeave(id, because: preemptionReason(victim.task, for: claimant, asking), event: "Preempted")
  }

  /// A run gets its hook, and ends; its task waits again.
  mutating func askToLeave(_ id: RunID, because reason: String, event: String) {
    runs[id]!.row.cancelReason = reason
    preemption.asked(id)
    let victim = runs[id]!.row
    output.runs[id] = victim
    output.events.append(
      EventRow(
        at: now, workflow: victim.task.workflow, node: victim.task.node, cluster: victim.cluster, reason: event,
        message: reason))
    guard let session = clusters[victim.cluster]!.session, !clusters[victim.cluster]!.row.isAdopting else { return }
    output.add(.send(victim.cluster, session, .cancel([id], reason: reason, isPreemption: true)))
  }

  /// In words for the victim's people: what another project runs concerns nobody else.
  private func preemptionReason(_ victim: TaskID, for claimant: TaskID, _ asking: PriorityClass) -> String {
    let entry = workflows[claimant.workflow]!
    let word = asking.rawValue
    guard entry.row.project == workflows[victim.workflow]?.row.project else {
      return "Preempted by a task of class \(word) of another project"
    }
    return "Preempted by \(entry.machine[claimant.node].name) of class \(word)"
  }

  // MARK: Ends

  /// Whether a run that ended did so because it had to leave: its task waits again.
  func isPreempted(_ row: RunRow) -> Bool { row.isLeaving && isRebinding(row) }

  /// A run has left for another: what it had reached is what its task goes on with.
  mutating func notePreempted(_ row: RunRow, _ outputs: TaskOutputs) {
    let task = row.task
    guard let hook = (try? workflows[task.workflow]?.machine.taskSpec(for: task.node))?.federation.onPreempt else {
      return count(task, [:])
    }
    count(task, outputs.artifacts.filter { $0.key == hook.checkpoint })
  }

  private mutating func count(_ task: TaskID, _ checkpoints: [String: StoredArtifact]) {
    workflows[task.workflow]!.machine.taskPreempted(task.node, checkpoints)
    output.workflows.insert(task.workflow)
  }

  /// How often a task's runs were lost; those that were preempted are nobody's fault.
  func losses(of row: RunRow) -> Int32 {
    row.epoch - (workflows[row.task.workflow]?.machine[row.task.node].restarts ?? 0)
  }

  // MARK: Claims

  /// Room that nobody will take any more is everybody's again.
  private mutating func dropClaims() {
    let waiting = pending.groups
    preemption.tidy(among: waiting.count) { waiting[$0] != nil }
    guard !preemption.claims.isEmpty else { return }
    var rest: [Int64: Int] = [:]
    let (groups, clusters, now) = (pending.groups, clusters, now)
    let dropped = preemption.removeClaims { claim in
      rest[claim.group, default: groups[claim.group]?.count ?? 0] -= 1
      let isKept =
        rest[claim.group]! >= 0 && clusters[claim.cluster]?.closedBecause == nil
        && (!claim.victims.isEmpty || now - claim.since < Self.keptFor)
      return !isKept
    }
    if dropped { wantsPlacement = true }
  }

  /// After a restart: what is being made room for is what the leaving runs say.
  mutating func restoreClaims() {
    for id in runs.keys where runs[id]!.row.isLeaving { preemption.asked(id) }
    for id in runs.keys.sorted() {
      guard let claimant = runs[id]!.row.preemptedFor,
        let group = workflows[claimant.workflow]?.tasks[claimant.node]?.group,
        let requirement = pending.requirement(of: group)
      else { continue }
      let cluster = runs[id]!.row.cluster
      guard !preemption.claims(on: cluster).contains(where: { $0.group == group }) else { continue }
      preemption.add(
        PreemptionState.Claim(
          group: group, requirement: requirement, cluster: cluster, isSpot: runs[id]!.row.spot != nil,
          victims: leaving(cluster), since: now))
    }
  }

  /// What is being done for a group that waits; nil: nothing.
  func roomBeingMade(for group: Int64) -> String? {
    guard let claim = preemption.claims.first(where: { $0.group == group }) else { return nil }
    let count = claim.victims.count
    guard count > 0 else { return "room was made for it on \(claim.cluster)" }
    return
      "room is being made on \(claim.cluster): \(count == 1 ? "a run" : "\(count) runs") of lower class "
      + "\(count == 1 ? "is" : "are") leaving"
  }
}
