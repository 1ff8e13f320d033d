import FederationAPI
import FederationModel
import SwiftProtobuf
import Synchronization

/// The agent sessions that are open in this process: what each speaks, how far its clock is off, and the way to it.
final class SessionRegistry: Sendable {
  struct View: Sendable, Hashable {
    var agreement: AgentProtocol.Agreement
    /// The agent's wall clock minus ours, the time on the way included; nil until it has said.
    var clockSkew: Duration?
  }

  private struct Entry {
    var cluster: ClusterName
    var outbox: SessionOutbox
    var view: View
    var asked: ContinuousClock.Instant?
    /// Names the agent's state: an agent that starts again has the same one.
    var journal: String
    var heardAt: ContinuousClock.Instant
  }

  private struct State {
    var entries: [Int: Entry] = [:]
    var last = 0
  }
  private let state = Mutex(State())
  /// The protocol versions that this process speaks.
  let protocols: ClosedRange<UInt32>
  /// An agent that was asked for something is given so long before it is asked again.
  static let patience = Duration.seconds(15)

  init(protocols: ClosedRange<UInt32> = AgentProtocol.versions) { self.protocols = protocols }

  /// How long a session that says nothing keeps another agent away: longer than both sides take to give up a connection.
  static let silenceMax = Duration.seconds(20)

  /// Admits a session. One agent acts per cluster: another one, which has a journal of its own, must wait until the session of
  /// the first has ended. The same agent, started or connected anew, takes the place of its earlier session at once.
  ///
  /// - Throws: `.unavailable`, so that the other one tries again and takes over by itself.
  func open(
    _ cluster: ClusterName, _ agreement: AgentProtocol.Agreement, _ outbox: SessionOutbox, journal: String,
    at now: ContinuousClock.Instant
  ) throws(FederationError) -> Int {
    try state.withLock { state throws(FederationError) in
      let other = state.entries.values.first {
        $0.cluster == cluster && $0.journal != journal && now - $0.heardAt < Self.silenceMax
      }
      if other != nil {
        throw FederationError(
          .unavailable,
          "another agent acts for cluster \(cluster) and is connected now. Two with one identity would run its work twice, so "
            + "this one waits and takes over when that one has ended",
          retryAfter: .seconds(5))
      }
      state.last += 1
      state.entries[state.last] = Entry(
        cluster: cluster, outbox: outbox, view: View(agreement: agreement), journal: journal, heardAt: now)
      return state.last
    }
  }

  func close(_ session: Int) { state.withLock { _ = $0.entries.removeValue(forKey: session) } }

  func heard(_ session: Int, at now: ContinuousClock.Instant) {
    state.withLock { $0.entries[session]?.heardAt = now }
  }

  func noteClock(_ session: Int, skew: Duration) { state.withLock { $0.entries[session]?.view.clockSkew = skew } }

  /// The newest session of a cluster; nil when none is open here.
  func view(of cluster: ClusterName) -> View? {
    state.withLock { $0.entries.filter { $0.value.cluster == cluster }.max { $0.key < $1.key }?.value.view }
  }

  /// Asks the agents of these clusters to renew their certificates now; those that were asked a moment ago are left alone.
  ///
  /// - Returns: how many were asked.
  func rotate(_ clusters: Set<ClusterName>, at now: ContinuousClock.Instant) -> Int {
    let outboxes: [SessionOutbox] = state.withLock { state in
      var found: [SessionOutbox] = []
      for (id, entry) in state.entries where clusters.contains(entry.cluster) {
        if let asked = entry.asked, now - asked < Self.patience { continue }
        state.entries[id]?.asked = now
        found.append(entry.outbox)
      }
      return found
    }
    for outbox in outboxes { outbox.send(.with { $0.rotate = .init() }) }
    return outboxes.count
  }

  /// A change of the CA is news to everybody: whoever was asked for the one before is asked again.
  func forgetAsking() {
    state.withLock { state in for id in state.entries.keys { state.entries[id]?.asked = nil } }
  }
}
