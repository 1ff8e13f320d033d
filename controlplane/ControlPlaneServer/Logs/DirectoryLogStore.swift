public import FederationModel
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Logs in one directory of the control plane: one file for each run, and beside it, once it is whole, a small one that says so, and when
/// its last bytes came. A log that came in several pieces has a third, of when the others came: these times are not worth waiting for a
/// disk, and may be lost in a crash.
///
/// Appends of many runs share one round of `fsync`: a chunk waits for the round after its write, never for one of its own.
public final class DirectoryLogStore: LogStore {
  private let root: String
  private let notifier = LogNotifier()
  private let rounds = SyncRounds()
  private let now: @Sendable () -> Timestamp
  /// Serialises the writers of one run: `locks[run mod count]`.
  private let locks: [Lock] = (0..<64).map { _ in Lock() }

  private final class Lock: Sendable {
    let mutex = Mutex(())
  }

  /// - Parameter directory: Created with mode 0700 when missing.
  public convenience init(directory: String) async throws {
    try await self.init(directory: directory) { .wallClock }
  }

  init(directory: String, now: @escaping @Sendable () -> Timestamp) async throws {
    root = directory
    self.now = now
    try await Files.blocking {
      for shard in 0..<256 {
        let digits = String(shard, radix: 16)
        try Files.makeDirectories("\(directory)/\(digits.count == 1 ? "0" : "")\(digits)")
      }
      try Files.syncDirectory(directory)
    }
  }

  public func append(_ run: RunID, offset: Int64, bytes: [UInt8], last: Bool) async throws -> LogPosition {
    guard offset >= 0, bytes.count <= logChunkBytesMax else {
      throw FederationError(
        .invalidArgument, "A log chunk has an offset of at least 0 and at most \(logChunkBytesMax) bytes.")
    }
    let written = try await Files.blocking { [self] in
      try locks[Int(truncatingIfNeeded: UInt64(bitPattern: run.number) % 64)].mutex.withLock { _ in
        try write(run, offset: offset, bytes: bytes, last: last)
      }
    }
    if let descriptor = written.descriptor {
      try await rounds.sync(descriptor, path: path(run))
    }
    let end = written.position.offset
    if last, !written.position.isComplete {
      try await Files.blocking { [self] in
        let line = LogTimes.line(.init(end: end, moment: now()))
        try Files.replace(seal(run), with: Array(line.utf8), temporary: seal(run) + ".partial")
      }
    } else if written.isNew {
      try await Files.blocking { [self] in try Files.syncDirectory(shard(run)) }
    }
    notifier.notify(run)
    return LogPosition(offset: end, isComplete: last || written.position.isComplete)
  }

  public func position(_ run: RunID) async throws -> LogPosition? {
    try await Files.blocking { [self] in
      let isComplete = access(seal(run), F_OK) == 0
      guard let descriptor = try Files.openExisting(path(run), O_RDONLY) else {
        return isComplete ? LogPosition(offset: 0, isComplete: true) : nil
      }
      defer { _ = close(descriptor) }
      return LogPosition(offset: try Files.size(of: descriptor, path(run)), isComplete: isComplete)
    }
  }

  public func read(_ run: RunID, from offset: Int64, count: Int) async throws -> LogSlice {
    guard offset >= 0, count >= 0 else { throw FederationError(.invalidArgument, "A log offset is at least 0.") }
    return try await Files.blocking { [self] in
      // The seal is looked at first: a log that is sealed now has its last byte now.
      let isComplete = access(seal(run), F_OK) == 0
      guard let descriptor = try Files.openExisting(path(run), O_RDONLY) else {
        return LogSlice(offset: offset, bytes: [], position: LogPosition(offset: 0, isComplete: isComplete))
      }
      defer { _ = close(descriptor) }
      let size = try Files.size(of: descriptor, path(run))
      let wanted = min(Int64(min(count, logChunkBytesMax)), max(0, size - offset))
      let bytes = wanted > 0 ? try Files.read(descriptor, at: offset, count: Int(wanted), path(run)) : []
      return LogSlice(offset: offset, bytes: bytes, position: LogPosition(offset: size, isComplete: isComplete))
    }
  }

  public func waitForMore(_ run: RunID, than position: LogPosition, timeout: Duration) async throws {
    try await notifier.wait(for: run, timeout: timeout) { [self] in
      guard let current = try await self.position(run) else { return false }
      return current.offset > position.offset || current.isComplete != position.isComplete
    }
  }

