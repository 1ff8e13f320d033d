public import FederationModel

/// Who a workflow is: given at acceptance and never changed.
public struct WorkflowIdentity: Hashable, Sendable, Codable {
  /// Unique in its project; the root node carries it.
  public var name: String
  /// Unique for ever.
  public var uid: String
  public var project: ProjectName
  public var createdAt: Timestamp

  public init(name: String, uid: String, project: ProjectName, createdAt: Timestamp) {
    self.name = name
    self.uid = uid
    self.project = project
    self.createdAt = createdAt
  }
}

/// How a workflow is ended before its time.
public enum Shutdown: String, Hashable, Sendable, Codable, CaseIterable {
  /// Nothing new starts and what runs is cancelled; exit handlers still run.
  case stop = "Stop"
  /// As `stop`, and exit handlers do not run.
  case terminate = "Terminate"
}

/// What is durable about a workflow as a whole; its nodes are `NodeRecord`s.
public struct WorkflowStatus: Hashable, Sendable, Codable {
  /// Pending, running, succeeded, failed or error; never skipped or omitted.
  public var phase: NodePhase
  public var message: String
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  /// The whole workflow is suspended: nothing new starts, what runs goes on.
  public var isSuspended: Bool
  public var shutdown: Shutdown?
  /// Why it was stopped, in the user's words; empty when nobody said.
  public var shutdownMessage: String
  /// Its `activeDeadlineSeconds` have passed: nothing but exit handlers starts any more.
  public var isPastDeadline: Bool
  /// The workflow's global outputs (`globalName`).
  public var outputs: TaskOutputs
  /// The workflow's own locks; nil once they are given back.
  public var locks: NodeLocks?
  /// When it is to be deleted (`ttlStrategy`); set at its end.
  public var expiresAt: Timestamp?
  /// Where the volumes of its own are (`volumeClaimTemplates`); nil while there are none.
  public var volumesOn: ClusterName?

  public init(
    phase: NodePhase = .pending, message: String = "", startedAt: Timestamp? = nil, finishedAt: Timestamp? = nil,
    isSuspended: Bool = false, shutdown: Shutdown? = nil, shutdownMessage: String = "",
    isPastDeadline: Bool = false, outputs: TaskOutputs = TaskOutputs()
  ) {
    self.phase = phase
    self.message = message
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.isSuspended = isSuspended
    self.shutdown = shutdown
    self.shutdownMessage = shutdownMessage
    self.isPastDeadline = isPastDeadline
    self.outputs = outputs
  }
}
