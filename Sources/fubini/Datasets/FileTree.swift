internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#endif

/// The files below a directory, or one file, as a data set has them.
struct FileTree: Sendable {
  struct File: Sendable, Equatable {
    /// Relative to the tree.
    var path: String
    var size: Int64
    var mode: Int32
    /// Milliseconds since 1970.
    var modified: Int64
    /// Of a symbolic link: its target.
    var link: String?
  }

  /// The directory that paths are relative to.
  let root: String
  /// In ascending order of the paths' bytes.
  private(set) var files: [File] = []

  var bytes: Int64 { files.reduce(0) { $0 &+ $1.size } }

  func location(of file: File) -> String { root + "/" + file.path }

  /// - Throws: `.error` naming what cannot be part of a data set.
  init(scanning path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0 else { throw Self.unreadable(path) }
    if status.st_mode & S_IFMT == S_IFREG {
      let slash = path.lastIndex(of: "/")
      root = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
      files = [try Self.file(slash.map { String(path[path.index(after: $0)...]) } ?? path, status, path)]
      return
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw CommandFailure(.usage, "\(path) is neither a file nor a directory.")
    }
    root = path
    var directories = [""]
    while let directory = directories.popLast() { try scan(directory, &directories) }
    files.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    guard !files.isEmpty else { throw CommandFailure(.error, "There are no files in \(path).") }
    guard
      files.reduce(
        (sum: Int64(0), isTooMuch: false),
        { total, file in
          let (sum, overflow) = total.sum.addingReportingOverflow(file.size)
          return (sum, total.isTooMuch || overflow)
        }
      ).isTooMuch == false
    else {
      throw CommandFailure(.error, "The files in \(path) say that they are larger together than any disk.")
    }
  }

  private mutating func scan(_ directory: String, _ directories: inout [String]) throws {
    let path = directory.isEmpty ? root : root + "/" + directory
    guard let entries = opendir(path) else { throw Self.unreadable(path) }
    defer { closedir(entries) }
    while let entry = readdir(entries) {
      let bytes = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: UInt8.self, capacity: 256) { Array(UnsafeBufferPointer(start: $0, count: strlen($0))) }
      }
      if bytes == [0x2e] || bytes == [0x2e, 0x2e] { continue }
      guard let name = String(validating: bytes, as: UTF8.self) else {
        throw CommandFailure(.error, "A name in \(path) is not UTF-8; rename the file.")
      }
      let relative = directory.isEmpty ? name : directory + "/" + name
      var status = stat()
      guard lstat(root + "/" + relative, &status) == 0 else { throw Self.unreadable(relative) }
      switch status.st_mode & S_IFMT {
      case S_IFDIR: directories.append(relative)
      case S_IFREG, S_IFLNK:
        guard files.count < DatasetManifest.filesMax else {
          throw CommandFailure(.error, "There are more than \(DatasetManifest.filesMax) files in \(root).")
        }
        files.append(try Self.file(relative, status, root + "/" + relative))
      default:
        throw CommandFailure(.error, "\(path)/\(name) is a device, socket or pipe, which no data set can hold.")
      }
    }
  }

  private static func file(_ path: String, _ status: stat, _ location: String) throws -> File {
    do { try DatasetManifest.check(path: path) } catch { throw Self.unfit(error) }
    let modified = Int64(status.st_mtim.tv_sec) * 1000 + Int64(status.st_mtim.tv_nsec) / 1_000_000
    var file = File(path: path, size: Int64(status.st_size), mode: Int32(status.st_mode & 0o777), modified: modified)
    guard status.st_mode & S_IFMT == S_IFLNK else { return file }
    var target = [UInt8](repeating: 0, count: DatasetManifest.pathBytesMax + 1)
    let count = target.withUnsafeMutableBytes { buffer in
      readlink(location, buffer.baseAddress!.assumingMemoryBound(to: CChar.self), buffer.count)
    }
    guard count >= 0 else { throw unreadable(location) }
    guard let text = String(validating: target[..<count], as: UTF8.self) else {
      throw CommandFailure(.error, "The link \(location) does not point at a name in UTF-8.")
    }
    do { try DatasetManifest.check(link: text, of: path) } catch { throw Self.unfit(error) }
    (file.size, file.mode, file.link) = (0, 0o777, text)
    return file
  }

  /// Known before anything is sent, and not after hours.
  private static func unfit(_ error: FederationError) -> CommandFailure {
    CommandFailure(.error, "\(error.publicMessage). Nothing was sent.")
  }

  private static func unreadable(_ path: String) -> CommandFailure {
    CommandFailure(.error, "Cannot read \(path): \(String(cString: strerror(errno)))")
  }
}
