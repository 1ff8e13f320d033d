internal import FederationModel
internal import FoundationEssentials
internal import Rclone
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Lists what is at an origin, and puts the list into the repository as a manifest.
struct OriginIndexer: Sendable {
  struct Listed: Sendable {
    var manifest: StoredArtifact
    var files: Int64
    var bytes: Int64
    /// Each file has a checksum, or the time of its last change.
    var isValidated: Bool
  }
  /// The list is sorted in memory.
  static let filesMax = 2_000_000

  let sources: SourceAccess
  let repository: any ArtifactRepository
  /// What commits were packed to, by repository and commit.
  private let packed = PackedCommits()

  init(sources: SourceAccess, repository: any ArtifactRepository) {
    self.sources = sources
    self.repository = repository
  }

  /// - Throws: `.failedPrecondition` for an origin of which no data set can be made, saying why.
  func index(
    _ origin: DataOrigin, key: DataKey, as repositoryKey: String, of project: ProjectName, in directory: String
  ) async throws -> Listed {
    if let git = try GitSource(origin.uri) {
      return try await index(git, origin, key: key, as: repositoryKey, of: project, in: directory)
    }
    let entries = try await list(origin, key)
    let file = try await BlockingWork.run { try Self.write(entries, in: directory) }
    defer { unlink(file.path) }
    try await repository.put(file, as: repositoryKey, for: RepositoryAsker(run: nil, project: project))
    return Listed(
      manifest: StoredArtifact(key: repositoryKey, size: ByteCount(file.size), sha256: file.sha256, archive: .none),
      files: Int64(entries.count), bytes: entries.reduce(0) { $0 &+ $1.size },
      isValidated: entries.allSatisfy { $0.sha256 != nil || $0.modified != nil })
  }

  /// A git repository is checked out and packed here, once for everybody: its one file goes into the repository with the list that names
  /// it. A commit that was packed before is not packed again while the repository has what came of it.
  private func index(
    _ git: GitSource, _ origin: DataOrigin, key: DataKey, as repositoryKey: String, of project: ProjectName,
    in directory: String
  ) async throws -> Listed {
    let asker = RepositoryAsker(run: nil, project: project)
    let values =
      if let secret = origin.secret { try await sources.secrets.values(of: secret, for: key) } else {
        [String: String]()
      }
    let checkout = try GitCheckout(git, values: values, in: directory)
    let name = try await checkout.commit().map { PackedCommits.Name(uri: origin.uri, commit: $0, project: project) }
    var pack: DatasetManifest.Pack
    if let known = name.flatMap({ packed[$0] }), try await repository.holds(known, for: asker) {
      pack = known
    } else {
      let file = try await checkout.pack(into: directory)
      defer { unlink(file.path) }
      pack = DatasetManifest.Pack(
        key: DatasetManifest.path(of: file.sha256), sha256: file.sha256, size: file.size)
      try await repository.put(file, as: pack.key, for: asker)
      if let name { packed[name] = pack }
    }
    let list = try await BlockingWork.run { [pack] in
      var isOver = false
      return try PackedFile.manifest(.init(files: 1, bytes: pack.size, packs: [pack]), into: directory) {
        guard !isOver else { return nil }
        isOver = true
        var entry = DatasetManifest.Entry(path: DataOrigin.gitArchive, size: pack.size, sha256: pack.sha256)
        (entry.pack, entry.offset) = (0, 0)
        return entry
      }
    }
    defer { unlink(list.path) }
    try await repository.put(list, as: repositoryKey, for: asker)
    return Listed(
      manifest: StoredArtifact(key: repositoryKey, size: ByteCount(list.size), sha256: list.sha256, archive: .none),
      files: 1, bytes: pack.size, isValidated: true)
  }

  private func list(_ origin: DataOrigin, _ key: DataKey) async throws -> [RcloneClient.Listed] {
    var failure: (any Error)?
    // An address without a slash at its end may be one file's. That is asked first: it costs one question, and stores differ in what
    // they answer when a file is listed like a directory.
    if let name = origin.fileName {
      do {
        let found = try await list(origin, key, file: name)
        if !found.isEmpty { return found }
      } catch let error as FederationError where error.code == .notFound {
      } catch {
        try Task.checkCancellation()
        failure = error
      }
    }
    do {
      let found = try await list(origin, key, file: nil)
      if !found.isEmpty { return found }
    } catch let error as FederationError where error.code == .notFound {
    } catch {
      throw failure ?? error
    }
    throw failure ?? FederationError(.failedPrecondition, "\(DataOrigin.nothingThere) \(origin.uri)")
  }

  private func list(_ origin: DataOrigin, _ key: DataKey, file: String?) async throws -> [RcloneClient.Listed] {
    let store = try await sources.open(origin, for: key, file: file)
    let found = Mutex<[RcloneClient.Listed]>([])
    do {
      try await store.list { listed in
        guard listed.size >= 0 else {
          throw FederationError(.failedPrecondition, "the origin does not tell the size of \(listed.path)")
        }
        let count = found.withLock { found in
          found.append(listed)
          return found.count
        }
        guard count <= Self.filesMax else {
          throw FederationError(.failedPrecondition, "there are more than \(Self.filesMax) files")
        }
      }
      await store.close()
    } catch {
      await store.close()
      throw error
    }
    return found.withLock { $0.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) } }
  }

  private static func write(_ entries: [RcloneClient.Listed], in directory: String) throws -> PackedFile {
    var bytes: Int64 = 0
    for entry in entries {
      let (sum, overflow) = bytes.addingReportingOverflow(entry.size)
      guard !overflow else { throw FederationError(.failedPrecondition, "its files are too large together") }
      bytes = sum
    }
    var rest = entries.makeIterator()
    return try PackedFile.manifest(.init(files: Int64(entries.count), bytes: bytes), into: directory) {
      rest.next().map { .init(path: $0.path, size: $0.size, sha256: $0.sha256, modified: $0.modified) }
    }
  }
}

extension PackedFile {
  /// A data set's manifest in a new file, entry by entry until `next` has none.
  static func manifest(
    _ header: DatasetManifest.Header, into directory: String, _ next: () throws -> DatasetManifest.Entry?
  ) throws -> PackedFile {
    try write(into: directory) { output in
      var (writer, text) = try DatasetManifestWriter.begin(header)
      while let entry = try next() {
        try writer.append(entry, to: &text)
        guard text.count > 256 << 10 else { continue }
        try POSIXFile.write(output, text, "a manifest")
        text.removeAll(keepingCapacity: true)
      }
      try writer.finish()
      try POSIXFile.write(output, text, "a manifest")
    }
  }
}

/// What commits were packed to. In memory: after a restart they are packed again.
private final class PackedCommits: Sendable {
  struct Name: Hashable, Sendable {
    var uri: String
    var commit: String
    var project: ProjectName
  }
  private static let countMax = 1000
  private let packs = Mutex<[Name: DatasetManifest.Pack]>([:])

  subscript(_ name: Name) -> DatasetManifest.Pack? {
    get { packs.withLock { $0[name] } }
    set {
      packs.withLock { packs in
        if packs.count >= Self.countMax { packs = [:] }
        packs[name] = newValue
      }
    }
  }
}
