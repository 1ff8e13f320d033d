import DequeModule
import FederationModel
import Synchronization

/// How many submissions of one submitter are under way at once, from when a body has come until its answer is made: what reading it,
/// storing and answering cost this process and its database is what a flood would take from others.
///
/// Who is alone may have many under way, because they are committed together. As soon as somebody else has submitted something
/// lately, each has half of the cores, and at least one; the others of each wait before anything is made of their bodies, first come
/// first served.
final class FlightLimit: Sendable {
  struct Limits: Sendable {
    var alone = 64
    /// While somebody else submits, too.
    var beside: Int
    /// How long somebody counts as there after a submission.
    var memory = Duration.seconds(10)
    /// Submissions of one submitter that wait at most.
    var waitingMax = 256

    init(cores: Int) { beside = max(1, cores / 2) }
  }

  private struct Lane {
    var underWay = 0
    var waiting: Deque<CheckedContinuation<Void, Never>> = []
    /// Mean seconds between two ends of late; nil before the second.
    var interval: Double?
    var lastEnd: ContinuousClock.Instant?
  }
  private struct Visit {
    var submitter: String
    var at: ContinuousClock.Instant
  }
  private struct State {
    var lanes: [String: Lane] = [:]
    /// The last submission, and the last one of anybody else.
    var last: Visit?
    var lastOther: Visit?
  }
  private let state = Mutex(State())
  private let limits: Limits

  init(_ limits: Limits) { self.limits = limits }

  /// Does the work when it is its turn.
  ///
  /// - Throws: `.resourceExhausted` when too much of the submitter waits, with when that is expected to be done; and what `work` throws.
  func run<Value>(for submitter: String, _ work: () async throws -> Value) async throws -> Value {
    try await enter(submitter)
    defer { leave(submitter) }
    return try await work()
  }

  private func enter(_ submitter: String) async throws {
    let now = ContinuousClock.now
    let isIn: Bool = try state.withLock { state in
      Self.note(submitter, now, &state)
      guard !take(submitter, now, &state) else { return true }
      let lane = state.lanes[submitter] ?? Lane()
      guard lane.waiting.count < limits.waitingMax else {
        throw FederationError(
          .resourceExhausted, "\(limits.waitingMax) submissions of yours wait already; send fewer at once",
          retryAfter: .seconds(max(1, Double(lane.waiting.count) * (lane.interval ?? 0))))
      }
      return false
    }
    guard !isIn else { return }
    await withCheckedContinuation { continuation in
      let isIn = state.withLock { state in
        // A place may have become free meanwhile.
        if take(submitter, now, &state) { return true }
        state.lanes[submitter, default: Lane()].waiting.append(continuation)
        return false
      }
      if isIn { continuation.resume() }
    }
  }

  private static func note(_ submitter: String, _ now: ContinuousClock.Instant, _ state: inout State) {
    if let last = state.last, last.submitter != submitter { state.lastOther = last }
    state.last = Visit(submitter: submitter, at: now)
  }

  private func limit(of submitter: String, _ now: ContinuousClock.Instant, _ state: State) -> Int {
    let other = state.last?.submitter == submitter ? state.lastOther : state.last
    return other.map { now - $0.at < limits.memory } == true ? limits.beside : limits.alone
  }

  private func take(_ submitter: String, _ now: ContinuousClock.Instant, _ state: inout State) -> Bool {
    let lane = state.lanes[submitter] ?? Lane()
    guard lane.waiting.isEmpty, lane.underWay < limit(of: submitter, now, state) else { return false }
    state.lanes[submitter, default: Lane()].underWay += 1
    return true
  }

  private func leave(_ submitter: String) {
    let now = ContinuousClock.now
    let next = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      var lane = state.lanes[submitter]!
      lane.underWay -= 1
      if let last = lane.lastEnd {
        let seconds = (now - last) / .seconds(1)
        lane.interval = lane.interval.map { $0 * 0.9 + seconds * 0.1 } ?? seconds
      }
      lane.lastEnd = now
      var next: [CheckedContinuation<Void, Never>] = []
      let limit = limit(of: submitter, now, state)
      while lane.underWay < limit, let first = lane.waiting.popFirst() {
        lane.underWay += 1
        next.append(first)
      }
      state.lanes[submitter] = lane.underWay == 0 ? nil : lane
      return next
    }
    for continuation in next { continuation.resume() }
  }
}
