internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A directory whose contents somebody else wrote, and which nothing here ever leaves.
///
/// Paths are walked one component at a time with `O_NOFOLLOW`. Symbolic links are resolved as the run saw them, with this
/// directory as `/`; an absolute link or any number of `..` stays inside.
final class RootedTree: Sendable {
  let descriptor: Int32
  private static let linksMax = 40
  static let pathBytesMax = 4096

  /// - Throws: when `path` is no directory.
  init(_ path: String) throws { descriptor = try POSIXFile.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) }
  deinit { close(descriptor) }

  /// The place that `path` means, without links; nil when a component of it does not exist.
  ///
  /// - Throws: `.invalidArgument` for too many links or too long a path.
  func resolve(_ path: String) throws -> [String]? {
    guard path.utf8.count <= Self.pathBytesMax else { throw FederationError(.invalidArgument, "The path is too long") }
    var pending = path.split(separator: "/").reversed().map(String.init)
    var resolved: [String] = []
    var links = 0
    while let component = pending.popLast() {
      if component == "." { continue }
      if component == ".." {
        _ = resolved.popLast()
        continue
      }
      let parent = try openDirectory(resolved)
      guard parent >= 0 else { return nil }
      defer { close(parent) }
      var status = stat()
      guard fstatat(parent, component, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
      guard status.st_mode & S_IFMT == S_IFLNK else {
        resolved.append(component)
        continue
      }
      links += 1
      guard links <= Self.linksMax else {
        throw FederationError(.invalidArgument, "\(path) goes through more than \(Self.linksMax) symbolic links")
      }
      let target = try Self.readLink(parent, component)
      if target.hasPrefix("/") { resolved = [] }
      pending += target.split(separator: "/").reversed().map(String.init)
      guard pending.count <= 4096 else { throw FederationError(.invalidArgument, "\(path) resolves without end") }
    }
    return resolved
  }

  static func readLink(_ parent: Int32, _ name: String) throws -> String {
    var buffer = [UInt8](repeating: 0, count: pathBytesMax)
    let length = buffer.withUnsafeMutableBytes {
      readlinkat(parent, name, $0.bindMemory(to: CChar.self).baseAddress!, pathBytesMax)
    }
    guard length >= 0 else { throw POSIXFile.failure("Cannot read the link \(name)") }
    return String(decoding: buffer[..<length], as: UTF8.self)
  }

  /// A descriptor of the directory at these components, no link followed; -1 when there is none.
  private func openDirectory(_ components: [String], create: Bool = false) throws -> Int32 {
    var current = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard current >= 0 else { throw POSIXFile.failure("Cannot open a directory") }
    for component in components {
      if create, mkdirat(current, component, 0o755) != 0, errno != EEXIST {
        let failure = POSIXFile.failure("Cannot make the directory \(component)")
        close(current)
        throw failure
      }
      let next = openat(current, component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
      let code = errno
      close(current)
      guard next >= 0 else {
        if code == ENOENT || (code == ENOTDIR && !create) { return -1 }
        if code == ELOOP || code == ENOTDIR {
          throw FederationError(
            .invalidArgument, "\(components.joined(separator: "/")) goes through something that is no directory")
        }
        throw POSIXFile.failure("Cannot open \(components.joined(separator: "/"))", code)
      }
      current = next
    }
    return current
  }

  /// Calls `body` with the directory that holds the last component, and its name. Makes missing directories if `create`.
  func withParent<Result>(of components: [String], create: Bool = false, _ body: (Int32, String) throws -> Result)
    throws -> Result
  {
    guard let name = components.last else { throw FederationError(.invalidArgument, "The path names the root itself") }
    let parent = try openDirectory(Array(components.dropLast()), create: create)
    guard parent >= 0 else {
      throw FederationError(.notFound, "\(components.joined(separator: "/")) does not exist")
    }
    defer { close(parent) }
    return try body(parent, name)
  }

  func makeDirectory(_ components: [String]) throws {
    let made = try openDirectory(components, create: true)
    if made >= 0 { close(made) }
  }

  /// No link is followed.
  func setMode(ofDirectory components: [String], _ mode: mode_t) throws {
    let directory = try openDirectory(components)
    guard directory >= 0 else { return }
    defer { close(directory) }
    guard fchmod(directory, mode) == 0 else {
      throw POSIXFile.failure("Cannot set the mode of \(components.joined(separator: "/"))")
    }
  }

  /// Opens a regular file for reading; nil when there is nothing. A FIFO or device cannot block or confuse it.
  func openFile(_ path: String) throws -> (descriptor: Int32, size: Int64, mode: mode_t)? {
    guard let components = try resolve(path), !components.isEmpty else { return nil }
    return try withParent(of: components) { parent, name in
      let file = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
      guard file >= 0 else { throw POSIXFile.failure("Cannot open \(path)") }
      var status = stat()
      guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
        close(file)
        throw FederationError(.failedPrecondition, "\(path) is no regular file")
      }
      return (file, Int64(status.st_size), status.st_mode & 0o777)
    }
  }

  /// Components of a member's name in an archive, lexically inside; nil for one that would leave it or means nothing.
  static func memberComponents(_ name: String) -> [String]? {
    guard !name.hasPrefix("/"), !name.utf8.contains(0), name.utf8.count <= pathBytesMax else { return nil }
    let components = name.split(separator: "/").map(String.init).filter { $0 != "." }
    guard !components.contains(".."), components.count <= 256, components.allSatisfy({ $0.utf8.count <= 255 }) else {
      return nil
    }
    return components
  }
}
