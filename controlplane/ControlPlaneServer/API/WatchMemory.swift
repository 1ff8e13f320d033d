import FederationAPI
import FederationModel
import Synchronization

/// What one event stream has told its watcher, so that the watcher can go on where its connection broke.
///
/// Events are numbered within the stream, and each node remembers the number of the event that last carried it: whoever has
/// got event n lacks exactly the nodes that a later event carried, and what has changed since.
final class WatchState: Sendable {
  private struct State {
    var known: [Int32: (document: NodeDocument, event: Int)] = [:]
    /// The number of the last event, and for the last ones the history's sequence that they reached.
    var count = 0
    var reached: [Int: Int64] = [:]
    var summary: WorkflowSummary?
  }
  let uid: String
  /// Names the stream in the events' ids.
  let token: String
  private let state: Mutex<State>
  /// So many events back can be gone on from.
  static let depth = 256

  init(uid: String, token: String) {
    self.uid = uid
    self.token = token
    state = Mutex(State())
  }

  private init(after event: Int, _ other: borrowing State, uid: String, token: String) {
    self.uid = uid
    self.token = token
    var next = State()
    next.known = other.known.filter { $0.value.event <= event }.mapValues { ($0.document, 0) }
    next.reached = [0: other.reached[event] ?? 0]
    state = Mutex(next)
  }

  var nodeCount: Int { state.withLock { $0.known.count } }
  /// The history's sequence up to which everything was told.
  var lastEvent: Int64 { state.withLock { $0.reached[$0.count] ?? 0 } }

  /// What of `nodes` and `summary` the watcher does not know, and the id of the event that tells it; nil when that is nothing.
  func news(
    _ nodes: [NodeDocument], _ summary: WorkflowSummary, reached: Int64, commit: Int64
  ) -> (id: String, nodes: [NodeDocument])? {
    state.withLock { state in
      let changed = nodes.filter { state.known[$0.id]?.document != $0 }
      guard !changed.isEmpty || summary != state.summary || reached != state.reached[state.count] ?? 0 else {
        return nil
      }
      state.count += 1
      for node in changed { state.known[node.id] = (node, state.count) }
      state.summary = summary
      state.reached[state.count] = reached
      state.reached[state.count - Self.depth] = nil
      return ("\(commit)-\(token)-\(state.count)", changed)
    }
  }

  /// A new stream's state for a watcher that has got event `event` and none after it; nil when that is too long ago.
  func resumed(after event: Int, token: String) -> WatchState? {
    state.withLock { state in
      guard event >= 1, event <= state.count, state.reached[event] != nil else { return nil }
      return WatchState(after: event, state, uid: uid, token: token)
    }
  }
}

/// The event streams of this process that are open, or ended a moment ago.
final class WatchMemory: Sendable {
  private struct Ended {
    var token: String
    var nodes: Int
    var at: ContinuousClock.Instant
  }
  private struct State {
    var streams: [String: WatchState] = [:]
    /// Oldest first.
    var ended: [Ended] = []
  }
  private let state = Mutex(State())

  /// Ended streams are remembered for so long, so many of them, and with so many nodes altogether.
  static let keptFor = Duration.seconds(120)
  static let streamsMax = 256
  static let nodesMax = 100_000

  /// - Parameter lastEventID: what the watcher has got; nil for everything from the beginning.
  /// - Returns: the stream's state; whether it goes on from there, or has to tell everything again.
  func begin(_ uid: String, lastEventID: String?) -> (state: WatchState, isResumed: Bool) {
    let token = String(UInt64.random(in: 0 ... .max), radix: 36)
    return state.withLock { state in
      Self.forget(&state, now: .now)
      var begun = WatchState(uid: uid, token: token)
      var isResumed = false
      // COMMIT-TOKEN-NUMBER; anything else is an id of somebody else's.
      let parts = lastEventID?.split(separator: "-") ?? []
      if parts.count == 3, let number = Int(parts[2]), let known = state.streams[String(parts[1])], known.uid == uid,
        let resumed = known.resumed(after: number, token: token)
      {
        begun = resumed
        isResumed = true
      }
      state.streams[token] = begun
      return (begun, isResumed)
    }
  }

  /// The stream has ended; its watcher may come back.
  func end(_ stream: WatchState, at now: ContinuousClock.Instant = .now) {
    state.withLock { state in
      state.ended.append(Ended(token: stream.token, nodes: stream.nodeCount, at: now))
      Self.forget(&state, now: now)
    }
  }

  /// How many streams are known, open ones included.
  var count: Int { state.withLock { $0.streams.count } }

  private static func forget(_ state: inout State, now: ContinuousClock.Instant) {
    var nodes = state.ended.reduce(0) { $0 + $1.nodes }
    while let oldest = state.ended.first,
      now - oldest.at > keptFor || state.ended.count > streamsMax || nodes > nodesMax
    {
      state.ended.removeFirst()
      nodes -= oldest.nodes
      state.streams[oldest.token] = nil
    }
  }
}
