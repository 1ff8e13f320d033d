internal import FederationModel
internal import FoundationEssentials

/// Writes a ustar stream with pax headers where a name or size does not fit. Owners are not recorded.
///
/// - Source: POSIX.1-2017 `pax`, "ustar Interchange Format".
struct TarWriter {
  private let output: Int32

  init(to output: Int32) { self.output = output }

  func add(_ entry: TreeEntry) throws {
    var link = ""
    var type = UInt8(ascii: "5")
    var size: Int64 = 0
    switch entry.kind {
    case .directory: break
    case .symbolicLink(let target):
      type = UInt8(ascii: "2")
      link = target
    case .file:
      type = UInt8(ascii: "0")
      size = entry.size
    }
    let name = type == UInt8(ascii: "5") ? entry.name + "/" : entry.name
    var records: [(String, String)] = []
    if name.utf8.count > 100 { records.append(("path", name)) }
    if link.utf8.count > 100 { records.append(("linkpath", link)) }
    if size >= 1 << 33 { records.append(("size", String(size))) }
    if !records.isEmpty { try writeRecords(records) }
    try write(
      Self.header(name: name, type: type, link: link, size: size, mode: entry.mode, modified: entry.modifiedSeconds))
    guard case .file(let descriptor) = entry.kind else { return }
    var remaining = size
    while remaining > 0 {
      let bytes = try POSIXFile.read(descriptor, upTo: Int(min(remaining, 1 << 17)))
      guard !bytes.isEmpty else {
        throw FederationError(.failedPrecondition, "\(entry.name) became shorter while it was packed")
      }
      remaining -= Int64(bytes.count)
      try write(bytes)
    }
    try write([UInt8](repeating: 0, count: Int((512 - size % 512) % 512)))
  }

  func finish() throws { try write([UInt8](repeating: 0, count: 1024)) }

  private func write(_ bytes: [UInt8]) throws {
    if !bytes.isEmpty { try POSIXFile.write(output, bytes, "the archive") }
  }

  private func writeRecords(_ records: [(String, String)]) throws {
    var body: [UInt8] = []
    for (key, value) in records {
      let rest = " \(key)=\(value)\n"
      // The length counts its own digits.
      var length = rest.utf8.count + 1
      while String(length).utf8.count + rest.utf8.count != length { length += 1 }
      body += Array("\(length)\(rest)".utf8)
    }
    try write(
      Self.header(name: "pax", type: UInt8(ascii: "x"), link: "", size: Int64(body.count), mode: 0o644, modified: 0))
    try write(body + [UInt8](repeating: 0, count: (512 - body.count % 512) % 512))
  }

  private static func header(name: String, type: UInt8, link: String, size: Int64, mode: UInt32, modified: Int64)
    -> [UInt8]
  {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ bytes: some Sequence<UInt8>, at offset: Int, limit: Int) {
      for (index, byte) in bytes.prefix(limit).enumerated() { header[offset + index] = byte }
    }
    func octal(_ value: Int64, digits: Int) -> [UInt8] {
      let text = String(max(0, value), radix: 8)
      return Array((String(repeating: "0", count: max(0, digits - text.count)) + text.suffix(digits)).utf8)
    }
    put(name.utf8, at: 0, limit: 100)
    put(octal(Int64(mode), digits: 7), at: 100, limit: 7)
    put(octal(0, digits: 7), at: 108, limit: 7)
    put(octal(0, digits: 7), at: 116, limit: 7)
    put(octal(size >= 1 << 33 ? 0 : size, digits: 11), at: 124, limit: 11)
    put(octal(modified, digits: 11), at: 136, limit: 11)
    put([UInt8](repeating: 32, count: 8), at: 148, limit: 8)
    header[156] = type
    put(link.utf8, at: 157, limit: 100)
    put("ustar\u{0}00".utf8, at: 257, limit: 8)
    let sum = header.reduce(Int64(0)) { $0 + Int64($1) }
    put(octal(sum, digits: 6) + [0, 32], at: 148, limit: 8)
    return header
  }
}
