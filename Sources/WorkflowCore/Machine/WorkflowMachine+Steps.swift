import FederationModel

/// Steps templates and the groups of both kinds.
extension WorkflowMachine {
  /// Starts the group after the last one, or ends the Steps node when there is none.
  mutating func startNextGroup(of node: Int32) {
    guard case .steps(let groups)? = plan(of: node)?.template.body else { return }
    let previous = stepsFrames[node]?.groups.last
    let next = stepsFrames[node]?.groups.count ?? 0
    guard next < groups.count else { return finishTemplate(node) }
    if let reason = refusal(for: node) { return end(node, .failed, reason) }
    var upstream = [NodeID(node)]
    if let previous {
      upstream = nodes[Int(previous)].children.flatMap { outbound(of: $0.ordinal) }
      if upstream.isEmpty { upstream = [NodeID(previous)] }
    }
    let name = "[\(next)]"
    add(
      NodeRecord(
        id: .root, name: nodes[Int(node)].name + name, displayName: name, type: .stepGroup, role: .group,
        phase: .pending,
        templateName: "", parent: NodeID(node), boundary: NodeID(node), step: Int32(next), upstream: upstream))
  }

  /// Makes the members of a group that do not exist yet, now or in later slices.
  mutating func startExpansion(of group: Int32) {
    nodes[Int(group)].expansion = NodeExpansion()
    openLoops[group] = nil
    markChanged(group)
    agenda.expansions.push(group)
  }

  /// Makes at most about `limit` of the nodes of a StepGroup's steps or of a TaskGroup's items that do not exist yet; returns how
  /// many nodes it touched.
  mutating func expand(_ group: Int32, limit: Int) -> Int {
    guard !nodes[Int(group)].phase.isTerminal, let cursor = nodes[Int(group)].expansion else { return 0 }
    if let reason = refusal(for: group) {
      cutShort(group, reason)
      return 1
    }
    let before = nodes.count
    do {
      let rest = try expand(group, from: cursor, limit: limit)
      if rest != nodes[Int(group)].expansion {
        nodes[Int(group)].expansion = rest
        markChanged(group)
      }
      if rest != nil {
        agenda.expansions.push(group)
      } else if groupFrames[group]!.outstanding == 0 {
        finishGroup(group)
      }
    } catch {
      failGroup(group, Self.message(of: error))
    }
    return max(1, nodes.count - before)
  }

  /// Returns where the next slice has to go on; nil when every member is there.
  private mutating func expand(_ group: Int32, from start: NodeExpansion, limit: Int) throws -> NodeExpansion? {
    let owner = nodes[Int(group)].parent!.ordinal
    let isStepGroup = nodes[Int(group)].type == .stepGroup
    let steps = isStepGroup ? stepGroup(of: owner, at: nodes[Int(group)].step) : step(of: group).map { [$0] } ?? []
    if isStepGroup, steps.count > 1, start == NodeExpansion(), groupFrames[group]!.members.allSatisfy(\.isEmpty) {
      try checkReferences(of: steps, in: owner)
    }
    var cursor = start
    var left = limit
    while Int(cursor.step) < steps.count {
      guard left > 0 else { return cursor }
      let position = isStepGroup ? cursor.step : nodes[Int(group)].step
      let call = StepCall(
        step: steps[Int(cursor.step)], position: position, container: group, boundary: owner,
        upstream: [NodeID(group)])
      let before = nodes.count
      guard try instantiate(call, &cursor, limit: left) else { return cursor }
      left -= nodes.count - before
      cursor = NodeExpansion(step: cursor.step + 1)
    }
    return nil
  }

  /// As in Argo, what steps refer to is looked at before the first of their group is made: if one cannot be made, none runs.
  private func checkReferences(of steps: [WorkflowStep], in owner: Int32) throws {
    let context = TagContext(owner: owner)
    for step in steps where step.loop == nil && foresight == nil {
      if let when = step.when, !when.isEmpty, !(try WhenExpression.evaluate(substitute(when, in: context))) { continue }
      _ = try resolve(step.arguments, in: context)
    }
  }

  /// A group whose members cannot all be made ends in Error, once those that were made have ended.
  private mutating func failGroup(_ group: Int32, _ message: String) {
    if groupFrames[group]!.outstanding == 0 { return end(group, .error, message) }
    cutShort(group, message)
  }

