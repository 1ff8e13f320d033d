import FederationModel
import NIOPosix

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Blocking file operations, kept away from the threads that serve requests.
enum Files {
  /// Runs `body` on the shared pool for blocking work.
  static func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await NIOThreadPool.singleton.runIfActive(body)
  }

  /// The error behind `errno`, in words that an operator can act on.
  static func failure(_ operation: String, _ path: String, code: Int32 = errno) -> FederationError {
    let full = code == ENOSPC || code == EDQUOT
    return FederationError(
      full ? .resourceExhausted : .internal,
      full
        ? "The control plane's disk is full. Ask its operator to make room, then repeat."
        : "The control plane could not use its files. Ask its operator to look at its log.",
      internalContext: "\(operation) \(path): \(String(cString: strerror(code)))", retryAfter: full ? .seconds(30) : nil
    )
  }

  static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws -> Int32 {
    while true {
      let descriptor = openFile(path, flags | O_CLOEXEC, mode)
      if descriptor >= 0 { return descriptor }
      if errno != EINTR { throw failure("open", path) }
    }
  }

  /// nil when there is no such file.
  static func openExisting(_ path: String, _ flags: Int32) throws -> Int32? {
    while true {
      let descriptor = openFile(path, flags | O_CLOEXEC, 0)
      if descriptor >= 0 { return descriptor }
      if errno == ENOENT || errno == ENOTDIR { return nil }
      if errno != EINTR { throw failure("open", path) }
    }
  }

  /// Opens a file for reading and writing, made if need be, and holds its lock (flock), until it is closed.
  ///
  /// Its time is now, so that the sweep, which takes the same lock, leaves it alone from here on.
  /// - Throws: `.unavailable` when somebody else has it.
  static func openLocked(_ path: String) throws -> Int32 {
    while true {
      let descriptor = try open(path, O_RDWR | O_CREAT)
      var status = stat()
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        let code = errno
        _ = close(descriptor)
        guard code == EWOULDBLOCK else { throw failure("flock", path, code: code) }
        throw FederationError(
          .unavailable, "Another upload of this artifact is under way. Try again.", retryAfter: .seconds(1))
      }
      futimens(descriptor, nil)
      // Removed between opening and locking: then the name stands for another file, or none.
      if fstat(descriptor, &status) == 0, status.st_nlink > 0 { return descriptor }
      _ = close(descriptor)
    }
  }

  static func size(of descriptor: Int32, _ path: String) throws -> Int64 {
    var information = stat()
    guard fstat(descriptor, &information) == 0 else { throw failure("stat", path) }
    return Int64(information.st_size)
  }

  static func write(_ bytes: some Collection<UInt8>, to descriptor: Int32, at offset: Int64, _ path: String) throws {
    let array = Array(bytes)
    var done = 0
    while done < array.count {
      let count = array.withUnsafeBytes {
        pwrite(descriptor, $0.baseAddress! + done, array.count - done, off_t(offset) + off_t(done))
      }
      if count > 0 {
        done += count
      } else if errno != EINTR {
        throw failure("write", path)
      }
    }
  }

  /// At most `count` bytes; fewer only at the end of the file.
  static func read(_ descriptor: Int32, at offset: Int64, count: Int, _ path: String) throws -> [UInt8] {
    var failed = false
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      while initialized < count {
        let got = pread(
          descriptor, buffer.baseAddress! + initialized, count - initialized, off_t(offset) + off_t(initialized))
        if got > 0 {
          initialized += got
        } else if got == 0 {
          return
        } else if errno != EINTR {
          failed = true
          return
        }
      }
    }
    if failed { throw failure("read", path) }
    return bytes
  }

  static func sync(_ descriptor: Int32, _ path: String) throws {
    guard fsync(descriptor) == 0 else { throw failure("fsync", path) }
  }

  /// Makes a directory entry durable.
  static func syncDirectory(_ path: String) throws {
    let descriptor = try open(path, O_RDONLY | O_DIRECTORY)
    defer { _ = close(descriptor) }
    try sync(descriptor, path)
  }

  /// Creates every missing directory of `path`, private to the control plane.
  static func makeDirectories(_ path: String) throws {
    if mkdir(path, 0o700) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
      throw failure("mkdir", path)
    }
    try makeDirectories(String(path[..<slash]))
    guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure("mkdir", path) }
  }

  /// Puts `bytes` at `path` so that a reader sees all or nothing, also after a crash.
  static func replace(_ path: String, with bytes: [UInt8], temporary: String) throws {
    let descriptor = try open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
    do {
      try write(bytes, to: descriptor, at: 0, temporary)
      try sync(descriptor, temporary)
      _ = close(descriptor)
    } catch {
      _ = close(descriptor)
      _ = unlink(temporary)
      throw error
    }
    try move(temporary, to: path)
  }

  static func move(_ source: String, to path: String) throws {
    guard rename(source, path) == 0 else { throw failure("rename", path) }
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    try syncDirectory(String(path[..<slash]))
  }

  private static func openFile(_ path: String, _ flags: Int32, _ mode: mode_t) -> Int32 {
    #if canImport(Glibc)
      Glibc.open(path, flags, mode)
    #else
      Darwin.open(path, flags, mode)
    #endif
  }
}
