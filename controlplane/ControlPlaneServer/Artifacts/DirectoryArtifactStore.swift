import Crypto
import FederationModel
import Synchronization

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// An artifact repository in one directory of the control plane.
///
/// An object is two files in a directory named after its key's hash: the bytes, and a small record that names them. The rename of
/// the record is the one moment at which the object appears or changes. Keys never become paths.
public struct DirectoryArtifactStore: ArtifactStore {
  let root: String

  /// - Parameter directory: Created with mode 0700 when missing. What uploads left there unfinished is `ArtifactSweep`'s.
  public init(directory: String) async throws {
    root = directory
    try await Files.blocking {
      try Files.makeDirectories(directory + "/objects")
      try Files.makeDirectories(directory + "/partial")
    }
  }

  public func put(_ key: ArtifactKey) async throws -> any ArtifactUpload {
    let place = Place(root: root, key: key)
    return try await Files.blocking { try DirectoryUpload(place: place) }
  }

  public func stat(_ key: ArtifactKey) async throws -> ArtifactStat? {
    let place = Place(root: root, key: key)
    return try await Files.blocking { try place.record() }
  }

  public func get(_ key: ArtifactKey, from offset: Int64) async throws -> any ArtifactDownload {
    let place = Place(root: root, key: key)
    return try await Files.blocking {
      // A replacement between reading the record and opening its bytes removes the bytes: then the record has changed, too.
      for _ in 0..<16 {
        guard let stat = try place.record() else { break }
        guard (0...stat.size).contains(offset) else {
          throw FederationError(
            .invalidArgument, "The artifact has \(stat.size) bytes; offset \(offset) is not among them.")
        }
        let path = place.data(stat.sha256)
        if let descriptor = try Files.openExisting(path, O_RDONLY) {
          return DirectoryDownload(stat: stat, descriptor: descriptor, path: path, offset: offset)
        }
      }
      throw FederationError(.notFound, "There is no artifact \(key.path) in project \(key.project).")
    }
  }

  public func delete(_ key: ArtifactKey) async throws {
    let place = Place(root: root, key: key)
    try await Files.blocking {
      guard let stat = try place.record() else { return }
      guard unlink(place.recordPath) == 0 || errno == ENOENT else { throw Files.failure("unlink", place.recordPath) }
      _ = unlink(place.data(stat.sha256))
    }
  }
}

/// Where the files of one object are.
private struct Place: Sendable {
  let partial: String
  let directory: String
  let key: ArtifactKey

  init(root: String, key: ArtifactKey) {
    let hash = SHA256.hash(data: Array(key.description.utf8)).hexadecimal
    partial = root + "/partial"
    directory = "\(root)/objects/\(hash.prefix(2))/\(hash)"
    self.key = key
  }

  var recordPath: String { directory + "/object" }
  func data(_ sha256: String) -> String { directory + "/" + sha256 }

  /// - Throws: `.internal` when the record is damaged.
  func record() throws -> ArtifactStat? {
    guard let descriptor = try Files.openExisting(recordPath, O_RDONLY) else { return nil }
    defer { _ = close(descriptor) }
    let text = String(decoding: try Files.read(descriptor, at: 0, count: 4096, recordPath), as: UTF8.self)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard lines.count >= 3, lines[0].utf8.count == 64, let size = Int64(lines[1]), lines[2] == key.description else {
      throw FederationError(
        .internal, "The artifact repository is damaged. Ask the control plane's operator to look at its log.",
        internalContext: "record \(recordPath) is not one of ours")
    }
    return ArtifactStat(size: size, sha256: String(lines[0]))
  }

