internal import CSupervisor
internal import Crypto
internal import FederationModel
internal import FoundationEssentials
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Fetches a data set: every file below a directory of its own, verified, then one rename.
///
/// Files that are there whole are not fetched again, also after a restart of the agent; after a restart of the machine everything is,
/// because nothing then proves that their bytes had reached the disk.
struct TreeFetch: Sendable {
  let fetcher: ReplicaFetcher
  let wanted: WantedReplica
  let asker: RepositoryAsker
  let layout: CacheLayout
  let gauge: TransferGauge

  private var directory: String { layout.partialTree(wanted.key) }
  private var data: String { directory + "/data" }
  private var parts: String { directory + "/parts" }

  func fetch(from source: DataSource) async throws {
    let directory = directory
    try await BlockingWork.run { try Self.prepare(directory) }
    let manifest = try await openManifest()
    let learnt = LearntChecksums()
    if case .repository = source {
      try await fetchPacks(manifest, from: nil)
    } else {
      let only = manifest.header.files == 1 ? try ManifestCursor(manifest).next()?.entry.path : nil
      let store = try await fetcher.sources.open(source, for: wanted.key, file: only)
      do {
        if case .archive = source {
          try await fetchPacks(manifest, from: (store, source))
        } else {
          try await fetchFiles(manifest, from: store, source, learnt)
        }
        await store.close()
      } catch {
        await store.close()
        throw error
      }
    }
    let wanted = wanted
    let layout = layout
    try await BlockingWork.run {
      try Self.publish(wanted, manifest, learnt, from: directory, in: layout)
    }
  }

  /// Makes the directory, or finds what an earlier attempt on this boot of this machine left there.
  private static func prepare(_ directory: String) throws {
    let boot = bootID()
    let known = (try? POSIXFile.open(directory + "/boot", O_RDONLY | O_NOFOLLOW)).map { file in
      defer { POSIXFile.close(file) }
      return String(decoding: (try? POSIXFile.readAll(file, limit: 128)) ?? [], as: UTF8.self)
    }
    if known != boot { POSIXFile.removeTree(directory) }
    for path in [directory, directory + "/data", directory + "/parts"] { try POSIXFile.makeDirectories(path) }
    let file = try POSIXFile.open(directory + "/boot", O_WRONLY | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(file) }
    try POSIXFile.write(file, Data(boot.utf8), "a transfer")
  }

  private static func bootID() -> String {
    guard let file = try? POSIXFile.open("/proc/sys/kernel/random/boot_id", O_RDONLY) else { return "unknown" }
    defer { POSIXFile.close(file) }
    return String(decoding: (try? POSIXFile.readAll(file, limit: 64)) ?? [], as: UTF8.self)
  }

  // MARK: The manifest

  private func openManifest() async throws -> ManifestFile {
    let path = directory + "/manifest"
    if let manifest = wanted.manifest {
      if access(path, F_OK) != 0 {
        let partial = directory + "/manifest.part"
        try await fetcher.download(
          manifest.key, size: manifest.size.bytes, asker, to: partial, TransferGauge())
        try await ReplicaFetcher.verify(
          partial, name: manifest.key, size: manifest.size.bytes, sha256: manifest.sha256)
        guard rename(partial, path) == 0 else { throw POSIXFile.failure("Cannot keep a manifest") }
      }
    } else {
      try makeManifestOfOne(path)
    }
    let wanted = wanted
    let learnt = layout.learntManifest(wanted.key)
    return try await BlockingWork.run {
      let manifest = try ManifestFile(path)
      guard manifest.header.bytes == wanted.size else {
        throw FederationError(
          .failedPrecondition,
          "the manifest of \(wanted.key) lists \(ByteCount(manifest.header.bytes)), not \(ByteCount(wanted.size))")
      }
      try manifest.learn(from: learnt)
      return manifest
    }
  }

  /// A foreign object has no list: it is one file, named as its origin names it.
  private func makeManifestOfOne(_ path: String) throws {
    var name = "data"
    for case .origin(let origin) in wanted.sources {
      let last = origin.uri.prefix { $0 != "?" && $0 != "#" }.split(separator: "/").last.map(String.init) ?? name
      if (try? DatasetManifest.check(path: last)) != nil, !last.contains(":") { name = last }
    }
    var (writer, text) = try DatasetManifestWriter.begin(.init(files: 1, bytes: wanted.size))
    try writer.append(.init(path: name, size: wanted.size), to: &text)
    let file = try POSIXFile.open(path, O_WRONLY | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(file) }
    try POSIXFile.write(file, text, "a manifest")
  }

  // MARK: Packs

