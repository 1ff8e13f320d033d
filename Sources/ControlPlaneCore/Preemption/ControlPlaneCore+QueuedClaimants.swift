import FederationModel
import SchedulerCore
import WorkflowCore

/// Clusters with a queue of their own: what waits there is placed already, and cannot start because runs of lower classes have the
/// cores. Their batch system starts one after the other, so those of lower classes that wait before it leave, too.
extension ControlPlaneCore {
  /// Of one cluster's queue, those that ask for room in one turn.
  private static var queuedAskersPerTurn: Int { 4 }
  /// How long a run has been in a cluster's queue before others leave for it: its batch system looks every second or two.
  private static var queuedFor: Duration { .seconds(3) }

  mutating func makeRoomInQueues() {
    guard PriorityClass.allCases.contains(where: { preemption.hasVictims(for: $0) }) else { return }
    for name in clusters.keys.sorted() where clusters[name]!.inventory.queues && clusters[name]!.closedBecause == nil {
      let here = clusters[name]!.runs.map { runs[$0]! }
      let asking = here.filter {
        $0.row.phase == .queued && $0.priorityClass.preempts && $0.row.cancelReason == nil
          && now - $0.row.boundAt >= Self.queuedFor
      }.sorted { ($0.priorityClass, $0.row.id) < ($1.priorityClass, $1.row.id) }
      // The first always, and the others in turn: one that nobody can help is not in the way of the rest.
      let turn = Int(now.milliseconds / 1000) % max(1, asking.count)
      let others = (asking.dropFirst().dropFirst(turn) + asking.dropFirst().prefix(turn))
      for run in asking.prefix(1) + others.prefix(Self.queuedAskersPerTurn - 1) {
        makeRoom(inQueueOf: name, for: run, among: here)
      }
    }
  }

  private mutating func makeRoom(inQueueOf name: ClusterName, for asking: RunEntry, among here: [RunEntry]) {
    // Those that were asked to leave for it, or for another, are as good as gone; whoever comes before it takes its part first.
    let part = queuedPart(of: asking, on: name)
    var free = part.capacity
    for run in here where part.holds(run) && run.row.cancelReason == nil && run.row.id != asking.row.id {
      let isBefore = run.priorityClass <= asking.priorityClass && run.row.id < asking.row.id
      if run.row.phase == .running || isBefore && run.holdsSlot { free -= run.row.resources }
    }
    let missing = MissingRoom(resources: asking.row.resources - free, slots: 0)
    guard !missing.isNone else { return }
    guard let project = workflows[asking.row.task.workflow]?.row.project else { return }
    let victims = victims(
      below: asking.priorityClass, on: name, bandwidth: configuration.defaultBandwidth, for: project, reclaims: false
    )
    .filter { part.holds(runs[$0.run]!) }
    let running = victims.filter { runs[$0.run]!.row.phase == .running }
    guard
      let choice = VictimChoice.choose(
        making: missing, from: running, capacity: part.capacity)
    else { return }
    let ahead = victims.map(\.run).filter { runs[$0]!.row.phase != .running && $0 < asking.row.id }
    for run in choice.runs + ahead.sorted() { preempt(run, for: asking.row.task, asking.priorityClass) }
  }

  /// The part of a cluster that a queued run waits for: the node pool that it was quoted for and is bound to, else all of it.
  private struct QueuedPart {
    var capacity: Resources
    var pool: String?
    func holds(_ run: RunEntry) -> Bool { pool == nil || run.row.quote?.partition == pool }
  }

  private func queuedPart(of run: RunEntry, on name: ClusterName) -> QueuedPart {
    let cluster = clusters[name]!
    guard cluster.row.spec.kind == .kubernetes, let partition = run.row.quote?.partition,
      let pool = cluster.inventory.partitions.first(where: { $0.name == partition && !$0.isDefault })
    else { return QueuedPart(capacity: cluster.inventory.capacity, pool: nil) }
    let capacity = Resources(
      cpuMillicores: pool.cpus * 1000, memory: ByteCount(pool.memoryPerNode.bytes * Int64(pool.usableNodes)),
      gpus: pool.gpus.values.reduce(0, +))
    return QueuedPart(capacity: capacity, pool: partition)
  }
}
