import FederationModel
import FoundationEssentials

/// What holds for every JSON body, whatever it says.
enum JSONBody {
  /// NUL ends a text wherever a program meets it, and the database refuses it: no text of a request may hold it.
  ///
  /// A text in a JSON body has NUL only where the body has its escape, so that other bodies cost one search.
  ///
  /// - Throws: `.invalidArgument` with the path of the first such text. What is no JSON is left to its reader.
  static func refuseNUL(in bytes: [UInt8]) throws {
    guard hasEscape(bytes), let value = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes)),
      let path = path(in: value)
    else { return }
    throw FederationError(
      .invalidArgument, "\(path.isEmpty ? "the body" : path): a text must not hold the character NUL")
  }

  private static func hasEscape(_ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { bytes in
      let needle = Array("\\u0000".utf8)
      guard bytes.count >= needle.count else { return false }
      return (0...(bytes.count - needle.count)).contains { start in
        bytes[start] == needle[0] && bytes[start..<(start + needle.count)].elementsEqual(needle)
      }
    }
  }

  /// Where the first text with NUL is, in order of keys; nil without one.
  private static func path(in value: JSONValue) -> String? {
    switch value {
    case .string(let text): return text.utf8.contains(0) ? "" : nil
    case .array(let elements):
      for (index, element) in elements.enumerated() {
        if let rest = path(in: element) {
          return "[\(index)]" + (rest.isEmpty || rest.hasPrefix("[") ? "" : ".") + rest
        }
      }
    case .object(let members):
      for key in members.keys.sorted() {
        if key.utf8.contains(0) { return "a key" }
        if let rest = path(in: members[key]!) { return key + (rest.isEmpty || rest.hasPrefix("[") ? "" : ".") + rest }
      }
    case .null, .bool, .integer, .number: break
    }
    return nil
  }
}
