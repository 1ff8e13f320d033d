/// Names of nodes as Slurm abbreviates them: `n[01-03,7],login`.
public enum NodeList {
  /// So many at most; what names more is cut.
  public static let countMax = 65_536

  public static func names(_ text: String) -> [String] {
    var (parts, part, depth) = ([String](), "", 0)
    for character in text {
      if character == ",", depth == 0 {
        parts.append(part)
        part = ""
        continue
      }
      if character == "[" { depth += 1 } else if character == "]" { depth -= 1 }
      part.append(character)
    }
    var names: [String] = []
    for part in parts + [part] where !part.isEmpty { names += expanded(part[...]).prefix(countMax - names.count) }
    return names
  }

  private static func expanded(_ text: Substring) -> [String] {
    guard let open = text.firstIndex(of: "["), let close = text[open...].firstIndex(of: "]") else {
      return [String(text)]
    }
    let rest = expanded(text[text.index(after: close)...])
    var names: [String] = []
    for range in text[text.index(after: open)..<close].split(separator: ",") {
      let ends = range.split(separator: "-", omittingEmptySubsequences: false)
      guard let first = Int(ends[0]), let last = Int(ends.last!), ends.count <= 2, first <= last else {
        for tail in rest { names.append("\(text[..<open])\(range)\(tail)") }
        continue
      }
      for number in first...min(last, first + countMax) {
        let digits = String(number)
        let padding = String(repeating: "0", count: max(0, ends[0].count - digits.count))
        for tail in rest {
          guard names.count < countMax else { return names }
          names.append("\(text[..<open])\(padding)\(digits)\(tail)")
        }
      }
    }
    return names
  }
}
