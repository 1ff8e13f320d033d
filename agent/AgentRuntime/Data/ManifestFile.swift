internal import Crypto
internal import FederationModel
internal import FoundationEssentials
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A manifest on disk that has been read once to its end, and may be believed. Of its lines only their places are in memory.
final class ManifestFile: Sendable {
  let path: String
  let header: DatasetManifest.Header
  /// Where the lines of each pack's files begin.
  private let lines: [[Int64]]
  /// Of files that have no bytes, and so no pack.
  private let emptyLines: [Int64]
  private let file: Int32
  /// SHA-256 by line, of an earlier time that this data set was here.
  private let earlier = LearntChecksums()

  /// - Throws: `.invalidArgument` for a manifest that no data set can be made of.
  init(_ path: String) throws {
    self.path = path
    let file = try POSIXFile.open(path, O_RDONLY | O_NOFOLLOW)
    do {
      var reader = DatasetManifestReader()
      var lines: [[Int64]] = []
      var empty: [Int64] = []
      while true {
        let bytes = try POSIXFile.read(file, upTo: 256 << 10)
        if bytes.isEmpty { break }
        try reader.readPlaced(bytes) { entry, line in
          if let pack = entry.pack {
            if lines.count <= pack { lines += Array(repeating: [], count: pack + 1 - lines.count) }
            lines[pack].append(line)
          } else if entry.size == 0 {
            empty.append(line)
          }
        }
      }
      try reader.finish()
      header = reader.header!
      self.lines = lines + Array(repeating: [], count: max(0, reader.header!.packs.count - lines.count))
      emptyLines = empty
      self.file = file
    } catch {
      POSIXFile.close(file)
      throw error
    }
  }
  deinit { POSIXFile.close(file) }

  func entry(at line: Int64) throws -> DatasetManifest.Entry {
    var text: [UInt8] = []
    while text.count <= DatasetManifest.lineBytesMax {
      let bytes = try Self.read(file, at: line + Int64(text.count), 512)
      if let end = bytes.firstIndex(of: 10) {
        return try DatasetManifest.entry(line: text + bytes[..<end], packs: header.packs)
      }
      if bytes.isEmpty { break }
      text += bytes
    }
    throw FederationError(.internal, "a manifest was changed while it was used")
  }

