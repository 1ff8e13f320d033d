internal import FederationModel
internal import FoundationEssentials
internal import Yams

#if canImport(Glibc)
  internal import Glibc
#endif

/// The control planes that a person works with: `~/.config/fubini/contexts.yaml`, readable by its owner alone.
struct ContextFile: Codable, Sendable, Equatable {
  struct Context: Codable, Sendable, Equatable {
    var url: String
    var token: String?
    var certificateAuthority: String?
    var project: String?
  }

  var current: String?
  var contexts: [String: Context] = [:]

  /// - Throws: usage, when the current context is not there.
  var selected: Context? {
    get throws {
      guard let current else { return nil }
      guard let context = contexts[current] else {
        throw CommandFailure(.usage, "The context \"\(current)\" does not exist: see `fubini context list`.")
      }
      return context
    }
  }

  static func path(environment: [String: String]) -> String {
    let base = environment["XDG_CONFIG_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
    return (base ?? (environment["HOME"] ?? "/root") + "/.config") + "/fubini/contexts.yaml"
  }

  /// A file that is not there is an empty one.
  static func load(path: String) throws -> ContextFile {
    guard let data = FileManager.default.contents(atPath: path) else { return ContextFile() }
    guard data.count <= 1 << 20 else { throw CommandFailure(.error, "\(path) is larger than 1 MiB.") }
    do { return try YAMLDecoder().decode(ContextFile.self, from: data) } catch {
      throw CommandFailure(.error, "\(path) cannot be read as contexts; mend or remove it. (\(error))")
    }
  }

  func save(path: String) throws {
    let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    try PrivateFile.write(try YAMLEncoder().encode(self), to: path)
  }
}

/// Files that hold secrets.
enum PrivateFile {
  /// Replaces the file at once, with mode 0600: a reader sees the old or the new one, and nobody else sees either.
  static func write(_ text: String, to path: String) throws {
    let temporary = "\(path).\(getpid()).new"
    unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw CommandFailure(.error, "Cannot write \(path): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw CommandFailure(.error, "Cannot write \(path): \(String(cString: strerror(errno)))") }
      bytes = bytes.dropFirst(count)
    }
    guard fsync(descriptor) == 0, rename(temporary, path) == 0 else {
      throw CommandFailure(.error, "Cannot write \(path): \(String(cString: strerror(errno)))")
    }
  }
}

/// Bounded reading.
enum InputFile {
  /// At most `limit` bytes; with `fromEnd` the last ones. nil when it cannot be read.
  static func read(_ path: String, limit: Int, fromEnd: Bool = false) -> [UInt8]? {
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
