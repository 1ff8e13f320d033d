import ControlPlaneCore
import FederationModel
import FoundationEssentials
import WorkflowCore

/// The labels that a task's pod would have.
///
/// - Source: Argo Workflows v3.7, `workflow/controller/workflowpod.go`: the workflow's, then `podMetadata`, then the template's own.
struct PodLabels: Sendable {
  private let workflow: String
  private let common: [String: String]
  /// By the template's name.
  private let templates: [String: [String: String]]

  /// What cannot be read back has no more labels than its name.
  init(_ row: WorkflowRow) {
    workflow = row.name
    let document = (try? JSONDecoder().decode(JSONValue.self, from: Data(row.document.utf8))) ?? [:]
    let spec = document["status"]?["storedWorkflowTemplateSpec"] ?? document["spec"]
    common = Self.texts(spec?["podMetadata"]?["labels"])
    let defaults = Self.texts(spec?["templateDefaults"]?["metadata"]?["labels"])
    var templates: [String: [String: String]] = [:]
    for template in spec?["templates"]?.arrayValue ?? [] {
      guard let name = template["name"]?.stringValue else { continue }
      templates[name] = defaults.merging(Self.texts(template["metadata"]?["labels"])) { $1 }
    }
    for (name, template) in document["status"]?["storedTemplates"]?.objectValue ?? [:] {
      templates[name] = defaults.merging(Self.texts(template["metadata"]?["labels"])) { $1 }
    }
    self.templates = templates
  }

  func labels(of node: NodeRecord) -> [String: String] {
    var labels = common.merging(templates[node.templateName] ?? [:]) { $1 }
    labels["workflows.argoproj.io/workflow"] = workflow
    labels["workflows.argoproj.io/completed"] = node.phase.isTerminal ? "true" : "false"
    return labels
  }

  private static func texts(_ value: JSONValue?) -> [String: String] {
    (value?.objectValue ?? [:]).compactMapValues(\.stringValue)
  }
}
