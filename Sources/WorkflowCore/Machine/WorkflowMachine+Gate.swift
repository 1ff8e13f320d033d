public import FederationModel

/// The locks that a workflow or a node has asked for.
public struct NodeLocks: Hashable, Sendable, Codable {
  /// In ascending order, each once.
  public var names: [LockName]
  /// All of them are its own; until then it waits, and has none.
  public var isHeld: Bool
  public init(names: [LockName], isHeld: Bool = false) {
    self.names = names
    self.isHeld = isHeld
  }
}

/// What a memoized node asked its cache for.
public struct NodeMemo: Hashable, Sendable, Codable {
  public var cache: String
  public var key: String
  /// Whether the cache has answered.
  public var isAnswered: Bool
  /// Its outputs are those of the cache.
  public var isHit: Bool
  public init(cache: String, key: String, isAnswered: Bool = false, isHit: Bool = false) {
    self.cache = cache
    self.key = key
    self.isAnswered = isAnswered
    self.isHit = isHit
  }
}

/// What stands before a node that is otherwise free to begin. Durable: who holds and who waits follows from the records alone.
public struct NodeGate: Hashable, Sendable, Codable {
  /// nil once they are given back.
  public var locks: NodeLocks?
  public var memo: NodeMemo?
  public init(locks: NodeLocks? = nil, memo: NodeMemo? = nil) {
    self.locks = locks
    self.memo = memo
  }
}

/// Locks and caches of outputs: asked for when a node's turn has come, as in Argo first the locks, then the cache.
///
/// The machine knows neither who else holds a lock nor what a cache has: it asks by an action, and goes on with the answer's event.
/// - Source: Argo Workflows v3.7, `workflow/controller/operator.go`, `executeTemplate`.
extension WorkflowMachine {
  /// Whether a node may begin now. If not, what it has asked for is on its way, or it has ended.
  mutating func passesGate(_ node: Int32) -> Bool {
    let record = nodes[Int(node)]
    // An attempt is behind its Retry node, which has passed; groups stand for their members.
    switch record.type {
    case .pod, .steps, .dag, .suspend, .retry: if record.role == .attempt { return true }
    case .stepGroup, .taskGroup, .skipped: return true
    }
    guard let template = plan(of: node)?.template, template.synchronization != nil || template.memoize != nil else {
      return true
    }
    do {
      if let synchronization = template.synchronization, record.gate?.locks?.isHeld != true {
        let names = try record.gate?.locks?.names ?? lockNames(of: synchronization, in: .leaf(node))
        try checkLocks(names, above: node)
        change(node) { $0.locks = NodeLocks(names: names) }
        actions.append(.acquire(NodeID(node)))
        return false
      }
      if let memoize = template.memoize, record.gate?.memo?.isAnswered != true {
        let context = TagContext.leaf(node)
        let memo = NodeMemo(
          cache: try substitute(memoize.cache, in: context), key: try substitute(memoize.key, in: context))
        let maxAge = try self.maxAge(of: memoize, in: context)
        change(node) { $0.memo = memo }
        actions.append(.recall(NodeID(node), maxAge: maxAge))
        return false
      }
      return true
    } catch {
      end(node, .error, Self.message(of: error))
      return false
    }
  }

  private mutating func change(_ node: Int32, _ body: (inout NodeGate) -> Void) {
    var gate = nodes[Int(node)].gate ?? NodeGate()
    body(&gate)
    nodes[Int(node)].gate = gate == NodeGate() ? nil : gate
    markChanged(node)
  }

  func lockNames(of synchronization: Synchronization, in context: TagContext) throws -> [LockName] {
    var names: Set<LockName> = []
    for lock in synchronization.locks {
      if let namespace = try lock.namespace.map({ try substitute($0, in: context) }), namespace != identity.project.text
      {
        throw FederationError(
          .invalidArgument, "locks belong to a project: this workflow cannot take one of namespace \(namespace)")
      }
      let name = LockName(
        kind: lock.kind, name: try substitute(lock.name, in: context), key: try substitute(lock.key, in: context))
      guard !name.name.isEmpty, name.name.utf8.count <= 1024, name.key.utf8.count <= 1024 else {
        throw FederationError(.invalidArgument, "a lock's name has between 1 and 1024 bytes")
      }
      names.insert(name)
    }
    return names.sorted()
  }

