/// Reads a manifest as its bytes come: holds its first line and one more, whatever the number of files.
public struct DatasetManifestReader: Sendable {
  /// nil until the first line has come.
  public private(set) var header: DatasetManifest.Header?
  private var lineOffset: Int64 = 0
  private var line: [UInt8] = []
  private var files: Int64 = 0
  private var bytes: Int64 = 0
  private var order = DatasetManifest.Order()

  public init() {}

  /// Takes the next bytes, cut anywhere, and calls `body` with each file whose line is whole.
  ///
  /// - Throws: `.invalidArgument`, saying what is wrong, or what `body` threw; then nothing more can be read.
  public mutating func read(
    _ more: some Collection<UInt8>, _ body: (DatasetManifest.Entry) throws -> Void
  ) throws {
    try readPlaced(more) { entry, _ in try body(entry) }
  }

  /// The same, and where in the text each file's line begins.
  public mutating func readPlaced(
    _ more: some Collection<UInt8>, _ body: (DatasetManifest.Entry, _ line: Int64) throws -> Void
  ) throws {
    var rest = more[...]
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      line += rest[..<end]
      rest = rest[rest.index(after: end)...]
      try checkLength()
      let length = Int64(line.count)
      try take(body)
      lineOffset += length + 1
      line.removeAll(keepingCapacity: line.capacity <= DatasetManifest.lineBytesMax)
    }
    line += rest
    try checkLength()
  }

  /// - Throws: `.invalidArgument` when the text was cut short.
  public func finish() throws(FederationError) {
    guard let header else { throw DatasetManifest.malformed("it is empty") }
    guard line.isEmpty, files == header.files, bytes == header.bytes else {
      throw DatasetManifest.malformed("it is cut short: \(files) of \(header.files) files are listed")
    }
  }

  private func checkLength() throws(FederationError) {
    let limit = header == nil ? DatasetManifest.headerBytesMax : DatasetManifest.lineBytesMax
    guard line.count <= limit else { throw DatasetManifest.malformed("a line is longer than \(limit) bytes") }
  }

  private mutating func take(_ body: (DatasetManifest.Entry, Int64) throws -> Void) throws {
    var text = ManifestText(line)
    guard let header else {
      let header = try text.header()
      try DatasetManifest.check(header)
      self.header = header
      return
    }
    let entry = try text.entry()
    try DatasetManifest.check(entry, packs: header.packs)
    try order.next(entry.path)
    let (sum, overflow) = bytes.addingReportingOverflow(entry.size)
    guard files < header.files, !overflow, sum <= header.bytes else {
      throw DatasetManifest.malformed("it holds more than its first line says")
    }
    files += 1
    bytes = sum
    try body(entry, lineOffset)
  }
}

extension DatasetManifest {
  /// Reads one line again, without its newline: of a manifest that a `DatasetManifestReader` has read to its end.
  ///
  /// - Throws: `.invalidArgument`.
  public static func entry(line: [UInt8], packs: [Pack]) throws(FederationError) -> Entry {
    var text = ManifestText(line)
    let entry = try text.entry()
    try check(entry, packs: packs)
    return entry
  }
}

/// The little of JSON that a manifest's lines are made of.
///
/// - Source: RFC 8259.
struct ManifestText {
  private let bytes: [UInt8]
  private var position = 0

  init(_ line: [UInt8]) { bytes = line }

  private func failure(_ expected: String) -> FederationError {
    DatasetManifest.malformed("a line has no \(expected) at its byte \(position)")
  }

  private mutating func skipSpaces() {
    while position < bytes.count, [0x20, 0x09, 0x0d].contains(bytes[position]) { position += 1 }
  }

  private mutating func peek() -> UInt8? {
    skipSpaces()
    return position < bytes.count ? bytes[position] : nil
  }

  private mutating func expect(_ byte: Unicode.Scalar) throws(FederationError) {
    guard peek() == UInt8(ascii: byte) else { throw failure("`\(byte)`") }
    position += 1
  }

  private mutating func takeIf(_ byte: Unicode.Scalar) -> Bool {
    guard peek() == UInt8(ascii: byte) else { return false }
    position += 1
    return true
  }

  private mutating func takeNull() throws(FederationError) -> Bool {
    guard peek() == UInt8(ascii: "n") else { return false }
    guard bytes[position...].starts(with: Array("null".utf8)) else { throw failure("null") }
    position += 4
    return true
  }

