public import FederationModel

/// From a workflow that is over to a new try.
extension WorkflowMachine {
  /// A new workflow that has come as far as one that failed: Argo's memoized resubmit. What succeeded there has its outputs here and does
  /// not run again; all else does after `.retry`, which is the event that starts it. O(nodes + edges).
  ///
  /// - Parameter program: of the same templates.
  /// - Throws: `DocumentErrors` when arguments are missing, `.failedPrecondition` when the other one did not fail.
  public init(
    continuing other: WorkflowMachine, program: WorkflowProgram, identity: WorkflowIdentity, at now: Timestamp
  ) throws {
    guard other.status.phase == .failed || other.status.phase == .error else {
      throw FederationError(
        .failedPrecondition,
        "workflow \(other.identity.name) did not fail, and only of one that did can the rest be submitted (memoized)")
    }
    let status = WorkflowStatus(phase: other.status.phase, outputs: other.status.outputs)
    let old = other.identity.name
    let nodes = other.nodes.map { record in
      var record = record
      record.name = identity.name + record.name.dropFirst(old.count)
      if record.displayName.hasPrefix(old) {
        record.displayName = identity.name + record.displayName.dropFirst(old.count)
      }
      record.gate?.locks = nil
      if record.type.isTask, record.phase.isFulfilledWell {
        record.message = "original pod: \(other.argoID(of: record.id.ordinal))"
        (record.startedAt, record.finishedAt) = (now, now)
      }
      return record
    }
    try self.init(program: program, identity: identity, status: status, nodes: nodes)
    try checkArguments()
    statusChanged = true
    for index in self.nodes.indices { markChanged(Int32(index)) }
  }

  private enum Fate: UInt8 { case keep, reset, drop }

  /// Why `.retry` would change nothing of a workflow that succeeded; nil when it does what is asked for.
  public func refusalToRetry(_ restartSuccessful: Bool, _ selector: NodeSelector?) -> FederationError? {
    guard status.phase == .succeeded else { return nil }
    guard restartSuccessful, let selector else {
      return FederationError(
        .failedPrecondition,
        "workflow \(identity.name) succeeded: restartSuccessful and a nodeFieldSelector say what of it is to run again")
    }
    let isFound = nodes.indices.contains {
      !nodes[$0].isSuperseded && !flags[$0].contains(.isExitHandler) && matches(selector, Int32($0))
    }
    return isFound
      ? nil : FederationError(.failedPrecondition, "no node of workflow \(identity.name) matches the nodeFieldSelector")
  }

  /// Argo's `retry`: what failed is dropped and made anew, and so is what `selector` finds; what it stands in runs again, what followed it
  /// is dropped, too.
  mutating func restart(_ selector: NodeSelector?, hasNewArguments: Bool) {
    guard status.phase.isTerminal, refusalToRetry(selector != nil, selector) == nil else { return }
    if root < 0 {
      status = WorkflowStatus(phase: .pending)
      statusChanged = true
      return start()
    }
    let fates = fates(restarting: selector, hasNewArguments: hasNewArguments)
    for index in nodes.indices where !nodes[index].isSuperseded {
      switch fates[index] {
      case .keep: continue
      case .drop: nodes[index].isSuperseded = true
      case .reset:
        nodes[index].phase = nodes[index].hasBegun ? .running : .pending
        nodes[index].message = ""
        nodes[index].finishedAt = nil
        nodes[index].cancelReason = nil
        nodes[index].isEndPending = false
        nodes[index].expansion = nil
        nodes[index].outputs = TaskOutputs()
        nodes[index].gate?.locks = nil
      }
      markChanged(Int32(index))
    }
    let (outputs, volumesOn) = (status.outputs, status.volumesOn)
    status = WorkflowStatus(phase: .running, startedAt: now, outputs: outputs)
    // What a workflow that failed has left there is there still.
    status.volumesOn = volumesOn
    statusChanged = true
    _ = askForWorkflowLocks()
    if status.phase.isTerminal { return }
    let listed = changedNodes
    try? rebuild()
    for node in listed { flags[Int(node)].insert(.isChanged) }
    if root < 0 { return invokeEntrypoint() }
    for index in fates.indices where fates[index] == .reset {
      if hasNewArguments, !renewInputs(of: Int32(index)) { continue }
      proceed(Int32(index))
    }
    if nodes[Int(root)].phase.isTerminal {
      nodes[Int(root)].isEndPending = true
      agenda.ended.push(root)
    }
  }

