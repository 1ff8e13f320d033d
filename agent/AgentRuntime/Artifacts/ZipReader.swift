internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Unpacks a zip archive by its central directory: stored and deflated members, checksums verified, no encryption, no zip64.
///
/// - Source: PKWARE APPNOTE 6.3.3 sections 4.3.7-4.3.16.
enum ZipReader {
  private static let directoryBytesMax: UInt64 = 256 << 20

  static func unpack(_ file: Int32, into writer: inout ArchiveWriter, scratchDirectory: String) throws {
    let malformed = FederationError(.invalidArgument, "this is no zip archive, or one that is damaged or needs zip64")
    let length = UInt64(max(0, lseek(file, 0, SEEK_END)))
    let tailStart = length - min(length, 65_557)
    let tail = try read(file, at: tailStart, Int(length - tailStart))
    guard tail.count >= 22,
      let end = (0...(tail.count - 22)).last(where: { tail[$0...].starts(with: [0x50, 0x4b, 5, 6]) })
    else { throw malformed }
    let count = Int(tail[end...].littleEndian(10, 2))
    let directoryBytes = tail[end...].littleEndian(12, 4)
    let start = tail[end...].littleEndian(16, 4)
    guard directoryBytes <= directoryBytesMax, start + directoryBytes <= length else { throw malformed }
    var rest = try read(file, at: start, Int(directoryBytes))[...]
    for _ in 0..<count {
      guard rest.count >= 46, rest.starts(with: [0x50, 0x4b, 1, 2]) else { throw malformed }
      let nameLength = Int(rest.littleEndian(28, 2))
      let whole = 46 + nameLength + Int(rest.littleEndian(30, 2)) + Int(rest.littleEndian(32, 2))
      guard rest.count >= whole else { throw malformed }
      try unpackMember(
        rest.prefix(46 + nameLength), of: file, length: length, into: &writer, scratchDirectory, malformed)
      rest = rest.dropFirst(whole)
    }
  }

  private static func unpackMember(
    _ entry: ArraySlice<UInt8>, of file: Int32, length: UInt64, into writer: inout ArchiveWriter,
    _ scratchDirectory: String,
    _ malformed: FederationError
  ) throws {
    let name = String(decoding: entry.dropFirst(46), as: UTF8.self)
    let method = entry.littleEndian(10, 2)
    let crc = UInt32(entry.littleEndian(16, 4))
    let stored = entry.littleEndian(20, 4)
    let size = Int64(entry.littleEndian(24, 4))
    let attributes = entry.littleEndian(38, 4) >> 16
    let offset = entry.littleEndian(42, 4)
    guard let components = RootedTree.memberComponents(name) else {
      throw FederationError(
        .invalidArgument, "the archive has a member that would leave its directory: \(name.prefix(200))")
    }
    guard entry.littleEndian(8, 2) & 1 == 0, method == 0 || method == 8, offset + 30 <= length else {
      throw FederationError(
        .invalidArgument, "the archive member \(name.prefix(200)) is encrypted or packed in an unknown way")
    }
    let local = try read(file, at: offset, 30)[...]
    guard local.count == 30, local.starts(with: [0x50, 0x4b, 3, 4]) else { throw malformed }
    let start = offset + 30 + local.littleEndian(26, 2) + local.littleEndian(28, 2)
    guard start + stored <= length else { throw malformed }
    let mode = mode_t(attributes & 0o777) == 0 ? mode_t(0o644) : mode_t(attributes & 0o777)
    var member = ArchiveMember(components: components, kind: .file, mode: mode, size: size)
    if name.hasSuffix("/") {
      member.kind = .directory
      member.size = 0
      return try writer.add(member) { _ in [] }
    }
    let contents = try open(file, at: start, stored, method: method, crc: crc, size: size, scratchDirectory, name)
    defer { close(contents) }
    if attributes & 0o170000 == 0o120000, size < RootedTree.pathBytesMax {
      member.kind = .symbolicLink(String(decoding: try POSIXFile.read(contents, upTo: Int(size)), as: UTF8.self))
      member.size = 0
      return try writer.add(member) { _ in [] }
    }
    var sum = CRC32()
    try writer.add(member) { count in
      let bytes = try POSIXFile.read(contents, upTo: count)
      sum.update(bytes)
      return bytes[...]
    }
    guard sum.value == crc else {
      throw FederationError(.invalidArgument, "the archive member \(name.prefix(200)) is damaged")
    }
  }

  /// A descriptor that yields the member's contents.
  private static func open(
    _ file: Int32, at start: UInt64, _ stored: UInt64, method: UInt64, crc: UInt32, size: Int64,
    _ scratchDirectory: String,
    _ name: String
  ) throws -> Int32 {
    let path = scratchDirectory + "/unzip-\(UInt64.random(in: .min ... .max))"
    let packed = try POSIXFile.open(path, O_RDWR | O_CREAT | O_EXCL)
    unlink(path)
    do {
      if method == 8 { try POSIXFile.write(packed, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], name) }
      var position = start
      while position < start + stored {
        let bytes = try read(file, at: position, Int(min(1 << 17, start + stored - position)))
        guard !bytes.isEmpty else { throw FederationError(.invalidArgument, "the archive is cut short") }
        position += UInt64(bytes.count)
        try POSIXFile.write(packed, bytes, name)
      }
      guard method == 8 else {
        lseek(packed, 0, SEEK_SET)
        return packed
      }
      var trailer: [UInt8] = []
      trailer.appendLittleEndian(crc)
      trailer.appendLittleEndian(UInt32(truncatingIfNeeded: size))
      try POSIXFile.write(packed, trailer, name)
      lseek(packed, 0, SEEK_SET)
      // The member is unpacked through a pipe, so a bomb is stopped by its declared size before it reaches the disk. Gzip
      // ends by itself: of its own accord, or by SIGPIPE when the reader has seen enough.
      let pipe = try makePipe()
      defer { close(pipe.write) }
      do {
        let gzip = try GzipProcess(compressingBy: nil, from: packed, to: pipe.write)
        gzip.reapLater()
      } catch {
        close(pipe.read)
        throw error
      }
      close(packed)
      return pipe.read
    } catch {
      close(packed)
      throw error
    }
  }

  private static func read(_ file: Int32, at offset: UInt64, _ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = bytes.withUnsafeMutableBytes {
        pread(file, $0.baseAddress! + done, count - done, off_t(offset) + off_t(done))
      }
      if got < 0, errno == EINTR { continue }
      if got < 0 { throw POSIXFile.failure("Cannot read the archive") }
      if got == 0 { break }
      done += got
    }
    return Array(bytes.prefix(done))
  }
}
