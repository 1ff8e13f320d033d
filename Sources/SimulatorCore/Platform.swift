public import FederationModel
public import SchedulerCore

/// How long a cluster's own queue holds a run that nothing else holds, by quantiles; in between they are joined by lines.
public struct QueueWaitModel: Hashable, Sendable {
  public var p50: Double
  public var p90: Double
  public init(p50: Double, p90: Double) {
    self.p50 = p50
    self.p90 = p90
  }

  /// Seconds; what policies are told. A queue's median says too little of it, because the long waits are much longer.
  public var mean: Double { 0.4 * p50 + 0.35 * p90 }

  /// Seconds at a quantile in [0, 1); the last tenth ends as far behind p90 as p90 is behind p50.
  public func seconds(at quantile: Double) -> Double {
    if quantile < 0.5 { return p50 * quantile / 0.5 }
    if quantile < 0.9 { return p50 + (p90 - p50) * (quantile - 0.5) / 0.4 }
    return p90 + (p90 - p50) * (quantile - 0.9) / 0.1
  }
}

/// A time in which a cluster cannot be reached and what runs there is lost.
public struct Outage: Hashable, Sendable {
  public var at: Double
  public var seconds: Double
  public init(at: Double, seconds: Double) {
    self.at = at
    self.seconds = seconds
  }
}

/// Other prices from a moment on; nobody is told of them beforehand.
public struct PriceChange: Hashable, Sendable {
  public var at: Double
  /// Of a slot.
  public var perSecond: Double
  public var egressPerByte: Double
  public init(at: Double, perSecond: Double, egressPerByte: Double) {
    self.at = at
    self.perSecond = perSecond
    self.egressPerByte = egressPerByte
  }
}

/// How a cluster fails by chance; both kinds are drawn from the seed.
public struct FailureModel: Hashable, Sendable {
  /// Mean seconds between the end of one outage and the next one, exponentially distributed; nil: it never goes out of reach.
  public var meanSecondsBetweenOutages: Double?
  /// Mean seconds that an outage takes, exponentially distributed.
  public var meanOutageSeconds: Double
  /// Of a run: that it ends without a result, at any moment of it. The task is ready again then.
  public var runFailureProbability: Double
  public init(
    meanSecondsBetweenOutages: Double? = nil, meanOutageSeconds: Double = 0, runFailureProbability: Double = 0
  ) {
    self.meanSecondsBetweenOutages = meanSecondsBetweenOutages
    self.meanOutageSeconds = meanOutageSeconds
    self.runFailureProbability = runFailureProbability
  }
}

/// One cluster of a platform; one with no slots only stores.
public struct PlatformSite: Hashable, Sendable {
  public var name: String
  public var compute: ComputeSite
  public var wait: QueueWaitModel?
  public var outages: [Outage]
  public var prices: [PriceChange]
  /// Nobody is told of it beforehand.
  public var failures: FailureModel
  /// Whether data that no task makes is here before a workflow begins.
  public var holdsInputs: Bool
  public init(
    name: String, compute: ComputeSite, wait: QueueWaitModel? = nil, outages: [Outage] = [],
    prices: [PriceChange] = [], failures: FailureModel = FailureModel(), holdsInputs: Bool = false
  ) {
    self.name = name
    self.compute = compute
    self.compute.queueWait = wait?.mean ?? 0
    self.compute.queueWaitSpread = wait.map { $0.p90 - $0.p50 } ?? 0
    self.wait = wait
    self.outages = outages
    self.prices = prices
    self.failures = failures
    self.holdsInputs = holdsInputs
  }
}

/// Where a simulation runs. See docs/reference/simulator.md for the file.
public struct Platform: Hashable, Sendable {
  public var name: String
  public var sites: [PlatformSite]
  /// Transfers into one cluster at a time; the others wait for their turn.
  public var transfersAtOnce: Int
  /// By numbers of sites.
  public var paths: PathLimits
  public init(
    name: String, sites: [PlatformSite], transfersAtOnce: Int = 8, paths: PathLimits = PathLimits()
  ) {
    self.paths = paths
    self.name = name
    self.sites = sites
    self.transfersAtOnce = transfersAtOnce
  }

  public static let sitesLimit = 4096

  /// Reads a platform file.
  ///
  /// - Throws: `invalidArgument` that names the member which is missing or out of range.
  public init(_ json: JSONValue) throws {
    guard let list = json["clusters"]?.arrayValue, !list.isEmpty, list.count <= Self.sitesLimit else {
      throw FederationError(
        .invalidArgument, "the platform file needs \"clusters\": a list of 1 to \(Self.sitesLimit) clusters")
    }
    try json.mustOnlyHave(
      ["name", "clusters", "links", "transfersAtOnce"], in: "the platform file")
    var seen: Set<String> = []
    let sites = try list.map { member in
      let site = try PlatformSite(member)
      guard seen.insert(site.name).inserted else {
        throw FederationError(.invalidArgument, "the platform has two clusters named \(site.name); rename one")
      }
      return site
    }
    guard sites.contains(where: { $0.compute.slots > 0 }) else {
      throw FederationError(.invalidArgument, "no cluster of the platform has slots; give one \"slots\" above 0")
    }
    guard sites.contains(where: \.holdsInputs) else {
      throw FederationError(
        .invalidArgument, "no cluster of the platform holds the inputs; give one \"holdsInputs\": true")
    }
    let atOnce = json["transfersAtOnce"]?.integerValue ?? 8
    guard (1...10_000).contains(atOnce) else {
      throw FederationError(.invalidArgument, "transfersAtOnce is \(atOnce), it must be 1 to 10000")
    }
    self.init(
      name: json["name"]?.stringValue ?? "platform", sites: sites, transfersAtOnce: Int(atOnce),
      paths: try Self.paths(json["links"]?.arrayValue ?? [], sites.map(\.name)))
  }

