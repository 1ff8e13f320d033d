import FederationModel

/// The life of a node: made, admitted, begun, ended, settled.
extension WorkflowMachine {
  /// Takes a record in. A node that is not terminal is admitted at once; one that is reports its end.
  @discardableResult
  mutating func add(_ record: consuming NodeRecord) -> Int32 {
    let ordinal = Int32(nodes.count)
    record.id = NodeID(ordinal)
    if record.phase.isTerminal {
      record.startedAt = now
      record.finishedAt = now
      record.isEndPending = true
    }
    let isTerminal = record.phase.isTerminal
    nodes.append(record)
    attach(ordinal)
    markChanged(ordinal)
    if isTerminal {
      agenda.ended.push(ordinal)
    } else {
      admit(ordinal)
      setOffHooks(of: ordinal)
    }
    return ordinal
  }

  /// Derives what follows from one record; the earlier ones are attached already. Used for new nodes and for stored ones.
  mutating func attach(_ ordinal: Int32) {
    let index = Int(ordinal)
    flags.append([])
    depths.append(0)
    nodes[index].children = []
    for source in nodes[index].upstream { nodes[Int(source.ordinal)].children.append(NodeID(ordinal)) }
    let (role, type, step, isSuperseded) = (
      nodes[index].role, nodes[index].type, nodes[index].step, nodes[index].isSuperseded
    )
    if role == .entrypoint {
      if isExitHandlerName(nodes[index].name) {
        flags[index].insert(.isExitHandler)
        if !isSuperseded { exitHandler = ordinal }
      } else if !isSuperseded {
        root = ordinal
      }
    }
    guard let parent = nodes[index].parent?.ordinal else { return }
    let boundary = nodes[index].boundary?.ordinal ?? parent
    let entersTemplate = role == .step || role == .exitHandler || role == .hook
    depths[index] = depths[Int(boundary)] + (entersTemplate ? 1 : 0)
    if role == .exitHandler || flags[Int(parent)].contains(.isExitHandler) { flags[index].insert(.isExitHandler) }
    guard !isSuperseded else { return }
    if nodes[index].isDaemoned, type == .pod, !nodes[index].phase.isTerminal { noteDaemon(ordinal) }
    switch role {
    case .group:
      stepsFrames[parent, default: StepsFrame()].groups.append(ordinal)
      groupFrames[ordinal] = GroupFrame(steps: stepGroup(of: parent, at: step).count)
    case .exitHandler: exitNodes[parent] = ordinal
    case .hook: hookNodes[parent, default: []].append(ordinal)
    case .step:
      if dagFrames[parent] != nil {
        dagFrames[parent]!.nodes[Int(step)] = ordinal
        dagFrames[parent]!.active += 1
      } else {
        let row = nodes[Int(parent)].type == .taskGroup ? 0 : Int(step)
        groupFrames[parent]!.members[row].append(ordinal)
        groupFrames[parent]!.outstanding += 1
      }
      if type == .taskGroup { groupFrames[ordinal] = GroupFrame(steps: 1) }
    case .entrypoint, .attempt: break
    }
  }

  private func isExitHandlerName(_ name: String) -> Bool { name == identity.name + ".onExit" }

  func stepGroup(of node: Int32, at group: Int32) -> [WorkflowStep] {
    guard let plan = plan(of: node), case .steps(let groups) = plan.template.body, groups.indices.contains(Int(group))
    else {
      return []
    }
    return groups[Int(group)]
  }

  func plan(of node: Int32) -> TemplatePlan? { plan(named: nodes[Int(node)].templateName) }

  func plan(named name: String) -> TemplatePlan? {
    program.definition.templatePosition(named: name).map { program.plans[$0] }
  }

  mutating func markChanged(_ node: Int32) {
    if flags[Int(node)].insert(.isChanged).inserted { changedNodes.append(node) }
  }

  // MARK: Admission

  /// Lets a new node through its boundary's slots, or makes it wait there.
  mutating func admit(_ node: Int32) {
    guard let boundary = gate(of: node) else { return ready(node) }
    if slotFrames[boundary]!.active < slotFrames[boundary]!.limit {
      slotFrames[boundary]!.active += 1
      flags[Int(node)].insert(.holdsSlot)
      ready(node)
    } else {
      slotFrames[boundary]!.waiting.push(node)
    }
  }

