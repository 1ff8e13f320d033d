public import FederationModel

/// A template, a cron workflow or a config map.
public struct StoredDocument: Hashable, Sendable, Codable {
  /// `WorkflowTemplate`, `ClusterWorkflowTemplate`, `CronWorkflow` or `ConfigMap`.
  public var kind: String
  /// nil: of the federation.
  public var project: String?
  public var name: String
  public var uid: String
  /// Grows with each change of the document.
  public var generation: Int64
  /// What a change may name as the version that it is made of.
  public var resourceVersion: String
  public var labels: [String: String]
  public var createdAt: WireTime
  public var createdBy: String
  public var changedAt: WireTime
  public var changedBy: String
  /// As its author wrote it. Not in lists.
  public var document: JSONValue?
  /// Of a cron workflow.
  public var cron: CronDocument?

  public init(_ object: StoredObject, document: JSONValue? = nil, cron: CronDocument? = nil) {
    kind = object.kind.rawValue
    project = object.kind.isFederal ? nil : object.project.text
    name = object.name
    uid = object.uid
    generation = object.generation
    resourceVersion = String(object.revision)
    labels = object.labels
    createdAt = WireTime(object.createdAt)
    createdBy = object.createdBy
    changedAt = WireTime(object.changedAt)
    changedBy = object.changedBy
    self.document = document
    self.cron = cron
  }
}

/// When a cron workflow runs, and what became of it so far.
public struct CronDocument: Hashable, Sendable, Codable {
  public var schedules: [String]
  /// nil: UTC.
  public var timezone: String?
  public var isSuspended: Bool
  /// Its stop strategy has ended it.
  public var isStopped: Bool
  public var lastScheduledAt: WireTime?
  /// nil: it is suspended or stopped, or nobody leads.
  public var nextAt: WireTime?
  public var succeeded: Int64
  public var failed: Int64
  /// Names of its workflows that are not over.
  public var active: [String]
  /// What went wrong the last time; empty: nothing.
  public var message: String

  public init(
    schedules: [String], timezone: String?, isSuspended: Bool, isStopped: Bool = false,
    lastScheduledAt: WireTime? = nil, nextAt: WireTime? = nil, succeeded: Int64 = 0, failed: Int64 = 0,
    active: [String] = [], message: String = ""
  ) {
    self.schedules = schedules
    self.timezone = timezone
    self.isSuspended = isSuspended
    self.isStopped = isStopped
    self.lastScheduledAt = lastScheduledAt
    self.nextAt = nextAt
    self.succeeded = succeeded
    self.failed = failed
    self.active = active
    self.message = message
  }
}

public struct StoredDocumentList: Hashable, Sendable, Codable {
  /// By name.
  public var items: [StoredDocument]
  /// `continue` of the next page; nil: this is the last.
  public var next: String?
  public init(items: [StoredDocument], next: String? = nil) {
    self.items = items
    self.next = next
  }
}

/// All values of a config map.
public struct ConfigMapRequest: Hashable, Sendable, Codable {
  public var data: [String: String]
  public var labels: [String: String]?
  /// The version that the change is made of; nil: whatever is there.
  public var resourceVersion: String?
  public init(data: [String: String], labels: [String: String]? = nil, resourceVersion: String? = nil) {
    self.data = data
    self.labels = labels
    self.resourceVersion = resourceVersion
  }
}

/// What became of the documents that were sent together.
public struct AppliedList: Hashable, Sendable, Codable {
  public var items: [AppliedDocument]
  public init(items: [AppliedDocument]) { self.items = items }
}

public struct AppliedDocument: Hashable, Sendable, Codable {
  public enum Outcome: String, Hashable, Sendable, Codable, CaseIterable {
    case created, changed, unchanged, submitted
    /// Only checked.
    case valid
  }
  public var kind: String
  /// nil: of the federation.
  public var project: String?
  public var name: String
  public var uid: String
  public var outcome: Outcome
  public init(kind: String, project: String?, name: String, uid: String, outcome: Outcome) {
    self.kind = kind
    self.project = project
    self.name = name
    self.uid = uid
    self.outcome = outcome
  }
}
