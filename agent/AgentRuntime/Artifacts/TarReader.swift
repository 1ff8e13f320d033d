internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Reads a tar stream: ustar, GNU long names, and the pax records `path`, `linkpath` and `size`.
///
/// - Source: POSIX.1-2017 `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
struct TarReader {
  private var reader: ByteReader
  private var remaining: Int64 = 0
  private var padding = 0
  private static let headerBytesMax: Int64 = 1 << 20

  init(_ descriptor: Int32) { reader = ByteReader(descriptor) }

  /// Unpacks everything. Names that are absolute or contain `..`, and devices, are refused.
  static func unpack(from descriptor: Int32, into writer: inout ArchiveWriter) throws {
    var tar = TarReader(descriptor)
    while let member = try tar.nextMember() {
      try writer.add(member) { try tar.contents(upTo: $0) }
      try tar.skipRest()
    }
    // What follows the end (padding of a tape block) is read so that a filter in front can end well.
    while !(try tar.reader.some(upTo: 1 << 16)).isEmpty {}
  }

  private mutating func contents(upTo count: Int) throws -> ArraySlice<UInt8> {
    let bytes = try reader.some(upTo: Int(min(Int64(count), remaining)))
    remaining -= Int64(bytes.count)
    return bytes
  }

  private mutating func skipRest() throws {
    while remaining > 0 {
      if try contents(upTo: 1 << 16).isEmpty { throw FederationError(.invalidArgument, "the archive is cut short") }
    }
    if padding > 0 { _ = try reader.exactly(padding) }
    padding = 0
  }

  private mutating func begin(_ size: Int64) {
    remaining = size
    padding = Int((512 - size % 512) % 512)
  }

  private mutating func wholeContents() throws -> [UInt8] {
    guard remaining <= Self.headerBytesMax else {
      throw FederationError(.invalidArgument, "a header of the archive is too long")
    }
    let bytes = remaining == 0 ? [] : try reader.exactly(Int(remaining)) ?? []
    remaining = 0
    try skipRest()
    return bytes
  }

  private mutating func nextMember() throws -> ArchiveMember? {
    var name: String?
    var link: String?
    var size: Int64?
    while true {
      guard let header = try reader.exactly(512), header.contains(where: { $0 != 0 }) else { return nil }
      try Self.verifyChecksum(header)
      let declared = try Self.number(header[124..<136])
      switch header[156] {
      case UInt8(ascii: "L"):
        begin(declared)
        name = Self.text(try wholeContents()[...])
      case UInt8(ascii: "K"):
        begin(declared)
        link = Self.text(try wholeContents()[...])
      case UInt8(ascii: "x"):
        begin(declared)
        let records = try Self.paxRecords(try wholeContents())
        name = records["path"] ?? name
        link = records["linkpath"] ?? link
        size = records["size"].flatMap { Int64($0) } ?? size
      case UInt8(ascii: "g"):
        begin(declared)
        _ = try wholeContents()
      default:
        return try member(header, name: name, link: link, size: size ?? declared)
      }
    }
  }

  private mutating func member(_ header: [UInt8], name: String?, link: String?, size: Int64) throws -> ArchiveMember {
    var own = Self.text(header[0..<100])
    if header[257..<262].elementsEqual("ustar".utf8), header[262] == 0, header[345] != 0 {
      own = Self.text(header[345..<500]) + "/" + own
    }
    let shown = name ?? own
    guard let components = RootedTree.memberComponents(shown) else {
      throw FederationError(
        .invalidArgument, "the archive has a member that would leave its directory: \(shown.prefix(200))")
    }
    let target = link ?? Self.text(header[157..<257])
    let kind: ArchiveMember.Kind
    switch header[156] {
    case 0, UInt8(ascii: "0"), UInt8(ascii: "7"): kind = shown.hasSuffix("/") ? .directory : .file
    case UInt8(ascii: "1"):
      guard let components = RootedTree.memberComponents(target) else {
        throw FederationError(
          .invalidArgument, "the archive has a hard link that would leave its directory: \(shown.prefix(200))")
      }
      kind = .hardLink(components)
    case UInt8(ascii: "2"): kind = .symbolicLink(target)
    case UInt8(ascii: "5"): kind = .directory
    default:
      throw FederationError(
        .invalidArgument, "the archive member \(shown.prefix(200)) is a device or of an unknown type")
    }
    guard size >= 0 else { throw FederationError(.invalidArgument, "an archive member has a negative size") }
    begin(kind == .file ? size : 0)
    return ArchiveMember(
      components: components, kind: kind, mode: mode_t(truncatingIfNeeded: try Self.number(header[100..<108])),
      size: kind == .file ? size : 0)
  }

  private static func verifyChecksum(_ header: [UInt8]) throws {
    let sum = header.enumerated().reduce(Int64(0)) { $0 + ((148..<156).contains($1.offset) ? 32 : Int64($1.element)) }
    guard (try? number(header[148..<156])) == sum else {
      throw FederationError(.invalidArgument, "this is no tar archive")
    }
  }

  /// Octal digits, or a big-endian number when the highest bit is set.
  static func number(_ field: ArraySlice<UInt8>) throws -> Int64 {
    if let first = field.first, first & 0x80 != 0 {
      return try field.dropFirst().reduce(Int64(first & 0x3f)) { value, byte in
        guard value < 1 << 54 else { throw FederationError(.invalidArgument, "a number in the archive is too large") }
        return value << 8 | Int64(byte)
      }
    }
    let digits = field.drop { $0 == 32 }.prefix { (0x30...0x37).contains($0) }
    return digits.reduce(0) { $0 << 3 | Int64($1 - 0x30) }
  }

  private static func text(_ field: ArraySlice<UInt8>) -> String {
    String(decoding: field.prefix { $0 != 0 }, as: UTF8.self)
  }

  /// `LENGTH KEY=VALUE\n`, where the length counts the whole record.
  static func paxRecords(_ bytes: [UInt8]) throws -> [String: String] {
    var records: [String: String] = [:]
    var rest = bytes[...]
    while !rest.isEmpty {
      let digits = rest.prefix { (0x30...0x39).contains($0) }
      guard let length = Int(String(decoding: digits, as: UTF8.self)), length > digits.count + 2, length <= rest.count,
        let equals = rest.prefix(length).firstIndex(of: UInt8(ascii: "="))
      else { throw FederationError(.invalidArgument, "a pax header of the archive is malformed") }
      let keyStart = rest.startIndex + digits.count + 1
      let end = rest.startIndex + length
      guard equals >= keyStart else {
        throw FederationError(.invalidArgument, "a pax header of the archive is malformed")
      }
      let key = String(decoding: rest[keyStart..<equals], as: UTF8.self)
      records[key] = String(decoding: rest[(equals + 1)..<(end - 1)], as: UTF8.self)
      rest = rest[end...]
    }
    return records
  }
}
