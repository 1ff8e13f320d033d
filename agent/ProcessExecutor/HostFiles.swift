internal import CSupervisor
public import Execution
public import FederationModel
internal import Glibc

/// File operations of the agent on its own host, without Foundation.
package enum HostFiles {
  package static func failure(_ operation: String, _ code: Int32) -> FederationError {
    let text = String(cString: strerror(code))
    if code == ENOSPC || code == EDQUOT {
      return FederationError(
        .resourceExhausted, "the agent's disk is full; free some space in its state directory",
        internalContext: operation,
        retryAfter: .seconds(30))
    }
    return FederationError(.internal, "the agent cannot \(operation): \(text)")
  }
  private static func failure(_ operation: String) -> FederationError { failure(operation, currentError()) }
  private static func currentError() -> Int32 { errno }

  /// What an unprivileged user may still write below `path`, and the size of its file system, bytes; nil when nobody can say.
  package static func room(at path: String) -> (free: Int64, size: Int64)? {
    var status = statvfs()
    guard statvfs(path, &status) == 0, status.f_blocks > 0 else { return nil }
    let unit = UInt64(status.f_frsize)
    return (Int64(clamping: UInt64(status.f_bavail) * unit), Int64(clamping: UInt64(status.f_blocks) * unit))
  }

  package static func makeDirectory(_ path: String, mode: UInt32 = 0o700) throws(FederationError) {
    if mkdir(path, mode) == 0 {
      // The mode that was asked for, whatever the umask is.
      chmod(path, mode)
    } else if errno != EEXIST {
      throw failure("make the directory \(path)")
    }
  }

  /// Makes `path` and its missing parents below `root`, whose content nobody else can have touched yet.
  package static func makeDirectories(_ path: String, below root: String) throws(FederationError) {
    var current = root
    for part in path.split(separator: "/") {
      current += "/" + part
      try makeDirectory(current, mode: 0o755)
    }
  }

  /// Makes a link, or finds it as it should be.
  static func makeLink(_ path: String, to target: String) throws(FederationError) {
    if symlink(target, path) == 0 { return }
    let code = errno
    if code == EEXIST, linkTarget(AT_FDCWD, path) == target { return }
    throw failure("make the link \(path)", code)
  }

  package static func write(_ path: String, _ bytes: some Collection<UInt8>, mode: UInt32) throws(FederationError) {
    let file = csupervisor_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode)
    guard file >= 0 else { throw failure("write \(path)", -file) }
    defer { close(file) }
    let content = Array(bytes)
    var done = 0
    while done < content.count {
      let put = content.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + done, content.count - done) }
      if put < 0, errno == EINTR { continue }
      if put < 0 { throw failure("write \(path)") }
      done += put
    }
    // The mode that was asked for, whatever the umask is.
    fchmod(file, mode)
  }

  /// At most `limit` bytes; nil when there is no such file. Neither a link is followed, nor does a FIFO block.
  /// Puts a file in the place of what is there, whole.
  package static func replace(
    _ path: String, with bytes: some Collection<UInt8>, mode: UInt32
  ) throws(FederationError) {
    try write(path + ".new", bytes, mode: mode)
    guard rename(path + ".new", path) == 0 else { throw failure("replace \(path)") }
  }

  package static func read(_ path: String, limit: Int) -> [UInt8]? {
    let file = csupervisor_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0)
    guard file >= 0 else { return nil }
    defer { close(file) }
    // Grows with what is there: most files are far smaller than their limits.
    var bytes = [UInt8](repeating: 0, count: min(limit, 16 << 10))
    var count = 0
    while count < limit {
      if count == bytes.count { bytes += [UInt8](repeating: 0, count: min(limit - count, count)) }
      let got = bytes.withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress! + count, $0.count - count) }
      if got < 0, errno == EINTR { continue }
      if got <= 0 { break }
      count += got
    }
    return Array(bytes[..<count])
  }

  /// The real path behind links; nil when there is none.
  static func resolve(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }

  package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// Whether any user may pass every directory above `path` and read what is there.
  static func isReachableByAll(_ path: String) -> Bool {
    var status = stat()
    var above = AbsolutePath.parent(of: path)
    guard stat(path, &status) == 0, status.st_mode & 0o005 == 0o005 else { return false }
    while above != "/" {
      guard stat(above, &status) == 0, status.st_mode & 0o001 != 0 else { return false }
      above = AbsolutePath.parent(of: above)
    }
    return true
  }

  package static func list(_ directory: String) -> [Sandbox.Entry]? {
    guard let stream = opendir(directory) else { return nil }
    defer { closedir(stream) }
    var entries: [Sandbox.Entry] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name == "." || name == ".." { continue }
      let path = directory == "/" ? "/" + name : directory + "/" + name
      var status = stat()
      guard lstat(path, &status) == 0 else { continue }
      switch status.st_mode & S_IFMT {
      case S_IFDIR: entries.append(.init(name, .directory))
      case S_IFLNK: entries.append(.init(name, .link(target: linkTarget(path))))
      default: entries.append(.init(name, .file))
      }
    }
    return entries
  }

  private static func linkTarget(_ path: String) -> String { linkTarget(AT_FDCWD, path) }

  /// Empty for what is no link.
  static func linkTarget(_ parent: Int32, _ name: UnsafePointer<CChar>) -> String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes {
      readlinkat(parent, name, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
    }
    return String(decoding: buffer[..<max(0, count)], as: UTF8.self)
  }

  /// Gives everything below `path` to a user, links themselves instead of what they point at. A file that has another name elsewhere
  /// stays whose it is: an input that the cache has, too.
  package static func give(_ path: String, to identity: RunIdentity) {
    // The directory last: while it is ours, nobody can put something else in the place of what is in it.
    for entry in list(path) ?? [] {
      if entry.kind == .directory {
        give(path + "/" + entry.name, to: identity)
      } else if !isShared(path + "/" + entry.name) {
        lchown(path + "/" + entry.name, identity.user, identity.group)
      }
    }
    lchown(path, identity.user, identity.group)
  }

  private static func isShared(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_nlink > 1
  }

  /// Deletes a tree; what is not there is fine. Follows no link. Names may be any bytes, and a directory that its owner made
  /// unreadable or unwritable goes as well.
  package static func remove(_ path: String) { _ = remove(AT_FDCWD, path) }

  private static func remove(_ parent: Int32, _ name: UnsafePointer<CChar>) -> Bool {
    if unlinkat(parent, name, 0) == 0 || errno == ENOENT { return true }
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    var descriptor = openat(parent, name, flags)
    if descriptor < 0, errno == EACCES, fchmodat(parent, name, 0o700, AT_SYMLINK_NOFOLLOW) == 0 {
      descriptor = openat(parent, name, flags)
    }
    guard descriptor >= 0 else { return false }
    fchmod(descriptor, 0o700)
    _ = empty(descriptor)
    return unlinkat(parent, name, AT_REMOVEDIR) == 0
  }

  /// Deletes what is in a directory, except names that are kept. Closes the descriptor. Returns whether all of it went.
  static func empty(_ descriptor: Int32, keeping: (UnsafePointer<CChar>) -> Bool = { _ in false }) -> Bool {
    guard let directory = fdopendir(descriptor) else {
      close(descriptor)
      return false
    }
    defer { closedir(directory) }
    var isEmpty = true
    while let entry = readdir(directory) {
      withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { child in
          if strcmp(child, ".") == 0 || strcmp(child, "..") == 0 || keeping(child) { return }
          if !remove(descriptor, child) { isEmpty = false }
        }
      }
    }
    return isEmpty
  }

  /// The first executable file of that name along `PATH`.
  package static func find(_ name: String, path: String) -> String? {
    if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }
}

