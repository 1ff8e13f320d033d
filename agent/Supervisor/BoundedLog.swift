internal import CSupervisor
internal import Glibc

/// Log files that programs append to for months, where nobody else rotates them: at most `bytesMax` and one file of that size
/// before it (`PATH.1`).
enum BoundedLog {
  static let bytesMax: Int64 = 8 << 20

  static func earlier(_ path: String) -> String { path + ".1" }

  /// Begins a new file when the one at `path` is long. For the moment at which a program is about to open it: whoever has it open
  /// goes on writing to the earlier one.
  static func turn(_ path: String, bytesMax: Int64 = bytesMax) {
    var status = stat()
    guard lstat(path, &status) == 0, Int64(status.st_size) > bytesMax else { return }
    rename(path, earlier(path))
  }

  /// Copies a long file to the earlier one's place and empties it, under the eyes of those who append to it: what they have is a
  /// descriptor, which cannot be changed from outside.
  ///
  /// A line that is written between the last look at the file's size and its emptying, some microseconds, is lost. When the copy
  /// cannot be kept (a full disk) the file is emptied all the same: a bound that holds only while there is room is none.
  ///
  /// - Parameter file: what the writers append to, open for writing. Left alone unless it is the regular file at `path`, and
  ///   everything goes to its end.
  /// - Returns: whether it was emptied.
  @discardableResult
  static func empty(_ file: Int32, at path: String, bytesMax: Int64 = bytesMax) -> Bool {
    var (own, named) = (stat(), stat())
    guard fstat(file, &own) == 0, own.st_mode & S_IFMT == S_IFREG, Int64(own.st_size) > bytesMax,
      lstat(path, &named) == 0, named.st_dev == own.st_dev, named.st_ino == own.st_ino,
      fcntl(file, F_GETFL) & O_APPEND != 0
    else { return false }
    let isKept = (try? copy(of: file, at: path)) != nil
    if !isKept { unlink(earlier(path) + ".new") }
    return ftruncate(file, 0) == 0
  }

  private static func copy(of file: Int32, at path: String) throws(SystemFailure) {
    let source = try Files.open(path, O_RDONLY | O_NOFOLLOW)
    defer { close(source) }
    let target = try Files.open(earlier(path) + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW)
    defer { close(target) }
    var chunk = [UInt8](repeating: 0, count: 256 << 10)
    while true {
      let count = chunk.withUnsafeMutableBytes { read(source, $0.baseAddress!, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw SystemFailure("read \(path)") }
      if count == 0 { break }
      try Files.writeAll(target, Array(chunk[..<count]))
    }
    guard rename(earlier(path) + ".new", earlier(path)) == 0 else { throw SystemFailure("rename \(path)") }
  }
}
