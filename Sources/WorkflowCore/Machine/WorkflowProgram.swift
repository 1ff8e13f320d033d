import FederationModel

/// A workflow definition made ready to run: what its machine needs of the document and would otherwise compute when it is made.
///
/// It costs time in proportion to the document, and so is made where a document is read, not where the core applies its inputs.
///
/// An object, because machines are moved about and share it.
public final class WorkflowProgram: Sendable {
  public let definition: WorkflowDefinition
  let plans: [TemplatePlan]
  /// `callees[t]`: what template t runs.
  let callees: [TemplateCallees]
  /// Whether anything in the document reads data sets or artifacts of its steps, so that they may be brought ahead.
  let readsData: Bool
  /// Whether anything in the document looks at `outputs.result`, so that runs keep their standard output.
  let mentionsResult: Bool
  /// Whether any template is a daemon.
  let hasDaemons: Bool

  /// - Throws: `DocumentErrors` when a template cannot be made ready.
  public init(_ definition: WorkflowDefinition) throws {
    // Nobody looked them up, so nobody has them.
    let definition = try definition.resolved(with: LoadedTemplates())
    let daemons = Set(definition.spec.templates.lazy.filter(\.isDaemon).map(\.name))
    hasDaemons = !daemons.isEmpty
    var problems: [DocumentProblem] = []
    var plans: [TemplatePlan] = []
    plans.reserveCapacity(definition.spec.templates.count)
    for (index, template) in definition.spec.templates.enumerated() {
      do {
        plans.append(try TemplatePlan(template, daemons: daemons))
      } catch {
        let message = (error as? FederationError)?.publicMessage ?? "\(error)"
        problems.append(DocumentProblem(path: "spec.templates[\(index)]", message: message))
      }
    }
    guard problems.isEmpty else { throw DocumentErrors(problems: problems) }
    self.definition = definition
    self.plans = plans
    callees = plans.map { TemplateCallees($0.template, definition) }
    readsData = plans.contains {
      definition.federationHints(for: $0.template).datasets?.isEmpty == false
        || TemplateCallees.parts(of: $0.template).joined().contains { !$0.arguments.artifacts.isEmpty }
    }
    mentionsResult = Tags.mentionsResult(definition.canonicalJSON)
  }
}

/// The templates that the parts of a template run: the tasks of a dag, the groups of steps.
struct TemplateCallees: Sendable {
  /// Template positions, part by part; -1 for one that is not here.
  private var list: [Int32] = []
  /// `ends[p]`: where part p ends in `list`.
  private var ends: [Int32] = []
  /// Those that are here, each once.
  let templates: [Int]

  init(_ template: WorkflowTemplate, _ definition: WorkflowDefinition) {
    for part in Self.parts(of: template) {
      for step in part { list.append(Int32(definition.templatePosition(named: step.template) ?? -1)) }
      ends.append(Int32(list.count))
    }
    templates = Set(list).filter { $0 >= 0 }.sorted().map(Int.init)
  }

  static func parts(of template: WorkflowTemplate) -> [[WorkflowStep]] {
    switch template.body {
    case .dag(let dag): dag.tasks.map { [$0] }
    case .steps(let groups): groups
    case .container, .suspend: []
    }
  }

  /// Parts.
  var count: Int { ends.count }

  /// `longest[p]`: the longest of what part p runs, `spans` being by template.
  func longest(_ spans: [Double]) -> [Double] {
    var next = 0
    return ends.map { end in
      var longest = 0.0
      while next < end {
        if list[next] >= 0 { longest = max(longest, spans[Int(list[next])]) }
        next += 1
      }
      return longest
    }
  }
}