  /// No more members are made, those that were are cancelled, and the group ends with the last of them.
  private mutating func cutShort(_ group: Int32, _ reason: String) {
    nodes[Int(group)].expansion = nil
    openLoops[group] = nil
    nodes[Int(group)].cancelReason = nodes[Int(group)].cancelReason ?? reason
    markChanged(group)
    for member in groupFrames[group]!.members.joined() { agenda.cancels.push(member) }
    if groupFrames[group]!.outstanding == 0 { finishGroup(group) }
  }

  /// All members have settled: the group ends as Argo assesses it.
  mutating func finishGroup(_ group: Int32) {
    if let reason = nodes[Int(group)].cancelReason {
      return end(group, status.shutdown != nil || status.isPastDeadline ? .failed : .error, reason)
    }
    let isStepGroup = nodes[Int(group)].type == .stepGroup
    var phase = NodePhase.succeeded
    for member in nodes[Int(group)].children {
      let node = nodes[Int(member.ordinal)]
      guard !node.isSuperseded, node.phase == .failed || node.phase == .error else { continue }
      if !isStepGroup {
        phase = node.phase
      } else if let step = step(of: member.ordinal), !step.continueOn.covers(node.phase) {
        return end(group, .failed, "child '\(argoID(of: member.ordinal))' failed")
      }
    }
    end(group, phase, "")
  }

  mutating func groupEnded(_ group: Int32, of node: Int32) {
    guard !nodes[Int(node)].phase.isTerminal else { return }
    let record = nodes[Int(group)]
    // As in Argo, a group in Error makes its template Failed.
    if record.phase == .succeeded { startNextGroup(of: node) } else { end(node, .failed, record.message) }
  }

  /// A steps or dag template has come to a good end: its outputs are made from those of its children.
  mutating func finishTemplate(_ node: Int32) {
    do {
      nodes[Int(node)].outputs = try templateOutputs(of: node)
      end(node, .succeeded, "")
    } catch {
      end(node, .error, Self.message(of: error))
    }
  }

  /// The step or task that a node was made for; nil for groups, attempts and entrypoints.
  func step(of node: Int32) -> WorkflowStep? {
    let record = nodes[Int(node)]
    guard record.role == .step, let boundary = record.boundary?.ordinal, let plan = plan(of: boundary) else {
      return nil
    }
    if let dag = plan.dag { return dag.tasks[Int(record.step)] }
    guard let group = record.parent?.ordinal, nodes[Int(group)].type == .stepGroup else { return nil }
    let steps = stepGroup(of: boundary, at: nodes[Int(group)].step)
    return steps.indices.contains(Int(record.step)) ? steps[Int(record.step)] : nil
  }

  /// The nodes at which a node's work leaves it: where the edges to what follows begin.
  ///
  /// - Source: Argo `workflow/controller/operator.go`, `getOutboundNodes`.
  func outbound(of node: Int32) -> [NodeID] {
    var found: [NodeID] = []
    var open = [node]
    while let next = open.popLast() {
      let record = nodes[Int(next)]
      if record.isSuperseded { continue }
      switch record.type {
      case .pod, .skipped, .suspend: found.append(record.id)
      case .retry:
        if let last = liveAttempts(of: next).last { open.append(last) } else { found.append(record.id) }
      case .taskGroup, .stepGroup:
        let members = record.children.filter {
          !nodes[Int($0.ordinal)].isSuperseded && nodes[Int($0.ordinal)].role == .step
        }
        if members.isEmpty { found.append(record.id) }
        open.append(contentsOf: members.reversed().map(\.ordinal))
      case .steps:
        if let last = stepsFrames[next]?.groups.last { open.append(last) } else { found.append(record.id) }
      case .dag:
        let targets = (dagFrames[next]?.targets ?? []).map { dagFrames[next]!.nodes[Int($0)] }.filter { $0 >= 0 }
        if targets.isEmpty { found.append(record.id) }
        open.append(contentsOf: targets.reversed())
      }
    }
    return found
  }
}

extension ContinueOn {
  func covers(_ phase: NodePhase) -> Bool { (phase == .failed && failed) || (phase == .error && error) }
}
