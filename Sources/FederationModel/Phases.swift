/// The phase of a workflow or of one of its nodes, in Argo's words.
///
/// - Source: Argo Workflows v3.7, `workflow_types.go`, `NodePhase` and `WorkflowPhase`.
public enum NodePhase: String, Sendable, Codable, CaseIterable {
  /// Waiting: for a slot, for data, or (a workflow) to begin. Can transition to any other phase.
  case pending = "Pending"
  /// Can transition to the five terminal phases.
  case running = "Running"
  case succeeded = "Succeeded"
  /// `when` was false. Terminal, counts as success.
  case skipped = "Skipped"
  /// The user's program said no. Terminal.
  case failed = "Failed"
  /// The system could not do it. Terminal.
  case error = "Error"
  /// A dag task whose `depends` can no longer hold. Terminal.
  case omitted = "Omitted"

  public var isTerminal: Bool { self != .pending && self != .running }
  /// Terminal without blame: what lets a workflow succeed.
  public var isFulfilledWell: Bool { self == .succeeded || self == .skipped || self == .omitted }
}

/// The phase of a run: one attempt at a task, on one cluster.
public enum RunPhase: Int16, Sendable, Codable, CaseIterable {
  /// Placed: a cluster is chosen and charged with it; the agent may not know yet. Can transition to every later phase.
  case bound = 0
  /// The agent has journaled the assignment. Can transition to every later phase.
  case dispatched = 1
  /// Its inputs are on their way; it holds no compute slot. Can transition to every later phase.
  case staging = 2
  /// Handed to the cluster's own scheduler. Can transition to every later phase.
  case queued = 3
  /// The user's program runs. Can transition to the terminal phases.
  case running = 4
  case succeeded = 5
  /// The program ended with another exit code than 0, or was ended by a limit that its author set.
  case failed = 6
  /// The cluster could not run it (no such command, disk full, input unavailable).
  case error = 7
  /// Ended because somebody or something asked for it.
  case cancelled = 8
  /// The cluster cannot say what became of it, and proves that it does not run any more.
  case lost = 9
  /// Ended to make room for a task of a higher class; its task waits again. Decided by the control plane: agents say `cancelled`.
  case preempted = 10

  public var isTerminal: Bool { rawValue >= RunPhase.succeeded.rawValue }

  public var name: String {
    switch self {
    case .bound: "Bound"
    case .dispatched: "Dispatched"
    case .staging: "Staging"
    case .queued: "Queued"
    case .running: "Running"
    case .succeeded: "Succeeded"
    case .failed: "Failed"
    case .error: "Error"
    case .cancelled: "Cancelled"
    case .lost: "Lost"
    case .preempted: "Preempted"
    }
  }
}

/// What runs the work behind an agent.
public enum ClusterKind: String, Sendable, Codable, CaseIterable {
  case process, slurm, kubernetes
}

/// What becomes of a run whose cluster cannot be reached (invariant I1).
public enum DisconnectPolicy: String, Sendable, Codable, CaseIterable {
  /// Leave it alone, however long it takes. The default.
  case wait
  /// After the disconnect limit the fence beside the run ends it, and the task runs elsewhere.
  case replace
}