/// Reads what a run left behind, without ever being led out of its directory.
public enum OutputFile {
  /// Opens an output for reading. Symbolic links and `..` are followed as if the run's root were `/`, so they cannot lead
  /// out; devices, sockets and FIFOs are refused.
  ///
  /// - Parameter path: absolute, as the run saw it.
  /// - Returns: a descriptor that the caller closes, of a file or a directory; nil when there is nothing at the path.
  /// - Throws: `.failedPrecondition` when what is there cannot be an output.
  public static func open(_ path: String, in workspace: RunWorkspace) throws(FederationError) -> Int32? {
    let root = csupervisor_open(workspace.root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0)
    guard root >= 0 else { return nil }
    defer { close(root) }
    let file = csupervisor_open_in_root(root, path)
    if file >= 0 { return file }
    if file == -ENOENT || file == -ENOTDIR { return nil }
    throw FederationError(
      .failedPrecondition, "the output \(path) cannot be collected: \(String(cString: strerror(-file)))")
  }
}

/// The user that runs become when the agent is root.
public struct RunIdentity: Hashable, Sendable {
  public var user: UInt32
  public var group: UInt32
  public init(user: UInt32, group: UInt32) {
    self.user = user
    self.group = group
  }
  /// Debian's and Red Hat's `nobody`.
  public static let nobody = RunIdentity(user: 65534, group: 65534)
}
