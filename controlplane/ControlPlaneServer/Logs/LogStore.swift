public import FederationModel

/// The combined output of runs, kept after their clusters are gone.
public protocol LogStore: Sendable {
  /// Appends `bytes` at `offset` of the run's output. What is stored already is skipped, so a repeated chunk changes nothing.
  ///
  /// Returns only when everything before the position is durable: then the agent may drop its copy.
  /// - Parameter last: Nothing follows; the log is sealed. More bytes behind a seal are refused.
  /// - Throws: `.failedPrecondition` for a gap (the message names the offset to send from) or a sealed log, `.resourceExhausted`
  ///   when the store is full.
  func append(_ run: RunID, offset: Int64, bytes: [UInt8], last: Bool) async throws -> LogPosition
  /// nil: nothing was ever stored.
  func position(_ run: RunID) async throws -> LogPosition?
  /// At most `count` (up to 1 MiB) bytes from `offset`; empty when there are none yet, or when it is behind the end.
  func read(_ run: RunID, from offset: Int64, count: Int) async throws -> LogSlice
  /// Waits until there may be more than `position`, at most `timeout`. May return early: read again.
  func waitForMore(_ run: RunID, than position: LogPosition, timeout: Duration) async throws
  /// When the bytes of a log came.
  func times(_ run: RunID) async throws -> LogTimes
  /// Deleting what does not exist is success.
  func delete(_ run: RunID) async throws
}

/// When the bytes of a log reached the control plane: a moment after they were written, or later where a cluster was cut off.
public struct LogTimes: Hashable, Sendable {
  public struct Mark: Hashable, Sendable {
    /// Everything before it, from the mark before on, came at `moment`.
    public var end: Int64
    public var moment: Timestamp
    public init(end: Int64, moment: Timestamp) {
      self.end = end
      self.moment = moment
    }
  }

  /// By their ends.
  public private(set) var marks: [Mark] = []

  public init(_ marks: [Mark] = []) {
    for mark in marks.sorted(by: { ($0.end, $0.moment) < ($1.end, $1.moment) }) { add(mark) }
  }

  /// One that says nothing new of what is behind the last one is passed over.
  public mutating func add(_ mark: Mark) {
    if mark.end > marks.last?.end ?? 0 { marks.append(mark) }
  }

  /// nil: nobody has noted it.
  public func moment(of offset: Int64) -> Timestamp? {
    var range = marks[...]
    while let middle = range.indices.isEmpty ? nil : (range.startIndex + range.endIndex) / 2 {
      if marks[middle].end > offset { range = range[..<middle] } else { range = range[(middle + 1)...] }
    }
    return marks.indices.contains(range.startIndex) ? marks[range.startIndex].moment : nil
  }

  /// One line for each mark, as stores keep them. What is no whole line, as after a crash, is passed over.
  init(lines text: [UInt8]) {
    let newline = UInt8(ascii: "\n")
    let whole = text.prefix((text.lastIndex(of: newline) ?? -1) + 1)
    let lines = whole.split(separator: newline).compactMap { line -> Mark? in
      let numbers = line.split(separator: UInt8(ascii: " ")).map { Int64(String(decoding: $0, as: UTF8.self)) }
      guard numbers.count == 2, let end = numbers[0], let moment = numbers[1] else { return nil }
      return Mark(end: end, moment: Timestamp(milliseconds: moment))
    }
    self.init(lines)
  }

  static func line(_ mark: Mark) -> String { "\(mark.end) \(mark.moment.milliseconds)\n" }
}

public struct LogPosition: Hashable, Sendable {
  /// Everything before it is durable.
  public var offset: Int64
  /// Nothing follows.
  public var isComplete: Bool
  public init(offset: Int64, isComplete: Bool) {
    self.offset = offset
    self.isComplete = isComplete
  }
}

public struct LogSlice: Hashable, Sendable {
  /// Of the first byte.
  public var offset: Int64
  public var bytes: [UInt8]
  /// Of the whole log, as it was when the bytes were read.
  public var position: LogPosition
  public init(offset: Int64, bytes: [UInt8], position: LogPosition) {
    self.offset = offset
    self.bytes = bytes
    self.position = position
  }
}

/// The largest chunk that a log store takes or gives.
public let logChunkBytesMax = 1 << 20
