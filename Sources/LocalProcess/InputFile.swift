#if canImport(Glibc)
  internal import Glibc
#endif

/// Bounded reading.
public enum InputFile {
  /// At most `limit` bytes; with `fromEnd` the last ones. nil when it cannot be read.
  public static func read(_ path: String, limit: Int, fromEnd: Bool = false) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    if fromEnd {
      let end = lseek(descriptor, 0, SEEK_END)
      lseek(descriptor, max(0, end - limit), SEEK_SET)
    }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while bytes.count < limit {
      let count = Glibc.read(descriptor, &buffer, min(buffer.count, limit - bytes.count))
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return nil }
      if count == 0 { break }
      bytes += buffer[..<count]
    }
    return bytes
  }
}