  /// A mutex that a node stands in is never free while it waits.
  private func checkLocks(_ names: [LockName], above node: Int32) throws {
    var held = Set(status.locks?.names ?? [])
    var current = nodes[Int(node)].boundary?.ordinal
    while let above = current {
      held.formUnion(nodes[Int(above)].gate?.locks?.names ?? [])
      if nodes[Int(above)].role == .attempt, let retry = nodes[Int(above)].parent {
        held.formUnion(nodes[Int(retry.ordinal)].gate?.locks?.names ?? [])
      }
      current = nodes[Int(above)].boundary?.ordinal
    }
    guard let own = names.first(where: { $0.kind.isMutex && held.contains($0) }) else { return }
    throw FederationError(
      .invalidArgument,
      "the lock \(own.text(in: identity.project.text)) is held by what this stands in: it would wait for ever")
  }

  // MARK: Answers

  mutating func locksAcquired(_ node: NodeID?) {
    guard let node else {
      guard status.locks?.isHeld == false else { return }
      status.locks?.isHeld = true
      status.message = ""
      statusChanged = true
      if status.phase == .pending { start() }
      return
    }
    guard waitsForLocks(node) else { return }
    nodes[Int(node.ordinal)].message = ""
    change(node.ordinal) { $0.locks?.isHeld = true }
    ready(node.ordinal)
  }

  mutating func locksAwaited(_ node: NodeID?, _ message: String) {
    guard let node else {
      guard status.locks?.isHeld == false else { return }
      status.message = message
      statusChanged = true
      return
    }
    guard waitsForLocks(node) else { return }
    nodes[Int(node.ordinal)].message = message
    markChanged(node.ordinal)
  }

  mutating func locksRefused(_ node: NodeID?, _ message: String) {
    guard let node else {
      guard status.locks?.isHeld == false else { return }
      if status.phase == .pending { status.startedAt = now }
      if !status.phase.isTerminal { finish(.error, message) }
      return
    }
    if waitsForLocks(node) { end(node.ordinal, .error, message) }
  }

  private func waitsForLocks(_ node: NodeID) -> Bool {
    nodes.indices.contains(Int(node.ordinal)) && isWaitingForLocks(node.ordinal)
  }

  /// Whether a node has asked for locks and has none: it is admitted, and begins with the answer.
  func isWaitingForLocks(_ node: Int32) -> Bool {
    let record = nodes[Int(node)]
    return record.gate?.locks?.isHeld == false && !record.phase.isTerminal && !record.isSuperseded
  }

  mutating func recalled(_ node: NodeID, _ outputs: TaskOutputs?) {
    guard nodes.indices.contains(Int(node.ordinal)), let memo = nodes[Int(node.ordinal)].gate?.memo, !memo.isAnswered,
      !nodes[Int(node.ordinal)].phase.isTerminal
    else { return }
    change(node.ordinal) {
      $0.memo?.isAnswered = true
      $0.memo?.isHit = outputs != nil
    }
    guard let outputs else { return ready(node.ordinal) }
    nodes[Int(node.ordinal)].outputs = outputs
    end(node.ordinal, .succeeded, "")
  }

  /// A node has ended: its locks are free, and its outputs are kept if they are to be.
  mutating func leaveGate(_ node: Int32) {
    guard let gate = nodes[Int(node)].gate else { return }
    if gate.locks != nil {
      change(node) { $0.locks = nil }
      actions.append(.release(NodeID(node)))
    }
    if let memo = gate.memo, memo.isAnswered, !memo.isHit, nodes[Int(node)].phase == .succeeded {
      actions.append(.remember(NodeID(node)))
    }
  }

  // MARK: For whoever keeps the locks and the caches

  /// Every request for locks that is not given back: the workflow's (nil) and its nodes', held or waiting.
  public var lockRequests: [(node: NodeID?, locks: NodeLocks)] {
    var requests: [(node: NodeID?, locks: NodeLocks)] = []
    if let locks = status.locks, !status.phase.isTerminal { requests.append((nil, locks)) }
    for node in nodes where !node.isSuperseded && !node.phase.isTerminal {
      if let locks = node.gate?.locks { requests.append((node.id, locks)) }
    }
    return requests
  }

  private func maxAge(of memoize: Memoization, in context: TagContext) throws -> Duration? {
    guard let text = memoize.maxAge else { return nil }
    let age = try substitute(text, in: context)
    guard let duration = GoDuration.parse(age) else {
      throw FederationError(.invalidArgument, "memoize.maxAge '\(age)' is no duration; write for example 90s or 24h")
    }
    return duration
  }
}
