import FoundationEssentials
import Postgres

/// JSON of the columns that hold values rather than words.
enum RowJSON {
  static func encode(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  static func decode<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
    do {
      return try JSONDecoder().decode(type, from: Data(text.utf8))
    } catch {
      throw PostgresError(.decoding, "a stored \(type) cannot be read", detail: "\(error)")
    }
  }
}

extension [String: String] {
  /// `jsonb` refuses NUL, which `json` text only escapes.
  var storable: [String: String] {
    guard contains(where: { $0.utf8.contains(0) || $1.utf8.contains(0) }) else { return self }
    let cleaned = map { ($0.withoutNUL, $1.withoutNUL) }
    return Dictionary(cleaned, uniquingKeysWith: { first, _ in first })
  }
}
