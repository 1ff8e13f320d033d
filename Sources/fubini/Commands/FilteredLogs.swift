internal import ArgumentParser
internal import AsyncHTTPClient
internal import FoundationEssentials
internal import NIOCore

/// Which lines of a workflow's logs are wanted, as `argo logs` says it.
struct LogFilterOptions: ParsableArguments {
  @Option(help: "Only lines in which this is found (RE2's syntax).") var grep: String?
  @Option(help: "Of each task, the last so many lines.") var tail: Int?
  @Option(name: [.customShort("l"), .customLong("selector")], help: "Only tasks whose pods would have these labels.")
  var selector: String?
  @Flag(help: "What the run before the newest one wrote.") var previous = false
  @Option(help: "Only lines that came in the last so many seconds.") var since: Int?
  @Option(help: "Only lines that came since this moment: 2026-01-31T08:00:00Z.") var sinceTime: String?
  @Flag(help: "Begin each line with when it came.") var timestamps = false

  var isEmpty: Bool {
    grep == nil && tail == nil && selector == nil && !previous && since == nil && sinceTime == nil && !timestamps
  }

  func validate() throws {
    guard tail.map({ $0 >= 0 }) ?? true else { throw ValidationError("--tail is a number from 0.") }
    guard since.map({ $0 > 0 }) ?? true else { throw ValidationError("--since is a number of seconds from 1.") }
  }
}

/// The lines of a workflow that the server filters, over the route that Argo's clients use.
struct FilteredLogs {
  let client: APIClient
  let filter: LogFilterOptions
  let isFollowing: Bool

  private struct Message: Decodable {
    struct Line: Decodable {
      var content: String
      var podName: String
    }
    var result: Line
  }

  /// - Parameter node: one task alone, whose lines then have no prefix.
  func request(_ workflow: String, node: String?) -> APIClient.Request {
    var query: [(String, String)] = []
    if let node { query.append(("podName", node)) }
    if let grep = filter.grep { query.append(("grep", grep)) }
    if let selector = filter.selector { query.append(("selector", selector)) }
    if let tail = filter.tail { query.append(("logOptions.tailLines", String(tail))) }
    if let since = filter.since { query.append(("logOptions.sinceSeconds", String(since))) }
    if let moment = filter.sinceTime { query.append(("logOptions.sinceTime", moment)) }
    if filter.timestamps { query.append(("logOptions.timestamps", "true")) }
    if filter.previous { query.append(("logOptions.previous", "true")) }
    if isFollowing { query.append(("logOptions.follow", "true")) }
    return APIClient.Request(
      path: ["api", "v1", "workflows", client.connection.project, workflow, "log"], query: query,
      headers: [("Accept", "text/event-stream")])
  }

  /// Prints them until they end.
  func print(_ workflow: String, node: String?, _ write: (String) -> Void = { Terminal.line($0) }) async throws {
    let response = try await client.response(request(workflow, node: node))
    var parser = ServerSentEventParser()
    do {
      for try await chunk in response.body {
        for event in try parser.append(chunk.readableBytesView) {
          let line = try JSONDecoder().decode(Message.self, from: Data(event.data.utf8)).result
          write(node == nil ? "\(Terminal.printable(line.podName)): \(line.content)" : line.content)
        }
      }
    } catch {
      if error is CancellationError || Task.isCancelled { throw CancellationError() }
      if error is DecodingError || error is ServerSentEventParser.TooLarge { throw client.incomprehensible(error) }
      throw client.unreachable(error)
    }
  }
}
