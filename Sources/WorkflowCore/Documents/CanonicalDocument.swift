/// An accepted document that its canonical text says whole: two are equal when their texts are, and it is stored as that text.
public protocol CanonicalDocument: Hashable, Codable, Sendable {
  /// The whole document as compact JSON with sorted keys: the same document always gives the same bytes.
  var canonicalJSON: String { get }

  /// Restores what `canonicalJSON` of an accepted document said. The text is trusted: references are not checked again.
  /// - Throws: `DocumentErrors` when the text is no such document.
  init(json text: String) throws(DocumentErrors)
}

extension CanonicalDocument {
  public static func == (a: Self, b: Self) -> Bool { a.canonicalJSON == b.canonicalJSON }
  public func hash(into hasher: inout Hasher) { hasher.combine(canonicalJSON) }

  public init(from decoder: any Decoder) throws {
    try self.init(json: decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(canonicalJSON)
  }
}