  /// Gives a node that runs again what the workflow's new arguments make of its inputs. Returns whether that could be done.
  ///
  /// Only the entrypoint and tasks of a dag are ever reset by themselves: members of groups are made anew.
  private mutating func renewInputs(of node: Int32) -> Bool {
    let record = nodes[Int(node)]
    // A loop's group has no inputs: its members are given theirs, item by item.
    guard record.type != .taskGroup, let template = plan(of: node)?.template else { return true }
    do {
      let arguments: ResolvedArguments
      if node == root {
        arguments = try resolve(definition.spec.arguments, in: .workflow)
      } else if record.role == .step, let step = step(of: node), let boundary = record.boundary?.ordinal {
        arguments = try resolve(step.arguments, in: TagContext(owner: boundary))
      } else {
        return true
      }
      nodes[Int(node)].inputs = try bind(arguments, to: template)
      return true
    } catch {
      end(node, .error, Self.message(of: error))
      return false
    }
  }

  /// Goes on with a node that was reset: makes the children that are missing.
  private mutating func proceed(_ node: Int32) {
    guard !nodes[Int(node)].phase.isTerminal, nodes[Int(node)].hasBegun else { return }
    switch nodes[Int(node)].type {
    case .steps:
      if let last = stepsFrames[node]?.groups.last {
        if nodes[Int(last)].phase == .succeeded { startNextGroup(of: node) }
      } else {
        startNextGroup(of: node)
      }
    case .stepGroup, .taskGroup: startExpansion(of: node)
    case .dag:
      guard dagFrames[node] != nil else { return beginDAG(node) }
      startTasks(of: node)
    case .pod, .retry, .skipped, .suspend: break
    }
  }

  /// What becomes of each node. Parents come before their children, so one pass up and one pass down decide.
  private func fates(restarting selector: NodeSelector?, hasNewArguments: Bool) -> [Fate] {
    var fates = [Fate](repeating: .keep, count: nodes.count)
    for index in nodes.indices where !nodes[index].isSuperseded { fates[index] = ownFate(Int32(index), selector) }
    // Upwards: whatever contains something to redo runs again, unless it is itself made anew.
    for index in nodes.indices.reversed() where !nodes[index].isSuperseded && fates[index] != .keep {
      guard nodes[index].role != .exitHandler, nodes[index].role != .hook, let parent = nodes[index].parent?.ordinal
      else { continue }
      if nodes[Int(parent)].type == .retry {
        fates[Int(parent)] = .drop
      } else if fates[Int(parent)] == .keep {
        fates[Int(parent)] = again(parent)
      }
    }
    // With other arguments a group may have other members.
    if hasNewArguments {
      for index in nodes.indices where fates[index] == .reset && groupFrames[Int32(index)] != nil {
        for member in groupFrames[Int32(index)]!.members.joined() { fates[Int(member)] = .drop }
      }
    }
    for index in nodes.indices where fates[index] == .reset { dropFollowers(of: Int32(index), in: &fates) }
    // Downwards: nothing outlives what it stands in.
    for index in nodes.indices {
      if let parent = nodes[index].parent?.ordinal, fates[Int(parent)] == .drop { fates[index] = .drop }
    }
    return fates
  }

  private func ownFate(_ node: Int32, _ selector: NodeSelector?) -> Fate {
    let record = nodes[Int(node)]
    if node == exitHandler { return .drop }
    if flags[Int(node)].contains(.isExitHandler) { return .keep }
    if let selector, matches(selector, node) { return .drop }
    // What runs again needs it running.
    if record.isDaemoned, let boundary = record.boundary?.ordinal, !nodes[Int(boundary)].phase.isFulfilledWell {
      return record.role == .attempt ? .keep : .drop
    }
    // An attempt shares the fate of its Retry node.
    if record.role == .attempt { return .keep }
    switch record.type {
    case .pod, .suspend, .retry, .skipped: return record.phase == .succeeded || record.phase == .skipped ? .keep : .drop
    case .steps, .dag, .stepGroup, .taskGroup: return record.phase == .succeeded ? .keep : again(node)
    }
  }

  /// How what contains something to redo runs again. What gave its locks back does so from its beginning, where it asks for them.
  private func again(_ node: Int32) -> Fate {
    let type = nodes[Int(node)].type
    guard type == .steps || type == .dag, plan(of: node)?.template.synchronization != nil else { return .reset }
    return .drop
  }

  /// Drops the groups after the first one that runs again, and the tasks that wait, near or far, for one that does.
  private func dropFollowers(of node: Int32, in fates: inout [Fate]) {
    if let groups = stepsFrames[node]?.groups, let first = groups.firstIndex(where: { fates[Int($0)] != .keep }) {
      for group in groups[(first + 1)...] { fates[Int(group)] = .drop }
    }
    guard let dag = plan(of: node)?.dag, let tasks = dagFrames[node]?.nodes else { return }
    var open = tasks.indices.filter { tasks[$0] >= 0 && fates[Int(tasks[$0])] != .keep }
    var seen = Set(open)
    while let task = open.popLast() {
      for dependent in dag.dependents[task].map(Int.init) where seen.insert(dependent).inserted {
        if tasks[dependent] >= 0 { fates[Int(tasks[dependent])] = .drop }
        open.append(dependent)
      }
    }
  }
}
