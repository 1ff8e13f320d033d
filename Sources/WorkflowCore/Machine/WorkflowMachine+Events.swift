public import FederationModel

/// What happens to a workflow from outside.
extension WorkflowMachine {
  mutating func start() {
    guard status.phase == .pending else { return }
    if let shutdown = definition.spec.shutdown { return shutDown(shutdown, message: "") }
    guard status.locks?.isHeld == true || !askForWorkflowLocks() else { return }
    status.phase = .running
    status.startedAt = now
    if definition.spec.suspend { status.isSuspended = true }
    statusChanged = true
    invokeEntrypoint()
  }

  /// Asks for the locks of the workflow as a whole; whether it has any, or cannot have them.
  mutating func askForWorkflowLocks() -> Bool {
    guard let synchronization = definition.spec.synchronization else { return false }
    statusChanged = true
    do {
      status.locks = NodeLocks(names: try lockNames(of: synchronization, in: .workflow))
      actions.append(.acquire(nil))
    } catch {
      status.startedAt = status.startedAt ?? now
      finish(.error, Self.message(of: error))
    }
    return true
  }

  mutating func invokeEntrypoint() {
    let spec = definition.spec
    let place = NodePlace(name: identity.name, displayName: identity.name, role: .entrypoint)
    do {
      invoke(spec.entrypoint, with: try resolve(spec.arguments, in: .workflow), at: place)
    } catch {
      add(place.record(.skipped, .error, template: spec.entrypoint, message: Self.message(of: error)))
    }
    setOffWorkflowHooks()
  }

  mutating func taskStarted(_ node: NodeID, _ cluster: ClusterName, _ runsAs: String) {
    guard let index = liveTask(node) else { return }
    nodes[index].hostCluster = cluster
    nodes[index].runsAs = runsAs
    if nodes[index].phase == .pending { endPending(node.ordinal) }
    nodes[index].phase = .running
    markChanged(node.ordinal)
    setOffHooks(of: node.ordinal)
  }

  /// A task's run had to leave: it waits again, and begins with what it had reached.
  ///
  /// A run that put nothing down loses nothing of what an earlier one did.
  public mutating func taskPreempted(_ node: NodeID, _ checkpoints: [String: StoredArtifact]) {
    let index = Int(node.ordinal)
    guard nodes.indices.contains(index) else { return }
    nodes[index].restarts += 1
    nodes[index].checkpoints.merge(checkpoints) { $1 }
    if !nodes[index].phase.isTerminal { nodes[index].phase = .pending }
    markChanged(node.ordinal)
  }

  /// As `taskPreempted`, of a run that was ended because more could not be held for it. What it may take is held whole from now on, so
  /// that this happens to a task once.
  public mutating func taskUnpaid(_ node: NodeID, _ checkpoints: [String: StoredArtifact]) {
    guard nodes.indices.contains(Int(node.ordinal)) else { return }
    nodes[Int(node.ordinal)].isHeldWhole = true
    taskPreempted(node, checkpoints)
  }

  mutating func taskEnded(_ node: NodeID, _ outcome: TaskOutcome) {
    guard let index = liveTask(node), outcome.phase.isTerminal else { return }
    nodes[index].outputs = outcome.outputs
    addWrittenOutputs(of: node.ordinal)
    nodes[index].exitCode = outcome.exitCode
    // What it had reached on the way is of no use to a run that makes its outputs anew.
    if outcome.phase == .succeeded { nodes[index].checkpoints = [:] }
    let reason = nodes[index].cancelReason
    if isDaemon(node.ordinal) {
      let phase = daemonPhase(after: outcome, of: nodes[index])
      return end(node.ordinal, phase, reason == nil || phase == .failed ? reason ?? outcome.message : "")
    }
    switch outcome.phase {
    case .succeeded: end(node.ordinal, .succeeded, outcome.message)
    case .failed: end(node.ordinal, .failed, reason ?? outcome.message)
    case .error, .lost: end(node.ordinal, reason == nil ? .error : .failed, reason ?? outcome.message)
    // That nobody here asked for it makes it the system's doing, like a pod that was deleted: Argo's Error, for OnError to retry.
    case .cancelled:
      end(
        node.ordinal, reason == nil ? .error : .failed,
        reason ?? (outcome.message.isEmpty ? "cancelled on its cluster" : outcome.message))
    case .bound, .dispatched, .staging, .queued, .running, .preempted: break
    }
  }

  /// Output parameters of a task whose values its template says itself.
  private mutating func addWrittenOutputs(of node: Int32) {
    for parameter in plan(of: node)?.template.outputs.parameters ?? [] {
      guard let written = parameter.value, parameter.valueFrom == nil,
        let value = try? substitute(written, in: .leaf(node))
      else { continue }
      nodes[Int(node)].outputs.parameters[parameter.name] = value
    }
  }

  /// The index of a task that was launched and has not ended; nil for everything else.
  func liveTask(_ node: NodeID) -> Int? {
    let index = Int(node.ordinal)
    guard nodes.indices.contains(index), nodes[index].type == .pod, nodes[index].hasBegun,
      !nodes[index].phase.isTerminal
    else { return nil }
    return index
  }

