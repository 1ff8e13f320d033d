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
  private(set) var excludedName: String?
  private(set) var namespace: ProjectName?
  /// `spec.startedAt>` and `<`, Argo's words for when a workflow was made.
  private(set) var createdSince: Timestamp?
  private(set) var createdBefore: Timestamp?

  /// Phases that a workflow (and not only a node) can be in.
  static let workflowPhases: Set<NodePhase> = [.pending, .running, .succeeded, .failed, .error]

  /// - Throws: `.invalidArgument` with the term that is not understood.
  init(labels labelText: String = "", fields fieldText: String = "") throws {
    for condition in try LabelCondition.selector(labelText) { addLabel(condition) }
    for term in fieldText.split(separator: ",") where try !addSpan(term) {
      for condition in try LabelCondition.selector(String(term)) { try addField(condition) }
    }
  }

  var filter: WorkflowFilter {
    var filter = WorkflowFilter(phases: phases.map { $0.sorted { $0.rawValue < $1.rawValue } } ?? [])
    filter.conditions = labels
    filter.excludedName = excludedName
    (filter.createdSince, filter.createdBefore) = (createdSince, createdBefore)
    return filter
  }

  /// Of what has a name and no more: templates, cron workflows, events.
  ///
  /// - Throws: `.invalidArgument` for anything else in it.
  func onlyName() throws -> String? {
    guard phases == nil, excludedName == nil, createdSince == nil, createdBefore == nil else {
      throw FederationError(.invalidArgument, "the field selector here is metadata.name=NAME")
    }
    return name
  }

  /// No workflow can match.
  var isContradictory: Bool { phases?.isEmpty == true }

  func matches(_ head: WorkflowHead) -> Bool {
    (phases?.contains(head.status.phase) ?? true) && labels.allSatisfy { $0.holds(for: head.labels) }
      && (name.map { $0 == head.name } ?? true) && (excludedName.map { $0 != head.name } ?? true)
      && (createdSince.map { head.createdAt >= $0 } ?? true) && (createdBefore.map { head.createdAt < $0 } ?? true)
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

  /// Whether a term of a field selector was a span of time.
  private mutating func addSpan(_ term: Substring) throws -> Bool {
    let field = "spec.startedAt"
    guard term.hasPrefix(field), let mark = term.dropFirst(field.count).first, mark == ">" || mark == "<" else {
      return false
    }
    guard let moment = RFC3339.parse(String(term.dropFirst(field.count + 1))) else {
      throw FederationError(.invalidArgument, "\(field)>TIME or \(field)<TIME, not \(term.prefix(80))")
    }
    if mark == ">" { createdSince = moment } else { createdBefore = moment }
    return true
  }

  /// - Throws: `.invalidArgument` for a field that cannot be asked for.
  private mutating func addField(_ condition: LabelCondition) throws {
    switch (condition.key, condition.relation, condition.values.first) {
    case ("status.phase", .among, _?), ("status.phase", .notAmong, _?):
      restrict { condition.holds(for: [condition.key: $0.rawValue]) }
    case ("metadata.name", .among, let value?): name = value
    case ("metadata.name", .notAmong, let value?): excludedName = value
    case ("metadata.namespace", .among, let value?): namespace = ProjectName(value)
    // Argo's UI asks for a count, which an answer may leave out.
    case ("ext.showRemainingItemCount", .among, _): break
    default:
      throw FederationError(
        .invalidArgument,
        "a field selector is metadata.name=, metadata.name!=, metadata.namespace=, status.phase=, status.phase!=, "
          + "spec.startedAt> or spec.startedAt<, not one on \(condition.key.prefix(80))")
    }
  }

  private mutating func restrict(_ isAllowed: (NodePhase) -> Bool) {
    phases = (phases ?? Self.workflowPhases).filter(isAllowed)
  }
}
