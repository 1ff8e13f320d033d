import ControlPlaneStore
import FederationAPI
import FederationModel

/// The objects of the repository that uploaded data sets are made of: packs and manifests, each under the checksum of its content.
///
/// A project's versions share what they have in common, and an object never changes: nobody but these uploads may write below
/// `DatasetManifest.prefix`, and what an upload brings is what its name says.
struct DatasetRepository: Sendable {
  let store: ControlPlaneStore
  let artifacts: any ArtifactStore
  /// Of the process: what one request has looked at serves the next.
  let verified: VerifiedPacks

  /// Of one object: the most that S3 takes as one.
  static let objectBytesMax: Int64 = 5 << 40
  /// Packs that are looked at or copied at once.
  static let parallel = 16
  /// A request that checks or copies a version may take so long; a repeated one finds what the first one has done.
  static let requestLimit = DatasetVersionRequest.answerLimit

  static func key(_ sha256: String, of project: ProjectName) throws -> ArtifactKey {
    guard sha256.utf8.count == 64, sha256.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
    else {
      throw FederationError(
        .invalidArgument,
        "an object is named by its SHA-256, 64 lower-case hexadecimal digits, not \"\(sha256.prefix(80))\"")
    }
    return try ArtifactKey(project: project, path: DatasetManifest.path(of: sha256))
  }

  // MARK: Uploads

  /// How many bytes of each object are there, from its beginning. They are kept for a while from now on.
  func positions(of objects: [DatasetManifest.Pack], in project: ProjectName, at now: Timestamp) async throws -> [Int64]
  {
    // Noted first: what is found now is not swept before its version is made.
    try await store.seePacks(objects, of: project, at: now)
    return try await objects.concurrentMap(limit: Self.parallel) { object in
      try await artifacts.position(
        of: try Self.key(object.sha256, of: project), content: ArtifactStat(size: object.size, sha256: object.sha256))
    }
  }

  /// What a version is made of, once everything of it is there.
  ///
  /// - Parameter manifest: as it was uploaded.
  /// - Throws: `.invalidArgument` for a manifest that is none; `.failedPrecondition` for packs that are not there.
  func check(_ manifest: ArtifactStat, of project: ProjectName, at now: Timestamp) async throws
    -> DatasetManifest.Header
  {
    let key = try Self.key(manifest.sha256, of: project)
    guard try await artifacts.stat(key) == manifest else {
      throw FederationError(
        .failedPrecondition, "the manifest \(manifest.sha256) of \(manifest.size) bytes is not there; upload it first")
    }
    let header = try await read(key) { entry in
      guard entry.link != nil || (entry.sha256 != nil && (entry.pack != nil || entry.size == 0)) else {
        throw FederationError(
          .invalidArgument, "the manifest says neither what \(entry.path.prefix(200)) is nor where its bytes are")
      }
    }
    guard header.packs.allSatisfy({ $0.key == DatasetManifest.path(of: $0.sha256) }) else {
      throw FederationError(
        .invalidArgument,
        "the manifest names objects outside \(DatasetManifest.objects): packs are named by their SHA-256")
    }
    try await register(manifest, at: key.path, header.packs, of: project, at: now)
    let missing = try await missing(header.packs, of: .init(project: project, sha256: manifest.sha256), at: now)
    guard missing.isEmpty else {
      throw FederationError(
        .failedPrecondition,
        "\(missing.count) of \(header.packs.count) packs are not there, the first is \(missing[0].sha256); upload them again"
      )
    }
    return header
  }

  /// Notes what a version needs. An uploaded manifest is an object like its packs, and needs itself.
  func register(
    _ manifest: ArtifactStat?, at path: String, _ packs: [DatasetManifest.Pack], of project: ProjectName,
    at now: Timestamp
  ) async throws {
    var packs = packs
    if let manifest, path == DatasetManifest.path(of: manifest.sha256) {
      packs.append(DatasetManifest.Pack(key: path, sha256: manifest.sha256, size: manifest.size))
    }
    try await store.register(manifest: path, of: project, packs: packs, at: now)
  }

  /// The packs of a manifest, which is registered, that are not in the repository. What was seen is remembered piece by piece: a request
  /// that ran out of time leaves less to the next.
  private func missing(
    _ packs: [DatasetManifest.Pack], of manifest: VerifiedPacks.Name, at now: Timestamp
  ) async throws -> [DatasetManifest.Pack] {
    let isThere = try await eachUnknown(packs, of: manifest, at: now) { pack in
      let stat = try await artifacts.stat(try Self.key(pack.sha256, of: manifest.project))
      return stat == ArtifactStat(size: pack.size, sha256: pack.sha256)
    }
    return isThere.filter { !$0.1 }.map(\.0)
  }

  /// Calls `body` for each pack that was not seen for a manifest lately, and remembers those that it says are there.
  private func eachUnknown(
    _ packs: [DatasetManifest.Pack], of manifest: VerifiedPacks.Name, at now: Timestamp,
    _ body: @escaping @concurrent @Sendable (DatasetManifest.Pack) async throws -> Bool
  ) async throws -> [(DatasetManifest.Pack, Bool)] {
    let known = verified.known(manifest, at: now)
    var answers: [(DatasetManifest.Pack, Bool)] = []
    var rest = packs.filter { !known.contains($0.sha256) }[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(Self.parallel * 16))
      rest = rest.dropFirst(piece.count)
      let found = Array(zip(piece, try await piece.concurrentMap(limit: Self.parallel, body)))
      verified.saw(found.filter(\.1).map(\.0.sha256), for: manifest, at: now)
      answers += found
    }
    return answers
  }

  /// Reads a manifest as it comes.
  func read(_ key: ArtifactKey, _ body: (DatasetManifest.Entry) throws -> Void) async throws -> DatasetManifest.Header {
    let download = try await artifacts.get(key, from: 0)
    do {
      var reader = DatasetManifestReader()
      while let bytes = try await download.next() { try reader.read(bytes, body) }
      try reader.finish()
      await download.close()
      guard let header = reader.header else {
        throw FederationError(.invalidArgument, "the manifest has no first line")
      }
      return header
    } catch {
      await download.close()
      throw error
    }
  }

  /// Lets another project have the same version: its objects are copied inside the repository.
  ///
  /// - Returns: what the manifest says.
  func copy(
    _ manifest: ArtifactStat, from source: ProjectName, to project: ProjectName, at now: Timestamp
  ) async throws -> DatasetManifest.Header {
    let key = try Self.key(manifest.sha256, of: source)
    let header = try await read(key) { _ in }
    // Noted before they are there, so that none is left behind by a copy that is cut short.
    try await store.seePacks(header.packs, of: project, at: now)
    _ = try await eachUnknown(header.packs, of: .init(project: project, sha256: manifest.sha256), at: now) { pack in
      try await artifacts.copy(
        try Self.key(pack.sha256, of: source), to: try Self.key(pack.sha256, of: project),
        content: ArtifactStat(size: pack.size, sha256: pack.sha256))
      return true
    }
    try await artifacts.copy(key, to: try Self.key(manifest.sha256, of: project), content: manifest)
    return try await check(manifest, of: project, at: now)
  }
}
