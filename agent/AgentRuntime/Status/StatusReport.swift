internal import FederationModel

/// What `fubini-agent status` shows. It holds no secret: it is printed and pasted.
struct StatusReport: Sendable, Codable, Equatable {
  struct Run: Sendable, Codable, Equatable {
    var run: String
    var phase: String
    var note: String
  }

  struct Cache: Sendable, Codable, Equatable {
    struct Transfer: Sendable, Codable, Equatable {
      var key: String
      var bytesDone: Int64
      var bytesTotal: Int64
      var source: String
      var waiting: String
    }
    var name: String
    var directory: String
    var capacityBytes: Int64
    var usedBytes: Int64
    var replicas: Int
    /// Of the control plane, under way.
    var orders: Int
    var isWriter: Bool
    var transfers: [Transfer]
    var scrub: String
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
  var cache: Cache
  /// This machine's wall clock minus the control plane's; nil until a control plane has said.
  var clockSkewMilliseconds: Int64?
  var notices: [String]

  private static func lines(of cache: Cache) -> [String] {
    let access = cache.isWriter ? "" : ", read only: another agent writes it"
    var lines = [
      "cache        \(ByteCount(cache.usedBytes)) of \(ByteCount(cache.capacityBytes)) in \(cache.directory), "
        + "\(cache.replicas) replicas\(access)"
    ]
    if cache.name != "" { lines.append("cache name   \(cache.name)") }
    lines.append("scrub        \(cache.scrub)")
    lines.append("transfers    \(cache.transfers.count), \(cache.orders) orders under way")
    lines += cache.transfers.prefix(100).map { transfer in
      "  \(transfer.key)  \(ByteCount(transfer.bytesDone)) of \(ByteCount(transfer.bytesTotal)) from \(transfer.source)"
        + (transfer.waiting.isEmpty ? "" : "  (\(transfer.waiting))")
    }
    return lines
  }

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
    lines += Self.lines(of: cache)
    if let skew = clockSkewMilliseconds {
      lines.append("clock        \(abs(skew)) ms \(skew < 0 ? "behind" : "ahead of") the control plane's")
    }
    lines += notices.map { "notice       \($0)" }
    lines.append("runs         \(runCount)")
    lines += runs.map { "  \($0.run)  \($0.phase)\($0.note.isEmpty ? "" : "  (\($0.note))")" }
    return lines.joined(separator: "\n") + "\n"
  }
}