  /// The node whose slots bound this one; nil for none. Groups and Retry nodes hold no slot, because their members do.
  func gate(of node: Int32) -> Int32? {
    let record = nodes[Int(node)]
    guard record.role == .step || record.role == .attempt, let boundary = record.boundary?.ordinal,
      slotFrames[boundary] != nil
    else { return nil }
    switch record.type {
    case .pod, .steps, .dag: return boundary
    case .stepGroup, .taskGroup, .retry, .skipped, .suspend: return nil
    }
  }

  /// An admitted node begins when its turn comes.
  mutating func ready(_ node: Int32) {
    // One that has asked for locks begins with the answer.
    if isWaitingForLocks(node) { return }
    if nodes[Int(node)].type.isTask { agenda.readyTasks.push(node) } else { agenda.readyOthers.push(node) }
  }

  mutating func freeSlots(of node: Int32) {
    if flags[Int(node)].contains(.holdsTaskSlot) {
      flags[Int(node)].remove(.holdsTaskSlot)
      activeTasks -= 1
    }
    guard flags[Int(node)].contains(.holdsSlot), let boundary = nodes[Int(node)].boundary?.ordinal else { return }
    flags[Int(node)].remove(.holdsSlot)
    slotFrames[boundary]!.active -= 1
    while slotFrames[boundary]!.active < slotFrames[boundary]!.limit, let next = slotFrames[boundary]!.waiting.pop() {
      guard !nodes[Int(next)].phase.isTerminal else { continue }
      slotFrames[boundary]!.active += 1
      flags[Int(next)].insert(.holdsSlot)
      ready(next)
    }
  }

  // MARK: Beginning

  /// Enters a template, or launches a task; returns how many nodes that touched.
  mutating func begin(_ node: Int32) -> Int {
    let index = Int(node)
    guard !nodes[index].phase.isTerminal, !nodes[index].hasBegun else { return 0 }
    if let reason = refusal(for: node) {
      end(node, .failed, reason)
      return 1
    }
    guard passesGate(node) else { return 1 }
    if nodes[index].type.isTask {
      activeTasks += 1
      flags[index].insert(.holdsTaskSlot)
    }
    nodes[index].hasBegun = true
    nodes[index].startedAt = now
    markChanged(node)
    let type = nodes[index].type
    if type != .pod {
      nodes[index].phase = .running
      setOffHooks(of: node)
    }
    switch type {
    case .pod: launch(node)
    case .suspend: beginSuspend(node)
    case .retry: startAttempt(of: node)
    case .steps:
      enterTemplate(node)
      startNextGroup(of: node)
    case .dag:
      enterTemplate(node)
      beginDAG(node)
    case .stepGroup, .taskGroup: startExpansion(of: node)
    case .skipped: end(node, .skipped, nodes[index].message)
    }
    return 1
  }

  /// Why nothing new may begin at this node; nil when it may.
  func refusal(for node: Int32) -> String? {
    let isExitHandler = flags[Int(node)].contains(.isExitHandler)
    if let shutdown = status.shutdown, !isExitHandler || shutdown == .terminate {
      return Self.message(of: shutdown, for: nodes[Int(node)].type)
    }
    if status.isPastDeadline && !isExitHandler { return Self.deadlineMessage }
    return nodes[Int(node)].cancelReason
  }

  /// As Argo words it, for a task and for everything else.
  static func message(of shutdown: Shutdown, for type: NodeType) -> String {
    type == .pod
      ? "workflow shutdown with strategy:  \(shutdown.rawValue)" : "Stopped with strategy '\(shutdown.rawValue)'"
  }

  static let deadlineMessage = "Step exceeded its deadline"

  private mutating func launch(_ node: Int32) {
    do {
      let template = plan(of: node)?.template
      let limits = [
        try limit("timeout", template?.timeout, of: node),
        try limit("pendingTimeout", template?.pendingTimeout, of: node),
      ].compactMap(\.self)
      if let first = limits.min() { wake(node, at: now + first) }
    } catch {
      return end(node, .error, Self.message(of: error))
    }
    actions.append(.launch(NodeID(node)))
  }

  /// A duration that bounds a leaf, counted from its beginning; nil where the template has none.
  private func limit(_ field: String, _ written: String?, of node: Int32) throws -> Duration? {
    guard let written, !written.isEmpty else { return nil }
    let text = try substitute(written, in: .leaf(node))
    guard let limit = GoDuration.parse(text) else {
      throw FederationError(.invalidArgument, "\(field) '\(text)' is no duration; write for example 90s or 1h30m")
    }
    return limit
  }

