internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Moves versions of data sets between the repository, where they are packs, this cache, where they are trees, and archives, which
/// are stores outside the federation. One pack at a time: what is there already is not sent again.
struct VersionMover: Sendable {
  let cache: DataCache
  let repository: any ArtifactRepository
  let sources: any SourceOpening
  let meters: LinkMeters

  // MARK: Into the repository

  /// Packs a version that is in this cache.
  ///
  /// - Returns: the list of its files with their packs, and how many bytes were sent.
  func store(_ key: DataKey, of project: ProjectName) async throws -> (manifest: StoredArtifact, moved: Int64) {
    let tree = cache.layout.tree(key)
    let asker = RepositoryAsker(run: nil, project: project)
    let manifest = try await BlockingWork.run { try ManifestFile(tree + "/manifest") }
    var packing = VersionPacking(manifest: manifest, data: tree + "/data", directory: cache.workDirectory)
    var moved: Int64 = 0
    while let pack = try await packing.next() {
      try Task.checkCancellation()
      try await repository.put(pack.file, as: DatasetManifest.path(of: pack.file.sha256), for: asker)
      moved += pack.file.size
      if pack.isTemporary { unlink(pack.file.path) }
    }
    let list = try await packing.list()
    defer { unlink(list.path) }
    let path = DatasetManifest.path(of: list.sha256)
    try await repository.put(list, as: path, for: asker)
    return (StoredArtifact(key: path, size: ByteCount(list.size), sha256: list.sha256, archive: .none), moved)
  }

  /// Brings the packs of a version back from its archive.
  func restore(
    _ key: DataKey, _ list: StoredArtifact, of project: ProjectName, from archive: DataOrigin
  ) async throws -> Int64 {
    try await eachPack(key, list, of: project) { pack, path, asker in
      let store = try await sources.open(.archive(archive), for: key, file: nil)
      do {
        try await ReplicaFetcher.copy(
          "objects/\(pack.sha256)", size: pack.size, from: store, to: path, TransferGauge(),
          meters[.archive(archive)])
        await store.close()
      } catch {
        await store.close()
        throw error
      }
      try await ReplicaFetcher.verify(path, name: pack.key, size: pack.size, sha256: pack.sha256)
      try await repository.put(
        PackedFile(path: path, size: pack.size, sha256: pack.sha256), as: pack.key, for: asker)
      return pack.size
    }
  }

  // MARK: Out of it

  /// Copies the packs of a version to an archive.
  ///
  /// - Returns: the bytes that were sent: what the archive has already is not.
  func archive(
    _ key: DataKey, _ list: StoredArtifact, of project: ProjectName, to target: DataOrigin
  ) async throws -> Int64 {
    try await eachPack(key, list, of: project) { pack, path, asker in
      let store = try await sources.open(.archive(target), for: key, file: nil)
      do {
        let name = "objects/\(pack.sha256)"
        var sent: Int64 = 0
        if try await store.size(of: name) != pack.size {
          try await fetch(pack, to: path, asker)
          // rclone sends it, and knows no limit of one link: so each pack waits until all before it would have been through.
          try await meters[.archive(target)].take(Int(pack.size))
          try await store.put(path, as: name)
          guard try await store.size(of: name) == pack.size else {
            throw FederationError(
              .unavailable, "the archive does not hold all of \(name) after its upload", retryAfter: .seconds(5))
          }
          sent = pack.size
        }
        await store.close()
        return sent
      } catch {
        await store.close()
        throw error
      }
    }
  }

  private func fetch(_ pack: DatasetManifest.Pack, to path: String, _ asker: RepositoryAsker) async throws {
    let file = try POSIXFile.open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW)
    defer { POSIXFile.close(file) }
    try await repository.get(pack.key, for: asker, from: 0) { try POSIXFile.write(file, $0, pack.key) }
    try await ReplicaFetcher.verify(path, name: pack.key, size: pack.size, sha256: pack.sha256)
  }

  /// Calls `body` for each pack of a list, with a place of its own for the pack's bytes.
  private func eachPack(
    _ key: DataKey, _ list: StoredArtifact, of project: ProjectName,
    _ body: (DatasetManifest.Pack, _ path: String, RepositoryAsker) async throws -> Int64
  ) async throws -> Int64 {
    let asker = RepositoryAsker(run: nil, project: project)
    let path = "\(cache.workDirectory)/version-\(UInt64.random(in: .min ... .max))"
    defer {
      unlink(path)
      unlink(path + ".list")
    }
    try await fetch(
      DatasetManifest.Pack(key: list.key, sha256: list.sha256, size: list.size.bytes), to: path + ".list", asker)
    let manifest = try await BlockingWork.run { try ManifestFile(path + ".list") }
    var moved: Int64 = 0
    for pack in manifest.header.packs {
      try Task.checkCancellation()
      moved += try await body(pack, path, asker)
      unlink(path)
    }
    return moved
  }
}

/// A file of this cache is not what it should be.
struct CorruptReplica: Error {
  var path: String
}

