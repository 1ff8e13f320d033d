#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// How fast what was used is forgotten: after each half-life it counts half.
public struct UsageDecay: Hashable, Sendable {
  /// Seconds, above zero.
  public let halfLife: Double
  public init(halfLife: Double) { self.halfLife = max(halfLife, 0.001) }

  /// What is left of one after so many seconds; 1 for none and fewer.
  public func factor(after seconds: Double) -> Double { seconds > 0 ? exp2(-seconds / halfLife) : 1 }

  /// What one unit that was held from `seconds` ago until now counts: the integral of `factor`.
  public func held(for seconds: Double) -> Double {
    guard seconds > 0 else { return 0 }
    let rate = M_LN2 / halfLife
    return -expm1(-rate * seconds) / rate
  }

  /// What a unit counts that was always held. A use divided by this and by the capacity is the part of the capacity that was used,
  /// on the mean of the time that is remembered.
  public var horizon: Double { halfLife / M_LN2 }
}
