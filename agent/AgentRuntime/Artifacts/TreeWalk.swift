internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One thing below an output path, met in sorted order, parents first.
struct TreeEntry {
  enum Kind { case file(descriptor: Int32), directory, symbolicLink(String) }
  /// Relative to the output, its own name first.
  var name: String
  var kind: Kind
  var mode: mode_t
  var size: Int64
  var modifiedSeconds: Int64
}

/// Visits an output in a run's root. Links inside it are visited as links; nothing outside the root is ever opened.
/// Sockets, FIFOs and devices are left out, as `tar` leaves sockets out.
enum TreeWalk {
  static let depthMax = 128

  /// - Returns: false when there is nothing at `path`.
  static func visit(_ tree: RootedTree, path: String, limits: ArchiveLimits, _ body: (TreeEntry) throws -> Void) throws
    -> Bool
  {
    guard let components = try tree.resolve(path), !components.isEmpty else { return false }
    let name = path.split(separator: "/").last.map(String.init) ?? components.last!
    var count = 0
    try tree.withParent(of: components) { parent, own in
      try visit(
        parent: parent, own, shown: name == "." || name == ".." ? own : name, depth: 0, count: &count, limits, body)
    }
    return true
  }

  private static func visit(
    parent: Int32, _ name: String, shown: String, depth: Int, count: inout Int, _ limits: ArchiveLimits,
    _ body: (TreeEntry) throws -> Void
  ) throws {
    count += 1
    guard count <= limits.entriesMax, depth <= depthMax else {
      throw FederationError(
        .invalidArgument, "it holds more than \(limits.entriesMax) files or is deeper than \(depthMax)")
    }
    var status = stat()
    guard fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
      throw POSIXFile.failure("Cannot read \(shown)")
    }
    var entry = TreeEntry(
      name: shown, kind: .directory, mode: status.st_mode & 0o777, size: 0,
      modifiedSeconds: Int64(status.st_mtim.tv_sec))
    switch status.st_mode & S_IFMT {
    case S_IFLNK:
      entry.kind = .symbolicLink(try RootedTree.readLink(parent, name))
      try body(entry)
    case S_IFREG:
      let file = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
      guard file >= 0 else { throw POSIXFile.failure("Cannot read \(shown)") }
      defer { close(file) }
      guard fstat(file, &status) == 0 else { throw POSIXFile.failure("Cannot read \(shown)") }
      entry.kind = .file(descriptor: file)
      entry.size = Int64(status.st_size)
      try body(entry)
    case S_IFDIR:
      try body(entry)
      let directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
      guard directory >= 0 else { throw POSIXFile.failure("Cannot read \(shown)") }
      defer { close(directory) }
      for child in try POSIXFile.entries(of: directory, called: shown) {
        try visit(parent: directory, child, shown: shown + "/" + child, depth: depth + 1, count: &count, limits, body)
      }
    default: break
    }
  }
}
