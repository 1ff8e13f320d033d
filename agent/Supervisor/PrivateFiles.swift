internal import CSupervisor
internal import Glibc

/// A small file that a run sees and no disk has.
public struct PrivateFile: Hashable, Sendable {
  /// Below the run's private directory, without `.` and `..`. With a slash at its end: a directory.
  public var path: String
  public var mode: UInt32
  public var bytes: [UInt8]
  public init(path: String, mode: UInt32 = 0o644, bytes: [UInt8] = []) {
    self.path = path
    self.mode = mode
    self.bytes = bytes
  }
}

/// The private directory of one run: in the memory of the node that runs it, made right before its program starts, and removed with its
/// end (I9). A lock that its maker holds tells the directories of the living from those that a killed maker has left.
public struct PrivateFiles: Sendable {
  private static let parent = "/dev/shm"

  private let directory: String
  private let lock: Int32

  /// Where the private directory of a run is, as agent and launcher agree. Two agents of one user never mean the same.
  ///
  /// - Parameter path: the run's own directory.
  public static func directory(ofRun path: String) -> String {
    "\(parent)/fubini-\(geteuid())/\(RunDirectory.hexadecimal(RunDirectory.checksum(Array(path.utf8)[...])))"
  }

  /// Writes the files of a run. What is there of an earlier try goes.
  static func make(_ run: SupervisedRun) throws(SystemFailure) -> Self {
    let directory = run.privateDirectory
    try makeParent(String(directory[..<(directory.lastIndex(of: "/") ?? directory.endIndex)]))
    remove(directory)
    try Files.makeDirectory(directory)
    let lock = try Files.open(directory + "/.lock", O_RDWR | O_CREAT)
    let files = Self(directory: directory, lock: lock)
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      close(lock)
      throw SystemFailure("lock \(directory)")
    }
    do throws(SystemFailure) {
      for file in run.privateFiles { try files.write(file, for: run) }
      if let user = run.user, let group = run.group, chown(directory, user, group) != 0 {
        throw SystemFailure("give \(directory) to the run's user")
      }
    } catch {
      files.remove()
      throw error
    }
    return files
  }

  func remove() {
    Self.remove(directory)
    close(lock)
  }

  /// Removes what makers of this user have left that live no more.
  static func sweep() {
    let parent = "\(parent)/fubini-\(geteuid())"
    for name in Files.names(in: parent) {
      let lock = csupervisor_open("\(parent)/\(name)/.lock", O_RDWR | O_NOFOLLOW, 0)
      // Without a lock it is just being made.
      guard lock >= 0 else { continue }
      if flock(lock, LOCK_EX | LOCK_NB) == 0 { remove("\(parent)/\(name)") }
      close(lock)
    }
  }

  /// Whoever made it first may have been somebody else: everybody can write in `/dev/shm`.
  private static func makeParent(_ path: String) throws(SystemFailure) {
    try Files.makeDirectory(path, mode: 0o711)
    var status = stat()
    guard lstat(path, &status) == 0 else { throw SystemFailure("look at \(path)") }
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
      throw SystemFailure("use \(path), which belongs to somebody else", EPERM)
    }
    chmod(path, 0o711)
    guard csupervisor_is_in_memory(path) == 1 else {
      throw SystemFailure("put values of secrets and config maps into memory: \(parent) is no tmpfs", ENOTSUP)
    }
  }

  private func write(_ file: PrivateFile, for run: SupervisedRun) throws(SystemFailure) {
    let parts = file.path.split(separator: "/")
    guard !parts.isEmpty, !parts.contains(".."), !parts.contains("."), parts.first != ".lock" else {
      throw SystemFailure("make the file \(file.path)", EINVAL)
    }
    var path = directory
    for part in file.path.hasSuffix("/") ? parts[...] : parts.dropLast() {
      path += "/" + part
      try Files.makeDirectory(path, mode: 0o755)
      chmod(path, 0o755)
      try give(path, run)
    }
    guard !file.path.hasSuffix("/"), let name = parts.last else { return }
    path += "/" + name
    // Of two with one name the later counts.
    unlink(path)
    let descriptor = try Files.open(path, O_WRONLY | O_CREAT | O_EXCL)
    defer { close(descriptor) }
    try Files.writeAll(descriptor, file.bytes)
    fchmod(descriptor, file.mode)
    try give(path, run)
  }

  private func give(_ path: String, _ run: SupervisedRun) throws(SystemFailure) {
    guard let user = run.user, let group = run.group else { return }
    if lchown(path, user, group) != 0 { throw SystemFailure("give \(path) to the run's user") }
  }

  /// Follows no link.
  private static func remove(_ path: String) {
    if unlink(path) == 0 || errno == ENOENT { return }
    for name in Files.names(in: path) { remove(path + "/" + name) }
    rmdir(path)
  }
}
