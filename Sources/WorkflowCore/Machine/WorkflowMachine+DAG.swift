import FederationModel

/// Dag templates. A task is looked at once per dependency that settles, and nowhere else.
extension WorkflowMachine {
  mutating func beginDAG(_ node: Int32) {
    do {
      try openDAG(node)
    } catch {
      return end(node, .error, Self.message(of: error))
    }
    startTasks(of: node)
  }

  /// Puts the tasks that wait for nothing and have no node on the agenda.
  mutating func startTasks(of node: Int32) {
    guard let frame = dagFrames[node] else { return }
    for task in frame.nodes.indices where frame.remaining[task] == 0 && frame.nodes[task] < 0 && frame.wanted[task] {
      agenda.starts.push(TaskStart(dag: node, task: Int32(task)))
    }
    assessDAG(node)
  }

  /// Makes the frame of a DAG node that has begun.
  mutating func openDAG(_ node: Int32) throws {
    guard let plan = plan(of: node), let dag = plan.dag, case .dag(let body) = plan.template.body else { return }
    let names = try body.target.map { try substitute($0, in: .children(of: node)) }?.split(
      whereSeparator: \.isWhitespace)
    let (targets, wanted) = try dag.selection(of: names?.map(String.init) ?? [])
    dagFrames[node] = DAGFrame(plan: dag, targets: targets, wanted: wanted, failFast: body.failFast)
  }

  /// Starts a task whose dependencies have all settled, or leaves it out when its condition does not hold. Changes nothing when it
  /// may not start any more.
  mutating func startTask(_ position: Int32, of node: Int32) {
    let index = Int(position)
    guard let dag = plan(of: node)?.dag, mayStart(index, of: node), refusal(for: node) == nil else { return }
    let task = dag.tasks[index]
    var upstream = dag.dependencies[index].flatMap { dependency in
      let source = dagFrames[node]!.nodes[Int(dependency)]
      return source < 0 ? [] : outbound(of: source)
    }
    if upstream.isEmpty { upstream = [NodeID(node)] }
    let call = StepCall(step: task, position: position, container: node, boundary: node, upstream: upstream)
    do {
      if let condition = dag.conditions[index],
        try !condition.evaluate({ try self.result(of: $0, $1, in: node) })
      {
        return addSkipped(call, .omitted, "omitted: depends condition not met")
      }
      guard task.loop != nil else { return try instantiate(call) }
      let count: Int
      do { count = try loopItems(of: call).count } catch {
        guard isLeftOut(call) else { throw error }
        count = 0
      }
      if count == 0 { return addSkipped(call, .skipped, "Skipped, empty params") }
      add(
        NodeRecord(
          id: .root, name: "\(nodes[Int(node)].name).\(task.name)", displayName: task.name, type: .taskGroup,
          role: .step,
          phase: .pending, templateName: task.template, parent: NodeID(node), boundary: NodeID(node), step: position,
          upstream: upstream))
    } catch {
      addSkipped(call, .error, Self.message(of: error))
    }
  }

  /// Whether a task is wanted, has no node, and no failure keeps it back. (A function of its own, so that no copy of the frame
  /// lives while the frame is changed.)
  private func mayStart(_ task: Int, of node: Int32) -> Bool {
    guard let frame = dagFrames[node], frame.wanted[task], frame.nodes[task] < 0 else { return false }
    return !(frame.hasFailed && frame.failFast)
  }

  /// Whether `task` ended so.
  private func result(of task: String, _ result: DependsResult, in node: Int32) throws -> Bool {
    guard let position = plan(of: node)?.dag?.positions[task], let ordinal = dagFrames[node]?.nodes[Int(position)],
      ordinal >= 0
    else { return false }
    let phase = nodes[Int(ordinal)].phase
    switch result {
    case .succeeded: return phase == .succeeded
    case .failed: return phase == .failed
    case .errored: return phase == .error
    case .skipped: return phase == .skipped
    case .omitted: return phase == .omitted
    case .daemoned: return nodes[Int(ordinal)].isDaemoned && !phase.isTerminal
    case .anySucceeded, .allFailed:
      let members = groupFrames[ordinal]?.members.first ?? [ordinal]
      if result == .anySucceeded { return members.contains { nodes[Int($0)].phase == .succeeded } }
      return members.allSatisfy { nodes[Int($0)].phase == .failed || nodes[Int($0)].phase == .error }
    }
  }

  /// A task and its exit handler have ended: those that wait for it come one nearer.
  mutating func taskSettled(_ position: Int32, of node: Int32) {
    guard let dag = plan(of: node)?.dag else { return }
    countOff(position, of: node, in: dag)
    dagFrames[node]!.active -= 1
    for dependent in dag.dependents[Int(position)] {
      dagFrames[node]!.remaining[Int(dependent)] -= 1
      if dagFrames[node]!.remaining[Int(dependent)] == 0, dagFrames[node]!.wanted[Int(dependent)] {
        agenda.starts.push(TaskStart(dag: node, task: dependent))
      }
    }
    assessDAG(node)
  }

  /// Notes how a settled task leaves its branch.
  mutating func countOff(_ position: Int32, of node: Int32, in dag: DAGPlan) {
    let index = Int(position)
    let phase = nodes[Int(dagFrames[node]!.nodes[index])].phase
    // One that was ready has done what it was waited for, whatever became of it since.
    let isServing = nodes[Int(dagFrames[node]!.nodes[index])].isDaemoned
    let branch: DAGFrame.Branch =
      switch isServing ? .succeeded : phase {
      case .failed: .failed
      case .error: .error
      case .skipped, .omitted:
        // A task that did not run passes on the worst of what it waited for.
        dag.dependencies[index].map { dagFrames[node]!.branches[Int($0)] }.max { $0.rawValue < $1.rawValue }
          ?? .succeeded
      case .succeeded, .pending, .running: .succeeded
      }
    dagFrames[node]!.branches[index] = branch
    dagFrames[node]!.unsettled -= 1
    if isBlamed(position, of: node, in: dag) { dagFrames[node]!.hasFailed = true }
  }

  /// Whether a task is a target whose branch failed without `continueOn`.
  private func isBlamed(_ position: Int32, of node: Int32, in dag: DAGPlan) -> Bool {
    let continues = dag.tasks[Int(position)].continueOn
    guard dagFrames[node]!.isTarget[Int(position)] else { return false }
    switch dagFrames[node]!.branches[Int(position)] {
    case .failed: return !continues.failed
    case .error: return !continues.error
    case .open, .succeeded: return false
    }
  }

  /// Ends the DAG node when nothing of it runs and nothing more will start.
  mutating func assessDAG(_ node: Int32) {
    guard let frame = dagFrames[node], frame.active == 0, !nodes[Int(node)].phase.isTerminal else { return }
    let isRefused = refusal(for: node)
    guard frame.unsettled == 0 || (frame.hasFailed && frame.failFast) || isRefused != nil else { return }
    if frame.hasFailed, let dag = plan(of: node)?.dag {
      let blamed = frame.targets.first { isBlamed($0, of: node, in: dag) }
      return end(node, blamed.map { frame.branches[Int($0)] } == .error ? .error : .failed, "")
    }
    if frame.unsettled > 0, let isRefused { return end(node, .failed, isRefused) }
    finishTemplate(node)
  }
}
