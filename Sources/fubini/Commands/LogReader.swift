internal import AsyncHTTPClient
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore

/// Prints logs of nodes, whole lines at a time when several are shown.
struct LogReader: Sendable {
  let client: APIClient
  /// The UID, so that a workflow of the same name that comes later is not mixed in.
  let workflow: String

  /// Prints what is there of one run from `offset`; with `follow` until the run's log has ended.
  ///
  /// - Returns: the offset after the last byte.
  func print(node: NodeDocument, run: String, follow: Bool, from start: Int64, prefix: String) async throws -> Int64 {
    var offset = start
    var rest = ""
    while true {
      let request = APIClient.Request(
        path: client.workflow(client.connection.project, workflow, "logs"),
        query: [("node", String(node.id)), ("run", run), ("offset", String(offset))]
          + (follow ? [("follow", "true")] : []),
        headers: [("Accept", "text/event-stream")])
      let response = try await client.response(request)
      var parser = ServerSentEventParser()
      do {
        for try await chunk in response.body {
          for event in try parser.append(chunk.readableBytesView) {
            if event.event == "end" {
              let end = try JSONDecoder().decode(StreamEndDocument.self, from: Data(event.data.utf8))
              guard follow, end.reason == "shutdown" || end.reason == "slow" else {
                if !rest.isEmpty { Terminal.line(prefix + rest) }
                return offset
              }
              break
            }
            guard event.event == "log" else { continue }
            let document = try JSONDecoder().decode(LogDocument.self, from: Data(event.data.utf8))
            offset = event.id.flatMap { Int64($0) } ?? document.offset + Int64(document.content.utf8.count)
            rest = Self.write(rest + document.content, prefix: prefix)
          }
        }
      } catch is CancellationError { throw CancellationError() } catch {
        if Task.isCancelled { throw CancellationError() }
        guard follow else { throw client.unreachable(error) }
      }
      if !follow {
        if !rest.isEmpty { Terminal.line(prefix + rest) }
        return offset
      }
      try await Task.sleep(for: .milliseconds(.random(in: 200...700)))
    }
  }

  /// Writes whole lines, and answers with the incomplete one. Without a prefix every byte is written as it comes.
  static func write(_ text: String, prefix: String) -> String {
    guard !prefix.isEmpty else {
      Terminal.write(text)
      return ""
    }
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let rest = lines.removeLast()
    Terminal.write(lines.map { "\(prefix)\($0)\n" }.joined())
    return String(rest)
  }

  /// Prints the logs of the tasks that `selects`, waiting for those that are pending when following.
  func run(follow: Bool, prefixes: Bool, selects: (NodeDocument) -> Bool) async throws {
    var seen: [String: Int64] = [:]
    while true {
      let detail: WorkflowDetail = try await client.get(client.workflow(client.connection.project, workflow))
      let tasks = detail.nodes.filter { $0.type == "Pod" && selects($0) }
      for node in tasks {
        guard let run = node.run, seen[run.id] == nil || !node.phase.isTerminal else { continue }
        // One follower for one node; several are read in turn, so that their lines keep together.
        let lasting = follow && tasks.count == 1
        let prefix = prefixes ? "\(Terminal.printable(node.displayName)): " : ""
        seen[run.id] = try await print(
          node: node, run: run.id, follow: lasting, from: seen[run.id] ?? 0, prefix: prefix)
        // A run that ended between the two reads may have said more.
        if !lasting, !node.phase.isTerminal { continue }
      }
      let isOver =
        detail.summary.phase.isTerminal || (!tasks.isEmpty && !prefixes && tasks.allSatisfy { $0.phase.isTerminal })
      if !follow || isOver { return }
      try await Task.sleep(for: .milliseconds(500))
    }
  }
}
