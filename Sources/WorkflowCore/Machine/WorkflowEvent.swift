public import FederationModel

/// What can happen to a workflow.
public enum WorkflowEvent: Hashable, Sendable, Codable {
  /// Once, when its turn has come.
  case start
  /// What earlier events left undone goes on.
  case proceed
  case taskStarted(NodeID, cluster: ClusterName, runsAs: String)
  /// The run of a daemon is up, and whoever waits for its node may go on.
  case taskReady(NodeID)
  /// The outcome's phase is one of the terminal ones of `RunPhase`.
  case taskEnded(NodeID, TaskOutcome)
  /// The moment that `nextWake` named has come.
  case timeReached
  /// Of the whole workflow.
  case suspend
  case resume
  /// Ends the suspend nodes that `selector` finds; `parameters` become their `supplied` outputs.
  case resumeNodes(selector: NodeSelector, parameters: [String: String])
  /// Gives the suspend nodes that `selector` finds outputs, a message (may be empty) or, with a terminal phase, their end.
  case setNodes(selector: NodeSelector, phase: NodePhase?, message: String, parameters: [String: String])
  /// `message` says why, for people; may be empty.
  /// These tasks are to end, whatever else goes on; those that are over, or are no tasks, stay as they are.
  case cancelTasks([NodeID], reason: String)
  case stop(message: String)
  case terminate
  /// The locks that a node, or (nil) the workflow, asked for are its own now.
  case locksAcquired(NodeID?)
  /// It waits for them; `message` says for which, for people.
  case locksAwaited(NodeID?, message: String)
  /// It can never have them.
  case locksRefused(NodeID?, message: String)
  /// What a memoized node's cache has for it; nil for nothing.
  case recalled(NodeID, outputs: TaskOutputs?)
  /// Of a workflow that is over: what failed runs again, and with `restartSuccessful` what `selector` finds, too.
  ///
  /// - Parameter hasNewArguments: the workflow's arguments are others than before, and reach all that runs again.
  case retry(restartSuccessful: Bool, selector: NodeSelector?, hasNewArguments: Bool = false)
}

/// What is to be done, in order.
public enum WorkflowAction: Hashable, Sendable {
  /// A task that needs a run. From now until `.taskEnded` the control plane owns it.
  case launch(NodeID)
  /// Its run is no longer wanted; the answer is `.taskEnded` with `.cancelled`, or another end that came first.
  case cancel(NodeID, reason: String)
  /// A node, or (nil) the workflow, waits for the locks in its record; one of the events `locks...` answers.
  case acquire(NodeID?)
  /// It holds them no longer, or does not wait any more.
  case release(NodeID?)
  /// A memoized node wants what its cache has, if that is not older (nil: of any age); `recalled` answers.
  case recall(NodeID, maxAge: Duration?)
  /// A memoized node's outputs are to be kept.
  case remember(NodeID)
  /// `status.phase` is terminal. Always the last action.
  case finished
}

/// What has to be persisted.
public struct WorkflowChanges: Hashable, Sendable {
  /// Created or changed, each once, in ordinal order.
  public var nodes: [NodeID]
  /// Whether `WorkflowMachine.status` changed.
  public var status: Bool
  public init(nodes: [NodeID] = [], status: Bool = false) {
    self.nodes = nodes
    self.status = status
  }
  public var isEmpty: Bool { nodes.isEmpty && !status }
}
