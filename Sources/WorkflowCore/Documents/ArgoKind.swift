/// The kinds of documents that are read here.
public enum ArgoKind: String, Hashable, Sendable, Codable, CaseIterable {
  case workflow = "Workflow"
  case workflowTemplate = "WorkflowTemplate"
  case clusterWorkflowTemplate = "ClusterWorkflowTemplate"
  case cronWorkflow = "CronWorkflow"

  /// Whether its spec may leave open what a workflow that is made of it will give.
  var isTemplate: Bool { self == .workflowTemplate || self == .clusterWorkflowTemplate }
}
