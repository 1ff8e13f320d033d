import FederationModel

/// A place in the source: both from 1; `none` where there is no source.
struct SourceMark: Hashable, Sendable {
  var line: Int32
  var column: Int32
  static let none = SourceMark(line: 0, column: 0)
}

/// A document as a tree that remembers where each value stood: what YAML and JSON both become before anything is
/// understood.
///
/// Its height is bounded by `DocumentLimits.depth`, so walking it may recurse.
struct DocumentNode: Sendable {
  enum Value: Sendable {
    case null
    case bool(Bool)
    /// As JSON writes it: `8` for YAML's `010`, `1.1` for `1.10`.
    case number(String)
    case string(String)
    case sequence([DocumentNode])
    /// In the source's order; keys are unique.
    case mapping([Member])
  }

  struct Member: Sendable {
    var key: String
    var keyMark: SourceMark
    var value: DocumentNode
  }

  var value: Value
  var mark: SourceMark

  init(_ value: Value, mark: SourceMark = .none) {
    self.value = value
    self.mark = mark
  }

  /// The first member called `key`; nil for other values, too. O(members).
  subscript(key: String) -> DocumentNode? {
    guard case .mapping(let members) = value else { return nil }
    return members.first { $0.key == key }?.value
  }

  var isEmptyList: Bool { if case .sequence(let items) = value { items.isEmpty } else { false } }

  var isNull: Bool { if case .null = value { true } else { false } }

  /// A scalar's text, as Argo's IntOrString takes it; nil for null and for collections.
  var scalarText: String? {
    switch value {
    case .bool(let value): value ? "true" : "false"
    case .number(let text), .string(let text): text
    case .null, .sequence, .mapping: nil
    }
  }

  /// What the value is, for messages: "a list".
  var kindName: String {
    switch value {
    case .null: "nothing"
    case .bool: "a boolean"
    case .number: "a number"
    case .string: "a text"
    case .sequence: "a list"
    case .mapping: "a map"
    }
  }

  var jsonValue: JSONValue {
    switch value {
    case .null: .null
    case .bool(let value): .bool(value)
    case .number(let text): Int64(text).map { .integer($0) } ?? .number(Double(text) ?? 0)
    case .string(let text): .string(text)
    case .sequence(let items): .array(items.map(\.jsonValue))
    case .mapping(let members):
      .object(Dictionary(members.map { ($0.key, $0.value.jsonValue) }, uniquingKeysWith: { first, _ in first }))
    }
  }

  /// Appends compact JSON with keys in ascending order of their UTF-8 bytes.
  func writeCanonicalJSON(to text: inout String) {
    switch value {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .number(let number): text += number
    case .string(let string): Self.quote(string, into: &text)
    case .sequence(let items):
      text += "["
      for (index, item) in items.enumerated() {
        if index > 0 { text += "," }
        item.writeCanonicalJSON(to: &text)
      }
      text += "]"
    case .mapping(let members):
      text += "{"
      for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
        if index > 0 { text += "," }
        Self.quote(member.key, into: &text)
        text += ":"
        member.value.writeCanonicalJSON(to: &text)
      }
      text += "}"
    }
  }
}

extension DocumentNode {
  /// Appends a JSON string literal. Most texts need no escape at all and are copied whole.
  private static func quote(_ value: String, into text: inout String) {
    let needsEscape = value.utf8.contains { $0 < 0x20 || $0 == 0x22 || $0 == 0x5c }
    if needsEscape {
      JSONValue.quote(value, into: &text)
    } else {
      text += "\""
      text += value
      text += "\""
    }
  }
}
