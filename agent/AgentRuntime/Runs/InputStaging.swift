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
  let cache: ArtifactCache
  let repository: any ArtifactRepository

  /// - Returns: the bytes that moved over the link.
  /// - Throws: an error whose `isRetryable` says whether trying again may help.
  func stage(_ request: RunRequest) async throws -> Int64 {
    _ = try await executor.prepare(request)
    var moved: Int64 = 0
    for (index, input) in request.spec.inputs.enumerated() {
      try Task.checkCancellation()
      do {
        switch input.source {
        case .absent: continue
        case .raw(let text):
          let work = cache.workDirectory
          let source = try await BlockingWork.run { try Self.file(with: text, in: work) }
          let placed = PlacedInput(path: input.path, archive: .none, mode: input.mode ?? 0o644, index: index)
          try await files.place(source, as: placed, in: request.id)
        case .stored(let artifact):
          moved += try await cache.obtain(artifact, for: request.id, from: repository)
          let path = cache.path(of: artifact.sha256)
          let source = try await BlockingWork.run {
            try OpenedFile(owning: try POSIXFile.open(path, O_RDONLY | O_NOFOLLOW), path)
          }
          let placed = PlacedInput(path: input.path, archive: artifact.archive, mode: input.mode, index: index)
          try await files.place(source, as: placed, in: request.id)
        }
      } catch var error as FederationError {
        error.publicMessage = "input artifact \(input.name) (\(input.path)): \(error.publicMessage)"
        throw error
      }
    }
    return moved
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
