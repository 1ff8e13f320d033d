import FederationModel
import SchedulerCore
import WorkflowCore

/// A workflow that is not over, in memory.
struct WorkflowEntry: Sendable {
  /// `row.status` is brought up to date when the row is written.
  var row: WorkflowRow
  var machine: WorkflowMachine
  /// The tasks that were launched and have not ended.
  var tasks: [NodeID: TaskEntry] = [:]
  /// The latest epoch of tasks that have ended with outputs in caches alone: they may have to run again.
  var epochs: [NodeID: Int32] = [:]
  /// The earliest moment that the heap of wakes holds for it.
  var scheduledWake: Timestamp?
  /// Something of `row` besides `status` is not written yet.
  var isRowChanged: Bool
  /// It waits in line for its next slice.
  var isInLine = false
  /// The work behind its parts, as it was expected at a moment; nil until a task of it is looked at by a pass. Soft.
  var tails: (value: WorkflowTails, at: Timestamp)?

  init(row: WorkflowRow, machine: WorkflowMachine, isRowChanged: Bool) {
    self.row = row
    self.machine = machine
    self.isRowChanged = isRowChanged
  }
}

/// A task between its launch and its end.
///
/// States: *looking* (`isLooking`: what its inputs are is being asked) -> *waiting* (`group` is set, no `run`) -> *placed* (`run` is set, no `group`) -> gone, or back to waiting when its run was lost.
struct TaskEntry: Hashable, Sendable {
  /// Of the latest run; 0 before the first.
  var epoch: Int32
  var run: RunID?
  /// The pending group that it waits in.
  var group: Int64?
  /// Clusters that kept it waiting in their queues for too long.
  var avoids: Set<ClusterName> = []
  var isLooking = false
  /// Its node has ended; it runs again because what it made is lost.
  var isRemaking = false
  /// Since when it waits, as this leader knows. Soft.
  var since = Timestamp.epoch
}

/// A run that is not over, in memory.
struct RunEntry: Hashable, Sendable {
  var row: RunRow
  /// Bytes that its cluster's link was promised for it and that are not there yet.
  var promisedBytes: ByteCount
  /// Its task asked for `onDisconnect: replace`.
  var isReplaceable: Bool
  /// Names the runtime history that its end adds to.
  var template: TemplateKey
  /// What its charge counts: `Requirement.priced`.
  var priced: Resources
  var priorityClass = PriorityClass.interruptible
  /// It was expected to be over in a moment when it was bound (`ClusterView.shortTask`).
  var isShort = false
  /// What it was expected to take when it was bound, or read back: what its project is charged ahead (`ShareAccount`).
  var expectedSeconds = 0.0
  /// Followed inputs, with their sizes: pinned where it runs until it ends (invariant I4).
  var inputs: [DataKey: ByteCount] = [:]
  /// When its slice is to be renewed; nil: nothing is planned. Soft.
  var renewalAt: Timestamp?
  /// Why its slice could not be renewed, and until when it may run. Soft.
  var lapse: String?

  /// Waiting for data holds no slot (invariant I5).
  var holdsSlot: Bool { row.phase != .staging }
}
