public import FederationModel
import NIOCore
import Synchronization

/// Logs in a bucket: each run's bytes in immutable segments, named by where they begin and end, and when they came.
///
/// An append returns when its segment is in the bucket, so that any control plane can go on where another one ended. A chatty run
/// writes one segment a second; when its log is complete, many segments become one.
public final class BucketLogStore: LogStore {
  /// Between two segments of a run that goes on, unless there is more than `segmentBytes`.
  static let pace = Duration.seconds(1)
  static let segmentBytes = 256 << 10
  /// A complete log of more segments than this is joined.
  static let segmentsMax = 8
  /// How long what was learned of a log by writing it is believed without looking: another process may write now.
  static let memory = Duration.seconds(5)
  private static let runsMax = 10_000

  private struct Known {
    var log: SegmentedLog
    var writtenAt: ContinuousClock.Instant
  }

  private struct State {
    var known: [RunID: Known] = [:]
    /// The last append of each run that has one under way.
    var appends: [RunID: (id: UInt64, task: Task<LogPosition, any Error>)] = [:]
    var next: UInt64 = 0
  }

  private let bucket: ObjectBucket
  private let now: @Sendable () -> Timestamp
  private let notifier = LogNotifier()
  private let state = Mutex(State())

  init(_ bucket: ObjectBucket, now: @escaping @Sendable () -> Timestamp = { .wallClock }) {
    self.bucket = bucket
    self.now = now
  }

  public func append(_ run: RunID, offset: Int64, bytes: [UInt8], last: Bool) async throws -> LogPosition {
    guard offset >= 0, bytes.count <= logChunkBytesMax else {
      throw FederationError(
        .invalidArgument, "A log chunk has an offset of at least 0 and at most \(logChunkBytesMax) bytes.")
    }
    let (id, task) = state.withLock { state in
      let previous = state.appends[run]?.task
      state.next += 1
      let task = Task { [self] in
        _ = await previous?.result
        return try await appendInTurn(run, offset: offset, bytes: bytes, last: last)
      }
      state.appends[run] = (state.next, task)
      return (state.next, task)
    }
    defer { state.withLock { if $0.appends[run]?.id == id { $0.appends[run] = nil } } }
    return try await withTaskCancellationHandler {
      try await task.value
    } onCancel: {
      task.cancel()
    }
  }

  private func appendInTurn(_ run: RunID, offset: Int64, bytes: [UInt8], last: Bool) async throws -> LogPosition {
    var log = try await load(run)
    let end = log.position.offset
    guard offset <= end else {
      throw FederationError(
        .failedPrecondition, "The log has \(end) bytes, so bytes at \(offset) leave a gap. Send from \(end).")
    }
    let fresh = Array(bytes.dropFirst(Int(min(Int64(bytes.count), end - offset))))
    if log.position.isComplete {
      guard fresh.isEmpty else {
        throw FederationError(.failedPrecondition, "The log is complete with \(end) bytes; nothing can be added.")
      }
      return log.position
    }
    guard !fresh.isEmpty || last else { return log.position }
    if !last, fresh.count < Self.segmentBytes, let written = state.withLock({ $0.known[run]?.writtenAt }) {
      try await Task.sleep(until: written + Self.pace)
    }
    let segment = LogSegment(start: end, end: end + Int64(fresh.count), isLast: last, moment: now())
    try await bucket.put(Self.directory(run) + "/" + segment.name, fresh)
    log.add(segment)
    remember(run, log)
    notifier.notify(run)
    // Nobody waits for it, and a log of many segments reads as well, only slower.
    if last, log.segments.count > Self.segmentsMax { Task { [self, log] in try? await join(run, log) } }
    return log.position
  }

  public func position(_ run: RunID) async throws -> LogPosition? {
    let log = try await load(run)
    return log.segments.isEmpty ? nil : log.position
  }

  public func read(_ run: RunID, from offset: Int64, count: Int) async throws -> LogSlice {
    guard offset >= 0, count >= 0 else { throw FederationError(.invalidArgument, "A log offset is at least 0.") }
    // Segments that were joined between the list and the read are gone: the next list tells where their bytes are.
    for _ in 0..<3 {
      let log = try await load(run)
      if let bytes = try await read(run, log, from: offset, count: min(count, logChunkBytesMax)) {
        return LogSlice(offset: offset, bytes: bytes, position: log.position)
      }
      state.withLock { $0.known[run] = nil }
    }
    throw FederationError(.unavailable, "The log is being rearranged. Read it again.", retryAfter: .seconds(1))
  }

  /// nil when a segment is not there any more.
  private func read(_ run: RunID, _ log: SegmentedLog, from offset: Int64, count: Int) async throws -> [UInt8]? {
    let end = min(log.position.offset, offset + Int64(count))
    var bytes: [UInt8] = []
    var at = offset
    while at < end, let segment = log.segment(at: at) {
      let wanted = Int(min(end, segment.end) - at)
      let path = Self.directory(run) + "/" + segment.name
      guard let part = try await bucket.read(path, from: at - segment.start, count: wanted) else { return nil }
      guard part.count == wanted else {
        throw FederationError(
          .internal, "The log in the bucket is damaged. Ask the control plane's operator to look at its log.",
          internalContext: "\(path) is shorter than its name says")
      }
      bytes += part
      at += Int64(wanted)
    }
    return bytes
  }

  public func waitForMore(_ run: RunID, than position: LogPosition, timeout: Duration) async throws {
    // Who writes elsewhere wakes nobody here.
    let isWrittenHere = state.withLock { $0.known[run] != nil }
    try await notifier.wait(for: run, timeout: isWrittenHere ? timeout : min(timeout, .seconds(1))) { [self] in
      let current = try await load(run).position
      return current.offset > position.offset || current.isComplete != position.isComplete
    }
  }

