/// What is kept for workflows in Argo's words, beside the workflows themselves.
public enum StoredObjectKind: String, Hashable, Sendable, Codable, CaseIterable {
  case workflowTemplate = "WorkflowTemplate"
  case clusterWorkflowTemplate = "ClusterWorkflowTemplate"
  case cronWorkflow = "CronWorkflow"
  case configMap = "ConfigMap"

  /// Belongs to no project: there is one of a name in the federation.
  public var isFederal: Bool { self == .clusterWorkflowTemplate }

  public var apiVersion: String { self == .configMap ? "v1" : "argoproj.io/v1alpha1" }

  public var resource: AccessResource {
    switch self {
    case .workflowTemplate: .template
    case .clusterWorkflowTemplate: .clusterTemplate
    case .cronWorkflow: .cronWorkflow
    case .configMap: .configMap
    }
  }

  /// In sentences: "workflow template".
  public var word: String {
    switch self {
    case .workflowTemplate: "workflow template"
    case .clusterWorkflowTemplate: "cluster workflow template"
    case .cronWorkflow: "cron workflow"
    case .configMap: "config map"
    }
  }

  /// How many a project has at most (the federation, of its own).
  ///
  /// pydflow makes one config map for each step that it reuses; a cron workflow costs the leader a look now and then.
  public var countMax: Int {
    switch self {
    case .workflowTemplate, .clusterWorkflowTemplate: 2000
    case .cronWorkflow: 500
    case .configMap: 10_000
    }
  }

  /// Bytes of a document.
  ///
  /// - Source: for config maps, Kubernetes' own limit.
  public var bytesMax: Int { 1 << 20 }
}

/// One of them as it is stored.
public struct StoredObject: Hashable, Sendable {
  public var kind: StoredObjectKind
  /// Empty for what belongs to the federation.
  public var project: ProjectName
  public var name: String
  public var uid: String
  /// Of the last change; what clients send back as `resourceVersion`.
  public var revision: Int64
  public var generation: Int64
  public var labels: [String: String]
  /// JSON, as its author wrote it, with sorted keys.
  public var document: String
  public var createdAt: Timestamp
  public var createdBy: String
  public var changedAt: Timestamp
  public var changedBy: String

  public init(
    kind: StoredObjectKind, project: ProjectName, name: String, uid: String, revision: Int64 = 0, generation: Int64 = 1,
    labels: [String: String] = [:], document: String, createdAt: Timestamp, createdBy: String
  ) {
    self.kind = kind
    self.project = kind.isFederal ? "" : project
    self.name = name
    self.uid = uid
    self.revision = revision
    self.generation = generation
    self.labels = labels
    self.document = document
    self.createdAt = createdAt
    self.createdBy = createdBy
    changedAt = createdAt
    changedBy = createdBy
  }
}
