internal import Execution
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// What the program of a `data` template's run is given.
struct NamesToTransform: Codable, Sendable {
  /// Keys, in the order of their bytes.
  var names: [String]
  var transformations: [String]
}

/// The names of what is at the place of a run's one input, from the list that was made when it was looked at: no file of it is fetched.
struct NameListing: Sendable {
  let repository: any ArtifactRepository
  let directory: String

  /// - Throws: `.failedPrecondition` for more names than a run may be given.
  func names(for request: RunRequest) async throws -> [String] {
    guard let input = request.spec.inputs.first else {
      throw FederationError(.invalidArgument, "nobody said what to list")
    }
    switch input.source {
    case .absent: return []
    case .raw: throw FederationError(.failedPrecondition, "a raw artifact has no names to list")
    case .stored(let stored): return [stored.key]
    case .foreign(let foreign):
      guard let object = foreign.object, let list = object.manifest else {
        throw FederationError(
          .failedPrecondition, "nobody has looked at \(foreign.origin.uri.prefix { $0 != "?" }) yet")
      }
      return try await names(of: foreign.origin, in: list, for: request)
    }
  }

  private func names(
    of origin: DataOrigin, in list: StoredArtifact, for request: RunRequest
  ) async throws -> [String] {
    let path = "\(directory)/names-\(UInt64.random(in: .min ... .max))"
    defer { unlink(path) }
    let file = try POSIXFile.open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW)
    defer { POSIXFile.close(file) }
    let asker = RepositoryAsker(run: request.id, project: request.project)
    try await repository.get(list.key, for: asker, from: 0) { try POSIXFile.write(file, $0, list.key) }
    try await ReplicaFetcher.verify(path, name: list.key, size: list.size.bytes, sha256: list.sha256)
    return try await BlockingWork.run {
      let manifest = try ManifestFile(path)
      let cursor = try ManifestCursor(manifest)
      let key = Self.key(of: origin)
      var names: [String] = []
      var bytes = 0
      while let entry = try cursor.next()?.entry {
        let isIt = manifest.header.files == 1 && entry.path == origin.fileName
        let name = isIt ? key : key.isEmpty ? entry.path : key + "/" + entry.path
        bytes += name.utf8.count + 4
        guard bytes < RunRequest.privateBytesMax - (64 << 10) else {
          throw FederationError(
            .failedPrecondition, "there are more names than a run may be given: name a longer key")
        }
        names.append(name)
      }
      return names
    }
  }

  /// In the bucket, without a slash at its end.
  private static func key(of origin: DataOrigin) -> String {
    let address = origin.uri.prefix { $0 != "?" }
    guard let scheme = address.firstRange(of: "://") else { return "" }
    let path = address[scheme.upperBound...].drop { $0 != "/" }.split(separator: "/")
    return path.map { DataOrigin.unescaped($0) }.joined(separator: "/")
  }
}