  /// A task's run has begun: what bounded the wait for it is over.
  mutating func endPending(_ node: Int32) {
    guard let template = plan(of: node)?.template, template.pendingTimeout?.isEmpty == false else { return }
    nodes[Int(node)].wakeAt = nil
    // The text was a duration when the task was launched.
    if let limit = try? limit("timeout", template.timeout, of: node), let began = nodes[Int(node)].startedAt {
      wake(node, at: began + limit)
    }
  }

  private mutating func enterTemplate(_ node: Int32) {
    if let limit = plan(of: node)?.template.parallelism, limit > 0 { slotFrames[node] = SlotFrame(limit: limit) }
  }

  mutating func wake(_ node: Int32, at moment: Timestamp) {
    nodes[Int(node)].wakeAt = moment
    wakes.push(Wake(at: moment, node: node))
    markChanged(node)
  }

  static func message(of error: any Error) -> String {
    (error as? FederationError)?.publicMessage ?? "\(error)"
  }

  // MARK: Ending

  /// Ends a node, once. Its parent hears of it through the queue of work.
  mutating func end(_ node: Int32, _ phase: NodePhase, _ message: String) {
    let index = Int(node)
    guard !nodes[index].phase.isTerminal else { return }
    nodes[index].phase = phase
    nodes[index].message = message
    if nodes[index].startedAt == nil { nodes[index].startedAt = now }
    nodes[index].finishedAt = now
    nodes[index].wakeAt = nil
    markChanged(node)
    nodes[index].expansion = nil
    nodes[index].isEndPending = true
    openLoops[node] = nil
    if phase == .succeeded { publishOutputs(of: node) }
    leaveGate(node)
    freeSlots(of: node)
    agenda.ended.push(node)
    dismissDaemons(of: node)
    daemonLeft(node)
  }

  /// Tells whoever waits for this node.
  mutating func ended(_ node: Int32) {
    nodes[Int(node)].isEndPending = false
    markChanged(node)
    let record = nodes[Int(node)]
    guard !record.isSuperseded else { return }
    switch record.role {
    case .entrypoint: entrypointEnded(node)
    case .group: groupEnded(node, of: record.parent!.ordinal)
    case .attempt: attemptEnded(node, of: record.parent!.ordinal)
    case .exitHandler: settle(record.parent!.ordinal)
    case .hook: hookEnded(of: record.parent!.ordinal)
    case .step:
      setOffHooks(of: node)
      stepEnded(node)
    }
  }

  /// The step has ended, and so have its hooks, or one of these: its exit handler comes next.
  mutating func stepEnded(_ node: Int32) {
    guard hooksAreDone(of: node), !flags[Int(node)].contains(.isSettled) else { return }
    // The exit handler of a daemon would come before its end.
    if nodes[Int(node)].isDaemoned { return settle(node) }
    if !startExitHandler(of: node) { settle(node) }
  }

  /// The node and its exit handler have ended: its parent counts it off.
  mutating func settle(_ node: Int32) {
    guard !flags[Int(node)].contains(.isSettled) else { return }
    flags[Int(node)].insert(.isSettled)
    refuseSiblings(of: node)
    guard let parent = nodes[Int(node)].parent?.ordinal, !nodes[Int(parent)].phase.isTerminal else { return }
    if dagFrames[parent] != nil { return taskSettled(nodes[Int(node)].step, of: parent) }
    guard groupFrames[parent] != nil else { return }
    groupFrames[parent]!.outstanding -= 1
    if groupFrames[parent]!.outstanding == 0, nodes[Int(parent)].expansion == nil { finishGroup(parent) }
  }

  /// With the template's `failFast`, a failed child ends the siblings that wait for a slot.
  private mutating func refuseSiblings(of node: Int32) {
    let phase = nodes[Int(node)].phase
    guard phase == .failed || phase == .error, let boundary = nodes[Int(node)].boundary?.ordinal,
      slotFrames[boundary] != nil,
      plan(of: boundary)?.template.failFast == true
    else { return }
    while let waiting = slotFrames[boundary]!.waiting.pop() {
      end(waiting, .failed, "template has failed or errored children and failFast enabled")
    }
  }
}
