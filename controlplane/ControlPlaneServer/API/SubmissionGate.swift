import DequeModule
import FederationModel
import Synchronization

/// How many documents are read and compiled at once: that is what a submission costs this process, and what a flood would keep from
/// others.
///
/// One submitter takes one place less than there are, so that another always finds one free; what waits is served in turns, one
/// document of each submitter.
final class SubmissionGate: Sendable {
  private struct Lane {
    var working = 0
    var waiting: Deque<CheckedContinuation<Void, Never>> = []
  }
  private struct State {
    var free: Int
    var lanes: [String: Lane] = [:]
    /// Submitters of whom something waits, the one whose turn it is first.
    var order: Deque<String> = []
  }
  private let state: Mutex<State>
  private let placesOfOne: Int
  private let waitingMax: Int

  /// - Parameters:
  ///   - places: documents that are worked on at once, at least 2.
  ///   - waitingMax: documents of one submitter that wait at most.
  init(places: Int, waitingMax: Int = 256) {
    state = Mutex(State(free: max(2, places)))
    placesOfOne = max(1, max(2, places) - 1)
    self.waitingMax = waitingMax
  }

  /// Does the work when it is the submitter's turn. The work is done whether its caller still waits or not: it is short.
  ///
  /// - Throws: `.resourceExhausted` when too much of the submitter waits, and what `work` throws.
  func run<Value: Sendable>(for submitter: String, _ work: () throws -> Value) async throws -> Value {
    try await enter(submitter)
    defer { leave(submitter) }
    return try work()
  }

  private func enter(_ submitter: String) async throws {
    let isIn: Bool = try state.withLock { state in
      guard !take(submitter, &state) else { return true }
      guard (state.lanes[submitter]?.waiting.count ?? 0) < waitingMax else {
        throw FederationError(
          .resourceExhausted, "\(waitingMax) submissions of yours wait already; send fewer at once",
          retryAfter: .seconds(1))
      }
      return false
    }
    guard !isIn else { return }
    await withCheckedContinuation { continuation in
      let isIn = state.withLock { state in
        // A place may have become free meanwhile.
        if take(submitter, &state) { return true }
        if state.lanes[submitter, default: Lane()].waiting.isEmpty { state.order.append(submitter) }
        state.lanes[submitter, default: Lane()].waiting.append(continuation)
        return false
      }
      if isIn { continuation.resume() }
    }
  }

  /// Takes a place, unless others of the same submitter wait for it or have all that is his.
  private func take(_ submitter: String, _ state: inout State) -> Bool {
    let lane = state.lanes[submitter] ?? Lane()
    guard state.free > 0, lane.working < placesOfOne, lane.waiting.isEmpty else { return false }
    state.free -= 1
    state.lanes[submitter, default: Lane()].working += 1
    return true
  }

  private func leave(_ submitter: String) {
    let next: CheckedContinuation<Void, Never>? = state.withLock { state in
      state.free += 1
      state.lanes[submitter]!.working -= 1
      if state.lanes[submitter]!.working == 0, state.lanes[submitter]!.waiting.isEmpty { state.lanes[submitter] = nil }
      guard let place = state.order.firstIndex(where: { state.lanes[$0]!.working < placesOfOne }) else { return nil }
      let turn = state.order.remove(at: place)
      state.free -= 1
      state.lanes[turn]!.working += 1
      let next = state.lanes[turn]!.waiting.removeFirst()
      if !state.lanes[turn]!.waiting.isEmpty { state.order.append(turn) }
      return next
    }
    next?.resume()
  }
}
