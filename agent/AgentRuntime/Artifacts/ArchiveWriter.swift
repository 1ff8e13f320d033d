internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Bounds on what is packed and unpacked.
struct ArchiveLimits: Sendable {
  var entriesMax = 1_000_000
  /// Of unpacked file contents.
  var bytesMax: Int64 = 1 << 40
}

/// One member of an archive being unpacked.
struct ArchiveMember {
  enum Kind: Equatable { case file, directory, symbolicLink(String), hardLink([String]) }
  var components: [String]
  var kind: Kind
  var mode: mode_t
  var size: Int64
}

/// Writes members below a directory of its own, and nowhere else.
///
/// Every file is created with `O_EXCL | O_NOFOLLOW` below directories that are opened without following links, so neither a
/// name nor a link that an earlier member made can lead outside. Devices, FIFOs and set-id bits are not made.
struct ArchiveWriter {
  private let tree: RootedTree
  private let limits: ArchiveLimits
  private var entries = 0
  private var bytes: Int64 = 0
  /// Directories that are not as they are made: their modes come last, because one may forbid writing below it.
  private var directoryModes: [(components: [String], mode: mode_t)] = []

  init(into tree: RootedTree, limits: ArchiveLimits) {
    self.tree = tree
    self.limits = limits
  }

  /// - Parameter next: the file's bytes in order, at most as many as asked for; empty at the end of the archive.
  mutating func add(_ member: ArchiveMember, next: (Int) throws -> ArraySlice<UInt8>) throws {
    entries += 1
    bytes += max(0, member.size)
    guard entries <= limits.entriesMax, bytes <= limits.bytesMax, member.size >= 0 else {
      throw FederationError(
        .invalidArgument,
        "the archive holds more than \(limits.entriesMax) entries or \(ByteCount(limits.bytesMax))")
    }
    guard !member.components.isEmpty else { return }
    let shown = member.components.joined(separator: "/")
    switch member.kind {
    case .directory:
      try tree.makeDirectory(member.components)
      if member.mode & 0o777 != 0o755 { directoryModes.append((member.components, member.mode & 0o777)) }
    case .symbolicLink(let target):
      guard !target.isEmpty, target.utf8.count < RootedTree.pathBytesMax, !target.utf8.contains(0) else {
        throw FederationError(.invalidArgument, "the link \(shown) has no valid target")
      }
      try tree.withParent(of: member.components, create: true) { parent, name in
        guard symlinkat(target, parent, name) == 0 else { throw POSIXFile.failure("Cannot make the link \(shown)") }
      }
    case .hardLink(let target):
      try tree.withParent(of: target) { from, oldName in
        try tree.withParent(of: member.components, create: true) { to, newName in
          var status = stat()
          guard fstatat(from, oldName, &status, AT_SYMLINK_NOFOLLOW) == 0, status.st_mode & S_IFMT == S_IFREG,
            linkat(from, oldName, to, newName, 0) == 0
          else { throw FederationError(.invalidArgument, "the hard link \(shown) names no earlier file") }
        }
      }
    case .file:
      try tree.withParent(of: member.components, create: true) { parent, name in
        let file = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw POSIXFile.failure("Cannot make \(shown)") }
        defer { close(file) }
        try Self.fill(file, size: member.size, name: shown, next: next)
        fchmod(file, member.mode & 0o777)
      }
    }
  }

  /// Gives directories their modes, the deepest first.
  ///
  /// - Parameter top: the only entry at the top, if it shall be moved: a directory that forbids writing cannot be.
  /// - Returns: the mode that `top` must get once it has been moved; nil when it has it.
  func finish(exceptTop top: String?) throws -> mode_t? {
    var held: mode_t?
    for (components, mode) in directoryModes.reversed() {
      if components.count == 1, components[0] == top {
        held = held ?? mode
        continue
      }
      try tree.withParent(of: components) { parent, name in
        let directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard directory >= 0 else { throw POSIXFile.failure("Cannot open \(name)") }
        defer { close(directory) }
        fchmod(directory, mode)
      }
    }
    return held
  }

  /// Long runs of zeros become holes: a sparse file stays sparse.
  private static func fill(_ file: Int32, size: Int64, name: String, next: (Int) throws -> ArraySlice<UInt8>) throws {
    var remaining = size
    while remaining > 0 {
      let bytes = try next(Int(min(remaining, 1 << 16)))
      guard !bytes.isEmpty else { throw FederationError(.invalidArgument, "the archive is cut short in \(name)") }
      remaining -= Int64(bytes.count)
      if bytes.count >= 4096, bytes.allSatisfy({ $0 == 0 }) {
        lseek(file, off_t(bytes.count), SEEK_CUR)
      } else {
        try POSIXFile.write(file, bytes, name)
      }
    }
    guard ftruncate(file, off_t(size)) == 0 else { throw POSIXFile.failure("Cannot write \(name)") }
  }
}
