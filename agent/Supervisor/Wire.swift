/// Appends fixed-width little-endian numbers and length-prefixed bytes.
public struct WireWriter: Sendable {
  public private(set) var bytes: [UInt8] = []
  public init() {}

  public mutating func put<Value: FixedWidthInteger>(_ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }
  public mutating func put(_ value: Bool) { bytes.append(value ? 1 : 0) }
  public mutating func put(_ text: String) {
    put(UInt32(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }
  public mutating func put(_ texts: [String]) {
    put(UInt32(texts.count))
    for text in texts { put(text) }
  }
  public mutating func put(_ files: [PrivateFile]) {
    put(UInt32(files.count))
    for file in files {
      put(file.path)
      put(file.mode)
      put(UInt32(file.bytes.count))
      bytes += file.bytes
    }
  }
}

/// Reads what `WireWriter` wrote; every length is checked against what is there, so no input can make it allocate more.
public struct WireReader: Sendable {
  public struct Malformed: Error, Sendable {}
  private let bytes: ArraySlice<UInt8>
  private var position: Int

  public init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    position = bytes.startIndex
  }

  public var isAtEnd: Bool { position == bytes.endIndex }

  public mutating func number<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws(Malformed) -> Value {
    let width = MemoryLayout<Value>.size
    guard bytes.endIndex - position >= width else { throw Malformed() }
    var value: Value = 0
    for index in 0..<width {
      value |= Value(truncatingIfNeeded: UInt64(bytes[position + index]) << (8 * UInt64(index)))
    }
    position += width
    return value
  }

  public mutating func flag() throws(Malformed) -> Bool { try number(UInt8.self) != 0 }

  public mutating func text() throws(Malformed) -> String {
    let count = Int(try number(UInt32.self))
    guard bytes.endIndex - position >= count else { throw Malformed() }
    defer { position += count }
    return String(decoding: bytes[position..<position + count], as: UTF8.self)
  }

  public mutating func texts() throws(Malformed) -> [String] {
    let count = Int(try number(UInt32.self))
    guard count <= (bytes.endIndex - position) / 4 else { throw Malformed() }
    var texts: [String] = []
    texts.reserveCapacity(count)
    for _ in 0..<count { texts.append(try text()) }
    return texts
  }

  public mutating func privateFiles() throws(Malformed) -> [PrivateFile] {
    let count = Int(try number(UInt32.self))
    guard count <= (bytes.endIndex - position) / 12 else { throw Malformed() }
    var files: [PrivateFile] = []
    for _ in 0..<count {
      var file = PrivateFile(path: try text(), mode: try number())
      let length = Int(try number(UInt32.self))
      guard bytes.endIndex - position >= length else { throw Malformed() }
      file.bytes = Array(bytes[position..<position + length])
      position += length
      files.append(file)
    }
    return files
  }
}
