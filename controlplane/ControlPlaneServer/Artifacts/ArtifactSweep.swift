import FederationModel
import Logging
import ServiceLifecycle

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Removes what uploads that nobody finished have left in an artifact repository: when the control plane starts, and then every
/// few hours. Several replicas may do so.
struct ArtifactSweep: Service {
  /// Longer than any upload is without a new byte.
  static let age = Duration.seconds(86_400)
  static let interval = Duration.seconds(6 * 3600)

  /// Removes what has not changed for so long; says how much that was.
  let sweep: @Sendable (Duration) async throws -> Int
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do {
          let count = try await sweep(Self.age)
          if count > 0 { logger.info("removed what unfinished uploads had left", metadata: ["count": "\(count)"]) }
        } catch {
          logger.warning("the artifact repository could not be swept", metadata: ["error": "\(error)"])
        }
        try? await Task.sleep(for: Self.interval * Double.random(in: 0.8...1.2))
      }
    }
  }
}

extension DirectoryArtifactStore {
  /// Removes files that no object names and that have not changed for `age`: parts of uploads, and the bytes of uploads that
  /// ended between bringing their bytes and naming them.
  ///
  /// - Returns: How many files were removed.
  func sweep(olderThan age: Duration) async throws -> Int {
    let limit = time(nil) - Int(age.seconds)
    let objects = root + "/objects"
    var count = try await Files.blocking { [root] in
      var count = 0
      for name in try Files.names(in: root + "/partial") where name.hasPrefix("put-") || name.hasPrefix("swept-") {
        let path = "\(root)/partial/\(name)"
        if Files.changed(path).map({ $0 < limit }) == true, try Self.removeAbandoned(path, before: limit) { count += 1 }
      }
      return count
    }
    for group in try await Files.blocking({ try Files.names(in: objects) }) {
      try Task.checkCancellation()
      // A group is one turn of a blocking thread: a repository of a million objects has four thousand in each.
      count += try await Files.blocking { [root] in
        var count = 0
        for object in try Files.names(in: "\(objects)/\(group)") {
          count += try Self.sweepObject("\(objects)/\(group)/\(object)", partial: root + "/partial", before: limit)
        }
        return count
      }
    }
    return count
  }

  /// Removes a part of an upload that nobody has taken over in the meantime.
  private static func removeAbandoned(_ path: String, before limit: Int) throws -> Bool {
    guard let descriptor = try Files.openExisting(path, O_RDONLY | O_NOFOLLOW) else { return false }
    defer { _ = close(descriptor) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, Files.changed(path).map({ $0 < limit }) == true else {
      return false
    }
    return unlink(path) == 0
  }

  /// - Parameter limit: seconds since 1970.
  private static func sweepObject(_ directory: String, partial: String, before limit: Int) throws -> Int {
    var count = 0
    // Almost every object is its record and one file of bytes.
    for name in try Files.names(in: directory) where name != "object" {
      let path = "\(directory)/\(name)"
      guard Files.changed(path).map({ $0 < limit }) == true, try named(in: directory) != name else { continue }
      // An upload of the same bytes may be naming them at this moment: what is taken away is looked at again, and given back.
      let away = "\(partial)/swept-\(String(UInt64.random(in: .min ... .max), radix: 16))"
      guard rename(path, away) == 0 else { continue }
      if Files.changed(away).map({ $0 < limit }) == true, try named(in: directory) != name {
        if unlink(away) == 0 { count += 1 }
      } else {
        try Files.move(away, to: path)
      }
    }
    return count
  }

  /// The file of bytes that the record in an object's directory names; nil without a record.
  private static func named(in directory: String) throws -> String? {
    let path = directory + "/object"
    guard let descriptor = try Files.openExisting(path, O_RDONLY) else { return nil }
    defer { _ = close(descriptor) }
    let text = String(decoding: try Files.read(descriptor, at: 0, count: 4096, path), as: UTF8.self)
    return text.split(separator: "\n", omittingEmptySubsequences: false).first.map(String.init)
  }
}

extension Files {
  /// When a regular file's bytes changed last, in seconds since 1970; nil for anything else.
  fileprivate static func changed(_ path: String) -> Int? {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    return Int(status.st_mtim.tv_sec)
  }

  static func names(in directory: String) throws -> [String] {
    guard let entries = opendir(directory) else {
      if errno == ENOENT || errno == ENOTDIR { return [] }
      throw Files.failure("opendir", directory)
    }
    defer { closedir(entries) }
    var names: [String] = []
    while let entry = readdir(entries) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}
