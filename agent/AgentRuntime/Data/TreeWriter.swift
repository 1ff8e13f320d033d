internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Writes files below a directory that nobody else touches yet. Paths come from a manifest that was checked: they stay inside.
struct TreeWriter: Sendable {
  let root: String

  init(_ root: String) { self.root = root }

  /// Of a file that was finished: nobody may write those; nil when there is none.
  func size(_ path: String) -> Int64? {
    var status = stat()
    guard lstat(root + "/" + path, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      status.st_mode & 0o200 == 0
    else { return nil }
    return Int64(status.st_size)
  }

  /// A new, empty file, for writing; what was there goes.
  func create(_ path: String) throws -> Int32 {
    let whole = root + "/" + path
    var attempts = 0
    while true {
      attempts += 1
      let file = open(whole, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
      if file >= 0 { return file }
      switch errno {
      case ENOENT where attempts < 3: try makeParents(of: path)
      case EEXIST where attempts < 3: unlink(whole)
      case let code: throw POSIXFile.failure("Cannot make \(path)", code)
      }
    }
  }

  func makeParents(of path: String) throws {
    var made = root
    for component in path.split(separator: "/").dropLast() {
      made += "/" + component
      if mkdir(made, 0o755) != 0, errno != EEXIST { throw POSIXFile.failure("Cannot make \(made)") }
    }
  }

  /// Gives a whole file its mode and time, and closes it. Everybody may read it, nobody write.
  func finish(_ file: Int32, _ entry: DatasetManifest.Entry) throws {
    fchmod(file, 0o444 | mode_t(entry.mode) & 0o111)
    if let modified = entry.modified {
      let time = timespec(tv_sec: Int(modified / 1000), tv_nsec: Int(modified % 1000 + 1000) % 1000 * 1_000_000)
      withUnsafePointer(to: (time, time)) { pair in
        _ = pair.withMemoryRebound(to: timespec.self, capacity: 2) { futimens(file, $0) }
      }
    }
    guard close(file) == 0 else { throw POSIXFile.failure("Cannot write \(entry.path)") }
  }

  func link(_ path: String, to target: String) throws {
    let whole = root + "/" + path
    var attempts = 0
    while symlink(target, whole) != 0 {
      attempts += 1
      switch errno {
      case ENOENT where attempts < 3: try makeParents(of: path)
      case EEXIST where attempts < 3: unlink(whole)
      case let code: throw POSIXFile.failure("Cannot make the link \(path)", code)
      }
    }
  }

  /// Moves a file that has been verified to its place.
  func take(_ file: String, as entry: DatasetManifest.Entry) throws {
    let descriptor = try POSIXFile.open(file, O_RDONLY | O_NOFOLLOW)
    try finish(descriptor, entry)
    if rename(file, root + "/" + entry.path) == 0 { return }
    guard errno == ENOENT else { throw POSIXFile.failure("Cannot keep \(entry.path)") }
    try makeParents(of: entry.path)
    guard rename(file, root + "/" + entry.path) == 0 else { throw POSIXFile.failure("Cannot keep \(entry.path)") }
  }

  func remove(_ path: String) { unlink(root + "/" + path) }

  func digest(_ path: String) throws -> String {
    let file = try POSIXFile.open(root + "/" + path, O_RDONLY | O_NOFOLLOW)
    defer { POSIXFile.close(file) }
    return try ArtifactPacking.digest(file).sha256
  }
}
