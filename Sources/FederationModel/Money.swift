/// An amount of one currency in its minor units (cents, fen).
///
/// Prices below a minor unit live in `PriceSheet`; only settled amounts are `Money`.
public struct Money: Hashable, Sendable, Codable, CustomStringConvertible {
  public var minorUnits: Int64
  /// ISO 4217, upper case.
  public var currency: String

  public init(minorUnits: Int64, currency: String) {
    self.minorUnits = minorUnits
    self.currency = currency
  }

  /// Reads `12.50 CNY`; nil for anything else or more than two decimals.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: " ")
    guard parts.count == 2, parts[1].utf8.count == 3, parts[1].utf8.allSatisfy({ (0x41...0x5a).contains($0) }) else {
      return nil
    }
    let halves = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(halves.count), let whole = Int64(halves[0]), whole >= 0, whole <= Int64.max / 1000 else {
      return nil
    }
    var cents: Int64 = 0
    if halves.count == 2 {
      guard (1...2).contains(halves[1].utf8.count), let value = Int64(halves[1]), value >= 0 else { return nil }
      cents = halves[1].utf8.count == 1 ? value * 10 : value
    }
    self.init(minorUnits: whole * 100 + cents, currency: String(parts[1]))
  }

  public var description: String {
    let magnitude = minorUnits.magnitude
    let cents = magnitude % 100
    return "\(minorUnits < 0 ? "-" : "")\(magnitude / 100).\(cents < 10 ? "0" : "")\(cents) \(currency)"
  }
}

/// What a cluster charges. Prices are fractions of a minor unit, because a core-second costs less than a cent; a charge is rounded up once.
public struct PriceSheet: Hashable, Sendable, Codable {
  /// ISO 4217, upper case.
  public var currency: String
  /// Minor units for one core for one hour.
  public var coreHour: Double
  /// Minor units for one GiB of memory for one hour.
  public var gibibyteHour: Double
  /// Minor units for one GPU for one hour.
  public var gpuHour: Double
  /// Minor units for one GiB that leaves its source for this cluster.
  public var egressGibibyte: Double

  public init(
    currency: String, coreHour: Double = 0, gibibyteHour: Double = 0, gpuHour: Double = 0, egressGibibyte: Double = 0
  ) {
    self.currency = currency
    self.coreHour = coreHour
    self.gibibyteHour = gibibyteHour
    self.gpuHour = gpuHour
    self.egressGibibyte = egressGibibyte
  }

  /// Minor units, not yet rounded, for holding `resources` for `duration` and moving `moved` bytes in.
  public func cost(of resources: Resources, for duration: Duration, moving moved: ByteCount = .zero) -> Double {
    let hours = max(0, duration.seconds) / 3600
    let gibibyte = 1_073_741_824.0
    return hours
      * (coreHour * Double(resources.cpuMillicores) / 1000 + gibibyteHour * Double(resources.memory.bytes) / gibibyte
        + gpuHour * Double(resources.gpus)) + egressGibibyte * Double(moved.bytes) / gibibyte
  }
}
