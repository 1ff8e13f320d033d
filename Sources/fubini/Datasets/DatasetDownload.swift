internal import AsyncHTTPClient
internal import Crypto
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#endif

/// Brings a version's files into a directory. Each file appears whole and verified, or not at all; files that are there already are
/// verified and not fetched, so the same command again goes on where another was cut.
struct DatasetDownload: Sendable {
  let client: APIClient
  let project: String
  let directory: String
  /// Whether files of the same name and other content may be replaced.
  var overwrites = false
  var parallel = 4
  var fruitlessMax = 5

  typealias Entry = DatasetManifest.Entry

  /// Reads the list of files.
  func manifest(_ object: ObjectDocument) async throws -> (header: DatasetManifest.Header, entries: [Entry]) {
    var reader = DatasetManifestReader()
    var entries: [Entry] = []
    var hash = SHA256()
    for try await bytes in try await bytes(of: object.sha256, 0, object.size).body {
      let view = bytes.readableBytesView
      hash.update(data: Array(view))
      try reader.read(view) { entries.append($0) }
    }
    try reader.finish()
    guard let header = reader.header, hash.finalize().hexadecimal == object.sha256 else {
      throw CommandFailure(.error, "The list of files arrived damaged. Try again.")
    }
    return (header, entries)
  }

  /// - Returns: how many files were fetched.
  func run(_ header: DatasetManifest.Header, _ entries: [Entry], _ meter: ProgressMeter) async throws -> Int {
    try Self.makeDirectories(directory)
    for parent in Set(entries.compactMap { entry in entry.path.lastIndex(of: "/").map { entry.path[..<$0] } }).sorted()
    {
      try Self.makeDirectories(directory + "/" + parent)
    }
    var byPack: [Int: [Entry]] = [:]
    var small: [Entry] = []
    for entry in entries {
      if let pack = entry.pack, entry.size > 0 { byPack[pack, default: []].append(entry) } else { small.append(entry) }
    }
    let jobs = byPack.sorted { $0.key < $1.key }.map { (header.packs[$0.key], $0.value) }
    let fetched = try await jobs.concurrentMap(limit: parallel) { try await fetch($0.1, from: $0.0, meter) }
    // Last: a link can then not lead a file elsewhere.
    for entry in small { try place(entry) }
    meter.finished(files: small.count)
    return fetched.reduce(0, +)
  }

  private func bytes(of sha256: String, _ offset: Int64, _ length: Int64) async throws -> HTTPClientResponse {
    try await client.response(
      .init(
        path: ["v1", "projects", project, "dataset-objects", sha256],
        query: [("offset", String(offset)), ("length", String(length))]))
  }

  // MARK: Packs

  /// Fetches those files of a pack that are not there.
  private func fetch(_ files: [Entry], from pack: DatasetManifest.Pack, _ meter: ProgressMeter) async throws -> Int {
    var missing: [Entry] = []
    for file in files.sorted(by: { ($0.offset!, $0.path) < ($1.offset!, $1.path) }) {
      try Task.checkCancellation()
      if try isThere(file) {
        meter.found(file.size)
        meter.finished(files: 1)
      } else {
        missing.append(file)
      }
    }
    // One answer serves files that lie behind each other; a manifest may also say that two files are the same bytes.
    var rest = missing[...]
    while let first = rest.first {
      var run = [first]
      var end = first.offset! + first.size
      while let next = rest.dropFirst(run.count).first, next.offset! == end {
        run.append(next)
        end += next.size
      }
      try await fetch(run: run, from: pack, meter)
      rest = rest.dropFirst(run.count)
    }
    return missing.count
  }

  /// Fetches files that lie behind each other. A connection that breaks is taken up with the first file that is not whole; a large
  /// file goes on where it was cut.
  private func fetch(run: [Entry], from pack: DatasetManifest.Pack, _ meter: ProgressMeter) async throws {
    var rest = run[...]
    var fruitless = 0
    while let first = rest.first {
      var file = try PartialFile(final: directory + "/" + first.path, entry: first)
      meter.found(file.size)
      let start = first.offset! + file.size
      let end = rest.last!.offset! + rest.last!.size
      let before = (rest.count, file.size)
      do {
        let response = try await bytes(of: pack.sha256, start, end - start)
        for try await chunk in response.body {
          var bytes = chunk.readableBytesView[...]
          while !bytes.isEmpty {
            let part = bytes.prefix(Int(min(Int64(bytes.count), file.left)))
            try file.append(Array(part))
            meter.moved(Int64(part.count))
            bytes = bytes.dropFirst(part.count)
            guard file.left == 0 else { continue }
            try file.publish()
            meter.finished(files: 1)
            rest = rest.dropFirst()
            guard let next = rest.first else { break }
            file = try PartialFile(final: directory + "/" + next.path, entry: next)
          }
        }
      } catch let failure as CommandFailure where failure.code != .unreachable { throw failure } catch {
        if Task.isCancelled { throw CancellationError() }
      }
      guard rest.first != nil else { return }
      fruitless = (rest.count, file.size) == before ? fruitless + 1 : 0
      meter.found(-file.size)
      guard fruitless < fruitlessMax else {
        throw CommandFailure(
          .unreachable,
          "The connection broke \(fruitless) times without a new byte. Give the same command again to go on.")
      }
      if fruitless > 0 { try await Task.sleep(for: .milliseconds(Int64.random(in: 100...400) << min(fruitless, 5))) }
    }
  }

