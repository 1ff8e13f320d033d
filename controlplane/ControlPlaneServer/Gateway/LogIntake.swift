import ControlPlaneStore
import FederationModel
import Synchronization

/// Brings the chunks of one agent's log stream into the store: in order for each run, many runs at once. What arrives for a run
/// while its previous append is under way becomes one append with it.
final class LogIntake: Sendable {
  struct Chunk: Sendable {
    var offset: Int64
    var bytes: [UInt8]
    var isLast: Bool
  }

  /// Appends under way, and bytes that wait for one.
  static let appendsMax = 64
  static let bytesMax = 8 << 20

  private struct State {
    /// A run has an entry while a task works for it.
    var queues: [RunID: [Chunk]] = [:]
    var bytes = 0
  }

  private let append: @Sendable (RunID, Chunk) async throws -> Void
  private let state = Mutex(State())

  /// - Parameter append: appends one chunk, records and acknowledges it.
  init(append: @escaping @Sendable (RunID, Chunk) async throws -> Void) { self.append = append }

  /// Until the stream ends and everything of it is stored, or something fails.
  func run(_ chunks: some AsyncSequence<(RunID, Chunk), any Error>) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      var working = 0
      for try await (run, chunk) in chunks {
        if enqueue(run, chunk) {
          group.addTask { try await self.work(run) }
          working += 1
        }
        while working > 0, working >= Self.appendsMax || state.withLock({ $0.bytes }) > Self.bytesMax {
          try await group.next()
          working -= 1
        }
      }
      try await group.waitForAll()
    }
  }

  /// Whether somebody must begin to work for the run.
  private func enqueue(_ run: RunID, _ chunk: Chunk) -> Bool {
    state.withLock { state in
      state.bytes += chunk.bytes.count
      guard var queue = state.queues[run] else {
        state.queues[run] = [chunk]
        return true
      }
      if let last = queue.last, !last.isLast, last.offset + Int64(last.bytes.count) == chunk.offset,
        last.bytes.count + chunk.bytes.count <= logChunkBytesMax
      {
        queue[queue.count - 1].bytes += chunk.bytes
        queue[queue.count - 1].isLast = chunk.isLast
      } else {
        queue.append(chunk)
      }
      state.queues[run] = queue
      return false
    }
  }

  private func work(_ run: RunID) async throws {
    while let chunk = take(run) { try await append(run, chunk) }
  }

  private func take(_ run: RunID) -> Chunk? {
    state.withLock { state in
      guard var queue = state.queues[run], !queue.isEmpty else {
        state.queues[run] = nil
        return nil
      }
      let chunk = queue.removeFirst()
      state.bytes -= chunk.bytes.count
      state.queues[run] = queue
      return chunk
    }
  }
}
