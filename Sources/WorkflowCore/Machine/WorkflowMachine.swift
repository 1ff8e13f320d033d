public import FederationModel

/// One workflow as a pure, replayable state machine. A value.
///
/// Events go in (`handle`), actions come out, and what must be persisted is told by `takeChanges`. The machine reads no clock and
/// does no I/O. All that it holds besides `status` and the node records follows from these, so a machine rebuilt from them
/// answers every further event as the original would.
///
/// Work is O(1) amortised per node and edge, O(log n) where nodes wait for a slot or for time.
public struct WorkflowMachine: Sendable {
  /// Templates that call each other deeper than this end in Error.
  public static let depthLimit = 100
  /// Nodes of one workflow; a loop that would make more ends in Error.
  public static let nodeLimit = 1_000_000

  public let program: WorkflowProgram
  public let identity: WorkflowIdentity
  public internal(set) var status: WorkflowStatus

  /// `workflow.*` tags that never change.
  let constants: [String: String]
  /// By ordinal.
  var nodes: [NodeRecord] = []
  /// By ordinal.
  var flags: [NodeFlags] = []
  /// `depths[n]`: templates entered above node n.
  var depths: [Int16] = []
  var stepsFrames: [Int32: StepsFrame] = [:]
  var groupFrames: [Int32: GroupFrame] = [:]
  var dagFrames: [Int32: DAGFrame] = [:]
  var slotFrames: [Int32: SlotFrame] = [:]
  /// `exitNodes[n]`: the exit handler of node n.
  var exitNodes: [Int32: Int32] = [:]
  /// `hookNodes[n]`: the lifecycle hooks of node n that have been set off.
  var hookNodes: [Int32: [Int32]] = [:]
  /// `daemons[n]`: the daemons in template n that are ready and have not ended.
  var daemons: [Int32: Set<Int32>] = [:]
  /// The entrypoint's node: 0 until a workflow of a single task is retried.
  var root: Int32 = -1
  /// The workflow's exit handler; -1 while there is none.
  var exitHandler: Int32 = -1
  var activeTasks = 0
  var agenda = Agenda()
  /// The loops that are being expanded, by group; what was computed for them and follows from the records.
  var openLoops: [Int32: OpenLoop] = [:]
  /// Nodes that the last event made, began or ended off the agenda: what it used of its limit, or a little more.
  public internal(set) var stepsTaken = 0
  var wakes = MinHeap<Wake>()
  var changedNodes: [Int32] = []
  var statusChanged = false
  var actions: [WorkflowAction] = []
  /// What `retryPolicy: OnTransientError` retries; the operator's choice, set before events are handled.
  public var transientErrors = TransientErrors()
  /// Set before the start in a machine that plans instead of runs.
  public var foresight: Foresight?
  /// The moment of the event that is being handled.
  var now = Timestamp.epoch

  /// A new workflow, not yet started: phase pending, no nodes.
  ///
  /// - Throws: `DocumentErrors` when arguments are missing or a template cannot be made ready.
  public init(definition: WorkflowDefinition, identity: WorkflowIdentity) throws {
    try self.init(program: try WorkflowProgram(definition), identity: identity)
  }

  /// A new workflow, not yet started: phase pending, no nodes.
  ///
  /// - Throws: `DocumentErrors` when arguments are missing.
  public init(program: WorkflowProgram, identity: WorkflowIdentity) throws {
    self.init(program: program, identity: identity, status: WorkflowStatus())
    try checkArguments()
    statusChanged = true
  }

  /// Rebuilds a machine from what was persisted: equal in behaviour to the machine that wrote it. O(nodes + edges).
  ///
  /// - Parameter nodes: All of them, in any order.
  /// - Throws: `FederationError` (`internal`) when the records are not those of one workflow.
  public init(
    definition: WorkflowDefinition, identity: WorkflowIdentity, status: WorkflowStatus, nodes: [NodeRecord]
  ) throws {
    try self.init(program: try WorkflowProgram(definition), identity: identity, status: status, nodes: nodes)
  }

