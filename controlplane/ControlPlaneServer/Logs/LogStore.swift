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
  /// Deleting what does not exist is success.
  func delete(_ run: RunID) async throws
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
