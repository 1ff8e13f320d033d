import FederationAPI
import FederationModel

/// JSON schemas of the REST documents, read off the `Decodable` types themselves by decoding from a source that has everything: what
/// the types say is what the document says, and neither can fall behind the other.
final class SchemaBook {
  private(set) var schemas: [String: JSONValue] = [:]

  /// The schema of a type; of a document, a reference to its entry in `schemas`.
  func reference(_ type: any Decodable.Type) throws -> JSONValue { try describe(type).schema }

  fileprivate func describe<Value: Decodable>(_ type: Value.Type) throws -> (schema: JSONValue, value: Any) {
    switch type {
    case is String.Type: return (["type": "string"], "")
    case is Bool.Type: return (["type": "boolean"], false)
    case is Double.Type: return (["type": "number"], 0.0)
    case is Int.Type: return (["type": "integer", "format": "int64"], 0)
    case is Int64.Type: return (["type": "integer", "format": "int64"], Int64(0))
    case is Int32.Type: return (["type": "integer", "format": "int32"], Int32(0))
    case is UInt32.Type: return (["type": "integer", "minimum": 0], UInt32(0))
    case is ClusterName.Type: return (["type": "string"], ClusterName(""))
    case is WireTime.Type: return (["type": "string", "format": "date-time"], Timestamp.epoch.wire)
    case is JSONValue.Type: return ([:], JSONValue.null)
    case let described as any SchemaDescribing.Type: return try described.describe(in: self)
    default: break
    }
    let members = SchemaMembers(book: self)
    let value = try Value(from: SchemaProbe(members: members))
    let name = "\(Value.self)"
    var schema: [String: JSONValue] = ["type": "object", "properties": .object(members.properties)]
    if !members.required.isEmpty { schema["required"] = .array(members.required.sorted().map { .string($0) }) }
    schemas[name] = .object(schema)
    return (["$ref": .string("#/components/schemas/\(name)")], value)
  }
}

/// Types whose schema is not that of an object with members.
private protocol SchemaDescribing {
  static func describe(in book: SchemaBook) throws -> (schema: JSONValue, value: Any)
}

extension Array: SchemaDescribing where Element: Decodable {
  fileprivate static func describe(in book: SchemaBook) throws -> (schema: JSONValue, value: Any) {
    (["type": "array", "items": try book.reference(Element.self)], [Element]())
  }
}

extension Dictionary: SchemaDescribing where Key == String, Value: Decodable {
  fileprivate static func describe(in book: SchemaBook) throws -> (schema: JSONValue, value: Any) {
    (["type": "object", "additionalProperties": try book.reference(Value.self)], [String: Value]())
  }
}

private protocol SchemaEnumeration: SchemaDescribing, CaseIterable, RawRepresentable<String> {}

extension SchemaEnumeration {
  fileprivate static func describe(in book: SchemaBook) -> (schema: JSONValue, value: Any) {
    (["type": "string", "enum": .array(allCases.map { .string($0.rawValue) })], allCases.first!)
  }
}
extension AppliedDocument.Outcome: SchemaEnumeration {}
extension ArchiveFormat: SchemaEnumeration {}
extension BudgetPeriod: SchemaEnumeration {}
extension ClusterKind: SchemaEnumeration {}
extension ErrorCode: SchemaEnumeration {}
extension ExhaustionPolicy: SchemaEnumeration {}
extension FindingDocument.Level: SchemaEnumeration {}
extension NodePhase: SchemaEnumeration {}
extension PriorityClass: SchemaEnumeration {}
extension Role: SchemaEnumeration {}
extension RunEndCause: SchemaEnumeration {}

/// The members that a type has asked for.
private final class SchemaMembers {
  let book: SchemaBook
  var properties: [String: JSONValue] = [:]
  var required: Set<String> = []
  /// Optional members are asked for with `contains` first.
  var optionalKey: String?

  init(book: SchemaBook) { self.book = book }

  func member<Value: Decodable>(_ type: Value.Type, _ key: String) throws -> Value {
    let (schema, value) = try book.describe(type)
    properties[key] = schema
    if optionalKey != key { required.insert(key) }
    optionalKey = nil
    guard let value = value as? Value else {
      throw FederationError(.internal, "no schema is known for \(type)")
    }
    return value
  }
}

private struct SchemaProbe: Decoder {
  let members: SchemaMembers
  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(SchemaProbeContainer<Key>(members: members))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw Self.unexpected }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { throw Self.unexpected }
  static var unexpected: FederationError {
    FederationError(.internal, "the type is no document: give it a schema in SchemaBook")
  }
}

private struct SchemaProbeContainer<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let members: SchemaMembers
  var codingPath: [any CodingKey] { [] }
  var allKeys: [Key] { [] }

  func contains(_ key: Key) -> Bool {
    members.optionalKey = key.stringValue
    return true
  }
  func decodeNil(forKey key: Key) -> Bool { false }
  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try members.member(type, key.stringValue) }
  func decode(_ type: String.Type, forKey key: Key) throws -> String { try members.member(type, key.stringValue) }
  func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try members.member(type, key.stringValue) }
  func decode(_ type: Float.Type, forKey key: Key) throws -> Float { try members.member(type, key.stringValue) }
  func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try members.member(type, key.stringValue) }
  func decode(_ type: Int8.Type, forKey key: Key) throws -> Int8 { try members.member(type, key.stringValue) }
  func decode(_ type: Int16.Type, forKey key: Key) throws -> Int16 { try members.member(type, key.stringValue) }
  func decode(_ type: Int32.Type, forKey key: Key) throws -> Int32 { try members.member(type, key.stringValue) }
  func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 { try members.member(type, key.stringValue) }
  func decode(_ type: UInt.Type, forKey key: Key) throws -> UInt { try members.member(type, key.stringValue) }
  func decode(_ type: UInt8.Type, forKey key: Key) throws -> UInt8 { try members.member(type, key.stringValue) }
  func decode(_ type: UInt16.Type, forKey key: Key) throws -> UInt16 { try members.member(type, key.stringValue) }
  func decode(_ type: UInt32.Type, forKey key: Key) throws -> UInt32 { try members.member(type, key.stringValue) }
  func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 { try members.member(type, key.stringValue) }
  func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
    try members.member(type, key.stringValue)
  }
  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> { throw SchemaProbe.unexpected }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw SchemaProbe.unexpected }
  func superDecoder() throws -> any Decoder { throw SchemaProbe.unexpected }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw SchemaProbe.unexpected }
}