  init(
    program: WorkflowProgram, identity: WorkflowIdentity, status: WorkflowStatus, nodes: [NodeRecord]
  ) throws {
    self.init(program: program, identity: identity, status: status)
    self.nodes = nodes.sorted { $0.id < $1.id }
    for (index, node) in self.nodes.enumerated() {
      guard node.id.ordinal == index, node.parent.map({ $0 < node.id }) ?? true,
        node.upstream.allSatisfy({ $0 < node.id })
      else {
        throw FederationError(
          .internal, "the stored nodes of workflow '\(identity.name)' are incomplete; restore them from a backup",
          internalContext: "record \(index) has ordinal \(node.id)")
      }
    }
    try rebuild()
  }

  private init(program: WorkflowProgram, identity: WorkflowIdentity, status: WorkflowStatus) {
    self.program = program
    self.identity = identity
    self.status = status
    constants = Self.constants(program.definition, identity)
  }

  public var definition: WorkflowDefinition { program.definition }
  var plans: [TemplatePlan] { program.plans }
  var mentionsResult: Bool { program.mentionsResult }

  /// - Precondition: `node` exists.
  public subscript(node: NodeID) -> NodeRecord { nodes[Int(node.ordinal)] }

  /// Superseded nodes included.
  public var nodeCount: Int { nodes.count }

  /// The entrypoint's node; nil before the start.
  public var rootNode: NodeID? { root < 0 ? nil : NodeID(root) }

  /// The workflow's exit handler; nil while there is none.
  public var exitHandlerNode: NodeID? { exitHandler < 0 ? nil : NodeID(exitHandler) }

  /// The earliest moment at which `.timeReached` would change something; nil for never. O(1).
  public var nextWake: Timestamp? {
    [wakes.top?.at, workflowDeadline].compactMap(\.self).min()
  }

  /// Applies one event; unknown or late ones change nothing. Returns what is to be done, in order.
  ///
  /// - Parameter limit: About how many nodes it may make, begin or end at most. What is left is done by later events, best by
  ///   `.proceed`; see `isUnfinished`.
  public mutating func handle(_ event: WorkflowEvent, at now: Timestamp, limit: Int = .max) -> [WorkflowAction] {
    self.now = now
    let wasTerminal = status.phase.isTerminal
    switch event {
    case .start: start()
    case .proceed: break
    case .taskStarted(let node, let cluster, let runsAs): taskStarted(node, cluster, runsAs)
    case .taskReady(let node): taskReady(node)
    case .taskEnded(let node, let outcome): taskEnded(node, outcome)
    case .timeReached: timeReached()
    case .suspend: suspend()
    case .resume: resume()
    case .resumeNodes(let selector, let parameters): resumeNodes(selector, parameters)
    case .setNodes(let selector, let phase, let message, let parameters):
      setNodes(selector, phase, message, parameters)
    case .cancelTasks(let tasks, let reason): cancelTasks(tasks, reason)
    case .stop(let message): shutDown(.stop, message: message)
    case .terminate: shutDown(.terminate, message: "")
    case .locksAcquired(let node): locksAcquired(node)
    case .locksAwaited(let node, let message): locksAwaited(node, message)
    case .locksRefused(let node, let message): locksRefused(node, message)
    case .recalled(let node, let outputs): recalled(node, outputs)
    case .retry(let restartSuccessful, let selector, let hasNewArguments):
      restart(restartSuccessful ? selector : nil, hasNewArguments: hasNewArguments)
    }
    work(limit: limit)
    discardStaleWakes()
    if status.phase.isTerminal, !wasTerminal { actions.append(.finished) }
    defer { actions = [] }
    return actions
  }

  /// What was created or changed since the last call, and is to be persisted.
  public mutating func takeChanges() -> WorkflowChanges {
    changedNodes.sort()
    for node in changedNodes { flags[Int(node)].remove(.isChanged) }
    let changes = WorkflowChanges(nodes: changedNodes.map { NodeID($0) }, status: statusChanged)
    changedNodes.removeAll(keepingCapacity: changedNodes.count < 1024)
    statusChanged = false
    return changes
  }

  private mutating func discardStaleWakes() {
    while let top = wakes.top {
      let node = nodes[Int(top.node)]
      if node.wakeAt == top.at, !node.phase.isTerminal, !node.isSuperseded { return }
      wakes.pop()
    }
  }

  /// When the workflow's own deadline strikes; nil when it has none, or has passed it already.
  public var workflowDeadline: Timestamp? {
    guard let seconds = definition.spec.activeDeadlineSeconds, let startedAt = status.startedAt, !status.isPastDeadline,
      status.phase == .running
    else { return nil }
    return startedAt + .seconds(seconds)
  }
}
