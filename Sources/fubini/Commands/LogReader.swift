internal import AsyncHTTPClient
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore

/// The log of one run, as it is read.
struct RunLog: Hashable, Sendable {
  var node: Int32
  var run: String
  /// In front of each line; empty when only one log is shown.
  var prefix: String
}

/// Prints logs of a workflow's runs: whole lines, from each run's first byte to the end that the control plane itself names.
///
/// Every run is followed by a stream of its own, because a run that is read now and then may end between two reads with
/// something left to say. A retried task has several runs, and each is shown.
struct LogReader: Sendable {
  let client: APIClient
  /// The UID, so that a workflow of the same name that comes later is not mixed in.
  let workflow: String
  /// Where the bytes go, as the program wrote them; always whole lines when there is a prefix.
  var write: @Sendable ([UInt8]) -> Void = { Terminal.write($0) }
  var note: @Sendable (String) -> Void = { Terminal.note($0) }
  /// Streams that are open at once; further runs are followed in the order of their start, each from its first byte.
  var streamsMax = 32
  /// How long logs that are still on their way are waited for once the workflow itself has ended.
  var drainTimeout = Duration.seconds(20)
  /// Between two attempts at a stream that was cut.
  var pauseMax = Duration.milliseconds(700)

  /// Of one line; a longer one is written in pieces.
  static let lineSizeMax = 1 << 20

  /// Prints what there is of the logs of the tasks that `selects`, in the order of their creation.
  func printAll(_ detail: WorkflowDetail, prefixes: Bool, selects: (NodeDocument, WorkflowTree) -> Bool) async throws {
    let tree = WorkflowTree(detail)
    for node in tree.tasks where selects(node, tree) {
      guard let log = Self.log(of: node, prefixes: prefixes) else { continue }
      try await read(log, follow: false)
    }
  }

  /// Prints the logs of the tasks that `selects` as they are written, waiting for those that are pending, until these tasks
  /// have ended (`endsWithNodes`) or the workflow has. `onChange` sees the tree at every change.
  ///
  /// - Returns: the tree as it was last.
  @discardableResult func follow(
    prefixes: Bool, endsWithNodes: Bool, selects: @escaping @Sendable (NodeDocument, WorkflowTree) -> Bool,
    onChange: @escaping @Sendable (WorkflowTree, [NodeDocument]) -> Void = { _, _ in }
  ) async throws -> WorkflowTree {
    let (logs, feed) = AsyncStream.makeStream(of: RunLog.self)
    return try await withThrowingTaskGroup(of: WorkflowTree?.self) { group in
      group.addTask {
        // Ends the other task too, whatever happens.
        defer { feed.finish() }
        var seen: Set<String> = []
        return try await WorkflowFollower(client: client, name: workflow).run { tree, news in
          for node in news.sorted(by: { $0.id < $1.id }) where node.type == "Pod" && selects(node, tree) {
            guard let log = Self.log(of: node, prefixes: prefixes), seen.insert(log.run).inserted else { continue }
            feed.yield(log)
          }
          onChange(tree, news)
          guard endsWithNodes else { return true }
          let selected = tree.nodes.values.filter { selects($0, tree) }
          return selected.isEmpty || selected.contains { !$0.phase.isTerminal }
        }
      }
      group.addTask {
        try await drain(logs)
        return nil
      }
      var last: WorkflowTree?
      while let tree = try await group.next() { last = tree ?? last }
      guard let last else { throw CancellationError() }
      return last
    }
  }

  /// Follows each log that is fed, at most `streamsMax` at once, then waits for those that are left.
  private func drain(_ logs: AsyncStream<RunLog>) async throws {
    enum Event { case done, late }
    try await withThrowingTaskGroup(of: Event.self) { group in
      var active = 0
      for await log in logs {
        if active >= streamsMax {
          _ = try await group.next()
          active -= 1
        }
        active += 1
        group.addTask {
          try await read(log, follow: true)
          return .done
        }
      }
      guard active > 0 else { return }
      group.addTask {
        try await Task.sleep(for: drainTimeout)
        return .late
      }
      while active > 0, let event = try await group.next() {
        guard event == .done else {
          note(
            "\(active) logs are not complete yet: their clusters have not sent the rest. `fubini logs` shows it later.")
          break
        }
        active -= 1
      }
      group.cancelAll()
    }
  }