  // MARK: Files

  /// Whether the file is there with the right bytes.
  private func isThere(_ entry: Entry) throws -> Bool {
    let path = directory + "/" + entry.path
    var status = stat()
    guard lstat(path, &status) == 0 else { return false }
    if status.st_mode & S_IFMT == S_IFREG, Int64(status.st_size) == entry.size {
      if try FileBytes.sha256(of: path, size: entry.size) == entry.sha256 { return true }
    }
    guard overwrites else { throw Self.inTheWay(path) }
    return false
  }

  private static func inTheWay(_ path: String) -> CommandFailure {
    CommandFailure(
      .error, "\(path) is there already and is something else. Take another directory, or say --overwrite.")
  }

  /// Empty files and links.
  private func place(_ entry: Entry) throws {
    let path = directory + "/" + entry.path
    guard let link = entry.link else {
      if try isThere(entry) { return }
      var file = try PartialFile(final: path, entry: entry)
      return try file.publish()
    }
    if Self.target(of: path) == link { return }
    var status = stat()
    if lstat(path, &status) == 0 {
      guard overwrites else { throw Self.inTheWay(path) }
      unlink(path)
    }
    guard symlink(link, path) == 0 else { throw ArtifactDownload.cannotWrite(path) }
  }

  private static func target(of path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: DatasetManifest.pathBytesMax + 1)
    let count = buffer.withUnsafeMutableBytes {
      readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
    }
    return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
  }

  /// Why a directory cannot be made: what the system says of the first one on the way that is not there.
  private static func reason(_ path: String) -> String {
    var missing = path
    while let slash = missing.lastIndex(of: "/"), slash > missing.startIndex,
      access(String(missing[..<slash]), F_OK) != 0
    { missing = String(missing[..<slash]) }
    return mkdir(missing, 0o777) == 0 ? "try again" : String(cString: strerror(errno))
  }

  private static func makeDirectories(_ path: String) throws {
    do { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) } catch {
      var isDirectory = false
      let isFile = FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && !isDirectory
      throw CommandFailure(.error, "Cannot make the directory \(path): \(isFile ? "it is a file" : reason(path)).")
    }
  }
}

/// A file in the making, beside its place. A large one is kept when it is cut short, and gone on with.
struct PartialFile: ~Copyable {
  private let final: String
  private let temporary: String
  private let entry: DatasetManifest.Entry
  private let descriptor: Int32
  private var hash = SHA256()
  private(set) var size: Int64 = 0
  private var isPublished = false

  var left: Int64 { entry.size - size }

  init(final: String, entry: DatasetManifest.Entry) throws {
    self.final = final
    self.entry = entry
    let slash = final.lastIndex(of: "/")!
    // By content, so that what is left of another version's file is not taken for this one's beginning.
    let name =
      ".fubini-\((entry.sha256 ?? "").prefix(16))-\(final.utf8.reduce(UInt32(5381)) { $0 &* 33 &+ UInt32($1) }).part"
    temporary = final[...slash] + name
    descriptor = open(temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw ArtifactDownload.cannotWrite(temporary) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw CommandFailure(.error, "Another command is fetching to \(final).")
    }
    try takeUp()
  }

  deinit {
    if !isPublished, entry.size < DatasetManifest.packedFileMax { unlink(temporary) }
    close(descriptor)
  }

  /// Takes what an earlier command left into the checksum.
  private mutating func takeUp() throws {
    let there = Int64(lseek(descriptor, 0, SEEK_END))
    guard there > 0, there <= entry.size else {
      ftruncate(descriptor, 0)
      lseek(descriptor, 0, SEEK_SET)
      return
    }
    lseek(descriptor, 0, SEEK_SET)
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while size < there {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ArtifactDownload.cannotWrite(temporary) }
      hash.update(data: buffer[..<count])
      size += Int64(count)
    }
    guard size == entry.size else { return }
    // Whole: then it is right, or worth nothing.
    if hash.finalize().hexadecimal != entry.sha256 {
      ftruncate(descriptor, 0)
      lseek(descriptor, 0, SEEK_SET)
      hash = SHA256()
      size = 0
    }
  }

  mutating func append(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ArtifactDownload.cannotWrite(temporary) }
      rest = rest.dropFirst(count)
    }
    hash.update(data: bytes)
    size += Int64(bytes.count)
  }

  /// - Throws: `.error` when the bytes are not what the manifest says; nothing appears then.
  mutating func publish() throws {
    let digest = hash.finalize().hexadecimal
    guard digest == entry.sha256 else {
      ftruncate(descriptor, 0)
      throw CommandFailure(
        .error, "\(entry.path) arrived damaged: its SHA-256 is \(digest), not \(entry.sha256 ?? "-"). Try again.")
    }
    fchmod(descriptor, mode_t(entry.mode))
    if let modified = entry.modified {
      let time = timespec(tv_sec: Int(modified / 1000), tv_nsec: Int(modified % 1000) * 1_000_000)
      _ = [time, time].withUnsafeBufferPointer { futimens(descriptor, $0.baseAddress) }
    }
    guard rename(temporary, final) == 0 else { throw ArtifactDownload.cannotWrite(final) }
    isPublished = true
  }
}
