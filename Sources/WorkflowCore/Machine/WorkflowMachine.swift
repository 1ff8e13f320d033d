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

  public let definition: WorkflowDefinition
  public let identity: WorkflowIdentity
  public internal(set) var status: WorkflowStatus

  let plans: [TemplatePlan]
  /// `workflow.*` tags that never change.
  let constants: [String: String]
  /// Whether anything in the document looks at `outputs.result`, so that runs keep their standard output.
  let mentionsResult: Bool
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
  /// The entrypoint's node: 0 until a workflow of a single task is retried.
  var root: Int32 = -1
  /// The workflow's exit handler; -1 while there is none.
  var exitHandler: Int32 = -1
  var activeTasks = 0
  /// Tasks that wait for one of the workflow's slots, or for its resume.
  var readyTasks = MinHeap<Int32>()
  /// Other nodes that wait for the workflow's resume.
  var readyOthers = MinHeap<Int32>()
  var wakes = MinHeap<Wake>()
  var changedNodes: [Int32] = []
  var statusChanged = false
  var work: [Work] = []
  var actions: [WorkflowAction] = []
  /// The moment of the event that is being handled.
  var now = Timestamp.epoch

  /// A new workflow, not yet started: phase pending, no nodes.
  ///
  /// - Throws: `DocumentErrors` when arguments are missing or a template cannot be made ready.
  public init(definition: WorkflowDefinition, identity: WorkflowIdentity) throws {
    try self.init(definition: definition, identity: identity, status: WorkflowStatus())
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
    try self.init(definition: definition, identity: identity, status: status)
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

  private init(definition: WorkflowDefinition, identity: WorkflowIdentity, status: WorkflowStatus) throws {
    self.definition = definition
    self.identity = identity
    self.status = status
    var problems: [DocumentProblem] = []
    var plans: [TemplatePlan] = []
    plans.reserveCapacity(definition.spec.templates.count)
    for (index, template) in definition.spec.templates.enumerated() {
      do {
        plans.append(try TemplatePlan(template))
      } catch {
        let message = (error as? FederationError)?.publicMessage ?? "\(error)"
        problems.append(DocumentProblem(path: "spec.templates[\(index)]", message: message))
      }
    }
    guard problems.isEmpty else { throw DocumentErrors(problems: problems) }
    self.plans = plans
    constants = Self.constants(definition, identity)
    mentionsResult = Tags.mentionsResult(definition.canonicalJSON)
  }

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
  public mutating func handle(_ event: WorkflowEvent, at now: Timestamp) -> [WorkflowAction] {
    self.now = now
    let wasTerminal = status.phase.isTerminal
    switch event {
    case .start: start()
    case .taskStarted(let node, let cluster, let runsAs): taskStarted(node, cluster, runsAs)
    case .taskEnded(let node, let outcome): taskEnded(node, outcome)
    case .timeReached: timeReached()
    case .suspend: suspend()
    case .resume: resume()
    case .resumeNodes(let selector, let parameters): resumeNodes(selector, parameters)
    case .stop(let message): shutDown(.stop, message: message)
    case .terminate: shutDown(.terminate, message: "")
    case .retry(let restartSuccessful, let selector): restart(restartSuccessful, selector)
    }
    drain()
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

  /// Runs the queue of work dry, letting waiting nodes go as slots come free.
  private mutating func drain() {
    var next = 0
    while true {
      while next < work.count {
        switch work[next] {
        case .begin(let node): begin(node)
        case .ended(let node): ended(node)
        }
        next += 1
        if next >= 1024, next * 2 > work.count {
          work.removeFirst(next)
          next = 0
        }
      }
      work.removeAll(keepingCapacity: true)
      next = 0
      guard releaseReady() else { return }
    }
  }

  private mutating func discardStaleWakes() {
    while let top = wakes.top {
      let node = nodes[Int(top.node)]
      if node.wakeAt == top.at, !node.phase.isTerminal, !node.isSuperseded { return }
      wakes.pop()
    }
  }

  /// When the workflow's own deadline strikes; nil when it has none, or has passed it already.
  var workflowDeadline: Timestamp? {
    guard let seconds = definition.spec.activeDeadlineSeconds, let startedAt = status.startedAt, !status.isPastDeadline,
      status.phase == .running
    else { return nil }
    return startedAt + .seconds(seconds)
  }
}