  /// - Parameter archive: where the packs are; nil: in the repository.
  private func fetchPacks(_ manifest: ManifestFile, from archive: (store: any FileStore, source: DataSource)?)
    async throws
  {
    let data = data
    try await BlockingWork.run { try manifest.placeEmpty(in: TreeWriter(data)) }
    let count = manifest.header.packs.count
    try await withThrowingTaskGroup(of: Void.self) { group in
      var next = 0
      func begin() {
        guard next < count else { return }
        let index = next
        next += 1
        group.addTask { try await fetchPack(index, manifest, from: archive) }
      }
      for _ in 0..<ReplicaFetcher.parallelPacks { begin() }
      while try await group.next() != nil { begin() }
    }
  }

  private func fetchPack(
    _ index: Int, _ manifest: ManifestFile, from archive: (store: any FileStore, source: DataSource)?
  ) async throws {
    let pack = manifest.header.packs[index]
    let data = data
    let isThere = try await BlockingWork.run { try manifest.isWhole(pack: index, in: TreeWriter(data)) }
    if isThere { return gauge.found(pack.size) }
    // In the tree's own directory: another tree may fetch the same pack at the same time.
    let path = "\(parts)/pack-\(index)"
    if let archive {
      try await ReplicaFetcher.copy(
        "objects/\(pack.sha256)", size: pack.size, from: archive.store, to: path, gauge, fetcher.meters[archive.source])
    } else {
      try await fetcher.download(pack.key, size: pack.size, asker, to: path, gauge)
    }
    // Its files are synced with the whole tree; it goes itself.
    try await ReplicaFetcher.verify(path, name: pack.key, size: pack.size, sha256: pack.sha256, isKept: false)
    try await BlockingWork.run {
      try manifest.unpack(pack: index, at: path, into: TreeWriter(data))
      unlink(path)
    }
  }

  // MARK: Files

  private func fetchFiles(
    _ manifest: ManifestFile, from store: any FileStore, _ source: DataSource, _ learnt: LearntChecksums
  ) async throws {
    let cursor = try ManifestCursor(manifest)
    let prefix = if case .export = source { "trees/\(CacheLayout.treeName(wanted.key))/data/" } else { "" }
    let worker = FileWorker(
      manifest: manifest, cursor: cursor, prefix: prefix, data: data, parts: parts, gauge: gauge,
      meter: fetcher.meters[source],
      learnt: learnt)
    let count = Int(max(1, min(Int64(ReplicaFetcher.parallelFiles), manifest.header.files)))
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<count {
        group.addTask { try await store.reading { try worker.run($0) } }
      }
      try await group.waitForAll()
    }
  }

  // MARK: Publication

  private static func publish(
    _ wanted: WantedReplica, _ manifest: ManifestFile, _ learnt: LearntChecksums, from directory: String,
    in layout: CacheLayout
  ) throws {
    if try manifest.write(learnt, to: directory + "/manifest.new", data: TreeWriter(directory + "/data")) {
      guard rename(directory + "/manifest.new", directory + "/manifest") == 0 else {
        throw POSIXFile.failure("Cannot keep a manifest")
      }
      try manifest.copy(from: directory + "/manifest", to: layout.learntManifest(wanted.key))
    }
    POSIXFile.removeTree(directory + "/parts")
    unlink(directory + "/boot")
    unlink(directory + "/manifest.part")
    let record = try POSIXFile.open(directory + "/key", O_WRONLY | O_CREAT | O_TRUNC)
    try POSIXFile.write(record, Data(TreeRecord(key: wanted.key, size: wanted.size).text.utf8), "a data set")
    POSIXFile.close(record)
    // Whose runs read it may be another user.
    chmod(directory, layout.treeMode)
    chmod(directory + "/data", 0o755)
    let file = try POSIXFile.open(directory, O_RDONLY | O_DIRECTORY)
    defer { POSIXFile.close(file) }
    let code = csupervisor_sync_file_system(file)
    guard code == 0 else { throw POSIXFile.failure("Cannot keep a data set", -code) }
    if rename(directory, layout.tree(wanted.key)) != 0 {
      // What is there is no data set: it would have been found.
      guard errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR else {
        throw POSIXFile.failure("Cannot publish a data set")
      }
      POSIXFile.removeTree(layout.tree(wanted.key))
      guard rename(directory, layout.tree(wanted.key)) == 0 else {
        throw POSIXFile.failure("Cannot publish a data set")
      }
    }
    let parent = try POSIXFile.open(layout.trees, O_RDONLY | O_DIRECTORY)
    defer { POSIXFile.close(parent) }
    fsync(parent)
  }
}

/// Checksums of files whose manifest has none, by the place of their lines.
final class LearntChecksums: Sendable {
  private let known = Mutex<[Int64: String]>([:])
  subscript(line: Int64) -> String? {
    get { known.withLock { $0[line] } }
    set { known.withLock { $0[line] = newValue } }
  }
}
