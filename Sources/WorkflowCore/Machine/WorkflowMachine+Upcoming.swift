public import FederationModel

/// A task that has no node yet, although all that it waits for runs or has ended: of a dag, or of a steps template's next group.
public struct UpcomingTask: Hashable, Sendable {
  /// The dag or steps node.
  public var container: NodeID
  /// Position of the dag's task, or of the group.
  var part: Int32
  /// Position in the group; 0 in a dag.
  var member: Int32
}

/// What an upcoming task will ask for, as far as it is known.
public struct ExpectedTask: Sendable {
  public var template: String
  /// `WorkflowTemplate.program`.
  public var program: Int64
  /// With its data sets, and those of its artifacts that are there.
  public var spec: TaskSpec
  /// Artifacts of nodes that have not made them yet.
  public var awaited: [AwaitedArtifact]
}

/// An artifact that a node is expected to make.
public struct AwaitedArtifact: Hashable, Sendable {
  public var node: NodeID
  public var name: String
}

extension WorkflowMachine {
  /// Edges of one node that are followed, and of each task behind it: looking ahead must not cost more than what it looks at.
  private static var edgesLimit: Int { 64 }
  /// Tasks that are told of at once.
  private static var upcomingLimit: Int { 8 }

  /// Where a node stands in the dag or steps template that asked for it; nil for entrypoints and exit handlers.
  func place(of node: Int32) -> (container: Int32, part: Int32)? {
    var record = nodes[Int(node)]
    while record.role == .attempt, let parent = record.parent { record = nodes[Int(parent.ordinal)] }
    guard record.role == .step, let boundary = record.boundary?.ordinal else { return nil }
    // The steps of one group wait for each other, so it is the group that has something behind it.
    let group = record.parent.map { nodes[Int($0.ordinal)] }.flatMap { $0.type == .stepGroup ? $0 : nil }
    return (boundary, group?.step ?? record.step)
  }

  /// Tasks that only wait for nodes which run or have ended, one of which has just begun to run: some of them, when there are many.
  ///
  /// Nothing where no task of the workflow reads data: then there is nothing that could be brought ahead.
  public func upcoming(after node: NodeID) -> [UpcomingTask] {
    guard program.readsData, let (container, part) = place(of: node.ordinal) else { return [] }
    if let dag = plan(of: container)?.dag, let frame = dagFrames[container] {
      return dag.dependents[Int(part)].prefix(Self.edgesLimit).lazy.filter { dependent in
        let waits = dag.dependencies[Int(dependent)]
        return waits.count <= Self.edgesLimit && frame.wanted[Int(dependent)] && frame.nodes[Int(dependent)] < 0
          && waits.allSatisfy { frame.nodes[Int($0)] >= 0 && hasStarted(frame.nodes[Int($0)]) }
      }.prefix(Self.upcomingLimit).map { UpcomingTask(container: NodeID(container), part: $0, member: 0) }
    }
    guard case .steps(let groups)? = plan(of: container)?.template.body, Int(part) + 1 < groups.count,
      let group = stepsFrames[container]?.groups.last, nodes[Int(group)].step == part,
      nodes[Int(group)].expansion == nil, let members = groupFrames[group]?.members,
      members.reduce(0, { $0 + $1.count }) <= Self.edgesLimit, members.joined().allSatisfy(hasStarted)
    else { return [] }
    return groups[Int(part) + 1].indices.prefix(Self.upcomingLimit).map {
      UpcomingTask(container: NodeID(container), part: part + 1, member: Int32($0))
    }
  }

  private func hasStarted(_ node: Int32) -> Bool { nodes[Int(node)].phase != .pending }

  /// Whether a task has no node yet and may still get one.
  public func isUpcoming(_ task: UpcomingTask) -> Bool {
    let container = task.container.ordinal
    guard !nodes[Int(container)].phase.isTerminal else { return false }
    if let frame = dagFrames[container] { return frame.nodes[Int(task.part)] < 0 }
    return (stepsFrames[container]?.groups.count ?? .max) <= Int(task.part)
  }

  /// What an upcoming task will ask for; nil when it runs no container, or where it may run depends on what is not known yet.
  public func expectation(of task: UpcomingTask) -> ExpectedTask? {
    guard isUpcoming(task), let step = step(of: task), let plan = plan(named: step.template),
      case .container(let container) = plan.template.body
    else { return nil }
    let template = plan.template
    let context = TagContext.children(of: task.container.ordinal)
    guard let image = try? substitute(container.image, in: context),
      let resources = try? resources(container.resources, in: context),
      let selector = try? definition.spec.nodeSelector.merging(template.nodeSelector, uniquingKeysWith: { $1 })
        .mapValues({ try substitute($0, in: context) })
    else { return nil }
    var spec = TaskSpec(image: image, resources: resources)
    spec.nodeSelector = selector
    spec.federation = definition.federationHints(for: template)
    var expected = ExpectedTask(template: template.name, program: plan.program, spec: spec, awaited: [])
    for artifact in step.arguments.artifacts {
      if case .stored(let stored)? = try? source(of: artifact, in: context) {
        expected.spec.inputs.append(InputArtifact(name: artifact.name, path: "", source: .stored(stored)))
      } else if let awaited = awaited(artifact, in: context) {
        expected.awaited.append(awaited)
      }
    }
    return expected
  }

  /// The one node that makes an artifact which is not there yet.
  private func awaited(_ artifact: WorkflowArtifact, in context: TagContext) -> AwaitedArtifact? {
    guard let from = artifact.from else { return nil }
    let parts = (Tags.onlyName(in: from) ?? from).split(separator: ".", maxSplits: 4)
    guard parts.count == 5, parts[0] == "steps" || parts[0] == "tasks", parts[2] == "outputs", parts[3] == "artifacts",
      let found = members(ofStep: String(parts[1]), in: context.owner), found.nodes.count == 1,
      !nodes[Int(found.nodes[0])].phase.isTerminal
    else { return nil }
    return AwaitedArtifact(node: NodeID(found.nodes[0]), name: String(parts[4]))
  }

  private func step(of task: UpcomingTask) -> WorkflowStep? {
    guard let plan = plan(of: task.container.ordinal) else { return nil }
    if let dag = plan.dag { return dag.tasks[Int(task.part)] }
    guard case .steps(let groups) = plan.template.body else { return nil }
    return groups[Int(task.part)][Int(task.member)]
  }
}
