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
/// A replica that does not have its checksums is removed and told; what a run still waits for is fetched again by its own staging. One
/// that cannot be read now (no descriptor left, a network file system away) is not corrupt for that: it stays, and is looked at again.
final class CacheScrub: Sendable {
  struct State: Sendable {
    var replicas = 0
    var bytes: Int64 = 0
    var corrupt = 0
    var unexamined = 0
    var finishedAt: Timestamp?
  }

  private let cache: DataCache
  /// Between the ends of two rounds; nil: never.
  private let interval: Duration?
  private let meter: TransferMeter
  private let examine: Examination
  private let logger: Logger
  private let state = Mutex(State())

  /// What is wrong with a replica; nil when nothing is, or it is gone. Throws when that cannot be found out.
  typealias Examination = @Sendable (DataKey, CacheLayout, TransferMeter) throws -> String?
  private enum Finding {
    /// Or evicted meanwhile, or nobody waits for the answer any more.
    case sound
    case corrupt(String)
    case unexamined(String)
  }

  /// - Parameter bytesPerSecond: of the disk, at most.
  init(
    cache: DataCache, interval: Duration?, bytesPerSecond: Int64, examine: @escaping Examination = CacheScrub.examine,
    logger: Logger
  ) {
    self.cache = cache
    self.examine = examine
    self.interval = interval
    meter = TransferMeter(bytesPerSecond: bytesPerSecond)
    self.logger = logger
  }

  var summary: String {
    let state = state.withLock { $0 }
    guard let finished = state.finishedAt else { return interval == nil ? "off" : "not finished once yet" }
    let unexamined = state.unexamined == 0 ? "" : ", \(state.unexamined) that could not be read"
    return
      "\(state.replicas) replicas, \(ByteCount(state.bytes)), \(state.corrupt) corrupt\(unexamined); finished \(RFC3339.format(finished))"
  }

  /// Until the task is cancelled.
  func run() async {
    guard let interval, cache.reader == nil else { return }
    while (try? await Task.sleep(for: interval)) != nil { _ = await round() }
  }

  /// One look at everything, and a second one at what could not be read the first time.
  @discardableResult
  func round() async -> State {
    var round = State()
    var rest = await cache.replicas()
    for isLast in [false, true] {
      var again: [(key: DataKey, size: Int64, lastUse: Timestamp)] = []
      for replica in rest {
        if Task.isCancelled { break }
        let finding = await look(at: replica.key)
        if case .unexamined = finding, !isLast {
          again.append(replica)
          continue
        }
        await note(finding, replica.key, in: &round)
        round.replicas += 1
        round.bytes += replica.size
      }
      rest = again
    }
    round.finishedAt = SystemClock.now
    state.withLock { [round] in $0 = round }
    return round
  }

  private func note(_ finding: Finding, _ key: DataKey, in round: inout State) async {
    // What was evicted meanwhile is nobody's fault.
    guard await cache.size(of: key) != nil else { return }
    switch finding {
    case .sound: break
    case .unexamined(let problem):
      round.unexamined += 1
      logger.warning(
        "a replica cannot be read now; it stays", metadata: ["data": "\(key)", "problem": "\(problem)"])
    case .corrupt(let problem):
      round.corrupt += 1
      logger.error("a replica is corrupt, and removed", metadata: ["data": "\(key)", "problem": "\(problem)"])
      if let again = await cache.corrupt(key) { refetch(again.wanted, again.holder) }
    }
  }

  private func look(at key: DataKey) async -> Finding {
    let (layout, meter, examine) = (cache.layout, meter, examine)
    do {
      return try await BlockingWork.run { try examine(key, layout, meter) }.map { .corrupt($0) } ?? .sound
    } catch {
      let isNobodys = error is CancellationError || POSIXFile.isMissing(layout.replica(key))
      return isNobodys ? .sound : .unexamined("\(error)")
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
  ///
  /// - Throws: when that cannot be found out.
  static func examine(_ key: DataKey, _ layout: CacheLayout, _ meter: TransferMeter) throws -> String? {
    if let sha256 = key.sha256 {
      guard let status = try POSIXFile.status(layout.object(sha256)) else { return nil }
      guard status.st_mode & S_IFMT == S_IFREG else { return "it is no file" }
      return try digest(layout.object(sha256), meter) == sha256 ? nil : "it has another checksum than its name"
    }
    let tree = layout.tree(key)
    guard try POSIXFile.status(tree) != nil else { return nil }
    // Whoever keeps it elsewhere looks after it.
    if KeptReplica.place(tree) != nil { return nil }
    var problem: String?
    do {
      guard try POSIXFile.status(tree + "/manifest") != nil else {
        return try POSIXFile.status(tree) == nil ? nil : "its manifest is missing"
      }
      try ManifestFile.each(tree + "/manifest") { entry in
        guard problem == nil else { return }
        let path = tree + "/data/" + entry.path
        guard let status = try POSIXFile.status(path) else {
          problem = "\(entry.path) is missing"
          return
        }
        if entry.link != nil {
          if status.st_mode & S_IFMT != S_IFLNK { problem = "\(entry.path) is no link" }
        } else if status.st_mode & S_IFMT != S_IFREG {
          problem = "\(entry.path) is no file"
        } else if Int64(status.st_size) != entry.size {
          problem = "\(entry.path) has \(status.st_size) bytes, not \(entry.size)"
        } else if let sha256 = entry.sha256, try digest(path, meter) != sha256 {
          problem = "\(entry.path) has another checksum"
        }
      }
    } catch let error as FederationError where error.code == .invalidArgument {
      problem = "its manifest cannot be read"
    }
    return try POSIXFile.status(tree) == nil ? nil : problem
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
