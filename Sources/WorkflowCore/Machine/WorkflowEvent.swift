public import FederationModel

/// What can happen to a workflow.
public enum WorkflowEvent: Hashable, Sendable, Codable {
  /// Once, when its turn has come.
  case start
  /// What earlier events left undone goes on.
  case proceed
  case taskStarted(NodeID, cluster: ClusterName, runsAs: String)
  /// The outcome's phase is one of the terminal ones of `RunPhase`.
  case taskEnded(NodeID, TaskOutcome)
  /// The moment that `nextWake` named has come.
  case timeReached
  /// Of the whole workflow.
  case suspend
  case resume
  /// Ends the suspend nodes that `selector` finds; `parameters` become their `supplied` outputs.
  case resumeNodes(selector: NodeSelector, parameters: [String: String])
  /// `message` says why, for people; may be empty.
  case stop(message: String)
  case terminate
  /// Of a workflow that ended Failed or Error: what failed runs again, and with `restartSuccessful` what `selector` finds, too.
  case retry(restartSuccessful: Bool, selector: NodeSelector?)
}

/// Which nodes a command is about.
public enum NodeSelector: Hashable, Sendable, Codable {
  case all
  /// The node's full name or Argo's id of it.
  case name(String)
  case displayName(String)
  case templateName(String)
}

/// What is to be done, in order.
public enum WorkflowAction: Hashable, Sendable {
  /// A task that needs a run. From now until `.taskEnded` the control plane owns it.
  case launch(NodeID)
  /// Its run is no longer wanted; the answer is `.taskEnded` with `.cancelled`, or another end that came first.
  case cancel(NodeID, reason: String)
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
