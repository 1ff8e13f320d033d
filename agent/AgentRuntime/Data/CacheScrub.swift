internal import Crypto
internal import FederationModel
internal import Logging
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Reads the whole cache again, slowly and for ever: a disk that lies is found before a run reads its lies.
///
/// A replica that does not have its checksums is removed and told; what a run still waits for is fetched again by its own staging.
final class CacheScrub: Sendable {
  struct State: Sendable {
    var replicas = 0
    var bytes: Int64 = 0
    var corrupt = 0
    var finishedAt: Timestamp?
  }

  private let cache: DataCache
  /// Between the ends of two rounds; nil: never.
  private let interval: Duration?
  private let meter: TransferMeter
  private let logger: Logger
  private let state = Mutex(State())

  /// - Parameter bytesPerSecond: of the disk, at most.
  init(cache: DataCache, interval: Duration?, bytesPerSecond: Int64, logger: Logger) {
    self.cache = cache
    self.interval = interval
    meter = TransferMeter(bytesPerSecond: bytesPerSecond)
    self.logger = logger
  }

  var summary: String {
    let state = state.withLock { $0 }
    guard let finished = state.finishedAt else { return interval == nil ? "off" : "not finished once yet" }
    return
      "\(state.replicas) replicas, \(ByteCount(state.bytes)), \(state.corrupt) corrupt; finished \(RFC3339.format(finished))"
  }

  /// Until the task is cancelled.
  func run() async {
    guard let interval, cache.reader == nil else { return }
    while (try? await Task.sleep(for: interval)) != nil { _ = await round() }
  }

  /// One look at everything.
  @discardableResult
  func round() async -> State {
    var round = State()
    for replica in await cache.replicas() {
      if Task.isCancelled { break }
      let layout = cache.layout
      let meter = meter
      let key = replica.key
      let problem = await problem(of: key, layout, meter)
      round.replicas += 1
      round.bytes += replica.size
      // What was evicted meanwhile is nobody's fault.
      guard let problem, await cache.size(of: key) != nil else { continue }
      round.corrupt += 1
      logger.error("a replica is corrupt, and removed", metadata: ["data": "\(key)", "problem": "\(problem)"])
      if let again = await cache.corrupt(key) { refetch(again.wanted, again.holder) }
    }
    round.finishedAt = SystemClock.now
    state.withLock { $0 = round }
    return round
  }

  /// nil: it is sound, or it was evicted, or nobody waits for the answer any more.
  private func problem(of key: DataKey, _ layout: CacheLayout, _ meter: TransferMeter) async -> String? {
    do {
      return try await BlockingWork.run { try Self.examine(key, layout, meter) }
    } catch {
      return error is CancellationError || access(layout.replica(key), F_OK) != 0 ? nil : "it cannot be read: \(error)"
    }
  }

  /// For runs that have staged it and not begun: nobody else would fetch it for them.
  private func refetch(_ wanted: WantedReplica, _ holder: ReplicaHolder) {
    let (cache, logger) = (cache, logger)
    Task {
      for attempt in 0..<8 {
        do {
          _ = try await cache.obtain(wanted, for: holder)
          return
        } catch {
          logger.warning(
            "a corrupt replica cannot be fetched again yet", metadata: ["data": "\(wanted.key)", "error": "\(error)"])
          try? await Task.sleep(for: RunDriver.pause(attempt + 2))
        }
      }
    }
  }

  /// What is wrong; nil when all is as it should be, or is gone.
  static func examine(_ key: DataKey, _ layout: CacheLayout, _ meter: TransferMeter) throws -> String? {
    if let sha256 = key.sha256 {
      guard access(layout.object(sha256), F_OK) == 0 else { return nil }
      return try digest(layout.object(sha256), meter) == sha256 ? nil : "it has another checksum than its name"
    }
    let tree = layout.tree(key)
    guard access(tree, F_OK) == 0 else { return nil }
    var problem: String?
    do {
      try ManifestFile.each(tree + "/manifest") { entry in
        guard problem == nil else { return }
        let path = tree + "/data/" + entry.path
        var status = stat()
        guard lstat(path, &status) == 0 else {
          problem = "\(entry.path) is missing"
          return
        }
        if entry.link != nil {
          if status.st_mode & S_IFMT != S_IFLNK { problem = "\(entry.path) is no link" }
        } else if Int64(status.st_size) != entry.size {
          problem = "\(entry.path) has \(status.st_size) bytes, not \(entry.size)"
        } else if let sha256 = entry.sha256, try digest(path, meter) != sha256 {
          problem = "\(entry.path) has another checksum"
        }
      }
    } catch let error as FederationError where error.code == .invalidArgument {
      problem = "its manifest cannot be read"
    }
    return access(tree, F_OK) == 0 ? problem : nil
  }

  private static func digest(_ path: String, _ meter: TransferMeter) throws -> String {
    let file = try POSIXFile.open(path, O_RDONLY | O_NOFOLLOW)
    defer { POSIXFile.close(file) }
    var hash = SHA256()
    while true {
      let bytes = try POSIXFile.read(file, upTo: 256 << 10)
      if bytes.isEmpty { break }
      meter.takeBlocking(bytes.count)
      bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
    }
    return ArtifactPacking.hexadecimal(hash.finalize())
  }
}
