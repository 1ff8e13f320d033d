import FederationModel

/// The part of Go's `fmt` that `withSequence.format` needs: one number, `%d %x %X %o %b %v` with flags `0`, `-`, `+` and a width.
enum GoFormat {
  static func format(_ format: String, _ number: Int64) throws -> String {
    guard format.utf8.count <= 1024 else {
      throw FederationError(.invalidArgument, "the format is longer than 1024 bytes")
    }
    var output = ""
    var rest = Substring(format)
    while let percent = rest.firstIndex(of: "%") {
      output += rest[..<percent]
      rest = rest[rest.index(after: percent)...]
      if rest.first == "%" {
        output += "%"
        rest = rest.dropFirst()
        continue
      }
      let flags = rest.prefix { "0-+ ".contains($0) }
      rest = rest.dropFirst(flags.count)
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      rest = rest.dropFirst(digits.count)
      guard let verb = rest.popFirst(), let text = text(of: number, verb), let width = digits.isEmpty ? 0 : Int(digits),
        width <= 256
      else { throw FederationError(.invalidArgument, "'\(format)' is no format for a number; write for example %03d") }
      output += padded(text, flags: String(flags), width: width)
    }
    return output + rest
  }

  private static func text(of number: Int64, _ verb: Character) -> String? {
    switch verb {
    case "d", "v", "s": String(number)
    case "x": String(number, radix: 16)
    case "X": String(number, radix: 16, uppercase: true)
    case "o": String(number, radix: 8)
    case "b": String(number, radix: 2)
    default: nil
    }
  }

  private static func padded(_ text: String, flags: String, width: Int) -> String {
    let isNegative = text.hasPrefix("-")
    let sign = isNegative ? "-" : flags.contains("+") ? "+" : flags.contains(" ") ? " " : ""
    let digits = isNegative ? String(text.dropFirst()) : text
    let missing = max(0, width - digits.count - sign.count)
    if flags.contains("-") { return sign + digits + String(repeating: " ", count: missing) }
    if flags.contains("0") { return sign + String(repeating: "0", count: missing) + digits }
    return String(repeating: " ", count: missing) + sign + digits
  }
}
