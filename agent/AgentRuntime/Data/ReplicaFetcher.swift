internal import Crypto
internal import FederationModel
internal import FoundationEssentials
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Opens the places that a `DataSource` names.
protocol SourceOpening: Sendable {
  /// - Parameters:
  ///   - source: an origin or an export; the repository is asked otherwise.
  ///   - key: what is fetched from there: its name opens what needs a credential.
  ///   - file: the name of the only file, where one is known to be all.
  func open(_ source: DataSource, for key: DataKey, file: String?) async throws -> any FileStore
}

/// Fetches replicas from the first of their sources that gives the right bytes.
struct ReplicaFetcher: ReplicaFetching {
  /// Files, or packs, of one replica at once.
  static let parallelFiles = 8
  static let parallelPacks = 4

  let repository: any ArtifactRepository
  let sources: any SourceOpening
  let meters: LinkMeters

  func fetch(_ wanted: WantedReplica, for run: RunID?, into layout: CacheLayout, _ gauge: TransferGauge) async throws {
    try await withTaskCancellationHandler {
      try await fetchFromAny(wanted, for: run, into: layout, gauge)
    } onCancel: {
      gauge.cancel()
    }
  }

  private func fetchFromAny(
    _ wanted: WantedReplica, for run: RunID?, into layout: CacheLayout, _ gauge: TransferGauge
  ) async throws {
    let asker = RepositoryAsker(run: run, project: wanted.project)
    var failures: [any Error] = []
    for source in wanted.sources {
      gauge.begin(source)
      do {
        if wanted.manifest == nil, let sha256 = wanted.key.sha256 {
          return try await fetchObject(sha256, wanted, from: source, asker, layout, gauge)
        }
        return try await TreeFetch(fetcher: self, wanted: wanted, asker: asker, layout: layout, gauge: gauge)
          .fetch(from: source)
      } catch {
        if Task.isCancelled { throw CancellationError() }
        failures.append(error)
      }
    }
    throw Self.summary(failures, wanted)
  }

  /// Worth another try when one of the sources may do later; the last one's words, because it is the one that has the bytes for sure.
  static func summary(_ failures: [any Error], _ wanted: WantedReplica) -> any Error {
    guard let last = failures.last else {
      return FederationError(.failedPrecondition, "\(wanted.key) can be had nowhere: no source is named for it")
    }
    guard (last as? FederationError)?.isRetryable != true,
      let other = failures.first(where: { ($0 as? FederationError)?.isRetryable == true })
    else { return last }
    return other
  }

  // MARK: One object

  private func fetchObject(
    _ sha256: String, _ wanted: WantedReplica, from source: DataSource, _ asker: RepositoryAsker, _ layout: CacheLayout,
    _ gauge: TransferGauge
  ) async throws {
    let partial = layout.partial + "/" + sha256
    let name: String
    switch source {
    case .repository(let key?):
      name = key
      try await download(key, size: wanted.size, asker, to: partial, gauge)
    case .repository(nil):
      throw FederationError(.failedPrecondition, "no key in the repository is named for \(wanted.key)")
    case .archive: throw FederationError(.internal, "an artifact has no archive")
    case .export, .origin:
      let store = try await sources.open(source, for: wanted.key, file: nil)
      name = if case .export = source { "objects/\(sha256)" } else { store.only ?? "" }
      do {
        try await Self.copy(name, size: wanted.size, from: store, to: partial, gauge, meters[source])
        await store.close()
      } catch {
        await store.close()
        throw error
      }
    }
    try await Self.verify(partial, name: name, size: wanted.size, sha256: sha256)
    guard rename(partial, layout.object(sha256)) == 0 else { throw POSIXFile.failure("Cannot keep \(name)") }
  }

  /// Brings an object of the repository to `path`, from where an earlier attempt was cut.
  func download(
    _ key: String, size: Int64, _ asker: RepositoryAsker, to path: String, _ gauge: TransferGauge
  ) async throws {
    // A disk may hang, above all one behind a network: nothing else of the agent's must wait for it.
    let (file, begin) = try await BlockingWork.run {
      let file = try POSIXFile.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
      return (file, Self.position(file, size: size))
    }
    defer { POSIXFile.close(file) }
    var offset = begin
    gauge.found(offset)
    if offset < size {
      var disk = EarlyWriting(file, from: offset)
      try await repository.get(key, for: asker, from: offset) { data in
        offset += Int64(data.count)
        guard offset <= size else {
          throw FederationError(
            .failedPrecondition, "\(key) is longer than the \(ByteCount(size)) that it should have")
        }
        disk = try await BlockingWork.run { [disk, offset] in
          try POSIXFile.write(file, data, key)
          var disk = disk
          disk.reached(offset)
          return disk
        }
        gauge.moved(data.count)
      }
    }
    guard offset == size else { throw Self.cut(key, offset) }
  }

  /// Brings a file of a store to `path`, from where an earlier attempt was cut.
  static func copy(
    _ name: String, size: Int64, from store: any FileStore, to path: String, _ gauge: TransferGauge,
    _ meter: TransferMeter
  ) async throws {
    try await store.reading { reader in
      let file = try POSIXFile.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
      defer { POSIXFile.close(file) }
      var offset = Self.position(file, size: size)
      gauge.found(offset)
      if offset < size {
        var disk = EarlyWriting(file, from: offset)
        try reader.read(name, from: offset) { bytes in
          offset += Int64(bytes.count)
          guard offset <= size else {
            throw FederationError(.failedPrecondition, "\(name) is longer than it should be")
          }
          meter.takeBlocking(bytes.count)
          try POSIXFile.write(file, bytes, name)
          disk.reached(offset)
          gauge.moved(bytes.count)
        }
      }
      guard offset == size else { throw Self.cut(name, offset) }
    }
  }

  /// Where to go on in what an earlier attempt left; at the beginning when that is too long.
  static func position(_ file: Int32, size: Int64) -> Int64 {
    let end = Int64(lseek(file, 0, SEEK_END))
    guard end > size else { return end }
    ftruncate(file, 0)
    lseek(file, 0, SEEK_SET)
    return 0
  }

  static func cut(_ name: String, _ offset: Int64) -> FederationError {
    FederationError(
      .unavailable, "the transfer of \(name) was cut at \(ByteCount(offset))", retryAfter: .seconds(1))
  }

  /// What is wrong as a whole is deleted: the next attempt begins at 0.
  ///
  /// - Parameter isKept: it stays as it is, and so must have reached the disk.
  static func verify(_ path: String, name: String, size: Int64, sha256: String, isKept: Bool = true) async throws {
    try await BlockingWork.run {
      let file = try POSIXFile.open(path, O_RDWR | O_NOFOLLOW)
      defer { POSIXFile.close(file) }
      let found = try ArtifactPacking.digest(file)
      guard found.size == size, found.sha256 == sha256 else {
        unlink(path)
        throw FederationError(
          .unavailable,
          "the bytes of \(name) do not have the checksum that they should; if this stays so, upload them again",
          retryAfter: .seconds(1))
      }
      guard !isKept || fsync(file) == 0 else { throw POSIXFile.failure("Cannot keep \(name)") }
    }
  }
}
