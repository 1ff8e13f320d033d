internal import Execution
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Which log bytes go next. Pure: the shell reads files and owns the stream.
///
/// A run's chunks go in order of offset from the last acknowledged one; after a cut everything unacknowledged goes again.
struct LogQueue: Sendable {
  struct Item: Sendable, Equatable {
    /// Bytes that can be read.
    var length: Int64
    var isFinal: Bool
    var sent: Int64
    var acknowledged: Int64
    var isFinalSent = false
  }
  struct Read: Sendable, Equatable {
    var run: RunID
    var offset: Int64
    var count: Int
    /// Whether the chunk with these bytes is the last.
    var isLast: Bool
  }

  static let chunkBytes: Int64 = 64 << 10
  /// At most so many bytes of all runs are on the wire unacknowledged.
  static let windowBytes: Int64 = 4 << 20

  private(set) var items: [RunID: Item] = [:]
  /// Runs with something to send, in turn: a chatty run does not starve the others.
  private var turn: [RunID] = []
  private var unacknowledgedBytes: Int64 = 0

  mutating func grew(_ run: RunID, to length: Int64, isFinal: Bool, acknowledged: Int64) {
    var item = items[run] ?? Item(length: 0, isFinal: false, sent: acknowledged, acknowledged: acknowledged)
    guard !item.isFinal else { return }
    item.length = max(item.length, length)
    item.isFinal = isFinal
    items[run] = item
    if !turn.contains(run) { turn.append(run) }
  }

  /// The stream is new: what was not acknowledged goes again.
  mutating func streamOpened() {
    unacknowledgedBytes = 0
    for run in items.keys {
      items[run]!.sent = items[run]!.acknowledged
      items[run]!.isFinalSent = false
    }
    turn = items.keys.sorted()
  }

  mutating func next() -> Read? {
    guard unacknowledgedBytes < Self.windowBytes else { return nil }
    while let run = turn.first {
      turn.removeFirst()
      guard let item = items[run], item.sent < item.length || (item.isFinal && !item.isFinalSent) else { continue }
      let count = min(Self.chunkBytes, item.length - item.sent)
      let isLast = item.isFinal && item.sent + count == item.length
      items[run]!.sent += count
      items[run]!.isFinalSent = isLast
      unacknowledgedBytes += count
      turn.append(run)
      return Read(run: run, offset: item.sent, count: Int(count), isLast: isLast)
    }
    return nil
  }

  /// The bytes could not be read at present: nothing more of the run goes before `resumed`.
  mutating func postponed(_ read: Read) {
    turn.removeAll { $0 == read.run }
    unacknowledgedBytes = max(0, unacknowledgedBytes - Int64(read.count))
    items[read.run]?.sent = read.offset
    items[read.run]?.isFinalSent = false
  }

  mutating func resumed(_ run: RunID) { if items[run] != nil, !turn.contains(run) { turn.append(run) } }

  mutating func acknowledged(_ run: RunID, offset: Int64, isComplete: Bool) {
    guard let item = items[run] else { return }
    let advanced = max(0, min(offset, item.sent) - item.acknowledged)
    items[run]!.acknowledged += advanced
    unacknowledgedBytes = max(0, unacknowledgedBytes - advanced)
    if isComplete { items[run] = nil }
  }

  mutating func forgotten(_ run: RunID) {
    guard let item = items.removeValue(forKey: run) else { return }
    unacknowledgedBytes = max(0, unacknowledgedBytes - (item.sent - item.acknowledged))
  }
}

/// Sends runs' output to the control plane, resumably, and tells what was stored.
final class LogShipper: Sendable {
  private static let postponement = Duration.seconds(2)

  private let files: any RunFileAccess
  private let queue = Mutex(LogQueue())
  private let wakeups = Mailbox<Void>(capacity: 1)
  private let acknowledged: @Sendable (RunID, Int64, Bool) async -> Void

  init(files: any RunFileAccess, acknowledged: @escaping @Sendable (RunID, Int64, Bool) async -> Void) {
    self.files = files
    self.acknowledged = acknowledged
  }

  func grew(_ run: RunID, to length: Int64, isFinal: Bool, acknowledged: Int64) {
    queue.withLock { $0.grew(run, to: length, isFinal: isFinal, acknowledged: acknowledged) }
    wake()
  }

  func forgotten(_ run: RunID) { queue.withLock { $0.forgotten(run) } }

  private func wake() { if wakeups.count == 0 { wakeups.sendAtOnce(()) } }

  /// Serves one connection until it ends or the task is cancelled.
  func serve(_ client: any Wire.Client) async throws {
    queue.withLock { $0.streamOpened() }
    wake()
    try await client.logs { [self] writer in
      while !Task.isCancelled, await wakeups.receive(limit: 64) != nil {
        while let read = queue.withLock({ $0.next() }) {
          if let chunk = await chunk(read) { try await writer.write(chunk) } else { postpone(read) }
        }
      }
    } onResponse: { [self] response in
      for try await ack in response.messages {
        let run = RunID(ack.runID)
        queue.withLock { $0.acknowledged(run, offset: ack.offset, isComplete: ack.complete) }
        await acknowledged(run, ack.offset, ack.complete)
        wake()
      }
    }
  }

  /// - Returns: nil when the log cannot be reached at present, which says nothing about its end.
  private func chunk(_ read: LogQueue.Read) async -> Wire.LogChunk? {
    var data = Data()
    do {
      if read.count > 0, let file = try await files.openLog(of: read.run) {
        data = try await BlockingWork.run {
          lseek(file.descriptor, off_t(read.offset), SEEK_SET)
          return Data(try POSIXFile.readAll(file.descriptor, limit: read.count))
        }
      }
    } catch let error as FederationError where error.isRetryable {
      return nil
    } catch {
      // Something else is in its place now: what was the log has vanished.
    }
    return .with { [data] in
      $0.runID = read.run.number
      $0.offset = read.offset
      $0.data = data
      // A log that has vanished ends here: nothing more of it can ever come.
      $0.last = read.isLast || data.count < read.count
    }
  }

  private func postpone(_ read: LogQueue.Read) {
    queue.withLock { $0.postponed(read) }
    Task { [weak self] in
      try? await Task.sleep(for: Self.postponement)
      self?.queue.withLock { $0.resumed(read.run) }
      self?.wake()
    }
  }
}
