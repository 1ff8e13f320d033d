import FederationModel
import SchedulerCore
import WorkflowCore

/// Runs whose cluster keeps them waiting in its own queue for much longer than it promised, while another would start them now.
extension ControlPlaneCore {
  /// Looks at a few of the queueing clusters' runs at each tick, all of them in turn, and moves at most one for each cluster; more
  /// where the queue takes nothing at all.
  mutating func moveStalledRuns() {
    for name in clusters.keys.sorted() where clusters[name]!.inventory.queues {
      // One that is shut for a moment, because its controller is slow, keeps what waits there.
      let shutSince = clusters[name]!.noteShut(at: now)
      if let shutSince, now - shutSince <= Self.shutPatience { continue }
      let isShut = shutSince != nil
      let queue = clusters[name]!.runs
      guard isShut || clusters[name]!.closedBecause == nil, clusters.count > 1, !queue.isEmpty else { continue }
      let after = stallCursor[name] ?? RunID(0)
      // A queue that takes nothing has not even been given what was sent there last.
      let phases: Set<RunPhase> = isShut ? [.bound, .dispatched, .staging, .queued] : [.queued]
      let waiting = queue.filter { phases.contains(runs[$0]!.row.phase) && runs[$0]!.row.cancelReason == nil }.sorted()
      let later = waiting.filter { $0 > after }
      let turn = (later.isEmpty ? waiting : later).prefix(Self.stallsPerTick)
      stallCursor[name] = turn.last ?? RunID(0)
      for id in turn where moveIfStalled(id, isShut: isShut) && !isShut { break }
    }
  }

  private static var stallsPerTick: Int { 4 }
  /// How long runs wait for a queue that takes nothing.
  private static var shutPatience: Duration { .seconds(30) }

  /// Returns whether the run is asked to end, so that its task can go elsewhere.
  private mutating func moveIfStalled(_ id: RunID, isShut: Bool) -> Bool {
    let row = runs[id]!.row
    let elapsed = (now - row.boundAt).seconds
    guard isShut || elapsed > configuration.queuePatience.seconds, losses(of: row) < configuration.epochLimit,
      let spec = try? spec(of: row.task, for: nil), let project = workflows[row.task.workflow]?.row.project
    else { return false }
    var requirement = Requirement(template: template(of: row.task), spec: spec)
    requirement.member = workflows[row.task.workflow]!.row.createdBy
    requirement.isHeldWhole = workflows[row.task.workflow]!.machine[row.task.node].isHeldWhole
    var group = PendingGroup(
      requirement: requirement, tasks: [], waiting: 1, expectedRuntime: expectedRuntime(of: requirement))
    group.budget = budgetView(of: requirement, without: id)
    group.quota = quotaView(of: project, without: id)
    let table = PlacementPlanner(weights: configuration.weights).explain(group, in: situation(of: [group], on: views()))
    let promised = table.candidates.first { $0.cluster == row.cluster }?.estimate
    guard isShut || elapsed > 3 * (promised?.waitSeconds ?? 0) else { return false }
    // What has waited so long is expected to wait as long again; nobody knows how long where nothing is taken.
    let staying = isShut ? .infinity : promised.map { $0.score - $0.waitSeconds + elapsed } ?? .infinity
    let better = table.candidates.filter { $0.cluster != row.cluster && $0.rejection == nil }
      .compactMap { candidate in candidate.estimate.map { (candidate.cluster, $0.score) } }
      .min { $0.1 < $1.1 }
    guard let (cluster, score) = better, score < staying else { return false }
    workflows[row.task.workflow]!.tasks[row.task.node]!.avoids.insert(row.cluster)
    let shut = clusters[row.cluster]!.inventory.closed.map { " (\($0))" } ?? ""
    rebind(
      id,
      because:
        "it has waited \(Int64(elapsed)) s in the queue of \(row.cluster)\(shut), and \(cluster) is expected to be sooner"
    )
    output.events.append(
      EventRow(
        at: now, workflow: row.task.workflow, node: row.task.node, cluster: row.cluster, reason: "Moved",
        message: runs[id]!.row.cancelReason ?? ""))
    return true
  }
}
