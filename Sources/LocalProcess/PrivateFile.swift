internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#endif

/// Files that hold secrets.
public enum PrivateFile {
  /// Replaces the file at once, with mode 0600: a reader sees the old or the new one, and nobody else sees either.
  ///
  /// - Throws: `internal`, when it cannot be written.
  public static func write(_ text: String, to path: String) throws {
    let temporary = "\(path).\(getpid()).new"
    unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw FederationError(.internal, "Cannot write \(path): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        throw FederationError(.internal, "Cannot write \(path): \(String(cString: strerror(errno)))")
      }
      bytes = bytes.dropFirst(count)
    }
    guard fsync(descriptor) == 0, rename(temporary, path) == 0 else {
      throw FederationError(.internal, "Cannot write \(path): \(String(cString: strerror(errno)))")
    }
  }
}
