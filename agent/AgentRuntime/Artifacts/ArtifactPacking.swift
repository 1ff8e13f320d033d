internal import CSupervisor
internal import Crypto
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A file that holds an artifact as it is stored.
struct PackedFile: Sendable, Equatable {
  var path: String
  var size: Int64
  /// Lower-case hexadecimal.
  var sha256: String
}

extension PackedFile {
  /// A new file in a directory with what `body` writes into it. Nothing is left of one that fails.
  ///
  /// - Parameter isDurable: it is on the disk before this returns.
  /// - Throws: what `body` throws, and `.resourceExhausted` (disk full).
  static func write(
    into directory: String, isDurable: Bool = false, _ body: (Int32) throws -> Void
  ) throws -> PackedFile {
    let file = try writeIfAny(into: directory, isDurable: isDurable) { output in
      try body(output)
      return true
    }
    return file!
  }

  /// The same; nil, and no file, when `body` says that there is nothing to write.
  static func writeIfAny(
    into directory: String, isDurable: Bool, _ body: (Int32) throws -> Bool
  ) throws -> PackedFile? {
    let path = directory + "/pack-\(UInt64.random(in: .min ... .max))"
    let output = try POSIXFile.open(path, O_RDWR | O_CREAT | O_EXCL)
    defer { POSIXFile.close(output) }
    do {
      guard try body(output) else {
        unlink(path)
        return nil
      }
      if isDurable, fsync(output) != 0 { throw POSIXFile.failure("Cannot write \(path)") }
      lseek(output, 0, SEEK_SET)
      let (size, sha256) = try ArtifactPacking.digest(output)
      return PackedFile(path: path, size: size, sha256: sha256)
    } catch {
      unlink(path)
      throw error
    }
  }
}

/// Between a run's files and the stored form of artifacts. Everything streams; nothing is whole in memory.
enum ArtifactPacking {
  /// Packs `path` of the run into a new file in `directory`; nil when there is nothing at `path`.
  ///
  /// - Throws: `.failedPrecondition` (a directory cannot be stored with archive none), `.resourceExhausted` (disk full).
  static func pack(
    _ tree: RootedTree, path: String, archive: ArchiveFormat, level: Int32? = nil, into directory: String,
    limits: ArchiveLimits = ArchiveLimits()
  ) throws -> PackedFile? {
    try PackedFile.writeIfAny(into: directory, isDurable: true) { output in
      switch archive {
      case .none: try copy(tree, path: path, to: output)
      case .tar: try packTar(tree, path: path, to: output, level: level, limits: limits)
      case .zip: try packZip(tree, path: path, to: output, scratch: directory, limits: limits)
      }
    }
  }

  private static func copy(_ tree: RootedTree, path: String, to output: Int32) throws -> Bool {
    do {
      guard let file = try tree.openFile(path) else { return false }
      defer { close(file.descriptor) }
      try copy(from: file.descriptor, to: output, path)
      return true
    } catch let error as FederationError where error.code == .failedPrecondition {
      throw notAFile(path)
    }
  }

  static func notAFile(_ path: String) -> FederationError {
    FederationError(
      .failedPrecondition, "\(path) is a directory or no regular file: with `archive: none` only a file can be stored")
  }

  /// Keeps a copy of at most `limit` bytes in a new file in `directory`.
  ///
  /// - Throws: `.failedPrecondition` for a larger file, `.resourceExhausted` (disk full).
  static func keep(_ input: Int32, size: Int64, limit: Int64, _ name: String, into directory: String) throws
    -> PackedFile
  {
    guard size <= limit else {
      throw FederationError(
        .failedPrecondition, "\(name) holds \(ByteCount(size)); the agent's cache takes \(ByteCount(limit))")
    }
    return try PackedFile.write(into: directory, isDurable: true) { output in
      lseek(input, 0, SEEK_SET)
      // Whoever writes the file may go on writing: what it held at first is what counts.
      var rest = size
      while rest > 0 {
        let bytes = try POSIXFile.read(input, upTo: Int(min(rest, 1 << 18)))
        if bytes.isEmpty { break }
        try POSIXFile.write(output, bytes, name)
        rest -= Int64(bytes.count)
      }
    }
  }

  static func copy(from input: Int32, to output: Int32, _ name: String) throws {
    while true {
      let bytes = try POSIXFile.read(input, upTo: 1 << 18)
      if bytes.isEmpty { return }
      try POSIXFile.write(output, bytes, name)
    }
  }

