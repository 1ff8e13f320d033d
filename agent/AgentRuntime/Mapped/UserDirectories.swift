internal import FederationModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A place for each Unix user on the shared file system, made by an agent that can give nothing away.
///
/// The agent makes `USER-TOKEN`, in a directory that nobody else can list, and lets everybody make something in it; the user's broker
/// makes `files` there, which is then that user's own; the agent looks whose it is, and closes the door. Who does not know
/// the token finds no door meanwhile.
final class UserDirectories: Sendable {
  static let filesName = "files"
  private let path: String
  private let known: Mutex<[String: String]>

  /// Makes the directory, or finds what is there.
  init(path: String) throws {
    self.path = path
    if mkdir(path, 0o711) != 0, errno != EEXIST { throw POSIXFile.failure("Cannot make \(path)") }
    guard chmod(path, 0o711) == 0 else { throw POSIXFile.failure("Cannot set the mode of \(path)") }
    var known: [String: String] = [:]
    for name in try POSIXFile.entries(ofPath: path) {
      guard let dash = name.lastIndex(of: "-"), UInt64(name[name.index(after: dash)...], radix: 16) != nil else {
        continue
      }
      known[String(name[..<dash])] = path + "/" + name
    }
    self.known = Mutex(known)
  }

  /// Those who have a place here.
  func users() -> [String] { known.withLock { $0.keys.sorted() } }

  /// The user's place; open for whoever knows its name until the user's own directory is in it.
  func open(for user: String) throws -> String {
    if let directory = known.withLock({ $0[user] }) {
      if access(directory + "/" + Self.filesName, F_OK) != 0 { try setMode(directory, 0o733) }
      return directory
    }
    var tokens = SystemRandomNumberGenerator()
    let directory = "\(path)/\(user)-\(String(tokens.next() | 1 << 63, radix: 16))"
    guard mkdir(directory, 0o700) == 0 else { throw POSIXFile.failure("Cannot make \(directory)") }
    try setMode(directory, 0o733)
    known.withLock { $0[user] = directory }
    return directory
  }

  /// Closes the place once the user's directory is in it.
  ///
  /// - Returns: the device that it is on.
  /// - Throws: `.failedPrecondition` when it is anybody else's: then the place is left closed and is not used.
  func seal(for user: String, number: UInt32) throws -> dev_t {
    guard let directory = known.withLock({ $0[user] }) else { throw POSIXFile.failure("Cannot find \(user)", ENOENT) }
    try setMode(directory, 0o711)
    var status = stat()
    guard lstat(directory + "/" + Self.filesName, &status) == 0, status.st_mode & S_IFMT == S_IFDIR,
      status.st_uid == number, status.st_mode & 0o077 == 0
    else {
      throw FederationError(
        .failedPrecondition, "\(directory)/\(Self.filesName) is not a private directory of \(user): remove \(directory)"
      )
    }
    return status.st_dev
  }

  private func setMode(_ directory: String, _ mode: mode_t) throws {
    guard chmod(directory, mode) == 0 else { throw POSIXFile.failure("Cannot set the mode of \(directory)") }
  }
}
