/// Why a text is no `depends` expression.
struct DependsSyntaxError: Error, Hashable, Sendable {
  var message: String
}

/// Which tasks a `depends` expression speaks of, and whether it is one at all.
///
/// Grammar: `or := and ("||" and)*`, `and := not ("&&" not)*`, `not := "!" not | "(" or ")" | task ["." state]`. Read with a
/// stack of open parentheses instead of recursion, so that its depth is bounded by its length alone.
/// - Source: Argo Workflows, docs/enhanced-depends-logic.md.
enum DependsReferences {
  static let states: Set<String> = [
    "AllFailed", "AnySucceeded", "Daemoned", "Errored", "Failed", "Omitted", "Skipped", "Succeeded",
  ]

  /// In the order of their first mention.
  static func names(in text: String) throws(DependsSyntaxError) -> [String] {
    var names: [String] = []
    var seen: Set<String> = []
    var openCount = 0
    var expectsOperand = true
    let bytes = Array(text.utf8)
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      switch byte {
      case 0x20, 0x09, 0x0a, 0x0d: index += 1
      case UInt8(ascii: "!") where expectsOperand: index += 1
      case UInt8(ascii: "(") where expectsOperand:
        openCount += 1
        index += 1
      case UInt8(ascii: ")") where !expectsOperand && openCount > 0:
        openCount -= 1
        index += 1
      case UInt8(ascii: "&") where !expectsOperand && index + 1 < bytes.count && bytes[index + 1] == byte,
        UInt8(ascii: "|") where !expectsOperand && index + 1 < bytes.count && bytes[index + 1] == byte:
        expectsOperand = true
        index += 2
      case _ where expectsOperand && isNameByte(byte):
        let start = index
        while index < bytes.count, isNameByte(bytes[index]) { index += 1 }
        let name = try operand(String(decoding: bytes[start..<index], as: UTF8.self))
        if seen.insert(name).inserted { names.append(name) }
        expectsOperand = false
      default:
        let wanted = expectsOperand ? "a task" : "&&, || or the end"
        throw DependsSyntaxError(
          message: "\(wanted) is expected at \"\(String(decoding: bytes[index...].prefix(20), as: UTF8.self))\"")
      }
    }
    if expectsOperand { throw DependsSyntaxError(message: "a task is expected at the end") }
    if openCount > 0 { throw DependsSyntaxError(message: "a parenthesis is not closed") }
    return names
  }

  private static func operand(_ text: String) throws(DependsSyntaxError) -> String {
    guard let dot = text.firstIndex(of: ".") else { return text }
    let state = String(text[text.index(after: dot)...])
    guard states.contains(state) else {
      let near = NearestName.find(state, among: states.sorted()).map { "; did you mean \"\($0)\"?" } ?? ""
      throw DependsSyntaxError(message: "\"\(state)\" is no state of a task\(near)")
    }
    return String(text[..<dot])
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
    default: false
    }
  }
}
