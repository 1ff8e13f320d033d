internal import FederationModel

/// What `fubini-agent status` shows. It holds no secret: it is printed and pasted.
struct StatusReport: Sendable, Codable, Equatable {
  struct Run: Sendable, Codable, Equatable {
    var run: String
    var phase: String
    var note: String
  }

  var version: String
  var cluster: String
  var session: String
  var problem: String?
  var isDraining: Bool
  var isAdopting: Bool
  var certificateExpiresAtMilliseconds: Int64
  var runCount: Int
  var runs: [Run]
  var queueDepth: Int
  var lastSequence: UInt64
  var acknowledgedSequence: UInt64
  var artifactCacheBytes: Int64
  /// This machine's wall clock minus the control plane's; nil until a control plane has said.
  var clockSkewMilliseconds: Int64?
  var notices: [String]

  /// Plain lines for people.
  func text(now: Timestamp) -> String {
    let left = (certificateExpiresAtMilliseconds - now.milliseconds) / 60_000
    var lines = [
      "cluster      \(cluster)", "version      \(version)", "session      \(session)",
    ]
    if let problem { lines.append("problem      \(problem)") }
    lines.append(
      "certificate  \(left > 0 ? "expires in \(left / 60) h \(left % 60) min" : "expired \(-left) min ago: it renews itself for 30 days")"
    )
    if isDraining { lines.append("draining     yes: runs end, none begins") }
    if isAdopting { lines.append("adopting     yes: the database is behind; `fubini recover` ends it") }
    lines.append("queue        \(queueDepth) inputs, events \(acknowledgedSequence) of \(lastSequence) acknowledged")
    lines.append("cache        \(ByteCount(artifactCacheBytes))")
    if let skew = clockSkewMilliseconds {
      lines.append("clock        \(abs(skew)) ms \(skew < 0 ? "behind" : "ahead of") the control plane's")
    }
    lines += notices.map { "notice       \($0)" }
    lines.append("runs         \(runCount)")
    lines += runs.map { "  \($0.run)  \($0.phase)\($0.note.isEmpty ? "" : "  (\($0.note))")" }
    return lines.joined(separator: "\n") + "\n"
  }
}
