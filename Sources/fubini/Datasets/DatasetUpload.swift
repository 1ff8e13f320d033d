internal import Crypto
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#endif

/// Brings files into a project's repository as packs and a manifest. What is there already is not sent: the same command again goes on
/// where another was cut, and a tree that changed a little costs little.
struct DatasetUpload: Sendable {
  let client: APIClient
  let project: String
  let tree: FileTree
  let meter: ProgressMeter
  /// Packs in flight.
  var parallel = 4
  /// Times that the connection may break without a single new byte before it is given up.
  var fruitlessMax = 5

  /// A pack whose content is known.
  private struct Hashed: Sendable {
    var sha256: String
    /// Of each of its files, in order.
    var files: [String]
  }

  /// - Returns: the manifest's name in the repository.
  func run() async throws -> ObjectDocument {
    let plan = PackPlan(tree.files)
    meter.finished(files: tree.files.count { $0.size == 0 })
    let hashed = try await plan.batches.concurrentMap(limit: parallel) { try await send(Array(plan.packs[$0])) }
    return try await sendManifest(plan, hashed.flatMap { $0 })
  }

  // MARK: Packs

  private func parts(_ pack: PackPlan.Pack) -> [FileBytes.Part] {
    pack.files.map { FileBytes.Part(location: tree.location(of: tree.files[$0]), size: tree.files[$0].size) }
  }

  private func send(_ packs: [PackPlan.Pack]) async throws -> [Hashed] {
    let hashed = try packs.map { try Self.hash(parts($0)) }
    let objects = zip(packs, hashed).map { ObjectDocument(sha256: $1.sha256, size: $0.size) }
    let offsets = try await positions(of: objects)
    var sent: Set<String> = []
    for (index, pack) in packs.enumerated() {
      // Two files of the same content are one object.
      let isNew = sent.insert(objects[index].sha256).inserted
      let offset = isNew ? offsets[index] : pack.size
      meter.found(offset)
      if offset < pack.size { try await send(objects[index], parts(pack), from: offset) }
      meter.finished(files: pack.files.count)
    }
    return hashed
  }

  private static func hash(_ parts: [FileBytes.Part]) throws -> Hashed {
    let reader = FileReader(parts, from: 0)
    var whole = SHA256()
    var file = SHA256()
    var digests: [String] = []
    var left = parts.first?.size ?? 0
    while let (part, bytes) = try reader.next() {
      try Task.checkCancellation()
      file.update(data: bytes)
      if parts.count > 1 { whole.update(data: bytes) }
      left -= Int64(bytes.count)
      guard left == 0 else { continue }
      digests.append(file.finalize().hexadecimal)
      file = SHA256()
      left = part + 1 < parts.count ? parts[part + 1].size : 0
    }
    return Hashed(sha256: parts.count == 1 ? digests[0] : whole.finalize().hexadecimal, files: digests)
  }

  private var path: [String] { ["v1", "projects", project, "dataset-objects"] }

  private func positions(of objects: [ObjectDocument]) async throws -> [Int64] {
    let answer: ObjectsDocument = try await client.post(path, body: ObjectsRequest(objects: objects))
    guard answer.offsets.count == objects.count, zip(answer.offsets, objects).allSatisfy({ (0...$1.size).contains($0) })
    else { throw client.incomprehensible(CommandFailure(.error, "it tells of other objects than were asked for")) }
    return answer.offsets
  }

  /// Sends the rest of an object, and what is missing then when the connection breaks.
  private func send(_ object: ObjectDocument, _ parts: [FileBytes.Part], from start: Int64) async throws {
    var offset = start
    var fruitless = 0
    while true {
      let sent = SentBytes()
      do {
        let bytes = FileBytes(
          parts: parts, offset: offset,
          counted: { [meter] in
            meter.moved($0)
            sent.add($0)
          })
        try await client.upload(
          .init(
            method: .PUT, path: path + [object.sha256],
            query: [("size", String(object.size)), ("offset", String(offset))]), bytes, size: object.size - offset)
        return
      } catch APIClient.UploadFailure.refused(let failure) {
        // The server says that the bytes are not what their name says: they were, a moment ago.
        if failure.message.contains("SHA-256") { throw FileReader.changed(parts[0].location) }
        throw failure
      } catch APIClient.UploadFailure.cut(let failure) {
        try await Task.sleep(for: .milliseconds(Int64.random(in: 100...400) << min(fruitless, 5)))
        let reached = try await positions(of: [object])[0]
        meter.lost(sent.count - (reached - offset))
        fruitless = reached > offset ? 0 : fruitless + 1
        guard fruitless < fruitlessMax else { throw failure }
        // An answer that was lost: everything had arrived.
        if reached == object.size { return }
        offset = reached
      }
    }
  }

