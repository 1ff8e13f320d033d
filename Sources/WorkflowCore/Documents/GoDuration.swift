/// Reads the durations that Argo takes.
public enum GoDuration {
  /// Seconds as a plain number (`30`), or a Go duration (`30s`, `1h30m`, `1.5h`, `250ms`, also `2d` as Argo's helper
  /// takes it).
  ///
  /// nil when the text is neither, is negative, or is longer than 100 years.
  /// - Source: Argo `util/time/parser.go` (`ParseDuration`: an integer is seconds) and Go's `time.ParseDuration`.
  public static func parse(_ text: some StringProtocol) -> Duration? {
    let bytes = Array(text.utf8)
    guard !bytes.isEmpty, bytes.count <= 64 else { return nil }
    var index = bytes[0] == UInt8(ascii: "+") ? 1 : 0
    if index < bytes.count, bytes[index...].allSatisfy(isDigit) {
      return Int64(String(decoding: bytes[index...], as: UTF8.self)).flatMap { bounded(Double($0)) }
    }
    var total = 0.0
    var hasPart = false
    while index < bytes.count {
      let start = index
      while index < bytes.count, isDigit(bytes[index]) || bytes[index] == UInt8(ascii: ".") { index += 1 }
      guard let number = Double(String(decoding: bytes[start..<index], as: UTF8.self)) else { return nil }
      let unitStart = index
      while index < bytes.count, !isDigit(bytes[index]), bytes[index] != UInt8(ascii: ".") { index += 1 }
      guard let scale = scales[String(decoding: bytes[unitStart..<index], as: UTF8.self)] else { return nil }
      total += number * scale
      hasPart = true
    }
    return hasPart ? bounded(total) : nil
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  private static func bounded(_ seconds: Double) -> Duration? {
    guard seconds.isFinite, seconds <= 100 * 365 * 86_400 else { return nil }
    return .milliseconds(Int64((seconds * 1000).rounded()))
  }

  private static let scales: [String: Double] = [
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86_400,
  ]
}
