internal import FederationModel
internal import FoundationEssentials
internal import ProcessExecutor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The few calls on file descriptors that packing and staging are made of. Every one closes on exec.
enum POSIXFile {
  /// What `errno` said, as an error of ours: a full disk is told apart because staging waits for space instead of failing.
  static func failure(_ what: String, _ code: Int32 = errno) -> FederationError {
    let reason = String(cString: strerror(code))
    if code == ENOSPC || code == EDQUOT {
      return FederationError(.resourceExhausted, "\(what): the disk is full (\(reason))", retryAfter: .seconds(10))
    }
    return FederationError(.internal, "\(what): \(reason)")
  }

  static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws -> Int32 {
    let descriptor = Glibc.open(path, flags | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw failure("Cannot open \(path)") }
    return descriptor
  }

  static func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

  /// Reads up to `count` bytes; an empty array at the end.
  static func read(_ descriptor: Int32, upTo count: Int) throws -> [UInt8] {
    var failed: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
      while true {
        let got = Glibc.read(descriptor, buffer.baseAddress!, count)
        if got < 0, errno == EINTR { continue }
        failed = got < 0 ? errno : 0
        used = max(0, got)
        return
      }
    }
    if failed != 0 { throw failure("Cannot read", failed) }
    return bytes
  }

  /// Everything from the position on, at most `limit` bytes.
  static func readAll(_ descriptor: Int32, limit: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < limit {
      let more = try read(descriptor, upTo: min(1 << 16, limit - bytes.count))
      if more.isEmpty { break }
      bytes += more
    }
    return bytes
  }

  static func write(_ descriptor: Int32, _ bytes: some ContiguousBytes, _ what: @autoclosure () -> String) throws {
    try bytes.withUnsafeBytes { buffer in
      var rest = buffer
      while !rest.isEmpty {
        let written = Glibc.write(descriptor, rest.baseAddress!, rest.count)
        if written < 0 {
          if errno == EINTR { continue }
          throw failure("Cannot write \(what())")
        }
        rest = UnsafeRawBufferPointer(rebasing: rest[written...])
      }
    }
  }

  static func makeDirectories(_ path: String, mode: mode_t = 0o700) throws {
    var made = ""
    for component in path.split(separator: "/") {
      made += "/" + component
      if mkdir(made, mode) != 0, errno != EEXIST { throw failure("Cannot make the directory \(made)") }
    }
  }

  static func size(_ path: String) -> Int64? {
    var status = stat()
    return lstat(path, &status) == 0 ? Int64(status.st_size) : nil
  }

  /// Whether nothing has this name; false as well when nobody can say.
  static func isMissing(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) != 0 && (errno == ENOENT || errno == ENOTDIR)
  }

  /// What has this name; nil when nothing does.
  ///
  /// - Throws: what keeps anybody from saying.
  static func status(_ path: String) throws -> stat? {
    var status = stat()
    if lstat(path, &status) == 0 { return status }
    guard errno == ENOENT || errno == ENOTDIR else { throw failure("Cannot examine \(path)") }
    return nil
  }

  /// Removes a tree without following symbolic links; what is not there is fine.
  static func removeTree(_ path: String) { HostFiles.remove(path) }

  static func name(of entry: UnsafeMutablePointer<dirent>) -> String {
    withUnsafePointer(to: &entry.pointee.d_name) { pointer in
      pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
  }

  private static func isUTF8(_ entry: UnsafeMutablePointer<dirent>) -> Bool {
    withUnsafePointer(to: &entry.pointee.d_name) { pointer in
      pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(validatingCString: $0) != nil }
    }
  }

  static func entries(ofPath path: String) throws -> [String] {
    let directory = try open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    defer { close(directory) }
    return try entries(of: directory)
  }

  /// Names in a directory, sorted, without `.` and `..`.
  ///
  /// - Parameter shown: what the directory is called where its names must be exact. A name that is not UTF-8 is refused then,
  ///   since what it would be taken for does not exist; elsewhere the bytes that are none become U+FFFD.
  static func entries(of descriptor: Int32, called shown: String? = nil) throws -> [String] {
    // A descriptor of its own: `fdopendir` takes it over.
    let copy = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0, let directory = fdopendir(copy) else { throw failure("Cannot list a directory") }
    defer { _ = Glibc.closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = name(of: entry)
      if let shown, name.unicodeScalars.contains("\u{FFFD}"), !isUTF8(entry) {
        throw FederationError(
          .invalidArgument,
          "A name in \(shown) is not UTF-8 (\(name), with \u{FFFD} for the bytes that are none); rename it")
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}

/// Buffered reading from a descriptor, by exact counts.
struct ByteReader {
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var position = 0

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  /// At most `count` bytes, fewer only because the buffer holds fewer; empty at the end.
  mutating func some(upTo count: Int) throws -> ArraySlice<UInt8> {
    if position == buffer.count {
      buffer = try POSIXFile.read(descriptor, upTo: 1 << 16)
      position = 0
    }
    let end = min(buffer.count, position + count)
    defer { position = end }
    return buffer[position..<end]
  }

  /// Exactly `count` bytes; nil when the end comes before the first of them.
  mutating func exactly(_ count: Int) throws -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
      let more = try some(upTo: count - bytes.count)
      if more.isEmpty {
        if bytes.isEmpty { return nil }
        throw FederationError(.invalidArgument, "the archive is cut short")
      }
      bytes += more
    }
    return bytes
  }
}
