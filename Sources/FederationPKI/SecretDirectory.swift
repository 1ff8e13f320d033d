public import FederationModel

#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

/// A directory of key material: mode 0700, its files 0600, each replaced whole or not at all.
public struct SecretDirectory: Sendable {
  public let path: String

  static let fileSizeLimit = 256 * 1024

  /// Opens the directory, or makes it (its parent must exist).
  ///
  /// - Throws: `.failedPrecondition` when others than its owner can enter it or somebody else owns it; `.internal` on I/O errors.
  public init(path: String) throws(FederationError) {
    self.path = path
    if mkdir(path, 0o700) != 0, errno != EEXIST { throw Self.failed("make", path) }
    var status = stat()
    guard lstat(path, &status) == 0 else { throw Self.failed("look at", path) }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw FederationError(.failedPrecondition, "\(path) is not a directory.")
    }
    try Self.checkOwner(status, path, remedy: "chmod 700 \(path)")
  }

  /// The file's text; nil when there is none.
  ///
  /// - Throws: `.failedPrecondition` when somebody else than its owner can read or write it.
  public func read(_ name: String) throws(FederationError) -> String? {
    try Self.readFile("\(path)/\(name)", optional: true, isSecret: true)
  }

  /// Reads a file that must be its owner's alone, wherever it is.
  public static func readSecret(_ file: String) throws(FederationError) -> String {
    guard let text = try readFile(file, optional: false, isSecret: true) else { throw failed("open", file) }
    return text
  }

  /// Reads a file that need not be secret, with the same bound.
  public static func readPublic(_ file: String) throws(FederationError) -> String {
    guard let text = try readFile(file, optional: false, isSecret: false) else { throw failed("open", file) }
    return text
  }

  private static func readFile(_ file: String, optional: Bool, isSecret: Bool) throws(FederationError) -> String? {
    let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      if optional, errno == ENOENT { return nil }
      throw failed("open", file)
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failed("look at", file) }
    guard status.st_mode & S_IFMT == S_IFREG, status.st_size <= fileSizeLimit else {
      throw FederationError(.failedPrecondition, "\(file) is not a plain file of at most \(fileSizeLimit) bytes.")
    }
    if isSecret { try checkOwner(status, file, remedy: "chmod 600 \(file)") }
    var bytes = [UInt8](repeating: 0, count: fileSizeLimit + 1)
    var count = 0
    while count < bytes.count {
      let size = bytes.count - count
      let got = bytes.withUnsafeMutableBytes { Self.readSome(descriptor, $0.baseAddress! + count, size) }
      if got < 0 { throw failed("read", file) }
      if got == 0 { break }
      count += got
    }
    return String(decoding: bytes[..<count], as: UTF8.self)
  }

  /// Replaces the file: a reader, or a crash at any moment, meets the old text or the new one, never a part.
  public func write(_ text: String, to name: String) throws(FederationError) {
    let file = "\(path)/\(name)"
    var template = Array("\(path)/.\(name).XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)  // 0600 by itself, and never an existing file
    guard descriptor >= 0 else { throw Self.failed("make", file) }
    var isRenamed = false
    defer {
      close(descriptor)
      if !isRenamed { unlink(template) }
    }
    guard fchmod(descriptor, 0o600) == 0 else { throw Self.failed("protect", file) }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Self.writeSome(descriptor, $0) }
      if written < 0 { throw Self.failed("write", file) }
      bytes = bytes.dropFirst(written)
    }
    guard fsync(descriptor) == 0 else { throw Self.failed("write", file) }
    guard rename(template, file) == 0 else { throw Self.failed("replace", file) }
    isRenamed = true
    try syncDirectory()
  }

  /// Removes the file; nothing happens when there is none.
  public func remove(_ name: String) throws(FederationError) {
    guard unlink("\(path)/\(name)") == 0 || errno == ENOENT else { throw Self.failed("remove", "\(path)/\(name)") }
    try syncDirectory()
  }

  private func syncDirectory() throws(FederationError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Self.failed("open", path) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw Self.failed("write", path) }
  }

  private static func checkOwner(_ status: stat, _ path: String, remedy: String) throws(FederationError) {
    guard status.st_mode & 0o077 == 0 else {
      throw FederationError(.failedPrecondition, "\(path) is open to others than its owner. Run: \(remedy)")
    }
    guard status.st_uid == geteuid() || geteuid() == 0 else {
      throw FederationError(.failedPrecondition, "\(path) belongs to another user.")
    }
  }

  private static func readSome(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ size: Int) -> Int {
    while true {
      let count = libcRead(descriptor, buffer, size)
      if count >= 0 || errno != EINTR { return count }
    }
  }

  private static func writeSome(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    while true {
      let count = libcWrite(descriptor, bytes.baseAddress, bytes.count)
      if count >= 0 || errno != EINTR { return count }
    }
  }

  private static func failed(_ action: String, _ path: String) -> FederationError {
    let code = errno
    return FederationError(
      .internal, "Could not \(action) \(path): \(String(cString: strerror(code))).", internalContext: "errno \(code)")
  }
}

// The type's own `read` and `write` hide the C functions inside it.
private func libcRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ size: Int) -> Int {
  read(descriptor, buffer, size)
}
private func libcWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ size: Int) -> Int {
  write(descriptor, bytes, size)
}
