internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's directory, held by one agent at a time.
final class StateDirectory: Sendable {
  let path: String
  private let lock: Int32

  /// Why the directory cannot be taken: another agent has it.
  struct Held: Error {
    /// `process 123 on login2`; empty when it has not said yet.
    var holder: String
    /// On another machine: several login nodes share the directory, and each starts an agent.
    var isElsewhere: Bool
    /// Whether it was a process of this machine that is no more.
    var isGone: Bool {
      guard !isElsewhere, let pid = holder.split(separator: " ").dropFirst().first.flatMap({ pid_t($0) }) else {
        return false
      }
      return kill(pid, 0) != 0 && errno == ESRCH
    }
  }

  /// Makes the directory (0700) and takes its lock.
  ///
  /// - Throws: `.failedPrecondition`, saying who holds it.
  init(path: String) throws {
    self.path = path
    try POSIXFile.makeDirectories(path)
    chmod(path, 0o700)
    let file = path + "/agent.lock"
    lock = try POSIXFile.open(file, O_RDWR | O_CREAT)
    // A POSIX record lock would do across NFS clients as well, but dies with any close of the file; flock is mapped to one there.
    var waits = 0
    while flock(lock, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      guard code == EWOULDBLOCK else {
        close(lock)
        throw FederationError(
          .failedPrecondition,
          "\(path) is on a file system without locks (\(String(cString: strerror(code)))), so nothing keeps a second agent away: "
            + "give a state directory on another one")
      }
      let held = Self.held(by: lock)
      // A program that a killed agent was just starting has its lock until it executes.
      if held.isGone, waits < 50 {
        waits += 1
        usleep(100_000)
        continue
      }
      close(lock)
      throw FederationError(
        .failedPrecondition,
        "Another agent acts for \(path): \(held.holder.isEmpty ? "unknown holder" : held.holder). End that one first, or give another state directory.",
        cause: held)
    }
    let host = Self.host
    ftruncate(lock, 0)
    lseek(lock, 0, SEEK_SET)
    try POSIXFile.write(lock, Array("process \(getpid()) on \(host)".utf8), file)
  }

  /// What the holder of a lock has written into it.
  private static func held(by lock: Int32) -> Held {
    lseek(lock, 0, SEEK_SET)
    let holder = String(decoding: (try? POSIXFile.readAll(lock, limit: 512)) ?? [], as: UTF8.self)
    return Held(holder: holder, isElsewhere: !holder.isEmpty && !holder.hasSuffix(" on \(host)"))
  }

  /// Who has a directory; nil when nobody has.
  static func holder(of path: String) -> Held? {
    guard let file = try? POSIXFile.open(path + "/agent.lock", O_RDWR) else { return nil }
    defer { POSIXFile.close(file) }
    return flock(file, LOCK_EX | LOCK_NB) == 0 ? nil : held(by: file)
  }

  private static var host: String {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, 255)
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Lets another agent act here, before the last reference to this value is gone.
  func release() { flock(lock, LOCK_UN) }

  deinit {
    // A program that is being started at this moment has a copy of the descriptor until it executes, and with it the lock.
    release()
    close(lock)
  }

  static func journalPath(in directory: String) -> String { directory + "/journal.sqlite" }
  static func socketPath(in directory: String) -> String { directory + "/agent.sock" }
  static func configurationPath(in directory: String) -> String { directory + "/agent.yaml" }

  /// Whether shared memory and locks of SQLite's WAL cannot be trusted there.
  static func isNetworkFileSystem(_ path: String) -> Bool {
    var status = stat()
    guard stat(path, &status) == 0, let file = try? POSIXFile.open("/proc/self/mountinfo", O_RDONLY) else {
      return false
    }
    defer { POSIXFile.close(file) }
    let mounts = String(decoding: (try? POSIXFile.readAll(file, limit: 4 << 20)) ?? [], as: UTF8.self)
    let device = UInt64(status.st_dev)
    let major = (device >> 8 & 0xfff) | (device >> 32 & ~0xfff)
    let minor = (device & 0xff) | (device >> 12 & ~0xff)
    return fileSystemType(ofDevice: "\(major):\(minor)", in: mounts).map(isNetworkType) ?? false
  }

  /// - Source: Linux `proc(5)`, `/proc/pid/mountinfo`: the device is field 3, the type follows a lone hyphen.
  static func fileSystemType(ofDevice device: String, in mounts: String) -> String? {
    for line in mounts.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 6, fields[2] == device, let hyphen = fields.firstIndex(of: "-"), hyphen + 1 < fields.count
      else { continue }
      return String(fields[hyphen + 1])
    }
    return nil
  }

  static func isNetworkType(_ type: String) -> Bool {
    let types: Set<String> = [
      "nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "smbfs", "beegfs", "ceph", "glusterfs", "afs", "9p", "pvfs2",
      "ocfs2", "gfs2", "panfs", "wekafs",
    ]
    return types.contains(type) || type.hasPrefix("fuse.")
  }
}
