import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import WorkflowCore

/// Which workflows a client of Argo's API asks for: `listOptions.labelSelector` and `listOptions.fieldSelector`.
///
/// Argo keeps phase and completion as labels, so selectors over these become conditions on the phase. What cannot be obeyed is refused:
/// an ignored condition would show, or make somebody delete, the wrong workflows.
struct ArgoSelector: Sendable, Hashable {
  /// nil: any. Empty: none, because the conditions contradict each other.
  private(set) var phases: Set<NodePhase>?
  private(set) var labels: [LabelCondition] = []
  private(set) var name: String?
  private(set) var namespace: ProjectName?

  /// Phases that a workflow (and not only a node) can be in.
  static let workflowPhases: Set<NodePhase> = [.pending, .running, .succeeded, .failed, .error]

  /// - Throws: `.invalidArgument` with the term that is not understood.
  init(labels labelText: String = "", fields fieldText: String = "") throws {
    for condition in try LabelCondition.selector(labelText) { addLabel(condition) }
    for condition in try LabelCondition.selector(fieldText) { try addField(condition) }
  }

  var filter: WorkflowFilter {
    var filter = WorkflowFilter(phases: phases.map { $0.sorted { $0.rawValue < $1.rawValue } } ?? [])
    filter.conditions = labels
    return filter
  }

  /// No workflow can match.
  var isContradictory: Bool { phases?.isEmpty == true }

  func matches(_ head: WorkflowHead) -> Bool {
    (phases?.contains(head.status.phase) ?? true) && labels.allSatisfy { $0.holds(for: head.labels) }
      && (name.map { $0 == head.name } ?? true)
  }

  private mutating func addLabel(_ condition: LabelCondition) {
    switch condition.key {
    case "workflows.argoproj.io/phase":
      restrict { phase in condition.holds(for: [condition.key: phase.rawValue]) }
    case "workflows.argoproj.io/completed":
      // Argo's clients ask for "false" and for no label alike, and mean what has not finished.
      let isAboutValue = condition.relation == .among || condition.relation == .notAmong
      restrict { phase in
        let value = phase.isTerminal ? "true" : isAboutValue ? "false" : ""
        return condition.holds(for: value.isEmpty ? [:] : [condition.key: value])
      }
    default: labels.append(condition)
    }
  }

  /// - Throws: `.invalidArgument` for a field that cannot be asked for.
  private mutating func addField(_ condition: LabelCondition) throws {
    guard condition.relation == .among, let value = condition.values.first else {
      throw FederationError(
        .invalidArgument,
        "a field selector is metadata.name=NAME or metadata.namespace=NAME, not one on \(condition.key)")
    }
    switch condition.key {
    case "metadata.name": name = value
    case "metadata.namespace": namespace = ProjectName(value)
    default:
      throw FederationError(
        .invalidArgument,
        "a field selector is metadata.name=NAME or metadata.namespace=NAME, not \(condition.key.prefix(80))")
    }
  }

  private mutating func restrict(_ isAllowed: (NodePhase) -> Bool) {
    phases = (phases ?? Self.workflowPhases).filter(isAllowed)
  }
}
