public import FederationModel

/// The work behind each part of a workflow: upward ranks, from its definition and what its templates are expected to take.
///
/// They belong to the tasks of a dag and the groups of steps as they are written, not to nodes: a loop of 10,000 items has one, and
/// all its members are taken to run side by side.
///
/// - Source: Topcuoglu, Hariri and Wu, IEEE TPDS 13 (3), 2002, for the upward rank.
public struct WorkflowTails: Sendable {
  /// `behind[t][p]`: seconds from the end of dag task (or group of steps) p of template t to the end of the template.
  private var behind: [[Double]]
  /// `spans[t]`: seconds that template t takes with everything side by side that may be.
  private var spans: [Double]

  /// - Parameter runtime: seconds that a run of a template is expected to take, by the template's name and its program.
  /// - Complexity: O(tasks and edges of the definition).
  public init(_ program: WorkflowProgram, runtime: (String, Int64) -> Double) {
    behind = program.plans.map { _ in [] }
    spans = program.plans.map { _ in 0 }
    var states = program.plans.map { _ in Measured.no }
    for template in program.plans.indices { measure(template, program, runtime, depth: 0, &states) }
  }

  private enum Measured { case no, begun, yes }

  /// A template that calls itself is taken to end there: how often it does is not known before.
  private mutating func measure(
    _ template: Int, _ program: WorkflowProgram, _ runtime: (String, Int64) -> Double, depth: Int,
    _ states: inout [Measured]
  ) {
    guard states[template] == .no, depth <= WorkflowMachine.depthLimit else { return }
    states[template] = .begun
    for callee in program.callees[template].templates {
      measure(callee, program, runtime, depth: depth + 1, &states)
    }
    let plan = program.plans[template]
    let parts = program.callees[template].longest(spans)
    if let dag = plan.dag {
      behind[template] = Self.ranks(dag, parts)
    } else {
      var rest = 0.0
      behind[template] = parts
      for group in parts.indices.reversed() {
        behind[template][group] = rest
        rest += parts[group]
      }
    }
    var span = plan.nodeType == .pod ? runtime(plan.template.name, plan.program) : 0
    for (part, tail) in zip(parts, behind[template]) { span = max(span, part + tail) }
    spans[template] = span
    states[template] = .yes
  }

  /// The longest way from each task's end to the last one's.
  private static func ranks(_ dag: DAGPlan, _ runtimes: [Double]) -> [Double] {
    var ranks = runtimes.map { _ in 0.0 }
    var open = dag.dependents.map(\.count)
    var ready = open.indices.filter { open[$0] == 0 }
    while let task = ready.popLast() {
      for dependency in dag.dependencies[task] {
        let index = Int(dependency)
        ranks[index] = max(ranks[index], runtimes[task] + ranks[task])
        open[index] -= 1
        if open[index] == 0 { ready.append(index) }
      }
    }
    return ranks
  }

  func behind(_ position: Int32, of template: Int) -> Double {
    behind[template].indices.contains(Int(position)) ? behind[template][Int(position)] : 0
  }
}

extension WorkflowProgram {
  /// How many parts `WorkflowTails` measures: what it costs.
  public var size: Int { callees.reduce(plans.count) { $0 + $1.count } }
}

extension WorkflowMachine {
  /// Seconds of work behind a node: to the end of each template around it. O(depth).
  ///
  /// - Precondition: `node` exists.
  public func tail(of node: NodeID, _ tails: WorkflowTails) -> Double {
    var (current, sum) = (node.ordinal, 0.0)
    for _ in 0...Self.depthLimit {
      guard let (container, part) = place(of: current) else { break }
      if let template = definition.templatePosition(named: nodes[Int(container)].templateName) {
        sum += tails.behind(part, of: template)
      }
      current = container
    }
    return sum
  }
}
