internal import Execution
internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// What the agent does with the files of runs, whoever's they are.
///
/// Programs write there whatever they like, so nothing is opened through a link, and nothing but regular files and directories.
/// What one user may not open, another opens for it: descriptors travel, not paths (docs/adr/0013-mapped-slurm.md).
protocol RunFileAccess: Sendable {
  /// Puts an input into the run's root. A second call with the same arguments replaces the first one's work.
  ///
  /// - Parameter source: a regular file, read from its beginning.
  func place(_ source: OpenedFile, as input: PlacedInput, in run: RunID) async throws

  /// The run's log; nil when there is none (any more).
  func openLog(of run: RunID) async throws -> OpenedFile?

  /// The end of the run's standard output; nil when there is none.
  func openResult(of run: RunID) async throws -> OpenedFile?

  /// A regular file, at the path as the run saw it; nil when there is nothing.
  ///
  /// - Throws: `.failedPrecondition` when it is no regular file.
  func openOutput(_ path: String, of run: RunID) async throws -> OpenedFile?

  /// Packs what is at `path` into a new file in `directory`, which is the agent's own; nil when there is nothing.
  ///
  /// - Parameter level: of gzip; nil: the usual one.
  /// - Throws: see `ArtifactPacking.pack`.
  func pack(
    _ path: String, archive: ArchiveFormat, level: Int32?, of run: RunID, into directory: String
  ) async throws -> PackedFile?
}

/// Where an input goes.
struct PlacedInput: Sendable, Hashable, Codable {
  /// Absolute, as the run sees it.
  var path: String
  var archive: ArchiveFormat
  var mode: Int32?
  /// Whether `mode` is for everything in a directory; nil: for the directory alone.
  var isModeRecursive: Bool?
  /// Of what is packed, the part that is meant; nil: all of it.
  var subPath: String?
  /// Of the run's inputs: two of one run are unpacked in places of their own.
  var index: Int
}

/// A descriptor of a regular file; closed with the last reference.
final class OpenedFile: Sendable {
  let descriptor: Int32
  let size: Int64

  private init(descriptor: Int32, size: Int64) {
    self.descriptor = descriptor
    self.size = size
  }
  deinit { POSIXFile.close(descriptor) }

  /// Takes the descriptor over.
  ///
  /// - Throws: `.failedPrecondition` when it is no regular file; the descriptor is then closed.
  convenience init(owning descriptor: Int32, _ what: @autoclosure () -> String) throws {
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      POSIXFile.close(descriptor)
      throw FederationError(.failedPrecondition, "\(what()) is no regular file")
    }
    self.init(descriptor: descriptor, size: Int64(status.st_size))
  }

  /// nil when there is nothing at `path`. A link is not followed, and a FIFO does not block.
  ///
  /// - Throws: `.failedPrecondition` for anything but a regular file.
  static func open(_ path: String) throws -> OpenedFile? {
    let descriptor = Glibc.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    guard descriptor < 0 else { return try OpenedFile(owning: descriptor, path) }
    switch errno {
    case ENOENT, ENOTDIR: return nil
    // A link, or a socket or device that nobody serves.
    case ELOOP, ENXIO, ENODEV: throw FederationError(.failedPrecondition, "\(path) is no regular file")
    case let code: throw POSIXFile.failure("Cannot open \(path)", code)
    }
  }
}

/// Files of runs that the agent itself may touch.
struct LocalRunFiles: RunFileAccess {
  let executor: any Executor
  /// Runs have users of their own: an input may be another name of the cache's file, which they cannot write.
  var mayLink = false

  func place(_ source: OpenedFile, as input: PlacedInput, in run: RunID) async throws {
    let workspace = executor.workspace(for: run)
    let mayLink = mayLink
    try await BlockingWork.run { try Self.place(source, as: input, in: workspace, mayLink: mayLink) }
  }

  /// Blocks.
  static func place(
    _ source: OpenedFile, as input: PlacedInput, in workspace: RunWorkspace, mayLink: Bool = false
  ) throws {
    lseek(source.descriptor, 0, SEEK_SET)
    try ArtifactPacking.unpack(
      source.descriptor, archive: input.archive, to: input.path, mode: input.mode,
      isModeRecursive: input.isModeRecursive == true, part: input.subPath, root: try RootedTree(workspace.root),
      rootPath: workspace.root,
      scratch: workspace.directory + "/staging-\(input.index)", mayLink: mayLink)
  }

  func openLog(of run: RunID) async throws -> OpenedFile? {
    let path = executor.workspace(for: run).log
    return try await BlockingWork.run { try OpenedFile.open(path) }
  }

  func openResult(of run: RunID) async throws -> OpenedFile? {
    let path = executor.workspace(for: run).standardOutput
    return try await BlockingWork.run { try OpenedFile.open(path) }
  }

  func openOutput(_ path: String, of run: RunID) async throws -> OpenedFile? {
    let root = executor.workspace(for: run).root
    return try await BlockingWork.run {
      try RootedTree(root).openFile(path).map { try OpenedFile(owning: $0.descriptor, path) }
    }
  }

  func pack(
    _ path: String, archive: ArchiveFormat, level: Int32?, of run: RunID, into directory: String
  ) async throws -> PackedFile? {
    let root = executor.workspace(for: run).root
    return try await BlockingWork.run {
      try ArtifactPacking.pack(RootedTree(root), path: path, archive: archive, level: level, into: directory)
    }
  }
}
