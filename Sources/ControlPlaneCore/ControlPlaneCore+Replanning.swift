import FederationModel
import SchedulerCore
import WorkflowCore

/// Runs whose cluster keeps them waiting in its own queue for much longer than it promised, while another would start them now.
extension ControlPlaneCore {
  /// Looks at a few of the queueing clusters' runs at each tick, all of them in turn, and moves at most one for each cluster.
  mutating func moveStalledRuns() {
    for name in clusters.keys.sorted() where clusters[name]!.inventory.queues && clusters[name]!.closedBecause == nil {
      let queue = clusters[name]!.runs
      guard clusters.count > 1, !queue.isEmpty else { continue }
      let after = stallCursor[name] ?? RunID(0)
      let waiting = queue.filter { runs[$0]!.row.phase == .queued && runs[$0]!.row.cancelReason == nil }.sorted()
      let later = waiting.filter { $0 > after }
      let turn = (later.isEmpty ? waiting : later).prefix(Self.stallsPerTick)
      stallCursor[name] = turn.last ?? RunID(0)
      for id in turn where moveIfStalled(id) { break }
    }
  }

  private static var stallsPerTick: Int { 4 }

  /// Returns whether the run is asked to end, so that its task can go elsewhere.
  private mutating func moveIfStalled(_ id: RunID) -> Bool {
    let row = runs[id]!.row
    let elapsed = (now - row.boundAt).seconds
    guard elapsed > configuration.queuePatience.seconds, row.epoch < configuration.epochLimit,
      let spec = try? spec(of: row.task, for: nil), let project = workflows[row.task.workflow]?.row.project
    else { return false }
    let requirement = Requirement(project: project, template: template(of: row.task), spec: spec)
    let group = PendingGroup(
      requirement: requirement, tasks: [], waiting: 1, expectedRuntime: expectedRuntime(of: requirement))
    let table = PlacementPlanner(weights: configuration.weights).explain(group, in: situation(of: [group], on: views()))
    let promised = table.candidates.first { $0.cluster == row.cluster }?.estimate
    guard elapsed > 3 * (promised?.waitSeconds ?? 0) else { return false }
    // What has waited so long is expected to wait as long again.
    let staying = promised.map { $0.score - $0.waitSeconds + elapsed } ?? .infinity
    let better = table.candidates.filter { $0.cluster != row.cluster && $0.rejection == nil }
      .compactMap { candidate in candidate.estimate.map { (candidate.cluster, $0.score) } }
      .min { $0.1 < $1.1 }
    guard let (cluster, score) = better, score < staying else { return false }
    workflows[row.task.workflow]!.tasks[row.task.node]!.avoids.insert(row.cluster)
    rebind(
      id, because: "it has waited \(Int64(elapsed)) s in the queue of \(row.cluster), and \(cluster) would start it now"
    )
    output.events.append(
      EventRow(
        at: now, workflow: row.task.workflow, node: row.task.node, cluster: row.cluster, reason: "Moved",
        message: runs[id]!.row.cancelReason ?? ""))
    return true
  }
}