  private static func packTar(
    _ tree: RootedTree, path: String, to output: Int32, level: Int32?, limits: ArchiveLimits
  ) throws -> Bool {
    let pipe = try makePipe()
    let gzip: GzipProcess
    do {
      gzip = try GzipProcess(compressingBy: level ?? GzipProcess.usualLevel, from: pipe.read, to: output)
    } catch {
      close(pipe.read)
      close(pipe.write)
      throw error
    }
    close(pipe.read)
    let packed = Result {
      let writer = TarWriter(to: pipe.write)
      let isThere = try TreeWalk.visit(tree, path: path, limits: limits) { try writer.add($0) }
      if isThere { try writer.finish() }
      return isThere
    }
    close(pipe.write)
    let isCompressed = gzip.wait()
    // A gzip that met a full disk ends early, and the writer then sees a broken pipe: the disk is the reason to tell.
    if !isCompressed {
      throw FederationError(
        .resourceExhausted, "\(path) could not be compressed: is the disk full?", retryAfter: .seconds(10))
    }
    return try packed.get()
  }

  private static func packZip(
    _ tree: RootedTree, path: String, to output: Int32, scratch: String, limits: ArchiveLimits
  ) throws -> Bool {
    var writer = ZipWriter(to: output, scratchDirectory: scratch)
    guard try TreeWalk.visit(tree, path: path, limits: limits, { try writer.add($0) }) else { return false }
    try writer.finish()
    return true
  }

  /// Reads from the descriptor's position to its end.
  static func digest(_ descriptor: Int32) throws -> (size: Int64, sha256: String) {
    var hash = SHA256()
    var size: Int64 = 0
    while true {
      let bytes = try POSIXFile.read(descriptor, upTo: 1 << 18)
      if bytes.isEmpty { break }
      size += Int64(bytes.count)
      bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
    }
    return (size, hexadecimal(hash.finalize()))
  }

