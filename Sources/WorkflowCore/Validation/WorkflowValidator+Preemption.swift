import FederationModel

extension WorkflowValidator {
  /// What a preempted run has reached is kept under the name of an output artifact: there must be one.
  mutating func validatePreemptionHook(_ template: WorkflowTemplate, at path: DocumentPath) {
    guard let name = template.federation?.onPreempt?.checkpoint else { return }
    validate(checkpoint: name, among: [template], at: path)
  }

  /// A hook of the whole workflow is every template's; those without such an artifact begin anew.
  mutating func validateCommonPreemptionHook(at path: DocumentPath) {
    guard let name = workflow.spec.federation?.onPreempt?.checkpoint else { return }
    validate(checkpoint: name, among: workflow.spec.templates.filter(\.isTask), at: path)
  }

  private mutating func validate(checkpoint name: String, among templates: [WorkflowTemplate], at path: DocumentPath) {
    let names = templates.flatMap { $0.outputs.artifacts.filter { $0.path != nil }.map(\.name) }
    guard !names.contains(name) else { return }
    report(
      "checkpoint names an output artifact with a path, and there is none called \"\(name)\"",
      at: path / "federation" / "onPreempt" / "checkpoint", suggestion: NearestName.find(name, among: names))
  }
}
