internal import AsyncHTTPClient
internal import Dispatch
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#endif

/// Follows one workflow to its end through its event stream; a cut connection is taken up where it broke.
struct WorkflowFollower: Sendable {
  var client: APIClient
  let name: String

  /// Calls `onChange` with the tree and the nodes that are news, first with what is there already, until it answers false.
  /// Returns otherwise only once the control plane itself says that the workflow has ended: a stream that ends proves nothing.
  ///
  /// The first answer is asked for like any other; from then on the workflow is known to go on without us, so a control
  /// plane that is away is waited for (`RetryPolicy.patientAttemptsMax`).
  func run(onChange: (WorkflowTree, [NodeDocument]) async throws -> Bool) async throws -> WorkflowTree {
    var detail = try await client.detail(name)
    var patient = self
    patient.client.retry.attemptsMax = RetryPolicy.patientAttemptsMax
    do { return try await patient.run(from: &detail, onChange: onChange) } catch let failure as CommandFailure
      where failure.code == .unreachable
    {
      let name = detail.summary.name
      throw CommandFailure(
        .unreachable, "\(failure.message)\n\(name) goes on without us: `fubini watch \(name)` comes back to it.")
    }
  }

  private func run(
    from detail: inout WorkflowDetail, onChange: (WorkflowTree, [NodeDocument]) async throws -> Bool
  ) async throws -> WorkflowTree {
    let pinned = detail.summary.uid.isEmpty ? detail.summary.name : detail.summary.uid
    var tree = WorkflowTree(detail)
    guard try await onChange(tree, detail.nodes) else { return tree }
    var lastID: String?
    while !tree.summary.phase.isTerminal {
      do {
        guard try await follow(pinned, &lastID, &tree, onChange) else { return tree }
      } catch let failure as CommandFailure where failure.code == .unreachable {
        Terminal.note("The connection was lost; coming back.")
      }
      if !tree.summary.phase.isTerminal { try await Task.sleep(for: .milliseconds(.random(in: 200...700))) }
      detail = try await client.detail(pinned)
      let before = tree
      tree = WorkflowTree(detail)
      let news = detail.nodes.filter { WorkflowTree.isNews($0, after: before.nodes[$0.id]) }
      if !news.isEmpty || tree.summary != before.summary {
        guard try await onChange(tree, news) else { return tree }
      }
    }
    return tree
  }

  /// - Returns: whether to go on, as `onChange` says.
  private func follow(
    _ workflow: String, _ lastID: inout String?, _ tree: inout WorkflowTree,
    _ onChange: (WorkflowTree, [NodeDocument]) async throws -> Bool
  ) async throws -> Bool {
    let request = APIClient.Request(
      path: client.workflow(client.connection.project, workflow, "events"),
      headers: [("Accept", "text/event-stream")] + (lastID.map { [("Last-Event-ID", $0)] } ?? []))
    let response = try await client.response(request)
    var parser = ServerSentEventParser()
    do {
      for try await chunk in response.body {
        for event in try parser.append(chunk.readableBytesView) {
          if event.event == "end" { return true }
          guard event.event == "update" else { continue }
          let change = try JSONDecoder().decode(WatchDocument.self, from: Data(event.data.utf8))
          if let id = event.id { lastID = id }
          let news = tree.apply(change)
          guard try await onChange(tree, news) else { return false }
          if tree.summary.phase.isTerminal { return true }
        }
      }
    } catch let error as CommandFailure { throw error } catch is CancellationError { throw CancellationError() } catch {
      if Task.isCancelled { throw CancellationError() }
      if error is DecodingError || error is ServerSentEventParser.TooLarge { throw client.incomprehensible(error) }
      throw client.unreachable(error)
    }
    return true
  }
}

/// Runs `body` until it ends or a person presses Ctrl-C.
///
/// - Returns: nil after Ctrl-C.
func untilInterrupted<Result: Sendable>(_ body: @escaping @Sendable () async throws -> Result) async throws -> Result? {
  signal(SIGINT, SIG_IGN)
  let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
  let task = Task { try await body() }
  source.setEventHandler { task.cancel() }
  source.resume()
  defer {
    source.cancel()
    signal(SIGINT, SIG_DFL)
  }
  do { return try await task.value } catch {
    if task.isCancelled { return nil }
    throw error
  }
}

/// What `watch`, `submit --watch` and `submit --wait` have in common.
enum Watching {
  /// Shows the tree until the workflow ends: drawn in place on a terminal, one line a change elsewhere.
  static func run(
    _ client: APIClient, _ name: String, onChange: (WorkflowTree) -> Void = { _ in }
  ) async throws -> WorkflowTree {
    let terminal = Terminal.standardOutput()
    var screen = TreeScreen(terminal: terminal)
    return try await WorkflowFollower(client: client, name: name).run { tree, news in
      onChange(tree)
      if terminal.isTerminal {
        Terminal.write(screen.frame(tree, now: Display.now))
      } else {
        for line in lines(news, now: Display.now) { Terminal.line(line) }
      }
      return true
    }
  }

  static func lines(_ news: [NodeDocument], now: Timestamp) -> [String] {
    news.filter { $0.type == "Pod" || $0.phase.isTerminal }.map { node in
      var line = "\(WireTime(now))  \(node.phase.rawValue)  \(node.name)"
      if let run = node.run { line += "  \(run.cluster)" }
      if !node.message.isEmpty, node.phase != .succeeded { line += "  \(node.message.replacing("\n", with: " "))" }
      return Terminal.printable(line)
    }
  }

  /// Ends the process with 6 unless the workflow succeeded.
  static func conclude(_ tree: WorkflowTree, quietly: Bool = false) throws {
    let summary = tree.summary
    if !quietly {
      let time = Display.span(summary.startedAt, summary.finishedAt, now: Display.now)
      Terminal.note("\(summary.name): \(summary.phase.rawValue) after \(time) \(Terminal.printable(summary.message))")
    }
    guard summary.phase == .succeeded else {
      throw CommandFailure(
        .workflowFailed, "Look closer with `fubini get \(summary.name)` and `fubini logs \(summary.name)`.")
    }
  }

  static func detached(_ name: String) {
    Terminal.note(
      "\nDetached; \(name) goes on. Come back with `fubini watch \(name)`; end it with `fubini stop \(name)`.")
  }
}
