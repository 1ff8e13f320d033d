/// An amount of money as the ledger counts it: millionths of a currency's unit, so that what a task of a second costs is not 0.
///
/// The currency stands beside it. Never a floating point number: prices are, and become amounts by `init(reserving:)` or
/// `init(charging:)`, which round once.
public struct Amount: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  public var micros: Int64
  public init(micros: Int64) { self.micros = micros }
  public static let zero = Amount(micros: 0)

  /// The largest that a budget grants and a run costs: a million million units. Sums of a few of these do not overflow.
  public static let max = Amount(micros: 1_000_000_000_000_000_000)
  private static let perUnit: Int64 = 1_000_000
  private static let perMinorUnit = 10_000.0

  /// What is held for a price in minor units: rounded up, so that what is charged later for the same use is never more.
  public init(reserving minorUnits: Double) { self.init(minorUnits, .up) }

  /// What is charged for a price in minor units: rounded down, in the payer's favour.
  public init(charging minorUnits: Double) { self.init(minorUnits, .down) }

  private init(_ minorUnits: Double, _ rule: FloatingPointRoundingRule) {
    // A product of prices that is whole on paper is a hair beside it in binary: that hair must not cost a millionth.
    let hair = rule == .up ? -1e-6 : 1e-6
    let micros = (minorUnits * Self.perMinorUnit + hair).rounded(rule)
    // A price that is no number costs all there is rather than nothing.
    self.init(micros: micros < Double(Self.max.micros) ? Int64(Swift.max(0, micros)) : Self.max.micros)
  }

  /// Reads `5000`, `12.5` or `0.000001`; nil for anything else, and for more than `max`.
  public init?(_ text: some StringProtocol) {
    let halves = text.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(halves.count), halves.allSatisfy({ Self.isDigits($0) }), let whole = Int64(halves[0]),
      whole <= Self.max.micros / Self.perUnit
    else { return nil }
    var fraction: Int64 = 0
    if halves.count == 2 {
      guard halves[1].utf8.count <= 6 else { return nil }
      fraction = Int64(halves[1] + String(repeating: "0", count: 6 - halves[1].utf8.count)) ?? 0
    }
    let micros = whole * Self.perUnit + fraction
    guard micros <= Self.max.micros else { return nil }
    self.init(micros: micros)
  }

  private static func isDigits(_ text: some StringProtocol) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
  }

  /// At least two decimals, and as many more as it has: `12.50`, `0.000125`.
  public var description: String {
    let magnitude = micros.magnitude
    let digits = CivilTime.pad(Int64(magnitude % UInt64(Self.perUnit)), 6)
    var decimals = Substring(digits)
    while decimals.count > 2, decimals.last == "0" { decimals.removeLast() }
    return "\(micros < 0 ? "-" : "")\(magnitude / UInt64(Self.perUnit)).\(decimals)"
  }

  public static func < (a: Self, b: Self) -> Bool { a.micros < b.micros }
  public static func + (a: Self, b: Self) -> Self { Amount(micros: a.micros + b.micros) }
  public static func - (a: Self, b: Self) -> Self { Amount(micros: a.micros - b.micros) }
  public static func += (a: inout Self, b: Self) { a = a + b }
  public static func -= (a: inout Self, b: Self) { a = a - b }

  public init(from decoder: any Decoder) throws { micros = try decoder.singleValueContainer().decode(Int64.self) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(micros)
  }
}
