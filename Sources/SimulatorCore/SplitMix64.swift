/// A small seeded generator, so that a seed gives the same numbers on every machine and in every version.
///
/// - Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
public struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64
  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// In [0, 1).
  public mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  public mutating func uniform(_ low: Double, _ high: Double) -> Double { low + (high - low) * unit() }

  /// About normal, mean 0, deviation 1, never beyond 6: the sum of twelve uniform numbers.
  public mutating func normal() -> Double {
    var sum = -6.0
    for _ in 0..<12 { sum += unit() }
    return sum
  }

  /// Exponentially distributed, by inversion.
  public mutating func exponential(mean: Double) -> Double { -mean * Self.logarithm(1 - unit()) }

  /// The natural logarithm of a number above zero, the same on every machine: `ln m = 2 artanh((m - 1) / (m + 1))` for the
  /// significand, which is in [1, 2), so that 20 terms are exact to double precision.
  private static func logarithm(_ value: Double) -> Double {
    let ratio = (value.significand - 1) / (value.significand + 1)
    var (sum, power) = (0.0, ratio)
    for term in 0..<20 {
      sum += power / Double(2 * term + 1)
      power *= ratio * ratio
    }
    return 2 * sum + Double(value.exponent) * 0.693_147_180_559_945_3
  }

  /// A stream of its own for each index, whatever else is drawn.
  public init(seed: UInt64, stream: UInt64) {
    var base = SplitMix64(seed: seed ^ (stream &* 0xd1b5_4a32_d192_ed03))
    state = base.next()
  }
}