  static func read(_ file: Int32, at offset: Int64, _ count: Int) throws -> [UInt8] {
    var code: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
      let got = pread(file, buffer.baseAddress!, count, off_t(offset))
      code = got < 0 ? errno : 0
      used = max(0, got)
    }
    if code != 0 { throw POSIXFile.failure("Cannot read", code) }
    return bytes
  }

  // MARK: Packs

  func isWhole(pack: Int, in tree: TreeWriter) throws -> Bool {
    for line in lines[pack] {
      let entry = try entry(at: line)
      guard tree.size(entry.path) == entry.size else { return false }
    }
    return true
  }

  /// Files without bytes, and links.
  func placeEmpty(in tree: TreeWriter) throws {
    for line in emptyLines {
      let entry = try entry(at: line)
      if let link = entry.link {
        try tree.link(entry.path, to: link)
      } else {
        try tree.finish(try tree.create(entry.path), entry)
      }
    }
  }

  /// Makes the files of a verified pack, each verified again: what a manifest says of a pack is its author's word.
  func unpack(pack: Int, at path: String, into tree: TreeWriter) throws {
    let entries = try lines[pack].map { try entry(at: $0) }
    if entries.count == 1, entries[0].offset == 0, entries[0].size == header.packs[pack].size,
      entries[0].sha256 == nil || entries[0].sha256 == header.packs[pack].sha256
    {
      return try tree.take(path, as: entries[0])
    }
    let source = try POSIXFile.open(path, O_RDONLY | O_NOFOLLOW)
    defer { POSIXFile.close(source) }
    for entry in entries where tree.size(entry.path) != entry.size {
      var hash = SHA256()
      let output = try tree.create(entry.path)
      var offset = entry.offset ?? 0
      var rest = entry.size
      while rest > 0 {
        let bytes = try Self.read(source, at: offset, Int(min(rest, 256 << 10)))
        guard !bytes.isEmpty else { throw FederationError(.internal, "a pack was changed while it was used") }
        bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
        try POSIXFile.write(output, bytes, entry.path)
        offset += Int64(bytes.count)
        rest -= Int64(bytes.count)
      }
      let sum = ArtifactPacking.hexadecimal(hash.finalize())
      guard entry.sha256 == nil || entry.sha256 == sum else {
        POSIXFile.close(output)
        tree.remove(entry.path)
        throw FederationError(
          .failedPrecondition, "the data set's pack does not hold the bytes of \(entry.path) that its manifest promises"
        )
      }
      try tree.finish(output, entry)
    }
  }

  // MARK: Checksums that were learnt

  /// What files must have, although the manifest does not say: from the last time that they were here.
  func learn(from path: String) throws {
    guard access(path, F_OK) == 0 else { return }
    var known: [String: (Int64, String)] = [:]
    try Self.each(path) { entry in
      if let sha256 = entry.sha256 { known[entry.path] = (entry.size, sha256) }
    }
    let cursor = try ManifestCursor(self)
    while let (line, entry) = try cursor.next() {
      if entry.sha256 == nil, let (size, sha256) = known[entry.path], size == entry.size { earlier[line] = sha256 }
    }
  }

  func expected(_ line: Int64, _ entry: DatasetManifest.Entry) -> String? { entry.sha256 ?? earlier[line] }

  /// Every file of a manifest, in order.
  static func each(_ path: String, _ body: (DatasetManifest.Entry) throws -> Void) throws {
    let file = try POSIXFile.open(path, O_RDONLY | O_NOFOLLOW)
    defer { POSIXFile.close(file) }
    var reader = DatasetManifestReader()
    while true {
      let bytes = try POSIXFile.read(file, upTo: 256 << 10)
      if bytes.isEmpty { break }
      try reader.read(bytes, body)
    }
    try reader.finish()
  }

  /// Writes this manifest with the checksum of every file; those that came in an earlier attempt are read for theirs.
  ///
  /// - Returns: false when it had them all.
  func write(_ learnt: LearntChecksums, to path: String, data tree: TreeWriter) throws -> Bool {
    let cursor = try ManifestCursor(self)
    var isComplete = true
    while isComplete, let (_, entry) = try cursor.next() { isComplete = entry.sha256 != nil || entry.link != nil }
    if isComplete { return false }
    let output = try POSIXFile.open(path, O_WRONLY | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(output) }
    var (writer, text) = try DatasetManifestWriter.begin(header)
    let again = try ManifestCursor(self)
    while let (line, listed) = try again.next() {
      var entry = listed
      if entry.link == nil, entry.sha256 == nil {
        entry.sha256 = try learnt[line] ?? tree.digest(entry.path)
        if let earlier = earlier[line], earlier != entry.sha256 {
          tree.remove(entry.path)
          throw FileWorker.otherBytes(entry.path)
        }
      }
      try writer.append(entry, to: &text)
      if text.count > 256 << 10 {
        try POSIXFile.write(output, text, "a manifest")
        text.removeAll(keepingCapacity: true)
      }
    }
    try writer.finish()
    try POSIXFile.write(output, text, "a manifest")
    return true
  }

  func copy(from source: String, to target: String) throws {
    let input = try POSIXFile.open(source, O_RDONLY)
    defer { POSIXFile.close(input) }
    let output = try POSIXFile.open(target + ".new", O_WRONLY | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(output) }
    try ArtifactPacking.copy(from: input, to: output, "a manifest")
    guard rename(target + ".new", target) == 0 else { throw POSIXFile.failure("Cannot keep a manifest") }
  }
}

/// Hands out a manifest's files in order, to many workers at once.
final class ManifestCursor: Sendable {
  private struct State {
    var buffer: [UInt8] = []
    var position = 0
    /// In the file, of `buffer[0]`.
    var offset: Int64 = 0
    var sawHeader = false
  }
  private let manifest: ManifestFile
  private let file: Int32
  private let state = Mutex(State())

  init(_ manifest: ManifestFile) throws {
    self.manifest = manifest
    file = try POSIXFile.open(manifest.path, O_RDONLY | O_NOFOLLOW)
  }
  deinit { POSIXFile.close(file) }

  /// nil at the end. `line`: where it begins.
  func next() throws -> (line: Int64, entry: DatasetManifest.Entry)? {
    try state.withLock { state in
      while true {
        if let end = state.buffer[state.position...].firstIndex(of: 10) {
          let line = state.offset + Int64(state.position)
          let text = Array(state.buffer[state.position..<end])
          state.position = end + 1
          guard state.sawHeader else {
            state.sawHeader = true
            continue
          }
          return (line, try DatasetManifest.entry(line: text, packs: manifest.header.packs))
        }
        let more = try POSIXFile.read(file, upTo: 256 << 10)
        if more.isEmpty { return nil }
        state.offset += Int64(state.position)
        state.buffer.removeFirst(state.position)
        state.buffer += more
        state.position = 0
      }
    }
  }
}
