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
  let client: APIClient
  let name: String

  /// Calls `onChange` with the tree and the nodes that are news, first with what is there already. Returns only once the
  /// control plane itself says that the workflow has ended: a stream that ends proves nothing.
  func run(onChange: (WorkflowTree, [NodeDocument]) async throws -> Void) async throws -> WorkflowTree {
    let project = client.connection.project
    var detail: WorkflowDetail = try await client.get(client.workflow(project, name))
    let pinned = detail.summary.uid.isEmpty ? detail.summary.name : detail.summary.uid
    var tree = WorkflowTree(detail)
    try await onChange(tree, detail.nodes)
    var lastID = String(detail.commitSequence)
    while !tree.summary.phase.isTerminal {
      do {
        try await follow(pinned, &lastID, &tree, onChange)
      } catch let failure as CommandFailure where failure.code == .unreachable {
        Terminal.note("The connection was lost; coming back.")
      }
      if !tree.summary.phase.isTerminal { try await Task.sleep(for: .milliseconds(.random(in: 200...700))) }
      detail = try await client.get(client.workflow(project, pinned))
      let before = tree
      tree = WorkflowTree(detail)
      let news = detail.nodes.filter { before.nodes[$0.id]?.phase != $0.phase }
      if !news.isEmpty || tree.summary != before.summary { try await onChange(tree, news) }
      lastID = String(detail.commitSequence)
    }
    return tree
  }

  private func follow(
    _ workflow: String, _ lastID: inout String, _ tree: inout WorkflowTree,
    _ onChange: (WorkflowTree, [NodeDocument]) async throws -> Void
  ) async throws {
    let request = APIClient.Request(
      path: client.workflow(client.connection.project, workflow, "events"),
      headers: [("Accept", "text/event-stream"), ("Last-Event-ID", lastID)])
    let response = try await client.response(request)
    var parser = ServerSentEventParser()
    do {
      for try await chunk in response.body {
        for event in try parser.append(chunk.readableBytesView) {
          if event.event == "end" { return }
          guard event.event == "update" else { continue }
          let change = try JSONDecoder().decode(WatchDocument.self, from: Data(event.data.utf8))
          if let id = event.id { lastID = id }
          try await onChange(tree, tree.apply(change))
          if tree.summary.phase.isTerminal { return }
        }
      }
    } catch let error as CommandFailure { throw error } catch is CancellationError { throw CancellationError() } catch {
      if Task.isCancelled { throw CancellationError() }
      throw client.unreachable(error)
    }
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
  static func run(_ client: APIClient, _ name: String, draws: Bool, prints: Bool) async throws -> WorkflowTree {
    let terminal = Terminal.standardOutput()
    var screen = TreeScreen(terminal: terminal)
    return try await WorkflowFollower(client: client, name: name).run { tree, news in
      if draws, terminal.isTerminal {
        Terminal.write(screen.frame(tree, now: Display.now))
      } else if prints {
        for node in news where node.type == "Pod" || node.phase.isTerminal {
          var line = "\(WireTime(Display.now))  \(node.phase.rawValue)  \(node.name)"
          if let run = node.run { line += "  \(run.cluster)" }
          if !node.message.isEmpty, node.phase != .succeeded { line += "  \(node.message.replacing("\n", with: " "))" }
          Terminal.line(Terminal.printable(line))
        }
      }
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
