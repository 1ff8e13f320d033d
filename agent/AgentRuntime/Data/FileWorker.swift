internal import CSupervisor
internal import Crypto
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Fetches one file of a data set after another from a store, beside others that do the same. Blocks.
struct FileWorker: Sendable {
  /// What has come of a smaller file is not kept over a cut.
  static let resumedBytesMin: Int64 = 4 << 20

  let manifest: ManifestFile
  let cursor: ManifestCursor
  /// In the store, before every path.
  let prefix: String
  let data: String
  let parts: String
  let gauge: TransferGauge
  let meter: TransferMeter
  let learnt: LearntChecksums

  func run(_ reader: any FileReader) throws {
    let tree = TreeWriter(data)
    while let (line, entry) = try cursor.next() {
      try gauge.checkCancellation()
      if let link = entry.link {
        try tree.link(entry.path, to: link)
      } else if tree.size(entry.path) == entry.size {
        // It got its name when it had been verified.
        gauge.found(entry.size)
      } else {
        try fetch(entry, line, reader, tree)
      }
    }
  }

  private func fetch(
    _ entry: DatasetManifest.Entry, _ line: Int64, _ reader: any FileReader, _ tree: TreeWriter
  ) throws {
    let expected = manifest.expected(line, entry)
    let part = "\(parts)/\(line)"
    // Twice, because what an earlier attempt left may be what is wrong.
    for isLast in [false, true] {
      let copied = try copy(entry, to: part, reader, hasChecksum: expected != nil)
      let isChanged = expected == nil && Self.isChanged(entry, copied.modified)
      if copied.size == entry.size, expected == nil ? !isChanged : copied.sum == expected {
        try tree.take(part, as: entry)
        learnt[line] = copied.sum
        return
      }
      unlink(part)
      gauge.found(-copied.size)
      guard isLast else { continue }
      if copied.size < entry.size {
        throw Self.otherBytes(entry.path, "it has \(copied.size) bytes, not \(entry.size)")
      }
      throw Self.otherBytes(
        entry.path, isChanged ? "it was changed after it was listed" : "its checksum is another one")
    }
  }

  /// Whether a file is not the one that was listed, as far as its time of change says.
  private static func isChanged(_ entry: DatasetManifest.Entry, _ modified: Int64?) -> Bool {
    guard let modified, let listed = entry.modified else { return false }
    return modified != listed
  }

  /// A file as it came.
  private struct Copied {
    /// SHA-256 of the whole.
    var sum: String
    /// At most what was listed.
    var size: Int64
    /// When it was changed last, after its bytes had been read; nil when its source does not say, or its checksum is known anyway.
    var modified: Int64?
  }

  private func copy(
    _ entry: DatasetManifest.Entry, to part: String, _ reader: any FileReader, hasChecksum: Bool
  ) throws -> Copied {
    // It was finished already, where its last step failed.
    chmod(part, 0o600)
    let file = try POSIXFile.open(part, O_RDWR | O_CREAT | O_NOFOLLOW)
    defer { POSIXFile.close(file) }
    if entry.size < Self.resumedBytesMin { ftruncate(file, 0) }
    var offset = ReplicaFetcher.position(file, size: entry.size)
    var hash = SHA256()
    if offset > 0 {
      lseek(file, 0, SEEK_SET)
      while true {
        let bytes = try POSIXFile.read(file, upTo: 256 << 10)
        if bytes.isEmpty { break }
        bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
      }
      gauge.found(offset)
    }
    var modified: Int64?
    if offset < entry.size {
      var disk = EarlyWriting(file, from: offset)
      do {
        modified = try reader.read(prefix + entry.path, from: offset) { bytes in
          try gauge.checkCancellation()
          offset += Int64(bytes.count)
          guard offset <= entry.size else {
            throw Self.otherBytes(entry.path, "it has more than \(entry.size) bytes")
          }
          meter.takeBlocking(bytes.count)
          bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
          try POSIXFile.write(file, bytes, entry.path)
          disk.reached(offset)
          gauge.moved(bytes.count)
        }
      } catch let error as FederationError where error.code == .notFound {
        throw FederationError(
          .failedPrecondition, "\(entry.path) is not at the source any more: make a new version of the data set")
      }
    }
    // Without a checksum this alone tells whether it is, and was all the while, what was listed.
    if !hasChecksum, modified == nil, entry.modified != nil { modified = try reader.modified(prefix + entry.path) }
    // The answer was whole, or its reader would have thrown: what is missing is missing at the source.
    return Copied(sum: ArtifactPacking.hexadecimal(hash.finalize()), size: offset, modified: modified)
  }

  /// - Parameter how: in what they differ; empty when that is not known.
  static func otherBytes(_ path: String, _ how: String = "") -> FederationError {
    FederationError(
      .failedPrecondition,
      "the source has other bytes of \(path) than this version of the data set\(how.isEmpty ? "" : " (\(how))"): make a new version "
        + "(`fubini dataset put NAME --from-origin`; of what a workflow names itself, submit it again), or restore the file"
    )
  }
}

/// Has what was written go to the disk while more is on its way: what must be there before a replica is published then need not all be
/// written at the end.
struct EarlyWriting {
  static let stepBytes: Int64 = 16 << 20
  private let file: Int32
  private var begun: Int64

  init(_ file: Int32, from offset: Int64) {
    self.file = file
    begun = offset
  }

  /// All before `offset` has been written to the file.
  mutating func reached(_ offset: Int64) {
    guard offset - begun >= Self.stepBytes else { return }
    csupervisor_begin_writing(file, begun, offset - begun)
    begun = offset
  }
}
