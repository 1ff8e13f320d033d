public import FederationModel

/// Suspension of whole workflows, and suspend nodes: what they wait for, and what they are given.
extension WorkflowMachine {
  mutating func suspend() {
    guard !status.phase.isTerminal, !status.isSuspended else { return }
    status.isSuspended = true
    statusChanged = true
  }

  /// Resumes the workflow as a whole. (Suspend nodes are resumed by `resumeNodes`.)
  mutating func resume() {
    guard status.isSuspended else { return }
    status.isSuspended = false
    statusChanged = true
  }

  mutating func beginSuspend(_ node: Int32) {
    guard case .suspend(let written)? = plan(of: node)?.template.body else { return }
    nodes[Int(node)].message = waitingMessage(of: node, until: nil)
    guard let written, !written.isEmpty else { return }
    do {
      let text = try substitute(written, in: .leaf(node))
      guard let duration = GoDuration.parse(text) else {
        throw FederationError(
          .invalidArgument, "suspend.duration '\(text)' is no duration; write for example 90s or 1h30m")
      }
      nodes[Int(node)].message = waitingMessage(of: node, until: now + duration)
      wake(node, at: now + duration)
    } catch {
      end(node, .error, Self.message(of: error))
    }
  }

  /// What a suspend node waits for (invariant I10), and what it must be told.
  private func waitingMessage(of node: Int32, until: Timestamp?) -> String {
    let wanted = suppliedOutputs(of: node).filter { !$0.hasValue }.map { " --set \($0.name)=VALUE" }.joined()
    let resume = "`fubini resume \(identity.name)\(wanted)`"
    return until.map { "waits until \(RFC3339.format($0)), or for \(resume)" } ?? "waits for \(resume)"
  }

  /// The outputs of a suspend node, and whether each has a value already, or can do without one that is supplied.
  private func suppliedOutputs(of node: Int32) -> [(name: String, hasValue: Bool)] {
    let given = nodes[Int(node)].outputs.parameters
    return (plan(of: node)?.template.outputs.parameters ?? []).map {
      ($0.name, given[$0.name] != nil || ($0.value ?? $0.valueFrom?.defaultValue ?? $0.defaultValue) != nil)
    }
  }

  private var waitingSuspends: [Int32] {
    nodes.indices.filter {
      nodes[$0].type == .suspend && nodes[$0].phase == .running && !nodes[$0].isSuperseded
    }.map(Int32.init)
  }

  /// Why `resumeNodes` would resume nothing, or would drop a value; nil when it does what is asked for.
  ///
  /// - Returns: `.failedPrecondition` when no node that matches waits, `.invalidArgument` for values that are no outputs of
  ///   those that do, or that are missing for all of them.
  public func refusalToResume(_ selector: NodeSelector, _ parameters: [String: String]) -> FederationError? {
    refusalToSet(selector, .succeeded, parameters)
  }

  /// Why `setNodes` would set nothing, or would drop a value; nil when it does what is asked for. As of `refusalToResume`; values may be
  /// missing where the nodes do not end well.
  public func refusalToSet(
    _ selector: NodeSelector, _ phase: NodePhase?, _ parameters: [String: String]
  ) -> FederationError? {
    let waiting = waitingSuspends
    let chosen = waiting.filter { matches(selector, $0) }
    guard !chosen.isEmpty else {
      let names = waiting.prefix(5).map { nodes[Int($0)].displayName }.joined(separator: ", ")
      return FederationError(
        .failedPrecondition,
        waiting.isEmpty
          ? "no node of the workflow waits to be resumed"
          : "no node that waits to be resumed matches; \(waiting.count == 1 ? "this one waits" : "these wait"): \(names)"
      )
    }
    let outputs = chosen.map { suppliedOutputs(of: $0) }
    let known = Set(outputs.joined().map(\.name))
    let first = nodes[Int(chosen[0])].displayName
    if let unknown = parameters.keys.sorted().first(where: { !known.contains($0) }) {
      return FederationError(
        .invalidArgument,
        known.isEmpty
          ? "\(unknown) is no output of \(first), which supplies none"
          : "\(unknown) is no output of \(first), which supplies \(known.sorted().joined(separator: ", "))")
    }
    guard phase == .succeeded else { return nil }
    let missing = outputs.map { $0.filter { !$0.hasValue && parameters[$0.name] == nil }.map(\.name) }
    guard missing.allSatisfy({ !$0.isEmpty }) else { return nil }
    let names = missing[0].joined(separator: ", ")
    return FederationError(.invalidArgument, "\(first) waits for a value of \(names): give it with --set NAME=VALUE")
  }

  mutating func resumeNodes(_ selector: NodeSelector, _ parameters: [String: String]) {
    for node in waitingSuspends where matches(selector, node) {
      finishSuspend(node, supplied: parameters, isForced: false)
    }
  }

  /// Gives suspend nodes that wait outputs, a message or an end. Without an end they wait on, and keep the outputs until they are resumed.
  ///
  /// - Source: Argo Workflows v3.7, `workflow/util/util.go`, `updateSuspendedNode`.
  mutating func setNodes(
    _ selector: NodeSelector, _ phase: NodePhase?, _ message: String, _ parameters: [String: String]
  ) {
    for node in waitingSuspends where matches(selector, node) {
      if phase == .succeeded {
        finishSuspend(node, supplied: parameters, isForced: false, message: message)
        continue
      }
      let index = Int(node)
      // What it says by itself names the values that it waits for; what somebody else said stays.
      let isOwnMessage = nodes[index].message == waitingMessage(of: node, until: nodes[index].wakeAt)
      for output in suppliedOutputs(of: node) {
        if let value = parameters[output.name] { nodes[index].outputs.parameters[output.name] = value }
      }
      if !message.isEmpty {
        nodes[index].message = message
      } else if isOwnMessage {
        nodes[index].message = waitingMessage(of: node, until: nodes[index].wakeAt)
      }
      markChanged(node)
      if let phase, phase.isTerminal { end(node, phase, message) }
    }
  }

  /// Ends a suspend node with what was supplied. Without a value for every output it stays suspended, unless its time is up.
  mutating func finishSuspend(
    _ node: Int32, supplied: [String: String], isForced: Bool, message: String = ""
  ) {
    var values = nodes[Int(node)].outputs.parameters
    for parameter in plan(of: node)?.template.outputs.parameters ?? [] {
      let fallback = parameter.value ?? parameter.valueFrom?.defaultValue ?? parameter.defaultValue
      guard let value = supplied[parameter.name] ?? values[parameter.name] ?? fallback else {
        let missing = "output parameter '\(parameter.name)' has not been set and does not have a default value"
        if isForced { end(node, .error, missing) }
        return
      }
      values[parameter.name] = value
    }
    nodes[Int(node)].outputs.parameters = values
    end(node, .succeeded, message)
  }
}
