/// Writes a manifest line by line: the text is the caller's to keep, so no list of files need be in memory.
///
/// What it writes, `DatasetManifestReader` reads back the same, or it throws while writing.
public struct DatasetManifestWriter: Sendable {
  private let header: DatasetManifest.Header
  private var files: Int64 = 0
  private var bytes: Int64 = 0
  private var order = DatasetManifest.Order()

  /// - Returns: also the first line.
  /// - Throws: `.invalidArgument` for a header that no reader would take.
  public static func begin(_ header: DatasetManifest.Header) throws(FederationError) -> (Self, line: [UInt8]) {
    try DatasetManifest.check(header)
    var line = Array(
      "{\"format\":\(DatasetManifest.format),\"files\":\(header.files),\"bytes\":\(header.bytes),\"packs\":[".utf8)
    for (index, pack) in header.packs.enumerated() {
      line += Array((index == 0 ? "{\"key\":" : ",{\"key\":").utf8)
      ManifestText.append(pack.key, to: &line)
      line += Array(",\"sha256\":\"\(pack.sha256)\",\"size\":\(pack.size)}".utf8)
    }
    line += Array("]}\n".utf8)
    guard line.count <= DatasetManifest.headerBytesMax else {
      throw DatasetManifest.malformed("it has too many packs to be listed")
    }
    return (Self(header: header), line)
  }

  private init(header: DatasetManifest.Header) { self.header = header }

  /// Appends the line of the next file. Files come in ascending order of their paths' bytes.
  public mutating func append(_ entry: DatasetManifest.Entry, to text: inout [UInt8]) throws(FederationError) {
    try DatasetManifest.check(entry, packs: header.packs)
    try order.next(entry.path)
    let (sum, overflow) = bytes.addingReportingOverflow(entry.size)
    guard files < header.files, !overflow, sum <= header.bytes else {
      throw DatasetManifest.malformed("it holds more than its first line says")
    }
    let start = text.count
    text.append(UInt8(ascii: "["))
    ManifestText.append(entry.path, to: &text)
    text += Array(",\(entry.size),\(entry.mode),".utf8)
    text += Array((entry.sha256.map { "\"\($0)\"" } ?? "null").utf8)
    for number in [entry.pack.map(Int64.init), entry.offset, entry.modified] {
      text += Array(("," + (number.map(String.init) ?? "null")).utf8)
    }
    text.append(UInt8(ascii: ","))
    if let link = entry.link { ManifestText.append(link, to: &text) } else { text += Array("null".utf8) }
    text += Array("]\n".utf8)
    guard text.count - start <= DatasetManifest.lineBytesMax else {
      throw DatasetManifest.malformed("the line of \(entry.path.prefix(200)) is too long")
    }
    files += 1
    bytes = sum
  }

  /// - Throws: `.invalidArgument` when fewer files came than the first line says.
  public func finish() throws(FederationError) {
    guard files == header.files, bytes == header.bytes else {
      throw DatasetManifest.malformed("it holds less than its first line says")
    }
  }
}

extension DatasetManifest {
  static func check(_ header: Header) throws(FederationError) {
    guard (0...filesMax).contains(header.files), header.bytes >= 0, header.packs.count <= packsMax else {
      throw malformed("it lists more than \(filesMax) files or \(packsMax) packs")
    }
    for pack in header.packs {
      guard !pack.key.isEmpty, pack.key.utf8.count <= pathBytesMax, isSHA256(pack.sha256), pack.size >= 0 else {
        throw malformed("one of its packs has no possible key, SHA-256 or size")
      }
    }
  }
}
