public import FederationModel
public import WorkflowCore

/// How many may hold a semaphore at once. Key: project and lock.
public struct SemaphoreRow: Hashable, Sendable {
  public var project: ProjectName
  public var lock: LockName
  /// nil: the row goes.
  public var limit: Int?
  public init(project: ProjectName, lock: LockName, limit: Int?) {
    self.project = project
    self.lock = lock
    self.limit = limit
  }
}

/// What a memoized template's outputs are kept under.
public struct MemoName: Hashable, Sendable, Comparable {
  public var project: ProjectName
  public var cache: String
  public var key: String
  public init(project: ProjectName, cache: String, key: String) {
    self.project = project
    self.cache = cache
    self.key = key
  }
  public static func < (a: Self, b: Self) -> Bool { (a.project, a.cache, a.key) < (b.project, b.cache, b.key) }
}

/// Outputs of a memoized template. Key: `name`.
public struct MemoRow: Hashable, Sendable {
  public var name: MemoName
  public var outputs: TaskOutputs
  /// Argo's id of the node that made them, and its workflow.
  public var node: String
  public var workflow: String
  public var createdAt: Timestamp
  /// When they were taken last.
  public var hitAt: Timestamp
  public init(
    name: MemoName, outputs: TaskOutputs, node: String, workflow: String, createdAt: Timestamp, hitAt: Timestamp
  ) {
    self.name = name
    self.outputs = outputs
    self.node = node
    self.workflow = workflow
    self.createdAt = createdAt
    self.hitAt = hitAt
  }
}
