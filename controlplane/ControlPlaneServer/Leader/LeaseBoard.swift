import ControlPlaneCore
import FederationModel
import Synchronization

/// The clocks of leadership and of liveness, read and written without ever waiting for the core.
///
/// Everything here is monotonic time since boot, so a step of the wall clock changes nothing. The leader's own lease counts from the
/// moment its last successful renewal was *sent*; agents' silence from the last heartbeat that was answered.
final class LeaseBoard: Sendable {
  typealias Instant = ContinuousClock.Instant

  private struct State {
    var validUntil: Instant
    var position: CommitPosition
    var began: Instant
    var heard: [ClusterName: (session: SessionID, at: Instant)] = [:]
  }
  private let state: Mutex<State>
  private let lease: Duration
  /// A session that was silent for longer is not answered any more: its runs may have been replaced, and its agent must hear that in a
  /// welcome before its lease becomes fresh (invariant I1).
  private let silenceLimit: Duration
  private let clock = ContinuousClock()

  init(lease: Duration, silenceLimit: Duration, acquiredAt: Instant, position: CommitPosition) {
    self.lease = lease
    self.silenceLimit = silenceLimit
    state = Mutex(State(validUntil: acquiredAt.advanced(by: lease), position: position, began: clock.now))
  }

  /// A renewal sent at `sent` has committed.
  func renewed(sentAt sent: Instant) {
    state.withLock { $0.validUntil = max($0.validUntil, sent.advanced(by: lease)) }
  }

  func committed(_ position: CommitPosition) {
    state.withLock { $0.position = position }
  }

  var isValid: Bool { state.withLock { clock.now < $0.validUntil } }
  var position: CommitPosition { state.withLock { $0.position } }

  /// An agent's session began: its lease starts in full.
  func opened(_ cluster: ClusterName, _ session: SessionID) {
    state.withLock { $0.heard[cluster] = (session, clock.now) }
  }

  /// The session is over: nothing it still says is answered. When it was last heard stays known.
  func closed(_ cluster: ClusterName, _ session: SessionID) {
    state.withLock { state in
      guard state.heard[cluster]?.session == session else { return }
      state.heard[cluster]!.session = SessionID(0)
    }
  }

  /// Notes a heartbeat if it may be answered; returns the position to answer with, or nil.
  func heartbeat(_ cluster: ClusterName, _ session: SessionID) -> CommitPosition? {
    state.withLock { state in
      let now = clock.now
      guard now < state.validUntil, let heard = state.heard[cluster], heard.session == session,
        heard.at.duration(to: now) <= silenceLimit
      else { return nil }
      state.heard[cluster]!.at = now
      return state.position
    }
  }

  /// How long each of `clusters` has been silent; since this term began for one that was not heard in it.
  func silence(of clusters: some Sequence<ClusterName>) -> [ClusterName: Duration] {
    state.withLock { state in
      let now = clock.now
      return Dictionary(
        clusters.map { ($0, (state.heard[$0]?.at ?? state.began).duration(to: now)) }, uniquingKeysWith: { $1 })
    }
  }
}
