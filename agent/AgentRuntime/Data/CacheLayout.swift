internal import Crypto
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Where a cache keeps what. All of it is on one file system, so that publishing is one rename.
///
/// - `objects/SHA256`: an artifact as it is stored;
/// - `trees/NAME/`: a data set: `data/` with its files, `manifest` with the checksum of each, `key` with its name;
/// - `partial/`: what is on its way, kept over cuts and restarts;
/// - `learnt/NAME`: the manifest of a data set whose origin tells no checksums, for the next time it is fetched;
/// - `unstored/SHA256`: marks outputs that are nowhere else;
/// - `pins/CLUSTER/ENTRY`: what the runs of another cluster that shares this cache read;
/// - `work/`: of the agent that writes; emptied when it starts.
struct CacheLayout: Sendable, Hashable {
  var directory: String
  /// Whether runs are of users who reach what they are shown by its path, instead of by what the agent opens for them.
  var isPassable = false
  /// Whether each of these users is let in by name (`RunAccess`), instead of everybody.
  var isGranted = false

  var objects: String { directory + "/objects" }
  var trees: String { directory + "/trees" }
  var partial: String { directory + "/partial" }
  var learnt: String { directory + "/learnt" }
  var unstored: String { directory + "/unstored" }
  var pins: String { directory + "/pins" }
  var work: String { directory + "/work" }

  /// A directory's name for a key that is no object's: its SHA-256.
  static func treeName(_ key: DataKey) -> String {
    ArtifactPacking.hexadecimal(SHA256.hash(data: Data(key.text.utf8)))
  }

  func object(_ sha256: String) -> String { objects + "/" + sha256 }
  func tree(_ key: DataKey) -> String { trees + "/" + Self.treeName(key) }
  func partialTree(_ key: DataKey) -> String { partial + "/tree-" + Self.treeName(key) }
  func learntManifest(_ key: DataKey) -> String { learnt + "/" + Self.treeName(key) }
  func unstoredMark(_ sha256: String) -> String { unstored + "/" + sha256 }

  /// Of a key in this directory: relative, as pins name it.
  static func entryName(_ key: DataKey) -> String { key.sha256 ?? "tree-" + treeName(key) }

  /// The published file or directory of a key.
  func replica(_ key: DataKey) -> String { key.sha256.map(object) ?? tree(key) }

  /// What a run is shown of a data set.
  func mountSource(_ key: DataKey) -> String { key.sha256.map(object) ?? tree(key) + "/data" }

  /// Makes the directories. Objects are the agent's own whatever happens.
  func make() throws {
    try POSIXFile.makeDirectories(directory)
    chmod(directory, isPassable ? 0o711 : 0o700)
    for path in [objects, partial, learnt, unstored, pins, work] { try POSIXFile.makeDirectories(path) }
    if mkdir(trees, 0o711) != 0, errno != EEXIST { throw POSIXFile.failure("Cannot make \(trees)") }
    chmod(trees, 0o711)
  }

  /// Of a data set's directory.
  var treeMode: mode_t { isGranted ? 0o700 : 0o755 }

  /// Bytes that may still be written here; nil when nobody can say.
  var freeBytes: Int64? {
    var status = statvfs()
    guard statvfs(directory, &status) == 0 else { return nil }
    return Int64(clamping: UInt64(status.f_bavail) * UInt64(status.f_frsize))
  }
}

/// The `key` file of a tree: what it is, in two lines.
struct TreeRecord: Sendable, Hashable {
  var key: DataKey
  var size: Int64

  var text: String { "\(key.text)\n\(size)\n" }

  init(key: DataKey, size: Int64) {
    self.key = key
    self.size = size
  }

  /// nil for what is no record, or one of another directory.
  init?(_ text: String, directoryName: String) {
    let lines = text.split(separator: "\n")
    guard lines.count == 2, let size = Int64(lines[1]), size >= 0 else { return nil }
    self.init(key: DataKey(String(lines[0])), size: size)
    guard CacheLayout.treeName(key) == directoryName else { return nil }
  }

  static func read(_ tree: String) -> TreeRecord? {
    guard let file = try? POSIXFile.open(tree + "/key", O_RDONLY | O_NOFOLLOW) else { return nil }
    defer { POSIXFile.close(file) }
    guard let bytes = try? POSIXFile.readAll(file, limit: 1 << 13) else { return nil }
    return TreeRecord(
      String(decoding: bytes, as: UTF8.self), directoryName: String(tree.split(separator: "/").last ?? ""))
  }
}
