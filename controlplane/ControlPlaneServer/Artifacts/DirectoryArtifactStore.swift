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

  public func position(of key: ArtifactKey, content: ArtifactStat) async throws -> Int64 {
    let place = Place(root: root, key: key)
    return try await Files.blocking {
      if try place.record() == content { return content.size }
      guard let descriptor = try Files.openExisting(place.partial(content), O_RDONLY) else { return 0 }
      defer { _ = close(descriptor) }
      return min(content.size, try Files.size(of: descriptor, place.partial(content)))
    }
  }

  public func put(_ key: ArtifactKey, content: ArtifactStat, from offset: Int64) async throws -> any ArtifactUpload {
    guard content.size >= 0, (0...content.size).contains(offset), content.sha256.utf8.count == 64 else {
      throw FederationError(
        .invalidArgument, "An upload goes on at an offset of an artifact with a size and a SHA-256.")
    }
    let place = Place(root: root, key: key)
    if offset == content.size, offset > 0, try await stat(key) == content { return StoredUpload(stat: content) }
    let upload = try await Files.blocking { try DirectoryUpload(place: place, content: content, from: offset) }
    do { try await upload.readBack(to: offset) } catch {
      await upload.abort()
      throw error
    }
    return upload
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

extension DirectoryArtifactStore {
  /// Both keys name the same bytes on disk; either goes without the other.
  public func copy(_ source: ArtifactKey, to target: ArtifactKey, content: ArtifactStat) async throws {
    let (from, to) = (Place(root: root, key: source), Place(root: root, key: target))
    try await Files.blocking {
      if try to.record() == content { return }
      guard let there = try from.record() else {
        throw FederationError(.notFound, "There is no artifact \(source.path) in project \(source.project).")
      }
      guard there == content else {
        throw FederationError(
          .internal, "The artifact \(source.path) is not what it was.",
          internalContext: "\(there) instead of \(content)")
      }
      let temporary = "\(to.partials)/put-\(String(UInt64.random(in: .min ... .max), radix: 16))"
      guard link(from.data(content.sha256), temporary) == 0 else { throw Files.failure("link", temporary) }
      do { try to.publish(content, from: temporary) } catch {
        _ = unlink(temporary)
        throw error
      }
    }
  }
}

/// Where the files of one object are.
private struct Place: Sendable {
  let partials: String
  let directory: String
  let key: ArtifactKey

  init(root: String, key: ArtifactKey) {
    let hash = SHA256.hash(data: Array(key.description.utf8)).hexadecimal
    partials = root + "/partial"
    directory = "\(root)/objects/\(hash.prefix(2))/\(hash)"
    self.key = key
  }

  var recordPath: String { directory + "/object" }
  func data(_ sha256: String) -> String { directory + "/" + sha256 }

  /// Where uploads of these bytes to this key leave what they brought.
  func partial(_ content: ArtifactStat) -> String {
    let name = SHA256.hash(data: Array("\(key)\n\(content.sha256)\n\(content.size)".utf8)).hexadecimal
    return "\(partials)/put-\(name)"
  }

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
  /// What the whole must be; nil for an upload that cannot be gone on with.
  private let content: ArtifactStat?
  private let isResumed: Bool
  private let state: Mutex<State>

  init(place: Place) throws {
    self.place = place
    (content, isResumed) = (nil, false)
    temporary = "\(place.partials)/put-\(String(UInt64.random(in: .min ... .max), radix: 16))"
    state = Mutex(State(descriptor: try Files.open(temporary, O_WRONLY | O_CREAT | O_EXCL)))
  }

  /// Takes over what an upload of the same bytes has left; its lock keeps others and the sweep away.
  init(place: Place, content: ArtifactStat, from offset: Int64) throws {
    self.place = place
    self.content = content
    isResumed = offset > 0
    temporary = place.partial(content)
    let descriptor = try Files.openLocked(temporary)
    do {
      guard try Files.size(of: descriptor, temporary) >= offset else { throw ArtifactStat.missing(offset) }
      guard ftruncate(descriptor, off_t(offset)) == 0 else { throw Files.failure("ftruncate", temporary) }
    } catch {
      _ = close(descriptor)
      throw error
    }
    state = Mutex(State(descriptor: descriptor))
  }

  deinit { discard() }

  /// The checksum goes over the whole, so what is there already is read once.
  func readBack(to offset: Int64) async throws {
    var done: Int64 = 0
    while done < offset {
      try Task.checkCancellation()
      // A turn of a blocking thread is some milliseconds.
      done = try await Files.blocking { [self, done] in
        try state.withLock { state in
          guard state.descriptor >= 0 else { throw ArtifactStat.uploadEnded }
          let bytes = try Files.read(
            state.descriptor, at: done, count: Int(min(4 << 20, offset - done)), temporary)
          guard !bytes.isEmpty else { throw ArtifactStat.missing(offset) }
          state.hash.update(data: bytes)
          state.size += Int64(bytes.count)
          return state.size
        }
      }
    }
  }

  func write(_ bytes: [UInt8]) async throws {
    try await Files.blocking { [self] in
      try state.withLock { state in
        guard state.descriptor >= 0 else { throw ArtifactStat.uploadEnded }
        if let content, state.size + Int64(bytes.count) > content.size {
          throw FederationError(.invalidArgument, "The upload goes on behind the end of its artifact.")
        }
        try Files.write(bytes, to: state.descriptor, at: state.size, temporary)
        state.size += Int64(bytes.count)
        state.hash.update(data: bytes)
      }
    }
  }

  func finish(size: Int64?, sha256: String?) async throws -> ArtifactStat {
    try await Files.blocking { [self] in
      try state.withLock { state in
        guard state.descriptor >= 0 else { throw ArtifactStat.uploadEnded }
        let descriptor = state.descriptor
        state.descriptor = -1
        defer { _ = close(descriptor) }
        do {
          let stat = ArtifactStat(size: state.size, sha256: state.hash.finalize().hexadecimal)
          do { try stat.check(size: content?.size ?? size, sha256: content?.sha256 ?? sha256) } catch  where isResumed {
            // What an earlier call brought may have been hurt since, by a machine's end: from the beginning it may be right.
            throw FederationError(
              .unavailable, "What was there of the artifact had changed. Send it from the beginning.", cause: error,
              retryAfter: .seconds(1))
          }
          try Files.sync(descriptor, temporary)
          try place.publish(stat, from: temporary)
          return stat
        } catch {
          // Also of an upload that could be gone on with: what is wrong as a whole is no beginning.
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
      // Removed before it is closed: whoever waits for the lock sees that it has no name any more.
      if content == nil || state.size == 0 { _ = unlink(temporary) }
      _ = closeFile(state.descriptor)
      state.descriptor = -1
    }
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