  func publish(_ stat: ArtifactStat, from temporary: String) throws {
    let old = try record()
    try Files.makeDirectories(directory)
    try Files.move(temporary, to: data(stat.sha256))
    let text = "\(stat.sha256)\n\(stat.size)\n\(key)\n"
    try Files.replace(recordPath, with: Array(text.utf8), temporary: temporary + ".record")
    // The new directories' own entries.
    let parent = String(directory[..<directory.lastIndex(of: "/")!])
    try Files.syncDirectory(parent)
    try Files.syncDirectory(String(parent[..<parent.lastIndex(of: "/")!]))
    if let old, old.sha256 != stat.sha256 { _ = unlink(data(old.sha256)) }
  }
}

private final class DirectoryUpload: ArtifactUpload {
  private struct State {
    var descriptor: Int32
    var size: Int64 = 0
    var hash = SHA256()
  }

  private let place: Place
  private let temporary: String
  private let state: Mutex<State>

  init(place: Place) throws {
    self.place = place
    temporary = "\(place.partial)/put-\(String(UInt64.random(in: .min ... .max), radix: 16))"
    state = Mutex(State(descriptor: try Files.open(temporary, O_WRONLY | O_CREAT | O_EXCL)))
  }

  deinit { discard() }

  func write(_ bytes: [UInt8]) async throws {
    try await Files.blocking { [self] in
      try state.withLock { state in
        guard state.descriptor >= 0 else { throw Self.ended }
        try Files.write(bytes, to: state.descriptor, at: state.size, temporary)
        state.size += Int64(bytes.count)
        state.hash.update(data: bytes)
      }
    }
  }

  func finish(size: Int64?, sha256: String?) async throws -> ArtifactStat {
    try await Files.blocking { [self] in
      try state.withLock { state in
        guard state.descriptor >= 0 else { throw Self.ended }
        let descriptor = state.descriptor
        state.descriptor = -1
        defer { _ = close(descriptor) }
        do {
          let stat = ArtifactStat(size: state.size, sha256: state.hash.finalize().hexadecimal)
          try stat.check(size: size, sha256: sha256)
          try Files.sync(descriptor, temporary)
          try place.publish(stat, from: temporary)
          return stat
        } catch {
          _ = unlink(temporary)
          throw error
        }
      }
    }
  }

  func abort() async { discard() }

  private func discard() {
    state.withLock { state in
      guard state.descriptor >= 0 else { return }
      _ = close(state.descriptor)
      _ = unlink(temporary)
      state.descriptor = -1
    }
  }

  private static var ended: FederationError {
    FederationError(.failedPrecondition, "This upload has ended. Begin it again.")
  }
}

private final class DirectoryDownload: ArtifactDownload {
  let stat: ArtifactStat
  private let path: String
  private let state: Mutex<(descriptor: Int32, offset: Int64)>

  init(stat: ArtifactStat, descriptor: Int32, path: String, offset: Int64) {
    self.stat = stat
    self.path = path
    state = Mutex((descriptor, offset))
  }

  deinit { shut() }

  func next() async throws -> [UInt8]? {
    try await Files.blocking { [self] in
      try state.withLock { state in
        guard state.descriptor >= 0, state.offset < stat.size else { return nil }
        let wanted = Int(min(262_144, stat.size - state.offset))
        let bytes = try Files.read(state.descriptor, at: state.offset, count: wanted, path)
        guard bytes.count == wanted else {
          throw FederationError(
            .internal, "The artifact repository is damaged. Ask the control plane's operator to look at its log.",
            internalContext: "\(path) is shorter than its record says")
        }
        state.offset += Int64(bytes.count)
        return bytes
      }
    }
  }

  func close() async { shut() }

  private func shut() {
    state.withLock { state in
      if state.descriptor >= 0 { _ = closeFile(state.descriptor) }
      state.descriptor = -1
    }
  }
}

/// `close(2)`, where a method of that name hides it.
private func closeFile(_ descriptor: Int32) -> Int32 {
  #if canImport(Glibc)
    Glibc.close(descriptor)
  #else
    Darwin.close(descriptor)
  #endif
}

extension Sequence<UInt8> {
  /// Lower-case hexadecimal.
  var hexadecimal: String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }
}
