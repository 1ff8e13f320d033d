import FederationModel

/// Exit handlers and lifecycle hooks, of the workflow and of its steps and tasks; and how the workflow ends.
///
/// A hook is set off once, as soon as its condition holds while its node exists. The step is not over before its hooks are: its exit
/// handler, and whatever waits for it, waits for them. How a hook ends changes nothing else.
/// - Source: Argo Workflows v3.7, `workflow/controller/hooks.go` and `exit_handler.go`.
extension WorkflowMachine {
  // MARK: Lifecycle hooks

  /// Sets off the hooks of a step whose conditions hold now.
  mutating func setOffHooks(of node: Int32) {
    let record = nodes[Int(node)]
    if record.role == .entrypoint, node == root { return setOffWorkflowHooks() }
    // Of a loop each member has the hooks; of a Retry node the node itself, not its attempts.
    guard record.role == .step, record.type != .taskGroup, record.type != .skipped, let boundary = record.boundary,
      let hooks = step(of: node)?.hooks, !hooks.isEmpty
    else { return }
    let place = NodePlace(
      name: record.name, displayName: record.displayName, role: .hook, parent: record.id, boundary: boundary,
      upstream: [record.id])
    setOff(hooks, of: node, at: place, in: hookContext(of: node))
  }

  /// Sets off the workflow's hooks whose conditions hold now.
  mutating func setOffWorkflowHooks() {
    guard root >= 0, exitHandler < 0, status.phase == .running, !definition.spec.hooks.isEmpty else { return }
    let place = NodePlace(
      name: identity.name, displayName: identity.name, role: .hook, parent: NodeID(root), upstream: [NodeID(root)])
    setOff(definition.spec.hooks, of: root, at: place, in: .workflow)
  }

  private mutating func setOff(
    _ hooks: [LifecycleHook], of node: Int32, at place: NodePlace, in context: TagContext
  ) {
    for (position, hook) in hooks.enumerated() {
      let isSetOff = hookNodes[node]?.contains { nodes[Int($0)].step == Int32(position) } ?? false
      // As whatever is no exit handler, none begins in a workflow that is being ended.
      guard !isSetOff, refusal(for: node) == nil else { continue }
      var place = place
      place.name += ".hooks." + hook.name
      place.displayName += ".hooks." + hook.name
      place.step = Int32(position)
      run(hook.hook, at: place, in: context)
    }
  }

  /// Whether all hooks of a node that were set off have ended.
  func hooksAreDone(of node: Int32) -> Bool {
    hookNodes[node]?.allSatisfy { nodes[Int($0)].phase.isTerminal && !nodes[Int($0)].isEndPending } ?? true
  }

  mutating func hookEnded(of node: Int32) {
    let hasEnded = nodes[Int(node)].phase.isTerminal && !nodes[Int(node)].isEndPending
    // A daemon that is ready is waited for no longer; the entrypoint is, to its end.
    guard hasEnded || nodes[Int(node)].isDaemoned && node != root, hooksAreDone(of: node) else { return }
    if node == root, nodes[Int(node)].role == .entrypoint { rootEnded() } else { stepEnded(node) }
  }

  /// What the hooks and the exit handler of a step see: what its siblings see, and of its own name this very node.
  private func hookContext(of node: Int32) -> TagContext {
    let record = nodes[Int(node)]
    let item = record.itemJSON.flatMap { try? JSONText.parse($0) }
    var context = TagContext(owner: record.boundary?.ordinal ?? -1, item: item)
    context.hooked = node
    return context
  }

  /// Runs a hook if its condition holds; a condition or an argument that makes no sense is a node in Error. Whether there is a node.
  @discardableResult
  private mutating func run(_ hook: ExitHook, at place: NodePlace, in context: TagContext) -> Bool {
    do {
      guard try holds(hook, in: context) else { return false }
      invoke(hook.template, with: try resolve(hook.arguments, in: context), at: place)
    } catch {
      add(place.record(.skipped, .error, template: hook.template, message: Self.message(of: error)))
    }
    return true
  }

  private func holds(_ hook: ExitHook, in context: TagContext) throws -> Bool {
    guard let expression = hook.expression, !expression.isEmpty else { return true }
    let result = try evaluate(expression, in: context).value()
    guard case .bool(let isWanted) = result else {
      // Of what a run has not told yet, a plan takes nothing for granted.
      if foresight != nil { return false }
      throw FederationError(.invalidArgument, "the hook's expression '\(expression)' is neither true nor false")
    }
    return isWanted
  }

  // MARK: Exit handlers of steps and tasks

  /// Starts the exit handler of a step that has ended, if it has one; whether it did.
  mutating func startExitHandler(of node: Int32) -> Bool {
    let record = nodes[Int(node)]
    guard record.type != .skipped, record.type != .taskGroup, record.startedAt != nil, exitNodes[node] == nil,
      let boundary = record.boundary, let hook = step(of: node)?.onExit ?? plan(of: node)?.template.onExit,
      status.shutdown != .terminate
    else { return false }
    let place = NodePlace(
      name: record.name + ".onExit", displayName: record.displayName + ".onExit", role: .exitHandler, parent: record.id,
      boundary: boundary, upstream: [record.id])
    return run(hook, at: place, in: hookContext(of: node))
  }

  // MARK: The workflow's own end

  mutating func entrypointEnded(_ node: Int32) {
    guard status.phase == .running else { return }
    if node == exitHandler { return finishAfterExitHandler() }
    guard node == root else { return }
    setOffWorkflowHooks()
    rootEnded()
  }

  /// The entrypoint and the hooks have ended: the exit handler comes next.
  private mutating func rootEnded() {
    guard status.phase == .running, exitHandler < 0, hooksAreDone(of: root) else { return }
    guard let hook = definition.spec.onExit, status.shutdown != .terminate else { return finishAfterRoot() }
    let name = identity.name + ".onExit"
    let place = NodePlace(name: name, displayName: name, role: .entrypoint)
    if !run(hook, at: place, in: .workflow) { finishAfterRoot() }
  }

  private mutating func finishAfterRoot() {
    // The end of the last one comes back here.
    guard daemons.isEmpty else { return }
    let record = nodes[Int(root)]
    if let shutdown = status.shutdown, record.phase != .succeeded {
      return finish(record.phase == .error ? .error : .failed, "Stopped with strategy '\(shutdown.rawValue)'")
    }
    switch record.phase {
    case .failed, .error: finish(record.phase, record.message)
    case .succeeded, .skipped, .omitted, .pending, .running: finish(.succeeded, "")
    }
  }

  /// A workflow whose exit handler failed has failed.
  private mutating func finishAfterExitHandler() {
    guard daemons.isEmpty else { return }
    let (main, exit) = (nodes[Int(root)], nodes[Int(exitHandler)])
    if main.phase.isFulfilledWell, exit.phase == .failed || exit.phase == .error {
      return finish(exit.phase, exit.message)
    }
    finishAfterRoot()
  }

  mutating func finish(_ phase: NodePhase, _ message: String) {
    status.phase = phase
    status.message = message
    if status.locks != nil {
      status.locks = nil
      actions.append(.release(nil))
    }
    status.finishedAt = now
    status.expiresAt = definition.spec.ttl?.seconds(after: phase).map { now + .seconds($0) }
    statusChanged = true
  }
}