  // MARK: Manifest

  /// Written to a file: the list of ten million files is larger than memory should have to be.
  private func sendManifest(_ plan: PackPlan, _ hashed: [Hashed]) async throws -> ObjectDocument {
    let file = try ScratchFile()
    let object = try writeManifest(plan, hashed, to: file)
    let offset = try await positions(of: [object])[0]
    if offset < object.size {
      var upload = self
      // It is no part of what the user sees moving.
      upload = DatasetUpload(
        client: client, project: project, tree: tree, meter: ProgressMeter("", bytes: 0, files: 0), parallel: 1,
        fruitlessMax: fruitlessMax)
      try await upload.send(object, [FileBytes.Part(location: file.path, size: object.size)], from: offset)
    }
    return object
  }

  private func writeManifest(_ plan: PackPlan, _ hashed: [Hashed], to file: ScratchFile) throws -> ObjectDocument {
    // Packs of the same content are one.
    var packs: [DatasetManifest.Pack] = []
    var numbers: [String: Int] = [:]
    var places = [(sha256: String, pack: Int, offset: Int64)?](repeating: nil, count: tree.files.count)
    for (pack, content) in zip(plan.packs, hashed) {
      let number = numbers[content.sha256] ?? packs.count
      if number == packs.count {
        numbers[content.sha256] = number
        packs.append(
          DatasetManifest.Pack(key: DatasetManifest.path(of: content.sha256), sha256: content.sha256, size: pack.size))
      }
      var offset: Int64 = 0
      for (index, sha256) in zip(pack.files, content.files) {
        places[index] = (sha256, number, offset)
        offset += tree.files[index].size
      }
    }
    let header = DatasetManifest.Header(files: Int64(tree.files.count), bytes: tree.bytes, packs: packs)
    var (writer, text) = try DatasetManifestWriter.begin(header)
    for (index, source) in tree.files.enumerated() {
      let place = places[index]
      let entry = DatasetManifest.Entry(
        path: source.path, size: source.size, mode: source.mode,
        sha256: source.link == nil ? place?.sha256 ?? Self.emptySHA256 : nil, pack: place?.pack, offset: place?.offset,
        modified: source.modified, link: source.link)
      try writer.append(entry, to: &text)
      if text.count >= 1 << 20 { try file.append(&text) }
    }
    try writer.finish()
    try file.append(&text)
    return ObjectDocument(sha256: file.sha256, size: file.size)
  }

  private static let emptySHA256 = SHA256.hash(data: [UInt8]()).hexadecimal
}

/// Bytes that one request has sent.
private final class SentBytes: Sendable {
  private let bytes = Atomic<Int64>(0)
  var count: Int64 { bytes.load(ordering: .relaxed) }
  func add(_ more: Int64) { bytes.add(more, ordering: .relaxed) }
}

/// A file of this process alone, which goes with it.
final class ScratchFile {
  let path: String
  private let descriptor: Int32
  private(set) var size: Int64 = 0
  private var hash = SHA256()

  init() throws {
    let directory = ProcessInfo.processInfo.environment["TMPDIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "/tmp"
    var template = Array("\(directory)/fubini-XXXXXX".utf8CString)
    descriptor = mkstemp(&template)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard descriptor >= 0 else { throw ArtifactDownload.cannotWrite(path) }
  }

  deinit {
    close(descriptor)
    unlink(path)
  }

  /// Takes the bytes out of `text`.
  func append(_ text: inout [UInt8]) throws {
    try text.withUnsafeBytes { bytes in
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw ArtifactDownload.cannotWrite(path) }
        rest = rest.dropFirst(count)
      }
    }
    hash.update(data: text)
    size += Int64(text.count)
    text.removeAll(keepingCapacity: true)
  }

  var sha256: String { hash.finalize().hexadecimal }
}