/// Puts the files of a tree into packs: small ones one behind another, each larger one by itself. What is packed has the checksum that
/// the tree's list says: a disk that lies is found here, and not by whoever fetches the files.
struct VersionPacking {
  let manifest: ManifestFile
  let data: String
  let directory: String
  private var cursor: ManifestCursor?
  private var packs: [DatasetManifest.Pack] = []
  private var numbers: [String: Int] = [:]
  /// By place in the list: which pack, and where in it; -1 for what has no bytes.
  private var places: [(pack: Int32, offset: Int64)] = []
  /// A file that did not fit into the pack before.
  private var waiting: (entry: DatasetManifest.Entry, place: Int)?

  init(manifest: ManifestFile, data: String, directory: String) {
    self.manifest = manifest
    self.data = data
    self.directory = directory
  }

  /// The next pack; nil when all files are in one.
  ///
  /// - Returns: `isTemporary`: the file is the caller's to delete; otherwise it is one of the tree's.
  mutating func next() async throws -> (file: PackedFile, isTemporary: Bool)? {
    if cursor == nil { cursor = try ManifestCursor(manifest) }
    var open: [(entry: DatasetManifest.Entry, place: Int)] = []
    var size: Int64 = 0
    while let (entry, place) = try take() {
      guard entry.link == nil, entry.size > 0 else { continue }
      if entry.size >= DatasetManifest.packedFileMax || size + entry.size > DatasetManifest.packBytesMax {
        guard open.isEmpty else {
          waiting = (entry, place)
          break
        }
        guard let sha256 = entry.sha256 else { throw Self.unknown(entry.path) }
        let path = data + "/" + entry.path
        try await BlockingWork.run {
          let input = try POSIXFile.open(path, O_RDONLY | O_NOFOLLOW)
          defer { POSIXFile.close(input) }
          try Self.check(input, entry)
        }
        places[place] = (try note(sha256, entry.size), 0)
        return (PackedFile(path: path, size: entry.size, sha256: sha256), false)
      }
      open.append((entry, place))
      size += entry.size
    }
    guard !open.isEmpty else { return nil }
    let file = try await write(open.map(\.entry))
    let number = try note(file.sha256, file.size)
    var offset: Int64 = 0
    for (entry, place) in open {
      places[place] = (number, offset)
      offset += entry.size
    }
    return (file, true)
  }

  /// The next file, and its place in the list.
  private mutating func take() throws -> (entry: DatasetManifest.Entry, place: Int)? {
    if let again = waiting {
      waiting = nil
      return again
    }
    guard let entry = try cursor!.next()?.entry else { return nil }
    places.append((-1, 0))
    return (entry, places.count - 1)
  }

  private mutating func note(_ sha256: String, _ size: Int64) throws -> Int32 {
    if let number = numbers[sha256] { return Int32(number) }
    guard packs.count < DatasetManifest.packsMax else {
      throw FederationError(.failedPrecondition, "it has too many large files to be packed")
    }
    numbers[sha256] = packs.count
    packs.append(DatasetManifest.Pack(key: DatasetManifest.path(of: sha256), sha256: sha256, size: size))
    return Int32(packs.count - 1)
  }

  private static func unknown(_ path: String) -> FederationError {
    FederationError(.internal, "the checksum of \(path) was not learnt")
  }

  /// Reads a file from its beginning, and leaves it there.
  private static func check(_ input: Int32, _ entry: DatasetManifest.Entry) throws {
    guard let sha256 = entry.sha256 else { throw unknown(entry.path) }
    let found = try ArtifactPacking.digest(input)
    guard found.size == entry.size, found.sha256 == sha256 else { throw CorruptReplica(path: entry.path) }
    lseek(input, 0, SEEK_SET)
  }

  private func write(_ entries: [DatasetManifest.Entry]) async throws -> PackedFile {
    let (data, directory) = (data, directory)
    return try await BlockingWork.run {
      try PackedFile.write(into: directory) { output in
        for entry in entries {
          let input = try POSIXFile.open(data + "/" + entry.path, O_RDONLY | O_NOFOLLOW)
          defer { POSIXFile.close(input) }
          try Self.check(input, entry)
          try ArtifactPacking.copy(from: input, to: output, entry.path)
        }
      }
    }
  }

  /// The list of all files, once all are packed.
  func list() async throws -> PackedFile {
    let (manifest, packs, places, directory) = (manifest, packs, places, directory)
    return try await BlockingWork.run {
      let header = DatasetManifest.Header(
        files: manifest.header.files, bytes: manifest.header.bytes, packs: packs)
      let cursor = try ManifestCursor(manifest)
      var rest = places.makeIterator()
      return try PackedFile.manifest(header, into: directory) {
        guard let place = rest.next(), var entry = try cursor.next()?.entry else { return nil }
        entry.pack = place.pack < 0 ? nil : Int(place.pack)
        entry.offset = place.pack < 0 ? nil : place.offset
        return entry
      }
    }
  }
}
