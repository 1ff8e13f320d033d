/// Reads Kubernetes resource quantities (`500m`, `2`, `1.5Gi`, `1e3`, `128M`).
///
/// - Source: Kubernetes API conventions, "Quantity": decimal SI suffixes n u m k M G T P E, binary Ki Mi Gi Ti Pi Ei, or a decimal exponent.
public enum Quantity {
  /// The value in units of `1/scale`, rounded up as Kubernetes does; nil when the text is no quantity, is negative, or overflows.
  ///
  /// CPU millicores are `Quantity.parse(text, scale: 1000)`, bytes `Quantity.parse(text)`.
  public static func parse(_ text: some StringProtocol, scale: Double = 1) -> Int64? {
    let bytes = Array(text.utf8)
    guard !bytes.isEmpty, bytes.count <= 32 else { return nil }
    var end = 0
    while end < bytes.count, (0x30...0x39).contains(bytes[end]) || bytes[end] == 0x2e { end += 1 }
    var suffix = String(decoding: bytes[end...], as: UTF8.self)
    var number = String(decoding: bytes[..<end], as: UTF8.self)
    if let first = suffix.first, first == "e" || first == "E", suffix.count > 1, Int(suffix.dropFirst()) != nil {
      number += suffix
      suffix = ""
    }
    guard let value = Double(number), let multiplier = multipliers[suffix] else { return nil }
    let scaled = (value * multiplier * scale).rounded(.up)
    guard scaled.isFinite, scaled < 9.2e18 else { return nil }
    return Int64(scaled)
  }

  private static let multipliers: [String: Double] = [
    "": 1, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 1024, "Mi": 1_048_576, "Gi": 1_073_741_824, "Ti": 1_099_511_627_776, "Pi": 1_125_899_906_842_624,
    "Ei": 1_152_921_504_606_846_976,
  ]
}
