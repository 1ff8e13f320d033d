/// A moment on the wall clock: whole milliseconds since 1970-01-01T00:00:00Z.
///
/// The deterministic cores receive every `Timestamp` as an input and never read a clock. Moments order events and are shown to
/// people; lease arithmetic uses monotonic clocks instead (see `docs/ARCHITECTURE.md`).
public struct Timestamp: Hashable, Comparable, Sendable, Codable {
  public var milliseconds: Int64

  public init(milliseconds: Int64) { self.milliseconds = milliseconds }

  public static let distantFuture = Timestamp(milliseconds: .max)
  public static let epoch = Timestamp(milliseconds: 0)

  public static func < (a: Self, b: Self) -> Bool { a.milliseconds < b.milliseconds }

  /// Saturates instead of overflowing, so that a hostile duration cannot trap the core.
  public static func + (a: Self, b: Duration) -> Self {
    let (sum, overflow) = a.milliseconds.addingReportingOverflow(b.milliseconds)
    return overflow ? (b < .zero ? Timestamp(milliseconds: .min) : .distantFuture) : Timestamp(milliseconds: sum)
  }

  public static func - (a: Self, b: Self) -> Duration {
    let (difference, overflow) = a.milliseconds.subtractingReportingOverflow(b.milliseconds)
    return .milliseconds(overflow ? (a < b ? .min : .max) : difference)
  }

  public init(from decoder: any Decoder) throws { milliseconds = try decoder.singleValueContainer().decode(Int64.self) }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(milliseconds)
  }
}

extension Duration {
  /// Whole milliseconds, rounded toward zero and saturating at the ends of `Int64`.
  public var milliseconds: Int64 {
    let (seconds, attoseconds) = components
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    if overflow { return seconds < 0 ? .min : .max }
    let (sum, overflowed) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
    return overflowed ? (seconds < 0 ? .min : .max) : sum
  }

  /// Seconds as a floating-point number, for estimates and displays.
  public var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
