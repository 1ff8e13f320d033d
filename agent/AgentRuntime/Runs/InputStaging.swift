internal import Execution
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Brings a run's inputs to its workspace. It holds no compute slot meanwhile (I5), and the program starts only after all of
/// it succeeded (I4).
struct InputStaging: Sendable {
  let executor: any Executor
  let files: any RunFileAccess
  let cache: DataCache
  /// Lets the user of a project's runs read a data set.
  var grant: @Sendable (_ directory: String, ProjectName) async throws -> Void = { _, _ in }
  /// Replicas of one run on their way at once.
  static let parallel = 4

  /// Reserves room for everything that the run reads at once, so that no two runs each hold half (I4); waits until there is room.
  func reserve(_ request: RunRequest, waiting: @escaping @Sendable (String) -> Void) async throws {
    let wanted = request.wantedReplicas
    if !wanted.isEmpty { try await cache.reserve(wanted, for: .run(request.id), waiting: waiting) }
  }

  /// What was reserved is brought here and put in the run's place.
  ///
  /// - Returns: the bytes that moved over the link.
  /// - Throws: an error whose `isRetryable` says whether trying again may help.
  func stage(_ request: RunRequest) async throws -> MovedBytes {
    _ = try await executor.prepare(request)
    let moved = try await obtain(request)
    for dataset in request.spec.datasets ?? [] {
      try await grant(cache.layout.replica(dataset.object.key), request.project)
    }
    for (index, input) in request.spec.inputs.enumerated() where request.spec.transformations == nil {
      try Task.checkCancellation()
      let path = request.spec.storedPath(of: input.path)
      do {
        switch input.source {
        case .absent: continue
        case .raw(let text):
          let work = cache.workDirectory
          let source = try await BlockingWork.run { try Self.file(with: text, in: work) }
          let placed = PlacedInput(path: path, archive: .none, mode: input.mode ?? 0o644, index: index)
          try await files.place(source, as: placed, in: request.id)
        case .stored(let artifact):
          let object = cache.layout.object(artifact.sha256)
          let source = try await BlockingWork.run {
            try OpenedFile(owning: try POSIXFile.open(object, O_RDONLY | O_NOFOLLOW), object)
          }
          let placed = PlacedInput(
            path: path, archive: artifact.archive, mode: input.mode, isModeRecursive: input.isModeRecursive,
            subPath: artifact.subPath, index: index)
          try await files.place(source, as: placed, in: request.id)
        case .foreign(let foreign):
          for file in try await BlockingWork.run({ [layout = cache.layout] in try ForeignFile.list(foreign, layout) }) {
            try Task.checkCancellation()
            let source = try await BlockingWork.run {
              try OpenedFile(owning: try POSIXFile.open(file.source, O_RDONLY | O_NOFOLLOW), file.source)
            }
            let placed = PlacedInput(
              path: path + file.below, archive: file.archive, mode: input.mode,
              isModeRecursive: input.isModeRecursive, subPath: file.archive == .none ? nil : foreign.subPath,
              index: index)
            try await files.place(source, as: placed, in: request.id)
          }
        }
      } catch var error as FederationError {
        error.publicMessage = "input artifact \(input.name) (\(input.path)): \(error.publicMessage)"
        throw error
      }
    }
    return moved
  }

  /// Everything at once, each key once.
  private func obtain(_ request: RunRequest) async throws -> MovedBytes {
    var seen: Set<DataKey> = []
    let names = Dictionary(
      request.spec.inputs.compactMap { input -> (DataKey, String)? in
        let name = "input artifact \(input.name) (\(input.path))"
        switch input.source {
        case .stored(let artifact): return (DataKey(sha256: artifact.sha256), name)
        case .foreign(let artifact): return artifact.object.map { ($0.key, name) }
        case .raw, .absent: return nil
        }
      }, uniquingKeysWith: { first, _ in first })
    let wanted = request.wantedReplicas.filter { seen.insert($0.key).inserted }
    let limiter = Limiter(limit: Self.parallel)
    return try await withThrowingTaskGroup(of: MovedBytes.self) { group in
      for one in wanted {
        group.addTask {
          do {
            return try await limiter.run { try await cache.obtain(one, for: .run(request.id)) }
          } catch var error as FederationError {
            error.publicMessage = "\(names[one.key] ?? "data set \(one.key)"): \(error.publicMessage)"
            throw error
          }
        }
      }
      return try await group.reduce(into: MovedBytes()) { $0 += $1 }
    }
  }

  /// A file without a name: it is gone with its descriptor.
  private static func file(with text: String, in directory: String) throws -> OpenedFile {
    let path = directory + "/raw-\(UInt64.random(in: .min ... .max))"
    let descriptor = try POSIXFile.open(path, O_RDWR | O_CREAT | O_EXCL)
    unlink(path)
    let file = try OpenedFile(owning: descriptor, path)
    try POSIXFile.write(descriptor, Data(text.utf8), "an input")
    return file
  }
}

/// A file of a foreign object, and where it goes.
private struct ForeignFile: Sendable {
  /// In the cache.
  var source: String
  /// Behind the input's path; empty for the file itself.
  var below: String
  var archive: ArchiveFormat

  /// What is one file is put at the input's path, unpacked as the document says; what is several becomes a directory of them.
  static func list(_ foreign: ForeignArtifact, _ layout: CacheLayout) throws -> [Self] {
    guard let object = foreign.object else {
      throw FederationError(.failedPrecondition, "nobody has looked at \(foreign.origin.uri) yet")
    }
    let root = layout.mountSource(object.key)
    if object.files == 1, let name = foreign.fileName, POSIXFile.size(root + "/" + name) != nil {
      return [Self(source: root + "/" + name, below: "", archive: foreign.archive)]
    }
    var files: [Self] = []
    let tree = try RootedTree(root)
    for name in try POSIXFile.entries(of: tree.descriptor) {
      _ = try TreeWalk.visit(tree, path: name, limits: ArchiveLimits(entriesMax: Int(DatasetManifest.filesMax))) {
        guard case .file = $0.kind else { return }
        files.append(Self(source: root + "/" + $0.name, below: "/" + $0.name, archive: .none))
      }
    }
    return files
  }
}
