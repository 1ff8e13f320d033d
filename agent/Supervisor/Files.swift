internal import CSupervisor
internal import Glibc

/// A system call that failed, with its errno.
public struct SystemFailure: Error, Sendable, CustomStringConvertible {
  public var operation: String
  public var code: Int32
  public init(_ operation: String, _ code: Int32) {
    self.operation = operation
    self.code = code
  }
  /// With the calling thread's errno.
  public init(_ operation: String) { self.init(operation, errno) }
  public var description: String { "\(operation): \(Self.text(of: code))" }
  var isFullDisk: Bool { code == ENOSPC || code == EDQUOT }
  static func text(of code: Int32) -> String { String(cString: strerror(code)) }
}

/// Small file operations without Foundation.
enum Files {
  static func open(_ path: String, _ flags: Int32, mode: UInt32 = 0o600) throws(SystemFailure) -> Int32 {
    let file = csupervisor_open(path, flags, mode)
    guard file >= 0 else { throw SystemFailure("open \(path)", -file) }
    return file
  }

  static func makeDirectory(_ path: String, mode: UInt32 = 0o700) throws(SystemFailure) {
    if mkdir(path, mode) != 0, errno != EEXIST { throw SystemFailure("mkdir \(path)") }
  }

  /// At most `limit` bytes; nil when there is no such file. Neither a link is followed, nor does a FIFO block.
  static func read(_ path: String, limit: Int) -> [UInt8]? {
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

  static func writeAll(_ file: Int32, _ bytes: [UInt8]) throws(SystemFailure) {
    var done = 0
    while done < bytes.count {
      let put = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + done, bytes.count - done) }
      if put < 0, errno == EINTR { continue }
      if put < 0 { throw SystemFailure("write") }
      done += put
    }
  }

  /// Replaces `path` in one step: readers see the old content or the new one.
  static func replace(_ path: String, with bytes: [UInt8]) throws(SystemFailure) {
    let temporary = path + ".new"
    let file = try open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
    do throws(SystemFailure) { try writeAll(file, bytes) } catch {
      close(file)
      throw error
    }
    // A network file system sends the bytes when the file is closed: only then may others find it.
    guard close(file) == 0, rename(temporary, path) == 0 else { throw SystemFailure("replace \(path)") }
  }

  static func names(in directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}

/// `body` with a NULL-terminated array of C strings that lives as long as the call.
func withCStrings<Result>(_ texts: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result) -> Result {
  var owned = texts.map { strdup($0) }
  owned.append(nil)
  defer { for pointer in owned { free(pointer) } }
  return owned.withUnsafeBufferPointer { buffer in
    buffer.baseAddress!.withMemoryRebound(to: UnsafePointer<CChar>?.self, capacity: buffer.count) { body($0) }
  }
}
