import FederationModel

/// What a Steps node keeps while it runs; rebuilt from its groups.
struct StepsFrame: Sendable {
  /// Ordinals of its StepGroup nodes, in order.
  var groups: [Int32] = []
}

/// What a StepGroup or a TaskGroup keeps; rebuilt from its members.
struct GroupFrame: Sendable {
  /// `members[s]`: ordinals of the nodes that step s became, in the order of the loop's items. A TaskGroup has one row.
  var members: [[Int32]]
  /// Members that have not settled.
  var outstanding = 0
  init(steps: Int) { members = [[Int32]](repeating: [], count: steps) }
}

/// What a DAG node keeps; rebuilt from its tasks' nodes.
struct DAGFrame: Sendable {
  /// How far a task is. Can transition only downwards.
  enum Branch: UInt8, Sendable { case open, succeeded, failed, error }
  /// `nodes[t]`: ordinal of task t's node; -1 while there is none.
  var nodes: [Int32]
  /// `remaining[t]`: dependencies of t that have not settled.
  var remaining: [Int32]
  /// `branches[t]`: how the branch that ends in t fares: t's own end, or where t did not run the worst of what it waited for.
  var branches: [Branch]
  var targets: [Int32]
  /// `isTarget[t]`: whether t is one of `targets`.
  var isTarget: [Bool]
  var wanted: [Bool]
  /// Tasks with a node that has not settled.
  var active = 0
  /// Wanted tasks that have not settled.
  var unsettled: Int
  /// A target's branch failed.
  var hasFailed = false
  /// Whether a failed branch keeps further tasks from starting.
  var failFast: Bool

  init(plan: DAGPlan, targets: [Int32], wanted: [Bool], failFast: Bool) {
    nodes = [Int32](repeating: -1, count: plan.tasks.count)
    remaining = plan.dependencies.map { Int32($0.count) }
    branches = [Branch](repeating: .open, count: plan.tasks.count)
    self.targets = targets
    isTarget = [Bool](repeating: false, count: plan.tasks.count)
    for target in targets { isTarget[Int(target)] = true }
    self.wanted = wanted
    unsettled = wanted.count(where: \.self)
    self.failFast = failFast
  }
}

/// The slots of a steps or dag node whose template bounds its children (`parallelism`).
struct SlotFrame: Sendable {
  var limit: Int
  var active = 0
  var waiting = MinHeap<Int32>()
}

/// A moment at which a node may change by itself.
struct Wake: Comparable, Sendable {
  var at: Timestamp
  var node: Int32
  static func < (a: Self, b: Self) -> Bool { (a.at, a.node) < (b.at, b.node) }
}

/// Facts about a node that follow from the records before it.
struct NodeFlags: OptionSet, Sendable {
  let rawValue: UInt8
  /// In `takeChanges`' list.
  static let isChanged = NodeFlags(rawValue: 1)
  /// Belongs to an exit handler, which outlives a stop.
  static let isExitHandler = NodeFlags(rawValue: 2)
  /// Holds one of its boundary's slots.
  static let holdsSlot = NodeFlags(rawValue: 4)
  /// Counts against the workflow's parallelism.
  static let holdsTaskSlot = NodeFlags(rawValue: 8)
  /// It and its exit handler have ended, and its parent has taken note.
  static let isSettled = NodeFlags(rawValue: 16)
}
