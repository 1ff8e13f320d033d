import FederationModel
import Testing
import WorkflowCore

@testable import ControlPlaneCore

@Suite("The book of locks")
struct LockBookTests {
  private static func lock(_ name: String, _ kind: LockKind = .mutex) -> ProjectLock {
    ProjectLock(project: "p", name: LockName(kind: kind, name: name))
  }

  private static func ticket(_ id: Int64, priority: Int64 = 0, at moment: Int64 = 0) -> LockTicket {
    LockTicket(
      priority: priority, createdAt: Timestamp(milliseconds: moment),
      holder: LockHolder(workflow: WorkflowID(id), node: nil))
  }

  private static func holder(_ id: Int64) -> LockHolder { LockHolder(workflow: WorkflowID(id), node: nil) }

  @Test("one holds a mutex; the others follow by priority, then by age")
  func order() {
    var book = LockBook()
    let mutex = [Self.lock("m")]
    #expect(book.request(mutex, Self.ticket(1)) == .granted)
    #expect(book.request(mutex, Self.ticket(2, at: 5)) == .waits(mutex[0], free: 0, of: 1))
    #expect(book.request(mutex, Self.ticket(3, at: 4)) == .waits(mutex[0], free: 0, of: 1))
    #expect(book.request(mutex, Self.ticket(4, priority: 9, at: 9)) == .waits(mutex[0], free: 0, of: 1))
    #expect(book.request(mutex, Self.ticket(1)) == .granted, "a repetition changes nothing")
    var served: [Int64] = []
    var current: Int64 = 1
    while let next = book.release(Self.holder(current)).first {
      served.append(next.workflow.number)
      current = next.workflow.number
    }
    #expect(served == [4, 3, 2])
    #expect(book.isEmpty && book.holdings.isEmpty)
  }

  @Test("a semaphore has as many holders as its limit says, and follows when that changes")
  func semaphore() {
    var book = LockBook()
    let semaphore = Self.lock("s", .database)
    #expect(book.request([semaphore], Self.ticket(1)) == .unlimited(semaphore))
    #expect(book.isEmpty)
    #expect(book.setLimit(2, of: semaphore).isEmpty)
    #expect(book.request([semaphore], Self.ticket(1)) == .granted)
    #expect(book.request([semaphore], Self.ticket(2)) == .granted)
    #expect(book.request([semaphore], Self.ticket(3)) == .waits(semaphore, free: 0, of: 2))
    #expect(book.request([semaphore], Self.ticket(4)) == .waits(semaphore, free: 0, of: 2))
    #expect(book.setLimit(4, of: semaphore) == [Self.holder(3), Self.holder(4)])
    #expect(book.setLimit(1, of: semaphore).isEmpty, "nobody loses what he has")
    for id in 1...4 as ClosedRange<Int64> { #expect(book.release(Self.holder(id)).isEmpty) }
  }

  @Test("a request gets all of its locks or none, and the first in line is not overtaken")
  func allOrNone() {
    var book = LockBook()
    let (a, b) = (Self.lock("a"), Self.lock("b"))
    #expect(book.request([a], Self.ticket(1)) == .granted)
    #expect(book.request([a, b], Self.ticket(2, at: 1)) == .waits(a, free: 0, of: 1))
    #expect(book.holdings[b] == nil)
    #expect(book.request([b], Self.ticket(3, at: 2)) == .waits(b, free: 1, of: 1), "it would overtake")
    #expect(book.release(Self.holder(1)) == [Self.holder(2)])
    #expect(book.release(Self.holder(2)) == [Self.holder(3)])
  }

  @Test("one that gives up its place lets those behind it through")
  func givingUp() {
    var book = LockBook()
    let (a, b) = (Self.lock("a"), Self.lock("b"))
    #expect(book.request([a], Self.ticket(1)) == .granted)
    _ = book.request([a, b], Self.ticket(2, at: 1))
    _ = book.request([b], Self.ticket(3, at: 2))
    #expect(book.release(Self.holder(2)) == [Self.holder(3)])
  }

  @Test(
    "no lock has too many holders, nobody waits for what he could have, and a rebuilt book is the same",
    arguments: 0..<40)
  func random(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var book = LockBook()
    let locks = ["a", "b", "c"].map { Self.lock($0) } + ["x", "y"].map { Self.lock($0, .configMap) }
    for lock in locks.suffix(2) { _ = book.setLimit(random.next(upTo: 3) + 1, of: lock) }
    var open: [LockHolder: (ticket: LockTicket, locks: [ProjectLock])] = [:]
    var held: Set<LockHolder> = []
    for step in 0..<400 as Range<Int64> {
      switch random.next(upTo: 5) {
      case 0, 1, 2:
        let wanted = locks.filter { _ in random.next(upTo: 3) == 0 }
        guard !wanted.isEmpty else { continue }
        let ticket = Self.ticket(step, priority: Int64(random.next(upTo: 3)), at: Int64(random.next(upTo: 50)))
        open[ticket.holder] = (ticket, wanted)
        if book.request(wanted, ticket) == .granted { held.insert(ticket.holder) }
      case 3:
        guard let holder = open.keys.sorted().randomElement(using: &random) else { continue }
        open[holder] = nil
        held.remove(holder)
        held.formUnion(book.release(holder))
      default:
        held.formUnion(book.setLimit(random.next(upTo: 4), of: locks[3 + random.next(upTo: 2)]))
      }
      check(book, open, held, locks, "seed \(seed), step \(step)")
    }
    var rebuilt = LockBook()
    for lock in locks.suffix(2) { _ = rebuilt.setLimit(book.limit(of: lock), of: lock) }
    for (holder, request) in open { rebuilt.restore(request.locks, request.ticket, isHeld: held.contains(holder)) }
    #expect(rebuilt.holdings == book.holdings && rebuilt.waitingCount == book.waitingCount)
    for lock in locks.suffix(2) {
      let next = book.setLimit(9, of: lock)
      #expect(next == rebuilt.setLimit(9, of: lock), "seed \(seed)")
      held.formUnion(next)
    }
    while let holder = held.sorted().first {
      held.remove(holder)
      let next = book.release(holder)
      #expect(next == rebuilt.release(holder), "seed \(seed)")
      held.formUnion(next)
    }
    #expect(book.isEmpty, "seed \(seed): with room for all nobody is left")
  }

  private func check(
    _ book: LockBook, _ open: [LockHolder: (ticket: LockTicket, locks: [ProjectLock])], _ held: Set<LockHolder>,
    _ locks: [ProjectLock], _ note: String
  ) {
    var expected: [ProjectLock: Set<LockHolder>] = [:]
    for holder in held { for lock in open[holder]?.locks ?? [] { expected[lock, default: []].insert(holder) } }
    #expect(book.holdings == expected, "\(note)")
    #expect(book.waitingCount == open.count - held.count, "\(note)")
    for lock in locks where lock.name.kind.isMutex { #expect((expected[lock]?.count ?? 0) <= 1, "\(note)") }
    // The first of all that wait is the first everywhere: it waits only for room.
    let first = open.filter { !held.contains($0.key) }.values.min { $0.ticket < $1.ticket }
    if let first {
      #expect(
        first.locks.contains { (expected[$0]?.count ?? 0) >= (book.limit(of: $0) ?? 0) }, "\(note): it could run")
    }
  }
}
