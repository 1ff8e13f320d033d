internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Writes a zip archive. `gzip` compresses: its output is a deflate stream between a header of 10 bytes and a trailer that
/// holds just the checksum and size that zip wants.
///
/// - Source: PKWARE APPNOTE 6.3.3 sections 4.3.7-4.3.16; RFC 1952.
struct ZipWriter {
  static let sizeMax: Int64 = 0xffff_fffe
  private let output: Int32
  private let scratchDirectory: String
  private var directory: [UInt8] = []
  private var count = 0
  private var offset: Int64 = 0

  init(to output: Int32, scratchDirectory: String) {
    self.output = output
    self.scratchDirectory = scratchDirectory
  }

  mutating func add(_ entry: TreeEntry) throws {
    var name = entry.name
    var type: UInt32 = 0o100000
    var contents: [UInt8] = []
    var file: Int32?
    switch entry.kind {
    case .directory:
      name += "/"
      type = 0o040000
    case .symbolicLink(let target):
      type = 0o120000
      contents = Array(target.utf8)
    case .file(let descriptor) where entry.size <= 4096:
      while true {
        let more = try POSIXFile.read(descriptor, upTo: 4096)
        if more.isEmpty { break }
        contents += more
        guard contents.count <= 1 << 20 else {
          throw FederationError(.failedPrecondition, "\(name) grew while it was packed")
        }
      }
    case .file(let descriptor): file = descriptor
    }
    guard entry.size <= Self.sizeMax, count < 65_535, offset <= Self.sizeMax, name.utf8.count <= 65_535 else {
      throw FederationError(
        .invalidArgument, "\(name) does not fit a zip archive (4 GiB, 65,535 files): use `archive: tar`")
    }
    let attributes = (type | UInt32(entry.mode)) << 16
    if let file {
      try addCompressed(name, file, size: entry.size, attributes: attributes)
    } else {
      var crc = CRC32()
      crc.update(contents)
      try addMember(
        name, method: 0, crc: crc.value, stored: Int64(contents.count), size: Int64(contents.count),
        attributes: attributes)
      try POSIXFile.write(output, contents, "the archive")
    }
  }

  private mutating func addCompressed(_ name: String, _ file: Int32, size: Int64, attributes: UInt32) throws {
    let path = scratchDirectory + "/zip-\(UInt64.random(in: .min ... .max))"
    let scratch = try POSIXFile.open(path, O_RDWR | O_CREAT | O_EXCL)
    defer { close(scratch) }
    unlink(path)
    guard try GzipProcess(compressingBy: GzipProcess.usualLevel, from: file, to: scratch).wait() else {
      throw FederationError(
        .resourceExhausted, "\(name) could not be compressed: is the disk full?", retryAfter: .seconds(10))
    }
    let length = Int64(lseek(scratch, 0, SEEK_END))
    guard length >= 18 else { throw FederationError(.internal, "gzip wrote no stream") }
    lseek(scratch, off_t(length - 8), SEEK_SET)
    let trailer = try POSIXFile.read(scratch, upTo: 8)[...]
    let crc = UInt32(trailer.littleEndian(0, 4))
    let actual = Int64(trailer.littleEndian(4, 4))
    try addMember(name, method: 8, crc: crc, stored: length - 18, size: actual, attributes: attributes)
    lseek(scratch, 10, SEEK_SET)
    var remaining = length - 18
    while remaining > 0 {
      let bytes = try POSIXFile.read(scratch, upTo: Int(min(remaining, 1 << 17)))
      guard !bytes.isEmpty else { throw FederationError(.internal, "a scratch file became shorter") }
      remaining -= Int64(bytes.count)
      try POSIXFile.write(output, bytes, "the archive")
    }
  }

  private mutating func addMember(
    _ name: String, method: UInt16, crc: UInt32, stored: Int64, size: Int64, attributes: UInt32
  ) throws {
    var common: [UInt8] = []
    common.appendLittleEndian(UInt16(20))
    common.appendLittleEndian(UInt16(0x0800))
    common.appendLittleEndian(method)
    // 1980-01-01 00:00: the same content always packs to the same bytes.
    common.appendLittleEndian(UInt32(0x0021_0000))
    common.appendLittleEndian(crc)
    common.appendLittleEndian(UInt32(stored))
    common.appendLittleEndian(UInt32(size))
    common.appendLittleEndian(UInt16(name.utf8.count))
    common.appendLittleEndian(UInt16(0))
    let local = [0x50, 0x4b, 3, 4] + common + Array(name.utf8)
    directory += [0x50, 0x4b, 1, 2, 20, 3] + common
    for _ in 0..<3 { directory.appendLittleEndian(UInt16(0)) }
    directory.appendLittleEndian(attributes)
    directory.appendLittleEndian(UInt32(offset))
    directory += Array(name.utf8)
    count += 1
    offset += Int64(local.count) + stored
    try POSIXFile.write(output, local, "the archive")
  }

  mutating func finish() throws {
    guard offset <= Self.sizeMax else {
      throw FederationError(.invalidArgument, "It does not fit a zip archive: use `archive: tar`")
    }
    var end: [UInt8] = [0x50, 0x4b, 5, 6, 0, 0, 0, 0]
    end.appendLittleEndian(UInt16(count))
    end.appendLittleEndian(UInt16(count))
    end.appendLittleEndian(UInt32(directory.count))
    end.appendLittleEndian(UInt32(offset))
    end.appendLittleEndian(UInt16(0))
    try POSIXFile.write(output, directory + end, "the archive")
  }
}