  // MARK: Time

  mutating func timeReached() {
    if let deadline = workflowDeadline, deadline <= now {
      status.isPastDeadline = true
      statusChanged = true
      agenda.sweep = 0
    }
    while let top = wakes.top, top.at <= now {
      wakes.pop()
      let node = nodes[Int(top.node)]
      guard node.wakeAt == top.at, !node.phase.isTerminal, !node.isSuperseded else { continue }
      nodes[Int(top.node)].wakeAt = nil
      markChanged(top.node)
      switch node.type {
      case .pod: cancel(top.node, reason: Self.deadlineMessage)
      case .suspend: finishSuspend(top.node, supplied: [:], isForced: true)
      case .retry:
        nodes[Int(top.node)].message = ""
        startAttempt(of: top.node)
      case .steps, .stepGroup, .dag, .taskGroup, .skipped: break
      }
    }
  }

  /// Asks for the end of these tasks alone; the others go on.
  mutating func cancelTasks(_ tasks: [NodeID], _ reason: String) {
    for task in tasks where nodes.indices.contains(Int(task.ordinal)) {
      let record = nodes[Int(task.ordinal)]
      if record.type.isTask, !record.isSuperseded { cancel(task.ordinal, reason: reason) }
    }
  }

  // MARK: Shutdown

  mutating func shutDown(_ shutdown: Shutdown, message: String) {
    guard !status.phase.isTerminal, status.shutdown == nil || (status.shutdown == .stop && shutdown == .terminate)
    else { return }
    status.shutdown = shutdown
    status.isSuspended = false
    if !message.isEmpty { status.shutdownMessage = message }
    statusChanged = true
    if status.phase == .pending {
      status.startedAt = now
      return finish(.failed, "Stopped with strategy '\(shutdown.rawValue)'")
    }
    agenda.sweep = 0
  }

  /// Asks the next running task to end, or ends the next node that waits, wherever nothing may begin any more. Returns how many
  /// nodes it touched: 0 when it has come to the last one.
  mutating func sweepNext() -> Int {
    while let node = agenda.sweep, Int(node) < nodes.count {
      agenda.sweep = node + 1
      if sweep(node) { return 1 }
    }
    agenda.sweep = nil
    return 0
  }

  /// Whether there was something to ask for or to end.
  private mutating func sweep(_ node: Int32) -> Bool {
    let index = Int(node)
    guard !nodes[index].phase.isTerminal, !nodes[index].isSuperseded, let reason = refusal(for: node) else {
      return false
    }
    switch nodes[index].type {
    case .pod:
      guard nodes[index].cancelReason == nil || !nodes[index].hasBegun else { return false }
      cancel(node, reason: reason)
    case .suspend, .skipped: end(node, .failed, reason)
    case .retry:
      guard nodes[index].wakeAt != nil || !nodes[index].hasBegun else { return false }
      end(node, .failed, reason)
    case .steps, .dag, .stepGroup, .taskGroup:
      guard !nodes[index].hasBegun else { return false }
      end(node, .failed, reason)
    }
    return true
  }

  /// Asks for the end of a task that runs; one that was not launched ends at once.
  mutating func cancel(_ node: Int32, reason: String) {
    let index = Int(node)
    guard !nodes[index].phase.isTerminal else { return }
    guard nodes[index].hasBegun else { return end(node, .failed, reason) }
    guard nodes[index].cancelReason == nil else { return }
    nodes[index].cancelReason = reason
    markChanged(node)
    actions.append(.cancel(NodeID(node), reason: reason))
  }

  /// Cancels a node because what it stands in was cancelled, and puts what stands in it on the agenda. Returns how many nodes it
  /// touched.
  mutating func cancelBelow(_ node: Int32) -> Int {
    let index = Int(node)
    guard !nodes[index].phase.isTerminal, !nodes[index].isSuperseded, let parent = nodes[index].parent?.ordinal,
      let reason = nodes[Int(parent)].cancelReason
    else { return 0 }
    switch nodes[index].type {
    case .pod:
      guard nodes[index].cancelReason == nil || !nodes[index].hasBegun else { return 0 }
      cancel(node, reason: reason)
    case .suspend, .skipped: end(node, .failed, reason)
    case .steps, .dag, .stepGroup, .taskGroup, .retry:
      guard nodes[index].cancelReason == nil else { return 0 }
      nodes[index].cancelReason = reason
      markChanged(node)
      for child in liveDescendants(of: node) { agenda.cancels.push(child) }
      if !nodes[index].hasBegun || nodes[index].wakeAt != nil { end(node, .failed, reason) }
    }
    return 1
  }

  func liveDescendants(of node: Int32) -> [Int32] {
    if let dag = dagFrames[node] { return dag.nodes.filter { $0 >= 0 } }
    if let steps = stepsFrames[node] { return steps.groups }
    if let group = groupFrames[node] { return Array(group.members.joined()) }
    return liveAttempts(of: node)
  }
}