  private static func paths(_ list: [JSONValue], _ names: [String]) throws -> PathLimits {
    var limits: [PathLimits.Path: Double] = [:]
    let numbers = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
    for link in list {
      try link.mustOnlyHave(["from", "to", "bytesPerSecond"], in: "links of the platform")
      func number(_ key: String) throws -> Int {
        guard let number = link[key]?.stringValue.flatMap({ numbers[$0] }) else {
          throw FederationError(
            .invalidArgument, "\(key) of each of the platform's links must be one of its clusters")
        }
        return number
      }
      let path = PathLimits.Path(from: try number("from"), to: try number("to"))
      guard path.from != path.to, let rate = link["bytesPerSecond"]?.doubleValue, rate >= 1,
        rate.isFinite
      else {
        throw FederationError(
          .invalidArgument,
          "links of the platform go between two clusters, with \"bytesPerSecond\" of at least 1")
      }
      guard limits.updateValue(rate, forKey: path) == nil else {
        throw FederationError(
          .invalidArgument,
          "the platform has two links from \(names[path.from]) to \(names[path.to]); leave one")
      }
    }
    return PathLimits(limits)
  }
}

extension JSONValue {
  /// A member that means nothing is a mistake of whoever wrote it.
  fileprivate func mustOnlyHave(_ members: Set<String>, in place: String) throws {
    guard let unknown = objectValue?.keys.filter({ !members.contains($0) }).min() else { return }
    throw FederationError(
      .invalidArgument, "\(place) has a member \(unknown); it may have \(members.sorted().joined(separator: ", "))")
  }
}

extension PlatformSite {
  private static let members: Set<String> = [
    "name", "slots", "speed", "bytesPerSecondIn", "bytesPerSecondOut", "pricePerSlotHour", "egressPerGigabyte", "wait",
    "cacheBytes", "outages", "prices", "failures", "holdsInputs",
  ]

  init(_ json: JSONValue) throws {
    guard let name = json["name"]?.stringValue, !name.isEmpty, !name.contains(where: \.isWhitespace) else {
      throw FederationError(.invalidArgument, "each cluster of the platform needs a \"name\" without spaces")
    }
    try json.mustOnlyHave(Self.members, in: "cluster \(name)")
    func number(_ key: String, _ fallback: Double, above least: Double = 0, of value: JSONValue? = nil) throws -> Double
    {
      guard let member = (value ?? json)[key] else { return fallback }
      guard let number = member.doubleValue, number >= least, number.isFinite else {
        throw FederationError(.invalidArgument, "\(key) of cluster \(name) must be a number, at least \(least)")
      }
      return number
    }
    let slots = try number("slots", 0)
    guard slots <= 1_000_000, slots == slots.rounded() else {
      throw FederationError(.invalidArgument, "slots of cluster \(name) must be a whole number up to 1000000")
    }
    let wait = try json["wait"].map {
      QueueWaitModel(p50: try number("p50", 0, of: $0), p90: try number("p90", 0, of: $0))
    }
    if let wait, wait.p90 < wait.p50 {
      throw FederationError(.invalidArgument, "the p90 of the wait of cluster \(name) is below its p50")
    }
    let outages = try (json["outages"]?.arrayValue ?? []).map {
      Outage(at: try number("at", 0, of: $0), seconds: try number("seconds", 0, of: $0))
    }
    let price = try number("pricePerSlotHour", 0)
    let egress = try number("egressPerGigabyte", 0)
    let prices = try (json["prices"]?.arrayValue ?? []).map { change in
      try change.mustOnlyHave(["at", "pricePerSlotHour", "egressPerGigabyte"], in: "prices of cluster \(name)")
      return PriceChange(
        at: try number("at", 0, of: change), perSecond: try number("pricePerSlotHour", price, of: change) / 3600,
        egressPerByte: try number("egressPerGigabyte", egress, of: change) / 1e9)
    }
    let failures = try FailureModel(json["failures"], cluster: name)
    let capacity = try number("cacheBytes", -1, above: 0)
    self.init(
      name: name,
      compute: ComputeSite(
        slots: Int(slots), speed: try number("speed", 1, above: 1e-6),
        bandwidthIn: try number("bytesPerSecondIn", 1e9, above: 1),
        bandwidthOut: try number("bytesPerSecondOut", 1e9, above: 1),
        pricePerSecond: price / 3600, egressPerByte: egress / 1e9, cacheCapacity: capacity < 0 ? nil : capacity),
      wait: wait, outages: outages, prices: prices, failures: failures,
      holdsInputs: json["holdsInputs"]?.boolValue ?? false)
  }
}

extension FailureModel {
  init(_ json: JSONValue?, cluster: String) throws {
    guard let json else {
      self.init()
      return
    }
    try json.mustOnlyHave(
      ["meanSecondsBetweenOutages", "meanOutageSeconds", "runFailureProbability"],
      in: "failures of cluster \(cluster)")
    func number(_ key: String, in range: ClosedRange<Double>) throws -> Double? {
      guard let member = json[key] else { return nil }
      guard let number = member.doubleValue, range.contains(number) else {
        throw FederationError(
          .invalidArgument,
          "failures.\(key) of cluster \(cluster) must be a number from \(range.lowerBound) to \(range.upperBound)")
      }
      return number
    }
    // A run that can never end would keep a simulation from ending.
    self.init(
      meanSecondsBetweenOutages: try number("meanSecondsBetweenOutages", in: 1...1e12),
      meanOutageSeconds: try number("meanOutageSeconds", in: 0...1e12) ?? 0,
      runFailureProbability: try number("runFailureProbability", in: 0...0.95) ?? 0)
  }
}
