import CPQ

/// The rows that one statement answered, in binary format. Owns libpq's result, which never changes after it was read.
public final class PostgresResult: @unchecked Sendable {
  private let result: OpaquePointer
  public let rowCount: Int
  public let columnCount: Int

  init(owning result: OpaquePointer) {
    self.result = result
    rowCount = Int(PQntuples(result))
    columnCount = Int(PQnfields(result))
  }

  deinit { PQclear(result) }

  /// Rows that an INSERT, UPDATE, DELETE or SELECT touched.
  public var affectedRows: Int { Int(String(cString: PQcmdTuples(result))) ?? 0 }
  public var rows: some RandomAccessCollection<PostgresRow> {
    (0..<rowCount).lazy.map { PostgresRow(result: self, row: $0) }
  }
  public subscript(row: Int) -> PostgresRow {
    precondition((0..<rowCount).contains(row), "row out of range")
    return PostgresRow(result: self, row: row)
  }

  /// The bytes of a value, valid while the result lives; nil for null.
  fileprivate func bytes(_ row: Int, _ column: Int) throws -> UnsafeRawBufferPointer? {
    guard (0..<rowCount).contains(row), (0..<columnCount).contains(column) else {
      throw PostgresError(.decoding, "the result has no row \(row) with a column \(column)")
    }
    if PQgetisnull(result, Int32(row), Int32(column)) == 1 { return nil }
    guard PQfformat(result, Int32(column)) == 1 else {
      throw PostgresError(.decoding, "column \(column) is not in binary format")
    }
    let count = Int(PQgetlength(result, Int32(row), Int32(column)))
    return UnsafeRawBufferPointer(start: PQgetvalue(result, Int32(row), Int32(column)), count: count)
  }

  fileprivate func type(_ column: Int) -> UInt32 { PQftype(result, Int32(column)) }
}

/// One row of a result. Every reader checks type and length and throws `.decoding` where they do not fit.
public struct PostgresRow: Sendable {
  let result: PostgresResult
  let row: Int

  public func isNull(_ column: Int) throws -> Bool { try result.bytes(row, column) == nil }

  /// `int2`, `int4` or `int8`; nil for null.
  public func optionalInt(_ column: Int) throws -> Int64? {
    guard let bytes = try result.bytes(row, column) else { return nil }
    switch (result.type(column), bytes.count) {
    case (Int64.typeOID, 8): return Int64(bigEndian: bytes.loadUnaligned(as: Int64.self))
    case (Int32.typeOID, 4): return Int64(Int32(bigEndian: bytes.loadUnaligned(as: Int32.self)))
    case (Int16.typeOID, 2): return Int64(Int16(bigEndian: bytes.loadUnaligned(as: Int16.self)))
    default: throw mismatch(column, "an integer")
    }
  }

  /// `text`, `varchar`, `json`, `name`; nil for null.
  public func optionalText(_ column: Int) throws -> String? {
    guard let bytes = try result.bytes(row, column) else { return nil }
    guard [25, 1043, 114, 19, 18, 705].contains(result.type(column)) else { throw mismatch(column, "text") }
    return String(decoding: bytes, as: UTF8.self)
  }

  public func optionalBool(_ column: Int) throws -> Bool? {
    guard let bytes = try result.bytes(row, column) else { return nil }
    guard result.type(column) == Bool.typeOID, bytes.count == 1 else { throw mismatch(column, "a boolean") }
    return bytes[0] != 0
  }

  public func optionalDouble(_ column: Int) throws -> Double? {
    guard let bytes = try result.bytes(row, column) else { return nil }
    guard result.type(column) == Double.typeOID, bytes.count == 8 else { throw mismatch(column, "a float8") }
    return Double(bitPattern: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)))
  }

  public func optionalBytes(_ column: Int) throws -> [UInt8]? {
    guard let bytes = try result.bytes(row, column) else { return nil }
    guard result.type(column) == [UInt8].typeOID else { throw mismatch(column, "a bytea") }
    return Array(bytes)
  }

  public func int(_ column: Int) throws -> Int64 { try required(optionalInt(column), column) }
  public func text(_ column: Int) throws -> String { try required(optionalText(column), column) }
  public func bool(_ column: Int) throws -> Bool { try required(optionalBool(column), column) }
  public func double(_ column: Int) throws -> Double { try required(optionalDouble(column), column) }
  public func bytes(_ column: Int) throws -> [UInt8] { try required(optionalBytes(column), column) }

  /// A one-dimensional array of `int2`, `int4` or `int8`; null elements stay nil.
  public func optionalInts(_ column: Int) throws -> [Int64?]? {
    try elements(column) { bytes, type in
      switch (type, bytes.count) {
      case (Int64.typeOID, 8): Int64(bigEndian: bytes.loadUnaligned(as: Int64.self))
      case (Int32.typeOID, 4): Int64(Int32(bigEndian: bytes.loadUnaligned(as: Int32.self)))
      case (Int16.typeOID, 2): Int64(Int16(bigEndian: bytes.loadUnaligned(as: Int16.self)))
      default: throw mismatch(column, "an array of integers")
      }
    }
  }

  /// A one-dimensional array of `text`; null elements stay nil.
  public func optionalTexts(_ column: Int) throws -> [String?]? {
    try elements(column) { bytes, type in
      guard type == String.typeOID else { throw mismatch(column, "an array of text") }
      return String(decoding: bytes, as: UTF8.self)
    }
  }

  private func elements<Element>(
    _ column: Int, _ read: (UnsafeRawBufferPointer, UInt32) throws -> Element
  ) throws -> [Element?]? {
    guard let bytes = try result.bytes(row, column) else { return nil }
    func word(at offset: Int) throws -> Int32 {
      guard offset >= 0, offset + 4 <= bytes.count else { throw mismatch(column, "a whole array") }
      return Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self))
    }
    let dimensions = try word(at: 0)
    let type = UInt32(bitPattern: try word(at: 8))
    if dimensions == 0 { return [] }
    let count = Int(try word(at: 12))
    guard dimensions == 1, count >= 0, count <= bytes.count / 4 else {
      throw mismatch(column, "an array of one dimension")
    }
    var elements: [Element?] = []
    elements.reserveCapacity(count)
    var offset = 20
    for _ in 0..<count {
      let length = Int(try word(at: offset))
      offset += 4
      if length == -1 {
        elements.append(nil)
        continue
      }
      guard length >= 0, offset + length <= bytes.count else { throw mismatch(column, "a whole array") }
      elements.append(try read(UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + length]), type))
      offset += length
    }
    return elements
  }

  private func required<Value>(_ value: Value?, _ column: Int) throws -> Value {
    guard let value else { throw PostgresError(.decoding, "column \(column) is null") }
    return value
  }

  private func mismatch(_ column: Int, _ wanted: String) -> PostgresError {
    PostgresError(.decoding, "column \(column) has type \(result.type(column)), which is not \(wanted)")
  }
}