  static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// Puts a stored artifact at `path` in the run's root.
  ///
  /// The archive is unpacked beside the root first and moved in whole; as in Argo, an archive with one top-level entry becomes
  /// that entry, and one with several becomes a directory of them. A second call with the same arguments replaces the first's work.
  ///
  /// What is not packed is put there without a byte being copied where that can be: as another name of the same file when the run
  /// cannot write to it, else as a file that shares its blocks until one of them is written.
  ///
  /// - Parameters:
  ///   - input: a regular file of the caller's own, read from its position on.
  ///   - isModeRecursive: `mode` is for everything in a directory.
  ///   - part: below what is unpacked, what alone is put there; nil: all of it.
  ///   - mayLink: the run has a user of its own, who may neither write a file of the caller's nor change its mode.
  static func unpack(
    _ input: Int32, archive: ArchiveFormat, to path: String, mode: Int32?, isModeRecursive: Bool = false,
    part: String? = nil, root: RootedTree, rootPath: String, scratch: String, mayLink: Bool = false,
    limits: ArchiveLimits = ArchiveLimits()
  ) throws {
    guard let components = RootedTree.memberComponents(String(path.drop { $0 == "/" })), !components.isEmpty else {
      throw FederationError(.invalidArgument, "\(path) is no path for an artifact")
    }
    POSIXFile.removeTree(scratch)
    try POSIXFile.makeDirectories(scratch)
    defer { POSIXFile.removeTree(scratch) }
    var made = scratch + "/content"
    var modeAfterwards: mode_t?
    switch archive {
    case .none where part != nil:
      throw FederationError(.failedPrecondition, "it is one file, and has no part \(part!)")
    case .none where mayLink && mode == nil && link(input, made): break
    case .none:
      let output = try POSIXFile.open(made, O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
      defer { close(output) }
      // From another position than the beginning, or across file systems, it is read and written.
      if lseek(input, 0, SEEK_CUR) != 0 || csupervisor_clone(input, output) != 0 {
        try copy(from: input, to: output, path)
      }
    case .tar, .zip:
      try POSIXFile.makeDirectories(made, mode: 0o755)
      let tree = try RootedTree(made)
      var writer = ArchiveWriter(into: tree, limits: limits)
      if archive == .zip {
        try ZipReader.unpack(input, into: &writer, scratchDirectory: scratch)
      } else {
        try unpackTar(input, into: &writer)
      }
      let names = try POSIXFile.entries(of: tree.descriptor)
      modeAfterwards = try writer.finish(exceptTop: names.count == 1 ? names[0] : nil)
      if names.count == 1 { made += "/" + names[0] }
    }
    if let part {
      made = try Self.part(part, of: made)
      modeAfterwards = nil
    }
    // What is inside first: a mode may close the directory.
    if isModeRecursive, let mode { try chmodTree(made, mode) }
    chmodFile(made, mode)
    try move(made, to: components, in: root, rootPath: rootPath)
    if mode == nil, let modeAfterwards { try root.setMode(ofDirectory: components, modeAfterwards) }
  }

  /// The place of a part of what was unpacked. No link leads there.
  private static func part(_ part: String, of made: String) throws -> String {
    guard let components = RootedTree.memberComponents(part) else {
      throw FederationError(.invalidArgument, "\(part) is no path below an artifact")
    }
    guard !components.isEmpty else { return made }
    var path = made
    for component in components {
      path += "/" + component
      var status = stat()
      guard lstat(path, &status) == 0 else {
        throw FederationError(.failedPrecondition, "there is no \(part) in it")
      }
      guard status.st_mode & S_IFMT != S_IFLNK else {
        throw FederationError(.failedPrecondition, "\(part) in it goes through a link")
      }
    }
    return path
  }

  /// Everything below a directory, links and what they lead to excepted.
  private static func chmodTree(_ path: String, _ mode: Int32) throws {
    guard let directory = try? POSIXFile.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { return }
    defer { close(directory) }
    for name in try POSIXFile.entries(of: directory) {
      try chmodTree(path + "/" + name, mode)
      chmodFile(path + "/" + name, mode)
    }
  }

  /// Gives a file another name, and takes everybody's right to write it.
  private static func link(_ file: Int32, _ path: String) -> Bool {
    guard lseek(file, 0, SEEK_CUR) == 0, fchmod(file, 0o444) == 0 else { return false }
    return linkat(AT_FDCWD, "/proc/self/fd/\(file)", AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0
  }

  /// From a file of the caller's own.
  static func unpack(
    _ file: String, archive: ArchiveFormat, to path: String, mode: Int32?, root: RootedTree, rootPath: String,
    scratch: String, limits: ArchiveLimits = ArchiveLimits()
  ) throws {
    let input = try POSIXFile.open(file, O_RDONLY)
    defer { close(input) }
    try unpack(
      input, archive: archive, to: path, mode: mode, root: root, rootPath: rootPath, scratch: scratch, limits: limits)
  }

  private static func unpackTar(_ input: Int32, into writer: inout ArchiveWriter) throws {
    let magic = try POSIXFile.read(input, upTo: 2)
    lseek(input, 0, SEEK_SET)
    guard magic == [0x1f, 0x8b] else { return try TarReader.unpack(from: input, into: &writer) }
    let pipe = try makePipe()
    defer { close(pipe.read) }
    let gzip: GzipProcess
    do {
      defer { close(pipe.write) }
      gzip = try GzipProcess(compressingBy: nil, from: input, to: pipe.write)
    }
    do {
      try TarReader.unpack(from: pipe.read, into: &writer)
    } catch {
      gzip.kill()
      _ = gzip.wait()
      throw error
    }
    guard gzip.wait() else { throw FederationError(.invalidArgument, "the compressed archive is damaged") }
  }

  private static func move(_ source: String, to components: [String], in root: RootedTree, rootPath: String) throws {
    try root.withParent(of: components, create: true) { parent, name in
      if renameat(AT_FDCWD, source, parent, name) == 0 { return }
      // Something is there already: what an earlier attempt put, or the executor's empty directory.
      guard errno == EEXIST || errno == ENOTEMPTY || errno == EISDIR || errno == ENOTDIR else {
        throw POSIXFile.failure("Cannot put \(components.joined(separator: "/"))")
      }
      POSIXFile.removeTree("/proc/self/fd/\(parent)/\(name)")
      guard renameat(AT_FDCWD, source, parent, name) == 0 else {
        throw POSIXFile.failure("Cannot put \(components.joined(separator: "/"))")
      }
    }
  }

  static func chmodFile(_ path: String, _ mode: Int32?) {
    guard let mode else { return }
    // Never through a link: it could name a file of the host.
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFLNK else { return }
    chmod(path, mode_t(mode) & 0o777)
  }
}
