import FederationModel

/// A dag's task whose dependencies have all settled.
struct TaskStart: Comparable, Sendable {
  var dag: Int32
  /// Its position in the dag's template.
  var task: Int32
  static func < (a: Self, b: Self) -> Bool { (a.dag, a.task) < (b.dag, b.task) }
}

/// What the machine has still to do, so that one event may be worked off in several slices.
///
/// Everything in here follows from the records, and is worked off in an order that follows from them, too (by kind, then by
/// ordinal): a machine that is rebuilt between two slices goes on exactly as the original would. A queue instead of recursion: a
/// chain of any length needs no stack.
struct Agenda: Sendable {
  /// The first node that has not been looked at since everything was asked to end; nil when all have been.
  var sweep: Int32?
  /// Nodes to be cancelled because what they stand in was.
  var cancels = MinHeap<Int32>()
  /// Nodes that have ended and whose parents have not taken note (`NodeRecord.isEndPending`).
  var ended = MinHeap<Int32>()
  /// Tasks of dags that may start. May hold some that may not any more.
  var starts = MinHeap<TaskStart>()
  /// Groups that have not made all of their members (`NodeRecord.expansion`).
  var expansions = MinHeap<Int32>()
  /// Admitted templates and groups; they wait only while the workflow is suspended.
  var readyOthers = MinHeap<Int32>()
  /// Admitted tasks; they wait for one of the workflow's slots, or for its resume.
  var readyTasks = MinHeap<Int32>()
}

extension WorkflowMachine {
  /// Whether the last event left something undone, so that `.proceed` would do something. O(1).
  public var isUnfinished: Bool {
    agenda.sweep != nil || !agenda.cancels.isEmpty || !agenda.ended.isEmpty || !agenda.starts.isEmpty
      || !agenda.expansions.isEmpty || (!agenda.readyOthers.isEmpty && canBegin(isTask: false))
      || (!agenda.readyTasks.isEmpty && canBegin(isTask: true))
  }

  /// Works off the agenda until it is empty or about `limit` nodes were touched. What turns out to be void costs nothing, so that
  /// slices end at the same place whether or not the machine was rebuilt before them.
  mutating func work(limit: Int) {
    var left = limit
    while left > 0, isUnfinished { left -= step(limit: left) }
    stepsTaken = limit - left
  }

  /// The next item of the agenda; returns how many nodes it touched.
  private mutating func step(limit: Int) -> Int {
    if agenda.sweep != nil { return sweepNext() }
    if let node = agenda.cancels.pop() { return cancelBelow(node) }
    if let node = agenda.ended.pop() {
      ended(node)
      return 1
    }
    if let start = agenda.starts.pop() {
      let before = nodes.count
      startTask(start.task, of: start.dag)
      assessDAG(start.dag)
      return nodes.count - before
    }
    if let group = agenda.expansions.pop() { return expand(group, limit: limit) }
    if canBegin(isTask: false), let node = agenda.readyOthers.pop() { return begin(node) }
    if let node = agenda.readyTasks.pop() { return begin(node) }
    return 0
  }

  /// Whether an admitted node may begin now.
  func canBegin(isTask: Bool) -> Bool {
    guard !status.isSuspended, status.locks?.isHeld != false else { return false }
    guard isTask, let limit = definition.spec.parallelism, limit > 0 else { return true }
    return activeTasks < limit
  }

  /// Makes the agenda of a machine that was rebuilt from its records; frames and counters are there already.
  mutating func rebuildAgenda() {
    agenda = Agenda()
    if status.shutdown != nil || status.isPastDeadline, !status.phase.isTerminal { agenda.sweep = 0 }
    for index in nodes.indices where !nodes[index].isSuperseded {
      let node = Int32(index)
      if nodes[index].phase.isTerminal {
        if nodes[index].isEndPending { agenda.ended.push(node) }
        continue
      }
      if nodes[index].cancelReason != nil, nodes[index].type != .pod {
        for child in liveDescendants(of: node) { agenda.cancels.push(child) }
      }
      if nodes[index].expansion != nil { agenda.expansions.push(node) }
      if let frame = dagFrames[node] {
        for task in frame.nodes.indices where frame.remaining[task] == 0 && frame.nodes[task] < 0 && frame.wanted[task]
        {
          agenda.starts.push(TaskStart(dag: node, task: Int32(task)))
        }
      }
    }
  }
}
