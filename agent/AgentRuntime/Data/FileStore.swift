internal import FederationModel
internal import FoundationEssentials
internal import Rclone

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A place outside the cache that has files: an origin, or another cluster's export.
protocol FileStore: Sendable {
  /// Calls `body` on a thread of its own with a reader of this store. Ends it when the task is cancelled.
  func reading<Result: Sendable>(_ body: @escaping @Sendable (any FileReader) throws -> Result) async throws -> Result
  /// Every file, in no order. Links are left out.
  func list(_ body: @escaping @Sendable (RcloneClient.Listed) throws -> Void) async throws
  /// The one file that is meant; nil: all of them.
  var only: String? { get }
  /// Bytes of one file; nil when there is none.
  func size(of path: String) async throws -> Int64?
  /// Copies a file of this machine into it.
  func put(_ file: String, as path: String) async throws
  /// What opened it is forgotten.
  func close() async
}

/// A store that is only read.
extension FileStore {
  func size(of path: String) async throws -> Int64? { nil }
  func put(_ file: String, as path: String) async throws {
    throw FederationError(
      .failedPrecondition, "nothing can be written there: an archive is a store that rclone writes to")
  }
}

/// Reads files of a store, one after another. Its calls block.
protocol FileReader {
  /// Streams a file's bytes from `offset` on.
  ///
  /// - Returns: when the file was changed last, once its bytes had been read: milliseconds since 1970; nil where that has to be asked
  ///   for (`modified`).
  /// - Throws: `.notFound`, retryable errors, `CancellationError`, or what `take` threw; then only `.notFound` lets it be used again.
  @discardableResult
  func read(_ path: String, from offset: Int64, _ take: (ArraySlice<UInt8>) throws -> Void) throws -> Int64?
  /// When a file was changed last; nil where there is none, or where what the store says of it cannot be relied on.
  func modified(_ path: String) throws -> Int64?
}

/// Files that rclone reaches.
struct RcloneStore: FileStore {
  let client: RcloneClient
  /// As the daemon knows the store; unique to this use of it.
  let name: String
  /// In the store.
  let root: String
  /// Nil: everything below the root; else the one file of it that is meant.
  let only: String?
  /// A file for this use of it alone.
  let knownHosts: String?
  /// Whether its times of change are those that it lists: some stores list less exact ones, or none.
  let hasTimes: Bool

  private struct Reader: FileReader {
    let reader: RcloneReader
    let root: String
    let hasTimes: Bool
    func read(_ path: String, from offset: Int64, _ take: (ArraySlice<UInt8>) throws -> Void) throws -> Int64? {
      try reader.read(root, path, from: offset, take)
      return nil
    }
    func modified(_ path: String) throws -> Int64? { hasTimes ? try reader.stat(root, path)?.modified : nil }
  }

  func reading<Result: Sendable>(_ body: @escaping @Sendable (any FileReader) throws -> Result) async throws -> Result {
    let root = "\(name):\(root)"
    let hasTimes = hasTimes
    return try await client.reading { try body(Reader(reader: $0, root: root, hasTimes: hasTimes)) }
  }

  func list(_ body: @escaping @Sendable (RcloneClient.Listed) throws -> Void) async throws {
    guard let only else { return try await client.list("\(name):\(root)", body) }
    guard let file = try await client.stat("\(name):\(root)", only) else {
      throw FederationError(.notFound, "\(only) is not there")
    }
    try body(file)
  }

  func size(of path: String) async throws -> Int64? { try await client.stat("\(name):\(root)", path)?.size }

  func put(_ file: String, as path: String) async throws {
    let slash = file.lastIndex(of: "/") ?? file.startIndex
    try await client.put(
      String(file[..<slash]), String(file[file.index(after: slash)...]), to: "\(name):\(root)", as: path)
  }

  func close() async {
    await client.forget(name)
    if let knownHosts { unlink(knownHosts) }
  }
}

/// Files of this cluster itself (`file://CLUSTER/path`), read in place. No link leads out of the directory.
struct DirectoryStore: FileStore {
  let root: String
  let only: String?

  private struct Reader: FileReader {
    let tree: RootedTree
    func read(_ path: String, from offset: Int64, _ take: (ArraySlice<UInt8>) throws -> Void) throws -> Int64? {
      guard let file = try tree.openFile(path) else { throw FederationError(.notFound, "\(path) is not there") }
      defer { POSIXFile.close(file.descriptor) }
      lseek(file.descriptor, off_t(offset), SEEK_SET)
      while true {
        let bytes = try POSIXFile.read(file.descriptor, upTo: 256 << 10)
        // After the last byte: what was written meanwhile shows.
        if bytes.isEmpty { return DirectoryStore.modified(file.descriptor) }
        try take(bytes[...])
      }
    }
    func modified(_ path: String) throws -> Int64? {
      guard let file = try tree.openFile(path) else { return nil }
      defer { POSIXFile.close(file.descriptor) }
      return DirectoryStore.modified(file.descriptor)
    }
  }

  /// When a file was changed, in milliseconds, to the second: as directories list it.
  private static func modified(_ file: Int32) -> Int64? {
    var status = stat()
    return fstat(file, &status) == 0 ? Int64(status.st_mtim.tv_sec) * 1000 : nil
  }

  func reading<Result: Sendable>(_ body: @escaping @Sendable (any FileReader) throws -> Result) async throws -> Result {
    let root = root
    return try await BlockingWork.run { try body(Reader(tree: try RootedTree(root))) }
  }

  func list(_ body: @escaping @Sendable (RcloneClient.Listed) throws -> Void) async throws {
    let (root, only) = (root, only)
    try await BlockingWork.run {
      let tree = try RootedTree(root)
      if let only {
        guard let file = try tree.openFile(only) else { throw FederationError(.notFound, "\(only) is not there") }
        defer { POSIXFile.close(file.descriptor) }
        return try body(
          .init(path: only, size: file.size, modified: Self.modified(file.descriptor), sha256: nil))
      }
      for name in try POSIXFile.entries(of: tree.descriptor) {
        _ = try TreeWalk.visit(tree, path: name, limits: ArchiveLimits(entriesMax: Int(DatasetManifest.filesMax))) {
          guard case .file = $0.kind else { return }
          try body(.init(path: $0.name, size: $0.size, modified: $0.modifiedSeconds * 1000, sha256: nil))
        }
      }
    }
  }

  func close() async {}
}