  public func times(_ run: RunID) async throws -> LogTimes {
    try await Files.blocking { [self] in
      var marks: [LogTimes.Mark] = []
      for file in [times(of: run), seal(run)] {
        guard let descriptor = try Files.openExisting(file, O_RDONLY) else { continue }
        defer { _ = close(descriptor) }
        let bytes = try Files.read(descriptor, at: 0, count: Int(try Files.size(of: descriptor, file)), file)
        marks += LogTimes(lines: bytes).marks
      }
      return LogTimes(marks)
    }
  }

  public func delete(_ run: RunID) async throws {
    try await Files.blocking { [self] in
      for file in [path(run), seal(run), times(of: run)] where unlink(file) != 0 && errno != ENOENT {
        throw Files.failure("unlink", file)
      }
    }
    notifier.notify(run)
  }

  private struct Written: Sendable {
    var position: LogPosition
    /// To be synchronised and closed; nil when nothing was written and nothing can be pending.
    var descriptor: Int32?
    var isNew: Bool
  }

  private func write(_ run: RunID, offset: Int64, bytes: [UInt8], last: Bool) throws -> Written {
    let isComplete = access(seal(run), F_OK) == 0
    let isNew = access(path(run), F_OK) != 0
    let descriptor = try Files.open(path(run), O_WRONLY | O_CREAT)
    do {
      let size = try Files.size(of: descriptor, path(run))
      guard offset <= size else {
        throw FederationError(
          .failedPrecondition, "The log has \(size) bytes, so bytes at \(offset) leave a gap. Send from \(size).")
      }
      let fresh = bytes.dropFirst(Int(min(Int64(bytes.count), size - offset)))
      if isComplete {
        guard fresh.isEmpty else {
          throw FederationError(.failedPrecondition, "The log is complete with \(size) bytes; nothing can be added.")
        }
        _ = close(descriptor)
        return Written(position: LogPosition(offset: size, isComplete: true), descriptor: nil, isNew: false)
      }
      if !fresh.isEmpty {
        try Files.write(fresh, to: descriptor, at: size, path(run))
        // The seal says when the last bytes came: most logs come in one piece, and need no further file.
        if !last { try note(size + Int64(fresh.count), of: run) }
      }
      return Written(
        position: LogPosition(offset: size + Int64(fresh.count), isComplete: false), descriptor: descriptor,
        isNew: isNew)
    } catch {
      _ = close(descriptor)
      throw error
    }
  }

  private func note(_ end: Int64, of run: RunID) throws {
    let descriptor = try Files.open(times(of: run), O_WRONLY | O_CREAT)
    defer { _ = close(descriptor) }
    let line = LogTimes.line(.init(end: end, moment: now()))
    try Files.write(line.utf8, to: descriptor, at: try Files.size(of: descriptor, times(of: run)), times(of: run))
  }

  private func shard(_ run: RunID) -> String { root + "/" + run.hexadecimal.suffix(2) }
  private func path(_ run: RunID) -> String { "\(shard(run))/\(run.hexadecimal).log" }
  private func times(of run: RunID) -> String { "\(shard(run))/\(run.hexadecimal).times" }
  private func seal(_ run: RunID) -> String { "\(shard(run))/\(run.hexadecimal).complete" }
}

/// Shares rounds of `fsync` among those who wait for one.
private actor SyncRounds {
  private struct Entry: Sendable {
    var descriptor: Int32
    var path: String
    var continuation: CheckedContinuation<Void, any Error>
  }
  private var waiting: [Entry] = []
  private var isRunning = false

  /// Returns when everything written to `descriptor` before the call is durable, and closes it.
  func sync(_ descriptor: Int32, path: String) async throws {
    try await withCheckedThrowingContinuation { continuation in
      waiting.append(Entry(descriptor: descriptor, path: path, continuation: continuation))
      if !isRunning {
        isRunning = true
        Task { await run() }
      }
    }
  }

  private func run() async {
    while !waiting.isEmpty {
      let round = waiting
      waiting = []
      let outcomes = try? await Files.blocking {
        var done: [String: FederationError?] = [:]
        for entry in round {
          // One call covers every chunk of the same file.
          if done[entry.path] == nil {
            let failed = fsync(entry.descriptor) != 0
            done.updateValue(failed ? Files.failure("fsync", entry.path) : nil, forKey: entry.path)
          }
        }
        for entry in round { _ = close(entry.descriptor) }
        return done
      }
      for entry in round {
        if let outcomes {
          if let failure = outcomes[entry.path] ?? nil {
            entry.continuation.resume(throwing: failure)
          } else {
            entry.continuation.resume()
          }
        } else {
          entry.continuation.resume(
            throwing: FederationError(.unavailable, "The control plane is shutting down. Repeat."))
        }
      }
    }
    isRunning = false
  }
}