  private static func log(of node: NodeDocument, prefixes: Bool) -> RunLog? {
    node.run.map {
      RunLog(node: node.id, run: $0.id, prefix: prefixes ? "\(Terminal.printable(node.displayName)): " : "")
    }
  }

  /// Prints one log from its first byte: what is there, or with `follow` until it has ended. A cut stream is taken up where
  /// it broke.
  func read(_ log: RunLog, follow: Bool) async throws {
    var offset: Int64 = 0
    var lines = LineAssembler(prefix: log.prefix)
    defer { lines.finish().map(write) }
    while true {
      let response: HTTPClientResponse
      do {
        response = try await client.response(request(log, from: offset, follow: follow))
      } catch let failure as CommandFailure where follow && failure.code == .unreachable {
        // Whoever follows the workflow beside this says so, and gives up when it stays that way.
        continue
      }
      var parser = ServerSentEventParser()
      do {
        for try await chunk in response.body {
          for event in try parser.append(chunk.readableBytesView) {
            if event.event == "end" {
              let end = try JSONDecoder().decode(StreamEndDocument.self, from: Data(event.data.utf8))
              if follow, end.reason == "shutdown" || end.reason == "slow" { break }
              return
            }
            guard event.event == "log" else { continue }
            let document = try JSONDecoder().decode(LogDocument.self, from: Data(event.data.utf8))
            let bytes =
              document.base64.flatMap { Data(base64Encoded: $0) }.map { Array($0) } ?? Array(document.content.utf8)
            offset = event.id.flatMap { Int64($0) } ?? document.offset + Int64(bytes.count)
            if let whole = lines.append(bytes) { write(whole) }
          }
        }
      } catch {
        if error is CancellationError || Task.isCancelled { throw CancellationError() }
        if error is DecodingError || error is ServerSentEventParser.TooLarge { throw client.incomprehensible(error) }
        guard follow else { throw client.unreachable(error) }
      }
      guard follow else { return }
      try await Task.sleep(for: pauseMax * .random(in: 0.3...1))
    }
  }

  private func request(_ log: RunLog, from offset: Int64, follow: Bool) -> APIClient.Request {
    APIClient.Request(
      path: client.workflow(client.connection.project, workflow, "logs"),
      query: [("node", String(log.node)), ("run", log.run), ("offset", String(offset))]
        + (follow ? [("follow", "true")] : []),
      headers: [("Accept", "text/event-stream")])
  }
}

/// Makes whole lines of the pieces of one log, so that lines of several logs never mix. Without a prefix there is one log,
/// and its bytes are passed on as they come.
struct LineAssembler: Sendable {
  let prefix: String
  private var rest: [UInt8] = []
  init(prefix: String) { self.prefix = prefix }

  /// What can be written now; nil when that is nothing.
  mutating func append(_ bytes: [UInt8]) -> [UInt8]? {
    guard !bytes.isEmpty else { return nil }
    guard !prefix.isEmpty else { return bytes }
    rest += bytes
    var whole: [UInt8] = []
    var start = rest.startIndex
    while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
      whole += prefix.utf8
      whole += rest[start...end]
      start = end + 1
    }
    rest.removeSubrange(..<start)
    if rest.count > LogReader.lineSizeMax, let piece = finish() { whole += piece }
    return whole.isEmpty ? nil : whole
  }

  /// The line that the log's end left without its own.
  mutating func finish() -> [UInt8]? {
    defer { rest = [] }
    return rest.isEmpty ? nil : Array(prefix.utf8) + rest + [UInt8(ascii: "\n")]
  }
}
