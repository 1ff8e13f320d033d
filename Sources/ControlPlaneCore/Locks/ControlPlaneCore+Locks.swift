import DequeModule
import FederationModel
import WorkflowCore

/// Mutexes and semaphores, across the workflows of a project (ADR 0024).
extension ControlPlaneCore {
  // MARK: Locks

  /// What a machine that asks for locks is told.
  mutating func askForLocks(_ holder: LockHolder) -> WorkflowEvent {
    let entry = workflows[holder.workflow]!
    let request = holder.node.map { entry.machine[$0].gate?.locks } ?? entry.machine.status.locks
    guard let request, !request.names.isEmpty else { return .locksAcquired(holder.node) }
    let project = entry.row.project
    let locks = request.names.map { ProjectLock(project: project, name: $0) }
    switch lockBook.request(locks, ticket(of: holder)) {
    case .granted: return .locksAcquired(holder.node)
    case .waits(let lock, let free, let limit):
      // Argo's words.
      let name = lock.name.text(in: project.text)
      return .locksAwaited(holder.node, message: "Waiting for \(name) lock. Lock status: \(free)/\(limit)")
    case .unlimited(let lock):
      return .locksRefused(
        holder.node,
        message: "there is no limit for the semaphore \(lock.name.text(in: project.text)): set it before it is used")
    }
  }

  private func ticket(of holder: LockHolder) -> LockTicket {
    let entry = workflows[holder.workflow]!
    return LockTicket(
      priority: entry.machine.definition.spec.priority, createdAt: entry.row.createdAt, holder: holder)
  }

  mutating func giveBackLocks(_ holder: LockHolder) { lockGrants.append(contentsOf: lockBook.release(holder)) }

  /// Tells those that have got their locks, one after the other: each may give back others.
  mutating func passOnLocks() {
    guard !isPassingOnLocks else { return }
    isPassingOnLocks = true
    while let next = lockGrants.popFirst() { handle(.locksAcquired(next.node), in: next.workflow) }
    isPassingOnLocks = false
  }

  /// A workflow's requests as its records have them.
  mutating func restoreLocks(of id: WorkflowID) {
    guard let entry = workflows[id] else { return }
    for (node, locks) in entry.machine.lockRequests {
      lockBook.restore(
        locks.names.map { ProjectLock(project: entry.row.project, name: $0) },
        ticket(of: LockHolder(workflow: id, node: node)), isHeld: locks.isHeld)
    }
  }

  /// The limits of a config map's semaphores: these, and no others.
  mutating func setSemaphores(
    of configMap: String, _ values: [String: Int], as change: Int64, _ project: ProjectName, _ principal: Principal
  ) throws {
    guard values.values.allSatisfy({ (0...Self.semaphoreMax).contains($0) }), values.count <= 1000 else {
      throw FederationError(.invalidArgument, "a semaphore's limit is between 0 and \(Self.semaphoreMax)")
    }
    let map = LockName(kind: .configMap, name: configMap)
    guard change >= configMapChanges[ProjectLock(project: project, name: map)] ?? 0 else { return }
    configMapChanges[ProjectLock(project: project, name: map)] = change
    let before = lockBook.limits
    var wanted: [LockName: Int?] = [:]
    for lock in lockBook.limits.keys
    where lock.project == project && lock.name.kind == .configMap && lock.name.name == configMap {
      wanted[lock.name] = .some(nil)
    }
    for (key, value) in values { wanted[LockName(kind: .configMap, name: configMap, key: key)] = value }
    for (name, limit) in wanted.sorted(by: { $0.key < $1.key }) { setLimit(limit, of: name, project) }
    if lockBook.limits != before { note(principal, "semaphore.set", "\(project)/\(configMap)") }
    passOnLocks()
  }

  mutating func setSemaphore(_ key: String, _ limit: Int?, _ project: ProjectName, _ principal: Principal) throws {
    guard limit.map({ (0...Self.semaphoreMax).contains($0) }) ?? true, (1...1024).contains(key.utf8.count) else {
      throw FederationError(.invalidArgument, "a semaphore's limit is between 0 and \(Self.semaphoreMax)")
    }
    setLimit(limit, of: LockName(kind: .database, name: key), project)
    note(principal, "semaphore.set", "\(project)/\(key)", limit.map { "\($0)" } ?? "none")
    passOnLocks()
  }

  private static let semaphoreMax = 1_000_000

  private mutating func setLimit(_ limit: Int?, of name: LockName, _ project: ProjectName) {
    let lock = ProjectLock(project: project, name: name)
    guard lockBook.limits[lock] != limit else { return }
    lockGrants.append(contentsOf: lockBook.setLimit(limit, of: lock))
    // A config map's are rows of its own change.
    guard name.kind != .configMap else { return }
    output.semaphores[lock] = SemaphoreRow(project: project, lock: name, limit: limit)
  }
}