  /// A whole number; nil for null.
  private mutating func number() throws(FederationError) -> Int64? {
    if try takeNull() { return nil }
    let isNegative = takeIf("-")
    var value: Int64 = 0
    let start = position
    while position < bytes.count, (0x30...0x39).contains(bytes[position]) {
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, more) = tens.addingReportingOverflow(Int64(bytes[position] - 0x30))
      guard !overflow, !more else { throw failure("number that is small enough") }
      value = sum
      position += 1
    }
    guard position > start else { throw failure("number") }
    return isNegative ? -value : value
  }

  private mutating func requiredNumber() throws(FederationError) -> Int64 {
    guard let number = try number() else { throw failure("number") }
    return number
  }

  /// nil for null.
  private mutating func string() throws(FederationError) -> String? {
    if try takeNull() { return nil }
    try expect("\"")
    var text: [UInt8] = []
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else { throw failure("text in UTF-8") }
        return string
      case UInt8(ascii: "\\"): try escape(into: &text)
      case 0..<0x20: throw failure("text without control characters")
      default: text.append(byte)
      }
    }
    throw failure("end of a text")
  }

  private mutating func escape(into text: inout [UInt8]) throws(FederationError) {
    do {
      guard let scalar = try JSONEscape.read(bytes, at: &position) else { throw JSONEscape.Problem.digits }
      text += Array(String(Character(scalar)).utf8)
    } catch {
      throw failure("escape that is a character")
    }
  }

  private mutating func end() throws(FederationError) {
    guard peek() == nil else { throw failure("end") }
  }

  // MARK: Lines

  mutating func header() throws(FederationError) -> DatasetManifest.Header {
    var header = DatasetManifest.Header(files: -1, bytes: -1)
    var format: Int64?
    try expect("{")
    repeat {
      let name = try string()
      try expect(":")
      switch name {
      case "format": format = try requiredNumber()
      case "files": header.files = try requiredNumber()
      case "bytes": header.bytes = try requiredNumber()
      case "packs": header.packs = try packs()
      default: throw failure("known name")
      }
      // Before anything else of a later format is judged.
      if let format, format != DatasetManifest.format {
        throw DatasetManifest.malformed(
          "its format is \(format), and this release knows \(DatasetManifest.format): upgrade")
      }
    } while takeIf(",")
    try expect("}")
    try end()
    guard format != nil else { throw failure("format") }
    return header
  }

  private mutating func packs() throws(FederationError) -> [DatasetManifest.Pack] {
    var packs: [DatasetManifest.Pack] = []
    try expect("[")
    if takeIf("]") { return packs }
    repeat {
      guard packs.count < DatasetManifest.packsMax else { throw failure("end of so many packs") }
      var pack = DatasetManifest.Pack(key: "", sha256: "", size: -1)
      try expect("{")
      repeat {
        let name = try string()
        try expect(":")
        switch name {
        case "key": pack.key = try string() ?? ""
        case "sha256": pack.sha256 = try string() ?? ""
        case "size": pack.size = try requiredNumber()
        default: throw failure("known name")
        }
      } while takeIf(",")
      try expect("}")
      packs.append(pack)
    } while takeIf(",")
    try expect("]")
    return packs
  }

  mutating func entry() throws(FederationError) -> DatasetManifest.Entry {
    try expect("[")
    guard let path = try string() else { throw failure("path") }
    try expect(",")
    var entry = DatasetManifest.Entry(path: path, size: try requiredNumber())
    try expect(",")
    guard let mode = Int32(exactly: try requiredNumber()) else { throw failure("mode") }
    entry.mode = mode
    try expect(",")
    entry.sha256 = try string()
    try expect(",")
    if let pack = try number() {
      guard let index = Int(exactly: pack) else { throw failure("pack") }
      entry.pack = index
    }
    try expect(",")
    entry.offset = try number()
    try expect(",")
    entry.modified = try number()
    try expect(",")
    entry.link = try string()
    try expect("]")
    try end()
    return entry
  }

  static func append(_ text: String, to line: inout [UInt8]) {
    line.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): line += [UInt8(ascii: "\\"), byte]
      case 0..<0x20:
        let digits = String(byte, radix: 16)
        line += Array("\\u00\(digits.utf8.count == 1 ? "0" : "")\(digits)".utf8)
      default: line.append(byte)
      }
    }
    line.append(UInt8(ascii: "\""))
  }
}
