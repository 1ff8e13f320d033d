import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import WorkflowCore

/// The place of one watcher in a workflow's changes: what it has been told, small whatever the workflow's size.
///
/// Rows remember the commit that last changed them, so the place is that of a commit (and of an event), and a watcher that comes
/// back names it at any replica. Only the reasons of nodes that wait change without a commit; these are remembered.
struct WorkflowWatch: Sendable {
  /// Everything that commits up to this one changed was told; -1: nothing was.
  private(set) var commit: Int64 = -1
  /// The last event of the history that was told.
  private(set) var event: Int64 = 0
  private var reasons: [NodeID: String] = [:]
  private var summary: WorkflowSummary?

  /// A watcher that has been told nothing.
  init() {}

  /// A watcher that comes back with the id of the last message that it got; nil for an id that is none of ours, or is ahead of
  /// the database (which was restored).
  init?(lastEventID: String, position: Int64) {
    let parts = lastEventID.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, let commit = Int64(parts[0]), let event = Int64(parts[1]), commit >= 0, event >= 0,
      commit <= position
    else { return nil }
    self.commit = commit
    self.event = event
  }

  var id: String { "\(commit)-\(event)" }

  /// Notes the reasons of the nodes that wait; returns those of which the watcher knows another one, or none.
  mutating func news(reasons now: [NodeID: String]) -> [NodeID] {
    defer { reasons = now }
    return now.keys.filter { reasons[$0] != now[$0] } + reasons.keys.filter { now[$0] == nil }
  }

  /// Whether there are reasons that may change.
  var isWaiting: Bool { !reasons.isEmpty }

  /// Whether the summary is news.
  func isNews(_ summary: WorkflowSummary) -> Bool { summary != self.summary }

  /// The watcher has been told everything up to here.
  mutating func reached(commit: Int64, event: Int64, _ summary: WorkflowSummary) {
    self.commit = commit
    self.event = event
    self.summary = summary
  }
}

extension APIServer {
  /// Nodes in one message: a workflow of many thousands is told in several.
  private static let nodesPerMessage = 1000
  /// The reasons of what waits are asked for no more often than this while nothing is committed.
  private static let reasonsInterval = Duration.seconds(1)

  /// Tells what the watcher does not know; returns the workflow's phase, or nil when the workflow is gone.
  @concurrent
  private func tell(
    _ watch: inout WorkflowWatch, of uid: String, to events: inout EventStreamWriter
  ) async throws -> NodePhase? {
    guard let changes = try await services.store.changes(of: uid, after: watch.commit, event: watch.event) else {
      return nil
    }
    let summary = WorkflowSummary(changes.head, tasks: changes.tasks)
    let reasons = await reasons(changes.head, changes.waiting)
    var rest = Set(changes.changed).union(watch.news(reasons: reasons)).sorted { $0.ordinal < $1.ordinal }[...]
    guard !rest.isEmpty || !changes.events.isEmpty || watch.isNews(summary) else { return summary.phase }
    watch.reached(commit: changes.commit, event: changes.events.last?.sequence ?? watch.event, summary)
    var told = changes.events.map { EventDocument($0.sequence, $0.row) }
    repeat {
      let portion = Array(rest.prefix(Self.nodesPerMessage))
      rest = rest.dropFirst(portion.count)
      let records = try await services.store.nodes(of: changes.head.id, numbered: portion)
      let nodes = try await nodesView(changes.head, records, reasons: reasons).documents
      // Only the last message moves the place: whoever gets less comes back to the place before.
      try await events.send(
        "update", id: rest.isEmpty ? watch.id : nil, WatchDocument(workflow: summary, nodes: nodes, events: told))
      told = []
    } while !rest.isEmpty
    return summary.phase
  }

  /// Everything once, then what changed; for a watcher whose connection broke (`Last-Event-ID`) what he may not have got. When
  /// that place is not known, a `resync` event comes first, and everything follows.
  ///
  /// A watcher reads at most ten times a second, and uses a small part of a core however large the workflow is.
  /// - Source: WHATWG HTML, section 9.2.3, "The `Last-Event-ID` header".
  func watch(_ uid: String, lastEventID: String?) -> EventStreamWriter.Body {
    { events in
      // Counted in here: a client that leaves before the body begins is never counted.
      try services.changes.enter()
      defer { services.changes.leave() }
      var watch = WorkflowWatch()
      if let lastEventID {
        let position = try await services.store.position().sequence
        if let known = WorkflowWatch(lastEventID: lastEventID, position: position) {
          watch = known
        } else {
          try await events.send(
            "resync", StreamResyncDocument(reason: "the place that Last-Event-ID names is not known"))
        }
      }
      var quietSince = ContinuousClock.now
      while true {
        let version = services.changes.version
        let began = ContinuousClock.now
        let before = watch.id
        guard let phase = try await tell(&watch, of: uid, to: &events) else { return try await events.end("deleted") }
        if services.changes.isClosed { return try await events.end("shutdown") }
        if watch.id != before { quietSince = .now }
        if phase.isTerminal {
          // Its history may be longer than one message.
          if watch.id == before { return try await events.end("finished") }
          continue
        }
        // A look at a large workflow takes longer, and is repeated less often.
        try await Task.sleep(for: max(.milliseconds(100), (ContinuousClock.now - began) * 19))
        await services.changes.wait(after: version, timeout: watch.isWaiting ? Self.reasonsInterval : .seconds(15))
        if ContinuousClock.now - quietSince >= .seconds(15) {
          try await events.comment()
          quietSince = .now
        }
      }
    }
  }
}
