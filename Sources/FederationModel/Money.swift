/// An amount of one currency in its minor units (cents, fen).
///
/// What an author writes as a limit (`maxPrice`). Prices below a minor unit live in `PriceSheet`; what is reserved and charged is an
/// `Amount`.
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

  /// What is wrong with the name of a currency, for whoever wrote it; nil when nothing is.
  static func problem(ofCurrency currency: String) -> String? {
    guard currency.utf8.count == 3, currency.utf8.allSatisfy({ (0x41...0x5a).contains($0) }) else {
      return "the currency is three capital letters like CNY, not \"\(currency.prefix(20))\""
    }
    return nil
  }

  public var description: String {
    let magnitude = minorUnits.magnitude
    let cents = magnitude % 100
    return "\(minorUnits < 0 ? "-" : "")\(magnitude / 100).\(cents < 10 ? "0" : "")\(cents) \(currency)"
  }
}

/// What a cluster charges. Prices are fractions of a minor unit, because a core-second costs less than a cent; `Amount` rounds
/// once.
public struct PriceSheet: Hashable, Sendable, Codable {
  /// ISO 4217, upper case.
  public var currency: String
  /// Minor units for one core for one hour.
  public var coreHour: Double
  /// Minor units for one GiB of memory for one hour.
  public var gibibyteHour: Double
  /// Minor units for one GPU for one hour.
  public var gpuHour: Double
  /// Minor units for one GiB that leaves this cluster's export for another cluster; see `EgressQuote`.
  public var egressGibibyte: Double
  /// Minor units for one GiB that a user keeps pinned here for one hour; nil: nothing.
  public var storageGibibyteHour: Double?
  /// Factors on the three hourly prices for runs of a priority class, by its name; a class that is not named pays them whole. nil: none
  /// is named.
  public var classFactors: [String: Double]?
  /// Hourly prices of runs on single partitions of a Slurm cluster, or node pools of a Kubernetes cluster, by name, in place of the three
  /// above; nil: none has its own.
  public var partitions: [String: HourlyPrices]?
  /// Of a quote: the partition or pool that it was made for, to which the run is sent. nil: prices did not depend on it.
  public var partition: String?

  public init(
    currency: String, coreHour: Double = 0, gibibyteHour: Double = 0, gpuHour: Double = 0, egressGibibyte: Double = 0,
    storageGibibyteHour: Double? = nil, classFactors: [String: Double]? = nil
  ) {
    self.currency = currency
    self.coreHour = coreHour
    self.gibibyteHour = gibibyteHour
    self.gpuHour = gpuHour
    self.egressGibibyte = egressGibibyte
    self.storageGibibyteHour = storageGibibyteHour
    self.classFactors = classFactors
  }

  /// What runs on one partition pay, for all classes; where no partition has prices of its own, nothing changes.
  public func quoted(on partition: String?) -> PriceSheet {
    guard let partitions else { return self }
    var sheet = self
    (sheet.partitions, sheet.partition) = (nil, partition)
    guard let own = partition.flatMap({ partitions[$0] }) else { return sheet }
    (sheet.coreHour, sheet.gibibyteHour, sheet.gpuHour) = (own.coreHour, own.gibibyteHour, own.gpuHour)
    return sheet
  }

  /// What runs of one class pay: the factors are worked in, so that a quote is the same numbers whoever reads it.
  public func quoted(to priorityClass: PriorityClass) -> PriceSheet {
    guard classFactors != nil || partitions != nil else { return self }
    let factor = classFactors?[priorityClass.rawValue] ?? 1
    var sheet = PriceSheet(
      currency: currency, coreHour: coreHour * factor, gibibyteHour: gibibyteHour * factor, gpuHour: gpuHour * factor,
      egressGibibyte: egressGibibyte, storageGibibyteHour: storageGibibyteHour)
    sheet.partition = partition
    return sheet
  }

  /// Whether nothing is asked for a run, wherever on the cluster it is.
  public var isFree: Bool {
    coreHour == 0 && gibibyteHour == 0 && gpuHour == 0
      && (partitions ?? [:]).values.allSatisfy { $0 == HourlyPrices() }
  }

  public static let partitionsMax = 64

  /// The highest price that is taken, in minor units: far above any real one, and sums of products of it are still exact enough.
  public static let priceMax = 1e11

  /// What is wrong with it, for whoever wrote it; nil when nothing is.
  public var problem: String? {
    if let problem = Money.problem(ofCurrency: currency) { return problem }
    let ofPartitions = (partitions ?? [:]).values.flatMap { [$0.coreHour, $0.gibibyteHour, $0.gpuHour] }
    guard
      ([coreHour, gibibyteHour, gpuHour, egressGibibyte, storageGibibyteHour ?? 0] + ofPartitions).allSatisfy({
        (0...Self.priceMax).contains($0)
      })
    else {
      return "prices are numbers from 0 to \(Int64(Self.priceMax)) minor units"
    }
    for (name, factor) in (classFactors ?? [:]).sorted(by: { $0.key < $1.key }) {
      guard PriorityClass(rawValue: name) != nil else {
        let names = PriorityClass.allCases.map(\.rawValue).joined(separator: ", ")
        return "there is no priority class \"\(name.prefix(40))\"; classes are \(names)"
      }
      guard (0...1000).contains(factor) else { return "the factor of a class is a number from 0 to 1000" }
    }
    guard (partitions ?? [:]).count <= Self.partitionsMax else {
      return "at most \(Self.partitionsMax) partitions have prices of their own"
    }
    if let name = partitions?.keys.sorted().first(where: { !SlurmHints.isOptionText($0) }) {
      return "\"\(name.prefix(40))\" is no name of a partition or pool"
    }
    guard partition == nil else { return "`partition` is told of quotes; prices of partitions are in `partitions`" }
    return nil
  }

  /// Minor units, not yet rounded, for holding `resources` for `duration`.
  public func cost(of resources: Resources, for duration: Duration) -> Double {
    let hours = max(0, duration.seconds) / 3600
    let gibibyte = 1_073_741_824.0
    return hours
      * (coreHour * Double(resources.cpuMillicores) / 1000 + gibibyteHour * Double(resources.memory.bytes) / gibibyte
        + gpuHour * Double(resources.gpus))
  }

  /// Minor units, not yet rounded, for keeping `size` pinned for `duration`.
  public func cost(ofKeeping size: ByteCount, for duration: Duration) -> Double {
    (storageGibibyteHour ?? 0) * Double(size.bytes) / 1_073_741_824 * max(0, duration.seconds) / 3600
  }
}

/// What one partition or node pool charges, in minor units: see `PriceSheet`, whose currency it has.
public struct HourlyPrices: Hashable, Sendable, Codable {
  public var coreHour: Double
  public var gibibyteHour: Double
  public var gpuHour: Double

  public init(coreHour: Double = 0, gibibyteHour: Double = 0, gpuHour: Double = 0) {
    self.coreHour = coreHour
    self.gibibyteHour = gibibyteHour
    self.gpuHour = gpuHour
  }
}
