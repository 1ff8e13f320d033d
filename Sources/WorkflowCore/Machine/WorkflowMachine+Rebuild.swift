import FederationModel

/// From records back to a machine, and from a failed workflow to a new try.
extension WorkflowMachine {
  /// Derives everything from `status` and `nodes`. What waits keeps its turn, because turns go by ordinal.
  mutating func rebuild() throws {
    flags = []
    depths = []
    (stepsFrames, groupFrames, dagFrames, slotFrames, exitNodes, hookNodes) = ([:], [:], [:], [:], [:], [:])
    (root, exitHandler, activeTasks) = (-1, -1, 0)
    (wakes, openLoops) = (MinHeap(), [:])
    flags.reserveCapacity(nodes.count)
    depths.reserveCapacity(nodes.count)
    for index in nodes.indices {
      attach(Int32(index))
      let node = nodes[index]
      guard !node.isSuperseded, node.hasBegun else { continue }
      if node.type == .dag { try? openDAG(Int32(index)) }
      if node.type == .steps || node.type == .dag, let limit = plan(of: Int32(index))?.template.parallelism, limit > 0 {
        slotFrames[Int32(index)] = SlotFrame(limit: limit)
      }
    }
    countSettled()
    rebuildAgenda()
    for index in nodes.indices
    where !nodes[index].isSuperseded && !nodes[index].phase.isTerminal && nodes[index].hasBegun {
      takeSlots(Int32(index))
      if let moment = nodes[index].wakeAt { wakes.push(Wake(at: moment, node: Int32(index))) }
    }
    for index in nodes.indices
    where !nodes[index].isSuperseded && !nodes[index].phase.isTerminal && !nodes[index].hasBegun {
      admit(Int32(index))
    }
  }

  /// Settles what has settled, in ordinal order: a task's dependencies come before it.
  private mutating func countSettled() {
    for index in nodes.indices {
      let (node, ordinal) = (nodes[index], Int32(index))
      guard node.role == .step, !node.isSuperseded, node.phase.isTerminal, let parent = node.parent?.ordinal else {
        continue
      }
      // Its parent has not taken note of its end, or of its exit handler's; the agenda has it.
      if node.isEndPending { continue }
      if let exit = exitNodes[ordinal], !nodes[Int(exit)].phase.isTerminal || nodes[Int(exit)].isEndPending { continue }
      guard hooksAreDone(of: ordinal) else { continue }
      flags[index].insert(.isSettled)
      if dagFrames[parent] != nil, let dag = plan(of: parent)?.dag {
        countOff(node.step, of: parent, in: dag)
        dagFrames[parent]!.active -= 1
        for dependent in dag.dependents[Int(node.step)] { dagFrames[parent]!.remaining[Int(dependent)] -= 1 }
      } else if groupFrames[parent] != nil {
        groupFrames[parent]!.outstanding -= 1
      }
    }
  }

  /// The slots of a node that has begun.
  private mutating func takeSlots(_ node: Int32) {
    if nodes[Int(node)].type.isTask {
      activeTasks += 1
      flags[Int(node)].insert(.holdsTaskSlot)
    }
    guard let boundary = gate(of: node) else { return }
    slotFrames[boundary]!.active += 1
    flags[Int(node)].insert(.holdsSlot)
  }

  // MARK: Retry of a failed workflow

  private enum Fate: UInt8 { case keep, reset, drop }

  /// Argo's `retry`: what failed is dropped and made anew, what it stands in runs again, what followed it is dropped, too.
  mutating func restart(_ restartSuccessful: Bool, _ selector: NodeSelector?) {
    guard status.phase == .failed || status.phase == .error else { return }
    if root < 0 {
      status = WorkflowStatus(phase: .pending)
      statusChanged = true
      return start()
    }
    let fates = fates(restarting: restartSuccessful ? selector : nil)
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
    let outputs = status.outputs
    status = WorkflowStatus(phase: .running, startedAt: now, outputs: outputs)
    statusChanged = true
    _ = askForWorkflowLocks()
    if status.phase.isTerminal { return }
    let listed = changedNodes
    try? rebuild()
    for node in listed { flags[Int(node)].insert(.isChanged) }
    if root < 0 { return invokeEntrypoint() }
    for index in nodes.indices where fates.indices.contains(index) && fates[index] == .reset { proceed(Int32(index)) }
    if nodes[Int(root)].phase.isTerminal {
      nodes[Int(root)].isEndPending = true
      agenda.ended.push(root)
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
  private func fates(restarting selector: NodeSelector?) -> [Fate] {
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
    if let selector, matches(selector, node) { return record.parent == nil && !record.type.isTask ? .reset : .drop }
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
