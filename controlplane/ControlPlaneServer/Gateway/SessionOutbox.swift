import ControlPlaneCore
import DequeModule
import FederationAPI
import FederationModel
import Synchronization

/// What one agent session still has to be told. The leader puts in without waiting; the session's writer takes out in order.
///
/// An agent that does not read is cut off at the bound: its next session begins with a welcome, which says all that was dropped.
final class SessionOutbox: AgentOutbox {
  enum Item {
    case command(AgentCommand, CommitPosition)
    case message(Fubini_Agent_V1_ControlMessage)
  }

  private struct State {
    var items: Deque<Item> = []
    var end: FederationError?
    var waiter: CheckedContinuation<Void, Never>?
  }
  private let state = Mutex(State())
  /// Commands, each of at most one unit's messages for this agent.
  private static let limit = 10_000

  func send(_ command: AgentCommand, position: CommitPosition) { put(.command(command, position)) }

  func send(_ message: Fubini_Agent_V1_ControlMessage) { put(.message(message)) }

  func close(_ error: FederationError) {
    wake { state in state.end = state.end ?? error }
  }

  /// The items that wait, at most `count`; nil when the session is to end. Waits while there are none.
  ///
  /// - Throws: the reason of the end, after everything before it was taken.
  func next(_ count: Int) async throws -> [Item] {
    while true {
      let taken: [Item] = try state.withLock { state in
        if state.items.isEmpty, let end = state.end { throw end }
        let items = Array(state.items.prefix(count))
        state.items.removeFirst(items.count)
        return items
      }
      if !taken.isEmpty { return taken }
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let isReady = state.withLock { state in
            if !state.items.isEmpty || state.end != nil { return true }
            state.waiter = continuation
            return false
          }
          if isReady { continuation.resume() }
        }
      } onCancel: {
        close(FederationError(.cancelled, "the session has ended"))
      }
    }
  }

  private func put(_ item: Item) {
    wake { state in
      guard state.end == nil else { return }
      guard state.items.count < Self.limit else {
        state.end = FederationError(
          .resourceExhausted, "the agent does not keep up with its session", retryAfter: .seconds(1))
        return
      }
      state.items.append(item)
    }
  }

  private func wake(_ change: (inout sending State) -> Void) {
    let waiter = state.withLock { state in
      change(&state)
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }
}
