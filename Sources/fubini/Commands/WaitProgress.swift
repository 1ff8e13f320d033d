internal import FederationAPI
internal import FederationModel
internal import Synchronization

/// What is said while `submit --wait` waits: a status line in place on a terminal, and elsewhere each new reason why nothing of
/// the workflow runs (invariant I10).
final class WaitProgress: Sendable {
  private struct State {
    var summary: WorkflowSummary?
    var reason: String?
    var isDrawn = false
  }

  private let state = Mutex(State())
  let terminal: Terminal
  /// Nothing is said; what cannot run anywhere is still given up on.
  let isQuiet: Bool
  /// A status line in place; without it, reasons are lines on a terminal as well, because something else is printed there.
  let drawsStatus: Bool
  /// How long a task that every cluster rejects for good is waited for: an operator may be about to add a cluster or a label.
  let unplaceablePatience: Duration
  /// Between two questions what a workflow waits for: this at first, then more and more up to `pauseMax`.
  let pauseMin: Duration
  let pauseMax = Duration.seconds(15)
  let note: @Sendable (String) -> Void

  init(
    terminal: Terminal = .standardOutput(), isQuiet: Bool, drawsStatus: Bool = true,
    unplaceablePatience: Duration = .seconds(60),
    pauseMin: Duration = .seconds(2), note: @escaping @Sendable (String) -> Void = { Terminal.note($0) }
  ) {
    self.terminal = terminal
    self.isQuiet = isQuiet
    self.drawsStatus = drawsStatus
    self.unplaceablePatience = unplaceablePatience
    self.pauseMin = pauseMin
    self.note = note
  }

  /// Follows a workflow to its end.
  ///
  /// - Throws: `.unplaceable`, when nothing of it runs and no cluster will ever take what is next; `.budgetDenied`, when one would
  ///   that the project's budget does not hold.
  func wait(_ client: APIClient, _ workflow: String) async throws -> WorkflowTree {
    try await wait(client, workflow) { note in
      try await WorkflowFollower(client: client, name: workflow).run { tree, _ in
        note(tree)
        return true
      }
    }
  }

  /// The same beside something that follows it already and hands on what it sees.
  func wait(
    _ client: APIClient, _ workflow: String,
    following: @escaping @Sendable (@escaping @Sendable (WorkflowTree) -> Void) async throws -> WorkflowTree
  ) async throws -> WorkflowTree {
    try await withThrowingTaskGroup(of: WorkflowTree?.self) { group in
      defer {
        group.cancelAll()
        erase()
      }
      group.addTask {
        try await following { tree in self.state.withLock { $0.summary = tree.summary } }
      }
      group.addTask {
        try await self.tell(client, workflow)
        return nil
      }
      while let result = try await group.next() {
        if let tree = result { return tree }
      }
      throw CancellationError()
    }
  }

  private func tell(_ client: APIClient, _ workflow: String) async throws {
    var pause = pauseMin
    var nextQuestion = ContinuousClock.now + pause
    var unplaceableSince: ContinuousClock.Instant?
    while true {
      draw()
      try await Task.sleep(for: min(.seconds(1), pauseMin))
      guard ContinuousClock.now >= nextQuestion else { continue }
      guard let summary = state.withLock({ $0.summary }), Self.isStill(summary) else {
        (pause, unplaceableSince) = (pauseMin, nil)
        state.withLock { $0.reason = nil }
        nextQuestion = ContinuousClock.now + pause
        continue
      }
      // Where it cannot be asked, the follower beside this decides what that means.
      let path = client.workflow(client.connection.project, workflow, "explain")
      let answer: ExplanationDocument? = try? await client.get(path)
      if let answer, let node = answer.node {
        say("\(node) waits: \(answer.message ?? "no reason is known")")
        unplaceableSince = answer.unplaceable == true ? unplaceableSince ?? .now : nil
        if let since = unplaceableSince, ContinuousClock.now - since >= unplaceablePatience {
          throw Self.unplaceable(node, answer, summary.name)
        }
      }
      pause = min(pauseMax, pause * 2)
      nextQuestion = ContinuousClock.now + pause
    }
  }

  /// Nothing runs, and it has not ended.
  private static func isStill(_ summary: WorkflowSummary) -> Bool {
    !summary.phase.isTerminal && (summary.tasks[NodePhase.running.rawValue] ?? 0) == 0
  }

  private static func unplaceable(_ node: String, _ answer: ExplanationDocument, _ name: String) -> CommandFailure {
    let cause = "No cluster that has joined will take \(Terminal.printable(node))"
    let hope = answer.wantsMoney ? "waits for money" : "waits for one that will"
    return CommandFailure(
      answer.wantsMoney ? .budgetDenied : .unplaceable,
      """
      \(cause): \(Terminal.printable(answer.message ?? "")).
      \(name) \(hope): `fubini watch \(name)` comes back to it, `fubini stop \(name)` ends it.
      """)
  }

  private func say(_ reason: String) {
    let isNew = state.withLock { state in
      defer { state.reason = reason }
      return state.reason != reason
    }
    if isNew, !isQuiet, !drawsStatus || !terminal.isTerminal {
      note(Terminal.printable(reason).replacing("\n", with: " "))
    }
  }

  private func draw() {
    guard terminal.isTerminal, drawsStatus, !isQuiet else { return }
    let (summary, reason) = state.withLock { state in
      state.isDrawn = true
      return (state.summary, state.reason)
    }
    guard let summary else { return }
    var line = "\(summary.name)  \(summary.isSuspended ? "Suspended" : summary.phase.rawValue)"
    line += "  \(Display.progress(summary.tasks)) tasks  \(Display.span(summary.startedAt, nil, now: Display.now))"
    if let reason { line += "  \(reason)" }
    let shown = Terminal.printable(line).replacing("\n", with: " ").prefix(max(10, terminal.columns - 1))
    Terminal.write("\r\u{1b}[K" + shown, to: 2)
  }

  private func erase() {
    let wasDrawn = state.withLock { state in
      defer { state.isDrawn = false }
      return state.isDrawn
    }
    if wasDrawn { Terminal.write("\r\u{1b}[K", to: 2) }
  }
}
