/// The parameters of one statement in Postgres' binary format, back to back in one buffer.
///
/// One allocation holds them all, and arrays are written column by column straight from the rows: libpq copies the buffer into
/// its own once, and nothing else does.
public struct PostgresParameters: Sendable {
  @usableFromInline var bytes: [UInt8] = []
  /// Start of each value in `bytes`; -1 for null.
  @usableFromInline var starts: [Int] = []
  @usableFromInline var lengths: [Int32] = []
  @usableFromInline var types: [UInt32] = []

  public init() {}
  public var count: Int { starts.count }

  /// Appends a scalar; nil is null of that type.
  @inlinable public mutating func append<E: PostgresElement>(_ value: E?) {
    types.append(E.typeOID)
    guard let value else {
      starts.append(-1)
      lengths.append(0)
      return
    }
    starts.append(bytes.count)
    let start = bytes.count
    value.write(to: &bytes)
    lengths.append(Int32(clamping: bytes.count - start))
  }

  /// Appends a one-dimensional array with one element a row; nil elements are null.
  @inlinable public mutating func append<Rows: Collection, E: PostgresElement>(
    column rows: Rows, _ element: (Rows.Element) throws -> E?
  ) rethrows {
    types.append(E.arrayOID)
    let start = bytes.count
    starts.append(start)
    bytes.reserveCapacity(start + 20 + rows.count * 12)
    // An empty array has no dimension.
    bytes.append(bigEndian: Int32(rows.isEmpty ? 0 : 1))
    bytes.append(bigEndian: Int32(0))
    bytes.append(bigEndian: E.typeOID)
    if !rows.isEmpty {
      bytes.append(bigEndian: Int32(rows.count))
      bytes.append(bigEndian: Int32(1))
    }
    var hasNull = false
    // Rows are large values with many references: read in place, they are not retained and released once for each column.
    let isContiguous: Void? = try rows.withContiguousStorageIfAvailable { rows in
      for index in rows.indices { append(element: try element(rows[index]), &hasNull) }
    }
    if isContiguous == nil {
      for row in rows { append(element: try element(row), &hasNull) }
    }
    if hasNull { bytes.store(bigEndian: 1, at: start + 4) }
    lengths.append(Int32(clamping: bytes.count - start))
  }
}

extension PostgresParameters {
  @inlinable mutating func append<E: PostgresElement>(element: E?, _ hasNull: inout Bool) {
    guard let element else {
      hasNull = true
      return bytes.append(bigEndian: Int32(-1))
    }
    let position = bytes.count
    bytes.append(bigEndian: Int32(0))
    element.write(to: &bytes)
    bytes.store(bigEndian: UInt32(clamping: bytes.count - position - 4), at: position)
  }
}

/// A Swift type that has a Postgres type, as a scalar and as an element of an array.
public protocol PostgresElement: Sendable {
  static var typeOID: UInt32 { get }
  static var arrayOID: UInt32 { get }
  func write(to bytes: inout [UInt8])
}

extension [UInt8] {
  @inlinable mutating func append<I: FixedWidthInteger>(bigEndian value: I) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }

  @inlinable mutating func store(bigEndian value: UInt32, at index: Int) {
    self[index] = UInt8(truncatingIfNeeded: value >> 24)
    self[index + 1] = UInt8(truncatingIfNeeded: value >> 16)
    self[index + 2] = UInt8(truncatingIfNeeded: value >> 8)
    self[index + 3] = UInt8(truncatingIfNeeded: value)
  }
}

// - Source: PostgreSQL 15, `pg_type.dat`.
extension Int64: PostgresElement {
  public static var typeOID: UInt32 { 20 }
  public static var arrayOID: UInt32 { 1016 }
  @inlinable public func write(to bytes: inout [UInt8]) { bytes.append(bigEndian: self) }
}
extension Int32: PostgresElement {
  public static var typeOID: UInt32 { 23 }
  public static var arrayOID: UInt32 { 1007 }
  @inlinable public func write(to bytes: inout [UInt8]) { bytes.append(bigEndian: self) }
}
extension Int16: PostgresElement {
  public static var typeOID: UInt32 { 21 }
  public static var arrayOID: UInt32 { 1005 }
  @inlinable public func write(to bytes: inout [UInt8]) { bytes.append(bigEndian: self) }
}
extension Double: PostgresElement {
  public static var typeOID: UInt32 { 701 }
  public static var arrayOID: UInt32 { 1022 }
  @inlinable public func write(to bytes: inout [UInt8]) { bytes.append(bigEndian: bitPattern) }
}
extension Bool: PostgresElement {
  public static var typeOID: UInt32 { 16 }
  public static var arrayOID: UInt32 { 1000 }
  @inlinable public func write(to bytes: inout [UInt8]) { bytes.append(self ? 1 : 0) }
}
extension String: PostgresElement {
  public static var typeOID: UInt32 { 25 }
  public static var arrayOID: UInt32 { 1009 }
  /// Postgres refuses NUL in text. Whoever takes a text from outside has made sure that it has none.
  @inlinable public func write(to bytes: inout [UInt8]) { bytes.append(contentsOf: utf8) }
}
extension [UInt8]: PostgresElement {
  public static var typeOID: UInt32 { 17 }
  public static var arrayOID: UInt32 { 1001 }
  @inlinable public func write(to bytes: inout [UInt8]) { bytes.append(contentsOf: self) }
}
