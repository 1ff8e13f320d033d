import FederationModel

/// A template made ready to run: what would otherwise be computed for every node of it.
///
/// An object, because it is looked up for every node and is large.
final class TemplatePlan: Sendable {
  let template: WorkflowTemplate
  /// `WorkflowTemplate.program`.
  let program: Int64
  let dag: DAGPlan?
  /// Where each step of a steps template is, by name.
  let steps: [String: (group: Int32, step: Int32)]
  /// `mentionedDaemons[s]`: the daemons of this template whose address step s mentions.
  let mentionedDaemons: [String: [String]]

  /// - Parameter daemons: names of the templates that are daemons.
  init(_ template: WorkflowTemplate, daemons: Set<String> = []) throws {
    self.template = template
    program = template.program
    var steps: [String: (group: Int32, step: Int32)] = [:]
    var dag: DAGPlan?
    switch template.body {
    case .dag(let body): dag = try DAGPlan(body)
    case .steps(let groups):
      for (group, members) in groups.enumerated() {
        for (step, member) in members.enumerated() { steps[member.name] = (Int32(group), Int32(step)) }
      }
    case .container, .suspend: break
    }
    self.dag = dag
    self.steps = steps
    mentionedDaemons = Self.mentions(of: daemons, in: template)
  }

  private static func mentions(of daemons: Set<String>, in template: WorkflowTemplate) -> [String: [String]] {
    guard !daemons.isEmpty else { return [:] }
    let steps = template.allSteps
    let servers = steps.filter { daemons.contains($0.template) }.map(\.name)
    guard !servers.isEmpty else { return [:] }
    var mentions: [String: [String]] = [:]
    for step in steps {
      // Its hooks included: what mentions an address may use it.
      let text = step.texts.joined(separator: "\n")
      let named = servers.filter { name in
        ["steps.\(name).ip", "tasks.\(name).ip", "['\(name)'].ip", "[\"\(name)\"].ip"].contains { text.contains($0) }
      }
      if !named.isEmpty { mentions[step.name] = named }
    }
    return mentions
  }

  /// The type of a node that runs the template itself.
  var nodeType: NodeType {
    switch template.body {
    case .container: .pod
    case .steps: .steps
    case .dag: .dag
    case .suspend: .suspend
    }
  }
}

/// The edges of a dag template, by task position.
struct DAGPlan: Sendable {
  let tasks: [WorkflowStep]
  let positions: [String: Int32]
  /// `conditions[t]`: when task t may run; nil for always.
  let conditions: [DependsExpression?]
  /// `dependencies[t]`: the tasks that t waits for, ascending, each once.
  let dependencies: [[Int32]]
  /// `dependents[t]`: the tasks that wait for t, ascending.
  let dependents: [[Int32]]

  /// - Throws: `FederationError` (`invalidArgument`) when a condition is malformed or names no task.
  init(_ dag: DAGTemplate) throws {
    tasks = dag.tasks
    var positions: [String: Int32] = [:]
    for (index, task) in dag.tasks.enumerated() { positions[task.name] = Int32(index) }
    self.positions = positions
    var conditions: [DependsExpression?] = []
    var dependencies: [[Int32]] = []
    var dependents = [[Int32]](repeating: [], count: dag.tasks.count)
    conditions.reserveCapacity(dag.tasks.count)
    dependencies.reserveCapacity(dag.tasks.count)
    for (index, task) in dag.tasks.enumerated() {
      let condition = try Self.condition(of: task, in: dag.tasks, positions)
      var needed: [Int32] = []
      for name in condition?.taskNames ?? [] {
        guard let position = positions[name] else {
          throw FederationError(
            .invalidArgument, "task '\(task.name)' depends on '\(name)', which is no task of its dag")
        }
        needed.append(position)
      }
      needed.sort()
      for position in needed { dependents[Int(position)].append(Int32(index)) }
      conditions.append(condition)
      dependencies.append(needed)
    }
    self.conditions = conditions
    self.dependencies = dependencies
    self.dependents = dependents
  }

  /// `depends` as written, or `dependencies` with the `continueOn` of the tasks that they name.
  private static func condition(
    of task: WorkflowStep, in tasks: [WorkflowStep], _ positions: [String: Int32]
  ) throws -> DependsExpression? {
    if let depends = task.depends, !depends.allSatisfy(\.isWhitespace) {
      return try DependsExpression(parsing: depends)
    }
    guard !task.dependencies.isEmpty else { return nil }
    return DependsExpression(
      dependencies: task.dependencies.map { name in
        (name, positions[name].map { tasks[Int($0)].continueOn } ?? ContinueOn())
      })
  }

  /// `wanted[t]`: whether t is a target or needed by one. `targets`: without `names` the tasks that nobody waits for.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) when a name is no task's.
  func selection(of names: [String]) throws -> (targets: [Int32], wanted: [Bool]) {
    guard !names.isEmpty else {
      return (
        dependents.indices.filter { dependents[$0].isEmpty }.map(Int32.init),
        [Bool](repeating: true, count: tasks.count)
      )
    }
    var wanted = [Bool](repeating: false, count: tasks.count)
    var targets: [Int32] = []
    for name in names {
      guard let position = positions[name] else {
        throw FederationError(.invalidArgument, "target '\(name)' is no task of its dag")
      }
      if !targets.contains(position) { targets.append(position) }
    }
    var open = targets
    while let task = open.popLast() {
      guard !wanted[Int(task)] else { continue }
      wanted[Int(task)] = true
      open.append(contentsOf: dependencies[Int(task)])
    }
    return (targets, wanted)
  }
}

extension WorkflowStep {
  /// What it passes on and is decided by, with its hooks: everything in it that may mention other steps.
  fileprivate var texts: [String] {
    var texts = arguments.texts + [when].compactMap(\.self)
    switch loop {
    case .items(let items): texts += items.map(\.description)
    case .param(let text): texts.append(text)
    case .sequence(let sequence): texts += [sequence.count, sequence.start, sequence.end].compactMap(\.self)
    case nil: break
    }
    for hook in [onExit].compactMap(\.self) + hooks.map(\.hook) { texts += hook.arguments.texts }
    return texts
  }
}

extension WorkflowArguments {
  fileprivate var texts: [String] {
    var texts: [String] = []
    for parameter in parameters {
      texts += [parameter.value, parameter.defaultValue, parameter.valueFrom?.defaultValue].compactMap(\.self)
      switch parameter.valueFrom?.source {
      case .parameter(let text), .expression(let text), .path(let text), .jsonPath(let text): texts.append(text)
      case .supplied, nil: break
      }
    }
    for artifact in artifacts {
      texts += [artifact.raw, artifact.key, artifact.from, artifact.fromExpression].compactMap(\.self)
      texts += artifact.foreign?.texts ?? []
    }
    return texts
  }
}
