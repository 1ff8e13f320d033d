import FederationModel

/// A workflow definition made ready to run: what its machine needs of the document and would otherwise compute when it is made.
///
/// It costs time in proportion to the document, and so is made where a document is read, not where the core applies its inputs.
public struct WorkflowProgram: Sendable {
  public let definition: WorkflowDefinition
  let plans: [TemplatePlan]
  /// `callees[t][p]`: the templates that dag task p of template t, or the steps of its group p, run; -1 for one that is not here.
  let callees: [[[Int32]]]
  /// Whether anything in the document looks at `outputs.result`, so that runs keep their standard output.
  let mentionsResult: Bool

  /// - Throws: `DocumentErrors` when a template cannot be made ready.
  public init(_ definition: WorkflowDefinition) throws {
    var problems: [DocumentProblem] = []
    var plans: [TemplatePlan] = []
    plans.reserveCapacity(definition.spec.templates.count)
    for (index, template) in definition.spec.templates.enumerated() {
      do {
        plans.append(try TemplatePlan(template))
      } catch {
        let message = (error as? FederationError)?.publicMessage ?? "\(error)"
        problems.append(DocumentProblem(path: "spec.templates[\(index)]", message: message))
      }
    }
    guard problems.isEmpty else { throw DocumentErrors(problems: problems) }
    self.definition = definition
    self.plans = plans
    callees = plans.map { plan in
      let parts: [[WorkflowStep]] =
        switch plan.template.body {
        case .dag(let dag): dag.tasks.map { [$0] }
        case .steps(let groups): groups
        case .container, .suspend: []
        }
      return parts.map { $0.map { step in Int32(definition.templatePosition(named: step.template) ?? -1) } }
    }
    mentionsResult = Tags.mentionsResult(definition.canonicalJSON)
  }
}
