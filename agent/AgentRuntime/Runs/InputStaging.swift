internal import Execution
internal import FederationModel
internal import FoundationEssentials

/// Brings a run's inputs to its workspace. It holds no compute slot meanwhile (I5), and the program starts only after all of
/// it succeeded (I4).
struct InputStaging: Sendable {
  let executor: any Executor
  let cache: ArtifactCache
  let repository: any ArtifactRepository

  /// - Returns: the bytes that moved over the link.
  /// - Throws: an error whose `isRetryable` says whether trying again may help.
  func stage(_ request: RunRequest) async throws -> Int64 {
    let workspace = try await executor.prepare(request)
    var moved: Int64 = 0
    for (index, input) in request.spec.inputs.enumerated() {
      try Task.checkCancellation()
      let scratch = workspace.directory + "/staging-\(index)"
      do {
        switch input.source {
        case .absent: continue
        case .raw(let text):
          try await BlockingWork.run {
            try Self.place(raw: text, input, workspace: workspace, scratch: scratch)
          }
        case .stored(let artifact):
          moved += try await cache.obtain(artifact, for: request.id, from: repository)
          let file = cache.path(of: artifact.sha256)
          try await BlockingWork.run {
            try ArtifactPacking.unpack(
              file, archive: artifact.archive, to: input.path, mode: input.mode, root: try RootedTree(workspace.root),
              rootPath: workspace.root, scratch: scratch)
          }
        }
      } catch var error as FederationError {
        error.publicMessage = "input artifact \(input.name) (\(input.path)): \(error.publicMessage)"
        throw error
      }
    }
    return moved
  }

  private static func place(raw text: String, _ input: InputArtifact, workspace: RunWorkspace, scratch: String) throws {
    let file = scratch + ".raw"
    let descriptor = try POSIXFile.open(file, 0o1 | 0o100 | 0o1000)
    defer { POSIXFile.close(descriptor) }
    defer { POSIXFile.removeTree(file) }
    try POSIXFile.write(descriptor, Data(text.utf8), input.path)
    try ArtifactPacking.unpack(
      file, archive: .none, to: input.path, mode: input.mode ?? 0o644, root: try RootedTree(workspace.root),
      rootPath: workspace.root, scratch: scratch)
  }
}
