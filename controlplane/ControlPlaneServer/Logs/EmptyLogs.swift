public import FederationModel
import Synchronization

/// Knows beside a store which logs are over without a byte, so that nobody waits for what never comes.
///
/// That is kept in memory alone, and of the newest `runsMax` runs: a file or a row for each run that wrote nothing would cost more than it
/// tells, and who does not know waits some seconds, as for a log that is on its way.
public final class EmptyLogs: LogStore {
  private struct State {
    var runs: Set<RunID> = []
    var order: [RunID] = []
    /// Of `order`: the next to be forgotten once there are `runsMax`.
    var oldest = 0
  }

  private let store: any LogStore
  private let runsMax: Int
  private let notifier = LogNotifier()
  private let state = Mutex(State())

  public init(beside store: any LogStore, runsMax: Int = 100_000) {
    self.store = store
    self.runsMax = max(1, runsMax)
  }

  public func append(_ run: RunID, offset: Int64, bytes: [UInt8], last: Bool) async throws -> LogPosition {
    guard last, offset == 0, bytes.isEmpty, try await store.position(run) == nil else {
      return try await store.append(run, offset: offset, bytes: bytes, last: last)
    }
    remember(run)
    notifier.notify(run)
    return LogPosition(offset: 0, isComplete: true)
  }

  private func remember(_ run: RunID) {
    state.withLock { state in
      guard state.runs.insert(run).inserted else { return }
      guard state.order.count >= runsMax else { return state.order.append(run) }
      state.runs.remove(state.order[state.oldest])
      state.order[state.oldest] = run
      state.oldest = (state.oldest + 1) % runsMax
    }
  }

  private func isEmpty(_ run: RunID) -> Bool { state.withLock { $0.runs.contains(run) } }

  public func position(_ run: RunID) async throws -> LogPosition? {
    try await store.position(run) ?? (isEmpty(run) ? LogPosition(offset: 0, isComplete: true) : nil)
  }

  public func read(_ run: RunID, from offset: Int64, count: Int) async throws -> LogSlice {
    var slice = try await store.read(run, from: offset, count: count)
    if slice.position.offset == 0, isEmpty(run) { slice.position.isComplete = true }
    return slice
  }

  public func waitForMore(_ run: RunID, than position: LogPosition, timeout: Duration) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.store.waitForMore(run, than: position, timeout: timeout) }
      group.addTask {
        try await self.notifier.wait(for: run, timeout: timeout) { self.isEmpty(run) && !position.isComplete }
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  public func times(_ run: RunID) async throws -> LogTimes { try await store.times(run) }

  public func delete(_ run: RunID) async throws {
    // Its place in the order is taken by the next that is as old.
    _ = state.withLock { $0.runs.remove(run) }
    try await store.delete(run)
  }
}