  public func times(_ run: RunID) async throws -> LogTimes {
    let segments = try await load(run).segments
    let own = segments.compactMap { segment in segment.moment.map { LogTimes.Mark(end: segment.end, moment: $0) } }
    // Those of a log whose segments were joined.
    let path = Self.directory(run) + "/" + Self.timesName
    guard segments.contains(where: { $0.moment == nil }), let size = try await bucket.size(path), size > 0,
      let bytes = try await bucket.read(path, from: 0, count: Int(size))
    else { return LogTimes(own) }
    return LogTimes(LogTimes(lines: bytes).marks + own)
  }

  private static let timesName = "times"

  public func delete(_ run: RunID) async throws {
    state.withLock { $0.known[run] = nil }
    for entry in try await bucket.list(Self.directory(run)) {
      try await bucket.delete(Self.directory(run) + "/" + entry.name)
    }
    notifier.notify(run)
  }

  // MARK: Segments

  static func directory(_ run: RunID) -> String { "logs/\(run.hexadecimal.suffix(2))/\(run.hexadecimal)" }

  private func load(_ run: RunID) async throws -> SegmentedLog {
    let now = ContinuousClock.now
    if let known = state.withLock({ $0.known[run] }),
      known.log.position.isComplete || now < known.writtenAt + Self.memory
    {
      return known.log
    }
    var log = SegmentedLog()
    for entry in try await bucket.list(Self.directory(run)) {
      if let segment = LogSegment(name: entry.name), segment.end - segment.start == entry.size { log.add(segment) }
    }
    return log
  }

  private func remember(_ run: RunID, _ log: SegmentedLog) {
    state.withLock { state in
      if state.known.count >= Self.runsMax { state.known.removeAll() }
      state.known[run] = Known(log: log, writtenAt: .now)
    }
  }

  /// Writes the whole log as one segment, then removes the others.
  private func join(_ run: RunID, _ log: SegmentedLog) async throws {
    let whole = LogSegment(start: 0, end: log.position.offset, isLast: true)
    let (stream, continuation) = AsyncThrowingStream.makeStream(of: ByteBuffer.self, throwing: (any Error).self)
    let reader = Task { [self] in
      do {
        var at: Int64 = 0
        while at < whole.end, let part = try await read(run, log, from: at, count: logChunkBytesMax), !part.isEmpty {
          continuation.yield(ByteBuffer(bytes: part))
          at += Int64(part.count)
        }
        continuation.finish(throwing: at == whole.end ? nil : CancellationError())
      } catch {
        continuation.finish(throwing: error)
      }
    }
    defer { reader.cancel() }
    let marks = try await times(run).marks
    try await bucket.put(Self.directory(run) + "/" + Self.timesName, Array(marks.map(LogTimes.line).joined().utf8))
    let path = Self.directory(run) + "/" + whole.name
    try await bucket.put(path, stream: stream)
    guard try await bucket.size(path) == whole.end else { return }
    var joined = SegmentedLog()
    joined.add(whole)
    remember(run, joined)
    for segment in log.segments where segment != whole {
      try await bucket.delete(Self.directory(run) + "/" + segment.name)
    }
  }
}

/// Bytes `start..<end` of a log; `isLast` says that nothing follows them.
struct LogSegment: Hashable, Sendable {
  var start: Int64
  var end: Int64
  var isLast: Bool
  /// When they came; nil: at several moments, or nobody noted it.
  var moment: Timestamp?

  init(start: Int64, end: Int64, isLast: Bool, moment: Timestamp? = nil) {
    (self.start, self.end, self.isLast, self.moment) = (start, end, isLast, moment)
  }

  /// nil for a name that is not one of ours.
  init?(name: String) {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    let numbers = parts[0].split(separator: "-", omittingEmptySubsequences: false).map { Int64($0) }
    guard numbers.count == 2 || numbers.count == 3, let start = numbers[0], let end = numbers[1], 0 <= start,
      start <= end, parts.count == 1 || parts.count == 2 && parts[1] == "last"
    else { return nil }
    var moment: Timestamp?
    if numbers.count == 3 {
      guard let milliseconds = numbers[2] else { return nil }
      moment = Timestamp(milliseconds: milliseconds)
    }
    self.init(start: start, end: end, isLast: parts.count == 2, moment: moment)
  }

  /// Sorts as its numbers do.
  var name: String {
    "\(Self.padded(start))-\(Self.padded(end))" + (moment.map { "-\($0.milliseconds)" } ?? "") + (isLast ? ".last" : "")
  }
  private static func padded(_ number: Int64) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, 16 - digits.count)) + digits
  }
}

/// What segments make of a log. They may overlap, after a change of leaders or while they are joined; their bytes are the same.
struct SegmentedLog: Hashable, Sendable {
  /// By start, the longer before the shorter.
  private(set) var segments: [LogSegment] = []
  private(set) var position = LogPosition(offset: 0, isComplete: false)

  mutating func add(_ segment: LogSegment) {
    let index = segments.firstIndex { ($0.start, -$0.end) > (segment.start, -segment.end) } ?? segments.count
    segments.insert(segment, at: index)
    var end: Int64 = 0
    for segment in segments {
      // What lies behind a gap was never acknowledged.
      guard segment.start <= end else { break }
      end = max(end, segment.end)
    }
    position = LogPosition(offset: end, isComplete: segments.contains { $0.isLast && $0.end == end })
  }

  /// The one that reaches furthest from `offset` on.
  func segment(at offset: Int64) -> LogSegment? {
    segments.lazy.filter { $0.start <= offset && offset < $0.end }.max { $0.end < $1.end }
  }
}
