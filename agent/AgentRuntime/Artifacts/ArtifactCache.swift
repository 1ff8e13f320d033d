internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Stored artifacts on this cluster, named by their SHA-256: what was made or fetched here once moves no byte again.
///
/// Bounded: the least recently used objects go first, and never one that a run has pinned (I4). One fetch per object at a time,
/// however many runs wait for it (I5).
actor ArtifactCache {
  private struct Entry {
    var size: Int64
    var lastUse: UInt64
    var pins: Set<RunID> = []
  }

  /// One transfer under way and everybody who waits for it. It belongs to none of them: it goes on while anybody waits.
  private struct Fetch {
    var task: Task<Void, Never>
    /// The run in whose name the control plane is asked.
    var beginner: RunID
    var waiters: [UInt64: (run: RunID, continuation: CheckedContinuation<Arrival, any Error>)] = [:]
  }

  private enum Arrival {
    case here(movedBytes: Int64)
    /// The run that asked may not have it; that says nothing about the others, who ask in their own name.
    case askAgain
  }

  private let directory: String
  let bytesMax: Int64
  private var entries: [String: Entry] = [:]
  private var pinned: [RunID: Set<String>] = [:]
  private var useCounter: UInt64 = 0
  private var fetches: [String: Fetch] = [:]
  private var lastWaiter: UInt64 = 0
  /// Promised to fetches under way.
  private var reservedBytes: Int64 = 0
  private(set) var bytes: Int64 = 0

  /// Opens the cache below `directory`. Leftovers of a killed agent are removed; whole objects are kept, by age of last change.
  init(directory: String, bytesMax: Int64) throws {
    self.directory = directory
    self.bytesMax = bytesMax
    try POSIXFile.makeDirectories(directory + "/objects")
    POSIXFile.removeTree(directory + "/work")
    try POSIXFile.makeDirectories(directory + "/work")
    try POSIXFile.makeDirectories(directory + "/partial")
    let descriptor = try POSIXFile.open(directory + "/objects", O_RDONLY | O_DIRECTORY)
    defer { POSIXFile.close(descriptor) }
    var found: [(name: String, size: Int64, time: Int)] = []
    for name in try POSIXFile.entries(of: descriptor) {
      var status = stat()
      guard fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0, name.utf8.count == 64 else { continue }
      found.append((name, Int64(status.st_size), status.st_mtim.tv_sec))
    }
    for object in found.sorted(by: { $0.time < $1.time }) {
      useCounter += 1
      entries[object.name] = Entry(size: object.size, lastUse: useCounter)
      bytes += object.size
    }
  }

  /// Where packers write; on the cache's file system, emptied at start.
  nonisolated var workDirectory: String { directory + "/work" }
  nonisolated func path(of sha256: String) -> String { directory + "/objects/" + sha256 }

  /// Makes an artifact be here, verified, and pins it for `run`.
  ///
  /// - Returns: the bytes that moved over the link for it: 0 when it was here.
  /// - Throws: `.resourceExhausted` when it does not fit (retryable), or what the repository threw.
  func obtain(_ artifact: StoredArtifact, for run: RunID, from repository: any ArtifactRepository) async throws -> Int64
  {
    while true {
      try Task.checkCancellation()
      if pin(artifact.sha256, for: run) { return 0 }
      if fetches[artifact.sha256] == nil { try begin(artifact, for: run, from: repository) }
      if case .here(let moved) = try await wait(for: artifact.sha256, run) { return moved }
    }
  }

  private func begin(_ artifact: StoredArtifact, for run: RunID, from repository: any ArtifactRepository) throws {
    try makeRoom(for: artifact.size.bytes)
    reservedBytes += artifact.size.bytes
    let partial = directory + "/partial/" + artifact.sha256
    let target = path(of: artifact.sha256)
    let task = Task {
      let result: Result<Int64, any Error>
      do {
        result = .success(
          try await Self.fetch(artifact, for: run, from: repository, partial: partial, target: target))
      } catch { result = .failure(error) }
      fetched(artifact, result)
    }
    fetches[artifact.sha256] = Fetch(task: task, beginner: run)
  }

  private func wait(for sha256: String, _ run: RunID) async throws -> Arrival {
    lastWaiter += 1
    let waiter = lastWaiter
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        fetches[sha256]!.waiters[waiter] = (run, continuation)
        // Cancelled before it was registered: then nobody else takes it out.
        if Task.isCancelled { leave(sha256, waiter) }
      }
    } onCancel: {
      Task { await self.leave(sha256, waiter) }
    }
  }

  /// A cancelled waiter goes at once; the last one takes the transfer with it.
  private func leave(_ sha256: String, _ waiter: UInt64) {
    guard let left = fetches[sha256]?.waiters.removeValue(forKey: waiter) else { return }
    if fetches[sha256]!.waiters.isEmpty { fetches[sha256]!.task.cancel() }
    left.continuation.resume(throwing: CancellationError())
  }

  private func fetched(_ artifact: StoredArtifact, _ result: Result<Int64, any Error>) {
    reservedBytes -= artifact.size.bytes
    guard let fetch = fetches.removeValue(forKey: artifact.sha256) else { return }
    if case .success = result { insert(artifact.sha256, size: artifact.size.bytes) }
    for (index, (_, waiter)) in fetch.waiters.sorted(by: { $0.key < $1.key }).enumerated() {
      switch result {
      case .success(let moved):
        _ = pin(artifact.sha256, for: waiter.run)
        waiter.continuation.resume(returning: .here(movedBytes: index == 0 ? moved : 0))
      case .failure(let error):
        let mayFareBetter =
          error is CancellationError
          || (waiter.run != fetch.beginner && (error as? FederationError)?.isRetryable == false)
        if mayFareBetter {
          waiter.continuation.resume(returning: .askAgain)
        } else {
          waiter.continuation.resume(throwing: error)
        }
      }
    }
  }

  /// Takes over a file that was packed here, and pins it for `run`. Returns where it is now.
  func admit(_ file: PackedFile, for run: RunID) throws -> PackedFile {
    if entries[file.sha256] == nil {
      try? makeRoom(for: file.size)
      guard rename(file.path, path(of: file.sha256)) == 0 else { throw POSIXFile.failure("Cannot keep an artifact") }
      insert(file.sha256, size: file.size)
    } else {
      unlink(file.path)
    }
    _ = pin(file.sha256, for: run)
    return PackedFile(path: path(of: file.sha256), size: file.size, sha256: file.sha256)
  }

  /// How many runs wait for the transfer of an object; 0 when none is under way.
  func waiterCount(of sha256: String) -> Int { fetches[sha256]?.waiters.count ?? 0 }

  func unpin(_ run: RunID) {
    guard let keys = pinned.removeValue(forKey: run) else { return }
    for key in keys { entries[key]?.pins.remove(run) }
    try? makeRoom(for: 0)
  }

  private func pin(_ sha256: String, for run: RunID) -> Bool {
    guard entries[sha256] != nil else { return false }
    useCounter += 1
    entries[sha256]!.lastUse = useCounter
    entries[sha256]!.pins.insert(run)
    pinned[run, default: []].insert(sha256)
    utimensat(AT_FDCWD, path(of: sha256), nil, 0)
    return true
  }

  private func insert(_ sha256: String, size: Int64) {
    guard entries[sha256] == nil else { return }
    useCounter += 1
    entries[sha256] = Entry(size: size, lastUse: useCounter)
    bytes += size
  }

  /// Evicts until `needed` more bytes fit the bound. An object larger than the whole bound is taken when nothing else is left.
  private func makeRoom(for needed: Int64) throws {
    while bytes + reservedBytes + needed > bytesMax,
      let oldest = entries.filter({ $0.value.pins.isEmpty }).min(by: { $0.value.lastUse < $1.value.lastUse })
    {
      unlink(path(of: oldest.key))
      bytes -= oldest.value.size
      entries[oldest.key] = nil
    }
    let used = bytes + reservedBytes
    if used > 0, used + needed > bytesMax, needed > 0 {
      throw FederationError(
        .resourceExhausted,
        "waiting for room in the artifact cache: \(ByteCount(needed)) are needed, \(ByteCount(used)) of \(ByteCount(bytesMax)) are in use",
        retryAfter: .seconds(5))
    }
  }

  /// Goes on where an earlier attempt was cut; verifies size and checksum before the object gets its name.
  private static func fetch(
    _ artifact: StoredArtifact, for run: RunID, from repository: any ArtifactRepository, partial: String, target: String
  ) async throws -> Int64 {
    let file = try POSIXFile.open(partial, O_RDWR | O_CREAT | O_NOFOLLOW)
    defer { POSIXFile.close(file) }
    var offset = Int64(lseek(file, 0, SEEK_END))
    if offset > artifact.size.bytes {
      ftruncate(file, 0)
      lseek(file, 0, SEEK_SET)
      offset = 0
    }
    let start = offset
    if offset < artifact.size.bytes {
      try await repository.get(artifact.key, for: run, from: offset) { data in
        offset += Int64(data.count)
        guard offset <= artifact.size.bytes else {
          throw FederationError(
            .failedPrecondition, "\(artifact.key) is longer than the \(artifact.size) that it should have")
        }
        try POSIXFile.write(file, data, artifact.key)
      }
    }
    guard offset == artifact.size.bytes else {
      throw FederationError(
        .unavailable, "the transfer of \(artifact.key) was cut at \(ByteCount(offset))", retryAfter: .seconds(1))
    }
    let (size, sha256) = try await BlockingWork.run {
      lseek(file, 0, SEEK_SET)
      return try ArtifactPacking.digest(file)
    }
    guard size == artifact.size.bytes, sha256 == artifact.sha256 else {
      // What came is wrong as a whole: the next attempt begins at 0.
      unlink(partial)
      throw FederationError(
        .unavailable, "the bytes of \(artifact.key) do not have the checksum that they should", retryAfter: .seconds(1))
    }
    guard fsync(file) == 0, rename(partial, target) == 0 else { throw POSIXFile.failure("Cannot keep \(artifact.key)") }
    return offset - start
  }
}
