import FederationModel
import HeapModule
import WorkflowCore

/// Who holds or wants locks: a node, or (nil) the workflow as a whole.
struct LockHolder: Hashable, Comparable, Sendable {
  var workflow: WorkflowID
  var node: NodeID?
  static func < (a: Self, b: Self) -> Bool {
    (a.workflow, a.node?.ordinal ?? -1) < (b.workflow, b.node?.ordinal ?? -1)
  }
}

/// A lock, and whose it is.
struct ProjectLock: Hashable, Sendable {
  var project: ProjectName
  var name: LockName
}

/// A place in the queues: the greatest priority first, then the oldest workflow, then the first node.
struct LockTicket: Hashable, Comparable, Sendable {
  var priority: Int64
  var createdAt: Timestamp
  var holder: LockHolder
  static func < (a: Self, b: Self) -> Bool {
    (-a.priority, a.createdAt, a.holder) < (-b.priority, b.createdAt, b.holder)
  }
}

/// Who has which lock, and who is next.
///
/// A request gets all of its locks or none, so that no two requests each wait for what the other has; and only the first in the queue of
/// every lock that it wants gets them, so that none is overtaken for ever. All queues have one order: the first of all requests that wait
/// is the first in each of its own queues, and is served as soon as there is room.
///
/// Everything in here but the limits follows from the records of workflows and nodes.
/// Costs O(locks * log waiting) per request and release.
struct LockBook: Sendable {
  private struct Request: Sendable {
    var ticket: LockTicket
    var locks: [ProjectLock]
  }

  enum Verdict: Hashable, Sendable {
    case granted
    /// For this lock, of which so many of all are free.
    case waits(ProjectLock, free: Int, of: Int)
    /// Nobody has said how many may hold it.
    case unlimited(ProjectLock)
  }

  /// Of semaphores; a mutex has one holder.
  private(set) var limits: [ProjectLock: Int] = [:]
  private var holders: [ProjectLock: Set<LockHolder>] = [:]
  private var held: [LockHolder: [ProjectLock]] = [:]
  private var waiting: [LockHolder: Request] = [:]
  /// May hold tickets of those that have gone.
  private var queues: [ProjectLock: Heap<LockTicket>] = [:]

  func limit(of lock: ProjectLock) -> Int? { lock.name.kind.isMutex ? 1 : limits[lock] }

  /// What is held, by lock: for tests and views.
  var holdings: [ProjectLock: Set<LockHolder>] { holders }
  var waitingCount: Int { waiting.count }
  var isEmpty: Bool { held.isEmpty && waiting.isEmpty }

  /// Asks for locks. A repetition is answered as it stands.
  mutating func request(_ locks: [ProjectLock], _ ticket: LockTicket) -> Verdict {
    if held[ticket.holder] != nil { return .granted }
    if let unknown = locks.first(where: { limit(of: $0) == nil }) { return .unlimited(unknown) }
    if waiting[ticket.holder] == nil { wait(locks, ticket) }
    _ = settle(locks)
    if held[ticket.holder] != nil { return .granted }
    let blocking = locks.first { free($0) <= 0 || front(of: $0)?.holder != ticket.holder } ?? locks[0]
    return .waits(blocking, free: max(0, free(blocking)), of: limit(of: blocking) ?? 0)
  }

  /// A request as it was when the core was rebuilt.
  mutating func restore(_ locks: [ProjectLock], _ ticket: LockTicket, isHeld: Bool) {
    if isHeld { take(locks, ticket.holder) } else { wait(locks, ticket) }
  }

  /// Gives back what is held, or stops waiting. Returns who has got its locks by that.
  mutating func release(_ holder: LockHolder) -> [LockHolder] {
    if let locks = held.removeValue(forKey: holder) {
      for lock in locks {
        holders[lock]?.remove(holder)
        if holders[lock]?.isEmpty == true { holders[lock] = nil }
      }
      return settle(locks)
    }
    if let request = waiting.removeValue(forKey: holder) { return settle(request.locks) }
    return []
  }

  /// Sets how many may hold a semaphore; nil: nobody says any more. Those that hold it keep it. Returns who has got its locks.
  mutating func setLimit(_ limit: Int?, of lock: ProjectLock) -> [LockHolder] {
    limits[lock] = limit
    return settle([lock])
  }

  private mutating func wait(_ locks: [ProjectLock], _ ticket: LockTicket) {
    waiting[ticket.holder] = Request(ticket: ticket, locks: locks)
    for lock in locks { queues[lock, default: Heap()].insert(ticket) }
  }

  private mutating func take(_ locks: [ProjectLock], _ holder: LockHolder) {
    held[holder] = locks
    for lock in locks { holders[lock, default: []].insert(holder) }
  }

  private func free(_ lock: ProjectLock) -> Int { (limit(of: lock) ?? 0) - (holders[lock]?.count ?? 0) }

  /// The first that still waits; forgets those that have gone.
  private mutating func front(of lock: ProjectLock) -> LockTicket? {
    while let ticket = queues[lock]?.min {
      if waiting[ticket.holder]?.ticket == ticket { return ticket }
      queues[lock]!.removeMin()
    }
    queues[lock] = nil
    return nil
  }

  /// Serves whoever is first in all of its queues and finds room, beginning with these locks.
  private mutating func settle(_ locks: [ProjectLock]) -> [LockHolder] {
    var granted: [LockHolder] = []
    var open = locks
    while let lock = open.popLast() {
      while free(lock) > 0, let ticket = front(of: lock), let request = waiting[ticket.holder] {
        let mayTake = request.locks.allSatisfy { other in
          free(other) > 0 && front(of: other) == ticket
        }
        guard mayTake else { break }
        waiting[ticket.holder] = nil
        take(request.locks, ticket.holder)
        granted.append(ticket.holder)
        // Behind it somebody may be first now.
        open += request.locks.filter { $0 != lock }
      }
    }
    return granted
  }
}
