/// Amounts of memory as Slurm reads them: megabytes, or with K, M, G, T.
public enum MemorySize {
  /// Mebibytes, rounded up; nil for what is no amount. 0 means all of a node's.
  public static func mebibytes(_ text: String) -> Int64? {
    var digits = text[...]
    if let last = digits.last, last == "B" || last == "b" { digits.removeLast() }
    var shift = 20
    if let unit = digits.last, !unit.isNumber {
      switch unit {
      case "K", "k": shift = 10
      case "M", "m": shift = 20
      case "G", "g": shift = 30
      case "T", "t": shift = 40
      default: return nil
      }
      digits.removeLast()
    } else if digits.count != text.count {
      return nil
    }
    guard !digits.isEmpty, digits.utf8.count <= 9, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let number = Int64(digits)
    else { return nil }
    return ((number << Int64(shift)) + (1 << 20) - 1) >> 20
  }

  /// As `squeue`'s `%m` shows it: `500M`, `4G`.
  public static func text(mebibytes: Int64) -> String {
    if mebibytes > 0, mebibytes % (1 << 20) == 0 { return "\(mebibytes >> 20)T" }
    if mebibytes > 0, mebibytes % 1024 == 0 { return "\(mebibytes >> 10)G" }
    return "\(mebibytes)M"
  }
}
