import FederationAPI
import FederationModel
import Foundation
import Synchronization

@testable import fubini

/// Documents as a control plane would send them, with only what matters told.
enum Documents {
  static func summary(_ phase: NodePhase, message: String = "", tasks: [String: Int] = [:]) -> WorkflowSummary {
    WorkflowSummary(
      project: "default", name: "wf", uid: "u-1", phase: phase, message: message, labels: [:], isSuspended: false,
      createdAt: moment(0), createdBy: "me", startedAt: moment(0), finishedAt: phase.isTerminal ? moment(60) : nil,
      tasks: tasks)
  }

  /// Seconds after the first of March 2026.
  static func moment(_ seconds: Int64) -> WireTime {
    WireTime(Timestamp(milliseconds: 1_772_323_200_000 + seconds * 1000))
  }

  static func node(
    _ id: Int32, _ name: String, type: String = "Pod", _ phase: NodePhase, parent: Int32? = 0, run: String? = nil,
    message: String = ""
  ) -> NodeDocument {
    NodeDocument(
      id: id, name: "wf.\(name)", displayName: name, type: type, templateName: "t", phase: phase, message: message,
      parent: parent, boundary: nil, children: [], startedAt: phase == .pending ? nil : moment(0),
      finishedAt: phase.isTerminal ? moment(5) : nil, exitCode: nil, inputs: [], outputs: OutputsDocument(),
      run: run.map(Self.run))
  }

  static func run(_ id: String) -> RunDocument {
    RunDocument(
      id: id, epoch: 1, cluster: "edge", phase: "Running", message: "", boundAt: moment(0), dispatchedAt: nil,
      startedAt: moment(0), finishedAt: nil, exitCode: nil, runsAs: "host", bytesIn: 0, bytesOut: 0, stagingSeconds: 0,
      wallSeconds: 0, charge: nil)
  }

  static func detail(_ phase: NodePhase, _ nodes: [NodeDocument], truncated: Bool = false) -> WorkflowDetail {
    WorkflowDetail(
      summary: summary(phase), document: .object([:]), nodes: nodes, nodesTruncated: truncated,
      outputs: OutputsDocument(), cost: [], bytesMoved: 0, commitSequence: 7)
  }

  static func json(_ document: some Encodable) -> String {
    // Encoding values of ours cannot fail.
    String(decoding: try! JSONEncoder().encode(document), as: UTF8.self)
  }

  static func update(_ phase: NodePhase, _ nodes: [NodeDocument], id: Int = 8) -> String {
    event("update", WatchDocument(workflow: summary(phase), nodes: nodes, events: []), id: id)
  }

  static func log(_ text: String, offset: Int64) -> String {
    event("log", LogDocument(offset: offset, content: text), id: Int(offset) + text.utf8.count)
  }

  static func end(_ reason: String = "finished") -> String { event("end", StreamEndDocument(reason: reason), id: nil) }

  private static func event(_ name: String, _ document: some Encodable, id: Int?) -> String {
    "event: \(name)\n" + (id.map { "id: \($0)\n" } ?? "") + "data: \(json(document))\n\n"
  }
}

/// Collects what a command would print.
final class Output: Sendable {
  private let pieces = Mutex<[String]>([])
  func append(_ text: String) { pieces.withLock { $0.append(text) } }
  var text: String { pieces.withLock { $0.joined() } }
  var lines: [String] { text.split(separator: "\n").map(String.init) }
}

/// A directory that is removed when the body ends.
func withTemporaryDirectory<Result>(_ body: (String) async throws -> Result) async throws -> Result {
  let path = "/tmp/fubini-cli-\(ProcessInfo.processInfo.processIdentifier)-\(UInt32.random(in: 0 ... .max))"
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try await body(path)
}

/// Polls until `condition` holds; false when it does not in time.
func eventually(timeout: Duration = .seconds(20), _ condition: () -> Bool) async -> Bool {
  let deadline = ContinuousClock.now + timeout
  while !condition() {
    guard ContinuousClock.now < deadline else { return false }
    try? await Task.sleep(for: .milliseconds(5))
  }
  return true
}

/// A client of `url` that does not wait long between attempts.
func withClient<Result>(_ url: String, token: String? = "secret", _ body: (APIClient) async throws -> Result)
  async throws -> Result
{
  try await APIClient.with(Connection(url: url, token: token, project: "default")) { client in
    var client = client
    client.retry.base = .milliseconds(2)
    return try await body(client)
  }
}
